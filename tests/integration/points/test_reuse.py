"""A collection that is filled beside an old one: a text whose vector is stored in the old one is not embedded again."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from integration.points.scene import (
    VECTORS,
    Killed,
    Scene,
    Watched,
    frozen,
    killed_after,
    killed_before,
    point,
    text_point,
)
from integration.points.sourced import sync_rows
from vectorops.api.connection import QdrantConnectionSpec
from vectorops.api.meta import JsonObject
from vectorops.ledger.lifecycle import read_all_parts
from vectorops.points import reuse
from vectorops.points.schema import point_schema
from vectorops.points.stage import Inline
from vectorops.points.stored_vectors import StoredVectors
from vectorops.points.sync import sync
from vectorops.points.sync_preview import preview_new, preview_sync
from vectorops.points.synced import Synced
from vectorops.points.target import nothing_given_up
from vectorops.qdrant.connect import Credentials, connect
from vectorops.qdrant.database import PointData, PointId
from vectorops.qdrant.observe import read_collection
from vectorops.vectors import Sparse

LIONS = [
    text_point(1, "a lion", image=[1, 1], a=1),
    text_point(2, "a lioness", b="two"),
    text_point("cub", "a cub"),
    point(4, text=[4, 4, 4], c=True),
]
ALL = ["a cub", "a lion", "a lioness"]
MANY = [text_point(id, f"text {id}", n=id) for id in range(40)]
REST = pytest.mark.parametrize("database", ["rest"], indirect=True)

FLOAT16 = {"text": {"size": 3, "distance": "Dot", "datatype": "float16"}}
COSINE = {"text": {"size": 3, "distance": "Cosine"}}
COSINE_FLOAT16 = {"text": {"size": 3, "distance": "Cosine", "datatype": "float16"}}
UINT8 = {"text": {"size": 3, "distance": "Dot", "datatype": "uint8"}}
ROWS = {"text": {"size": 3, "distance": "Cosine", "multivector_config": {"comparator": "max_sim"}}}


async def beside(old: Scene, vectors: JsonObject = VECTORS, **body: Any) -> Scene:
    """A new physical collection for the same sets, which finds vectors in the old one."""
    new = Scene(old.database)
    new.ledgers, new.reader, new.incarnation = old.ledgers, old.reader, "second"
    await new.make(vectors, **body)
    return await reading(new, old)


async def reading(new: Scene, old: Scene, database: Any = None) -> Scene:
    """The same as a pass of its own finds it."""
    schema = point_schema(await read_collection(old.database, old.collection))
    new.vectors_from = [StoredVectors(old.store(database=database), schema)]
    return new


async def embedded_elsewhere(new: Scene, points: Sequence[JsonObject], vectors: JsonObject, **body: Any) -> Scene:
    """The points in a third collection, where nothing was taken from another one."""
    other = Scene(new.database)
    other.reader = new.reader
    await other.make(vectors, **body)
    await other.sync(*points)
    return other


async def test_a_new_collection_is_filled_without_embedding_a_text(scene):
    await scene.sync(*LIONS)
    scene.reader.taken()
    new = await beside(scene)

    synced = await new.sync(*LIONS)

    assert (synced.written, synced.reused, scene.reader.taken()) == (4, 3, [])
    assert await new.stored() == await scene.stored()
    watched = Watched(new.database)
    assert (await new.sync(*LIONS, database=watched)).unchanged == 4
    assert (watched.calls, scene.reader.taken()) == ([], [])


async def test_only_texts_that_changed_are_embedded(scene):
    await scene.sync(*LIONS)
    scene.reader.taken()
    new = await beside(scene)
    wanted = [text_point(1, "a tiger", image=[1, 1], a=1), *LIONS[1:], text_point(5, "a zebra")]

    synced = await new.sync(*wanted)

    assert (synced.reused, scene.reader.taken()) == (2, ["a tiger", "a zebra"])
    assert await new.stored() == await scene.expected(*wanted)


async def test_a_text_that_changes_while_the_new_collection_is_filled_is_embedded_once(scene):
    await scene.sync(*LIONS)
    new = await beside(scene)
    await new.sync(*LIONS)
    scene.reader.taken()
    changed = [text_point(1, "a tiger", image=[1, 1], a=1), *LIONS[1:]]

    await scene.sync(*changed)
    await (await reading(new, scene)).sync(*changed)

    assert scene.reader.taken() == ["a tiger"]
    assert await new.stored() == await scene.stored() == await scene.expected(*changed)


async def test_nothing_that_another_model_made_is_taken(scene):
    await scene.sync(*LIONS)
    scene.reader.taken()
    scene.reader.identity = "fedcba9876543210"
    new = await beside(scene)

    synced = await new.sync(*LIONS)

    assert (synced.reused, scene.reader.taken()) == (0, ALL)
    assert await new.stored() == await new.expected(*LIONS)


async def test_numbers_that_were_declared_are_not_taken_for_those_of_a_text(scene):
    await scene.sync(*LIONS)
    scene.reader.taken()
    new = await beside(scene)

    await new.sync(*LIONS[:3], text_point(4, "a zebra", c=True))

    assert scene.reader.taken() == ["a zebra"]


async def test_what_others_deleted_in_the_old_collection_is_embedded(scene):
    await scene.sync(*LIONS)
    scene.reader.taken()
    await scene.database.delete_points(scene.collection, [2])
    await scene.database.delete_vectors(scene.collection, [1], ["text"])
    new = await beside(scene)

    synced = await new.sync(*LIONS)

    assert (synced.reused, scene.reader.taken()) == (1, ["a lion", "a lioness"])
    assert await new.stored() == await new.expected(*LIONS)


async def test_a_vector_that_somebody_altered_is_taken_as_it_is(scene):
    """Nobody can tell without embedding the text: in the old collection it is not noticed either."""
    await scene.sync(*LIONS)
    scene.reader.taken()
    altered = PointData(1, {"text": np.array([7, 7, 7], dtype=np.float32)})
    await scene.database.update_vectors(scene.collection, [altered])
    new = await beside(scene)

    await new.sync(*LIONS)

    assert (await scene.sync(*LIONS)).unchanged == 4
    assert await new.stored() == await scene.stored()
    assert scene.reader.taken() == []


@pytest.mark.parametrize(
    ("was", "becomes", "reused"),
    [
        (COSINE, COSINE, 3),
        (COSINE, COSINE_FLOAT16, 3),
        (COSINE, VECTORS, 0),
        (COSINE_FLOAT16, COSINE_FLOAT16, 3),
        (COSINE_FLOAT16, COSINE, 0),
        (VECTORS, COSINE, 3),
        (VECTORS, FLOAT16, 3),
        (VECTORS, UINT8, 3),
        (FLOAT16, FLOAT16, 3),
        (FLOAT16, COSINE_FLOAT16, 0),
        (UINT8, UINT8, 3),
        (UINT8, VECTORS, 0),
    ],
)
@REST
async def test_a_vector_is_taken_where_it_is_stored_as_the_original_would_be(scene, was, becomes, reused):
    texts = [text_point(id, text) for id, text in enumerate(ALL)]
    old = Scene(scene.database)
    old.reader = scene.reader
    await old.make(was)
    await old.sync(*texts)
    scene.reader.taken()
    new = await beside(old, becomes)

    synced = await new.sync(*texts)

    assert (synced.reused, len(scene.reader.taken())) == (reused, 3 - reused)
    assert await new.stored() == await (await embedded_elsewhere(new, texts, becomes)).stored()


@pytest.mark.parametrize("kind", ["rows", "sparse"])
@pytest.mark.parametrize("database", ["rest", "grpc"], indirect=True)
async def test_multivectors_and_sparse_vectors_are_taken_as_well(scene, monkeypatch, kind):
    made = {
        "rows": lambda text: np.arange(1, 1 + 3 * len(text), dtype=np.float32).reshape(-1, 3),
        "sparse": lambda text: Sparse(np.arange(len(text), dtype=np.uint32), np.ones(len(text), dtype=np.float32)),
    }
    vectors: JsonObject = ROWS if kind == "rows" else {}
    body: JsonObject = {"sparse_vectors": {"text": {}}} if kind == "sparse" else {}
    monkeypatch.setattr(scene.reader, "made", made[kind])
    texts = [text_point(id, text) for id, text in enumerate(ALL)]
    old = await embedded_elsewhere(scene, texts, vectors, **body)
    old.reader.taken()
    new = await beside(old, vectors, **body)

    synced = await new.sync(*texts)

    assert (synced.reused, scene.reader.taken()) == (3, [])
    assert await new.stored() == await old.stored()


@pytest.mark.parametrize(("before", "after"), [(2, 2), (0, 2), (3, 1)])
@REST
async def test_the_ledgers_may_be_cut_differently(scene, before, after):
    scene.bits = before
    await scene.sync(*MANY)
    scene.reader.taken()
    new = await beside(scene)
    new.bits = after

    synced = await new.sync(*MANY)

    assert [part.part.bits for part in await read_all_parts(new.store())] == [after] * 2**after
    assert (synced.reused, scene.reader.taken()) == (len(MANY), [])
    assert await new.stored() == await scene.stored()


@pytest.mark.parametrize("database", ["rest", "grpc"], indirect=True)
async def test_a_set_with_a_source_takes_them_as_well_and_its_revision_is_recorded(scene, monkeypatch):
    monkeypatch.setattr("vectorops.points.staging.POINTS_OF_A_PART", 8)
    await sync_rows(scene, MANY, "one")
    scene.reader.taken()
    new = await beside(scene)
    changed = [text_point(0, "another", n=0), *MANY[1:]]

    synced = await sync_rows(new, changed, "two")

    assert (synced.reused, scene.reader.taken()) == (len(MANY) - 1, ["another"])
    assert await new.stored() == await scene.expected(*changed)
    assert str((await new.store().read_head() or {}).get("revision")) == "two"


@REST
async def test_few_vectors_are_in_memory_at_once(scene, monkeypatch):
    await scene.sync(*MANY)
    scene.reader.taken()
    new = await beside(scene)
    monkeypatch.setattr(reuse, "WINDOW_BYTES", 10 * 3 * 4)
    largest = 0

    class Counting(Watched):
        async def points(self, name: str, ids: Sequence[Any], **options: Any) -> Any:
            nonlocal largest
            largest = max(largest, len(ids))
            return await scene.database.points(name, ids, **options)

    await reading(new, scene, Counting(scene.database))

    synced = await new.sync(*MANY)

    assert (synced.reused, largest) == (len(MANY), 10)
    assert await new.stored() == await scene.stored()


async def test_the_vector_under_another_shard_key_is_of_another_point(cluster_qdrant):
    database = connect(QdrantConnectionSpec(url=cluster_qdrant.url, prefer_grpc=False), Credentials())
    await database.check()
    old, texts = Scene(database), {"acme": "a lion", "globex": "a tiger"}

    async def make(scene: Scene) -> None:
        await scene.make(VECTORS, sharding_method="custom")
        for key in texts:
            await database.create_shard_key(scene.collection, key, {})

    async def fill(scene: Scene, key: str) -> Synced:
        staged = Inline(await scene.declared(text_point(1, texts[key])))
        return await sync(scene.store(key).for_shard_key(key), await scene.target(key), staged, old.reader)

    await make(old)
    new = Scene(database)
    new.ledgers, new.reader = old.ledgers, old.reader
    await make(new)
    for key in texts:
        await fill(old, key)
    old.reader.taken()

    for key, text in texts.items():
        new.vectors_from = [
            StoredVectors(old.store(key), point_schema(await read_collection(database, old.collection)))
        ]
        assert (await fill(new, key)).reused == 1
        shard = database.with_shard_key(new.collection, key)
        found = await shard.points(new.collection, [1], vectors=True)
        assert frozen(found[1]) == (await new.expected(text_point(1, text)))[1]
    assert old.reader.taken() == []
    await database.close()


# ---- what the old ledger cannot be sure of ----


@pytest.mark.parametrize("instead", [killed_before, killed_after])
@pytest.mark.parametrize("wanted", ["a lion", "a tiger"])
@REST
async def test_of_a_point_whose_window_was_left_open_nothing_is_taken(scene, instead, wanted):
    """The ledger says lion, and tiger may be stored; or it says both."""
    await scene.sync(*LIONS)
    tiger = [text_point(1, "a tiger", image=[1, 1], a=1), *LIONS[1:]]
    with suppress(Killed):
        # Before, or after, the vector is written.
        await scene.sync(*tiger, database=Watched(scene.database, at=3, instead=instead))
    assert (await scene.ledger()).pending is not None
    scene.reader.taken()
    new = await beside(scene)
    points = [text_point(1, wanted, image=[1, 1], a=1), *LIONS[1:]]

    synced = await new.sync(*points)

    assert (synced.reused, scene.reader.taken()) == (2, [wanted])
    assert await new.stored() == await new.expected(*points)


@REST
async def test_of_what_may_still_arrive_late_nothing_is_taken(scene):
    await scene.sync(*LIONS)
    tiger = [text_point(1, "a tiger", image=[1, 1], a=1), *LIONS[1:]]
    with suppress(Killed):
        await scene.sync(*tiger, database=Watched(scene.database, at=4, instead=killed_before))
    await scene.sync(*LIONS)
    ledger = await scene.ledger()
    assert (ledger.pending, set(ledger.late.entries)) == (None, {1})
    scene.reader.taken()
    new = await beside(scene)

    synced = await new.sync(*LIONS)

    assert (synced.reused, scene.reader.taken()) == (2, ["a lion"])


class Interrupted(Watched):
    """A database in which something happens just before, or after, a point of a collection is read."""

    def __init__(
        self, scene: Scene, id: PointId, happens: Callable[[], Awaitable[Any]], *, before: bool, times: int = 1
    ) -> None:
        super().__init__(scene.database)
        self._scene, self._id, self._happens, self._before, self._times = scene, id, happens, before, times

    async def points(self, name: str, ids: Sequence[Any], **options: Any) -> Any:
        is_ours = name == self._scene.collection and self._id in ids and self._times > 0
        self._times -= is_ours
        if is_ours and self._before:
            await self._happens()
        found = await self._scene.database.points(name, ids, **options)
        if is_ours and not self._before:
            await self._happens()
        return found


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("bits", [0, 2])
@REST
async def test_a_text_that_changes_in_the_old_collection_while_it_is_read_is_not_mixed_up(scene, before, bits):
    scene.bits = bits
    await scene.sync(*MANY)
    new = await beside(scene)
    changed = [text_point(0, "another", n=0), *MANY[1:]]
    scene.reader.taken()
    # A vector of the old text may be read while the ledger already says the new one, or the other way round.
    await reading(new, scene, Interrupted(scene, 0, lambda: scene.sync(*changed), before=before))
    new.bits = bits

    synced = await new.sync(*MANY)

    assert (synced.reused, scene.reader.taken()) == (len(MANY) - 1, ["another", "text 0"])
    assert await new.stored() == await new.expected(*MANY)


@REST
async def test_an_old_collection_that_is_written_all_the_time_does_not_hold_up_the_new_one(scene):
    await scene.sync(*LIONS)
    new = await beside(scene)
    scene.reader.taken()
    texts = iter(range(100))

    async def write_another() -> None:
        await scene.sync(*LIONS[1:], text_point(1, f"text {next(texts)}", image=[1, 1], a=1))

    await reading(new, scene, Interrupted(scene, 2, write_another, before=False, times=100))

    synced = await new.sync(*LIONS)

    assert (synced.written, synced.reused) == (4, 0)
    assert await new.stored() == await new.expected(*LIONS)


@pytest.mark.parametrize("bits", [0, 1])
@REST
async def test_a_ledger_that_is_cut_while_it_is_read_is_read_once_more(scene, bits):
    scene.bits = bits
    await scene.sync(*MANY)
    scene.reader.taken()
    new = await beside(scene)
    scene.bits = 2
    await reading(new, scene, Interrupted(scene, 0, lambda: scene.sync(*MANY), before=True))

    synced = await new.sync(*MANY)

    assert (synced.reused, scene.reader.taken()) == (len(MANY), [])


async def lose_ledger(scene: Scene) -> None:
    await scene.store().remove()


async def lose_record(scene: Scene) -> None:
    await scene.database.delete_points(scene.ledgers, [scene.store().key.record_id("base")])


async def lose_collection(scene: Scene) -> None:
    await scene.database.delete_collection(scene.collection)


async def empty_collection(scene: Scene) -> None:
    await scene.database.delete_matching(scene.collection, {})


@pytest.mark.parametrize("lose", [lose_ledger, lose_record, lose_collection, empty_collection])
@REST
async def test_without_the_old_ledger_or_its_points_all_is_embedded(scene, lose):
    await scene.sync(*LIONS)
    scene.reader.taken()
    new = await beside(scene)
    await lose(scene)

    synced = await new.sync(*LIONS)

    assert (synced.written, synced.reused, scene.reader.taken()) == (4, 0, ALL)
    assert await new.stored() == await new.expected(*LIONS)


@pytest.mark.parametrize("instead", [killed_before, killed_after])
@REST
async def test_killed_at_any_call_the_next_process_goes_on_without_embedding(scene, instead):
    await scene.sync(*LIONS)
    expected = await scene.stored()
    scene.reader.taken()
    new, at, happened = await beside(scene), 0, True
    while happened:
        at += 1
        await new.database.delete_matching(new.collection, {})
        await new.store().remove()
        metadata = (await read_collection(new.database, new.collection)).metadata
        await new.database.update_collection(new.collection, {"metadata": dict.fromkeys(metadata)})
        watched = Watched(new.database, at=at, instead=instead)
        with suppress(Killed):
            await (await reading(new, scene)).sync(*LIONS, database=watched)
        happened = len(watched.calls) >= at

        await (await reading(new, scene)).sync(*LIONS)

        assert await new.stored() == expected
        assert scene.reader.taken() == []
    assert at > 3
    assert await scene.stored() == expected


# ---- what a plan says ----


@REST
async def test_a_plan_counts_what_is_reused_and_reads_no_vector(scene):
    await scene.sync(*LIONS)
    scene.reader.taken()
    new = await beside(scene)
    wanted = [*LIONS, text_point(5, "a zebra")]
    staged = Inline(await new.declared(*wanted))

    class Blind(Watched):
        async def points(self, name: str, ids: Sequence[Any], **options: Any) -> Any:
            assert name != scene.collection
            return await scene.database.points(name, ids, **options)

    await reading(new, scene, Blind(scene.database))

    made = await preview_sync(new.store(), await new.target(), staged, nothing_given_up)
    to_be_made = await preview_new(replace(await new.target(), collection="not-yet"), staged)

    assert (made.new.count, made.texts, made.reused) == (5, 1, 3)
    assert (to_be_made.new.count, to_be_made.texts, to_be_made.reused) == (5, 1, 3)
    assert scene.reader.taken() == []
    assert await new.stored() == {}
