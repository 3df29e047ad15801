"""How fast points are written, against the fastest way that qdrant-client has, in one run.

python benchmarks/points.py --url http://127.0.0.1:6333 --grpc-port 6334

Writes the same points into fresh collections, in turn, without indexing, and prints the median of each way and the
ratio.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable

import numpy as np
import typer
from qdrant_client import QdrantClient

from vectorops.api.connection import QdrantConnectionSpec
from vectorops.api.meta import JsonObject
from vectorops.qdrant.connect import Credentials, connect
from vectorops.qdrant.database import UNNAMED, PointData

COLLECTION = "benchmark-points"


def payload_of(number: int) -> JsonObject:
    """Five fields, as documents have them."""
    return {
        "title": f"Document {number}",
        "author": f"author-{number % 100}",
        "year": 1990 + number % 35,
        "score": number / 7,
        "tags": ["one", "two", f"tag-{number % 10}"],
    }


async def measure(url: str, grpc_port: int, count: int, size: int, rounds: int) -> None:
    """Runs all ways in turn, so that whatever else the machine does meets all of them."""
    vectors = np.random.default_rng(1).uniform(-1, 1, (count, size)).astype(np.float32)
    payloads = [payload_of(number) for number in range(count)]
    points = [PointData(number, {UNNAMED: vectors[number]}, payloads[number]) for number in range(count)]
    grpc = connect(QdrantConnectionSpec(url=url, grpc_port=grpc_port), Credentials())
    rest = connect(QdrantConnectionSpec(url=url, prefer_grpc=False), Credentials())
    client = QdrantClient(url=url, grpc_port=grpc_port, prefer_grpc=True, check_compatibility=False)

    async def official() -> None:
        client.upload_collection(COLLECTION, vectors, payloads, range(count), batch_size=256, wait=True)

    ways: dict[str, Callable[[], Awaitable[None]]] = {
        "qdrant-client, upload_collection over gRPC": official,
        "vectorops over gRPC": lambda: grpc.upsert(COLLECTION, points),
        "vectorops over REST": lambda: rest.upsert(COLLECTION, points),
    }
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    processor: dict[str, list[float]] = {way: [] for way in ways}
    body = {"vectors": {"size": size, "distance": "Dot"}, "optimizers_config": {"indexing_threshold": 0}}
    for _ in range(rounds):
        for way, write in ways.items():
            await rest.delete_collection(COLLECTION)
            await rest.create_collection(COLLECTION, body)
            started, worked = time.perf_counter(), time.process_time()
            await write()
            seconds[way].append(time.perf_counter() - started)
            processor[way].append(time.process_time() - worked)
            assert client.count(COLLECTION).count == count
    await rest.delete_collection(COLLECTION)
    for database in (grpc, rest):
        await database.close()
    client.close()

    first = statistics.median(seconds["qdrant-client, upload_collection over gRPC"])
    for way in ways:
        median = statistics.median(seconds[way])
        work = statistics.median(processor[way])
        print(f"{way:45} {count / median:9,.0f} points/s  {work:5.2f} CPU-s  x {first / median:.2f}")


def main(
    url: str = "http://127.0.0.1:6333",
    grpc_port: int = 6334,
    count: int = 20_000,
    size: int = 384,
    rounds: int = 5,
) -> None:
    """Measure the writing of points."""
    asyncio.run(measure(url, grpc_port, count, size, rounds))


if __name__ == "__main__":
    typer.run(main)
