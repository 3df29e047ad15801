"""Rows of a Parquet file to points in Qdrant: VectorOps beside the official client, the wire, Daft and CocoIndex.

    PYTHONPATH=tests python benchmarks/sources.py [--count 100000] [--size 384] [--rounds 3] [--only WORD] [--load-only]
        [--docs docs]

Starts a Qdrant of its own. Each contender runs in a child process, in turn, with a fresh collection that is not
indexed, from the same file, which is in the page cache; rounds are interleaved, and each begins with another contender.
Prints a table, and with --docs puts it, and plots, into docs/benchmarks.md. How it is measured is told there.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final

import httpx
import typer
import yaml
from report import (
    DELETED,
    INLINE,
    LOAD,
    PAYLOADS,
    REWRITTEN,
    SAME,
    TOUCHED,
    VECTORS,
    Figures,
    Results,
    describe_versions,
    save_report,
    show_tables,
)
from rows import IS_DELETED, PAYLOAD_CHANGES, VECTOR_CHANGES, Files, make_base, make_files, payload_of, vector_of
from usage import cpu_seconds_of, run_measured

from servers.qdrant import QdrantServer

HERE: Final = Path(__file__).resolve().parent
UV: Final = Path(sys.executable).with_name("uv")


INDEXING_OFF: Final = {"indexing_threshold": 0}
Task = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Contender:
    """One way to bring the rows into Qdrant."""

    name: str
    script: str
    """Below contenders/."""
    extra: Task = field(default_factory=dict)
    """What its script needs besides."""
    remembers: bool = False
    """Does it know what it has written? One that does not would load all again in each phase."""
    own_environment: bool = False
    """Its script names what it needs, and `uv run` installs it."""

    def command(self, task: Task) -> list[str]:
        """Of the child process."""
        script, given = str(HERE / "contenders" / self.script), json.dumps({**task, **self.extra})
        if self.own_environment:
            return [str(UV), "run", "--quiet", "--no-project", "--offline", "--script", script, given]
        return [sys.executable, script, given]


def of_the_client(method: str, batch: int, *, grpc: bool) -> Contender:
    """The official client in one of its settings."""
    name = f"qdrant-client {method}, {'gRPC' if grpc else 'REST'}, batches of {batch}"
    return Contender(name, "plain_client.py", {"method": method, "batch": batch, "grpc": grpc})


VECTOROPS: Final = Contender("VectorOps", "reconciled.py", remembers=True)
WIRE: Final = Contender("wire ceiling", "wire_ceiling.py", {"batch": 512})
COCOINDEX: Final = Contender("CocoIndex 1.0.26", "coco.py", remembers=True, own_environment=True)
CONTENDERS: Final = (
    VECTOROPS,
    # REST and batches of 64 are the defaults.
    of_the_client("upload_points", 64, grpc=False),
    of_the_client("upload_points", 256, grpc=True),
    of_the_client("upload_points", 1024, grpc=True),
    of_the_client("upload_collection", 64, grpc=False),
    of_the_client("upload_collection", 256, grpc=True),
    of_the_client("upload_collection", 1024, grpc=True),
    WIRE,
    Contender("daft-qdrant 0.2.0", "daft_sink.py", {"batch": 1024}, own_environment=True),
    COCOINDEX,
)


class ContenderFailed(Exception):
    """It ended with an error, or not all points are as they should be; the message says why."""


class Bench:
    """A server, files, and what is measured with them."""

    def __init__(self, server: QdrantServer, folder: Path, files: Files | Path, count: int, size: int) -> None:
        """Files: all, or the first alone; then nothing but the load is measured."""
        self._server, self._folder, self._files, self._count, self._size = server, folder, files, count, size
        self.results: Results = defaultdict(lambda: defaultdict(list))
        self.failures: dict[str, str] = {}

    def run_round(self, contender: Contender, number: int) -> None:
        """One contender with a fresh collection, through all its phases."""
        folder = self._folder / "contender"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        collection = f"bench-{number}"
        try:
            for phase, figures in self._phases(contender, folder, collection):
                self.results[contender.name][phase].append(figures)
                print(f"  {contender.name}, {phase}: {figures.seconds:.2f} s", flush=True)
        except ContenderFailed as error:
            self.failures[contender.name] = str(error)
            print(f"  {contender.name} failed: {error}", flush=True)
        finally:
            for name in self._server.get("/collections")["collections"]:
                self._request("DELETE", f"/collections/{name['name']}")
            self._wait_until_it_rests()

    def _phases(self, contender: Contender, folder: Path, collection: str) -> Any:
        rows = folder / "rows.parquet"
        task = {"url": self._server.url, "grpc_port": self._server.grpc_port, "collection": collection}
        task |= {"file": str(rows), "folder": str(folder), "size": self._size, "manifest": "set.yaml"}
        if contender is VECTOROPS:
            self._write_manifests(folder, collection)
            self._measure(contender, {**task, "manifest": "inline.yaml"})
            yield INLINE, self._measure(contender, {**task, "manifest": "inline.yaml"})
        else:
            body = {"vectors": {"size": self._size, "distance": "Cosine"}, "optimizers_config": INDEXING_OFF}
            self._request("PUT", f"/collections/{collection}", body)
            self._wait_until_it_rests()

        def run(phase: str, file: Path | None, holds: Callable[[int], tuple[bool, bool, bool]]) -> Any:
            if file:
                # By a rename, as a careful writer does it; a copy is in the page cache.
                shutil.copyfile(file, rows.with_suffix(".new"))
                rows.with_suffix(".new").rename(rows)
            figures = self._measure(contender, task)
            self._check(collection, holds)
            return phase, figures

        if isinstance(self._files, Path):
            yield run(LOAD, self._files, lambda _: (False, False, False))
            return
        yield run(LOAD, self._files.base, lambda _: (False, False, False))
        if contender.remembers:
            yield run(SAME, None, lambda _: (False, False, False))
            yield run(TOUCHED, self._files.base, lambda _: (False, False, False))
            yield run(REWRITTEN, self._files.rewritten, lambda _: (False, False, False))
            yield run(VECTORS, self._files.vectors, lambda n: (n == VECTOR_CHANGES, False, False))
            yield run(PAYLOADS, self._files.payloads, lambda n: (n == VECTOR_CHANGES, n == PAYLOAD_CHANGES, False))
            yield run(
                DELETED,
                self._files.deleted,
                lambda n: (n == VECTOR_CHANGES, n == PAYLOAD_CHANGES, n == IS_DELETED),
            )

    def _measure(self, contender: Contender, task: Task) -> Figures:
        before = cpu_seconds_of(self._server.pid)
        environment = {**os.environ, "PYTHONPATH": "", "PYTHONUNBUFFERED": "1"}
        used = run_measured(contender.command(task), environment, self._folder / "contender")
        if used.code:
            told = "\n".join(used.output.strip().splitlines()[-15:])
            raise ContenderFailed(f"exit status {used.code}\n{told}")
        self._wait_until_it_rests()
        server = cpu_seconds_of(self._server.pid) - before
        own = json.loads(used.output.strip().splitlines()[-1])
        return Figures(own["seconds"], used.seconds, own["cpu_seconds"], server, used.peak_pss_mib, used.peak_own_mib)

    def _check(self, collection: str, changes: Callable[[int], tuple[bool, bool, bool]]) -> None:
        """Compares the number of points, and a sample of them."""
        expected = sum(not changes(number % 100)[2] for number in range(self._count))
        found = self._request("POST", f"/collections/{collection}/points/count", {"exact": True})["count"]
        if found != expected:
            raise ContenderFailed(f"{found} points are in the collection, {expected} should be")
        sample = [number for number in (0, VECTOR_CHANGES, PAYLOAD_CHANGES, IS_DELETED) if number < self._count]
        body = {"ids": sample, "with_vector": True, "with_payload": True}
        points = {point["id"]: point for point in self._request("POST", f"/collections/{collection}/points", body)}
        for number in sample:
            has_other_vector, has_other_payload, is_gone = changes(number % 100)
            if is_gone != (number not in points):
                raise ContenderFailed(f"point {number} should {'not ' if is_gone else ''}be there")
            if is_gone:
                continue
            if points[number]["payload"] != payload_of(number, changed=has_other_payload):
                raise ContenderFailed(f"point {number} has another payload than the file")
            first, declared = points[number]["vector"][0], vector_of(number, self._size, changed=has_other_vector)[0]
            if (first > 0) != (declared > 0):
                raise ContenderFailed(f"point {number} has another vector than the file")

    def _write_manifests(self, folder: Path, collection: str) -> None:
        def resource(kind: str, name: str, **spec: Any) -> Task:
            return {"apiVersion": "vectorops.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}

        def made(name: str) -> Task:
            vector = {"size": self._size, "distance": "Cosine"}
            connected = {"connectionRef": {"name": "main"}, "optimizersConfig": INDEXING_OFF}
            return resource("QdrantCollection", name, **connected, vector=vector)

        connection = resource("QdrantConnection", "main", url=self._server.url, grpcPort=self._server.grpc_port)
        ten = [
            {"id": n, "vector": {"values": vector_of(n, self._size).tolist()}, "payload": payload_of(n)}
            for n in range(10)
        ]
        manifests = {
            "inline.yaml": [
                connection,
                made("inline"),
                resource("PointSet", "inline", collectionRef={"name": "inline"}, points=ten),
            ],
            "set.yaml": [
                connection,
                made(collection),
                resource(
                    "PointSet", "rows", collectionRef={"name": collection}, source={"files": {"path": "rows.parquet"}}
                ),
            ],
        }
        for name, documents in manifests.items():
            (folder / name).write_text(yaml.safe_dump_all(documents))

    def _request(self, method: str, path: str, body: Any = None) -> Any:
        answer = httpx.request(method, f"{self._server.url}{path}", json=body, timeout=600)
        answer.raise_for_status()
        return answer.json()["result"]

    def _wait_until_it_rests(self) -> None:
        """Until Qdrant has used next to nothing for half a second: what it still does belongs to the phase before."""
        before = -1.0
        for _ in range(600):
            now = cpu_seconds_of(self._server.pid)
            if now - before < 0.03:
                return
            before = now
            time.sleep(0.5)


def can_be_installed(contender: Contender) -> bool:
    """Installs what a contender needs; says so if that does not work."""
    if not contender.own_environment:
        return True
    script = HERE / "contenders" / contender.script
    done = subprocess.run(
        [UV, "run", "--quiet", "--no-project", "--with-requirements", script, "python", "-c", ""],
        check=False, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    if done.returncode:
        print(f"{contender.name} is left out: {done.stderr.strip().splitlines()[-1]}")
    return done.returncode == 0


def main(
    count: int = 100_000,
    size: int = 384,
    rounds: int = 3,
    only: Annotated[
        list[str] | None, typer.Option(metavar="WORD", help="Contenders whose names hold a word; repeat it for more.")
    ] = None,
    load_only: Annotated[
        bool, typer.Option("--load-only", help="Leave out the phases after the load: they need five files.")
    ] = False,
    docs: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Put the tables into FOLDER/benchmarks.md, with plots.")
    ] = None,
) -> None:
    """Load a Parquet file into Qdrant in all ways, then change it."""
    chosen = [one for one in CONTENDERS if not only or any(word in one.name for word in only)]
    chosen = [one for one in chosen if can_be_installed(one)]
    with tempfile.TemporaryDirectory(prefix="vectorops-benchmark-") as temporary:
        folder = Path(temporary)
        (folder / "files").mkdir()
        files = (make_base if load_only else make_files)(folder / "files", count, size)
        server = QdrantServer(folder / "qdrant")
        server.start()
        try:
            told = (
                f"{count:,} rows of {size} components and five fields; medians of {rounds} interleaved rounds. "
                f"{describe_versions(server)}"
            )
            bench = Bench(server, folder, files, count, size)
            for number in range(rounds):
                print(f"round {number + 1} of {rounds}", flush=True)
                for contender in turned(chosen, number):
                    if contender.name not in bench.failures:
                        bench.run_round(contender, number)
        finally:
            server.kill()
    results = {one.name: bench.results[one.name] for one in chosen if one.name in bench.results}
    shown = show_tables(results, bench.failures, VECTOROPS.name, count)
    print(f"\n{told}\n\n{shown}")
    if docs:
        save_report(docs, results, VECTOROPS.name, f"{told}\n\n{shown}", count)
    if bench.failures:
        raise SystemExit(1)


def turned(contenders: Sequence[Contender], number: int) -> list[Contender]:
    """Another one first in each round."""
    first = number % len(contenders)
    return [*contenders[first:], *contenders[:first]]


if __name__ == "__main__":
    typer.run(main)
