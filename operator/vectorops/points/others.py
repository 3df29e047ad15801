"""Points that no PointSet declares, when a collection is replaced by another one: how many there are, and how they are
copied.

A point is somebody else's if no ledger of its physical collection has its id. Before readers are moved to a new
collection nobody but us knows of it, so there the points that no ledger has are copies that we made: no record of them
is needed, and a pass that was cut off is just made again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vectorops.api.meta import JsonObject, Ref
from vectorops.api.reasons import Reason
from vectorops.embedders.base import Unusable
from vectorops.errors import Terminal, Transient
from vectorops.ledger.collection import ledgers_of
from vectorops.ledger.entries import Entries, Entry
from vectorops.ledger.holders import Holders, find_holders
from vectorops.ledger.lifecycle import read_all_parts
from vectorops.ledger.records import LedgerKey
from vectorops.ledger.store import LedgerStore
from vectorops.points.declared import BadPoint
from vectorops.points.embedding import AtSafePoint, Embed, fitting_vector
from vectorops.points.part import require_replayed
from vectorops.points.schema import PointSchema, point_schema
from vectorops.qdrant.database import Database, PointData, PointId, StoredPoint
from vectorops.qdrant.observe import Observed
from vectorops.qdrant.visibility import hidden_points
from vectorops.same_json import is_same_json, is_within
from vectorops.vectors import Sparse, VectorData

PAGE_POINTS: Final = 512
"""Points that are read and written together, with their vectors: of 1,536 components some 3 MB."""
SAME_FRACTIONS: Final = is_within(1e-9)
"""Qdrant prints some fractions with another last digit."""
PAGE_IDS: Final = 10_000
"""Ids that are read together where only ids matter."""


@dataclass(frozen=True, slots=True)
class LedgeredCollection:
    """A physical collection, and where the ledgers of its points are."""

    database: Database
    observed: Observed
    ledger_collections: Collection[str]
    shard_key: str = ""
    """The only points that count are those under this key; "": all do."""

    @property
    def name(self) -> str:
        return self.observed.name

    @property
    def incarnation(self) -> str:
        """Of the mark, "" without one."""
        return self.observed.mark.incarnation if self.observed.mark else ""

    def under(self, shard_key: str) -> LedgeredCollection:
        """The points under one shard key."""
        return replace(self, database=self.database.with_shard_key(self.name, shard_key), shard_key=shard_key)

    async def require_shown(self) -> None:
        """May anything be concluded from points that the server does not show? Raises Transient Progressing if not."""
        await require_replayed(self.database)
        if hidden_points(await self.database.collection(self.name) or {}):
            words = f"Qdrant hides points of collection {self.name!r} until it has optimized them; looking again"
            raise Transient(Reason.PROGRESSING, words)

    async def held(self) -> Entries:
        """The ids that some set has, or has in a window that it has open; nothing is known of their content.

        Raises Terminal MigrationBlocked if a ledger cannot be read: it may hold any point.
        """
        incarnation = self.incarnation
        found: list[Entries] = []
        for ledger in sorted(self.ledger_collections):
            for key in await ledgers_of(self.database, ledger, self.name, ""):
                if key.incarnation != incarnation:
                    continue
                try:
                    parts = await read_all_parts(LedgerStore(self.database, ledger, key, ""))
                except Terminal as error:
                    words = f"which points no PointSet declares is not known: {error.message}"
                    raise Terminal(Reason.MIGRATION_BLOCKED, words) from error
                for part in parts:
                    if self.shard_key and part.shard_key not in {"", self.shard_key}:
                        # The same id under another shard key is another point.
                        continue
                    pending = [part.pending.entries] if part.pending is not None else []
                    found += [Entries.of(some, len(part.names)).fit(0) for some in (part.entries, *pending)]
        return await asyncio.to_thread(_union, found)

    async def not_held(self, ids: Sequence[PointId], known: Entries) -> list[PointId]:
        """Those of the ids that no set has. ids: read from the collection just before. known: `held`, of some time ago.

        A set writes down what it is about to insert. So what was inserted before the ids were read is found in a ledger
        now, if it is a set's.
        Raises Terminal MigrationBlocked if a record of a ledger cannot be read: it may hold any point.
        """
        left = await asyncio.to_thread(_leave_out, ids, known)
        key = LedgerKey("", Ref("PointSet", "", ""), self.name, self.incarnation)
        for ledger in sorted(self.ledger_collections):
            store = LedgerStore(self.database, ledger, key, "", shard_key=self.shard_key)
            asked = await find_holders(store, left) if left else Holders()
            if asked.unreadable:
                words = f"which points no PointSet declares is not known: {asked.explain_unreadable('')}"
                raise Terminal(Reason.MIGRATION_BLOCKED, words)
            left = [id for id in left if id not in asked.held and id not in asked.moving]
        return left


def _union(several: Sequence[Entries]) -> Entries:
    joined = Entries.join(several, 0) if several else Entries.of({}, 0)
    # An id may be in a ledger and in its open window.
    return Entries.of({}, 0).updated(joined) if joined else joined


async def count_about(old: LedgeredCollection) -> int:
    """How many points of a collection are others', told from counts: too few where points of sets were deleted by hand.

    Raises what `LedgeredCollection.held` raises.
    """
    return max(await old.database.count(old.name) - len(await old.held()), 0)


async def count_others(old: LedgeredCollection, at_safe_point: AtSafePoint) -> int:
    """How many points of a collection are others', told from every id. Raises what `LedgeredCollection.held` raises,
    and Transient if the server does not show all points now.
    """
    held, count = await old.held(), 0
    async for page in old.database.id_pages(old.name, PAGE_IDS):
        await at_safe_point()
        count += len(await old.not_held(page, held))
    await old.require_shown()
    return count


def _leave_out(ids: Sequence[PointId], held: Entries) -> list[PointId]:
    page = Entries.of(dict.fromkeys(ids, Entry(0, ())), 0)
    return list(page.without_ids_of(held))


@dataclass(slots=True)
class Copied:
    """What a pass over others' points did."""

    points: int = 0
    """Others' points that there are."""
    written: int = 0
    removed: int = 0
    """Copies whose original is gone."""
    taken: int = 0
    """Points whose id a PointSet has in the new collection: they are not copied."""
    without_vectors: dict[str, int] = field(default_factory=dict)
    """By the vector's name, copies that lack it, because it cannot be copied or made."""
    late: int = 0
    """Points that were changed or deleted too late to be copied."""


@dataclass(frozen=True, slots=True)
class OthersCopy:
    """Copies others' points from one collection to the one that is to replace it."""

    old: LedgeredCollection
    new: LedgeredCollection
    same_models: frozenset[str]
    """Vectors that the same model makes in both, or none in both."""
    embed_from: Mapping[str, str]
    """By the vector's name, the payload field whose text is embedded where the vector cannot be copied."""
    embed: Embed
    at_safe_point: AtSafePoint

    async def copy(self) -> Copied:
        """One pass before readers are moved: writes what differs, and removes copies whose original is gone.

        Raises what `LedgeredCollection.held`, the database and the embedder raise, and GaveWay at a safe point;
        Terminal MigrationBlocked if points are under a shard key that the new collection lacks.
        """
        done = Copied()
        for old, new in await self._by_shard_key():
            held = await new.held()
            async for points in self._originals(old, done):
                free = set(await new.not_held([point.id for point in points], held))
                done.taken += len(points) - len(free)
                await self._write(new, [point for point in points if point.id in free], done)
        return replace(done, removed=await self.remove_stale())

    async def remove_stale(self) -> int:
        """Deletes copies whose original is gone, or is a PointSet's by now: the set would find its id taken in the new
        collection. Only before readers are moved. Returns how many. Raises as `copy` does.
        """
        removed = 0
        for old, new in await self._by_shard_key():
            held = await old.held(), await new.held()
            async for page in new.database.id_pages(new.name, PAGE_IDS):
                await self.at_safe_point()
                copies = await new.not_held(page, held[1])
                there = await old.database.points(old.name, copies)
                kept = set(await old.not_held(list(there), held[0]))
                if stale := [id for id in copies if id not in kept]:
                    await old.require_shown()
                    # A set may have adopted one meanwhile.
                    stale = await new.not_held(stale, held[1])
                    await new.database.delete_points(new.name, stale)
                    removed += len(stale)
        return removed

    async def copy_late(self) -> Copied:
        """A pass after readers were moved: inserts what reached the old collection meanwhile, and changes nothing.

        Whoever writes may write into the new one by now. So what differs is counted, not merged.
        """
        done = Copied()
        for old, new in await self._by_shard_key():
            async for points in self._originals(old, done):
                there = await new.database.points(new.name, [point.id for point in points], payload=True)
                done.late += sum(
                    point.id in there and not is_same_json(there[point.id].payload, point.payload, SAME_FRACTIONS)
                    for point in points
                )
                missing = [point for point in points if point.id not in there]
                await self._write(new, missing, done)
        return done

    async def count_missing(self) -> int:
        """How many of others' points of the old collection the new one has not. Raises as `copy` does."""
        held, count = await self.old.held(), 0
        async for page in self.old.database.id_pages(self.old.name, PAGE_IDS):
            await self.at_safe_point()
            ids = await self.old.not_held(page, held)
            count += len(ids) - len(await self.new.database.points(self.new.name, ids))
        await self.old.require_shown()
        return count

    async def _by_shard_key(self) -> list[tuple[LedgeredCollection, LedgeredCollection]]:
        """Both collections under each shard key; as they are if the new one has no shard keys."""
        old, new = self.old, self.new
        if not new.observed.is_sharded_by_key:
            return [(old, new)]
        if not old.observed.is_sharded_by_key:
            await self._require_none(old, "nothing says under which of its shard keys they belong")
            return []
        before, after = await old.database.shard_keys(old.name), await new.database.shard_keys(new.name)
        pairs = []
        for key in before:
            if not isinstance(key, str):
                # Neither can a PointSet name such a key.
                if before[key].points != 0:
                    raise _blocked(new.name, f"they are under the shard key {key}, which is a number")
            elif key in after:
                pairs.append((old.under(key), new.under(key)))
            else:
                await self._require_none(old.under(key), f"it has no shard key {key!r}")
        return pairs

    async def _require_none(self, old: LedgeredCollection, why: str) -> None:
        if await count_others(old, self.at_safe_point):
            raise _blocked(self.new.name, why)

    async def _originals(self, old: LedgeredCollection, done: Copied) -> AsyncIterator[list[StoredPoint]]:
        """Others' points of the old collection, whole."""
        held = await old.held()
        async for page in old.database.id_pages(old.name, PAGE_IDS):
            ids = await old.not_held(page, held)
            done.points += len(ids)
            for start in range(0, len(ids), PAGE_POINTS):
                await self.at_safe_point()
                some = ids[start : start + PAGE_POINTS]
                found = await old.database.points(old.name, some, payload=True, vectors=True)
                yield list(found.values())
        await old.require_shown()

    async def _write(self, new: LedgeredCollection, points: Sequence[StoredPoint], done: Copied) -> None:
        if not points:
            return
        database, name = new.database, new.name
        stored = await database.points(name, [point.id for point in points], payload=True, vectors=True)
        wanted = await self._as_wanted(points, stored, done)
        # A set may insert the same id at this moment.
        missing = [point for point in wanted if point.id not in stored]
        differing = [point for point in wanted if point.id in stored and not _is_same_point(point, stored[point.id])]
        await database.upsert(name, missing, insert_only=True)
        await database.upsert(name, differing)
        done.written += len(missing) + len(differing)

    async def _as_wanted(
        self, points: Sequence[StoredPoint], stored: Mapping[PointId, StoredPoint], done: Copied
    ) -> list[PointData]:
        """The points as the new collection takes them. stored: those of the same ids that are in it."""
        before, after = point_schema(self.old.observed), point_schema(self.new.observed)
        kept = {name for name in self.same_models & before.keys() & after.keys() if before[name].keeps_for(after[name])}
        vectors: list[dict[str, VectorData]] = [
            {name: vector for name, vector in point.vectors.items() if name in kept} for point in points
        ]
        known = [_with_same_payload(point, stored.get(point.id)) for point in points]
        for name in sorted(after.keys() - kept):
            await self._make_vectors(name, points, known, vectors, after, done)
        return [PointData(point.id, made, point.payload) for point, made in zip(points, vectors, strict=True)]

    async def _make_vectors(
        self,
        name: str,
        points: Sequence[StoredPoint],
        known: Sequence[StoredPoint | None],
        vectors: Sequence[dict[str, VectorData]],
        schema: PointSchema,
        done: Copied,
    ) -> None:
        """Adds the vectors of one name that are made from texts. known: copies whose text is the same as it was."""
        texts: dict[int, str] = {}
        for place, (point, copy) in enumerate(zip(points, known, strict=True)):
            if copy is not None:
                vectors[place].update({name: copy.vectors[name]} if name in copy.vectors else {})
            elif name in self.embed_from and (text := _text_at(point.payload, self.embed_from[name])):
                texts[place] = text
        made = (await self.embed(name, list(texts.values()))).vectors if texts else ()
        for place, vector in zip(texts, made, strict=True):
            if isinstance(vector, Unusable):
                continue
            try:
                vectors[place][name] = fitting_vector(name, vector, schema[name])
            except BadPoint:
                continue
        had = [place for place, point in enumerate(points) if name in point.vectors or name in self.embed_from]
        lacking = sum(name not in vectors[place] for place in had)
        if not lacking:
            return
        done.without_vectors[name] = done.without_vectors.get(name, 0) + lacking


def _blocked(name: str, why: str) -> Terminal:
    words = (
        f"points that no PointSet declares cannot be copied into collection {name!r}: {why}. Declare or delete them, "
        "or leave them behind with migration.othersPoints: Leave"
    )
    return Terminal(Reason.MIGRATION_BLOCKED, words)


def _text_at(payload: JsonObject, path: str) -> str:
    """The text of a payload field, "" if it holds none. path: keys, joined by dots."""
    found: object = payload
    for key in path.split("."):
        found = found.get(key) if isinstance(found, Mapping) else None
    if isinstance(found, list) and all(isinstance(one, str) for one in found):
        found = "\n".join(found)
    return found.strip() if isinstance(found, str) else ""


def _with_same_payload(point: StoredPoint, stored: StoredPoint | None) -> StoredPoint | None:
    if stored is None or not is_same_json(point.payload, stored.payload, SAME_FRACTIONS):
        return None
    return stored


def _is_same_point(wanted: PointData, stored: StoredPoint) -> bool:
    if wanted.vectors.keys() != stored.vectors.keys():
        return False
    same_vectors = all(_is_same_vector(vector, stored.vectors[name]) for name, vector in wanted.vectors.items())
    return same_vectors and is_same_json(wanted.payload, stored.payload, SAME_FRACTIONS)


def _is_same_vector(one: VectorData, other: VectorData) -> bool:
    if isinstance(one, Sparse) and isinstance(other, Sparse):
        return np.array_equal(one.indices, other.indices) and _are_close(one.values, other.values)
    if isinstance(one, Sparse) or isinstance(other, Sparse):
        return False
    return one.shape == other.shape and _are_close(one, other)


def _are_close(one: NDArray[np.float32], other: NDArray[np.float32]) -> bool:
    # A Cosine vector is normalized once more when it is written.
    return bool(np.allclose(one, other, rtol=1e-5, atol=1e-6))
