"""Points whose vectors are made of texts: what is embedded, when, and what is written of it."""

from typing import Any

import numpy as np
import pytest

from integration.points.scene import TOO_MANY_TERMS, VECTORS, Watched, point, text_point
from vectorops.api.reasons import Reason
from vectorops.errors import Terminal, Transient
from vectorops.points import embedding
from vectorops.qdrant.database import PointData

LIONS = [
    text_point(1, "a lion", image=[1, 1], a=1),
    text_point(2, "a lioness", b="two"),
    text_point(3, "a cub"),
    point(4, text=[4, 4, 4], c=True),
]
ALL = ["a cub", "a lion", "a lioness"]
REST = pytest.mark.parametrize("database", ["rest"], indirect=True)


async def down() -> None:
    raise Transient(Reason.EMBEDDER_UNREACHABLE, "the embedder is down")


async def test_texts_are_stored_as_what_the_embedder_makes_of_them(scene):
    synced = await scene.sync(*LIONS)

    assert (synced.written, synced.failures) == (4, ())
    assert scene.reader.taken() == ALL
    assert await scene.stored() == await scene.expected(*LIONS)


async def test_a_second_pass_of_another_process_embeds_and_writes_nothing(scene):
    await scene.sync(*LIONS)
    scene.reader.taken()
    watched = Watched(scene.database)

    synced = await scene.sync(*LIONS, database=watched)

    assert (synced.unchanged, scene.reader.taken(), watched.calls) == (4, [], [])


@pytest.mark.parametrize(
    ("changed", "embedded"),
    [
        (text_point(1, "a lion", image=[1, 1], a=2), []),
        (text_point(1, "a lion", image=[5, 5], a=1), []),
        (text_point(1, "a lion", a=1), []),
        (text_point(1, "a tiger", image=[1, 1], a=1), ["a tiger"]),
        (text_point(1, "a tiger", image=[5, 5], b=2), ["a tiger"]),
        (point(1, text=[1, 2, 3], image=[1, 1], a=1), []),
    ],
    ids=["payload", "another vector", "a vector less", "text", "everything", "numbers"],
)
async def test_only_a_text_that_changed_is_embedded(scene, changed, embedded):
    await scene.sync(*LIONS)
    scene.reader.taken()

    synced = await scene.sync(changed, *LIONS[1:])

    assert (synced.written, synced.unchanged) == (1, 3)
    assert scene.reader.taken() == embedded
    assert await scene.stored() == await scene.expected(changed, *LIONS[1:])


async def test_of_a_point_with_a_changed_text_only_that_vector_is_written(scene):
    await scene.sync(*LIONS)
    written: list[PointData] = []

    class Noting(Watched):
        async def update_vectors(self, name: str, some: list[PointData]) -> None:
            written.extend(some)
            await scene.database.update_vectors(name, some)

    watched = Noting(scene.database)

    await scene.sync(text_point(1, "a tiger", image=[1, 1], a=1), *LIONS[1:], database=watched)

    assert [(one.id, set(one.vectors)) for one in written] == [(1, {"text"})]
    assert "change_payloads" not in watched.calls[1:]


async def test_numbers_may_become_a_text(scene):
    await scene.sync(*LIONS)
    scene.reader.taken()

    await scene.sync(*LIONS[:3], text_point(4, "a zebra", c=True))

    assert scene.reader.taken() == ["a zebra"]
    assert await scene.stored() == await scene.expected(*LIONS[:3], text_point(4, "a zebra", c=True))


async def test_another_model_makes_all_texts_anew_and_leaves_the_rest_as_it_is(scene):
    foreign = await scene.stranger(77, [7, 7, 7], by="stranger")
    await scene.sync(*LIONS)
    scene.reader.taken()
    scene.reader.identity = "fedcba9876543210"
    watched = Watched(scene.database)

    synced = await scene.sync(*LIONS, database=watched)

    assert (synced.written, synced.unchanged) == (3, 1)
    assert scene.reader.taken() == ALL
    assert await scene.stored() == {**await scene.expected(*LIONS), 77: foreign}
    # Its own records are upserted; no point is.
    assert watched.calls.count("update_vectors") == 1


async def test_what_others_deleted_is_embedded_again_and_no_more(scene):
    await scene.sync(*LIONS)
    scene.reader.taken()
    await scene.database.delete_points(scene.collection, [2, 4])
    await scene.database.delete_vectors(scene.collection, [1], ["text"])

    synced = await scene.sync(*LIONS)

    assert (synced.written, synced.unchanged) == (3, 1)
    assert scene.reader.taken() == ["a lion", "a lioness"]
    assert await scene.stored() == await scene.expected(*LIONS)


async def test_a_collection_that_was_emptied_is_filled_again(scene):
    await scene.sync(*LIONS)
    scene.reader.taken()
    await scene.database.delete_matching(scene.collection, {})

    await scene.sync(*LIONS)

    assert scene.reader.taken() == ALL
    assert await scene.stored() == await scene.expected(*LIONS)


async def test_a_lost_ledger_costs_one_more_embedding_of_each_text(scene):
    await scene.sync(*LIONS)
    scene.reader.taken()
    await scene.database.delete_collection(scene.ledgers)

    synced = await scene.sync(*LIONS)

    assert (synced.rebuilt, scene.reader.taken()) == (True, ALL)
    assert await scene.stored() == await scene.expected(*LIONS)


async def test_a_take_over_embeds_nothing(scene):
    await scene.sync(*LIONS, installation="there")
    scene.reader.taken()

    synced = await scene.sync(*LIONS, installation="here", previous="there")

    assert (synced.unchanged, scene.reader.taken()) == (4, [])


async def test_while_the_embedder_is_down_all_is_done_that_needs_no_embedding_and_nothing_is_deleted(scene):
    await scene.sync(*LIONS)
    scene.reader.taken()
    scene.reader.at_call = {2: down}
    wanted = [
        text_point(1, "a lion", image=[5, 5], a=2),
        text_point(2, "a lioness, changed", b="two, changed"),
        text_point(5, "a zebra"),
        point(6, text=[6, 6, 6]),
    ]

    with pytest.raises(Transient, match="the embedder is down"):
        await scene.sync(*wanted)

    assert await scene.stored() == await scene.expected(wanted[0], *LIONS[1:], wanted[3])

    await scene.sync(*wanted)

    assert scene.reader.taken() == ["a lioness, changed", "a zebra"]
    assert await scene.stored() == await scene.expected(*wanted)


async def test_a_pass_that_the_embedder_cut_short_is_gone_on_with_where_it_stopped(scene, monkeypatch):
    monkeypatch.setattr(embedding, "WINDOW_POINTS", 2)
    await scene.sync(text_point(1, "old"))
    scene.reader.taken()
    many = [text_point(id, f"text {id}") for id in range(1, 8)]
    scene.reader.at_call = {4: down}

    with pytest.raises(Transient):
        await scene.sync(*many)
    before = scene.reader.taken()
    await scene.sync(*many)

    assert (len(before), len(scene.reader.texts)) == (4, 3)
    assert sorted([*before, *scene.reader.texts]) == [f"text {id}" for id in range(1, 8)]
    assert await scene.stored() == await scene.expected(*many)


async def test_a_text_without_a_usable_vector_fails_its_point_and_no_other(scene):
    scene.reader.unusable = {"a tiger"}

    synced = await scene.sync(*LIONS, text_point(5, "a tiger"))

    assert [(failure.shown_id, failure.reason) for failure in synced.failures] == [("5", "vectors.text: unreadable")]
    assert synced.written == 4
    assert await scene.stored() == await scene.expected(*LIONS)


async def test_a_point_whose_changed_text_fails_keeps_what_is_stored_until_it_is_mended(scene):
    await scene.sync(*LIONS)
    scene.reader.taken()
    scene.reader.unusable = {"a tiger"}

    failed = await scene.sync(text_point(1, "a tiger", image=[9, 9], a=9), *LIONS[1:])
    kept = await scene.stored()
    taken_back = await scene.sync(*LIONS)

    assert len(failed.failures) == 1
    assert kept == await scene.expected(*LIONS)
    assert (taken_back.unchanged, scene.reader.taken()) == (4, ["a tiger"])


async def test_a_text_that_is_empty_or_has_no_embedder_fails_its_point_and_no_other(scene):
    no_embedder: Any = {"id": 6, "vectors": {"image": {"text": "a lion"}}}

    synced = await scene.sync(text_point(5, "  "), no_embedder, *LIONS)

    assert [failure.reason.split(":")[0] for failure in synced.failures] == ["vectors.text.text", "vectors.image.text"]
    assert await scene.stored() == await scene.expected(*LIONS)


async def test_a_model_that_gives_another_size_than_the_collection_has_writes_nothing(scene, monkeypatch):
    monkeypatch.setattr(scene.reader, "made", lambda _: np.ones(4, dtype=np.float32))

    with pytest.raises(Terminal) as raised:
        await scene.sync(*LIONS)

    assert raised.value.reason is Reason.EMBEDDER_MISMATCH
    assert await scene.stored() == await scene.expected(LIONS[3])


async def test_a_foreign_point_that_appears_while_its_text_is_embedded_is_left_alone(scene):
    """Even if its payload and the names of its vectors are those that we declare."""
    foreign = []

    async def stranger_first() -> None:
        foreign.append(await scene.stranger(3, [7, 7, 7]))

    scene.reader.at_call = {1: stranger_first}

    synced = await scene.sync(*LIONS)

    assert dict(synced.conflicts) == {3: ""}
    assert await scene.stored() == {**await scene.expected(*LIONS), 3: foreign[0]}


async def test_removing_a_set_embeds_nothing(scene):
    foreign = await scene.stranger(77, [7, 7, 7])
    await scene.sync(*LIONS)
    scene.reader.taken()

    assert await scene.remove_all() == 4

    assert scene.reader.taken() == []
    assert await scene.stored() == {77: foreign}


@REST
async def test_a_collection_that_goes_away_while_texts_are_embedded_is_looked_at_again(scene):
    async def gone() -> None:
        await scene.database.delete_collection(scene.collection)

    scene.reader.at_call = {1: gone}

    with pytest.raises(Transient) as raised:
        await scene.sync(*LIONS)

    assert raised.value.reason is Reason.COLLECTION_NOT_READY


@REST
async def test_a_point_of_another_window_that_only_qdrant_refuses_is_found(scene, monkeypatch):
    monkeypatch.setattr(embedding, "WINDOW_POINTS", 2)
    await scene.make_strict()
    good = [text_point(number, f"text {number}") for number in range(7)]
    refused = text_point("long", "long")
    refused["vectors"]["terms"] = TOO_MANY_TERMS

    synced = await scene.sync(*good[:3], refused, *good[3:])

    assert [failure.shown_id for failure in synced.failures] == ["long"]
    assert await scene.stored() == await scene.expected(*good)


@REST
async def test_another_process_that_writes_the_set_while_texts_are_embedded_stops_us(scene):
    async def other_first() -> None:
        await scene.sync(*LIONS, writer="successor")

    scene.reader.at_call = {1: other_first}

    with pytest.raises(Transient) as raised:
        await scene.sync(*LIONS, writer="former")

    assert raised.value.reason is Reason.ANOTHER_WRITER
    assert await scene.stored() == await scene.expected(*LIONS)


@REST
async def test_nothing_is_deleted_beside_a_record_that_became_unreadable_while_texts_were_embedded(scene):
    """That may have taken an hour."""
    await scene.sync(point(1))
    await scene.sync(point(5), owner="other")
    record = scene.store("other").key.record_id("base")
    before = await scene.ledger()

    async def written_by_a_newer_version() -> None:
        await scene.database.upsert(scene.ledgers, [PointData(record, payload=newer)])

    stored = (await scene.database.points(scene.ledgers, [record], payload=True))[record].payload
    newer = {**stored, "format": 9, "hashes": None}
    scene.reader.at_call = {1: written_by_a_newer_version}

    with pytest.raises(Terminal) as raised:
        await scene.sync(text_point(2, "lion"))

    assert raised.value.reason is Reason.LEDGER_UNREADABLE
    assert str(record) in raised.value.message
    assert await scene.stored() == await scene.expected(point(1), text_point(2, "lion"), point(5))
    ledger = await scene.ledger()
    assert ledger.pending is None
    assert ledger.entries[1] == before.entries[1]
    assert str(record) in (await scene.sync(text_point(2, "lion"))).withheld


@REST
async def test_vectors_that_qdrant_normalizes_are_unchanged_at_the_second_look(scene):
    scene.collection += "-kinds"
    await scene.make({"text": {**VECTORS["text"], "distance": "Cosine"}})
    await scene.sync(*[text_point(id, f"text {id}") for id in range(5)])
    scene.reader.taken()
    watched = Watched(scene.database)

    synced = await scene.sync(*[text_point(id, f"text {id}") for id in range(5)], database=watched)

    assert (synced.unchanged, scene.reader.taken(), watched.calls) == (5, [], [])
