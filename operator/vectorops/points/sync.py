"""Makes the stored points as declared: reads, lets `diff` decide, and writes one window of changes and one of
deletions.

Called by the PointSet reconciler. Whatever happens between two lines here (killed, answer lost, another writer),
the next call finds out from the ledger what may have been written; see docs/ledger.md for why each step comes where
it does.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Final, TypeVar

from vectorops.api.meta import JsonObject
from vectorops.api.reasons import Reason
from vectorops.errors import Rejected, Transient
from vectorops.points.declared import Declaration, Declared, Failure
from vectorops.points.diff import Change, Diff, Stored, blurred, diff, entry_of, is_as_declared, recover
from vectorops.points.ledgers import aligned, first, held_by_others
from vectorops.points.schema import PointSchema
from vectorops.qdrant.database import Database, PayloadChange, PointData, PointId
from vectorops.qdrant.ledger import TOMBSTONE, Entry, Ledger, LedgerKey, LedgerStore, ensure_ledger_collection, owners

Item = TypeVar("Item")

BAD_CONTENT: Final = frozenset({400, 413, 422})
"""Status codes by which Qdrant refuses what a request holds, so that sending it in halves finds the culprit."""


@dataclass(frozen=True, slots=True)
class Target:
    """The collection that the points go to.

    registered: does its metadata say that this set has a ledger? None: it is the user's, and carries nothing of ours.
    previous: keys under which the set may have kept its ledger before the collection changed hands.
    replication_factor: of the collection; the ledger must not be easier to lose.
    """

    collection: str
    schema: PointSchema
    registered: bool | None
    registration: JsonObject
    previous: tuple[LedgerKey, ...] = ()
    replication_factor: int = 1

    def expects(self, ledger: Ledger | None) -> bool:
        """Is the ledger, or that there is none, what the collection's metadata says? Else there is something to put
        right.
        """
        if ledger is None:
            return not self.registered
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
    with _collection_may_go():
        return await _sync(store, target, declaration)


async def _sync(store: LedgerStore, target: Target, declaration: Declaration) -> Synced:
    view = await look(store, target, declaration)
    if view.nothing_to_write:
        return await _told(store, view, Synced(unchanged=view.diff.unchanged, failures=declaration.failures))
    view = await _make_ours(store, target, declaration, view)
    ledger, rejected, stolen = await _write(store, target, view.ours, view.diff)
    deleted = await _delete(store, target.collection, ledger, view.diff.delete, view.diff.forget)
    written = len(view.diff.insert) + len(view.diff.change) - len(rejected) - len(stolen)
    conflicting = replace(view, diff=replace(view.diff, conflicts=(*view.diff.conflicts, *stolen)))
    failures = (*declaration.failures, *rejected)
    return await _told(store, conflicting, Synced(written, deleted, view.diff.unchanged, failures))


async def remove_points(store: LedgerStore, collection: str) -> int:
    """Deletes all points that the set owns. Returns how many were deleted; safe to repeat.

    The ledger stays, to be removed once nothing says any more that it must exist.
    """
    with _collection_may_go():
        ledger = await store.read()
        return 0 if ledger is None else await _delete_owned(store, collection, await store.take(ledger))


async def _delete_owned(store: LedgerStore, collection: str, ledger: Ledger) -> int:
    pending = set(ledger.pending.entries) if ledger.pending else set()
    stored = await store.database.points(
        collection, sorted({*ledger.entries, *pending}, key=str), payload=True, vectors=True
    )
    # Nothing is declared any more, so what an open window was to create is ours only if it looks like that.
    ledger = await _recorded(store, ledger, recover(ledger, Declaration({}), stored, {}))
    owned = [id for id in ledger.entries if id in stored]
    return await _delete(store, collection, ledger, owned, [id for id in ledger.entries if id not in stored])


@contextmanager
def _collection_may_go() -> Iterator[None]:
    """The collection, or a point that we are changing, may go away under our hands: then it helps to look again."""
    try:
        yield
    except Rejected as error:
        if error.status in BAD_CONTENT:
            raise
        raise Transient(Reason.COLLECTION_NOT_READY, f"the collection changed meanwhile: {error.message}") from error


@dataclass(frozen=True, slots=True)
class View:
    """What was found: the ledger as stored, the same as it should be before anything is written, and what differs.

    registered: does the collection say what is so, that there is a ledger or none?
    """

    ledger: Ledger | None
    ours: Ledger
    stored: Stored
    diff: Diff
    registered: bool

    @property
    def nothing_to_write(self) -> bool:
        if self.ledger is None:
            return self.registered and not self.ours.entries and self.diff.empty
        return self.registered and self.ledger == self.ours and self.diff.empty


async def look(store: LedgerStore, target: Target, declaration: Declaration) -> View:
    """What a pass would find, and do; writes nothing."""
    ledger = await store.read()
    known = ledger
    if known is None:
        lost = target.registered is True
        known = await first(store, target.schema, declaration, lost=lost, previous=target.previous)
    return await _compared(store, target, declaration, ledger, known)


async def _compared(
    store: LedgerStore, target: Target, declaration: Declaration, ledger: Ledger | None, known: Ledger
) -> View:
    names = tuple(sorted(target.schema))
    ids = {*declaration.points, *known.entries, *(known.pending.entries if known.pending else ())}
    stored = await store.database.points(target.collection, sorted(ids, key=str), payload=True, vectors=True)
    ours = recover(aligned(known, names), declaration, stored, target.schema)
    ours = replace(ours, deletion_policy=store.deletion_policy)
    found = diff(declaration, ours, stored, target.schema)
    drifted = {change.declared.data.id for change in found.change if change.drifted}
    # Somebody deleted our point, and another set made its own of that id before we came: it is theirs now. Without
    # asking, the two sets would overwrite each other for ever.
    if drifted and (theirs := drifted & await held_by_others(store)):
        ours = replace(ours, entries={id: entry for id, entry in ours.entries.items() if id not in theirs})
        found = diff(declaration, ours, stored, target.schema)
    return View(ledger, ours, stored, found, target.expects(ledger))


async def _make_ours(store: LedgerStore, target: Target, declaration: Declaration, view: View) -> View:
    """Makes us the writer of a ledger without an open window, and looks again if somebody else was."""
    ledger = view.ledger
    if ledger is None:
        await ensure_ledger_collection(
            store.database, store.ledger_collection, replication_factor=target.replication_factor
        )
        ledger = await store.create(view.ours.names, view.ours.entries, rebuilt=view.ours.rebuilt)
    elif ledger.token != store.writer:
        ledger = await store.take(ledger)
    if ledger is not view.ledger:
        view = await _compared(store, target, declaration, ledger, ledger)
    if target.registered is not True:
        for key in target.previous:
            await replace(store, key=key).remove()
    if target.registered is False:
        await store.remove_others()
        await store.database.update_collection(target.collection, {"metadata": target.registration})
    return replace(view, ours=await _recorded(store, ledger, view.ours))


async def _recorded(store: LedgerStore, ledger: Ledger, ours: Ledger) -> Ledger:
    """Writes down what was found out about the ledger, if anything was."""
    if (ledger.names, ledger.deletion_policy) != (ours.names, ours.deletion_policy):
        return await store.restate(ours)
    if ledger.pending is None and ledger.entries == ours.entries:
        return ledger
    return await store.settle(ledger, ours.entries, ours.through)


async def _write(
    store: LedgerStore, target: Target, ledger: Ledger, found: Diff
) -> tuple[Ledger, list[Failure], list[PointId]]:
    """The window of inserts and changes. Returns the ledger, what Qdrant refused, and ids that somebody else took
    meanwhile.
    """
    declared = [*found.insert, *(change.declared for change in found.change)]
    if not declared:
        return ledger, [], []
    targets = {point.data.id: entry_of(point, ledger.names) for point in declared}
    slot = await store.open(ledger, targets, found.new)
    rejected = await _insert(store.database, target.collection, found.insert)
    rejected += await _update(store.database, target.collection, found.change)
    stolen = await _stolen(store.database, target, found)
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


async def _stolen(database: Database, target: Target, found: Diff) -> list[PointId]:
    """New ids under which somebody else's point stands: it came between our look and our insert, which left it
    alone.
    """
    wanted = {point.data.id: point for point in found.insert if point.data.id in found.new}
    stored = await database.points(target.collection, list(wanted), payload=True, vectors=True)
    return [id for id, point in stored.items() if not is_as_declared(point, wanted[id], target.schema)]


async def _delete(
    store: LedgerStore, collection: str, ledger: Ledger, ids: Sequence[PointId], gone: Sequence[PointId]
) -> int:
    """The window of deletions, the last thing of a pass. gone: to be forgotten only."""
    if not (ids or gone):
        return 0
    dropped = {*ids, *gone}
    entries = {id: entry for id, entry in ledger.entries.items() if id not in dropped}
    if not ids:
        await store.settle(ledger, entries, ledger.through)
        return 0
    tombstones = dict.fromkeys(ids, Entry(TOMBSTONE, (TOMBSTONE,) * len(ledger.names)))
    slot = await store.open(ledger, tombstones, ())
    # Asked after our window tells what we are deleting. So if another set claims one of the ids as well and deletes it
    # at the same time, one of us sees the other's claim gone, and the point is not left behind.
    theirs = await held_by_others(store)
    mine = [id for id in ids if id not in theirs]
    await store.database.delete_points(collection, mine)
    still_there = await store.database.points(collection, mine)
    entries |= {id: tombstones[id] for id in still_there}
    await store.settle(ledger, entries, slot.sequence)
    return len(mine)


async def _told(store: LedgerStore, view: View, synced: Synced) -> Synced:
    """Adds whose points the conflicting ones are."""
    conflicts = view.diff.conflicts
    if not conflicts:
        return replace(synced, rebuilt=view.ours.rebuilt)
    held = await owners(store.database, store.ledger_collection, store.key.collection, store.key.incarnation)
    by_id = {id: owner for owner, ids in held.items() for id in ids}
    return replace(synced, rebuilt=view.ours.rebuilt, conflicts={id: by_id.get(id, "") for id in conflicts})
