"""What stands in a migration's way, and what people do to its collections by hand: readers find their points."""

import gzip
from pathlib import Path

import pytest
from qdrant_client import models

from integration.conftest import StartOperator
from integration.sources.sourced import lines, row
from integration.team import RECONCILE, Team, Until, is_settled, message, reason, unique
from integration.test_migration import POINTS, leads_to, names_behind, phase
from integration.world import (
    MARK,
    Stored,
    change_by_hand,
    config_of,
    has_reason,
    is_current,
    make_by_hand,
    point,
    put_by_hand,
    resource,
)
from servers.kubeapi import KubeApi, Object, is_ready
from servers.qdrant import QdrantServer

AUTO: Object = {"layout": "Aliased", "migration": {"approval": "Auto"}}
TWO_SHARDS: Object = {"params": {"shard_number": 2}}


async def lead(stored: Stored, alias: str, collection: str) -> None:
    """Somebody moves an alias by hand."""
    to = models.CreateAlias(collection_name=collection, alias_name=alias)
    await stored.client.update_collection_aliases([models.CreateAliasOperation(create_alias=to)])


def is_done(obj: Object) -> bool:
    return is_ready(obj) and is_settled(obj)


class HalfFilled:
    """A collection with two sets in the middle of a migration: one set has filled the new collection, and the other one
    is suspended.
    """

    def __init__(self, team: Team, stored: Stored, qdrant: QdrantServer) -> None:
        self.team, self.stored, self.qdrant = team, stored, qdrant
        self.name, self.first, self.second = unique("half"), unique("first"), unique("second")
        self.old = self.new = ""

    async def begin(self) -> None:
        await self.team.collection(self.name, until=is_ready, **AUTO)
        await self.team.points(self.first, self.name, POINTS[:1], until=is_ready)
        await self.team.points(self.second, self.name, POINTS[1:], until=is_ready)
        self.old = leads_to(self.qdrant, self.name)
        await self.team.points(self.second, self.name, POINTS[1:], suspend=True)
        waits = has_reason("MigrationBlocked")
        await self.team.collection(
            self.name, until=lambda obj: waits(obj) and self.first not in message(obj), **AUTO, **TWO_SHARDS
        )
        (self.new,) = set(names_behind(self.qdrant, self.name)) - {self.old}

    async def look_again(self) -> Object:
        return await self.team.look_again("QdrantCollection", self.name)

    async def end(self) -> str:
        """The second set is resumed. Returns the collection that readers find."""
        await self.team.points(self.second, self.name, POINTS[1:], until=is_ready)
        await self.team.wait("QdrantCollection", self.name, is_done)
        assert len(await self.stored.points(self.name)) == len(POINTS)
        return self.active

    @property
    def active(self) -> str:
        return leads_to(self.qdrant, self.name)


@pytest.fixture
async def half(team: Team, stored: Stored, qdrant: QdrantServer) -> HalfFilled:
    found = HalfFilled(team, stored, qdrant)
    await found.begin()
    return found


async def test_a_new_collection_that_somebody_deletes_is_made_once_more(half: HalfFilled) -> None:
    await half.stored.client.delete_collection(half.new)
    await half.look_again()

    assert half.active == half.old
    assert await half.end() not in {half.old, half.new}


async def test_if_somebody_deletes_the_old_collection_while_it_is_filled_readers_find_the_new_one(
    half: HalfFilled,
) -> None:
    await half.stored.client.delete_collection(half.old)
    await half.look_again()

    assert half.active == half.new
    assert len(await half.stored.points(half.name)) == 1, "what is left"
    assert await half.end() == half.new
    assert names_behind(half.qdrant, half.name) == [half.new]


async def test_an_alias_that_somebody_moves_to_the_new_collection_stays_there(half: HalfFilled) -> None:
    await lead(half.stored, half.name, half.new)

    told = await half.look_again()

    assert phase(told) == "GracePeriod"
    assert await half.end() == half.new
    assert names_behind(half.qdrant, half.name) == sorted([half.old, half.new]), "the way back"


async def test_a_collection_that_somebody_moves_the_alias_to_is_adopted_and_loses_no_point(half: HalfFilled) -> None:
    theirs = unique("theirs")
    await make_by_hand(half.stored, theirs)
    await put_by_hand(half.stored, theirs, 99)
    await lead(half.stored, half.name, theirs)

    await half.look_again()
    await half.team.points(half.second, half.name, POINTS[1:], until=is_ready)
    told = await half.team.wait(
        "QdrantCollection", half.name, lambda obj: "1 point that no PointSet declares" in message(obj)
    )

    assert reason(told) == "MigrationBlocked"
    assert half.active == theirs
    assert len(await half.stored.points(half.name)) == 1 + len(POINTS)
    assert set(names_behind(half.qdrant, half.name)) == {half.old, half.new}, "they are kept"
    await half.stored.client.delete(theirs, [99])
    await half.look_again()
    assert await half.end() == half.new


@pytest.mark.parametrize("which", ["old", "new"])
async def test_a_mark_that_somebody_removes_costs_no_point(half: HalfFilled, which: str) -> None:
    change_by_hand(half.qdrant, half.old if which == "old" else half.new, {"metadata": {MARK: None}})

    told = await half.look_again()

    assert half.active == half.old
    assert reason(told) == "MigrationBlocked"
    # Without its mark nothing tells that the new one is ours, so it is left alone, and another one is made.
    assert (await half.end() == half.new) == (which == "old")


async def test_if_somebody_deletes_the_active_collection_readers_find_the_one_from_before(
    team: Team, stored: Stored, qdrant: QdrantServer
) -> None:
    name, sets = unique("lost"), unique("points")
    await team.collection(name, until=is_ready, **AUTO)
    await team.points(sets, name, POINTS, until=is_ready)
    old = leads_to(qdrant, name)
    await team.collection(name, until=is_done, **AUTO, **TWO_SHARDS)
    new = leads_to(qdrant, name)
    held: Object = {**AUTO, "migration": {"approval": "Manual"}}
    await team.collection(name, until=is_done, **held, **TWO_SHARDS)

    await stored.client.delete_collection(new)
    told = await team.look_again("QdrantCollection", name)

    assert leads_to(qdrant, name) == old
    assert len(await stored.points(name)) == len(POINTS)
    assert (reason(told), phase(told)) == ("PlanHeldBack", "Held")
    # And from there a collection as declared is filled.
    await team.collection(name, until=is_done, **AUTO, **TWO_SHARDS)
    assert leads_to(qdrant, name) not in {old, new}
    assert len(await stored.points(name)) == len(POINTS)


async def test_without_room_on_the_server_nothing_is_begun(team: Team, stored: Stored, qdrant: QdrantServer) -> None:
    name, sets = unique("full"), unique("points")
    await team.collection(name, until=is_ready, **AUTO)
    await team.points(sets, name, POINTS, until=is_ready)
    old = leads_to(qdrant, name)
    strict: Object = {"strictModeConfig": {"enabled": True, "max_points_count": 2}}

    told = await team.collection(name, **AUTO, **TWO_SHARDS, **strict)

    assert reason(told) == "MigrationBlocked"
    assert "max_points_count is 2, and 3 are needed: raise it" in message(told)
    assert names_behind(qdrant, name) == [old]
    assert len(await stored.points(name)) == len(POINTS)


async def test_an_alias_that_another_collection_declares_is_not_taken(team: Team, qdrant: QdrantServer) -> None:
    name, other = unique("taken"), unique("other")
    await team.collection(other, until=is_ready, aliases=[name])

    told = await team.collection(name, **AUTO)

    assert reason(told) == "AliasTaken"
    assert name in message(told)
    assert leads_to(qdrant, name) == other
    await team.collection(other, until=is_ready)
    await team.wait("QdrantCollection", name, is_ready)
    assert names_behind(qdrant, name) == [leads_to(qdrant, name)]


async def test_a_further_alias_that_somebody_else_holds_is_left_to_them(
    team: Team, stored: Stored, qdrant: QdrantServer
) -> None:
    name, sets, theirs = unique("more"), unique("points"), unique("theirs")
    await make_by_hand(stored, theirs)
    await lead(stored, f"{name}-too", theirs)
    await team.collection(name, until=is_ready, **AUTO)
    await team.points(sets, name, POINTS, until=is_ready)
    old = leads_to(qdrant, name)

    await team.collection(name, until=has_reason("AliasTaken"), aliases=[f"{name}-too"], **AUTO, **TWO_SHARDS)

    assert leads_to(qdrant, f"{name}-too") == theirs
    assert len(await stored.points(name)) == len(POINTS)
    await stored.client.delete_collection(theirs)
    await team.look_again("QdrantCollection", name)
    await team.wait("QdrantCollection", name, is_done)
    assert leads_to(qdrant, name) == leads_to(qdrant, f"{name}-too") != old


async def test_what_is_changed_once_more_and_back_within_the_grace_period_needs_no_other_collection(
    team: Team, stored: Stored, qdrant: QdrantServer
) -> None:
    name, sets = unique("datatype"), unique("points")

    async def declare(until: Until = is_done, **vector: object) -> str:
        await team.collection(name, until=until, vector={"size": 3, **vector}, **AUTO)
        return leads_to(qdrant, name)

    first = await declare()
    await team.points(sets, name, POINTS, until=is_ready)
    half = await declare(datatype="float16")
    assert config_of(qdrant, half)["params"]["vectors"]["datatype"] == "float16"
    assert await declare() == first, "it was kept, so readers are moved at once"
    assert names_behind(qdrant, name) == sorted([first, half])
    dot = await declare(distance="Dot")
    assert dot not in {first, half}
    assert config_of(qdrant, dot)["params"]["vectors"]["distance"] == "Dot"
    assert (await stored.vectors(dot))[1] == [1.0, 0.0, 0.0]
    assert len(await stored.points(name)) == len(POINTS)


async def test_a_named_vector_is_added_and_removed(team: Team, stored: Stored, qdrant: QdrantServer) -> None:
    name, sets = unique("named"), unique("points")
    both: Object = {"vectors": [{"name": "a", "size": 2}, {"name": "b", "size": 3}]}
    points = [point(1, a=[1, 0], b=[1, 0, 0]), point(2, a=[0, 1], b=[0, 1, 0])]
    await team.collection(name, until=is_ready, vectors=both["vectors"][:1], **AUTO)
    await team.points(sets, name, [point(1, a=[1, 0]), point(2, a=[0, 1])], until=is_ready)

    await team.collection(name, until=is_done, **both, **AUTO)
    await team.points(sets, name, points, until=is_ready)
    assert {tuple(sorted(vectors)) for vectors in (await stored.vectors(name)).values()} == {("a", "b")}

    await team.points(sets, name, [point(1, b=[1, 0, 0]), point(2, b=[0, 1, 0])], until=is_current)
    await team.collection(name, until=is_done, vectors=both["vectors"][1:], **AUTO)
    await team.wait("PointSet", sets, is_ready)
    assert await stored.vectors(name) == {1: {"b": [1.0, 0.0, 0.0]}, 2: {"b": [0.0, 1.0, 0.0]}}


async def test_a_source_that_ends_half_way_leaves_readers_where_they_are(
    api: KubeApi,
    namespace: str,
    stored: Stored,
    qdrant: QdrantServer,
    start_operator: StartOperator,
    tmp_path: Path,
) -> None:
    team, name, sets = Team(api, namespace), unique("cut"), unique("rows")
    file = tmp_path / "files" / namespace / "rows.jsonl.gz"
    file.parent.mkdir(parents=True)
    whole = gzip.compress(lines(*(row(id, n=id * id % 97) for id in range(1, 3000))))
    file.write_bytes(whole)
    start_operator(flags=[f"--source-folder={tmp_path / 'files'}"])
    await team.connection(qdrant)
    shape: Object = {"vector": {"size": 2}, **AUTO}
    await team.collection(name, until=is_ready, **shape)
    spec = {"collectionRef": {"name": name}, "source": {"files": {"path": file.name}}, "refreshInterval": "1h"}
    await api.apply(resource("PointSet", namespace, sets, spec))
    await team.wait("PointSet", sets, is_ready)
    old = leads_to(qdrant, name)

    file.write_bytes(whole[: len(whole) // 2])
    await team.collection(name, until=lambda obj: phase(obj) == "Filling", **shape, **TWO_SHARDS)
    await team.annotate("PointSet", sets, {RECONCILE: "now"})
    failed = await team.wait("PointSet", sets, lambda obj: not is_ready(obj) and is_settled(obj))
    told = await team.wait("QdrantCollection", name, lambda obj: "rows.jsonl.gz" in message(obj))

    assert "rows.jsonl.gz: is damaged, cut short" in message(failed)
    assert reason(told) in {"Migrating", "MigrationBlocked"}
    assert leads_to(qdrant, name) == old
    assert await stored.count(name) == 2999
    file.write_bytes(whole)
    await team.annotate("PointSet", sets, {RECONCILE: "again"})
    await team.wait("QdrantCollection", name, is_done)
    assert leads_to(qdrant, name) != old
    assert await stored.count(name) == 2999
