"""Points that are there already become a set's without being written, if `adoptionPolicy` says so and they match."""

import contextlib

import pytest

from integration.points.scene import WRITES, Killed, Watched, killed_after, killed_before, point, text_point
from vectorops.errors import Transient
from vectorops.qdrant.database import PointData

SAME = [point(1, text=[1, 0, 0], image=[1, 1], a=1.5, deep={"list": [None, 2**63 - 1]}), point(2, text=[0, 1, 0])]


async def test_points_that_equal_the_declared_ones_are_adopted_and_not_written(scene):
    await write_by_another(scene, SAME)
    before = await scene.stored()
    watched = WritesByCollection(scene.database)

    synced = await scene.sync(*SAME, adopts=True, database=watched)

    assert (synced.written, synced.unchanged, synced.conflicts) == (0, 2, {})
    # The registration of the ledger goes into the collection's metadata.
    assert [call for call, name in watched.writes if name == scene.collection] == ["update_collection"]
    assert await scene.stored() == before
    assert sorted((await scene.ledger()).entries) == [1, 2]


async def test_after_that_they_are_the_sets_own(scene):
    await write_by_another(scene, SAME)
    await scene.sync(*SAME, adopts=True)
    watched = Watched(scene.database)

    unchanged = await scene.sync(*SAME, adopts=True, database=watched)
    assert (unchanged.unchanged, watched.calls) == (2, [])

    changed = point(1, text=[5, 0, 0], image=[1, 1], a=2)
    synced = await scene.sync(changed, adopts=True)

    assert (synced.written, synced.deleted) == (1, 1)
    assert await scene.stored() == await scene.expected(changed)


async def test_a_point_that_differs_stays_a_conflict_and_is_left_alone(scene):
    await write_by_another(scene, SAME)
    before = await scene.stored()
    other = point(1, text=[1, 0, 0], image=[1, 1], a=1.25, deep={"list": [None, 2**63 - 1]})

    synced = await scene.sync(other, SAME[1], point(3, text=[0, 0, 1]), adopts=True)

    assert synced.conflicts == {1: ""}
    assert synced.written == 1
    stored = await scene.stored()
    assert {id: stored[id] for id in before} == before
    assert sorted((await scene.ledger()).entries) == [2, 3]


async def test_without_the_policy_all_of_them_are_conflicts(scene):
    await write_by_another(scene, SAME)

    synced = await scene.sync(*SAME)

    assert synced.conflicts == {1: "", 2: ""}
    assert await scene.ledger() is None


async def test_a_point_that_another_set_holds_is_never_adopted(scene):
    await scene.sync(*SAME, owner="first")

    synced = await scene.sync(*SAME, owner="second", adopts=True)

    assert synced.conflicts == dict.fromkeys([1, 2], "here/default/first")
    assert await scene.ledger("second") is None


async def test_a_point_that_is_declared_with_a_text_is_never_adopted(scene):
    text = "a text"
    await scene.database.upsert(scene.collection, [PointData(1, {"text": scene.reader.made(text)}, {})])

    synced = await scene.sync(text_point(1, text), adopts=True)

    assert synced.conflicts == {1: ""}
    assert scene.reader.texts == []


@pytest.mark.parametrize("database", ["rest"], indirect=True)
async def test_of_two_sets_that_adopt_the_same_points_at_once_one_gets_them(scene):
    await write_by_another(scene, SAME)

    async def after_the_other(call):
        """The ledger of the first is written when the second has written its own."""
        await scene.sync(*SAME, owner="second", adopts=True)
        await call()

    watched = Watched(scene.database, at=1, instead=after_the_other)
    with pytest.raises(Transient, match="adopts the same points"):
        await scene.sync(*SAME, owner="first", adopts=True, database=watched)

    synced = await scene.sync(*SAME, owner="first", adopts=True)
    assert synced.conflicts == dict.fromkeys([1, 2], "here/default/second")
    assert sorted((await scene.ledger("second")).entries) == [1, 2]


@pytest.mark.parametrize("database", ["rest"], indirect=True)
@pytest.mark.parametrize("killed", [killed_before, killed_after])
async def test_killed_at_any_write_the_next_pass_adopts_what_is_left_and_writes_no_point(scene, killed):
    await write_by_another(scene, SAME)
    before = await scene.stored()
    calls = Watched(scene.database)
    await scene.sync(*SAME, adopts=True, database=calls)
    assert calls.calls

    for at in range(1, len(calls.calls) + 1):
        await scene.clear()
        await write_by_another(scene, SAME)
        with contextlib.suppress(Killed):
            await scene.sync(*SAME, adopts=True, database=Watched(scene.database, at=at, instead=killed))

        synced = await scene.sync(*SAME, adopts=True)

        assert (synced.written, synced.unchanged, synced.conflicts) == (0, 2, {})
        assert await scene.stored() == before
        assert sorted((await scene.ledger()).entries) == [1, 2]


async def write_by_another(scene, points):
    """Another program writes them, with the numbers of the declared ones."""
    declared = (await scene.declared(*points)).points.values()
    await scene.database.upsert(scene.collection, [one.data for one in declared])


class WritesByCollection(Watched):
    """A database that remembers which writing call was about which collection."""

    def __init__(self, database):
        super().__init__(database)
        self.writes = []

    def __getattr__(self, name):
        method = super().__getattr__(name)
        if name not in WRITES:
            return method

        def call(collection, *arguments, **options):
            self.writes.append((name, collection))
            return method(collection, *arguments, **options)

        return call
