"""Points that no set declares are counted, and copied into the collection that is to replace theirs."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

import numpy as np
import pytest

from integration.points.scene import Killed, Scene, Watched, killed_after, killed_before, point
from servers.qdrant import QdrantServer
from vectorops.api.connection import QdrantConnectionSpec
from vectorops.api.meta import JsonObject
from vectorops.api.reasons import Reason
from vectorops.embedders.base import EmbeddedTexts, Unusable
from vectorops.errors import Terminal
from vectorops.points import others
from vectorops.points.embedding import AtSafePoint, Embed, go_on
from vectorops.points.others import Copied, LedgeredCollection, OthersCopy, count_about, count_others
from vectorops.qdrant.connect import Credentials, connect
from vectorops.qdrant.database import UNNAMED, Database, PayloadChange, PointData, PointId
from vectorops.qdrant.observe import read_collection
from vectorops.vectors import Sparse, VectorData

A_UUID = UUID(int=77)


class Model:
    """An embedder that makes the length of a text its vector, and remembers what it was given."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    async def __call__(self, vector: str, texts: Sequence[str]) -> EmbeddedTexts:
        assert vector == "text"
        self.texts += texts
        return EmbeddedTexts(tuple(Unusable("bad") if text == "bad" else self.made(text) for text in texts))

    def made(self, text: str) -> VectorData:
        return np.array([len(text), 1, 2, 3], dtype=np.float32)


class Interrupted:
    """A database at which something happens once, before all ids are read."""

    def __init__(self, database: Database, happens: Callable[[], Awaitable[Any]]) -> None:
        self._database = database
        self._happens: Callable[[], Awaitable[Any]] | None = happens

    def __getattr__(self, name: str) -> Any:
        return getattr(self._database, name)

    async def id_pages(self, name: str, size: int) -> AsyncIterator[list[PointId]]:
        happens, self._happens = self._happens, None
        if happens is not None:
            await happens()
        async for page in self._database.id_pages(name, size):
            yield page


class Move:
    """An old collection, and the one that is to replace it."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.old, self.new = Scene(database), Scene(database)
        self.model = Model()

    async def make(self, before: JsonObject | None = None, after: JsonObject | None = None) -> None:
        """before, after: what their creation says beside the usual."""
        for scene, body in ((self.old, before), (self.new, after if after is not None else before)):
            await scene.make(**(body or {}))
            await scene.mark()

    async def ledgered(self, scene: Scene, database: Any = None) -> LedgeredCollection:
        observed = await read_collection(self.database, scene.collection)
        return LedgeredCollection(database or self.database, observed, [scene.ledgers])

    async def counts(self) -> tuple[int, int]:
        """Told from counts, and from ids."""
        old = await self.ledgered(self.old)
        return await count_about(old), await count_others(old, go_on)

    async def copying(
        self,
        *,
        database: Any = None,
        same: Sequence[str] | None = None,
        embed_from: Mapping[str, str] | None = None,
        embed: Embed | None = None,
        at_safe_point: AtSafePoint = go_on,
    ) -> OthersCopy:
        """same: vectors that the same model makes in both; None: all."""
        old, new = await self.ledgered(self.old, database), await self.ledgered(self.new, database)
        names = same if same is not None else [*new.observed.vectors, *new.observed.sparse_vectors]
        return OthersCopy(old, new, frozenset(names), embed_from or {}, embed or self.model, at_safe_point)

    async def copy(self, **options: Any) -> Copied:
        return await (await self.copying(**options)).copy()


@pytest.fixture
async def move(database: Database, monkeypatch: pytest.MonkeyPatch) -> Move:
    """With pages so small that a few points take several."""
    monkeypatch.setattr(others, "PAGE_POINTS", 4)
    monkeypatch.setattr(others, "PAGE_IDS", 6)
    return Move(database)


async def bring_strangers(move: Move) -> None:
    await move.old.stranger(7, [7, 0, 0], by="stranger", nested={"list": [1, None, 2.5]})
    await move.old.stranger(A_UUID, [8, 0, 0])


async def test_points_of_all_sets_are_told_from_those_of_others(move: Move) -> None:
    await move.make()
    assert await move.counts() == (0, 0)
    await move.old.sync(point(1), point("doc"))
    await move.old.sync(point(2), owner="another")
    await move.old.sync(point(3), installation="there")
    assert await move.counts() == (0, 0)

    await bring_strangers(move)
    # A set is in conflict about it, and does not hold it.
    await move.old.sync(point(1), point("doc"), point(7))
    assert await move.counts() == (2, 2)

    await move.database.delete_points(move.old.collection, [2])
    assert await move.counts() == (1, 2)


async def test_nothing_is_known_of_others_while_a_ledger_cannot_be_read(move: Move) -> None:
    await move.make()
    await move.old.sync(point(1))
    await bring_strangers(move)
    records = await move.database.scroll(move.old.ledgers, {"must": [{"key": "kind", "match": {"value": "base"}}]})
    await move.database.change_payloads(move.old.ledgers, [PayloadChange(records[0].id, {"u64": "no base64"})])

    old = await move.ledgered(move.old)
    for ask in (count_about(old), count_others(old, go_on), move.copy()):
        with pytest.raises(Terminal) as caught:
            await ask
        assert caught.value.reason == Reason.MIGRATION_BLOCKED


KINDS: JsonObject = {
    "vectors": {
        "cosine": {"size": 3, "distance": "Cosine"},
        "euclid": {"size": 3, "distance": "Euclid"},
        "half": {"size": 3, "distance": "Dot", "datatype": "float16"},
        "byte": {"size": 3, "distance": "Manhattan", "datatype": "uint8"},
        "many": {"size": 2, "distance": "Cosine", "multivector_config": {"comparator": "max_sim"}},
    },
    "sparse_vectors": {"terms": {"modifier": "idf"}},
}


async def test_each_kind_of_vector_is_copied_bit_for_bit(move: Move) -> None:
    await move.make(KINDS)
    random = np.random.default_rng(1)
    made = {name: random.uniform(-1, 1, 3).astype(np.float32) for name in ("cosine", "euclid", "half")}
    vectors: dict[str, VectorData] = {
        **made,
        "byte": np.array([1, 2, 255], dtype=np.float32),
        "many": random.uniform(-1, 1, (4, 2)).astype(np.float32),
        "terms": Sparse(np.array([3, 90_000], dtype=np.uint32), np.array([0.1, 7], dtype=np.float32)),
    }
    points = [
        PointData(1, vectors, {"all": True}),
        PointData(2, {"half": made["half"]}, {"one": [{"a": None}]}),
        PointData(A_UUID, {}, {}),
    ]
    await move.database.upsert(move.old.collection, points)

    copied = await move.copy()

    assert (copied.points, copied.written, copied.removed, copied.without_vectors) == (3, 3, 0, {})
    assert await move.new.stored() == await move.old.stored()
    again = Watched(move.database)
    assert (await move.copy(database=again)).written == 0


async def test_an_unnamed_vector_is_copied(move: Move) -> None:
    await move.make({"vectors": {"size": 2, "distance": "Cosine"}})
    row = np.array([0.3, 0.9], dtype=np.float32)
    await move.database.upsert(move.old.collection, [PointData(id, {UNNAMED: row}, {}) for id in range(15)])

    assert (await move.copy()).written == 15

    assert await move.new.stored() == await move.old.stored()
    assert (await move.copy()).written == 0


LARGER: JsonObject = {
    "vectors": {"text": {"size": 4, "distance": "Dot"}, "image": {"size": 2, "distance": "Euclid"}},
}


async def test_a_vector_that_cannot_be_copied_is_embedded_from_a_payload_field(move: Move) -> None:
    await move.make(None, LARGER)
    contents: list[Any] = ["cat", "bad", 5, ["a", "dog"], "", None]
    for id, content in enumerate(contents):
        await move.old.stranger(id, [1, 2, 3], page={"content": content})
    await move.old.stranger_without_vectors(99)

    copied = await move.copy(embed_from={"text": "page.content"})

    assert sorted(move.model.texts) == ["a\ndog", "bad", "cat"]
    assert copied.written == 7
    assert copied.without_vectors == {"text": 5}
    found = await move.database.points(move.new.collection, range(100), payload=True, vectors=True)
    assert {id: np.asarray(one.vectors["text"]).tolist() for id, one in found.items() if one.vectors} == {
        0: [3, 1, 2, 3],
        3: [5, 1, 2, 3],
    }
    assert [found[id].payload for id in range(6)] == [{"page": {"content": content}} for content in contents]

    # What has its vector is not embedded a second time, and what changed is.
    move.model.texts.clear()
    await move.old.stranger(0, [1, 2, 3], page={"content": "horse"})
    again = await move.copy(embed_from={"text": "page.content"})
    assert "horse" in move.model.texts
    assert not {"cat", "a\ndog"} & set(move.model.texts)
    assert (again.written, again.without_vectors) == (1, {"text": 5})


async def test_a_vector_of_another_model_is_left_out_unless_a_text_is_named(move: Move) -> None:
    await move.make()
    await bring_strangers(move)

    copied = await move.copy(same=["image"])

    assert (copied.written, copied.without_vectors) == (2, {"text": 2})
    assert {id: one[1] for id, one in (await move.new.stored()).items()} == {7: {}, A_UUID: {}}
    assert (await move.copy(same=["image"])).written == 0


async def test_the_last_pass_before_the_switch_brings_what_others_did_meanwhile(move: Move) -> None:
    await move.make()
    await bring_strangers(move)
    await move.old.stranger(9, [9, 0, 0])
    await move.copy()

    await move.old.stranger(7, [7, 0, 1], by="another")
    await move.old.stranger(10, [1, 1, 1])
    await move.database.delete_points(move.old.collection, [9])
    copied = await move.copy()

    assert (copied.written, copied.removed) == (2, 1)
    assert await move.new.stored() == await move.old.stored()


async def test_a_point_of_a_set_is_neither_overwritten_nor_removed(move: Move) -> None:
    await move.make()
    await move.new.sync(point(7), point(1))
    before = await move.new.stored()
    await bring_strangers(move)

    copied = await move.copy()

    assert (copied.points, copied.taken, copied.written, copied.removed) == (2, 1, 1, 0)
    after = await move.new.stored()
    assert {id: after[id] for id in before} == before


async def test_a_point_that_a_set_writes_during_the_pass_is_not_taken_for_others(move: Move) -> None:
    """As a copy it would be in the set's way in the new collection."""
    await move.make()
    await bring_strangers(move)
    database = Interrupted(move.database, lambda: move.old.sync(point(1)))

    copied = await move.copy(database=database)

    assert copied.points == 2
    assert await move.counts() == (2, 2)
    synced = await move.new.sync(point(1))
    assert (synced.written, synced.conflicting) == (1, 0)


async def test_a_copy_makes_room_for_the_set_that_declares_its_id_by_now(move: Move) -> None:
    await move.make()
    await bring_strangers(move)
    await move.copy()
    await move.database.delete_points(move.old.collection, [7])
    assert (await move.old.sync(point(7))).conflicting == 0
    assert (await move.new.sync(point(7))).conflicting == 1

    assert await (await move.copying()).remove_stale() == 1

    assert (await move.new.sync(point(7))).conflicting == 0
    assert await move.new.stored() == await move.old.stored()
    assert (await move.copy()).written == 0


async def test_after_the_switch_only_what_is_missing_is_inserted(move: Move) -> None:
    await move.make()
    await bring_strangers(move)
    await move.copy()
    await move.old.stranger(9, [9, 0, 0])
    await move.old.stranger(7, [7, 0, 0], by="too late")
    newer = await move.new.stranger(A_UUID, [0, 0, 1], by="whoever writes into the new one")

    assert await (await move.copying()).count_missing() == 1
    copied = await (await move.copying()).copy_late()

    assert (copied.written, copied.late) == (1, 2)
    stored, old = await move.new.stored(), await move.old.stored()
    assert stored[9] == old[9]
    assert stored[7] != old[7]
    assert stored[A_UUID] == newer
    assert await (await move.copying()).count_missing() == 0


@pytest.mark.parametrize("instead", [killed_before, killed_after])
async def test_a_pass_that_was_killed_is_just_made_again(move: Move, instead: Any) -> None:
    await move.make(None, LARGER)
    for at in (1, 3, 7):
        await move.database.delete_matching(move.old.collection, {})
        await move.database.delete_matching(move.new.collection, {})
        await move.new.stranger_without_vectors(5000)
        await move.database.upsert(
            move.old.collection, [PointData(id, {}, {"content": "x" * (1 + id % 9)}) for id in range(9)]
        )
        watched = Watched(move.database, at=at, instead=instead)
        with pytest.raises(Killed):
            # Each page is two calls, and then comes what is gone.
            await move.copy(database=watched, embed_from={"text": "content"})

        copied = await move.copy(embed_from={"text": "content"})

        assert copied.points == 9
        stored = await move.new.stored()
        assert set(stored) == set(range(9))
        assert all(vectors.keys() == {"text"} for _, vectors in stored.values())
        assert (await move.copy(embed_from={"text": "content"})).written == 0


# ---- shard keys ----


@pytest.fixture
async def keyed(cluster_qdrant: QdrantServer) -> AsyncIterator[Move]:
    """In a Qdrant that is distributed."""
    spec = QdrantConnectionSpec(url=cluster_qdrant.url, grpc_port=cluster_qdrant.grpc_port)
    database = connect(spec, Credentials())
    await database.check()
    yield Move(database)
    await database.close()


async def test_points_are_copied_under_their_shard_key(keyed: Move) -> None:
    await keyed.make({"sharding_method": "custom"})
    for scene in (keyed.old, keyed.new):
        for key in ("acme", "globex"):
            await keyed.database.create_shard_key(scene.collection, key, {})
    row = {"image": np.array([1, 2], dtype=np.float32)}
    # The same id under two keys is two points.
    for key in ("acme", "globex"):
        some = keyed.database.with_shard_key(keyed.old.collection, key)
        await some.upsert(keyed.old.collection, [PointData(1, row, {"key": key})])

    copied = await keyed.copy()

    assert copied.written == 2
    for key in ("acme", "globex"):
        some = keyed.database.with_shard_key(keyed.new.collection, key)
        found = await some.points(keyed.new.collection, [1], payload=True)
        assert found[1].payload == {"key": key}
    assert (await keyed.copy()).written == 0

    # A key that the new collection lacks.
    await keyed.database.create_shard_key(keyed.old.collection, "initech", {})
    assert (await keyed.copy()).written == 0
    some = keyed.database.with_shard_key(keyed.old.collection, "initech")
    await some.upsert(keyed.old.collection, [PointData(2, row, {})])
    with pytest.raises(Terminal, match="no shard key 'initech'"):
        await keyed.copy()


async def test_points_without_a_shard_key_are_not_brought_under_one(keyed: Move) -> None:
    await keyed.make({}, {"sharding_method": "custom"})
    await keyed.database.create_shard_key(keyed.new.collection, "acme", {})
    assert (await keyed.copy()).points == 0
    await bring_strangers(keyed)
    with pytest.raises(Terminal, match="othersPoints: Leave"):
        await keyed.copy()
