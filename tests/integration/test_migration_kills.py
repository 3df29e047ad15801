"""The process dies before each writing call of a migration, and the next one ends it.

The calls are found by recording: a life is run with a kill at its first writing call, at its second one and so on,
until there is none left. In whatever state the world is then, another process makes it as declared: no point is lost,
and no collection, alias or ledger is left over.
"""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import numpy as np
import pytest

from integration.points.scene import Killed, killed_before
from integration.team import unique
from servers.qdrant import QdrantServer
from vectorops.api.connection import QdrantConnectionSpec
from vectorops.api.meta import FINALIZER, JsonObject, ObjectMeta, Resource
from vectorops.embedders.base import EmbedderSettings
from vectorops.embedders.pool import Embedders
from vectorops.errors import GaveWay
from vectorops.local.cluster import LocalCluster
from vectorops.local.runner import Runner
from vectorops.local.session import READS
from vectorops.qdrant.connect import Credentials, connect
from vectorops.qdrant.database import UNNAMED, Database, PointData
from vectorops.reconcilers.base import Context, Grants
from vectorops.reconcilers.databases import Databases
from vectorops.reconcilers.driver import Driver
from vectorops.reconcilers.kinds import RECONCILERS

pytestmark = [pytest.mark.timeout(600), pytest.mark.uncounted]

Call = Callable[[], Awaitable[Any]]
Instead = Callable[[Call], Awaitable[Any]]
AT_ONCE = timedelta(0)
LONG = timedelta(days=2)


class Mortal:
    """A database whose process is killed at one of its writing calls: from then on it makes no call.

    at: the number of the call, from 1; 0: it lives.
    """

    def __init__(self, database: Database, *, at: int = 0, instead: Instead | None = None) -> None:
        self._database, self._at, self._instead = database, at, instead
        self._writes = 0
        self.is_dead = False

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._database, name)
        if not callable(method) or name in {"with_shard_key", "close", "id_pages"}:
            return method

        async def call(*arguments: Any, **options: Any) -> Any:
            if self.is_dead:
                raise Killed
            if name in READS:
                return await method(*arguments, **options)
            self._writes += 1
            if self._writes != self._at or self._instead is None:
                return await method(*arguments, **options)
            try:
                return await self._instead(lambda: method(*arguments, **options))
            except Killed:
                self.is_dead = True
                raise

        return call


class Meddled:
    """A database in which somebody does something by hand, right before one of the calls that look for collections.

    at: the number of the call, from 1.
    """

    def __init__(self, database: Database, at: int, by_hand: Call) -> None:
        self._database, self._at, self._by_hand = database, at, by_hand
        self.looks = 0

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._database, name)
        if name not in {"aliases", "collection", "collection_names"}:
            return method

        async def look(*arguments: Any, **options: Any) -> Any:
            self.looks += 1
            if self.looks == self._at:
                await self._by_hand()
            return await method(*arguments, **options)

        return look


def resource(kind: str, name: str, spec: JsonObject) -> Resource:
    return Resource(kind, ObjectMeta(name=name, namespace="park", uid=name, generation=1), spec, {})


@dataclass(slots=True)
class Park:
    """A collection behind an alias with two sets, as one process after another sees them."""

    database: Database
    name: str
    now: datetime = field(default_factory=lambda: datetime(2026, 5, 1, tzinfo=UTC))
    ledger: str = "vectorops-ledger"
    owner: str = ""
    """The installation; "" if it is called as the collection."""
    held_back: str = ""
    """The hash that would approve what the last process held back."""
    reason: str = ""
    """Why the collection is Ready after the last process, or is not."""

    async def declare(
        self,
        collection: JsonObject,
        points: JsonObject,
        *,
        at: int = 0,
        instead: Instead | None = None,
        roll_back: str = "",
        approve: str = "",
        take_over_from: str = "",
        suspended: str = "",
        meddled: "Meddled | None" = None,
        leaves: bool = False,
    ) -> bool:
        """One process. Returns whether it was killed. points: by the set's name, ids and vectors. suspended: a set.
        meddled: the database as this process finds it. leaves: the collection is being deleted.
        """
        spec = {"connectionRef": {"name": "main"}, "collectionName": self.name, "vector": {"size": 2}, **collection}
        resources = [
            resource("QdrantConnection", "main", {"url": "http://localhost:6333"}),
            resource("QdrantCollection", "zoo", spec),
        ]
        if leaves:
            meta = resources[1].meta.model_copy(
                update={"deletion_timestamp": self.now.isoformat(), "finalizers": [FINALIZER]}
            )
            resources[1] = replace(resources[1], meta=meta)
        for name, some in points.items():
            given = [{"id": id, "vector": {"values": vector}} for id, vector in some.items()]
            of_set = {"collectionRef": {"name": "zoo"}, "points": given, "suspend": name == suspended}
            resources.append(resource("PointSet", name, of_set))
        mortal = Mortal(meddled or self.database, at=at, instead=instead)
        cluster = LocalCluster(resources, {}, lambda *_: None)
        context = Context(
            cluster,
            Databases(lambda _, __: mortal),
            Embedders(EmbedderSettings()),
            self.owner or self.name,
            writer=unique("writer"),
            grants=Grants(frozenset({approve}), take_over_from, roll_back=frozenset({roll_back} if roll_back else ())),
            now=lambda: self.now,
        )
        runner = Runner(cluster, Driver(context, RECONCILERS))
        try:
            async with asyncio.timeout(30):
                assert await runner.run(asyncio.get_running_loop().time() + 20)
        except (Killed, BaseExceptionGroup) as error:
            if isinstance(error, BaseExceptionGroup) and error.split(Killed)[1] is not None:
                raise
        zoo = cluster.now(resources[1].ref)
        if zoo is None:
            return mortal.is_dead
        self.held_back = (zoo.status.get("plan") or {}).get("hash", "")
        self.reason = str((zoo.condition("Ready") or {}).get("reason"))
        return mortal.is_dead

    async def behind(self) -> list[str]:
        names = await self.database.collection_names()
        return sorted(name for name in names if name == self.name or name.startswith(f"{self.name}-"))

    async def assert_as_declared(
        self, points: JsonObject, *, shards: int, collections: int = 1, others: JsonObject | None = None
    ) -> None:
        """So many collections, the alias leads to one with so many shards, and exactly these points are in each."""
        names = await self.behind()
        assert len(names) == collections, names
        active = (await self.database.aliases())[self.name]
        assert active in names
        found = await self.database.collection(active)
        assert found is not None
        assert found["config"]["params"]["shard_number"] == shards
        wanted = {id for some in (points | (others or {})).values() for id in some}
        for name in names:
            stored = {point.id for point in await self.database.scroll(name)}
            assert stored == wanted, name
        owner = {"must": [{"key": "kind", "match": {"value": "head"}}]}
        heads = await self.database.scroll(self.ledger, owner, payload=("collection", "owner"))
        owners = (f"{self.name}/", f"{self.owner}/")
        about = [head.payload["collection"] for head in heads if str(head.payload["owner"]).startswith(owners)]
        assert sorted(about) == sorted(names * len(points))

    async def incarnation(self) -> str:
        """Of the collection that the alias leads to."""
        active = (await self.database.aliases())[self.name]
        found = await self.database.collection(active)
        assert found is not None
        return str(found["config"]["metadata"]["vectorops.dev/mark"]["incarnation"])


A: JsonObject = {"lions": {1: [1.0, 0.0], 2: [0.0, 1.0]}, "birds": {3: [1.0, 1.0]}}
B: JsonObject = {"lions": {1: [1.0, 0.0], 4: [0.5, 0.5]}, "birds": {3: [0.0, 1.0]}}


def aliased(shards: int, grace: str = "24h") -> JsonObject:
    return {
        "layout": "Aliased",
        "params": {"shard_number": shards},
        "payloadIndexes": [{"field": "kind", "schema": {"type": "keyword"}}],
        "migration": {"approval": "Auto", "gracePeriod": grace},
    }


@pytest.fixture
async def database(qdrant: QdrantServer) -> Any:
    opened = connect(QdrantConnectionSpec(url=qdrant.url, prefer_grpc=False), Credentials())
    await opened.check()
    yield opened
    await opened.close()


async def killed_at_each_call(database: Database, life: Callable[[Park, int, Instead], Awaitable[bool]]) -> int:
    """Lives with a kill before each writing call, which is after the one that came before. Returns how many there were.

    life: returns whether the kill came.
    """
    for number in itertools.count(1):
        if not await life(Park(database, unique("zoo")), number, killed_before):
            return number - 1
    raise AssertionError("unreachable")


async def test_a_whole_migration(database: Database) -> None:
    async def life(park: Park, at: int, instead: Instead) -> bool:
        await park.declare(aliased(1), A)
        is_killed = await park.declare(aliased(2, "0s"), B, at=at, instead=instead)
        await park.declare(aliased(2, "0s"), B)
        await park.assert_as_declared(B, shards=2)
        return is_killed

    assert await killed_at_each_call(database, life) > 20


async def test_a_change_that_is_taken_back_or_becomes_another_one(database: Database) -> None:
    async def life(park: Park, at: int, instead: Instead) -> bool:
        await park.declare(aliased(1), A)
        is_killed = await park.declare(aliased(2), A, at=at, instead=instead)
        third = at % 2
        # Within its grace period the first one may serve again.
        park.now += LONG
        await park.declare(aliased(3 if third else 1, "0s"), B)
        await park.assert_as_declared(B, shards=3 if third else 1)
        return is_killed

    assert await killed_at_each_call(database, life) > 15


async def test_the_way_back(database: Database) -> None:
    async def life(park: Park, at: int, instead: Instead) -> bool:
        await park.declare(aliased(1), A)
        await park.declare(aliased(2), A)
        left = await park.incarnation()
        is_killed = await park.declare(aliased(2), B, at=at, instead=instead, roll_back=left)
        await park.declare(aliased(2), B, roll_back=left)
        await park.assert_as_declared(B, shards=1, collections=2)
        park.now += LONG
        await park.declare(aliased(2), B)
        await park.assert_as_declared(B, shards=1)
        return is_killed

    assert await killed_at_each_call(database, life) > 5


async def test_another_owner_takes_over_all_of_them(database: Database) -> None:
    async def life(park: Park, at: int, instead: Instead) -> bool:
        await park.declare(aliased(1), A)
        await park.declare(aliased(2), A)
        left, park.owner = await park.incarnation(), f"{park.name}-heir"
        is_killed = await park.declare(aliased(2), A, at=at, instead=instead, take_over_from=park.name)
        await park.declare(aliased(2), B, take_over_from=park.name)
        await park.assert_as_declared(B, shards=2, collections=2)
        await park.declare(aliased(2), B, roll_back=left)
        await park.assert_as_declared(B, shards=1, collections=2)
        return is_killed

    assert await killed_at_each_call(database, life) > 5


async def test_an_old_collection_that_is_kept_holds_no_change_up(database: Database) -> None:
    def kept(shards: int) -> JsonObject:
        spec = aliased(shards, "0s")
        spec["migration"]["retire"] = "Manual"
        return spec

    park = Park(database, unique("zoo"))
    await park.declare(kept(1), A)
    park.now += timedelta(hours=1)
    await park.declare(kept(2), A)
    assert park.reason == "Succeeded"
    retire = park.held_back
    park.now += timedelta(hours=1)
    await park.declare(kept(3), B)
    assert park.reason == "Succeeded"
    await park.assert_as_declared(B, shards=3, collections=3)

    # After the way back, what is declared is still not what readers find.
    park.now += timedelta(hours=1)
    await park.declare(kept(3), B, roll_back=await park.incarnation(), approve=retire)
    assert park.reason == "RolledBack"
    await park.assert_as_declared(B, shards=2, collections=3)
    park.now += timedelta(hours=1)
    await park.declare(kept(3), B, approve=park.held_back)
    assert park.reason == "Succeeded"
    await park.assert_as_declared(B, shards=3, collections=3)
    await park.declare(kept(3), B, approve=park.held_back)
    await park.assert_as_declared(B, shards=3, collections=2)


async def test_whenever_somebody_deletes_the_old_collection_readers_find_the_one_that_is_being_filled(
    database: Database,
) -> None:
    for number in itertools.count(1):
        park = Park(database, unique("zoo"))
        await park.declare(aliased(1), A)
        await park.declare(aliased(2), A, suspended="birds")
        old = (await database.aliases())[park.name]
        (new,) = set(await park.behind()) - {old}
        meddled = Meddled(database, number, partial(database.delete_collection, old))

        await park.declare(aliased(2), A, suspended="birds", meddled=meddled)
        if meddled.looks < number:
            break

        await park.declare(aliased(2), A, suspended="birds")
        assert (await database.aliases())[park.name] == new
        assert {point.id for point in await database.scroll(new)} == set(A["lions"])
        await park.declare(aliased(2), A)
        assert await park.behind() == [new]
        assert {point.id for point in await database.scroll(new)} == {1, 2, 3}
    assert number > 10


@pytest.mark.parametrize("others_points", ["Block", "Leave"])
@pytest.mark.parametrize("gives_way", [False, True])
async def test_a_retained_collection_leaves_no_copy_and_no_mark(
    database: Database, others_points: str, gives_way: bool
) -> None:
    """Deleted in its grace period, by a process that is killed before a write, or that gives way at a look."""
    retained = aliased(2) | {"deletionPolicy": "Retain"}
    retained["migration"] |= {"othersPoints": others_points}

    async def give_way() -> None:
        raise GaveWay("others wait")

    for number in itertools.count(1):
        park = Park(database, unique("zoo"))
        await park.declare(aliased(1), A)
        old = (await database.aliases())[park.name]
        await park.declare(aliased(2), A)
        new = (await database.aliases())[park.name]
        await database.upsert(old, [PointData(77, {UNNAMED: np.array([0.6, 0.8], np.float32)}, {"by": "others"})])

        meddled = Meddled(database, number if gives_way else 0, give_way)
        at = 0 if gives_way else number
        is_killed = await park.declare(retained, A, at=at, instead=killed_before, meddled=meddled, leaves=True)
        if not is_killed and not (gives_way and meddled.looks >= number):
            break
        if is_killed:
            await park.declare(retained, A, leaves=True)

        left = await park.behind()
        assert left == sorted({new, old} if others_points == "Block" else {new})
        for name in left:
            found = await database.collection(name)
            assert found is not None
            assert found["config"]["metadata"]["vectorops.dev/mark"]["released"]
    assert number > 2


async def test_points_of_others_that_came_late_hold_no_change_up(database: Database) -> None:
    park = Park(database, unique("zoo"))
    await park.declare(aliased(1), A)
    old = (await park.database.aliases())[park.name]
    await park.declare(aliased(2), A)
    await park.database.upsert(old, [PointData(77, {UNNAMED: np.array([0.6, 0.8], np.float32)}, {"by": "others"})])
    park.now += LONG

    await park.declare(aliased(2), A)
    assert len(await park.behind()) == 2
    await park.declare(aliased(3), A)
    assert park.reason == "Succeeded"
    assert old in await park.behind()
    found = await park.database.collection((await park.database.aliases())[park.name])
    assert found is not None
    assert found["config"]["params"]["shard_number"] == 3


async def test_a_set_that_comes_and_one_that_goes_in_the_middle(database: Database) -> None:
    async def life(park: Park, at: int, instead: Instead) -> bool:
        await park.declare(aliased(1), {"lions": A["lions"]})
        is_killed = await park.declare(aliased(2), {"lions": A["lions"]}, at=at, instead=instead)
        await park.declare(aliased(2), B)
        await park.assert_as_declared(B, shards=2, collections=2)
        return is_killed

    assert await killed_at_each_call(database, life) > 15


async def test_a_direct_collection_becomes_an_alias(database: Database) -> None:
    async def life(park: Park, at: int, instead: Instead) -> bool:
        direct = {name: value for name, value in aliased(1).items() if name not in {"layout", "migration"}}
        await park.declare(direct, A)
        await park.declare(aliased(1), A)
        approve = park.held_back
        assert approve
        is_killed = await park.declare(aliased(1), A, at=at, instead=instead, approve=approve)
        await park.declare(aliased(1), A, approve=approve)
        await park.assert_as_declared(A, shards=1)
        return is_killed

    assert await killed_at_each_call(database, life) > 15


async def test_points_of_others_are_copied(database: Database) -> None:
    others = [PointData(id, {UNNAMED: np.array([0.6, 0.8], np.float32)}, {"by": "others"}) for id in (77, 78)]
    stranger: JsonObject = {"others": {77: [], 78: []}}

    async def life(park: Park, at: int, instead: Instead) -> bool:
        copying = aliased(2, "0s")
        copying["migration"] |= {"othersPoints": "Copy"}
        await park.declare(aliased(1), A)
        await park.database.upsert((await park.database.aliases())[park.name], others)
        is_killed = await park.declare(copying, A, at=at, instead=instead)
        await park.declare(copying, A)
        await park.assert_as_declared(A, shards=2, others=stranger)
        return is_killed

    assert await killed_at_each_call(database, life) > 15
