"""How long a PointSet of the largest size takes, from its first sync to a look at which nothing is to do.

    PYTHONPATH=operator:tests python benchmarks/pointset.py [--points 2000] [--size 384] [--rounds 3]

Starts a Qdrant of its own (QDRANT_BIN, else the one of the tests) and runs the operator's reconcilers in this process,
over gRPC and over REST. Prints, as medians of the rounds: seconds and CPU-seconds of this process, how often those of
the plain client's bare upsert loop go into them, the longest time that the event loop stood still (the beat that
measures it costs some CPU), and requests by operation. Everything is in it but the API server: parsing, comparing, the
ledger, status.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import gc
import statistics
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from qdrant_client import AsyncQdrantClient, models

from servers.qdrant import QdrantServer
from vectorops.api.meta import JsonObject, ObjectMeta, Ref, Resource
from vectorops.embedders.base import EmbedderSettings
from vectorops.embedders.pool import Embedders
from vectorops.local.cluster import LocalCluster
from vectorops.points.verification import Verification
from vectorops.qdrant.connect import connect
from vectorops.reconcilers.base import Context
from vectorops.reconcilers.databases import Databases
from vectorops.reconcilers.driver import Driver
from vectorops.reconcilers.kinds import RECONCILERS

BATCH: Final = 256
"""Points of one request of the plain client."""
BEAT_SECONDS: Final = 0.001
DOORS: Final = {"gRPC": True, "REST": False}


def points(count: int, size: int) -> list[JsonObject]:
    """As in a manifest: packed vectors, a small payload."""
    numbers = np.random.default_rng(1).uniform(-1, 1, (count, size)).astype("<f4")
    return [
        {
            "id": f"doc-{number}",
            "vector": {"packed": base64.b64encode(row.tobytes()).decode()},
            "payload": {"text": "some words about this point", "number": number},
        }
        for number, row in enumerate(numbers)
    ]


class Sent(Counter[str]):
    """Requests by operation: an `Observer` of a database."""

    def opened(self, server: str) -> None: ...

    def ended(self, server: str, operation: str, code: str, seconds: float) -> None:  # noqa: ARG002 - as an Observer
        self[operation] += 1

    def closed(self, server: str) -> None: ...


class Figures:
    """What was measured, by what was done."""

    def __init__(self) -> None:
        self.sent = Sent()
        self._seconds: defaultdict[str, list[float]] = defaultdict(list)
        self._cpu: defaultdict[str, list[float]] = defaultdict(list)
        self._stalls: defaultdict[str, list[float]] = defaultdict(list)
        self._requests: dict[str, str] = {}

    async def timed(self, what: str, work: Callable[[], Awaitable[Any]]) -> None:
        """Measures one piece of work, and how long nothing else could run meanwhile."""
        self.sent.clear()
        longest = 0.0

        async def beat() -> None:
            nonlocal longest
            while True:
                before = time.perf_counter()
                await asyncio.sleep(BEAT_SECONDS)
                longest = max(longest, time.perf_counter() - before - BEAT_SECONDS)

        beating = asyncio.create_task(beat())
        await asyncio.sleep(0)
        started, worked = time.perf_counter(), time.process_time()
        await work()
        self._cpu[what].append(time.process_time() - worked)
        self._seconds[what].append(time.perf_counter() - started)
        beating.cancel()
        self._stalls[what].append(longest)
        sent = ", ".join(f"{count} {operation}" for operation, count in sorted(self.sent.items()))
        self._requests[what] = f"{self.sent.total()} requests: {sent}" if sent else ""

    def show(self, floor: str) -> None:
        """One line for each; floor: what the others are compared with."""
        least, least_cpu = (statistics.median(each[floor]) for each in (self._seconds, self._cpu))
        for what, seconds in self._seconds.items():
            took, cpu, stall = (statistics.median(each) for each in (seconds, self._cpu[what], self._stalls[what]))
            shown = f"{took:7.3f} s {took / least:5.2f} x   {cpu:6.3f} CPU-s {cpu / least_cpu:5.2f} x"
            print(f"{what:34} {shown}   stood still {stall * 1000:4.0f} ms   {self._requests[what]}")


class Set:
    """One PointSet and what it needs, under an operator in this process."""

    def __init__(self, server: QdrantServer, name: str, size: int, figures: Figures, *, grpc: bool) -> None:
        self.ref = Ref("PointSet", "bench", name)
        spec = {"url": server.url, "grpcPort": server.grpc_port, "preferGrpc": grpc}
        self._cluster = LocalCluster([], {})
        self._put(Ref("QdrantConnection", "bench", name), spec)
        self._put(
            Ref("QdrantCollection", "bench", name),
            {"connectionRef": {"name": name}, "vector": {"size": size, "distance": "Cosine"}},
        )
        self._databases = Databases(partial(connect, observer=figures.sent))
        self.restart()

    def restart(self) -> None:
        """The next look is that of a new process."""
        embedders = Embedders(EmbedderSettings())
        verification = Verification()
        context = Context(self._cluster, self._databases, embedders, "bench", "writer", verification=verification)
        self._driver = Driver(context, RECONCILERS)

    async def prepare(self) -> None:
        """Makes the collection."""
        for ref in self._cluster.refs:
            await self._driver.run(ref)

    def declare(self, declared: list[JsonObject]) -> None:
        """Applies the set."""
        self._put(self.ref, {"collectionRef": {"name": self.ref.name}, "points": declared})

    def annotate(self, **annotations: str) -> None:
        """Sets annotations of ours."""
        found = self._cluster.now(self.ref)
        assert found is not None
        named = {f"vectorops.dev/{name}": value for name, value in annotations.items()}
        self._cluster.add(replace(found, meta=found.meta.model_copy(update={"annotations": named})))

    async def look(self) -> None:
        """Reconciles the set until it is Ready."""
        while True:
            verdict = await self._driver.run(self.ref)
            found = self._cluster.now(self.ref)
            assert found is not None
            if found.ready:
                return
            assert verdict.requeue_after == 0.0, found.status

    async def close(self) -> None:
        """Closes its connection."""
        await self._databases.close_all()

    def _put(self, ref: Ref, spec: JsonObject) -> None:
        before = self._cluster.now(ref)
        generation = before.meta.generation + 1 if before else 1
        meta = ObjectMeta(name=ref.name, namespace=ref.namespace, uid=ref.name, generation=generation)
        self._cluster.add(Resource(ref.kind, meta, spec, before.status if before else {}))


async def life(server: QdrantServer, declared: list[JsonObject], size: int, name: str, door: str, to: Figures) -> None:
    """One set from its first sync on."""
    one = Set(server, name, size, to, grpc=DOORS[door])
    await one.prepare()
    one.declare(declared)
    await to.timed(f"{door}: first sync", one.look)
    await to.timed(f"{door}: nothing to do", one.look)
    one.restart()
    await to.timed(f"{door}: nothing to do, after a start", one.look)
    one.annotate(verify="now")
    await to.timed(f"{door}: all compared (verify)", one.look)
    one.annotate()
    one.declare([{**declared[0], "payload": {"text": "other words"}}, *declared[1:]])
    await to.timed(f"{door}: one payload changed", one.look)
    one.declare(declared[: len(declared) // 2])
    await to.timed(f"{door}: half removed", one.look)
    await one.close()


async def floor(server: QdrantServer, declared: list[JsonObject], size: int, name: str, door: str, to: Figures) -> None:
    """The same points by the plain client, which remembers nothing."""
    client = AsyncQdrantClient(
        url=server.url, grpc_port=server.grpc_port, prefer_grpc=DOORS[door], check_compatibility=False
    )
    await client.create_collection(name, models.VectorParams(size=size, distance=models.Distance.COSINE))
    structs = [
        models.PointStruct(
            id=number,
            vector=np.frombuffer(base64.b64decode(point["vector"]["packed"]), dtype="<f4").tolist(),
            payload=point["payload"],
        )
        for number, point in enumerate(declared)
    ]

    async def upsert() -> None:
        for start in range(0, len(structs), BATCH):
            await client.upsert(name, structs[start : start + BATCH], wait=True)

    await to.timed(f"{door}: plain client, upsert loop", upsert)
    await client.close()


async def main() -> None:
    """Starts the server, and measures."""
    # As the operator does when it starts: what is loaded is not collected again and again.
    gc.freeze()
    parser = argparse.ArgumentParser()
    parser.add_argument("--points", type=int, default=2000)
    parser.add_argument("--size", type=int, default=384)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    declared = points(arguments.points, arguments.size)
    with tempfile.TemporaryDirectory() as folder:
        server = QdrantServer(Path(folder))
        server.start()
        try:
            for door in DOORS:
                figures = Figures()
                for number in range(arguments.rounds + 1):
                    # The first round makes the collection of the ledgers and loads modules; it is not counted.
                    into = figures if number else Figures()
                    await floor(server, declared, arguments.size, f"floor-{door}-{number}", door, into)
                    await life(server, declared, arguments.size, f"set-{door}-{number}".lower(), door, into)
                figures.show(f"{door}: plain client, upsert loop")
        finally:
            server.kill()


if __name__ == "__main__":
    asyncio.run(main())
