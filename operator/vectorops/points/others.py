"""Points that no PointSet declares, when a collection is replaced by another one: how many there are, and how they are
copied.

A point is somebody else's if no ledger of its physical collection has its id. Before readers are moved to a new
collection nobody but us knows of it, so there the points that no ledger has are copies that we made: no record of them
is needed, and a pass that was cut off is just made again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vectorops.api.meta import JsonObject
from vectorops.api.reasons import Reason
from vectorops.embedders.base import Unusable
from vectorops.errors import Terminal
from vectorops.ledger.collection import ledgers_of
from vectorops.ledger.entries import Entries, Entry
from vectorops.ledger.lifecycle import read_all_parts
from vectorops.ledger.store import LedgerStore
from vectorops.points.declared import BadPoint
from vectorops.points.embedding import AtSafePoint, Embed, fitting_vector
from vectorops.points.schema import PointSchema, point_schema
from vectorops.qdrant.database import Database, PointData, PointId, StoredPoint
from vectorops.qdrant.observe import Observed
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

    @property
    def name(self) -> str:
        return self.observed.name

    async def held(self) -> Entries:
        """The ids that some set has, or has in a window that it has open; nothing is known of their content.

        Raises Terminal MigrationBlocked if a ledger cannot be read: it may hold any point.
        """
        incarnation = self.observed.mark.incarnation if self.observed.mark else ""
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
                    pending = [part.pending.entries] if part.pending is not None else []
                    found += [Entries.of(some, len(part.names)).fit(0) for some in (part.entries, *pending)]
        return await asyncio.to_thread(_union, found)


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
    """How many points of a collection are others', told from every id. Raises what `LedgeredCollection.held` raises."""
    held, count = await old.held(), 0
    async for page in old.database.id_pages(old.name, PAGE_IDS):
        await at_safe_point()
        count += len(await asyncio.to_thread(_not_held, page, held))
    return count


def _not_held(ids: Sequence[PointId], held: Entries) -> list[PointId]:
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

        Raises what `LedgeredCollection.held`, the database and the embedder raise, and GaveWay at a safe point.
        """
        done = Copied()
        held = await self.new.held()
        async for points in self._originals(done):
            ids = [point.id for point in points]
            free = set(await asyncio.to_thread(_not_held, ids, held))
            done.taken += len(ids) - len(free)
            await self._write([point for point in points if point.id in free], done)
        async for page in self.new.database.id_pages(self.new.name, PAGE_IDS):
            await self.at_safe_point()
            copies = await asyncio.to_thread(_not_held, page, held)
            there = await self.old.database.points(self.old.name, copies)
            gone = [id for id in copies if id not in there]
            await self.new.database.delete_points(self.new.name, gone)
            done.removed += len(gone)
        return done

    async def copy_late(self) -> Copied:
        """A pass after readers were moved: inserts what reached the old collection meanwhile, and changes nothing.

        Whoever writes may write into the new one by now. So what differs is counted, not merged.
        """
        done = Copied()
        async for points in self._originals(done):
            there = await self.new.database.points(self.new.name, [point.id for point in points], payload=True)
            done.late += sum(
                point.id in there and not is_same_json(there[point.id].payload, point.payload, SAME_FRACTIONS)
                for point in points
            )
            missing = [point for point in points if point.id not in there]
            await self._write(missing, done, insert_only=True)
        return done

    async def count_missing(self) -> int:
        """How many of others' points of the old collection the new one has not. Raises as `copy` does."""
        held, count = await self.old.held(), 0
        async for page in self.old.database.id_pages(self.old.name, PAGE_IDS):
            await self.at_safe_point()
            ids = await asyncio.to_thread(_not_held, page, held)
            count += len(ids) - len(await self.new.database.points(self.new.name, ids))
        return count

    async def _originals(self, done: Copied) -> AsyncIterator[list[StoredPoint]]:
        """Others' points of the old collection, whole."""
        held = await self.old.held()
        async for page in self.old.database.id_pages(self.old.name, PAGE_IDS):
            ids = await asyncio.to_thread(_not_held, page, held)
            done.points += len(ids)
            for start in range(0, len(ids), PAGE_POINTS):
                await self.at_safe_point()
                some = ids[start : start + PAGE_POINTS]
                found = await self.old.database.points(self.old.name, some, payload=True, vectors=True)
                yield list(found.values())

    async def _write(self, points: Sequence[StoredPoint], done: Copied, *, insert_only: bool = False) -> None:
        if not points:
            return
        database, name = self.new.database, self.new.name
        stored = await database.points(name, [point.id for point in points], payload=True, vectors=True)
        wanted = await self._as_wanted(points, stored, done)
        differing = [point for point in wanted if not _is_same_point(point, stored.get(point.id))]
        await database.upsert(name, differing, insert_only=insert_only)
        done.written += len(differing)

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


def _is_same_point(wanted: PointData, stored: StoredPoint | None) -> bool:
    if stored is None or wanted.vectors.keys() != stored.vectors.keys():
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
