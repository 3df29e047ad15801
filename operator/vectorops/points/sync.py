"""Makes the stored points as declared: reads, lets `diff` decide, and writes windows of changes and one of
deletions.

Called by the PointSet reconciler. Whatever happens between two lines here (killed, answer lost, another writer),
the next call finds out from the ledger what may have been written; see docs/ledger.md for why each step comes where
it does.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field, replace

from vectorops import metrics
from vectorops.api.meta import JsonObject
from vectorops.api.reasons import Reason
from vectorops.errors import Rejected, Transient
from vectorops.points.declared import Declaration, Failure
from vectorops.points.diff import Diff, Stored, diff, recover
from vectorops.points.embedding import Embed, Write, embedded
from vectorops.points.ledgers import aligned, first, held_by_others, require_shard_key
from vectorops.points.replaced import Replaced, replacement
from vectorops.points.schema import PointSchema
from vectorops.points.window import BAD_CONTENT, Written, write
from vectorops.qdrant.database import PointId
from vectorops.qdrant.ledger import TOMBSTONE, Entry, Ledger, LedgerKey, LedgerStore, ensure_ledger_collection, owners

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
    replication_factor: of the collection; the ledger must not be easier to lose.
    marked: does a mark tell this physical collection from the next? approves: should it be another one by now.
    """

    collection: str
    schema: PointSchema
    registered: bool | None
    registration: JsonObject
    previous: tuple[LedgerKey, ...] = ()
    replication_factor: int = 1
    marked: bool = True
    approves: Approves = nobody

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
    """

    written: int = 0
    deleted: int = 0
    unchanged: int = 0
    failures: tuple[Failure, ...] = ()
    conflicts: Mapping[PointId, str] = field(default_factory=dict)
    rebuilt: bool = False
    replaced: Replaced | None = None
    bound: bool = False


async def sync(store: LedgerStore, target: Target, declaration: Declaration, embed: Embed | None = None) -> Synced:
    """One pass. Raises what `Database` and `embed` raise; then the pass is unfinished, and the next one goes on.

    embed: of the embedders that the points were declared with; None if there are none.
    """
    with _collection_may_go():
        return await _sync(store, target, declaration, embed)


async def _sync(store: LedgerStore, target: Target, declaration: Declaration, embed: Embed | None) -> Synced:
    view = await look(store, target, declaration)
    if view.replaced is None and view.nothing_to_write:
        return await _told(store, view, Synced(unchanged=view.diff.unchanged, failures=declaration.failures))
    if view.replaced is None or view.bound:
        view = await _make_ours(store, target, declaration, view)
    if view.replaced is not None and not view.bound:
        return Synced(failures=declaration.failures, replaced=view.replaced)
    done = await _write(store, target, view.ours, view.diff, embed)
    deleted = await _delete(store, target.collection, done.ledger, view.diff.delete, view.diff.forget)
    written = len(view.diff.insert) + len(view.diff.change) - len(done.failures) - len(done.stolen)
    conflicting = replace(view, diff=replace(view.diff, conflicts=(*view.diff.conflicts, *done.stolen)))
    failures = (*declaration.failures, *done.failures)
    bound = view.bound
    return await _told(store, conflicting, Synced(written, deleted, view.diff.unchanged, failures, bound=bound))


async def remove_points(store: LedgerStore, collection: str, *, marked: bool = True) -> int:
    """Deletes all points that the set owns. Returns how many were deleted; safe to repeat.

    marked: does a mark tell that this is the collection that the ledger is about? If not, and it seems to be another
    one, what is no longer as it was written stays.
    The ledger stays, to be removed once nothing says any more that it must exist.
    """
    with _collection_may_go():
        ledger = await store.read()
        if ledger is None:
            return 0
        store = store.for_shard_key(ledger.shard_key)
        if ledger.shard_key and ledger.shard_key not in await store.database.shard_keys(collection):
            # The points went with their shard key.
            return 0
        return await _delete_owned(store, collection, await store.take(ledger), marked)


async def _delete_owned(store: LedgerStore, collection: str, ledger: Ledger, marked: bool) -> int:
    pending = set(ledger.pending.entries) if ledger.pending else set()
    stored = await store.database.points(
        collection, sorted({*ledger.entries, *pending}, key=str), payload=True, vectors=True
    )
    # Nothing is declared any more, so what an open window was to create is ours only if it looks like that.
    ours = recover(ledger, Declaration({}), stored, {})
    if not marked and (found := replacement(collection, store.created_at, ours, Declaration({}), stored, {})):
        ours = replace(ours, entries=found.kept(ours.entries))
    ledger = await _recorded(store, ledger, ours)
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
    replaced: what speaks against the collection being the one that the ledger is about. bound: a person agreed to
    begin again in it, and what differs is that.
    """

    ledger: Ledger | None
    ours: Ledger
    stored: Stored
    diff: Diff
    registered: bool
    replaced: Replaced | None = None
    bound: bool = False

    @property
    def nothing_to_write(self) -> bool:
        if self.ledger is None:
            return self.registered and not self.ours.entries and self.diff.empty
        return self.registered and self.ledger == self.ours and self.diff.empty


async def look(store: LedgerStore, target: Target, declaration: Declaration) -> View:
    """What a pass would find, and do; writes nothing."""
    ledger = await store.read()
    if ledger is not None:
        require_shard_key(store, ledger)
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
    view = View(ledger, ours, stored, found, target.expects(ledger))
    if await _was_marked(store, target, ledger, known):
        return view
    another = replacement(target.collection, store.created_at, ours, declaration, stored, target.schema)
    if another is None or not await target.approves(another.digest):
        return replace(view, replaced=another)
    ours = replace(ours, entries=another.kept(ours.entries))
    return replace(view, ours=ours, diff=diff(declaration, ours, stored, target.schema), replaced=another, bound=True)


async def _was_marked(store: LedgerStore, target: Target, ledger: Ledger | None, known: Ledger) -> bool:
    """Did a mark tell the physical collection from the next since the ledger was begun? Not if it is inherited from the
    time when the collection was its user's.
    """
    if ledger is not None or not known.entries:
        return target.marked
    former = [key for key in target.previous if key.incarnation != store.key.incarnation]
    return target.marked and not any([await replace(store, key=key).read() is not None for key in former])


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
    to_be = (ours.names, ours.deletion_policy, store.created_at)
    if (ledger.names, ledger.deletion_policy, ledger.created_at) != to_be:
        return await store.restate(ours)
    if ledger.pending is None and ledger.entries == ours.entries:
        return ledger
    return await store.settle(ledger, ours.entries, ours.through)


async def _write(store: LedgerStore, target: Target, ledger: Ledger, found: Diff, embed: Embed | None) -> Written:
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
    async with aclosing(embedded(_each(pending), embed, target.schema)) as windows:
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
    theirs = await held_by_others(store)
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
    if not conflicts:
        return replace(synced, rebuilt=view.ours.rebuilt)
    held = await owners(
        store.database, store.ledger_collection, store.key.collection, store.key.incarnation, store.shard_key
    )
    by_id = {id: owner for owner, ids in held.items() for id in ids}
    return replace(synced, rebuilt=view.ours.rebuilt, conflicts={id: by_id.get(id, "") for id in conflicts})
