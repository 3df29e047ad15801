"""What becomes of a set with a source when its points or its ledger are not what the last pass left.

The reconcilers run in this process, over a real Qdrant and a real Parquet file, which does not change meanwhile.
"""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from servers.qdrant import QdrantServer
from vectorops.api.connection import QdrantConnectionSpec
from vectorops.api.meta import JsonObject, ObjectMeta, Ref, Resource
from vectorops.embedders.base import EmbedderSettings
from vectorops.embedders.pool import Embedders
from vectorops.ledger.lifecycle import read_all_parts
from vectorops.ledger.records import LedgerKey
from vectorops.ledger.store import LedgerStore
from vectorops.local.cluster import LocalCluster
from vectorops.points import part_verification, staging
from vectorops.points.verification import Verification
from vectorops.qdrant.connect import Credentials, connect
from vectorops.qdrant.database import Database, PointData
from vectorops.qdrant.marks import mark_of
from vectorops.reconcilers.base import Context
from vectorops.reconcilers.databases import Databases
from vectorops.reconcilers.driver import Driver
from vectorops.reconcilers.kinds import RECONCILERS
from vectorops.sources.source_settings import SourceSettings

SET: Final = Ref("PointSet", "library", "books")
COUNT: Final = 200


class Shelf:
    """A set of books in four parts, and the operator that looks at it."""

    def __init__(self, server: QdrantServer, database: Database, folder: Path) -> None:
        self.server = server
        self.database = database
        self.name = f"books-{uuid4()}"
        self.ledgers = f"{self.name}-ledgers"
        self._file = folder / "library" / "books.parquet"
        self._file.parent.mkdir()
        self._cluster = LocalCluster([], {})
        self._databases = Databases(connect)
        context = Context(
            self._cluster,
            self._databases,
            Embedders(EmbedderSettings()),
            "test",
            writer="operator",
            verification=Verification(),
            sources=SourceSettings(folder=folder),
        )
        self._driver = Driver(context, RECONCILERS)

    async def close(self) -> None:
        await self._databases.close_all()

    def write_file(self, year: int, count: int = COUNT) -> None:
        """Books of this year's edition."""
        ids = list(range(1, count + 1))
        rows = {"id": ids, "vector": [[1.0, float(id)] for id in ids], "year": [year] * count}
        pq.write_table(pa.table(rows), self._file)

    async def declare(self) -> tuple[str, str]:
        """Applies all three resources, and reconciles each."""
        connection = {
            "url": self.server.url,
            "grpcPort": self.server.grpc_port,
            "ledgerCollectionName": self.ledgers,
        }
        collection = {"connectionRef": {"name": "main"}, "vector": {"size": 2, "distance": "Dot"}}
        books = {"collectionRef": {"name": self.name}, "source": {"files": {"path": self._file.name}}}
        declared: list[tuple[str, str, JsonObject]] = [
            ("QdrantConnection", "main", connection),
            ("QdrantCollection", self.name, collection),
            ("PointSet", "books", books),
        ]
        for kind, name, spec in declared:
            meta = ObjectMeta(name=name, namespace="library", uid=name, generation=1)
            self._cluster.add(Resource(kind, meta, spec, {}))
            await self._driver.run(Ref(kind, "library", name))
        return await self.look()

    async def look(self) -> tuple[str, str]:
        """Looks at the set once. Returns reason and message of Ready."""
        await self._driver.run(SET)
        found = self._cluster.now(SET)
        assert found is not None
        ready = found.condition("Ready")
        assert ready is not None
        return ready["reason"], ready["message"]

    async def is_as_declared(self, year: int) -> bool:
        points = await self.database.points(self.name, list(range(1, COUNT + 1)), payload=True)
        return len(points) == COUNT and all(point.payload == {"year": year} for point in points.values())

    async def store(self) -> LedgerStore:
        observed = await self.database.collection(self.name)
        assert observed is not None
        mark = mark_of(observed, self.name)
        assert mark is not None
        key = LedgerKey("test", SET, self.name, mark.incarnation)
        return LedgerStore(self.database, self.ledgers, key, "nobody")

    def call(self, method: str, path: str, **options: Any) -> Any:
        answer = httpx.request(method, f"{self.server.url}/collections/{self.name}{path}", timeout=60, **options)
        return answer.raise_for_status().json()["result"]


@pytest.fixture
async def shelf(qdrant: QdrantServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Shelf]:
    monkeypatch.setattr(staging, "POINTS_OF_A_PART", 64)
    database = connect(QdrantConnectionSpec(url=qdrant.url, grpc_port=qdrant.grpc_port), Credentials())
    await database.check()
    made = Shelf(qdrant, database, tmp_path)
    made.write_file(2001)
    assert (await made.declare())[0] == "Succeeded"
    assert await made.is_as_declared(2001)
    yield made
    await made.close()
    await database.close()


async def test_points_of_an_older_snapshot_are_as_declared_once_all_parts_had_their_turn(shelf: Shelf) -> None:
    """The ledger stayed, and says that the newer ones were written."""
    snapshot = shelf.call("POST", "/snapshots")["name"]
    shelf.write_file(2002)
    assert (await shelf.look())[0] == "Succeeded"
    assert await shelf.is_as_declared(2002)
    location = (shelf.server.folder / "snapshots" / shelf.name / snapshot).as_uri()
    shelf.call("PUT", "/snapshots/recover", json={"location": location, "priority": "snapshot"})
    assert not await shelf.is_as_declared(2002)

    looks = 0
    while not await shelf.is_as_declared(2002):
        assert (looks := looks + 1) <= part_verification.PASSES
        await shelf.look()

    assert (await shelf.look())[0] == "Succeeded"


@pytest.mark.parametrize("number", [0, 3])
async def test_a_point_that_somebody_deleted_is_back_once_its_part_had_its_turn(shelf: Shelf, number: int) -> None:
    part = (await read_all_parts(await shelf.store()))[number]
    await shelf.database.delete_points(shelf.name, [next(iter(part.entries))])

    looks = 0
    while not await shelf.is_as_declared(2001):
        assert (looks := looks + 1) <= part_verification.PASSES
        await shelf.look()


async def test_a_ledger_that_was_deleted_costs_no_point_and_is_made_again(shelf: Shelf) -> None:
    foreign = PointData(9999, {}, {"by": "another"})
    await shelf.database.upsert(shelf.name, [foreign])
    await shelf.database.delete_collection(shelf.ledgers)
    shelf.write_file(2001, count=COUNT - 20)

    reason, _ = await shelf.look()

    assert reason == "LedgerLost"
    assert await shelf.is_as_declared(2001), "nobody knows any more that the last twenty were the set's"
    assert await shelf.database.points(shelf.name, [9999])
    owned = [id for ledger in await read_all_parts(await shelf.store()) for id in ledger.entries]
    assert sorted(owned) == list(range(1, COUNT - 19))
    shelf.write_file(2001, count=COUNT - 40)
    await shelf.look()
    left = await shelf.database.points(shelf.name, list(range(1, COUNT + 1)))
    assert sorted(left) == [*range(1, COUNT - 39), *range(COUNT - 19, COUNT + 1)]


@pytest.mark.parametrize(("kind", "how"), [("head", "spoilt"), ("base", "spoilt"), ("base", "gone"), ("slot", "gone")])
async def test_nothing_is_deleted_while_a_record_is_damaged_and_all_is_well_when_it_is_back(shelf, kind, how) -> None:
    store = await shelf.store()
    part = (await read_all_parts(store))[2].part
    record = store.key.record_id(kind, part)
    found = (await shelf.database.points(shelf.ledgers, [record], payload=True))[record]
    if how == "gone":
        await shelf.database.delete_points(shelf.ledgers, [record])
    else:
        spoilt = {**found.payload, "u64" if kind == "base" else "bits": "?"}
        await shelf.database.upsert(shelf.ledgers, [PointData(record, payload=spoilt)])
    shelf.write_file(2002, count=COUNT - 20)

    reason, words = await shelf.look()

    assert reason == "LedgerDamaged"
    # Before a base that is there and cannot be read, other parts were reached.
    assert ("no more is written" in words) == ((kind, how) == ("base", "spoilt"))
    assert len(await shelf.database.points(shelf.name, list(range(1, COUNT + 1)))) == COUNT
    if (kind, how) != ("base", "spoilt"):
        # The parts before a base that is there and cannot be read are written.
        assert await shelf.is_as_declared(2001)
    await shelf.database.upsert(shelf.ledgers, [PointData(record, payload=found.payload)])
    assert (await shelf.look())[0] == "Succeeded"
    assert sorted(await shelf.database.points(shelf.name, list(range(1, COUNT + 1)))) == list(range(1, COUNT - 19))
