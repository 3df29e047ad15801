"""What a set pays for its siblings' ledgers: one look, a point that changes, leaves, or is another's, the set deleted;
beside ever more sets of the same collection.

    PYTHONPATH=operator:tests python benchmarks/holders.py [--counts 10,100,500] [--points 2000] [--unhashed]

Starts a Qdrant of its own. Prints requests, CPU time of this process, and the largest amount of memory that the step
held at once. `--unhashed` takes the hashes from the siblings' records: so they are after an upgrade, until each is
written again.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
import tracemalloc
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from servers.qdrant import QdrantServer
from vectorops.api.connection import QdrantConnectionSpec
from vectorops.api.meta import JsonObject, Ref
from vectorops.api.pointset import Point
from vectorops.ledger.collection import ensure_ledger_collection
from vectorops.ledger.entries import Entry
from vectorops.ledger.records import LedgerKey
from vectorops.ledger.store import LedgerStore
from vectorops.points.declared import declare
from vectorops.points.identity import point_id
from vectorops.points.removal import remove_points
from vectorops.points.schema import point_schema
from vectorops.points.stage import Inline
from vectorops.points.sync import sync
from vectorops.points.target import Target
from vectorops.qdrant.connect import Credentials, connect
from vectorops.qdrant.database import Database, PayloadChange
from vectorops.qdrant.marks import registration_key
from vectorops.qdrant.observe import read_collection

SIZE = 16


class Bench:
    """One collection, with a set of 100 points and its siblings."""

    def __init__(self, database: Database, requests: Counter[str], points: int) -> None:
        self.database, self.requests, self.points = database, requests, points
        self.siblings = 0

    def store(self, name: str) -> LedgerStore:
        key = LedgerKey("bench", Ref("PointSet", "default", name), "bench", "first")
        return LedgerStore(self.database, "ledgers", key, "writer")

    async def grow(self, count: int, *, hashed: bool) -> None:
        """Siblings that hold points; the points themselves are nobody's business here."""
        for number in range(self.siblings, count):
            entries = {point_id(f"{number}-{point}"): Entry(99, (99,)) for point in range(self.points)}
            store = self.store(f"sibling-{number}")
            await store.create(("",), entries)
            if not hashed:
                ids = [store.key.record_id(kind) for kind in ("head", "base", "slot")]
                changes = [PayloadChange(id, remove=["hashes"]) for id in ids]
                await self.database.change_payloads("ledgers", changes)
        self.siblings = count

    async def look(self, name: str, points: list[JsonObject]) -> None:
        found = await read_collection(self.database, "bench")
        schema = point_schema(found)
        store = self.store(name)
        key = registration_key("bench", store.key.point_set)
        registered = key in found.metadata
        declaration = declare([Point.model_validate(point) for point in points], schema)
        await sync(store, Target("bench", schema, registered, {key: "first"}), Inline(declaration))

    async def measured(self, what: str, work: Callable[[], Awaitable[Any]]) -> None:
        self.requests.clear()
        tracemalloc.start()
        began, cpu = time.perf_counter(), time.process_time()
        await work()
        seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - cpu
        peak = tracemalloc.get_traced_memory()[1] / 2**20
        tracemalloc.stop()
        print(
            f"  {what:32} {self.requests.total():4} requests {cpu_seconds * 1000:8.1f} ms of CPU "
            f"{seconds * 1000:8.1f} ms {peak:7.1f} MiB",
            flush=True,
        )


class Counting:
    """Counts requests by operation."""

    def __init__(self, requests: Counter[str]) -> None:
        self._requests = requests

    def opened(self, _server: str) -> None:
        """Not counted."""

    def closed(self, _server: str) -> None:
        """Not counted."""

    def ended(self, _server: str, operation: str, _code: str, _seconds: float) -> None:
        """One more."""
        self._requests[operation] += 1


def declared(*names: object, n: int = 0) -> list[JsonObject]:
    """Points as in a manifest."""
    return [{"id": name, "vector": {"values": [1.0] * SIZE}, "payload": {"n": n}} for name in names]


async def main(counts: list[int], points: int, *, hashed: bool) -> None:
    """See above."""
    with tempfile.TemporaryDirectory(prefix="vectorops-benchmark-") as folder:
        server = QdrantServer(Path(folder) / "qdrant")
        server.start()
        try:
            requests: Counter[str] = Counter()
            spec = QdrantConnectionSpec(url=server.url, prefer_grpc=False)
            database = connect(spec, Credentials(), observer=Counting(requests))
            await database.check()
            await database.create_collection("bench", {"vectors": {"size": SIZE, "distance": "Dot"}})
            await ensure_ledger_collection(database, "ledgers", replication_factor=1)
            bench = Bench(database, requests, points)
            mine = [f"mine-{number}" for number in range(100)]
            for count in counts:
                await bench.grow(count, hashed=hashed)
                print(f"{count} siblings of {points} points:")
                await bench.look("set", declared(*mine))
                await bench.measured("one look, nothing to do", lambda: bench.look("set", declared(*mine)))
                changed = [*declared(*mine[1:]), *declared(mine[0], n=1)]
                await bench.measured("one point changes", lambda: bench.look("set", changed))  # noqa: B023 -- awaited here
                await bench.measured("one point leaves", lambda: bench.look("set", declared(*mine[1:])))
                await bench.look("holder", declared("contested"))
                contested = declared(*mine[1:], "contested")
                await bench.measured("one point is another's", lambda: bench.look("set", contested))  # noqa: B023
                await bench.measured("the set is deleted", lambda: remove_points(bench.store("set"), "bench"))
                await bench.store("set").remove()
                key = registration_key("bench", Ref("PointSet", "default", "set"))
                await database.update_collection("bench", {"metadata": {key: None}})
            await database.close()
        finally:
            server.kill()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", default="10,100,500")
    parser.add_argument("--points", type=int, default=2000)
    parser.add_argument("--unhashed", action="store_true")
    given = parser.parse_args()
    asyncio.run(main([int(count) for count in given.counts.split(",")], given.points, hashed=not given.unhashed))
