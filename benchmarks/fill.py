"""What it takes to copy points of others into the collection that is to replace theirs, beside a bare loop with the
official client: scroll a page with payload and vectors, upsert it, in pages of the same size, both over gRPC.

    PYTHONPATH=tests python benchmarks/fill.py [--count 100000] [--size 384] [--rounds 3]

Starts a Qdrant of its own. The ways take turns, so that whatever else the machine does meets both. Each round copies
into a new collection; a second pass, over which nothing has changed, is timed as well. The client lets Qdrant compress
its answers unless told otherwise, which takes most of the loop's time: so the loop is run both ways.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from qdrant_client import QdrantClient, models

from servers.qdrant import QdrantServer
from vectorops.api.connection import LEDGER_COLLECTION, QdrantConnectionSpec
from vectorops.api.meta import JsonObject
from vectorops.embedders.base import EmbeddedTexts
from vectorops.points.embedding import go_on
from vectorops.points.others import PAGE_POINTS, Copied, LedgeredCollection, OthersCopy
from vectorops.qdrant.connect import Credentials, connect
from vectorops.qdrant.database import UNNAMED, Database, PointData
from vectorops.qdrant.observe import read_collection

OLD, NEW = "fill-old", "fill-new"


def payload_of(number: int) -> JsonObject:
    """Five fields, as documents have them."""
    return {
        "title": f"Document {number}",
        "author": f"author-{number % 100}",
        "year": 1990 + number % 35,
        "score": number / 7,
        "tags": ["one", "two", f"tag-{number % 10}"],
    }


async def load(database: Database, body: JsonObject, count: int, size: int) -> None:
    """Fills the old collection."""
    await database.create_collection(OLD, body)
    random = np.random.default_rng(1)
    for first in range(0, count, 10_000):
        ids = range(first, min(first + 10_000, count))
        vectors = random.uniform(-1, 1, (len(ids), size)).astype(np.float32)
        points = [PointData(id, {UNNAMED: row}, payload_of(id)) for id, row in zip(ids, vectors, strict=True)]
        await database.upsert(OLD, points)


def copy_bare(client: QdrantClient) -> None:
    """The loop that a person writes."""
    offset = None
    while True:
        page, offset = client.scroll(OLD, limit=PAGE_POINTS, offset=offset, with_payload=True, with_vectors=True)
        points = [models.PointStruct(id=one.id, vector=one.vector or {}, payload=one.payload) for one in page]
        client.upsert(NEW, points, wait=True)
        if offset is None:
            return


async def embed(_vector: str, _texts: Sequence[str]) -> EmbeddedTexts:
    """No vector is made of a text here."""
    raise AssertionError("no vector is declared to be made of a text")


async def copy_others(database: Database) -> Copied:
    """One pass, as a migration makes it."""
    old, new = [
        LedgeredCollection(database, await read_collection(database, name), [LEDGER_COLLECTION]) for name in (OLD, NEW)
    ]
    return await OthersCopy(old, new, frozenset({UNNAMED}), {}, embed, go_on).copy()


async def measure(server: QdrantServer, count: int, size: int, rounds: int) -> None:
    """Runs the ways in turn, and prints medians and ratios."""
    database = connect(QdrantConnectionSpec(url=server.url, grpc_port=server.grpc_port), Credentials())
    await database.check()
    places: dict[str, Any] = {
        "url": server.url,
        "grpc_port": server.grpc_port,
        "prefer_grpc": True,
        "check_compatibility": False,
    }
    client = QdrantClient(**places)
    uncompressed = QdrantClient(**places, grpc_options={"grpc.compression_enabled_algorithms_bitset": 1})
    body = {"vectors": {"size": size, "distance": "Cosine"}, "optimizers_config": {"indexing_threshold": 0}}
    await load(database, body, count, size)

    async def bare() -> None:
        copy_bare(client)

    async def bare_uncompressed() -> None:
        copy_bare(uncompressed)

    async def ours() -> None:
        await copy_others(database)

    ways: dict[str, Callable[[], Awaitable[None]]] = {
        "a bare loop": bare,
        "a bare loop, uncompressed": bare_uncompressed,
        "vectorops": ours,
    }
    again = "vectorops, nothing changed"
    seconds: dict[str, list[float]] = {way: [] for way in (*ways, again)}
    processor: dict[str, list[float]] = {way: [] for way in seconds}

    async def clocked(way: str, copy: Callable[[], Awaitable[None]]) -> None:
        started, worked = time.perf_counter(), time.process_time()
        await copy()
        seconds[way].append(time.perf_counter() - started)
        processor[way].append(time.process_time() - worked)
        print(f"{way}: {seconds[way][-1]:.2f} s", flush=True)

    for number in range(rounds):
        # Whoever comes first finds another state of the machine's caches.
        for way in list(ways)[:: 1 if number % 2 == 0 else -1]:
            await database.delete_collection(NEW)
            await database.create_collection(NEW, body)
            await clocked(way, ways[way])
            assert await database.count(NEW) == count
            if way == "vectorops":
                await clocked(again, ours)
    for way, times in seconds.items():
        median = statistics.median(times)
        print(
            f"{way:30} {median:7.2f} s  {count / median:9,.0f} points/s  {statistics.median(processor[way]):6.2f} CPU-s"
        )
    for bare_way in list(ways)[:2]:
        ratios = [one / other for one, other in zip(seconds["vectorops"], seconds[bare_way], strict=True)]
        median = statistics.median(ratios)
        print(f"{median:.2f} times as long as {bare_way} ({min(ratios):.2f} to {max(ratios):.2f})")
    await database.close()
    client.close()
    uncompressed.close()


def main() -> None:
    """See above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--size", type=int, default=384)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="vectorops-benchmark-") as folder:
        server = QdrantServer(Path(folder) / "qdrant")
        server.start()
        try:
            asyncio.run(measure(server, given.count, given.size, given.rounds))
        finally:
            server.kill()


if __name__ == "__main__":
    main()
