"""How fast declared texts become points, against the bare model in the same run; and how much memory that takes.

PYTHONPATH=tests python benchmarks/texts.py speed  --model-folder FOLDER
PYTHONPATH=tests python benchmarks/texts.py memory --model-folder FOLDER

speed: PointSets of texts go through the reconcilers, as in `vectorops apply`: read, compared with the ledger, embedded
in the child process, written to a Qdrant server of its own, recorded. In turn with it, over the same texts, a bare
`SentenceTransformer.encode` with the batch size that was fastest. The model is loaded in both before the clock runs. A
last look at all sets must embed nothing.

memory: ever more texts, made as they are read, go through the embedding step; the vectors are thrown away.

Without --model-folder the model comes from the hub.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Final

import typer
import yaml

from servers.qdrant import QdrantServer
from vectorops.api import embedder as api
from vectorops.api.meta import Resource
from vectorops.api.pointset import Point
from vectorops.embedders.base import EmbeddedTexts, EmbedderSettings
from vectorops.embedders.pool import Embedders
from vectorops.local.cluster import LocalCluster
from vectorops.local.manifests import read_manifests
from vectorops.local.runner import Runner
from vectorops.local.session import Options, Session, open_session
from vectorops.metrics import REGISTRY
from vectorops.points.declared import Declared, declare
from vectorops.points.embedding import WINDOW_POINTS
from vectorops.points.embedding import embedded as embedded_points
from vectorops.points.schema import PointSchema, VectorSchema
from vectorops.reconcilers.driver import Driver
from vectorops.reconcilers.kinds import RECONCILERS

MINILM: Final = "sentence-transformers/all-MiniLM-L6-v2"
EXAMPLE: Final = Path(__file__).parents[1] / "examples/semantic-search"
BATCH_SIZES: Final = (16, 32, 64, 128)
SET_SIZE: Final = 500
"""Texts of one PointSet: as many as kubectl takes."""
TICK: Final = os.sysconf("SC_CLK_TCK")

app = typer.Typer(help=__doc__.partition("\n")[0] if __doc__ else None)
ModelFolder = Annotated[Path | None, typer.Option(envvar="VECTOROPS_MODEL_FOLDER")]


def texts(count: int, seed: int, *, shortest: int = 20, longest: int = 60) -> Iterator[str]:
    """Texts, no two the same, of the words of an example. shortest, longest: how many words."""
    files = sorted(EXAMPLE.glob("2*.yaml"))
    points = [point for file in files for point in yaml.safe_load(file.read_text())["spec"]["points"]]
    words = " ".join(point["payload"]["text"] for point in points).split()
    chance = random.Random(seed)
    for _ in range(count):
        yield " ".join(chance.choices(words, k=chance.randint(shortest, longest)))


# ---- processes ----


@dataclass(frozen=True)
class Use:
    """Of this process, and of its children: memory now, processor time so far."""

    own_mib: float
    children_mib: float
    cpu_seconds: float


def used() -> Use:
    """As Linux tells it."""
    children = [child.pid for child in multiprocessing.active_children() if child.pid is not None]
    ours = [os.getpid(), *children]
    return Use(_resident_mib(ours[0]), sum(map(_resident_mib, children)), sum(map(_cpu_seconds, ours)))


def _resident_mib(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _cpu_seconds(pid: int) -> float:
    # The name of the program is in parentheses, and may hold anything.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


# ---- speed ----


@dataclass
class Stage:
    """A session on a real server. cluster: what the next run looks at. done: what it no longer does."""

    folder: Path
    opened: Session
    cluster: LocalCluster
    done: list[Resource] = field(default_factory=list)

    def put_aside(self) -> None:
        """All but the connection: reading back what earlier rounds wrote is not what a round is to measure."""
        found = [resource for ref in self.cluster.refs if (resource := self.cluster.now(ref)) is not None]
        self.done += [resource for resource in found if resource.kind != "QdrantConnection"]
        self.cluster = LocalCluster([resource for resource in found if resource.kind == "QdrantConnection"], {})

    def fetch_back(self) -> None:
        """All that was put aside."""
        for resource in self.done:
            self.cluster.add(resource)

    async def run(self) -> None:
        """What `apply` does with all that the cluster holds; ends the benchmark if something is not Ready."""
        runner = Runner(self.cluster, Driver(replace(self.opened.context, cluster=self.cluster), RECONCILERS))
        assert await runner.run(asyncio.get_running_loop().time() + 3600)
        for ref in self.cluster.refs:
            resource = self.cluster.now(ref)
            if resource is None or not resource.ready:
                sys.exit(f"{ref}: {resource and resource.condition('Ready')}")

    def add(self, *objects: dict[str, Any]) -> None:
        """Objects as a file would hold them."""
        file = self.folder / "objects.yaml"
        file.write_text(yaml.dump_all(objects, Dumper=yaml.CSafeDumper))
        for resource in read_manifests([str(file)]).resources.values():
            self.cluster.add(resource)


def resource(kind: str, name: str, **spec: object) -> dict[str, Any]:
    """As its YAML would say."""
    return {"apiVersion": "vectorops.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}


def collection(name: str, model: str) -> dict[str, Any]:
    """One whose vector has an embedder."""
    vector = {"name": "text", "embedder": {"sentenceTransformers": {"model": model}}}
    return resource("QdrantCollection", name, connectionRef={"name": "main"}, vectors=[vector])


def point_sets(into: str, documents: Sequence[str]) -> list[dict[str, Any]]:
    """All texts, as points of sets."""
    return [
        resource(
            "PointSet",
            f"{into}-{start}",
            collectionRef={"name": into},
            points=[
                {"id": start + n, "vectors": {"text": {"text": text}}, "payload": {"text": text}}
                for n, text in enumerate(documents[start : start + SET_SIZE])
            ],
        )
        for start in range(0, len(documents), SET_SIZE)
    ]


@asynccontextmanager
async def staged(settings: EmbedderSettings) -> AsyncIterator[Stage]:
    """A server and a session, both put down afterwards."""
    with tempfile.TemporaryDirectory(prefix="vectorops-benchmark-") as temporary:
        folder = Path(temporary)
        server = QdrantServer(folder / "qdrant")
        server.start()
        try:
            file = folder / "connection.yaml"
            connection = resource("QdrantConnection", "main", url=server.url, grpcPort=server.grpc_port)
            file.write_text(json.dumps(connection))
            async with open_session(
                read_manifests([str(file)]), Options(embedders=settings), read_only=False
            ) as opened:
                yield Stage(folder, opened, opened.cluster)
        finally:
            server.kill()


def embedded() -> float:
    """Texts that were given to an embedder so far."""
    return REGISTRY.get_sample_value("vectorops_texts_embedded_total", {"provider": "sentenceTransformers"}) or 0.0


class Bare:
    """The model without anything around it, in this process. batch_size: the fastest one."""

    def __init__(self, model: str, settings: EmbedderSettings, sample: list[str]) -> None:
        # Here, because the part about memory must not have torch in this process.
        import torch
        from sentence_transformers import SentenceTransformer

        if settings.threads is not None:
            torch.set_num_threads(settings.threads)
        self._model = SentenceTransformer(str(settings.model_folder / model) if settings.model_folder else model)
        self.batch_size = BATCH_SIZES[0]
        self.encode(sample)
        seconds: dict[int, float] = dict.fromkeys(BATCH_SIZES, float("inf"))
        for _ in range(2):
            for size in BATCH_SIZES:
                self.batch_size = size
                started = time.perf_counter()
                self.encode(sample)
                seconds[size] = min(seconds[size], time.perf_counter() - started)
        self.batch_size = min(seconds, key=lambda size: seconds[size])
        told = ", ".join(f"{size}: {len(sample) / seconds[size]:.0f}" for size in BATCH_SIZES)
        print(f"bare encode, texts/s by batch size: {told}; taken: {self.batch_size}")

    def encode(self, documents: list[str]) -> None:
        """All at once: the library sorts them by length over the whole, which favors it."""
        self._model.encode(documents, batch_size=self.batch_size, show_progress_bar=False)


async def measure_speed(model: str, settings: EmbedderSettings, count: int, rounds: int) -> bool:
    """Prints the figures; returns whether the last look embedded nothing."""
    bare = Bare(model, settings, list(texts(min(256, count), seed=0)))
    ratios, processor = [], []
    async with staged(settings) as stage:
        stage.add(collection("warm", model), *point_sets("warm", list(texts(64, seed=0))))
        await stage.run()
        for number in range(1, rounds + 1):
            documents = list(texts(count, seed=number))
            into = f"round-{number}"
            stage.put_aside()
            stage.add(collection(into, model))
            await stage.run()
            stage.add(*point_sets(into, documents))
            # Whoever goes first meets another moment of the machine, so they take turns.
            if number % 2:
                plain = await _timed_bare(bare, documents)
                ours = await _timed(stage)
            else:
                ours = await _timed(stage)
                plain = await _timed_bare(bare, documents)
            ratios.append(plain[0] / ours[0])
            processor.append(ours[1] / plain[1])
            print(
                f"round {number}: bare {count / plain[0]:.0f} texts/s, {plain[1]:.1f} CPU-s; end to end "
                f"{count / ours[0]:.0f} texts/s, {ours[1]:.1f} CPU-s; ratio {ratios[-1]:.3f}"
            )
        print(
            f"{count} texts, {rounds} rounds: {statistics.median(ratios):.3f} times as fast as bare encode (median; "
            f"{min(ratios):.3f} to {max(ratios):.3f}), {statistics.median(processor):.3f} times its CPU time"
        )
        before = embedded()
        stage.fetch_back()
        await stage.run()
        again = embedded() - before
        print(f"a last look at all {rounds * count + 64} texts: {again:.0f} embedded of {before:.0f} at first")
        return again == 0


async def _timed(stage: Stage) -> tuple[float, float]:
    started, worked = time.perf_counter(), used().cpu_seconds
    await stage.run()
    return time.perf_counter() - started, used().cpu_seconds - worked


async def _timed_bare(bare: Bare, documents: list[str]) -> tuple[float, float]:
    started, worked = time.perf_counter(), used().cpu_seconds
    bare.encode(documents)
    return time.perf_counter() - started, used().cpu_seconds - worked


# ---- memory ----


@dataclass
class Peak:
    """The most that was seen, in MiB."""

    own: float = 0.0
    children: float = 0.0


@asynccontextmanager
async def watched() -> AsyncIterator[Peak]:
    """Looks ten times a second; short peaks inside the library are seen by luck only."""
    peak = Peak()

    async def watch() -> None:
        while True:
            now = used()
            peak.own, peak.children = max(peak.own, now.own_mib), max(peak.children, now.children_mib)
            await asyncio.sleep(0.1)

    watching = asyncio.create_task(watch())
    try:
        yield peak
    finally:
        watching.cancel()


async def stream(count: int, identity: str, schema: PointSchema) -> AsyncIterator[Declared]:
    """Points, each made when it is asked for."""
    for number, text in enumerate(texts(count, seed=count, shortest=10, longest=20)):
        point = Point.model_validate({"id": number, "vectors": {"text": {"text": text}}})
        (declared,) = declare([point], schema, embedders={"text": identity}).points.values()
        yield declared


async def measure_memory(model: str, settings: EmbedderSettings, counts: Sequence[int]) -> None:
    """Prints the peak for each count; the same child embeds them all."""
    embedders = Embedders(settings)
    try:
        declared = api.Embedder.model_validate({"sentenceTransformers": {"model": model}})
        resolved = await embedders.resolve(declared)
        assert resolved.size is not None
        schema = {"text": VectorSchema("dense", resolved.size)}

        async def embed(_: str, some: Sequence[str]) -> EmbeddedTexts:
            return await embedders.embed(resolved, some)

        first = min(WINDOW_POINTS, *counts)
        await embed("text", list(texts(first, seed=0, shortest=10, longest=20)))
        warm = used()
        print(f"after {first} texts: {warm.own_mib:.0f} MiB, and {warm.children_mib:.0f} MiB in the child")
        for count in counts:
            done = 0
            points = stream(count, resolved.identity, schema)
            async with watched() as peak, aclosing(embedded_points(points, embed, schema)) as windows:
                async for window in windows:
                    done += len(window.points)
            assert done == count, f"{count - done} failed"
            print(f"{count:6} texts: at most {peak.own:.0f} MiB, and {peak.children:.0f} MiB in the child")
    finally:
        await embedders.close()


# ---- the command ----


def _settings(model_folder: Path | None, threads: int | None) -> EmbedderSettings:
    return EmbedderSettings(model_folder=model_folder, offline=model_folder is not None, threads=threads)


@app.command()
def speed(
    model: str = MINILM,
    model_folder: ModelFolder = None,
    count: int = 2000,
    rounds: int = 5,
    threads: int | None = None,
) -> None:
    """Texts per second, end to end against bare encode."""
    sys.exit(not asyncio.run(measure_speed(model, _settings(model_folder, threads), count, rounds)))


@app.command()
def memory(
    model: str = MINILM,
    model_folder: ModelFolder = None,
    counts: tuple[int, int, int] = (2_000, 8_000, 30_000),
    threads: int | None = None,
) -> None:
    """Memory over ever more texts."""
    asyncio.run(measure_memory(model, _settings(model_folder, threads), counts))


if __name__ == "__main__":
    app()
