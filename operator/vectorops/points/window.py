"""One window of inserts and changes: noted in the ledger, written, checked, settled."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Final, TypeVar

from vectorops import metrics
from vectorops.errors import Rejected
from vectorops.ledger.entries import Entries, Entry
from vectorops.ledger.records import Ledger
from vectorops.ledger.store import LedgerStore
from vectorops.points.declared import Declared, Failure
from vectorops.points.diff import Change, blurred, entry_of, entry_of_payload, entry_read_back
from vectorops.points.schema import PointSchema
from vectorops.qdrant.database import Database, PayloadChange, PointData, PointId

Item = TypeVar("Item")

READ_WHOLE: Final = 64
"""So many of the new points that could be told by their payload are read back with their vectors: they tell whether
numbers come back as predicted. If not, so are all the others.
"""

BAD_CONTENT: Final = frozenset({400, 413, 422})
"""Status codes by which Qdrant refuses what a request holds, so that sending it in halves finds the culprit."""


@dataclass(frozen=True, slots=True)
class Written:
    """The ledger after what was written, what Qdrant refused, and ids that somebody else took meanwhile."""

    ledger: Ledger
    failures: tuple[Failure, ...] = ()
    stolen: tuple[PointId, ...] = ()

    def join(self, more: Written) -> Written:
        """This, and what was written after it."""
        return Written(more.ledger, (*self.failures, *more.failures), (*self.stolen, *more.stolen))


async def write(
    store: LedgerStore, schema: PointSchema, ledger: Ledger, points: Sequence[Declared | Change], new: Set[PointId]
) -> Written:
    """Writes points without pending texts. new: ids, among others perhaps, that were never ours."""
    if not points:
        return Written(ledger)
    database, collection = store.database, store.key.collection
    inserts = [point for point in points if isinstance(point, Declared)]
    changes = [point for point in points if isinstance(point, Change)]
    declared = [*inserts, *(change.declared for change in changes)]
    width = len(ledger.names)
    to_be = {point.data.id: entry_of(point, ledger.names) for point in declared}
    targets = await asyncio.to_thread(Entries.of, to_be, width)
    slot = await store.open(ledger, targets, new & to_be.keys(), _texts(declared))
    rejected = await _insert(database, collection, inserts)
    rejected += await _update(database, collection, changes)
    read_back = await _read_back(database, collection, schema, ledger.names, to_be, inserts, changes)
    stolen = [id for id, entry in read_back.items() if entry is None and id in new]
    known: dict[PointId, Entry] = {id: entry for id, entry in read_back.items() if entry is not None}
    left_alone = {*(failure.id for failure in rejected if failure.id is not None), *stolen}
    before = Entries.of(ledger.entries, width)
    unsure = {id: blurred(entry, to_be[id]) for id, entry in before.only(left_alone).items()}
    corrected = before.updated(targets).updated(Entries.of({**known, **unsure}, width))
    entries = corrected.without(left_alone - unsure.keys())
    settled = await store.settle(ledger, entries, slot.sequence)
    sent = len(inserts) + sum(bool(c.vectors or c.gone or _is_needed(c.payload)) for c in changes)
    metrics.POINT_OUTCOMES.labels("written").inc(sent - len(rejected) - len(stolen))
    return Written(settled, tuple(rejected), tuple(stolen))


def _texts(points: Sequence[Declared]) -> Mapping[str, frozenset[PointId]]:
    """By the vector's name, the points that give it as text."""
    names = {name for point in points for name in point.texts}
    return {name: frozenset(point.data.id for point in points if name in point.texts) for name in sorted(names)}


async def _insert(database: Database, collection: str, points: Sequence[Declared]) -> list[Failure]:
    async def send(batch: Sequence[Declared]) -> None:
        await database.upsert(collection, [point.data for point in batch], insert_only=True)

    return await _accepted(send, points, lambda point: point)


async def _update(database: Database, collection: str, changes: Sequence[Change]) -> list[Failure]:
    """Only what differs: vectors that are written again are indexed again, and payloads leave their indexes."""

    async def vectors(batch: Sequence[Change]) -> None:
        await database.update_vectors(collection, [_changed_vectors(change) for change in batch])

    async def payloads(batch: Sequence[Change]) -> None:
        wanted = [change.payload for change in batch if change.payload is not None]
        await database.change_payloads(collection, wanted)

    rejected = await _accepted(vectors, [c for c in changes if c.vectors], lambda change: change.declared)
    for gone in sorted({change.gone for change in changes if change.gone}):
        ids = [change.declared.data.id for change in changes if change.gone == gone]
        await database.delete_vectors(collection, ids, gone)
    failed = {failure.id for failure in rejected}
    left = [change for change in changes if _is_needed(change.payload) and change.declared.data.id not in failed]
    return rejected + await _accepted(payloads, left, lambda change: change.declared)


def _changed_vectors(change: Change) -> PointData:
    return PointData(change.declared.data.id, {name: change.declared.data.vectors[name] for name in change.vectors})


def _is_needed(change: PayloadChange | None) -> bool:
    return change is not None and bool(change.put or change.remove)


async def _accepted(
    send: Callable[[Sequence[Item]], Awaitable[None]], items: Sequence[Item], declared: Callable[[Item], Declared]
) -> list[Failure]:
    """Sends all; if Qdrant refuses, sends halves, down to the points that it refuses."""
    if not items:
        return []
    try:
        await send(items)
    except Rejected as error:
        if error.status not in BAD_CONTENT:
            raise
        if len(items) == 1:
            point = declared(items[0])
            return [Failure(point.shown_id, f"Qdrant refused it: {error.message}", point.data.id)]
        middle = len(items) // 2
        first = await _accepted(send, items[:middle], declared)
        return first + await _accepted(send, items[middle:], declared)
    return []


async def _read_back(
    database: Database,
    collection: str,
    schema: PointSchema,
    names: tuple[str, ...],
    targets: Mapping[PointId, Entry],
    inserts: Sequence[Declared],
    changes: Sequence[Change],
) -> Mapping[PointId, Entry | None]:
    """What the ledger is to say of points that were written and are there, where that is not what they were to be
    written as (`targets`); None if somebody else's point stands under the id, or has changed it since.

    A point of somebody else's came between our read and our insert, which left it alone.
    """
    # Where no numbers come back exactly, the payload tells whose a new point is; it costs a fifth of the whole point.
    exact = {name for name, vector in schema.items() if vector.stores_exactly}
    light, whole = list[Declared](), [change.declared for change in changes]
    for point in inserts:
        (light if point.data.payload and exact.isdisjoint(point.data.vectors) else whole).append(point)
    whole += light[:READ_WHOLE]
    del light[:READ_WHOLE]

    async def read(points: Sequence[Declared], *, vectors: bool) -> dict[PointId, Entry | None]:
        wanted = {point.data.id: point for point in points}
        stored = await database.points(collection, list(wanted), payload=True, vectors=vectors)

        def compare() -> dict[PointId, Entry | None]:
            differing: dict[PointId, Entry | None] = {}
            for id, found in stored.items():
                point, target = wanted[id], targets[id]
                if vectors:
                    entry = entry_read_back(target, point, found, names, schema)
                else:
                    entry = entry_of_payload(target, point, found)
                if entry != target:
                    differing[id] = entry
            return differing

        # Work of the processor's: beside the event loop, or leases and probes wait for it.
        return await asyncio.to_thread(compare)

    differing = await read(whole, vectors=True)
    is_unpredicted = any(entry is not None for entry in differing.values())
    return differing | await read(light, vectors=is_unpredicted)
