"""One part of a set: compares what is declared, remembered and stored, writes what differs, and deletes what left.

Whatever happens between two lines here (killed, answer lost, another writer), the next pass finds out from the ledger
what may have been written; see docs/ledger.md for why each step comes where it does. `points.sync` goes through the
parts; a set with `bits = 0` has one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence, Set
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final, NamedTuple

from vectorops import metrics
from vectorops.api.reasons import Reason
from vectorops.errors import Terminal, Transient
from vectorops.ledger.entries import TOMBSTONE, Entries, EntriesById, Entry, unknown_entry
from vectorops.ledger.holders import Holders, find_holders
from vectorops.ledger.records import Ledger, Part
from vectorops.ledger.store import LedgerStore
from vectorops.points.declared import Declaration
from vectorops.points.diff import Diff, Stored, adoptable, diff, expect_late, recover
from vectorops.points.embedding import AtSafePoint, Embed, Fill, Write, embedded, fill_nothing
from vectorops.points.replaced import Replaced, find_evidence
from vectorops.points.reuse import Reuse, TextPoint, id_of, take_out
from vectorops.points.schema import PointSchema
from vectorops.points.stage import Staged
from vectorops.points.target import GivenUp, Target
from vectorops.points.window import Written, write
from vectorops.qdrant import visibility
from vectorops.qdrant.database import Database, PointId, StoredPoint

HIDDEN_SECONDS: Final = 5.0
"""How soon to search again for points that Qdrant hides."""


class Judgment(NamedTuple):
    """Is the collection another one than the ledger is about?"""

    replaced: Replaced | None = None
    """What speaks for it. Nothing is written then, unless `bound`."""
    bound: bool = False
    """A person agreed to begin again in it."""


NO_VERDICT: Final = Judgment()

Judge = Callable[[Replaced, Ledger], Awaitable[Judgment]]
"""What the evidence of one part means, given its ledger."""


@dataclass(frozen=True, slots=True)
class View:
    """What was found of one part."""

    ledger: Ledger | None
    """As stored."""
    ours: Ledger
    """As it should be before anything is written."""
    declaration: Declaration
    """The points that were compared."""
    stored: Stored
    diff: Diff
    """What differs from what is declared; if `bound`, after the set began again."""
    registered: bool
    """Does the collection say what is so, that there is a ledger or none?"""
    verdict: Judgment = NO_VERDICT
    hidden: frozenset[PointId] = frozenset()
    """Points of which nobody can tell now whether they are there: they are left alone."""
    taken: frozenset[PointId] = frozenset()
    """Points that pass to this set from one that no longer declares them."""
    adopted: frozenset[PointId] = frozenset()
    """Points that nobody held, and that become the set's without being written."""
    asked: Holders = field(default_factory=Holders)
    """What other sets have to do with points that are to be changed or deleted, or are in conflict."""
    withheld: str = ""
    """Why points that left the set are not deleted; "" if nothing is in the way."""

    @property
    def replaced(self) -> Replaced | None:
        """See Judgment."""
        return self.verdict.replaced

    @property
    def bound(self) -> bool:
        """See Judgment."""
        return self.verdict.bound

    @property
    def held_back(self) -> bool:
        """Is nothing written, because the collection seems to be another one?"""
        return self.verdict.replaced is not None and not self.verdict.bound

    @property
    def nothing_to_write(self) -> bool:
        """Is everything as declared, the ledger included?"""
        if self.ledger is None:
            return self.registered and not self.ours.entries and self.diff.empty
        return self.registered and self.ledger == self.ours and self.diff.empty

    @property
    def leaving(self) -> bool:
        """Are there points to delete, or to forget?"""
        return bool(self.diff.delete or self.diff.forget)


async def compare(
    store: LedgerStore,
    target: Target,
    staged: Staged,
    ledger: Ledger | None,
    known: Ledger,
    given_up: GivenUp,
    judge: Judge | None,
) -> View:
    """What a pass over the part would find, and do; writes nothing.

    ledger: as stored. known: the same, or what the part begins with. judge: None if a mark tells the collection from
    the next.
    """
    names = target.names
    declaration, settled, known = await _find_unsettled(store, target, staged, known.align(names), judge)
    ours_perhaps = dict.fromkeys([*known.entries, *written_perhaps(known)])
    others = [id for id in declaration.points if id not in ours_perhaps]
    # Of points that were never ours, most are not there.
    there = await store.database.points(target.collection, others)
    wanted = [*ours_perhaps, *there]
    stored = await store.database.points(target.collection, wanted, payload=True, vectors=True)
    hidden = frozenset[PointId]()
    if target.hides:
        hidden = await find_hidden(store, target.collection, {*ours_perhaps, *others} - stored.keys())
    if hidden and known.pending is not None:
        raise Transient(Reason.PROGRESSING, "Qdrant hides points of the set for now; looking again")
    # What compares points runs beside the event loop, or leases and probes wait for it.
    ours = await asyncio.to_thread(recover_part, known, declaration, stored, target.schema)
    if not store.part.bits:
        # With several parts, the head is written apart from them.
        ours = replace(ours, deletion_policy=store.deletion_policy)
    found = await asyncio.to_thread(diff, declaration, ours, stored, target.schema)
    # Before any change: our ledger may be older than what it speaks of, and two sets that both take a point for theirs
    # would overwrite each other for ever.
    changed = {change.declared.data.id for change in found.change}
    asked = await find_holders(store, {*changed, *found.delete, *found.conflicts}, target.previous)
    free = await _find_free(asked, given_up)
    theirs = asked.held.keys() - free
    lost = (theirs & {*changed, *found.delete}) | (asked.moving.keys() & changed)
    taken = free & set(found.conflicts)
    # Where a record cannot be read, nobody can tell that a point is not held.
    unheld = set(found.conflicts) - asked.held.keys() - asked.moving.keys() if not asked.unreadable else set()
    adopted: EntriesById = {}
    if target.adopts:
        adopted = await asyncio.to_thread(adoptable, unheld, declaration, stored, names, target.schema)
    if lost or taken or adopted:
        gained = Entries.of({**dict.fromkeys(taken, unknown_entry(names)), **adopted}, len(names))
        ours = replace(ours, entries=Entries.of(ours.entries, len(names)).without(lost).updated(gained))
        found = await asyncio.to_thread(diff, declaration, ours, stored, target.schema)
    verdict = Judgment()
    if judge is not None:
        # Points that others wrote say nothing about whether ours are still there.
        shown = replace(ours, entries=Entries.of(ours.entries, len(names)).without(hidden | adopted.keys()))
        evidence = await asyncio.to_thread(find_evidence, target.collection, shown, declaration, stored, target.schema)
        verdict = await judge(evidence, shown)
        if verdict.replaced is not None and verdict.bound:
            ours = replace(ours, entries=verdict.replaced.kept(ours.entries))
            found = await asyncio.to_thread(diff, declaration, ours, stored, target.schema)
    found = found.without(hidden)
    await require_replayed(store.database)
    withheld = ""
    if asked.unreadable and found.delete:
        found, withheld = replace(found, delete=()), asked.explain_unreadable(store.key.point_set.namespace)
    if settled:
        ours = replace(ours, entries=Entries.join([settled, ours.entries], len(names)))
        found = replace(found, unchanged=found.unchanged + len(settled))
    return View(
        ledger,
        ours,
        declaration,
        stored,
        found,
        target.expects(ledger),
        verdict=verdict,
        hidden=hidden,
        taken=taken,
        adopted=frozenset(adopted),
        asked=asked,
        withheld=withheld,
    )


def written_perhaps(ledger: Ledger) -> list[PointId]:
    """Ids that may be ours beside those that are: of a window that was left open, now or before."""
    return [
        *(ledger.pending.entries if ledger.pending else ()),
        *(ledger.late.entries if ledger.late else ()),
    ]


def recover_part(known: Ledger, declaration: Declaration, stored: Stored, schema: PointSchema) -> Ledger:
    """The part without its open window, and what may still arrive of it: see `recover` and `expect_late`.

    stored: at least the points of `written_perhaps`.
    """
    ours = recover(known, declaration, stored, schema)
    return expect_late(known, ours, declaration, stored, schema, int(time.time()))


async def _find_unsettled(
    store: LedgerStore, target: Target, staged: Staged, known: Ledger, judge: Judge | None
) -> tuple[Declaration, Entries, Ledger]:
    """See `_unsettled`; settled entries of points that are missing are not settled."""
    # Elsewhere than in the event loop: of a set with a source, thousands of points are read from a file.
    unsettled = partial(_unsettled, staged, store.part, known, whole=judge is not None)
    declaration, settled, known = await asyncio.to_thread(unsettled)
    if not (settled and target.checks_presence):
        return declaration, settled, known
    there = await store.database.points(target.collection, list(settled))
    if missing := [id for id in settled if id not in there]:
        added = await asyncio.to_thread(staged.declaration, store.part, missing)
        declaration = replace(declaration, points={**declaration.points, **added.points})
        entries = Entries.join([known.entries, settled.only(missing)], len(known.names))
        settled, known = settled.without(missing), replace(known, entries=entries)
    return declaration, settled, known


def _unsettled(staged: Staged, part: Part, known: Ledger, *, whole: bool) -> tuple[Declaration, Entries, Ledger]:
    """See `Staged.unsettled`; and the ledger without the settled entries. whole: nothing is settled."""
    if whole:
        return staged.declaration(part), Entries.of({}, len(known.names)), known
    declaration, settled = staged.unsettled(part, known)
    if settled:
        entries = Entries.of(known.entries, len(known.names))
        numbers, uuids = entries.same_as(settled)
        known = replace(known, entries=entries.chosen(~numbers, ~uuids))
    return declaration, settled, known


async def find_hidden(store: LedgerStore, collection: str, absent: Set[PointId]) -> frozenset[PointId]:
    """Those of the points that are not shown of which nobody can tell whether they are there: all, or none."""
    if not absent:
        return frozenset()
    described = await store.database.collection(collection)
    return frozenset(absent) if described is not None and visibility.hidden_points(described) else frozenset()


async def require_replayed(database: Database) -> None:
    """May anything be concluded from what the server did not show just now? To be asked after the server was.

    Raises Transient Progressing if not.
    """
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


async def _find_free(asked: Holders, given_up: GivenUp) -> frozenset[PointId]:
    """Points that other sets hold and no longer declare, and have nothing under way with."""
    by_owner: dict[str, set[PointId]] = {}
    for id, owner in asked.held.items():
        if id not in asked.moving:
            by_owner.setdefault(owner, set()).add(id)
    return frozenset([id for owner, ids in by_owner.items() for id in await given_up(owner, ids)])


async def record_found(store: LedgerStore, ledger: Ledger, ours: Ledger) -> Ledger:
    """Writes down what was found out about the ledger, if anything was. ledger: as stored, and ours to write."""
    is_stated = ledger.names == ours.names
    if not store.part.bits:
        # The head says so too.
        stated = (ledger.deletion_policy, ledger.created_at)
        is_stated = is_stated and stated == (ours.deletion_policy, store.created_at)
    if not is_stated:
        return await store.restate(ours)
    if ledger.pending is None and ledger.entries == ours.entries and ledger.late == ours.late:
        return ledger
    return await store.settle(replace(ledger, late=ours.late), ours.entries, ours.through)


async def require_uncontested(store: LedgerStore, ours: Ledger, view: View) -> None:
    """Raises Transient Progressing if another set is at work with a point that becomes this set's.

    To be called after our ledger says that we hold them. So if their former holder deletes one at the same time, or
    another set adopts it, one of us sees what the other is about, and the point is not lost. ours: as stored.
    """
    asked = await find_holders(store, view.taken | view.adopted)
    if view.taken & asked.moving.keys():
        raise Transient(
            Reason.PROGRESSING, "another set is just deleting a point that this one is to take over; looking again"
        )
    if contested := view.adopted & asked.held.keys():
        # Two sets found the same points held by nobody, and both wrote down that they hold them.
        left = Entries.of(ours.entries, len(ours.names)).without(contested)
        await store.settle(ours, left, ours.through)
        raise Transient(Reason.PROGRESSING, "another set adopts the same points at the same time; looking again")


async def write_known(
    store: LedgerStore, schema: PointSchema, ledger: Ledger, found: Diff, reuse: Reuse
) -> tuple[Written, Diff]:
    """Inserts and changes whose texts all have a vector somewhere. Returns the others, too.

    They come in larger windows than those whose texts are embedded: a kill wastes no work of an embedder.
    """
    written, seen, done = Written(ledger), dict[PointId, TextPoint](), set[PointId]()
    for window in await reuse.windows(found):
        filled = {id_of(point): point for point in await reuse.fill(window)}
        ready = {id: point for id, point in filled.items() if not point.pending}
        written = written.join(await write(store, schema, written.ledger, [*ready.values()], found.new))
        seen |= {id: point for id, point in filled.items() if point.pending}
        done |= ready.keys()
    return written, take_out(found, done, seen)


async def write_part(
    store: LedgerStore,
    schema: PointSchema,
    ledger: Ledger,
    found: Diff,
    embed: Embed | None,
    pace: AtSafePoint,
    fill: Fill = fill_nothing,
) -> Written:
    """Inserts and changes: what needs no embedding first, so that an embedder that is down holds up deletions only.

    The others come in windows of their own, each written down in the ledger just before, and settled after: what an
    error or a kill leaves undone is the rest, and no text is embedded twice but those of the window under way.
    """
    points: list[Write] = [*found.insert, *found.change]
    written = await write(store, schema, ledger, [point for point in points if not point.pending], found.new)
    pending = [point for point in points if point.pending]
    if not pending:
        return written
    assert embed is not None, "a text is declared only where there is an embedder"
    async with aclosing(embedded(_each(pending), embed, schema, pace, fill)) as windows:
        async for window in windows:
            more = await write(store, schema, written.ledger, window.points, found.new)
            written = written.join(replace(more, failures=(*window.failures, *more.failures)))
    return written


async def _each(points: Iterable[Write]) -> AsyncIterator[Write]:
    for point in points:
        yield point


async def delete_part(
    store: LedgerStore, collection: str, ledger: Ledger, ids: Sequence[PointId], gone: Sequence[PointId]
) -> int:
    """The window of deletions. Returns how many points were deleted. gone: to be forgotten only.

    Raises Terminal LedgerUnreadable, and deletes nothing, if another set's record cannot be read.
    """
    if not (ids or gone):
        return 0
    width = len(ledger.names)
    before = Entries.of(ledger.entries, width)
    entries = before.without({*ids, *gone})
    if not ids:
        await store.settle(ledger, entries, ledger.through)
        return 0
    tombstones = Entries.of(dict.fromkeys(ids, Entry(TOMBSTONE, (TOMBSTONE,) * width)), width)
    slot = await store.open(ledger, tombstones, ())
    # Asked after our window says what we are deleting. So if another set claims one of the ids as well and deletes it
    # at the same time, one of us sees the other's claim gone, and the point is not left behind.
    asked = await find_holders(store, ids)
    if asked.unreadable:
        # It could be read when the parts were compared, or nobody had asked, as about points that are hidden.
        await store.settle(ledger, before.without(gone), slot.sequence)
        raise Terminal(Reason.LEDGER_UNREADABLE, asked.explain_unreadable(store.key.point_set.namespace))
    mine = [id for id in ids if id not in asked.held]
    await store.database.delete_points(collection, mine)
    still_there = await store.database.points(collection, mine)
    await store.settle(ledger, entries.updated(tombstones.only(still_there)), slot.sequence)
    deleted = len(mine) - len(still_there)
    metrics.POINT_OUTCOMES.labels("deleted").inc(deleted)
    return deleted


async def delete_unrecorded(store: LedgerStore, collection: str, ledger: Ledger | None, ids: Sequence[PointId]) -> int:
    """Deletes where nothing can be written, the ledger included: that will find them gone. Returns how many.

    ledger: as it was found. Raises Transient AnotherWriter if another process has written it since: the ids may be
    wanted again, and to say that they are gone would have the ledger removed. None is deleted while another set's
    record cannot be read.
    A server that is full takes deletions (from Qdrant 1.19 on), or nothing at all, and then raises OutOfSpace.
    """
    if not ids:
        return 0
    found = await store.read()
    if found is None or (found.token != store.writer and found != ledger):
        raise written_meanwhile()
    asked = await find_holders(store, ids)
    if asked.unreadable:
        return 0
    mine = [id for id in ids if id not in asked.held]
    await store.database.delete_points(collection, mine)
    metrics.POINT_OUTCOMES.labels("deleted").inc(len(mine))
    return len(mine)


def written_meanwhile() -> Transient:
    """Another process has written, or removed, the ledger since we read it."""
    words = "another process has written the ledger of this set meanwhile; looking again"
    return Transient(Reason.ANOTHER_WRITER, words)


async def find_owned(store: LedgerStore, collection: str, ledger: Ledger, judge: Judge | None) -> tuple[Ledger, Stored]:
    """What the set owns of a collection, and what of it is there; nothing is declared any more.

    judge: None if a mark tells that this is the collection that the ledger is about. If not, and it seems to be another
    one, what is no longer as it was written stays. Raises Terminal LedgerUnreadable, Transient Progressing.
    """
    pending, perhaps = set(ledger.pending.entries) if ledger.pending else set(), written_perhaps(ledger)
    stored = await store.database.points(
        collection, sorted({*ledger.entries, *perhaps}, key=str), payload=True, vectors=True
    )
    await require_replayed(store.database)
    hidden = await find_hidden(store, collection, {*ledger.entries, *pending} - stored.keys())
    if hidden & pending:
        raise Transient(Reason.PROGRESSING, "Qdrant hides points of the set for now; looking again")
    # Hidden ones are deleted as well.
    stored = {**stored, **{id: StoredPoint(id, {}, {}) for id in hidden}}
    # What an open window was to create is ours only if it looks like that.
    ours = recover_part(ledger, Declaration({}), stored, {})
    if judge is not None:
        replaced, _ = await judge(find_evidence(collection, ours, Declaration({}), stored, {}), ours)
        if replaced is not None:
            ours = replace(ours, entries=replaced.kept(ours.entries))
    asked = await find_holders(store, ours.entries.keys() & stored.keys())
    if asked.unreadable:
        raise Terminal(Reason.LEDGER_UNREADABLE, asked.explain_unreadable(store.key.point_set.namespace))
    return ours, stored
