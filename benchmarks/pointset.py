"""How long a PointSet of the largest size takes: the first time, with nothing to do, and with one point changed.

    PYTHONPATH=operator:tests python benchmarks/pointset.py [--points 2000] [--size 16]

Starts a Qdrant of its own (QDRANT_BIN, else the one of the tests) and prints seconds, and requests by operation, for
gRPC and for REST. Beside them the floor: the plain client, which sends the same points and remembers nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
from qdrant_client import AsyncQdrantClient, models

from servers.qdrant import QdrantServer
from vectorops.api.connection import QdrantConnectionSpec
from vectorops.api.meta import Ref
from vectorops.api.pointset import Point
from vectorops.points.declared import declare
from vectorops.points.schema import point_schema
from vectorops.points.sync import Synced, Target, sync
from vectorops.qdrant.connect import Credentials, connect
from vectorops.qdrant.ledger import LedgerKey, LedgerStore
from vectorops.qdrant.observe import read_collection


def points(count: int, size: int) -> list[dict[str, Any]]:
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


async def timed(what: str, work: Callable[[], Awaitable[Any]], requests: Sent) -> None:
    """Prints how long it took, and what was sent meanwhile."""
    requests.clear()
    started = time.perf_counter()
    done = await work()
    seconds = time.perf_counter() - started
    sent = ", ".join(f"{count} {operation}" for operation, count in sorted(requests.items()))
    told = f"{done.written} written, {done.unchanged} unchanged" if isinstance(done, Synced) else ""
    print(f"{what:28} {seconds:7.3f} s   {told:32} {requests.total()} requests: {sent}")


async def measured(server: QdrantServer, declared: list[dict[str, Any]], size: int, *, grpc: bool) -> None:
    """The passes of one set's life, through one door."""
    requests = Sent()
    spec = QdrantConnectionSpec(url=server.url, grpc_port=server.grpc_port, prefer_grpc=grpc)
    door = "gRPC" if grpc else "REST"
    database = connect(spec, Credentials(), observer=requests)
    await database.check()
    name = f"bench-{door}"
    await database.create_collection(name, {"vectors": {"size": size, "distance": "Cosine"}})
    point_set = Ref("PointSet", "default", "bench")
    store = LedgerStore(database, "ledger", LedgerKey("bench", point_set, name, "first"), "writer")

    async def one_pass() -> Synced:
        found = await read_collection(database, name)
        registered = bool(found.metadata)
        declaration = declare([Point.model_validate(point) for point in declared], point_schema(found))
        target = Target(name, point_schema(found), registered, {"vectorops.dev/ledger/bench/default/bench": "first"})
        return await sync(store, target, declaration)

    await timed(f"{door}: first time", one_pass, requests)
    await timed(f"{door}: nothing to do", one_pass, requests)
    declared = [{**declared[0], "payload": {"text": "other words"}}, *declared[1:]]
    await timed(f"{door}: one payload changed", one_pass, requests)
    declared = declared[: len(declared) // 2]
    await timed(f"{door}: half removed", one_pass, requests)
    await database.close()


async def floor(server: QdrantServer, declared: list[dict[str, Any]], size: int) -> None:
    """The same points by the plain client, 256 at a time."""
    client = AsyncQdrantClient(url=server.url, grpc_port=server.grpc_port, prefer_grpc=True, check_compatibility=False)
    await client.create_collection("floor", models.VectorParams(size=size, distance=models.Distance.COSINE))
    structs = [
        models.PointStruct(
            id=number,
            vector=np.frombuffer(base64.b64decode(point["vector"]["packed"]), dtype="<f4").tolist(),
            payload=point["payload"],
        )
        for number, point in enumerate(declared)
    ]

    async def upsert() -> None:
        for start in range(0, len(structs), 256):
            await client.upsert("floor", structs[start : start + 256], wait=True)

    await timed("plain client, gRPC", upsert, Sent())
    await client.close()


async def main() -> None:
    """Starts the server, and measures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--points", type=int, default=2000)
    parser.add_argument("--size", type=int, default=16)
    arguments = parser.parse_args()
    declared = points(arguments.points, arguments.size)
    with tempfile.TemporaryDirectory() as folder:
        server = QdrantServer(Path(folder))
        server.start()
        try:
            await floor(server, declared, arguments.size)
            for grpc in (True, False):
                await measured(server, declared, arguments.size, grpc=grpc)
        finally:
            server.kill()


if __name__ == "__main__":
    asyncio.run(main())
