"""What one pass makes of the points in a collection, on every kind of Qdrant."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from integration.points.scene import TOO_MANY_TERMS, VECTORS, Killed, Watched, killed_after, point, text_point, without
from vectorops.api.reasons import Reason
from vectorops.errors import OutOfSpace, RateLimited, Terminal, Transient
from vectorops.ledger.collection import require_ledger_collection
from vectorops.ledger.entries import Entry
from vectorops.points import window
from vectorops.points.identity import point_id
from vectorops.points.stage import Inline
from vectorops.points.sync import sync
from vectorops.qdrant.database import PayloadChange, PointData, PointId, StoredPoint
from vectorops.qdrant.marks import Mark
from vectorops.vectors import Sparse

PLAIN = [point(1, text=[1, 0, 0], image=[1, 1], a=1), point(2, text=[0, 1, 0], b="two")]
SERVER = pytest.mark.parametrize("database", ["rest", "grpc"], indirect=True)
REST = pytest.mark.parametrize("database", ["rest"], indirect=True)


def floats(*numbers: float):
    return np.array(numbers, dtype=np.float32)


async def test_declared_points_are_stored_as_declared(scene):
    synced = await scene.sync(*PLAIN)

    assert synced.written == 2
    assert await scene.stored() == await scene.expected(*PLAIN)


@SERVER
async def test_a_second_pass_writes_nothing(scene, qdrant):
    await scene.sync(*PLAIN)
    before = qdrant.telemetry_writes()

    synced = await scene.sync(*PLAIN)

    assert qdrant.telemetry_writes() == before
    assert (synced.unchanged, synced.written) == (2, 0)


@SERVER
async def test_of_a_changed_point_only_the_changed_vector_is_written(scene, qdrant):
    await scene.sync(*PLAIN)
    before = qdrant.telemetry_writes_by_endpoint()
    changed = [point(1, text=[1, 0, 0], image=[5, 5], a=1), PLAIN[1]]

    synced = await scene.sync(*changed)

    after = qdrant.telemetry_writes_by_endpoint()
    points_written = {
        endpoint.rsplit("/", 1)[1] for endpoint in after if after[endpoint] != before.get(endpoint, 0)
    } - {"points", "batch"}
    assert points_written in ({"vectors"}, {"UpdateVectors"})
    assert synced.written == 1
    assert await scene.stored() == await scene.expected(*changed)


async def test_of_a_changed_payload_only_the_keys_that_differ_are_written(scene):
    """A blind overwrite would move the point out of its indexes and in again."""
    before = point(1, keep={"deep": [1]}, change=1, drop="x", null=None)
    after = point(1, keep={"deep": [1]}, change=2, come=[], null=None)
    await scene.sync(before)
    changes: list[PayloadChange] = []

    class Noting(Watched):
        async def change_payloads(self, name: str, some: list[PayloadChange]) -> None:
            changes.extend(change for change in some if name == scene.collection)
            await scene.database.change_payloads(name, some)

    watched = Noting(scene.database)

    await scene.sync(after, database=watched)

    assert [(change.put, set(change.remove)) for change in changes] == [({"change": 2, "come": []}, {"drop"})]
    assert watched.calls.count("update_vectors") == 0
    assert await scene.stored() == await scene.expected(after)


async def test_a_vector_that_is_no_longer_declared_goes_and_the_rest_stays(scene):
    await scene.sync(*PLAIN)
    without_image = [point(1, text=[1, 0, 0], a=1), PLAIN[1]]

    await scene.sync(*without_image)

    assert await scene.stored() == await scene.expected(*without_image)


async def test_vanished_points_are_deleted_and_nothing_else_is(scene):
    foreign = await scene.stranger(77, [7, 7, 7], by="stranger")
    await scene.sync(*PLAIN)

    synced = await scene.sync(PLAIN[0])

    assert synced.deleted == 1
    assert await scene.stored() == {**await scene.expected(PLAIN[0]), 77: foreign}


async def test_an_empty_declaration_deletes_all_points_of_the_set(scene):
    foreign = await scene.stranger(77, [7, 7, 7])
    await scene.sync(*PLAIN)

    await scene.sync()

    assert await scene.stored() == {77: foreign}


async def test_a_foreign_point_keeps_its_content_when_a_set_claims_its_id(scene):
    """4thel00z and CocoIndex both overwrite it."""
    foreign = await scene.stranger(1, [7, 7, 7], by="stranger")

    synced = await scene.sync(*PLAIN)

    assert dict(synced.conflicts) == {1: ""}
    assert await scene.stored() == {**await scene.expected(PLAIN[1]), 1: foreign}


async def test_a_foreign_point_stays_when_the_set_that_claims_its_id_gives_it_up(scene):
    foreign = await scene.stranger(1, [1, 0, 0])
    await scene.sync(*PLAIN)

    await scene.sync(PLAIN[1])
    await scene.remove_all()

    assert await scene.stored() == {1: foreign}


async def test_a_foreign_point_that_appears_just_before_our_insert_is_left_alone(scene):
    """Even if its payload is the one that we declare."""
    foreign = []

    async def stranger_first(call: Callable[[], Awaitable[None]]) -> None:
        foreign.append(await scene.stranger(1, [7, 7, 7], a=1))
        await call()

    recorded = Watched(scene.database)
    await scene.sync(point(2), database=recorded)
    insert = len(recorded.calls) - 1
    await scene.clear()

    watched = Watched(scene.database, at=insert, instead=stranger_first)
    synced = await scene.sync(point(1, a=1), database=watched)

    assert watched.calls[insert - 1] == "upsert"
    assert dict(synced.conflicts) == {1: ""}
    assert await scene.stored() == {1: foreign[0]}
    assert dict((await scene.sync(point(1, a=1))).conflicts) == {1: ""}


async def test_of_two_sets_the_holder_keeps_the_point_and_the_other_is_told_who_holds_it(scene):
    await scene.sync(*PLAIN, owner="first")

    synced = await scene.sync(point(1, text=[9, 9, 9]), point(3), owner="second")

    assert dict(synced.conflicts) == {1: "here/default/first"}
    assert await scene.stored() == await scene.expected(*PLAIN, point(3))


async def test_two_sets_do_not_overwrite_each_other_for_ever(scene):
    """The holder's point was deleted by hand, and the other set came first."""
    theirs = point(1, text=[9, 9, 9])
    await scene.sync(*PLAIN, owner="first")
    await scene.database.delete_points(scene.collection, [1])
    await scene.sync(theirs, owner="second")

    first = await scene.sync(*PLAIN, owner="first")
    second = await scene.sync(theirs, owner="second")

    assert dict(first.conflicts) == {1: "here/default/second"}
    assert (second.unchanged, dict(second.conflicts)) == (1, {})
    assert await scene.stored() == await scene.expected(theirs, PLAIN[1])


async def test_points_that_fail_are_reported_and_the_others_written(scene):
    bad = [
        point("short", text=[1, 2]),
        point("huge", text=[1, 2, 1e39]),
        {"id": "none", "vectors": {"nope": {"values": [1]}}},
    ]

    synced = await scene.sync(*PLAIN, *bad)

    assert [failure.shown_id for failure in synced.failures] == ["short", "huge", "none"]
    assert await scene.stored() == await scene.expected(*PLAIN)


@SERVER
async def test_a_point_that_only_qdrant_refuses_is_found_and_the_others_are_written(scene):
    await scene.make_strict()
    good = [point(number, n=number) for number in range(20)]
    refused = {"id": "long", "vectors": {"terms": TOO_MANY_TERMS}}

    synced = await scene.sync(*good[:11], refused, *good[11:])

    assert [failure.shown_id for failure in synced.failures] == ["long"]
    assert "Qdrant refused it" in synced.failures[0].reason
    assert await scene.stored() == await scene.expected(*good)


async def test_a_point_that_fails_keeps_what_is_stored_until_it_is_mended(scene):
    await scene.sync(*PLAIN)

    failed = await scene.sync(point(1, text=[1, 2]), PLAIN[1])
    kept = await scene.stored()
    mended = await scene.sync(point(1, text=[3, 2, 1]), PLAIN[1])

    assert len(failed.failures) == 1
    assert kept == await scene.expected(*PLAIN)
    assert (mended.written, mended.failures) == (1, ())
    assert await scene.stored() == await scene.expected(point(1, text=[3, 2, 1]), PLAIN[1])


async def test_nothing_is_deleted_while_an_id_cannot_be_told(scene):
    await scene.sync(*PLAIN)

    synced = await scene.sync(PLAIN[0], point(-1))

    assert (synced.deleted, len(synced.failures)) == (0, 1)
    assert await scene.stored() == await scene.expected(*PLAIN)


async def test_what_others_changed_or_deleted_is_repaired(scene):
    declared = [*PLAIN, point(3, text=[3, 3, 3]), point("four", text=[4, 4, 4], image=[4, 4])]
    await scene.sync(*declared)
    await scene.database.change_payloads(scene.collection, [PayloadChange(1, put={"a": 2, "tampered": True})])
    await scene.database.update_vectors(scene.collection, [PointData(2, {"text": floats(9, 9, 9)})])
    await scene.database.delete_points(scene.collection, [3])
    await scene.database.delete_vectors(scene.collection, [point_id("four")], ["image"])

    synced = await scene.sync(*declared)

    assert (synced.written, synced.unchanged) == (4, 0)
    assert await scene.stored() == await scene.expected(*declared)


async def test_another_incarnation_is_filled_again_and_nothing_in_it_is_deleted(scene):
    """The collection was deleted and made again, and a stranger was there first."""
    await scene.sync(*PLAIN)
    await scene.database.delete_collection(scene.collection)
    await scene.make()
    scene.incarnation = "second"
    await scene.mark()
    foreign = await scene.stranger(2, [7, 7, 7], by="stranger")

    synced = await scene.sync(PLAIN[0])

    assert (synced.written, synced.deleted) == (1, 0)
    assert await scene.stored() == {**await scene.expected(PLAIN[0]), 2: foreign}
    # What was remembered of the first one is gone.
    assert await scene.records() == 3


async def test_a_lost_ledger_is_rebuilt_from_what_is_declared_and_nothing_is_deleted(scene):
    await scene.sync(*PLAIN, point(3))
    before = await scene.stored()
    await scene.database.delete_collection(scene.ledgers)

    synced = await scene.sync(PLAIN[0], point(2, text=[0, 1, 0], b="new"))

    assert synced.rebuilt
    assert synced.deleted == 0
    assert dict(synced.conflicts) == {}
    expected = await scene.expected(PLAIN[0], point(2, text=[0, 1, 0], b="new"))
    assert await scene.stored() == {**expected, 3: before[3]}
    # Said from now on, without writing again.
    watched = Watched(scene.database)
    again = await scene.sync(PLAIN[0], point(2, text=[0, 1, 0], b="new"), database=watched)
    assert (again.rebuilt, watched.calls) == (True, [])


async def test_a_lost_ledger_does_not_take_what_another_set_owns(scene):
    await scene.sync(*PLAIN, owner="mine")
    await scene.sync(point(3, text=[3, 3, 3]), owner="other")
    await scene.store("mine").remove()

    synced = await scene.sync(*PLAIN, point(3), owner="mine")

    assert dict(synced.conflicts) == {3: "here/default/other"}
    assert await scene.stored() == await scene.expected(*PLAIN, point(3, text=[3, 3, 3]))


async def test_a_ledger_that_is_older_than_the_truth_changes_no_point_that_another_set_holds_by_now(scene):
    """It was restored from a snapshot. Nothing shows in the point itself: of a text only the fingerprint is known."""
    await scene.sync(text_point(1, "first"), owner="first")
    old = [
        PointData(each.id, payload=each.payload) for each in await scene.database.scroll(scene.ledgers, payload=True)
    ]
    await scene.sync(owner="first")
    await scene.sync(text_point(1, "second"), owner="second")
    await scene.database.upsert(scene.ledgers, old)

    changed = await scene.sync(text_point(1, "first, changed"), owner="first")
    left = await scene.sync(owner="first")

    assert dict(changed.conflicts) == {1: "here/default/second"}
    assert left.deleted == 0
    assert await scene.stored() == await scene.expected(text_point(1, "second"))


JUNK = (
    {"format": 2},
    {"u64": 7},
    {"uuid": "not base64"},
    {"width": None},
    {"through": "late"},
    {"owner": 7},
    {"key": "x"},
)


@pytest.mark.parametrize("junk", JUNK, ids=str)
async def test_beside_a_ledger_that_cannot_be_read_points_are_written_and_none_is_deleted(scene, junk):
    """That of another set, which may hold any point."""
    await scene.sync(*PLAIN, owner="mine")
    await scene.sync(point(5), owner="other")
    record = scene.store("other").key.record_id("base")
    before = (await scene.database.points(scene.ledgers, [record], payload=True))[record].payload
    # As an earlier version wrote it.
    await scene.database.upsert(scene.ledgers, [PointData(record, payload={**before, "hashes": None, **junk})])
    watched = Watched(scene.database)

    synced = await scene.sync(point(1, text=[5, 5, 5]), point(3), owner="mine")
    again = await scene.sync(point(1, text=[5, 5, 5]), point(3), owner="mine", writer="again", database=watched)
    with pytest.raises(Terminal) as raised:
        await scene.remove_all(owner="mine")

    assert (synced.written, synced.deleted, dict(synced.conflicts)) == (2, 0, {})
    assert str(record) in synced.withheld
    assert again.withheld == synced.withheld
    assert watched.calls == []
    assert raised.value.reason is Reason.LEDGER_UNREADABLE
    everything = await scene.expected(point(1, text=[5, 5, 5]), PLAIN[1], point(3), point(5))
    assert await scene.stored() == everything

    await scene.database.upsert(scene.ledgers, [PointData(record, payload=before)])
    assert (await scene.sync(point(3), owner="mine")).deleted == 2


# ---- the collection that ledgers are kept in ----


async def test_a_collection_of_ledgers_of_an_earlier_version_is_marked_once_and_nothing_else_is_written(scene):
    """It has no mark, no indexes, and no hashes in its records."""
    await scene.sync(*PLAIN, owner="mine")
    await scene.sync(point(3), owner="other")
    records = await scene.database.scroll(scene.ledgers, payload=True)
    old = [{key: value for key, value in each.payload.items() if key != "hashes"} for each in records]
    await scene.database.delete_collection(scene.ledgers)
    await scene.database.create_collection(scene.ledgers, {"vectors": {}})
    await scene.database.upsert(
        scene.ledgers, [PointData(each.id, payload=payload) for each, payload in zip(records, old, strict=True)]
    )
    watched = Watched(scene.database)

    for _ in range(2):
        await require_ledger_collection(watched, scene.ledgers)
        await scene.sync(*PLAIN, owner="mine", database=watched)

    assert watched.calls == ["create_index", "create_index", "update_collection"]
    assert [each.payload for each in await scene.database.scroll(scene.ledgers, payload=True)] == old
    # And who holds what is known as before.
    assert dict((await scene.sync(*PLAIN, point(3), owner="mine")).conflicts) == {3: "here/default/other"}


@pytest.mark.parametrize("stranger", ["vectors", "points", "forged", "managed"])
async def test_ledgers_are_kept_in_no_collection_that_was_made_for_anything_else(scene, stranger):
    body: dict[str, Any] = {"vectors": VECTORS if stranger in {"vectors", "managed"} else {}}
    if stranger == "managed":
        body["metadata"] = Mark("there", "team", "zoo", "uid", scene.ledgers, "first").metadata()
    await scene.database.create_collection(scene.ledgers, body)
    if stranger in {"points", "forged"}:
        payload = {"kind": "base", "u64": ""} if stranger == "forged" else {"by": "somebody"}
        await scene.database.upsert(scene.ledgers, [PointData(1, payload=payload)])
    watched = Watched(scene.database)

    with pytest.raises(Terminal) as raised:
        await scene.sync(*PLAIN, database=watched)

    assert raised.value.reason is (Reason.OWNED_BY_ANOTHER if stranger == "managed" else Reason.NOT_ADOPTED)
    assert scene.ledgers in raised.value.message
    assert watched.calls == []


async def test_a_ledger_that_is_in_another_collection_is_not_lost(scene):
    """The name in the connection was changed, in a file, where nobody forbids it."""
    await scene.sync(*PLAIN)
    target, store = await scene.target(), scene.store()
    elsewhere = replace(store, ledger_collection=f"{scene.ledgers}-too")
    declaration = await scene.declared(PLAIN[0])

    with pytest.raises(Terminal) as raised:
        await sync(elsewhere, replace(target, elsewhere=(scene.ledgers,)), Inline(declaration))

    assert raised.value.reason is Reason.INVALID_SPEC
    assert scene.ledgers in raised.value.message
    assert await scene.database.collection(elsewhere.ledger_collection) is None
    assert (await scene.sync(PLAIN[0])).deleted == 1


@pytest.mark.parametrize("kind", ["base", "slot"])
@pytest.mark.parametrize("how", ["missing", "emptied", "garbled"])
async def test_nothing_is_written_while_a_record_of_the_ledger_is_damaged(scene, kind, how):
    await scene.sync(*PLAIN)
    before = await scene.stored()
    record = scene.store().key.record_id(kind)
    if how == "missing":
        await scene.database.delete_points(scene.ledgers, [record])
    elif how == "emptied":
        await scene.database.upsert(scene.ledgers, [PointData(record)])
    else:
        broken = PayloadChange(record, put={"sequence": 99, "u64": "not base64"})
        await scene.database.change_payloads(scene.ledgers, [broken])
    watched = Watched(scene.database)

    with pytest.raises(Terminal) as raised:
        await scene.sync(point(9), database=watched)
    with pytest.raises(Terminal):
        await scene.remove_all(database=watched)

    assert raised.value.reason is Reason.LEDGER_DAMAGED
    assert watched.calls == []
    assert await scene.stored() == before


@pytest.mark.parametrize("kind", ["head", "base", "slot"])
@pytest.mark.parametrize("newer", [{"format": 3}, {"format": 1, "bits": 9}], ids=str)
async def test_nothing_is_written_while_the_ledger_is_that_of_a_newer_version(scene, kind, newer):
    await scene.sync(*PLAIN)
    before = await scene.stored()
    record = scene.store().key.record_id(kind)
    await scene.database.change_payloads(scene.ledgers, [PayloadChange(record, put=newer)])
    watched = Watched(scene.database)

    with pytest.raises(Terminal) as synced:
        await scene.sync(point(9), database=watched)
    with pytest.raises(Terminal) as removed:
        await scene.remove_all(database=watched)

    assert {synced.value.reason, removed.value.reason} == {Reason.LEDGER_UNREADABLE}
    assert watched.calls == []
    assert await scene.stored() == before


async def test_the_ledger_of_a_former_incarnation_goes_only_when_its_collection_is_certainly_gone(scene):
    """A set may have ledgers for several collections, and for several incarnations of one."""
    await scene.sync(*PLAIN)
    former, elsewhere = scene.store(), replace(scene.store(), key=replace(scene.store().key, collection="elsewhere"))
    await elsewhere.create(("image", "text"), {1: Entry(20, (21, 22))})
    scene.incarnation = "second"

    await scene.sync(point(1, text=[5, 5, 5]), point(5))
    kept = await former.exists()
    await scene.mark()
    await scene.store().remove_former()

    assert kept, "no mark said which incarnation the collection is"
    assert not await former.exists()
    assert await elsewhere.exists()
    assert await scene.ledger() is not None


async def test_after_a_take_over_points_are_inherited_without_being_written(scene):
    await scene.sync(*PLAIN, installation="there")
    watched = Watched(scene.database)

    synced = await scene.sync(PLAIN[0], installation="here", previous="there", database=watched)

    assert (synced.unchanged, synced.written, synced.deleted) == (1, 0, 1)
    assert await scene.stored() == await scene.expected(PLAIN[0])
    assert await scene.ledger(installation="there") is None
    assert await scene.records() == 3
    assert not {"update_vectors", "delete_vectors"} & set(watched.calls)


async def test_a_take_over_inherits_also_what_the_former_owner_was_killed_over(scene):
    recorded = Watched(scene.database)
    await scene.sync(*PLAIN, installation="there", database=recorded)
    more = [*PLAIN, point(3, text=[3, 3, 3])]
    with pytest.raises(Killed):
        # Its window is open, and the point is there.
        await scene.sync(*more, installation="there", database=Watched(scene.database, at=3, instead=killed_after))
    assert 3 in await scene.stored()

    synced = await scene.sync(*PLAIN, installation="here", previous="there")

    assert synced.deleted == 1
    assert await scene.stored() == await scene.expected(*PLAIN)


@REST
async def test_a_take_over_that_is_killed_anywhere_is_finished_by_the_next_process(scene):
    at, happened = 0, True
    while happened:
        at += 1
        await scene.clear()
        await scene.sync(*PLAIN, installation="there")
        watched = Watched(scene.database, at=at, instead=killed_after)
        try:
            await scene.sync(PLAIN[0], previous="there", database=watched)
        except Killed:
            happened = True
        else:
            happened = False

        await scene.sync(PLAIN[0], previous="there")

        assert await scene.stored() == await scene.expected(PLAIN[0])
        assert await scene.records() == 3
    assert at > 5


@REST
@pytest.mark.parametrize("call", [1, 3], ids=["while it opens a window", "while it settles one"])
async def test_whoever_is_no_longer_the_writer_stops_without_effect_on_the_ledger(scene, call):
    await scene.sync(*PLAIN, writer="former")
    records = []

    async def other_first(write: Callable[[], Awaitable[None]]) -> None:
        await scene.sync(*PLAIN, point(4), writer="successor")
        records.append(await scene.database.scroll(scene.ledgers, payload=True))
        await write()

    watched = Watched(scene.database, at=call, instead=other_first)
    with pytest.raises(Transient) as raised:
        await scene.sync(*PLAIN, point(4), writer="former", database=watched)

    assert raised.value.reason is Reason.ANOTHER_WRITER
    assert len(watched.calls) == call
    assert await scene.database.scroll(scene.ledgers, payload=True) == records[0]
    assert await scene.stored() == await scene.expected(*PLAIN, point(4))


@REST
@pytest.mark.parametrize("kind", ["head", "base", "slot"])
async def test_a_process_killed_while_it_became_the_writer_of_some_records_becomes_that_of_all(scene, kind):
    await scene.sync(*PLAIN, writer="former")
    record = scene.store().key.record_id(kind)
    await scene.database.change_payloads(scene.ledgers, [PayloadChange(record, put={"token": "successor"})])

    await scene.sync(*PLAIN, point(3), writer="successor")

    assert await scene.stored() == await scene.expected(*PLAIN, point(3))


async def test_remove_all_deletes_what_the_set_owns_and_its_ledger(scene):
    foreign = await scene.stranger(1, [7, 7, 7])
    await scene.sync(*PLAIN, owner="mine")
    await scene.sync(point(5), owner="other")

    deleted = await scene.remove_all(owner="mine")

    assert deleted == 1
    assert await scene.stored() == {**await scene.expected(point(5)), 1: foreign}
    assert await scene.records() == 3


async def test_removing_a_set_that_never_wrote_anything_is_no_error(scene):
    """There is not even a collection for ledgers."""
    assert await scene.remove_all() == 0
    await scene.store().remove()


async def test_a_set_that_is_made_again_under_its_name_starts_afresh(scene):
    """Its first life was killed while the last records were being removed."""
    await scene.sync(*PLAIN)
    await scene.sync(PLAIN[0])
    await scene.database.delete_points(scene.ledgers, [scene.store().key.record_id("head")])
    await scene.database.delete_points(scene.collection, [1])
    assert await scene.remove_all() == 0
    assert await scene.records() == 0
    await scene.database.update_collection(
        scene.collection, {"metadata": dict.fromkeys((await scene.target()).registration)}
    )
    foreign = await scene.stranger(2, [7, 7, 7], by="stranger")

    synced = await scene.sync(point(3))

    assert not synced.rebuilt
    assert await scene.stored() == {**await scene.expected(point(3)), 2: foreign}


@REST
async def test_a_collection_that_goes_away_meanwhile_is_looked_at_again(scene):
    await scene.sync(*PLAIN)
    target, declaration = await scene.target(), await scene.declared(point(3))
    await scene.database.delete_collection(scene.collection)

    with pytest.raises(Transient) as raised:
        await sync(scene.store(), target, Inline(declaration))

    assert raised.value.reason is Reason.COLLECTION_NOT_READY


@REST
async def test_a_point_that_loses_its_place_between_look_and_write_is_looked_at_again(scene):
    await scene.sync(*PLAIN)

    async def deleted_first(call: Callable[[], Awaitable[None]]) -> None:
        await scene.database.delete_points(scene.collection, [1])
        await call()

    changed = [point(1, text=[2, 2, 2], image=[1, 1], a=1), PLAIN[1]]
    with pytest.raises(Transient):
        await scene.sync(*changed, database=Watched(scene.database, at=3, instead=deleted_first))
    await scene.sync(*changed)

    assert await scene.stored() == await scene.expected(*changed)


# ---- values that come back different from how they were written ----

SIZES = {"size": 4}
EVERY_KIND = {
    f"{distance}-{datatype}".lower(): {**SIZES, "distance": distance, "datatype": datatype}
    for distance in ("Cosine", "Dot", "Euclid", "Manhattan")
    for datatype in ("float32", "float16", "uint8")
}


async def test_every_datatype_and_distance_is_unchanged_at_the_second_look(scene):
    """Cosine vectors come back normalized, the smaller datatypes rounded: that is no drift."""
    scene.collection += "-kinds"
    tokens = {"size": 2, "distance": "Cosine", "multivector_config": {"comparator": "max_sim"}}
    await scene.make({**EVERY_KIND, "tokens": tokens}, sparse_vectors={"terms": {}})
    generator = np.random.default_rng(1)
    points: list[Any] = []
    for number in range(30):
        scale = 10.0 ** (number % 4)
        vectors = {
            name: {"values": (generator.uniform(0, 1, 4) * (255 if "uint8" in name else scale)).tolist()}
            for name in EVERY_KIND
        }
        points.append({"id": number, "vectors": vectors, "payload": {}})
    points[0]["vectors"] = {name: {"values": [0.0] * 4} for name in EVERY_KIND}
    points[1]["vectors"]["tokens"] = {"rows": [[1.0, 2.0], [3.0, -4.0], [0.0, 0.0]]}
    points[2]["vectors"]["tokens"] = {"values": [1.0, 2.0]}
    points[3]["vectors"]["terms"] = {"sparse": {"indices": [9, 1, 4294967295], "values": [0.5, -1.0, 0.0]}}
    points[4]["vectors"]["terms"] = {"sparse": {"indices": [], "values": []}}
    first = await scene.sync(*points)
    watched = Watched(scene.database)

    second = await scene.sync(*points, database=watched)

    assert (first.written, first.failures, dict(first.conflicts)) == (30, (), {})
    assert (second.unchanged, watched.calls) == (30, [])


async def test_short_rows_tiny_numbers_and_long_vectors_are_stored_or_refused_and_never_anothers(scene):
    """Rows shorter than 3.5e-4 are not normalized, float16 has a smallest step, and a length may overflow float32."""
    scene.collection += "-odd"
    tokens = {"size": 4, "distance": "Cosine", "multivector_config": {"comparator": "max_sim"}}
    half = {"size": 4, "distance": "Cosine", "datatype": "float16"}
    await scene.make({"tokens": tokens, "half": half, "long": {"size": 4, "distance": "Cosine"}})
    points: list[Any] = [
        {"id": 1, "vectors": {"tokens": {"rows": [[0.0001, 0.0002, 0, 0], [3, 4, 0, 0]]}}},
        {"id": 2, "vectors": {"tokens": {"rows": [[0, 0, 0, 0], [3, 4, 0, 0]]}}},
        {"id": 3, "vectors": {"half": {"values": [1e-8] * 4}}},
        {"id": 4, "vectors": {"half": {"values": [1e5, 1e-3, 0, 0]}}},
        {"id": 5, "vectors": {"long": {"values": [1e18, 2e18, 0, 0]}}},
    ]
    too_long = {"id": 6, "vectors": {"long": {"values": [1e20, 2e20, 0, 0]}}}
    await scene.stranger_without_vectors(9)

    first = await scene.sync(*points, too_long)
    watched = Watched(scene.database)
    second = await scene.sync(*points, too_long, database=watched)
    await scene.remove_all()

    assert (first.written, dict(first.conflicts), len(first.failures)) == (5, {}, 1)
    assert first.failures[0].reason.startswith("vectors.long.values: too long to be normalized")
    assert (second.unchanged, watched.calls) == (5, [])
    assert set(await scene.stored()) == {9}


class Otherwise:
    """A Qdrant that gives back other numbers than any we know: half of what was stored, where it may normalize."""

    def __init__(self, database: Any) -> None:
        self._database = database

    def __getattr__(self, name: str) -> Any:
        return getattr(self._database, name)

    async def points(self, name: str, ids: Any, **options: Any) -> dict[PointId, StoredPoint]:
        found = await self._database.points(name, ids, **options)
        return {id: StoredPoint(id, one.payload, self._halved(one.vectors)) for id, one in found.items()}

    def _halved(self, vectors: Any) -> Any:
        return {name: vector / 2 if name == "cos" else vector for name, vector in vectors.items()}


@pytest.mark.parametrize("killed", [False, True])
async def test_a_vector_that_comes_back_as_nobody_expected_is_ours_and_is_written_once(scene, killed):
    scene.collection += "-otherwise"
    await scene.make({"cos": {"size": 2, "distance": "Cosine"}, **VECTORS})
    otherwise = Otherwise(scene.database)
    first, changed, other = (
        {"id": 1, "vectors": {"cos": {"values": values}}, "payload": payload}
        for values, payload in (([3, 4], {"a": 1}), ([4, 3], {"a": 1}), ([4, 3], {"a": 2}))
    )
    if killed:
        recorded = Watched(otherwise)
        await scene.sync({"id": 2, "vectors": {}}, database=recorded)
        insert = len(recorded.calls) - 1
        await scene.clear()
        with pytest.raises(Killed):
            await scene.sync(first, database=Watched(otherwise, at=insert, instead=killed_after))

    for declared in (first, changed, other):
        told = await scene.sync(declared, database=otherwise)
        if killed:
            # What was known before the kill is not: it is written once more, and then left alone.
            await scene.sync(declared, database=otherwise)
        watched = Watched(otherwise)
        again = await scene.sync(declared, database=watched)
        assert (dict(told.conflicts), again.unchanged, watched.calls) == ({}, 1, [])
    expected = (await scene.expected(other))[1]
    assert (await scene.stored())[1][0] == expected[0]
    await scene.remove_all(database=otherwise)
    assert await scene.stored() == {}


@pytest.mark.parametrize(("read_whole", "written"), [(1, 0), (0, 2)])
async def test_of_many_new_points_a_few_tell_that_vectors_come_back_as_nobody_expected(
    scene, monkeypatch, read_whole, written
):
    """Without those few, the next look finds out, and writes the points once more."""
    monkeypatch.setattr(window, "READ_WHOLE", read_whole)
    scene.collection += "-many"
    await scene.make({"cos": {"size": 2, "distance": "Cosine"}})
    otherwise = Otherwise(scene.database)
    points = [{"id": id, "vectors": {"cos": {"values": [3, 4]}}, "payload": {"a": id}} for id in (1, 2)]

    passes = [await scene.sync(*points, database=otherwise) for _ in range(3)]

    assert [one.written for one in passes] == [2, written, 0]
    assert [one.conflicting for one in passes] == [0, 0, 0]


async def test_where_numbers_are_changed_by_qdrant_the_payload_tells_whose_a_point_is(scene, monkeypatch):
    monkeypatch.setattr(window, "READ_WHOLE", 0)
    scene.collection += "-payloads"
    await scene.make({"text": {"size": 3, "distance": "Cosine"}})
    foreign = []

    async def stranger_first(call: Callable[[], Awaitable[None]]) -> None:
        foreign.append(await scene.stranger(1, [0, 0, 1], a=2))
        await call()

    recorded = Watched(scene.database)
    await scene.sync(point(3), database=recorded)
    insert = len(recorded.calls) - 1
    await scene.clear()

    watched = Watched(scene.database, at=insert, instead=stranger_first)
    synced = await scene.sync(point(1, a=1), point(2, a=1), database=watched)

    assert watched.calls[insert - 1] == "upsert"
    assert (dict(synced.conflicts), synced.written) == ({1: ""}, 1)
    assert (await scene.stored())[1] == foreign[0]
    await scene.remove_all()
    assert await scene.stored() == {1: foreign[0]}


@pytest.mark.parametrize("vectors", [VECTORS, {"size": 3, "distance": "Dot"}], ids=["named", "unnamed"])
async def test_a_point_may_have_a_payload_only_and_its_vector_comes_later_and_goes_again(scene, vectors):
    scene.collection += "-payload"
    await scene.make(vectors)
    vector = {"vector": {"values": [1, 2, 3]}} if "size" in vectors else {"vectors": {"text": {"values": [1, 2, 3]}}}
    bare, whole = {"id": 1, "payload": {"title": "pending"}}, {"id": 1, "payload": {"title": "done"}, **vector}

    for declared in (bare, whole, bare):
        told = await scene.sync(declared)
        watched = Watched(scene.database)
        again = await scene.sync(declared, database=watched)
        assert (told.written, again.unchanged, watched.calls) == (1, 1, [])
        assert await scene.stored() == await scene.expected(declared)


async def until_it_passes(work: Callable[[], Awaitable[Any]]) -> Any:
    """Tries again when Qdrant says so."""
    while True:
        try:
            return await work()
        except RateLimited as error:
            await asyncio.sleep(error.retry_after or 0.1)


@SERVER
async def test_a_rate_limit_below_one_request_slows_a_set_down_and_does_not_stop_it(scene):
    """Strict mode refuses for ever a request for more points than it allows in a minute, to read, write or delete."""
    scene.collection += "-limited"
    await scene.make()
    ids: list[int] = list(range(501))

    async def limit(**limits: int) -> None:
        strict = {"enabled": True, "read_rate_limit": 1_000_000, "write_rate_limit": 1_000_000} | limits
        await scene.database.update_collection(scene.collection, {"strict_mode_config": strict})

    # The first write into a collection counts twice.
    await scene.sync(point(1000))
    await limit(write_rate_limit=500)
    await until_it_passes(lambda: scene.sync(*map(point, ids)))
    await limit(read_rate_limit=500)
    found = await until_it_passes(lambda: scene.database.points(scene.collection, ids))
    await limit(write_rate_limit=500)
    await until_it_passes(scene.remove_all)

    assert sorted(found) == ids
    await limit()
    assert await scene.stored() == {}


class Full:
    """A Qdrant without room for data: as from 1.19 on, it still deletes. meanwhile: before its first refusal."""

    def __init__(self, database: Any, meanwhile: Callable[[], Awaitable[Any]] | None = None) -> None:
        self._database = database
        self._meanwhile = meanwhile

    def __getattr__(self, name: str) -> Any:
        if name not in {"upsert", "update_vectors", "change_payloads"}:
            return getattr(self._database, name)

        async def refused(*_: Any, **__: Any) -> None:
            if happens := self._meanwhile:
                self._meanwhile = None
                await happens()
            raise OutOfSpace(Reason.OUT_OF_SPACE, "the server has no room for more data")

        return refused


@pytest.mark.parametrize("writer", ["the same", "another"])
async def test_a_full_server_still_deletes_what_leaves_a_set(scene, writer):
    foreign = await scene.stranger(77, [7, 7, 7])
    await scene.sync(point(1), point(2), point(3), writer="the same")

    with pytest.raises(OutOfSpace):
        await scene.sync(point(1), point(4), database=Full(scene.database), writer=writer)
    left = await scene.stored()
    synced = await scene.sync(point(1), point(4))

    assert set(left) == {1, 77}
    assert (synced.written, synced.failures, dict(synced.conflicts)) == (1, (), {})
    assert await scene.stored() == {**await scene.expected(point(1), point(4)), 77: foreign}


async def test_a_set_goes_from_a_full_server_with_its_points_and_its_ledger(scene):
    foreign = await scene.stranger(77, [7, 7, 7])
    await scene.sync(point(1), point(2))

    await scene.remove_all(database=Full(scene.database))

    assert await scene.stored() == {77: foreign}
    assert await scene.records() == 0


@pytest.mark.parametrize("goes", ["a point", "the set"])
async def test_on_a_full_server_a_former_writer_deletes_nothing_that_its_successor_declares(scene, goes):
    await scene.sync(point(1), point(2), writer="former")

    async def successor() -> None:
        await scene.sync(point(1), point(2), point(3), writer="successor")

    full = Full(scene.database, successor)
    with pytest.raises(Transient) as raised:
        await (scene.sync(point(1), database=full) if goes == "a point" else scene.remove_all(database=full))

    assert raised.value.reason is Reason.ANOTHER_WRITER
    assert await scene.stored() == await scene.expected(point(1), point(2), point(3))
    assert await scene.records() > 0


async def test_sparse_weights_may_be_any_whatever_the_datatype_of_their_index_and_a_small_change_is_seen(scene):
    """The index alone has it: weights are stored as float32."""
    scene.collection += "-sparse"
    await scene.make({}, sparse_vectors={"terms": {"index": {"datatype": "uint8"}}})
    weights = {1: [412.5, 1.5], 2: [-0.25], 3: [0.25]}
    points = [
        {"id": id, "vectors": {"terms": {"sparse": {"indices": list(range(len(values))), "values": values}}}}
        for id, values in weights.items()
    ]
    first = await scene.sync(*points)
    changed = Sparse(np.array([0], np.uint32), np.array([0.5], np.float32))
    await scene.database.update_vectors(scene.collection, [PointData(3, vectors={"terms": changed})])

    second = await scene.sync(*points)

    assert (first.written, first.failures) == (3, ())
    assert (second.written, second.unchanged) == (1, 2)
    stored = await scene.database.points(scene.collection, [1, 2, 3], vectors=True)
    assert {id: point.vectors["terms"].values.tolist() for id, point in stored.items()} == weights


async def test_an_unnamed_vector_stands_beside_named_ones(scene):
    scene.collection += "-both"
    await scene.make({"": {"size": 2, "distance": "Dot"}, "text": {"size": 3, "distance": "Dot"}})
    both = {"id": 1, "vector": {"values": [1.0, 2.0]}, "vectors": {"text": {"values": [1.0, 2.0, 3.0]}}}
    points = [both, {"id": 2, "vector": both["vector"]}, {"id": 3, "vectors": both["vectors"]}]

    first = await scene.sync(*points)
    second = await scene.sync(*points)

    assert (first.written, first.failures, second.unchanged) == (3, (), 3)
    stored = await scene.database.points(scene.collection, [1, 2, 3], vectors=True)
    assert {id: point.vectors.keys() for id, point in stored.items()} == {1: {"", "text"}, 2: {""}, 3: {"text"}}


async def test_peers_11_any_payload_is_unchanged_at_the_second_look(scene):
    """Qdrant reads every ninth float of 17 digits a bit off."""
    generator = np.random.default_rng(1)
    payload: Any = {
        "floats": [*generator.uniform(-1, 1, 300).tolist(), 1e-300, 1e300, 5e-324, 1e22, -0.0, 1.0, 2.0**60],
        "integers": [0, -(2**63), 2**63 - 1, 2**64 - 1, 2**53 + 1],
        "texts": ["", "é", "\u0000", "\U0001f980", "a.b[0]"],
        "a.b": {"": None, "[]": []},
        "": None,
        "empty": {},
    }
    await scene.sync(point(1, **payload), point(2, value=0.46723190130255077))
    watched = Watched(scene.database)

    second = await scene.sync(point(1, **payload), point(2, value=0.46723190130255077), database=watched)

    assert (second.unchanged, watched.calls) == (2, [])


async def test_vectors_that_the_collection_gets_or_loses_are_no_reason_to_write_points_again(scene):
    """The ledger speaks of the old names until then. (No Qdrant of today adds a vector; a schema alone can tell.)"""
    await scene.sync(*PLAIN)
    store, target = scene.store(), await scene.target()
    declaration = await scene.declared(*PLAIN)
    ledger = await store.take(await store.read())
    await store.restate(ledger.align(("another", "image", "text", "zero")))
    watched = Watched(scene.database)

    synced = await sync(scene.store(database=watched), target, Inline(declaration))

    assert (synced.unchanged, synced.written) == (2, 0)
    assert (await scene.ledger()).names == tuple(sorted(VECTORS))
    assert not {"update_vectors", "delete_vectors"} & set(watched.calls)


# ---- the faults of CocoIndex that are about points (reference: its tests reproduce each) ----


async def test_cocoindex_4_a_point_deleted_or_changed_behind_our_back_is_repaired_at_the_next_look(scene):
    await scene.sync(*PLAIN)
    await scene.database.delete_points(scene.collection, [1])
    await scene.stranger(2, [8, 8, 8], tampered=True)

    await scene.sync(*PLAIN)

    assert await scene.stored() == await scene.expected(*PLAIN)


async def test_cocoindex_5_points_removed_while_the_operator_was_away_do_not_stay_for_ever(scene):
    """Its state is in Qdrant: a new process, on a new disk, knows what it owns."""
    await scene.sync(*PLAIN, point(3), writer="first process")

    await scene.sync(*PLAIN, writer="another machine")

    assert await scene.stored() == await scene.expected(*PLAIN)


async def test_cocoindex_6_two_processes_do_not_delete_each_others_points(scene):
    await scene.sync(point(1), owner="first", writer="one")
    await scene.sync(point(2), owner="second", writer="two")

    await scene.sync(point(1), owner="first", writer="three")

    assert await scene.stored() == await scene.expected(point(1), point(2))


async def test_cocoindex_11_undeclaring_a_set_removes_its_points_and_they_are_not_forgotten(scene):
    await scene.sync(point(1), point(2), point(3))
    await scene.remove_all()

    await scene.sync(point(1))

    assert await scene.stored() == await scene.expected(point(1))


async def test_cocoindex_13_points_are_deleted_last(scene):
    await scene.sync(*PLAIN)
    watched = Watched(scene.database)

    await scene.sync(point(3), point(1, text=[5, 5, 5]), database=watched)

    writes = [call for call in watched.calls if call in {"upsert", "update_vectors", "delete_points"}]
    assert writes[-2:] == ["delete_points", "upsert"]  # The last one is the ledger's.
    assert await scene.stored() == await scene.expected(point(3), point(1, text=[5, 5, 5]))


async def test_cocoindex_14_any_string_is_an_id_and_so_is_any_64_bit_integer(scene):
    ids = ["doc-123", "42", 2**64 - 1, 2**63, "550e8400-e29b-41d4-a716-446655440000"]

    synced = await scene.sync(*(point(id) for id in ids), store_id_as="key")

    assert (synced.written, synced.failures) == (5, ())
    assert (await scene.stored()).keys() == {point_id(id) for id in ids}


async def test_cocoindex_15_two_spellings_of_a_uuid_are_one_point(scene):
    spelled = "550E8400-E29B-41D4-A716-446655440000"
    await scene.sync(point(spelled, text=[1, 2, 3]))
    watched = Watched(scene.database)

    respelled = await scene.sync(point(f"urn:uuid:{spelled.lower()}", text=[1, 2, 3]), database=watched)
    both = await scene.sync(point(spelled, text=[1, 2, 3]), point(f"{{{spelled}}}", text=[1, 2, 3]), database=watched)

    assert (respelled.unchanged, both.unchanged) == (1, 1)
    assert watched.calls == []
    assert len(await scene.stored()) == 1


async def test_cocoindex_16_an_id_declared_twice_with_other_content_fails_and_the_others_are_written(scene):
    await scene.sync(point(1, text=[1, 0, 0]))

    synced = await scene.sync(point(1, text=[2, 0, 0]), point(1, text=[3, 0, 0]), point(2))

    assert {failure.id for failure in synced.failures} == {1}
    assert await scene.stored() == await scene.expected(point(1, text=[1, 0, 0]), point(2))


async def test_cocoindex_17_one_bad_value_fails_its_point_only_on_every_transport(scene):
    bad = [point("inf", x=float("inf")), point("nan", x=[float("nan")]), point("big", x=2**64)]

    synced = await scene.sync(*bad, point(1, x=2**63))

    assert [failure.shown_id for failure in synced.failures] == ["inf", "nan", "big"]
    assert await scene.stored() == await scene.expected(point(1, x=2**63))


async def test_cocoindex_18_another_spelling_of_the_same_content_is_no_change(scene):
    await scene.sync(point(1, text=[0.1, 1, 2], n=1, m={"a": 1, "b": 2}))
    watched = Watched(scene.database)
    rounded = float(np.float32(0.1))

    synced = await scene.sync(point(1, text=[rounded, 1.0, 2.0], m={"b": 2.0, "a": 1.0}, n=1.0), database=watched)

    assert (synced.unchanged, watched.calls) == (1, [])


async def test_cocoindex_19_a_vector_is_checked_before_it_is_sent(scene):
    watched = Watched(scene.database)
    bad = [point(1, text=[1, 2]), point(2, text=[float("nan"), 0, 0]), {"id": 3, "vectors": {"nope": {"values": [1]}}}]

    synced = await scene.sync(*bad, database=watched)

    assert [failure.reason.split(":")[0] for failure in synced.failures] == [
        "vectors.text.values",
        "vectors.text.values[0]",
        "vectors.nope",
    ]
    assert watched.calls == []


async def test_cocoindex_20_every_row_of_a_multivector_is_kept(scene):
    scene.collection += "-rows"
    await scene.make({"rows": {"size": 2, "distance": "Dot", "multivector_config": {"comparator": "max_sim"}}})
    rows = {"id": 1, "vectors": {"rows": {"rows": [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]}}}

    await scene.sync(rows)
    fewer = {"id": 1, "vectors": {"rows": {"rows": [[1.0, 2.0], [5.0, 6.0]]}}}
    await scene.sync(fewer)

    assert await scene.stored() == await scene.expected(fewer)
    assert without(await scene.stored(), 1) == {}
