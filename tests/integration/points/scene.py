"""One collection with the points of several sets and of strangers in it: what the tests of points are written in.

Nothing here starts an operator: `sync` and `remove_points` are called as the PointSet reconciler calls them. Texts are
embedded by `Reader`, which counts them.
"""

import hashlib
import itertools
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np

from vectorops.api.meta import JsonObject, Ref
from vectorops.api.pointset import Point
from vectorops.api.reasons import Reason
from vectorops.embedders.base import EmbeddedTexts, Unusable
from vectorops.errors import OutcomeUnknown
from vectorops.ledger.lifecycle import read_all_parts
from vectorops.ledger.records import Ledger, LedgerKey
from vectorops.ledger.store import LedgerStore
from vectorops.points.declared import Declaration, declare
from vectorops.points.fingerprints import canonical_json
from vectorops.points.removal import remove_points
from vectorops.points.reuse import VectorSource
from vectorops.points.schema import point_schema
from vectorops.points.stage import Inline
from vectorops.points.sync import sync
from vectorops.points.synced import Synced
from vectorops.points.target import GivenUp, Target, nothing_given_up
from vectorops.qdrant.database import Database, PointData, PointId, StoredPoint
from vectorops.qdrant.marks import Mark, registration_key
from vectorops.qdrant.observe import Observed, read_collection
from vectorops.vectors import Sparse, VectorData

VECTORS: JsonObject = {"text": {"size": 3, "distance": "Dot"}, "image": {"size": 2, "distance": "Euclid"}}
"""Distances that leave the numbers alone, so that tests can compare them exactly."""

WRITES = frozenset(
    {
        "create_collection",
        "update_collection",
        "delete_collection",
        "create_index",
        "delete_index",
        "upsert",
        "update_vectors",
        "delete_vectors",
        "change_payloads",
        "delete_points",
        "delete_matching",
    }
)

Frozen = tuple[bytes, dict[str, tuple[tuple[int, ...], bytes]]]
"""A point in a form that is equal only if every bit is."""


TOO_MANY_TERMS: Final = {"sparse": {"indices": [1, 2, 3], "values": [1.0, 1.0, 1.0]}}


def point(id: Any, text: list[float] | None = None, image: list[float] | None = None, **payload: Any) -> JsonObject:
    """A point as in a manifest. Without vectors given, it gets a `text` of its own."""
    named = {"text": text, "image": image} if text or image else {"text": [1.0, 2.0, float(len(str(id)))]}
    vectors = {name: {"values": values} for name, values in named.items() if values is not None}
    return {"id": id, "vectors": vectors, "payload": payload}


def text_point(id: Any, text: str, image: list[float] | None = None, **payload: Any) -> JsonObject:
    """A point whose vector `text` is to be made of a text."""
    declared = point(id, image=image, **payload) if image else {"id": id, "vectors": {}, "payload": payload}
    declared["vectors"]["text"] = {"text": text}
    return declared


def frozen(stored: StoredPoint) -> Frozen:
    """See Frozen."""
    return canonical_json(stored.payload), {name: _bytes(vector) for name, vector in stored.vectors.items()}


def _bytes(vector: VectorData) -> tuple[tuple[int, ...], bytes]:
    if isinstance(vector, Sparse):
        return vector.indices.shape, vector.indices.tobytes() + vector.values.tobytes()
    return vector.shape, vector.tobytes()


class Killed(BaseException):
    """What stands for SIGKILL: nothing catches it."""


class Watched:
    """A database that counts the writing calls, and lets something happen at one of them.

    at: the number of the call, from 1. instead: called with the call, to be carried out or not.
    """

    def __init__(
        self,
        database: Database,
        *,
        at: int = 0,
        instead: Callable[[Callable[[], Awaitable[None]]], Awaitable[None]] | None = None,
    ) -> None:
        self._database = database
        self._at = at
        self._instead = instead
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._database, name)
        if name not in WRITES:
            return method

        async def call(*arguments: Any, **options: Any) -> None:
            self.calls.append(name)
            if len(self.calls) == self._at and self._instead is not None:
                await self._instead(lambda: method(*arguments, **options))
            else:
                await method(*arguments, **options)

        return call


async def killed_before(call: Callable[[], Awaitable[None]]) -> None:
    raise Killed


async def killed_after(call: Callable[[], Awaitable[None]]) -> None:
    await call()
    raise Killed


async def answer_lost(call: Callable[[], Awaitable[None]]) -> None:
    await call()
    raise OutcomeUnknown(Reason.UNREACHABLE, "the connection was lost before the answer came")


class Reader:
    """The embedder of the vector `text`: makes three numbers of a text, and remembers what it was given.

    identity: of the model that it stands for; another one makes other numbers. unusable: texts that get no vector.
    at_call: what happens before its calls, as `error` or a pause, by their number from 1.
    """

    def __init__(self) -> None:
        self.identity = "0123456789abcdef"
        self.texts: list[str] = []
        self.unusable: set[str] = set()
        self.at_call: dict[int, Callable[[], Awaitable[None]]] = {}
        self._calls = 0

    async def __call__(self, vector: str, texts: Sequence[str]) -> EmbeddedTexts:
        assert vector == "text"
        self._calls += 1
        if happens := self.at_call.get(self._calls):
            await happens()
        self.texts += texts
        return EmbeddedTexts(
            tuple(Unusable("unreadable") if text in self.unusable else self.made(text) for text in texts)
        )

    def made(self, text: str) -> VectorData:
        digest = hashlib.sha256(f"{self.identity} {text}".encode()).digest()
        return np.frombuffer(digest[:3], dtype=np.uint8).astype(np.float32)

    def taken(self) -> list[str]:
        """The texts since the last time, sorted."""
        found, self.texts = sorted(self.texts), []
        return found


class Scene:
    """One collection, its ledgers, and who writes into it."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.collection = f"zoo-{uuid.uuid4().hex[:8]}"
        self.ledgers = f"{self.collection}-ledgers"
        self.incarnation = "first"
        self.bits = 0
        self.reader = Reader()
        self.vectors_from: Sequence[VectorSource] = ()
        self._writers = itertools.count(1)

    async def make(self, vectors: JsonObject = VECTORS, **body: Any) -> None:
        await self.database.create_collection(self.collection, {"vectors": vectors, **body})

    async def mark(self) -> None:
        """Has the collection say which incarnation it is, as a managed one does."""
        mark = Mark("here", "default", "zoo", "", self.collection, self.incarnation)
        await self.database.update_collection(self.collection, {"metadata": mark.metadata()})

    async def make_strict(self) -> None:
        """A collection of a server that refuses points with more than two terms; see `TOO_MANY_TERMS`."""
        self.collection += "-strict"
        strict = {"enabled": True, "sparse_config": {"terms": {"max_length": 2}}}
        await self.make(VECTORS, sparse_vectors={"terms": {}}, strict_mode_config=strict)

    async def clear(self, *, keep_ledger_collection: bool = False) -> None:
        """As after `make`. keep_ledger_collection: emptied, since making one takes longest of all."""
        if keep_ledger_collection and await self.database.collection(self.ledgers) is not None:
            await self.database.delete_matching(self.ledgers, {})
        else:
            await self.database.delete_collection(self.ledgers)
        await self.database.delete_matching(self.collection, {})
        metadata = (await self._observed()).metadata
        await self.database.update_collection(self.collection, {"metadata": dict.fromkeys(metadata)})

    async def sync(
        self,
        *points: JsonObject,
        owner: str = "mine",
        installation: str = "here",
        previous: str = "",
        database: Any = None,
        writer: str | None = None,
        store_id_as: str | None = None,
        hides: bool = False,
        adopts: bool = False,
        given_up: GivenUp = nothing_given_up,
    ) -> Synced:
        """A pass, by a process that was just started unless `writer` says which one it is."""
        declaration = await self.declared(*points, store_id_as=store_id_as)
        target = replace(await self.target(owner, installation, previous), hides=hides, adopts=adopts)
        return await sync(
            self.store(owner, installation, writer, database),
            target,
            Inline(declaration, self.bits),
            self.reader,
            given_up,
        )

    async def remove_all(self, *, owner: str = "mine", database: Any = None) -> int:
        store = self.store(owner, database=database)
        deleted = await remove_points(store, self.collection)
        await store.remove()
        return deleted

    async def declared(self, *points: JsonObject, store_id_as: str | None = None) -> Declaration:
        schema = point_schema(await self._observed())
        return declare(
            [Point.model_validate(one) for one in points],
            schema,
            embedders={"text": self.reader.identity},
            store_id_as=store_id_as,
        )

    async def target(self, owner: str = "mine", installation: str = "here", previous: str = "") -> Target:
        observed = await self._observed()
        key = registration_key(installation, Ref("PointSet", "default", owner))
        return Target(
            self.collection,
            point_schema(observed),
            registered=key in observed.registrations(self.incarnation),
            registration={key: self.incarnation},
            replication_factor=observed.replication_factor,
            previous=(self.store(owner, previous).key,) if previous else (),
            vectors_from=self.vectors_from,
        )

    def store(
        self, owner: str = "mine", installation: str = "here", writer: str | None = None, database: Any = None
    ) -> LedgerStore:
        key = LedgerKey(installation, Ref("PointSet", "default", owner), self.collection, self.incarnation)
        return LedgerStore(database or self.database, self.ledgers, key, writer or f"writer-{next(self._writers)}")

    async def ledger(self, owner: str = "mine", installation: str = "here") -> Ledger | None:
        """All parts together."""
        parts = await read_all_parts(self.store(owner, installation))
        if not parts:
            return None
        first = next((part for part in parts if part.pending), parts[0])
        return replace(first, entries={id: entry for part in parts for id, entry in part.entries.items()})

    async def stranger(self, id: PointId, text: list[float], **payload: Any) -> Frozen:
        """Another program writes a point, whatever is there."""
        vectors = {"text": np.array(text, dtype=np.float32)}
        await self.database.upsert(self.collection, [PointData(id, vectors, payload)])
        return (await self.stored())[id]

    async def stranger_without_vectors(self, id: PointId) -> None:
        """Another program writes a point of which only the payload counts."""
        await self.database.upsert(self.collection, [PointData(id, {}, {"by": "stranger"})])

    async def stored(self) -> dict[PointId, Frozen]:
        """All points, bit for bit."""
        ids = [point.id for point in await self.database.scroll(self.collection)]
        found = await self.database.points(self.collection, ids, payload=True, vectors=True)
        return {id: frozen(one) for id, one in found.items()}

    async def expected(self, *points: JsonObject) -> dict[PointId, Frozen]:
        """How these points look when they are stored as declared."""
        found = {}
        for id, declared in (await self.declared(*points)).points.items():
            whole = declared.embedded({name: self.reader.made(text) for name, text in declared.texts.items()})
            found[id] = frozen(StoredPoint(id, dict(whole.data.payload), whole.data.vectors))
        return found

    async def records(self) -> int:
        """How many records the ledgers of all sets have together."""
        if await self.database.collection(self.ledgers) is None:
            return 0
        return len(await self.database.scroll(self.ledgers))

    async def _observed(self) -> Observed:
        observed = await read_collection(self.database, self.collection)
        assert observed.exists
        return observed


def without(stored: Mapping[PointId, Frozen], *ids: PointId) -> dict[PointId, Frozen]:
    return {id: one for id, one in stored.items() if id not in ids}
