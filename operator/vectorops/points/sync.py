"""Makes the stored points as declared: reads, lets `diff` decide, and writes windows of changes and one of
deletions.

Called by the PointSet reconciler. Whatever happens between two lines here (killed, answer lost, another writer),
the next call finds out from the ledger what may have been written; see docs/ledger.md for why each step comes where
it does.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field, replace
from typing import Final

from vectorops import metrics
from vectorops.api.meta import JsonObject
from vectorops.api.reasons import Reason
from vectorops.errors import OutOfSpace, Rejected, Terminal, Transient
from vectorops.points.declared import Declaration, Failure
from vectorops.points.diff import Diff, Stored, adoptable, diff, recover
from vectorops.points.embedding import AtSafePoint, Embed, Write, embedded, go_on
from vectorops.points.ledgers import aligned, ask_others, first, may_hold_any, require_shard_key, unknown
from vectorops.points.replaced import Replaced, replacement
from vectorops.points.schema import PointSchema
from vectorops.points.window import BAD_CONTENT, Written, write
from vectorops.qdrant import visibility
from vectorops.qdrant.database import Database, PointId, StoredPoint
from vectorops.qdrant.ledger import (
    TOMBSTONE,
    Entry,
    Ledger,
    LedgerKey,
    LedgerStore,
    Others,
    ensure_ledger_collection,
    ledger_collections,
)

HIDDEN_SECONDS: Final = 5.0
"""How soon points that Qdrant hides are looked for again."""

GivenUp = Callable[[str, Collection[PointId]], Awaitable[Set[PointId]]]
"""Those of the ids that their holder (`installation/namespace/name`) no longer declares, so that they may pass to the
set that does without being deleted in between.
"""


async def nothing_given_up(_owner: str, _ids: Collection[PointId]) -> Set[PointId]:
    """Whoever holds a point is taken to declare it."""
    return frozenset()


Approves = Callable[[str], Awaitable[bool]]
"""Did a person agree to what this digest stands for? See `reconcilers.approvals`."""


async def nobody(_digest: str) -> bool:
    """Nothing is approved."""
    return False


@dataclass(frozen=True, slots=True)
class Target:
    """The collection that the points go to.

    registered: does its metadata say that this set has a ledger? None: it is the user's, and carries nothing of ours.
    previous: keys under which the set may have kept its ledger before the collection changed hands.
    elsewhere: other collections in which the ledger may be, should `ledgerCollectionName` have been changed.
    replication_factor: of the collection; the ledger must not be easier to lose.
    marked: does a mark tell this physical collection from the next? approves: should it be another one by now.
    hides: may points be there that no read shows (see `qdrant.visibility`)?
    adopts: does the set take points that nobody holds and that equal the declared ones?
    """

    collection: str
    schema: PointSchema
    registered: bool | None
    registration: JsonObject
    previous: tuple[LedgerKey, ...] = ()
    elsewhere: tuple[str, ...] = ()
    replication_factor: int = 1
    marked: bool = True
    approves: Approves = nobody
    hides: bool = False
    adopts: bool = False

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
    replaced: the collection seems to be another one by now: nothing was written or deleted. bound: it was, and with a
    person's approval the set has begun again in it.
    gave_up: are there ids that the set held before, and no longer does? Another set may wait for them.
    withheld: why points that left the set are not deleted, "" if nothing is in the way.
    """

    written: int = 0
    deleted: int = 0
    unchanged: int = 0
    failures: tuple[Failure, ...] = ()
    conflicts: Mapping[PointId, str] = field(default_factory=dict)
    rebuilt: bool = False
    replaced: Replaced | None = None
    bound: bool = False
    gave_up: bool = False
    withheld: str = ""


async def sync(
    store: LedgerStore,
    target: Target,
    declaration: Declaration,
    embed: Embed | None = None,
    given_up: GivenUp = nothing_given_up,
    *,
    pace: AtSafePoint = go_on,
) -> Synced:
    """One pass. Raises what `Database` and `embed` raise; then the pass is unfinished, and the next one goes on.

    embed: of the embedders that the points were declared with; None if there are none.
    pace: called between two windows; what it raises ends the pass there.
    """
    with _collection_may_go():
        return await _sync(store, target, declaration, embed, given_up, pace)


async def _sync(
    store: LedgerStore,
    target: Target,
    declaration: Declaration,
    embed: Embed | None,
    given_up: GivenUp,
    pace: AtSafePoint,
) -> Synced:
    view = await look(store, target, declaration, given_up)
    if view.replaced is None and view.nothing_to_write:
        _require_shown(view)
        return await _told(store, view, Synced(unchanged=view.diff.unchanged, failures=declaration.failures))
    held_before = view.ledger.entries.keys() if view.ledger is not None else frozenset()
    try:
        if view.replaced is None or view.bound:
            view = await _make_ours(store, target, declaration, view, given_up)
        if view.replaced is not None and not view.bound:
            return Synced(failures=declaration.failures, replaced=view.replaced)
        done = await _write(store, target, view.ours, view.diff, embed, pace)
    except OutOfSpace:
        # What leaves the set makes room.
        await _delete_unrecorded(store, target.collection, view.ledger, view.diff.delete)
        raise
    deleted = await _delete(store, target.collection, done.ledger, view.diff.delete, view.diff.forget)
    _require_shown(view)
    written = len(view.diff.insert) + len(view.diff.change) - len(done.failures) - len(done.stolen)
    conflicting = replace(view, diff=replace(view.diff, conflicts=(*view.diff.conflicts, *done.stolen)))
    failures = (*declaration.failures, *done.failures)
    gave_up = bool(held_before - done.ledger.entries.keys() or view.diff.delete or view.diff.forget)
    synced = Synced(written, deleted, view.diff.unchanged, failures, bound=view.bound, gave_up=gave_up)
    return await _told(store, conflicting, synced)


def _require_shown(view: View) -> None:
    """The pass is done with all that is to be seen."""
    if view.hidden:
        raise Transient(
            Reason.PROGRESSING,
            "Qdrant hides points until it has optimized them (prevent_unoptimized), so whether some are missing cannot "
            "be told yet; looking again",
            retry_after=HIDDEN_SECONDS,
        )


async def _require_replayed(database: Database) -> None:
    """May anything be concluded from what the server did not show just now? Called after it was asked."""
    version = database.info.version
    if visibility.serves_before_replay(version):
        seconds = visibility.grace_seconds(version, await database.seconds_up())
        if seconds:
            raise Transient(
                Reason.PROGRESSING,
                f"Qdrant {version} was started a moment ago, and does not show all that it was given before that "
                "until it has replayed it; looking again within a minute",
                retry_after=seconds,
            )


async def _read(store: LedgerStore) -> Ledger | None:
    """The ledger. Raises what `LedgerStore.read` raises, if it can be sure of it."""
    try:
        return await store.read()
    except Terminal:
        await _require_replayed(store.database)
        raise


async def remove_points(store: LedgerStore, collection: str, *, marked: bool = True) -> int:
    """Deletes all points that the set owns. Returns how many were deleted; safe to repeat.

    marked: does a mark tell that this is the collection that the ledger is about? If not, and it seems to be another
    one, what is no longer as it was written stays.
    The ledger stays, to be removed once nothing says any more that it must exist. Raises Terminal
    LedgerUnreadable if another set's record cannot be read.
    """
    with _collection_may_go():
        ledger = await _read(store)
        if ledger is None:
            await _require_replayed(store.database)
            return 0
        store = store.for_shard_key(ledger.shard_key)
        if ledger.shard_key and ledger.shard_key not in await store.database.shard_keys(collection):
            # The points went with their shard key.
            return 0
        try:
            ledger = await store.take(ledger)
            ours, stored = await _owned(store, collection, ledger, marked)
            ledger = await _recorded(store, ledger, ours)
            ids, gone = [id for id in ledger.entries if id in stored], [id for id in ledger.entries if id not in stored]
            return await _delete(store, collection, ledger, ids, gone)
        except OutOfSpace:
            # The ledger goes anyway.
            ours, stored = await _owned(store, collection, ledger, marked)
            return await _delete_unrecorded(store, collection, ledger, [id for id in ours.entries if id in stored])


async def kept_by_removal(store: LedgerStore, collection: str, *, marked: bool = True) -> list[PointId]:
    """Points of the set that `remove_points` would leave, because they are no longer as they were written. Writes
    nothing. marked: see `remove_points`.
    """
    ledger = None if marked else await _read(store)
    if ledger is None:
        return []
    if ledger.shard_key and ledger.shard_key not in await store.database.shard_keys(collection):
        return []
    ours, stored = await _owned(store.for_shard_key(ledger.shard_key), collection, ledger, marked)
    return [id for id in ledger.entries if id in stored and id not in ours.entries]


async def _delete_unrecorded(store: LedgerStore, collection: str, ledger: Ledger | None, ids: Sequence[PointId]) -> int:
    """Deletes where nothing can be written, the ledger included: that will find them gone. Returns how many.

    ledger: as it was found. Raises Transient AnotherWriter if another process has written it since: the ids may be
    wanted again, and to say that they are gone would have the ledger removed.
    A server that is full takes deletions (from Qdrant 1.19 on), or nothing at all, and then raises OutOfSpace.
    """
    if not ids:
        return 0
    found = await store.read()
    if found is None or (found.token != store.writer and found != ledger):
        words = "another process has written the ledger of this set meanwhile; looking again"
        raise Transient(Reason.ANOTHER_WRITER, words)
    theirs = (await ask_others(store, ids)).held
    mine = [id for id in ids if id not in theirs]
    await store.database.delete_points(collection, mine)
    metrics.POINT_OUTCOMES.labels("deleted").inc(len(mine))
    return len(mine)


async def _owned(store: LedgerStore, collection: str, ledger: Ledger, marked: bool) -> tuple[Ledger, Stored]:
    """What the set owns of a collection, and what of it is there; nothing is declared any more."""
    pending = set(ledger.pending.entries) if ledger.pending else set()
    stored = await store.database.points(
        collection, sorted({*ledger.entries, *pending}, key=str), payload=True, vectors=True
    )
    await _require_replayed(store.database)
    hidden = await _hidden(store, collection, {*ledger.entries, *pending} - stored.keys())
    if hidden & pending:
        raise Transient(Reason.PROGRESSING, "Qdrant hides points of the set for now; looking again")
    # Hidden ones are deleted as well.
    stored = {**stored, **{id: StoredPoint(id, {}, {}) for id in hidden}}
    # What an open window was to create is ours only if it looks like that.
    ours = recover(ledger, Declaration({}), stored, {})
    if not marked and (found := replacement(collection, store.created_at, ours, Declaration({}), stored, {})):
        ours = replace(ours, entries=found.kept(ours.entries))
    asked = await ask_others(store, ours.entries.keys() & stored.keys())
    if asked.unreadable:
        raise Terminal(Reason.LEDGER_UNREADABLE, may_hold_any(asked))
    return ours, stored


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
    replaced: what speaks against the collection being the one that the ledger is about. bound: a person agreed to
    begin again in it, and what differs is that.
    taken: points that pass to this set from one that no longer declares them. adopted: points that nobody held, and
    that become the set's without being written. asked: what other sets have to do with
    points that are to be changed or deleted, or are in conflict; such a set may be too damaged to tell, and then
    nothing is deleted.
    hidden: points of which nobody can tell now whether they are there: they are left as they are.
    """

    ledger: Ledger | None
    ours: Ledger
    stored: Stored
    diff: Diff
    registered: bool
    replaced: Replaced | None = None
    bound: bool = False
    hidden: frozenset[PointId] = frozenset()
    taken: frozenset[PointId] = frozenset()
    adopted: frozenset[PointId] = frozenset()
    asked: Others = field(default_factory=Others)
    withheld: str = ""

    @property
    def nothing_to_write(self) -> bool:
        if self.ledger is None:
            return self.registered and not self.ours.entries and self.diff.empty
        return self.registered and self.ledger == self.ours and self.diff.empty


async def look(
    store: LedgerStore, target: Target, declaration: Declaration, given_up: GivenUp = nothing_given_up
) -> View:
    """What a pass would find, and do; writes nothing.

    Raises Terminal InvalidSpec if the ledger is in another collection, LedgerDamaged, LedgerUnreadable.
    """
    ledger = await _read(store)
    if ledger is not None:
        require_shard_key(store, ledger)
    known = ledger
    if known is None:
        if target.registered is not False:
            await _require_not_elsewhere(store, target.elsewhere)
        lost = target.registered is True
        known = await first(store, target.schema, declaration, lost=lost, previous=target.previous)
    view = await _compared(store, target, declaration, ledger, known, given_up)
    if ledger is None and target.registered is None and view.diff.conflicts:
        # A collection of its user's names no ledger: what looks like another writer's point may be our own.
        await _require_not_elsewhere(store, await ledger_collections(store.database))
    return view


async def _require_not_elsewhere(store: LedgerStore, names: Iterable[str]) -> None:
    """A ledger that is in another collection is not lost: to make a second one would leave two that contradict each
    other.
    """
    for name in names:
        if await replace(store, ledger_collection=name).exists():
            raise Terminal(
                Reason.INVALID_SPEC,
                f"the ledger of this set is in collection {name!r}, and not in {store.ledger_collection!r}: "
                "ledgerCollectionName of the QdrantConnection cannot be changed. Put it back; nothing is written "
                "until then",
            )


async def _compared(
    store: LedgerStore,
    target: Target,
    declaration: Declaration,
    ledger: Ledger | None,
    known: Ledger,
    given_up: GivenUp,
) -> View:
    names = tuple(sorted(target.schema))
    ours_perhaps = {*known.entries, *(known.pending.entries if known.pending else ())}
    ids = {*declaration.points, *ours_perhaps}
    # Of points that were never ours, most are not there.
    there = await store.database.points(target.collection, sorted(ids - ours_perhaps, key=str))
    wanted = sorted({*ours_perhaps, *there}, key=str)
    stored = await store.database.points(target.collection, wanted, payload=True, vectors=True)
    hidden = await _hidden(store, target.collection, ids - stored.keys()) if target.hides else frozenset()
    if hidden and known.pending is not None:
        raise Transient(Reason.PROGRESSING, "Qdrant hides points of the set for now; looking again")
    ours = recover(aligned(known, names), declaration, stored, target.schema)
    ours = replace(ours, deletion_policy=store.deletion_policy)
    # Work of the processor's: beside the event loop, or leases and probes wait for it.
    found = await asyncio.to_thread(diff, declaration, ours, stored, target.schema)
    # Before any change: our ledger may be older than what it speaks of, and two sets that both take a point for theirs
    # would overwrite each other for ever.
    changed = {change.declared.data.id for change in found.change}
    asked = await ask_others(store, {*changed, *found.delete, *found.conflicts}, target.previous)
    free = await _free(asked, given_up)
    theirs = asked.held.keys() - free
    lost = (theirs & {*changed, *found.delete}) | (asked.moving.keys() & changed)
    taken = free & set(found.conflicts)
    # Where a record cannot be read, nobody can tell that a point is not held.
    unheld = set(found.conflicts) - asked.held.keys() - asked.moving.keys() if not asked.unreadable else set()
    adopted = adoptable(unheld, declaration, stored, names, target.schema) if target.adopts else {}
    if lost or taken or adopted:
        entries = {id: entry for id, entry in ours.entries.items() if id not in lost}
        ours = replace(ours, entries={**entries, **dict.fromkeys(taken, unknown(names)), **adopted})
        found = diff(declaration, ours, stored, target.schema)
    another, bound = None, False
    if not await _was_marked(store, target, ledger, known):
        # Points that others wrote say nothing about whether ours are still there.
        unsure = hidden | adopted.keys()
        shown = replace(ours, entries={id: entry for id, entry in ours.entries.items() if id not in unsure})
        another = replacement(target.collection, store.created_at, shown, declaration, stored, target.schema)
        if another is not None and await target.approves(another.digest):
            ours, bound = replace(ours, entries=another.kept(ours.entries)), True
            found = diff(declaration, ours, stored, target.schema)
    found = found.without(hidden)
    await _require_replayed(store.database)
    withheld = ""
    if asked.unreadable and found.delete:
        found, withheld = replace(found, delete=()), may_hold_any(asked)
    return View(
        ledger,
        ours,
        stored,
        found,
        target.expects(ledger),
        replaced=another,
        bound=bound,
        hidden=hidden,
        taken=taken,
        adopted=frozenset(adopted),
        asked=asked,
        withheld=withheld,
    )


async def _hidden(store: LedgerStore, collection: str, absent: Set[PointId]) -> frozenset[PointId]:
    """Those of the points that are not shown of which nobody can tell whether they are there: all, or none."""
    if not absent:
        return frozenset()
    described = await store.database.collection(collection)
    return frozenset(absent) if described is not None and visibility.hidden_points(described) else frozenset()


async def _was_marked(store: LedgerStore, target: Target, ledger: Ledger | None, known: Ledger) -> bool:
    """Did a mark tell the physical collection from the next since the ledger was begun? Not if it is inherited from the
    time when the collection was its user's.
    """
    if ledger is not None or not known.entries:
        return target.marked
    former = [key for key in target.previous if key.incarnation != store.key.incarnation]
    return target.marked and not any([await replace(store, key=key).exists() for key in former])


async def _free(asked: Others, given_up: GivenUp) -> frozenset[PointId]:
    """Points that other sets hold and no longer declare, and have nothing under way with."""
    by_owner: dict[str, set[PointId]] = {}
    for id, owner in asked.held.items():
        if id not in asked.moving:
            by_owner.setdefault(owner, set()).add(id)
    return frozenset([id for owner, ids in by_owner.items() for id in await given_up(owner, ids)])


async def _make_ours(
    store: LedgerStore, target: Target, declaration: Declaration, view: View, given_up: GivenUp
) -> View:
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
        taken, adopted = view.taken, view.adopted
        view = await _compared(store, target, declaration, ledger, ledger, given_up)
        view = replace(view, taken=view.taken | taken, adopted=view.adopted | adopted)
    if target.registered is not True:
        for key in target.previous:
            await replace(store, key=key).remove()
    if target.registered is False:
        await store.remove_former()
        await store.database.update_collection(target.collection, {"metadata": target.registration})
    ours = await _recorded(store, ledger, view.ours)
    # Asked after our ledger says that we hold them. So if their former holder deletes one at the same time, one of us
    # sees what the other is about, and the point is not lost.
    asked = await ask_others(store, view.taken | view.adopted)
    if view.taken & asked.moving.keys():
        raise Transient(
            Reason.PROGRESSING, "another set is just deleting a point that this one is to take over; looking again"
        )
    if contested := view.adopted & asked.held.keys():
        # Two sets found the same points held by nobody, and wrote both down that they hold them.
        left = {id: entry for id, entry in ours.entries.items() if id not in contested}
        await store.settle(ours, left, ours.through)
        raise Transient(Reason.PROGRESSING, "another set adopts the same points at the same time; looking again")
    return replace(view, ours=ours)


async def _recorded(store: LedgerStore, ledger: Ledger, ours: Ledger) -> Ledger:
    """Writes down what was found out about the ledger, if anything was."""
    to_be = (ours.names, ours.deletion_policy, store.created_at)
    if (ledger.names, ledger.deletion_policy, ledger.created_at) != to_be:
        return await store.restate(ours)
    if ledger.pending is None and ledger.entries == ours.entries:
        return ledger
    return await store.settle(ledger, ours.entries, ours.through)


async def _write(
    store: LedgerStore, target: Target, ledger: Ledger, found: Diff, embed: Embed | None, pace: AtSafePoint
) -> Written:
    """Inserts and changes: what needs no embedding first, so that an embedder that is down holds up deletions only.

    The others come in windows of their own, each told to the ledger just before it is written, and settled after: what
    an error or a kill leaves undone is the rest, and no text is embedded twice but those of the window under way.
    """
    points: list[Write] = [*found.insert, *found.change]
    written = await write(store, target.schema, ledger, [point for point in points if not point.pending], found.new)
    pending = [point for point in points if point.pending]
    if not pending:
        return written
    assert embed is not None, "a text is declared only where there is an embedder"
    async with aclosing(embedded(_each(pending), embed, target.schema, pace)) as windows:
        async for window in windows:
            more = await write(store, target.schema, written.ledger, window.points, found.new)
            written = Written(
                more.ledger,
                (*written.failures, *window.failures, *more.failures),
                (*written.stolen, *more.stolen),
            )
    return written


async def _each(points: Iterable[Write]) -> AsyncIterator[Write]:
    for point in points:
        yield point


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
    theirs = (await ask_others(store, ids)).held
    mine = [id for id in ids if id not in theirs]
    await store.database.delete_points(collection, mine)
    still_there = await store.database.points(collection, mine)
    entries |= {id: tombstones[id] for id in still_there}
    await store.settle(ledger, entries, slot.sequence)
    deleted = len(mine) - len(still_there)
    metrics.POINT_OUTCOMES.labels("deleted").inc(deleted)
    return deleted


async def _told(store: LedgerStore, view: View, synced: Synced) -> Synced:
    """The pass is at its end: counts, and adds whose points the conflicting ones are."""
    conflicts = view.diff.conflicts
    for outcome, count in (
        ("unchanged", synced.unchanged),
        ("failed", len(synced.failures)),
        ("conflicting", len(conflicts)),
    ):
        metrics.POINT_OUTCOMES.labels(outcome).inc(count)
    asked = view.asked
    if not asked.held.keys() >= set(conflicts):
        asked = await ask_others(store, conflicts)
    holders = {**asked.moving, **asked.held}
    return replace(
        synced,
        rebuilt=view.ours.rebuilt,
        withheld=view.withheld,
        conflicts={id: holders.get(id, "") for id in conflicts},
    )
