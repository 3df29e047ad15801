"""What readers notice of a switch to another model and of the way back: failed requests, and answers to a question of
another model than the collection's.

PYTHONPATH=tests python benchmarks/readers.py measure

An operator keeps an aliased collection and its ConfigMap for readers. Two readers ask 200 times a second each, the
service of `examples/blue-green`: one by the alias, one by the physical collection. Both take the model from the
ConfigMap, which reaches them late, as a mounted one does. The two models give vectors of one size that contradict each
other, so that an answer shows which model asked.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, Final

import typer
from stage import Stage, raised, until

from servers.embeddings import EmbeddingServer
from servers.kubeapi import Object, is_ready

SERVICE: Final = Path(__file__).parents[1] / "examples/blue-green/service/reader.py"
COLLECTION: Final = "tips"
ROLL_BACK: Final = "vectorops.dev/roll-back"
KINDS_OF_READER: Final = ("alias", "physical")

app = typer.Typer(add_completion=False)


# ---- a reader, in a process of its own ----


@dataclass
class Seen:
    """What one reader noticed."""

    asked: int = 0
    mixed: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    longest_seconds: float = 0.0
    models: Counter[str] = field(default_factory=Counter)
    """How many answers with each model."""


@app.command()
def ask(kind: str, file: Path, stop: Path, texts: int, rate: float, threads: int = 8) -> None:
    """Says when it begins, asks until the file `stop` is there, and prints what was seen, as JSON."""
    service = _load_service()

    class ByAlias(service.Reader):  # type: ignore[misc,name-defined]
        def name_of(self, told: dict[str, Any]) -> str:
            name: str = told["name"]
            return name

    made = ByAlias if kind == "alias" else service.Reader
    reader = made(file, service.encoder_of)
    threading.Thread(target=service.follow_for_ever, args=(reader,), daemon=True).start()
    for number in range(texts):
        reader.target.encode(_text(number))
    print("asking", flush=True)
    seen, lock, turns = Seen(), threading.Lock(), _turns(rate)

    def work() -> None:
        while not stop.exists():
            with lock:
                number, due = next(turns)
            time.sleep(max(due - time.perf_counter(), 0.0))
            wanted, model = number % texts, reader.target.model
            began = time.perf_counter()
            try:
                hits = reader.search(_text(wanted), limit=1)
            except Exception as error:  # noqa: BLE001 - whatever it is, a person would have seen it
                with lock:
                    seen.failed[type(error).__name__] += 1
                continue
            took = time.perf_counter() - began
            with lock:
                seen.asked += 1
                seen.mixed += hits[0].payload["number"] != wanted
                seen.longest_seconds = max(seen.longest_seconds, took)
                seen.models[model] += 1

    workers = [threading.Thread(target=work) for _ in range(threads)]
    began = time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    print(json.dumps(vars(seen) | {"seconds": time.perf_counter() - began}), flush=True)


def _load_service() -> ModuleType:
    spec = importlib.util.spec_from_file_location("blue_green_reader", SERVICE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # A dataclass looks its module up by name.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def _turns(rate: float) -> Iterator[tuple[int, float]]:
    """Number and time of each request, evenly. Who is late does not catch up."""
    due, number = time.perf_counter(), 0
    while True:
        yield number, due
        number, due = number + 1, max(due + 1 / rate, time.perf_counter() - 1 / rate)


def _text(number: int) -> str:
    return f"text {number}"


# ---- what they ask ----


def _vectors(count: int, turn: int, texts: list[str]) -> list[list[float]]:
    """Of text i: 1 at i + turn, 0 elsewhere. Models of different turns find each other's neighbours."""
    # The operator asks about a text of its own, too.
    numbers = [int(text.removeprefix("text ")) if text.startswith("text ") else 0 for text in texts]
    places = [(number + turn) % count for number in numbers]
    return [[float(place == at) for at in range(count)] for place in places]


@app.command()
def measure(
    texts: Annotated[int, typer.Option(help="points, and components of a vector")] = 100,
    rate: Annotated[float, typer.Option(help="requests a second of each reader")] = 200.0,
    seconds: Annotated[float, typer.Option(help="before, between and after the two switches")] = 10.0,
    lag: Annotated[float, typer.Option(help="seconds until a changed ConfigMap is in the volume")] = 10.0,
) -> None:
    """Prints what each kind of reader noticed of one switch and one roll-back."""
    asyncio.run(_measure(texts, rate, seconds, lag))


async def _measure(texts: int, rate: float, seconds: float, lag: float) -> None:
    with EmbeddingServer(partial(_vectors, texts, 0)) as old, EmbeddingServer(partial(_vectors, texts, 1)) as new:
        async with raised() as stage:
            declare = partial(_collection, stage, texts)
            points = [
                {"id": number, "vectors": {"text": {"text": _text(number)}}, "payload": {"number": number}}
                for number in range(texts)
            ]
            ref = {"name": COLLECTION}
            point_set = stage.resource("PointSet", COLLECTION, collectionRef=ref, points=points)
            await stage.apply_all([stage.connection(), declare("old", old.base_url), point_set])
            await stage.until_ready(3)
            async with _volume(stage, lag) as file:
                stop = stage.folder / "stop"
                given = (str(file), str(stop), str(texts), str(rate))
                readers = [_start_reader(kind, *given) for kind in KINDS_OF_READER]
                try:
                    for reader in readers:
                        assert reader.stdout is not None
                        await asyncio.to_thread(reader.stdout.readline)
                    await asyncio.sleep(seconds)
                    await stage.api.apply(declare("new", new.base_url))
                    moved = await _until_phase(stage, "GracePeriod")
                    await asyncio.sleep(lag + seconds)
                    incarnation = moved["status"]["migration"]["to"]["incarnation"]
                    await stage.api.annotate("QdrantCollection", stage.namespace, COLLECTION, {ROLL_BACK: incarnation})
                    await _until_phase(stage, "RolledBack")
                    await asyncio.sleep(lag + seconds)
                finally:
                    stop.touch()
                    said = [reader.communicate()[0] for reader in readers]
    print(f"a switch and a roll-back; the ConfigMap reaches readers within {lag:g} s and is read every 2 s")
    for kind, lines in zip(KINDS_OF_READER, said, strict=True):
        seen = json.loads(lines.splitlines()[-1])
        print(
            f"by the {kind:8}: {seen['asked']:,} answers in {seen['seconds']:.0f} s "
            f"({seen['asked'] / seen['seconds']:.0f} a second), failed {sum(seen['failed'].values())} "
            f"{seen['failed'] or ''}, mixed {seen['mixed']}, longest {seen['longest_seconds'] * 1000:.0f} ms; "
            f"by model: {seen['models']}"
        )


def _start_reader(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, __file__, "ask", *arguments], stdout=subprocess.PIPE, text=True)


def _collection(stage: Stage, texts: int, model: str, base_url: str) -> Object:
    embedder = {"openAI": {"model": model, "baseURL": base_url, "dimensions": texts}}
    return stage.resource(
        "QdrantCollection",
        COLLECTION,
        connectionRef={"name": "main"},
        layout="Aliased",
        readerConfigMap=True,
        vectors=[{"name": "text", "embedder": embedder}],
        migration={"approval": "Auto", "gracePeriod": "1h"},
    )


@asynccontextmanager
async def _volume(stage: Stage, lag: float) -> AsyncIterator[Path]:
    """The file reader.json of the ConfigMap, as a kubelet keeps it: replaced in one step, some time after a change."""
    file = stage.folder / "reader.json"

    async def bring() -> None:
        found = await stage.api.get("ConfigMap", stage.namespace, f"{COLLECTION}-reader")
        beside = file.with_suffix(".new")
        beside.write_text(found["data"]["reader.json"])
        beside.replace(file)

    async def repeat() -> None:
        while True:
            await asyncio.sleep(lag)
            await bring()

    await bring()
    task = asyncio.create_task(repeat())
    try:
        yield file
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _until_phase(stage: Stage, phase: str) -> Object:
    """Waits for a phase of the migration, after which the collection settles."""
    found: Object = {}

    async def is_there() -> bool:
        nonlocal found
        found = await stage.api.get("QdrantCollection", stage.namespace, COLLECTION)
        reached = (found["status"].get("migration") or {}).get("phase") == phase
        return reached and (phase == "RolledBack" or is_ready(found))

    await until(is_there)
    return found


if __name__ == "__main__":
    app()
