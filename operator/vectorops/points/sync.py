"""Makes the stored points as declared: reads, lets `diff` decide, and writes one window of changes and one of
deletions.

Called by the PointSet reconciler. Whatever happens between two lines here (killed, answer lost, another writer),
the next call finds out from the ledger what may have been written; see docs/ledger.md for why each step comes where
it does.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, TypeVar

from vectorops.api.meta import JsonObject
from vectorops.api.reasons import Reason
from vectorops.errors import Rejected, Transient
from vectorops.points.declared import Declaration, Declared, Failure
from vectorops.points.diff import Change, Diff, Stored, blurred, diff, entry_of, payload_fingerprint, recover
from vectorops.points.ledgers import begin
from vectorops.points.schema import PointSchema
from vectorops.qdrant.database import Database, PayloadChange, PointData, PointId, StoredPoint
from vectorops.qdrant.ledger import TOMBSTONE, Entry, Ledger, LedgerStore, align, ensure_ledger_collection, owners

Item = TypeVar("Item")

BAD_CONTENT: Final = frozenset({400, 422})
"""Status codes by which Qdrant refuses what a request holds, so that sending it in halves finds the culprit."""


@dataclass(frozen=True, slots=True)
class Target:
    """The collection that the points go to.

    registered: does its metadata say that this set has a ledger? None: it is the user's, and carries nothing of ours.
    previous: the installation that it was taken over from, or "".
    replication_factor: of the collection; the ledger must not be easier to lose.
    """

    collection: str
    schema: PointSchema
    registered: bool | None
    registration: JsonObject
    previous: str = ""
    replication_factor: int = 1

    def expects(self, ledger: Ledger | None) -> bool:
        """Is the ledger, or that there is none, what the collection's metadata says? Else there is something to put
        right.
        """
        if ledger is None:
            return not self.registered and not self.previous
        return self.registered is not False


@dataclass(frozen=True, slots=True)
class Synced:
    """How the points fared. conflicts: id to the set that owns it, "" if it is none of ours.

    rebuilt: the ledger was lost once; points that left the set before that may still be stored.
    """

    written: int = 0
    deleted: int = 0
    unchanged: int = 0
    failures: tuple[Failure, ...] = ()
    conflicts: Mapping[PointId, str] = field(default_factory=dict)
    rebuilt: bool = False


async def sync(store: LedgerStore, target: Target, declaration: Declaration) -> Synced:
    """One pass. Raises what `Database` raises; then the pass is unfinished, and the next one goes on."""
    view = await _look(store, target, declaration, await store.read())
    if view.nothing_to_write and target.expects(view.ledger):
        return await _told(store, view, Synced(unchanged=view.diff.unchanged, failures=declaration.failures))
    view = await _make_ours(store, target, declaration, view)
    ledger, rejected, stolen = await _write(store, target.collection, view.ours, view.diff)
    deleted = await _delete(store, target.collection, ledger, view.diff)
    written = len(view.diff.insert) + len(view.diff.change) - len(rejected) - len(stolen)
    conflicting = replace(view, diff=replace(view.diff, conflicts=(*view.diff.conflicts, *stolen)))
    failures = (*declaration.failures, *rejected)
    return await _told(store, conflicting, Synced(written, deleted, view.diff.unchanged, failures))


async def remove_all(store: LedgerStore, collection: str) -> int:
    """Deletes all points that the set owns, and then its ledger. Returns how many were deleted; safe to repeat."""
    ledger = await store.read()
    if ledger is None:
        return 0
    ledger = await store.take(ledger)
    pending = set(ledger.pending.entries) if ledger.pending else set()
    stored = await store.database.points(
        collection, sorted({*ledger.entries, *pending}, key=str), payload=True, vectors=True
    )
    # Nothing is declared any more, so what an open window was to create is ours only if it looks like that.
    ledger = await _settled(store, ledger, recover(ledger, Declaration({}), stored, {}))
    owned = tuple(id for id in ledger.entries if id in stored)
    await _delete(store, collection, ledger, Diff(delete=owned, forget=tuple(ledger.entries.keys() - set(owned))))
    await store.remove()
    return len(owned)


@dataclass(frozen=True, slots=True)
class _View:
    """What was found: the ledger as stored, the same as it is after recovery, and what differs."""

    ledger: Ledger | None
    ours: Ledger
    stored: Stored
    diff: Diff

    @property
    def nothing_to_write(self) -> bool:
        clean = self.ledger is None or (self.ledger.pending is None and self.ledger.names == self.ours.names)
        return clean and self.diff.empty


async def _look(store: LedgerStore, target: Target, declaration: Declaration, ledger: Ledger | None) -> _View:
    names = tuple(sorted(target.schema))
    known = ledger or Ledger(names, {})
    ids = {*declaration.points, *known.entries, *(known.pending.entries if known.pending else ())}
    stored = await store.database.points(target.collection, sorted(ids, key=str), payload=True, vectors=True)
    ours = _renamed(recover(known, declaration, stored, target.schema), names)
    return _View(ledger, ours, stored, diff(declaration, ours, stored, target.schema))


async def _make_ours(store: LedgerStore, target: Target, declaration: Declaration, view: _View) -> _View:
    """Makes us the writer of a ledger without an open window, and looks again if somebody else was."""
    ledger = view.ledger
    if ledger is None:
        await ensure_ledger_collection(
            store.database, store.ledger_collection, replication_factor=target.replication_factor
        )
        lost = target.registered is True
        ledger = await begin(store, view.ours.names, declaration, view.stored, lost=lost, previous=target.previous)
    elif ledger.token != store.writer:
        ledger = await store.take(ledger)
    if ledger is not view.ledger:
        view = await _look(store, target, declaration, ledger)
    if target.registered is False:
        await store.remove_others()
        await store.database.update_collection(target.collection, {"metadata": target.registration})
    names = view.ours.names
    settled = await _settled(store, ledger, recover(ledger, declaration, view.stored, target.schema))
    return replace(view, ours=settled if settled.names == names else await store.rename(settled, names))


async def _settled(store: LedgerStore, ledger: Ledger, recovered: Ledger) -> Ledger:
    """Writes down what recovery found out, if it had to."""
    return ledger if ledger.pending is None else await store.settle(ledger, recovered.entries, recovered.through)


def _renamed(ledger: Ledger, names: tuple[str, ...]) -> Ledger:
    if ledger.names == names:
        return ledger
    return replace(ledger, names=names, entries={id: align(e, ledger.names, names) for id, e in ledger.entries.items()})


async def _write(
    store: LedgerStore, collection: str, ledger: Ledger, found: Diff
) -> tuple[Ledger, list[Failure], list[PointId]]:
    """The window of inserts and changes. Returns the ledger, what Qdrant refused, and ids that somebody else took
    meanwhile.
    """
    declared = [*found.insert, *(change.declared for change in found.change)]
    if not declared:
        return ledger, [], []
    targets = {point.data.id: entry_of(point, ledger.names) for point in declared}
    slot = await store.open(ledger, targets, found.new)
    rejected = await _insert(store.database, collection, found.insert)
    rejected += await _update(store.database, collection, found.change)
    stolen = await _stolen(store.database, collection, found)
    entries = {**ledger.entries, **targets}
    for id in {*(failure.id for failure in rejected if failure.id is not None), *stolen}:
        if id in ledger.entries:
            entries[id] = blurred(ledger.entries[id], targets[id])
        else:
            del entries[id]
    return await store.settle(ledger, entries, slot.sequence), rejected, stolen


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
    rejected += await _accepted(payloads, [c for c in changes if _is_needed(c.payload)], lambda change: change.declared)
    return rejected


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
            # The collection, or a point that we are changing, went away under our hands.
            raise Transient(
                Reason.COLLECTION_NOT_READY, f"the collection changed meanwhile: {error.message}"
            ) from error
        if len(items) == 1:
            point = declared(items[0])
            return [Failure(point.shown_id, f"Qdrant refused it: {error.message}", point.data.id)]
        middle = len(items) // 2
        first = await _accepted(send, items[:middle], declared)
        return first + await _accepted(send, items[middle:], declared)
    return []


async def _stolen(database: Database, collection: str, found: Diff) -> list[PointId]:
    """New ids under which somebody else's point stands: it came between our look and our insert, which left it
    alone.
    """
    wanted = {point.data.id: point for point in found.insert if point.data.id in found.new}
    stored = await database.points(collection, list(wanted), payload=True)
    return [id for id, point in stored.items() if _differs(point, wanted[id])]


def _differs(stored: StoredPoint, wanted: Declared) -> bool:
    return payload_fingerprint(stored) != wanted.payload


async def _delete(store: LedgerStore, collection: str, ledger: Ledger, found: Diff) -> int:
    """The window of deletions, the last thing of a pass."""
    if not (found.delete or found.forget):
        return 0
    entries = {id: entry for id, entry in ledger.entries.items() if id not in set(found.forget)}
    through = ledger.through
    if found.delete:
        tombstone = Entry(TOMBSTONE, (TOMBSTONE,) * len(ledger.names))
        slot = await store.open(ledger, dict.fromkeys(found.delete, tombstone), ())
        await store.database.delete_points(collection, found.delete)
        still_there = await store.database.points(collection, found.delete)
        through = slot.sequence
        for id in found.delete:
            if id in still_there:
                entries[id] = tombstone
            else:
                del entries[id]
    await store.settle(ledger, entries, through)
    return len(found.delete)


async def _told(store: LedgerStore, view: _View, synced: Synced) -> Synced:
    """Adds whose points the conflicting ones are."""
    conflicts = view.diff.conflicts
    if not conflicts:
        return replace(synced, rebuilt=view.ours.rebuilt)
    held = await owners(store.database, store.ledger_collection, store.key.collection, store.key.incarnation)
    by_id = {id: owner for owner, ids in held.items() for id in ids}
    return replace(synced, rebuilt=view.ours.rebuilt, conflicts={id: by_id.get(id, "") for id in conflicts})
