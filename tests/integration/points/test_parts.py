"""A ledger in several parts: how a set comes by it, and that nothing is lost while it is cut."""

from contextlib import suppress
from dataclasses import replace

import pytest

from integration.points.scene import Killed, Scene, Watched, answer_lost, killed_after, killed_before, point, text_point
from vectorops.api.reasons import Reason
from vectorops.errors import GaveWay, OutcomeUnknown, Terminal, Transient
from vectorops.ledger.collection import ensure_ledger_collection
from vectorops.ledger.entries import Entry
from vectorops.ledger.holders import find_holders
from vectorops.ledger.lifecycle import read_all_parts, regrow
from vectorops.ledger.records import Part
from vectorops.points.pass_progress import PassProgress
from vectorops.points.removal import remove_points
from vectorops.points.stage import Inline
from vectorops.points.sync import sync
from vectorops.points.sync_preview import preview_sync
from vectorops.points.target import nothing_given_up

SERVER = pytest.mark.parametrize("database", ["rest"], indirect=True)
SERVER_AND_FOLDER = pytest.mark.parametrize("database", ["rest", "embedded"], indirect=True)

IDS = [1, 2, 3, 5, 8, "doc", "dog", "dot"]
MANY = [point(id, text=[1, float(place), 0], n=place) for place, id in enumerate(IDS)]
"""Of each of four parts at least one."""
FEWER = MANY[2:]


async def parts_of(scene: Scene) -> list[Part]:
    return [ledger.part for ledger in await read_all_parts(scene.store())]


async def make_large(scene: Scene) -> None:
    """A ledger of one part that has only just become too small."""
    scene.bits = 0
    await scene.sync(*MANY)
    scene.bits = 2


@SERVER_AND_FOLDER
async def test_a_ledger_that_becomes_too_small_is_cut_and_no_point_is_written(scene):
    await make_large(scene)
    before, was = await scene.stored(), await scene.ledger()
    watched = Watched(scene.database)

    synced = await scene.sync(*MANY, database=watched)

    assert (synced.written, synced.deleted, synced.unchanged) == (0, 0, len(MANY))
    assert await scene.stored() == before
    ledger = await scene.ledger()
    assert ledger is not None
    assert was is not None
    assert dict(ledger.entries) == dict(was.entries)
    assert await parts_of(scene) == Part(2, 1).siblings
    assert await scene.records() == 1 + 2 * 4, "what was cut is gone"
    watched = Watched(scene.database)
    await scene.sync(*MANY, database=watched)
    assert watched.calls == []


@SERVER
async def test_a_ledger_is_cut_as_often_as_the_set_grows_and_never_put_together_again(scene):
    await make_large(scene)
    await scene.sync(*MANY)
    scene.bits = 3
    await scene.sync(*MANY)
    scene.bits = 0
    synced = await scene.sync(*FEWER)

    assert (synced.unchanged, synced.deleted) == (len(FEWER), 2)
    assert await parts_of(scene) == Part(3, 2).siblings
    assert await scene.records() == 1 + 2 * 8
    assert await scene.stored() == await scene.expected(*FEWER)


@SERVER_AND_FOLDER
@pytest.mark.parametrize("instead", [killed_before, killed_after, answer_lost])
async def test_killed_at_any_call_while_the_ledger_is_cut_the_next_process_goes_on(scene, instead):
    at, happened = 0, True
    while happened:
        at += 1
        await scene.clear(keep_ledger_collection=True)
        await make_large(scene)
        watched = Watched(scene.database, at=at, instead=instead)
        with suppress(Killed, OutcomeUnknown):
            await scene.sync(*FEWER, database=watched)
        happened = len(watched.calls) >= at

        await scene.sync(*FEWER)

        assert await scene.stored() == await scene.expected(*FEWER)
        assert [part.bits for part in await parts_of(scene)] == [2] * 4
        watched = Watched(scene.database)
        await scene.sync(*FEWER, database=watched)
        assert watched.calls == []
        assert await scene.remove_all() == len(FEWER)
        assert await scene.records() == 0
    assert at > 6


@SERVER
async def test_a_window_that_was_left_open_is_understood_when_the_ledger_is_cut(scene):
    """Killed between the points and the record of what was written."""
    scene.bits = 0
    await scene.sync(*MANY[:4])
    watched = Watched(scene.database, at=3, instead=killed_after)
    with suppress(Killed):
        await scene.sync(*MANY[:3], *MANY[4:], database=watched)
    assert watched.calls[-1] == "upsert"
    scene.bits = 2

    await scene.sync(*MANY[:3], *MANY[4:])

    assert await scene.stored() == await scene.expected(*MANY[:3], *MANY[4:])


@SERVER
async def test_another_process_may_write_the_set_while_its_ledger_is_cut(scene):
    at, happened = 0, True
    while happened:
        at += 1
        await scene.clear(keep_ledger_collection=True)
        await make_large(scene)

        async def other_first(call):
            await scene.sync(*FEWER)
            await call()

        watched = Watched(scene.database, at=at, instead=other_first)
        with suppress(Transient):
            await scene.sync(*FEWER, database=watched)
        happened = len(watched.calls) >= at

        await scene.sync(*FEWER)

        assert await scene.stored() == await scene.expected(*FEWER)
        assert [part.bits for part in await parts_of(scene)] == [2] * 4
        assert await scene.remove_all() == len(FEWER)


@SERVER
async def test_a_head_that_arrives_late_does_not_bring_back_what_was_cut(scene):
    """A timeout is no proof that a request is dead."""
    await make_large(scene)
    late = []

    async def delayed(call):
        late.append(call)
        raise OutcomeUnknown(Reason.UNREACHABLE, "timed out")

    store = replace(scene.store(writer="one"), deletion_policy="Retain")
    ledger = await store.take(await store.read())
    watched = Watched(scene.database, at=1, instead=delayed)
    with suppress(OutcomeUnknown):
        await replace(store, database=watched).restate(ledger)
    await scene.sync(*MANY, writer="one")

    await late[0]()

    assert [part.bits for part in await parts_of(scene)] == [2] * 4
    assert (await scene.sync(*MANY)).unchanged == len(MANY)


@SERVER
async def test_nothing_is_deleted_in_any_part_before_the_points_of_all_parts_are_written(scene):
    """An embedder that is down, or an id that falls into another part, leaves no gap."""
    scene.bits = 2
    await scene.sync(*MANY)

    async def down():
        raise Transient(Reason.EMBEDDER_UNREACHABLE, "down")

    scene.reader.at_call = {1: down}
    with pytest.raises(Transient):
        await scene.sync(*FEWER, text_point("doc2", "text"), text_point("doc3", "text"))

    assert (await scene.stored()).keys() >= (await scene.expected(*MANY)).keys()


@SERVER
async def test_a_set_that_gives_way_wherever_it_can_is_as_declared_in_the_end(scene):
    """Each pass begins with the first part."""
    scene.bits = 2
    await scene.sync(*MANY)
    wanted = [point(id, text=[9, float(place), 0], n=place) for place, id in enumerate(IDS[2:])]

    async def others_wait() -> None:
        raise GaveWay("other resources are waiting")

    passes = 0
    while await scene.stored() != await scene.expected(*wanted):
        passes += 1
        assert passes < 10
        with suppress(GaveWay):
            staged = Inline(await scene.declared(*wanted), 2)
            await sync(scene.store(), await scene.target(), staged, scene.reader, pace=others_wait)


@SERVER
async def test_the_removal_of_a_large_set_gives_way_after_each_part_and_goes_on(scene):
    scene.bits = 2
    await scene.sync(*MANY)
    foreign = await scene.stranger(77, [7, 7, 7])
    progress = PassProgress("Deleting")

    async def others_wait() -> None:
        raise GaveWay("other resources are waiting")

    left = [len(MANY)]
    while await scene.stored() != {77: foreign}:
        with suppress(GaveWay):
            await remove_points(scene.store(), scene.collection, pace=others_wait, progress=progress)
        left.append(len(await scene.stored()) - 1)

    assert left == sorted(set(left), reverse=True), "each run deletes some"
    assert len(left) == 1 + 4
    assert progress.done == len(MANY)
    assert await remove_points(scene.store(), scene.collection, pace=others_wait) == 0
    ledger = await scene.ledger()
    assert ledger is not None
    assert dict(ledger.entries) == {}


@SERVER
async def test_a_set_of_one_part_is_removed_in_one_run(scene):
    await scene.sync(*MANY)

    async def others_wait() -> None:
        raise GaveWay("other resources are waiting")

    assert await remove_points(scene.store(), scene.collection, pace=others_wait) == len(MANY)


@SERVER
@pytest.mark.parametrize("bits", [0, 2])
async def test_the_revision_is_recorded_in_the_head_and_goes_before_anything_else_is_written(scene, bits):
    scene.bits = bits

    async def one_pass(*points, revision: str, **options) -> None:
        staged = Inline(await scene.declared(*points), bits)
        await sync(scene.store(), await scene.target(), staged, scene.reader, revision=revision, **options)

    async def revision() -> str:
        head = await scene.store().read_head()
        assert head is not None
        return str(head.get("revision", ""))

    await one_pass(*MANY, revision="first")
    assert await revision() == "first"
    ledger = await scene.ledger()
    await one_pass(*MANY, revision="second")
    assert await revision() == "second"
    again = await scene.ledger()
    assert (again.entries, again.through) == (ledger.entries, ledger.through)

    watched = Watched(scene.database, at=100)
    retained = replace(scene.store(database=watched), deletion_policy="Retain")
    await sync(retained, await scene.target(), Inline(await scene.declared(*MANY), bits), revision="second")
    head = await scene.store().read_head()
    assert (head["revision"], head["deletion_policy"]) == ("second", "Retain")

    watched = Watched(scene.database)
    seen = []

    async def look() -> None:
        seen.append(await revision())

    changed = [point(id, text=[3, float(place), 0]) for place, id in enumerate(IDS)]
    scene.reader.at_call = {1: look}
    await one_pass(*changed, text_point("doc9", "text"), revision="third")
    assert seen == [""], "while points are written, the ledger speaks of no revision"
    assert await revision() == "third"

    await scene.sync(*changed[1:])
    assert await revision() == "", "a pass from a manifest has none"


@SERVER
@pytest.mark.parametrize("bits", [0, 2])
async def test_a_process_that_is_not_the_writer_any_more_records_no_revision(scene, bits):
    scene.bits = bits
    await scene.sync(*MANY, writer="old")
    first = await scene.store(writer="old").read()
    assert first is not None
    await scene.sync(*FEWER, writer="new")

    with pytest.raises(Transient) as raised:
        await scene.store(writer="old").at(first.part).record_revision("stale")

    assert raised.value.reason is Reason.ANOTHER_WRITER
    head = await scene.store().read_head()
    assert head is not None
    assert "revision" not in head


@SERVER
async def test_a_ledger_of_many_entries_is_cut_and_keeps_each_of_them(scene):
    entries = {id: Entry(id + 16, (id + 17, id + 18)) for id in range(20_000)}
    await ensure_ledger_collection(scene.database, scene.ledgers, replication_factor=1)
    store = scene.store(writer="one")
    first = await store.create(("image", "text"), entries)
    first = await store.settle(first, entries, 7)
    await store.record_revision("before")

    async def recover(ledger):
        return ledger

    cut = await regrow(store, await store.read_existing(), recover, 4)

    parts = await read_all_parts(scene.store())
    assert {id: entry for part in parts for id, entry in part.entries.items()} == entries
    assert [part.part for part in parts] == Part(4, 1).siblings
    assert cut.revision == "before", "the source was written whole, and still is"
    assert await scene.records() == 1 + 2 * 16


@SERVER
async def test_a_point_that_a_set_of_several_parts_holds_is_left_alone(scene):
    scene.bits = 2
    await scene.sync(*MANY, owner="large")
    before = await scene.stored()

    synced = await scene.sync(point(5, text=[9, 9, 9]), point(100), owner="small")
    asked = await find_holders(scene.store("small"), [1, 2, 100, 12345])

    assert dict(synced.conflicts) == {5: "here/default/large"}
    assert await scene.stored() == {**before, **await scene.expected(point(100))}
    assert dict(asked.held) == dict.fromkeys([1, 2], "here/default/large")
    assert asked.unreadable == {}


@SERVER
@pytest.mark.parametrize("bits", [0, 2])
async def test_points_of_a_ledger_whose_head_is_gone_are_nobody_elses(scene, bits):
    """Until the set has made its ledger again."""
    scene.bits = bits
    await scene.sync(*MANY, owner="large")
    await scene.database.delete_points(scene.ledgers, [scene.store("large").key.record_id("head")])
    scene.bits = 0

    synced = await scene.sync(*MANY, owner="small", adopts=True)

    assert (synced.conflicting, synced.unchanged) == (len(MANY), 0)
    assert set(synced.conflicts.values()) == {"here/default/large"}


@SERVER
@pytest.mark.parametrize("kind", ["base", "slot"])
async def test_a_ledger_of_several_parts_that_cannot_be_read_may_hold_any_point(scene, kind):
    scene.bits = 2
    await scene.sync(*MANY, owner="large")
    part = next(ledger.part for ledger in await read_all_parts(scene.store("large")) if 5 in ledger.entries)
    await scene.database.delete_points(scene.ledgers, [scene.store("large").key.record_id(kind, part)])

    asked = await find_holders(scene.store("small"), [5])

    assert asked.held == {}
    assert len(asked.unreadable) == 1
    assert "here/default/large" in asked.explain_unreadable("default")


@SERVER
@pytest.mark.parametrize("kind", ["base", "slot"])
async def test_nothing_is_written_while_a_part_is_damaged(scene, kind):
    scene.bits = 2
    await scene.sync(*MANY)
    before = await scene.stored()
    part = (await parts_of(scene))[3]
    await scene.database.delete_points(scene.ledgers, [scene.store().key.record_id(kind, part)])
    watched = Watched(scene.database)

    with pytest.raises(Terminal) as removed:
        await remove_points(scene.store(database=watched), scene.collection)
    with pytest.raises(Terminal) as synced:
        await scene.sync(*FEWER, point(4), database=watched)

    assert {removed.value.reason, synced.value.reason} == {Reason.LEDGER_DAMAGED}
    assert watched.calls == []
    assert await scene.stored() == before


@SERVER
async def test_what_a_pass_would_do_is_said_of_all_parts_together(scene):
    scene.bits = 2
    await scene.sync(*MANY)
    foreign = await scene.stranger(77, [7, 7, 7])
    changed = [point(2, text=[9, 9, 9]), *MANY[2:], point(77), point(78)]

    staged = Inline(await scene.declared(*changed), 2)
    found = await preview_sync(scene.store(), await scene.target(), staged, nothing_given_up)

    fates = [list(few.first) for few in (found.new, found.changed, found.conflicts, found.deleted)]
    assert fates == [[78], [2], [77], [1]]
    assert found.unchanged == len(MANY) - 2
    assert (await scene.stored())[77] == foreign


@SERVER
async def test_what_a_pass_would_do_is_said_before_the_ledger_grows(scene):
    await scene.sync(*MANY)
    before = await scene.ledger()

    staged = Inline(await scene.declared(*MANY[2:], point(78)), 2)
    found = await preview_sync(scene.store(), await scene.target(), staged, nothing_given_up, most=1)

    assert (found.new.count, found.changed.count, found.deleted.count) == (1, 0, 2)
    assert len(found.deleted.first) == 1
    assert found.unchanged == len(MANY) - 2
    assert await scene.ledger() == before


@SERVER
async def test_a_collection_that_seems_replaced_is_judged_by_all_parts_together(scene):
    """In no single part two points are gone."""
    scene.bits = 2
    await scene.sync(*MANY)
    before = await scene.ledger()
    parts = await read_all_parts(scene.store())
    gone = [next(iter(ledger.entries)) for ledger in parts if ledger.entries]
    await scene.database.delete_points(scene.collection, gone)
    stored = await scene.stored()
    asked = []

    async def approves(digest):
        asked.append(digest)
        return len(asked) > 1

    target = replace(await scene.target(), marked=False, approves=approves)
    found = await preview_sync(scene.store(), target, Inline(await scene.declared(*MANY), 2), nothing_given_up)

    assert found.held_back
    assert found.replaced is not None
    assert set(found.replaced.gone) == set(gone)
    assert await scene.stored() == stored
    assert await scene.ledger() == before


@SERVER
async def test_deletions_that_a_person_approved_are_carried_out_in_one_pass(scene):
    """What would be left of them is another plan, and needs another approval."""
    scene.bits = 2
    await scene.sync(*MANY)
    asked = []

    async def approves(digest):
        asked.append(digest)
        return len(asked) > 1

    async def give_way():
        raise Killed

    target, staged = replace(await scene.target(), approves=approves), Inline(await scene.declared(), 2)
    held = await sync(scene.store(), target, staged, max_delete_percent=50)
    assert held.held_deletions is not None
    assert (held.held_deletions.count, held.held_deletions.owned) == (len(MANY), len(MANY))
    assert len(await scene.stored()) == len(MANY)

    done = await sync(scene.store(), target, staged, pace=give_way, max_delete_percent=50)

    assert (done.deleted, done.deletions_approved) == (len(MANY), True)
    assert asked[0] == asked[1]
    assert not await scene.stored()


@SERVER
async def test_a_pass_that_gives_way_after_a_part_leaves_the_rest_to_the_next_one(scene):
    scene.bits = 2
    await scene.sync(*MANY)
    changed = [point(id, text=[2, float(place), 0]) for place, id in enumerate(IDS[2:])]

    async def give_way():
        raise Killed

    staged = Inline(await scene.declared(*changed), 2)
    with pytest.raises(Killed):
        await sync(scene.store(), await scene.target(), staged, pace=give_way)
    halfway = await scene.stored()
    await scene.sync(*changed)

    assert halfway.keys() == (await scene.expected(*MANY)).keys(), "nothing is deleted yet"
    assert await scene.stored() == await scene.expected(*changed)


@SERVER
async def test_a_ledger_that_another_process_removes_while_it_is_cut_is_another_writers(scene):
    await scene.sync(*MANY)
    store = scene.store()
    first = await store.read()
    assert first is not None
    await scene.store().remove()

    async def recover(ledger):
        return ledger

    with pytest.raises(Transient) as raised:
        await regrow(store, first, recover, 2)

    assert raised.value.reason is Reason.ANOTHER_WRITER
    assert not await store.exists()
