"""Makes the stored points as declared, part by part: inserts and changes first, and deletions in a second walk over the
parts, so that nothing is deleted before what takes its place was written.

This is what happens once for a set: its ledger is found, inherited, made again, cut into parts, registered. What
happens once for each part stands in `points.part`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Final, TypeVar

from vectorops import metrics
from vectorops.api.reasons import Reason
from vectorops.errors import GaveWay, OutOfSpace, Rejected, Terminal, Transient
from vectorops.ledger.collection import ensure_ledger_collection, ledger_collections
from vectorops.ledger.entries import Entries, hash_ids
from vectorops.ledger.holders import find_holders
from vectorops.ledger.lifecycle import initial_ledger, register, regrow, require_shard_key
from vectorops.ledger.records import Ledger, Part, join_parts
from vectorops.ledger.store import LedgerStore
from vectorops.points.declared import Failure
from vectorops.points.embedding import AtSafePoint, Embed, go_on
from vectorops.points.part import (
    HIDDEN_SECONDS,
    Judge,
    Judgment,
    View,
    compare,
    delete_part,
    delete_unrecorded,
    record_found,
    recover_part,
    require_replayed,
    require_uncontested,
    write_known,
    write_part,
    written_meanwhile,
    written_perhaps,
)
from vectorops.points.pass_progress import PassProgress
from vectorops.points.replaced import Replaced, judge
from vectorops.points.reuse import Reuse
from vectorops.points.stage import SHOWN, Staged
from vectorops.points.target import GivenUp, Target, nothing_given_up
from vectorops.points.window import BAD_CONTENT
from vectorops.qdrant.database import PointId

PARTS_AT_ONCE: Final = 2
"""Parts that are written at the same time: while one waits for its ledger, the other one writes points."""

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class ConflictingPoint:
    """A declared point whose id is taken."""

    id: PointId
    shown_id: str
    owner: str
    """The set that holds it, as `installation/namespace/name`; "" if it is no set's."""


@dataclass(frozen=True, slots=True)
class HeldDeletions:
    """More deletions at once than the set allows."""

    count: int
    owned: int
    """Of so many points that the set owns."""
    digest: str
    """Identifies them, for an approval."""


@dataclass(frozen=True, slots=True)
class Synced:
    """How the points fared: counts, and the first few of what is to be shown."""

    total: int = 0
    """Declared points."""
    complete: bool = True
    """Is the id of every declared point known? If not, nothing was deleted."""
    written: int = 0
    deleted: int = 0
    unchanged: int = 0
    failed: int = 0
    failures: tuple[Failure, ...] = ()
    """The first `SHOWN` of those that failed."""
    conflicting: int = 0
    shown_conflicts: tuple[ConflictingPoint, ...] = ()
    """The first `SHOWN` of those whose id is taken."""
    rebuilt: bool = False
    """The ledger was lost once; points that left the set before that may still be stored."""
    replaced: Replaced | None = None
    """The collection seems to be another one by now: nothing was written or deleted."""
    steps: tuple[str, ...] = ()
    """What an approval does then."""
    bound: bool = False
    """It was another one, and with a person's approval the set has begun again in it."""
    gave_up: bool = False
    """Are there ids that the set held before, and no longer does? Another set may wait for them."""
    withheld: str = ""
    """Why points that left the set are not deleted; "" if nothing is in the way."""
    held_deletions: HeldDeletions | None = None
    """More points left the set than may be deleted without a person's approval: none was deleted."""
    deletions_approved: bool = False
    """A person approved of so many deletions, and they were carried out."""
    reused: int = 0
    """Texts whose vector was stored elsewhere, and was taken from there."""

    def synced_whole(self, staged: Staged) -> bool:
        """Is all as declared, but for what the source itself makes impossible?"""
        held_up = self.conflicting or self.withheld or self.held_deletions or self.replaced
        return not held_up and self.failed == staged.failed

    @property
    def conflicts(self) -> dict[PointId, str]:
        """Of the shown ones, by id, the set that holds it."""
        return {conflict.id: conflict.owner for conflict in self.shown_conflicts}


@dataclass(slots=True)
class Pass:
    """One pass over a set: what was found of the set as a whole, and how far the pass is."""

    store: LedgerStore
    """Of the first part; `at` gives that of another."""
    target: Target
    staged: Staged
    given_up: GivenUp
    first: Ledger | None = None
    """The first part as stored; None while there is no ledger."""
    initial: Sequence[Ledger] = ()
    """By part, what a set without a ledger begins with."""
    marked: bool = True
    """Did a mark tell the physical collection from the next since the ledger was begun?"""
    verdict: Judgment | None = None
    """Of all parts together, where one part cannot judge alone."""
    owned: bool = False
    """Is the head ours, and the ledger registered?"""
    owning: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while they become so: parts are written at the same time."""

    @property
    def parts(self) -> list[Part]:
        """All parts of the ledger, or those that it will have."""
        return (self.first.part if self.first else Part(self.staged.bits)).siblings

    def at(self, part: Part) -> LedgerStore:
        """The store of a part."""
        return self.store.at(part)

    async def find_ledger(self) -> None:
        """Reads the first part; if there is no ledger, finds out what the set begins with. Writes nothing."""
        store, target = self.store, self.target
        self.first = await read_sure(store)
        self.marked = target.marked
        if self.first is not None:
            require_shard_key(store, self.first)
            await store.require_parts(self.first)
            return
        if target.registered is not False:
            await _require_not_elsewhere(store, target.elsewhere)
        parts = Part(self.staged.bits).siblings
        declared = map(self.staged.ids, parts)
        lost = target.registered is True
        begun = await initial_ledger(store, target.names, declared, self.recover, lost=lost, previous=target.previous)
        self.initial = begun.split(self.staged.bits)
        if begun.entries:
            # Inherited from the time when the collection was its user's, it may be another one.
            former = [key for key in target.previous if key.incarnation != store.key.incarnation]
            self.marked = target.marked and not any([await replace(store, key=key).exists() for key in former])

    async def recover(self, ledger: Ledger) -> Ledger:
        """See `lifecycle.Recover`."""
        ids = sorted(set(written_perhaps(ledger)), key=str)
        touched = await self.store.database.points(self.target.collection, ids, payload=True, vectors=True)
        declaration = self.staged.declaration(ledger.part, ids)
        return recover_part(ledger.align(self.target.names), declaration, touched, self.target.schema)

    async def compare_part(self, part: Part, judge: Judge | None = None, *, again: bool = False) -> View:
        """What there is to do about one part; writes nothing. again: it may have been written in this pass."""
        if self.first is None:
            return await self._compare(part, None, self.initial[part.number], judge)
        is_known = part == self.first.part and not again
        ledger = self.first if is_known else await self.at(part).read_existing()
        return await self._compare(part, ledger, ledger, judge)

    async def compare_parts(self) -> AsyncIterator[View]:
        """What there is to do about each part, one after another; writes nothing."""
        for part in self.parts:
            yield await self.compare_part(part)

    async def compare_grown(self) -> AsyncIterator[View]:
        """The same of the parts that the ledger will have when it has grown."""
        assert self.first is not None
        bits = self.staged.bits
        more = bits - self.first.part.bits
        for part in self.parts:
            ledger = self.first if part == self.first.part else await self.at(part).read_existing()
            known = await self.recover(ledger)
            for piece in known.split(bits)[part.number << more : (part.number + 1) << more]:
                yield await self._compare(piece.part, piece, piece)

    async def _compare(self, part: Part, ledger: Ledger | None, known: Ledger, judge: Judge | None = None) -> View:
        if judge is None and not self.marked:
            judge = self._judge_alone if self.verdict is None else self._repeat_verdict
        return await compare(self.at(part), self.target, self.staged, ledger, known, self.given_up, judge)

    async def _judge_alone(self, evidence: Replaced, ledger: Ledger) -> Judgment:
        return await self._judge([evidence], ledger)

    async def _repeat_verdict(self, _evidence: Replaced, _ledger: Ledger) -> Judgment:
        return self.verdict or Judgment()

    async def _judge(self, evidence: Sequence[Replaced], ledger: Ledger) -> Judgment:
        found = judge(evidence, ledger.created_at, self.store.created_at)
        return Judgment(found, found is not None and await self.target.approves(found.digest))

    async def judge_all(self) -> None:
        """Finds out from all parts together whether the collection is another one, before any of them is written."""
        if self.marked or (len(self.parts) == 1 and not self.must_grow):
            return
        evidence: list[Replaced] = []
        last: list[Ledger] = []

        async def gather(found: Replaced, ledger: Ledger) -> Judgment:
            evidence.append(found)
            last.append(ledger)
            return Judgment()

        for part in self.parts:
            await self.compare_part(part, gather)
        self.verdict = await self._judge(evidence, last[0])

    @property
    def must_grow(self) -> bool:
        """Is the ledger to be cut into more parts?"""
        return self.first is not None and self.first.part.bits < self.staged.bits

    async def grow(self) -> None:
        """Cuts the ledger into more parts if the source wants more."""
        if self.must_grow:
            assert self.first is not None
            self.first = await regrow(self.store, self.first, self.recover, self.staged.bits)

    async def take_first(self) -> None:
        """Makes us the writer of the head, before anything is compared that the revision is to speak of: a former
        writer then opens no window any more, so none comes between the comparison of a part and the record.
        """
        if self.first is None or self.first.token == self.store.writer:
            return
        if self.first.part.bits:
            await self._take_head(self.first.part)
            # One by one, each that is written would be compared twice.
            await self.store.take_parts(self.first.part)
            self.first = await self.at(self.first.part).read_existing()
        else:
            self.first = await self.store.take(self.first)

    async def _take_head(self, part: Part) -> None:
        """Of a ledger in several parts; if it is not ours already."""
        head = await self.store.read_head()
        if head is None or head.get("token") != self.store.writer:
            await self.store.take_head()
            await self.at(part).remove_older(part.generation)

    async def make_ours(self, part: Part, view: View) -> tuple[Part, View]:
        """Makes us the writer of the part, without an open window; compares again if somebody else was.

        Returns the part, whose generation is known once the ledger was made.
        """
        if self.owned:
            return await self._make_ours(part, view)
        async with self.owning:
            return await self._make_ours(part, view)

    async def _make_ours(self, part: Part, view: View) -> tuple[Part, View]:
        ledger = view.ledger
        if ledger is None:
            if self.first is None:
                await self._create()
                assert self.first is not None
            part = self.first.part._replace(number=part.number)
            ledger = self.first if part == self.first.part else await self.at(part).read_existing()
        else:
            if part.bits and not self.owned:
                await self._take_head(part)
            ledger = await self.at(part).take(ledger)
        if ledger.revision:
            # Until all is written, the ledger speaks of no revision of the source.
            await self.at(part).record_revision("", ledger.owned)
            known, ledger = ledger, replace(ledger, revision="")
            stored = ledger if view.ledger is known else view.ledger
            view = replace(view, ledger=stored, ours=replace(view.ours, revision=""))
            if self.first is not None:
                self.first = replace(self.first, revision="")
        is_untouched = ledger.through == 0 and ledger.pending is None
        if view.ledger is None and is_untouched and not view.ours.entries and not ledger.entries:
            # Nobody has written into the new ledger: what was compared before it was made still holds.
            view = replace(view, ledger=ledger)
        elif ledger is not view.ledger:
            taken, adopted = view.taken, view.adopted
            view = await self._compare(part, ledger, ledger)
            view = replace(view, taken=view.taken | taken, adopted=view.adopted | adopted)
        if view.held_back:
            return part, view
        if not self.owned:
            target = self.target
            await register(
                self.store, registered=target.registered, registration=target.registration, previous=target.previous
            )
            if target.registered is False:
                self.target = replace(target, registered=True)
            self.owned = True
        ours = await record_found(self.at(part), ledger, view.ours)
        await require_uncontested(self.at(part), ours, view)
        return part, replace(view, ours=ours)

    async def _create(self) -> None:
        store, begun = self.store, join_parts(self.initial)
        await ensure_ledger_collection(
            store.database, store.ledger_collection, replication_factor=self.target.replication_factor
        )
        self.first = await store.create(
            begun.names, begun.entries, late=begun.late, rebuilt=begun.rebuilt, bits=self.staged.bits
        )

    async def record_end(self, synced: Synced, revision: str, max_delete_percent: int) -> None:
        """Has the ledger say which revision of the source is written whole (""; none); and, where deletions may be held
        back, how many points the set owns.
        """
        first = self.first
        if first is None or synced.replaced is not None:
            return
        owned = None
        if max_delete_percent < 100:
            held = synced.held_deletions
            owned = held.owned if held is not None else synced.total - synced.failed - synced.conflicting
        elif not revision:
            return
        if (first.revision, first.owned) == (revision, owned):
            return
        if not self.owned:
            await (self.store.take_head() if first.part.bits else self.store.take(first))
        await self.at(first.part).record_revision(revision, owned)

    async def restate_head(self) -> None:
        """Has the head of a ledger in several parts say what it should, once they do."""
        first = self.first
        if first is None or not first.part.bits or self.store.says_the_same(first, self.target.names):
            return
        if not self.owned:
            await self.store.take_head()
        await self.at(first.part).restate_head(replace(first, names=self.target.names))


def _gave_up(before: Ledger, after: Ledger) -> bool:
    """Are there ids that a part had, and no longer has?"""
    held, holds = (Entries.of(ledger.entries, len(ledger.names)) for ledger in (before, after))
    return not holds.has_all_ids(held)


class SyncTally:
    """What a pass counts, and the first few of what it shows."""

    def __init__(self, staged: Staged) -> None:
        self._staged = staged
        self.written = self.deleted = self.unchanged = self.conflicting = 0
        self.failed = staged.failed
        self.failures = staged.failures
        self.shown: tuple[ConflictingPoint, ...] = ()
        self.hidden = self.gave_up = self.expects_late = False
        self.withheld = ""
        self.owned = self.leaving = self.leaving_hashes = 0
        self.owned_before: int | None = None
        """What the ledger says; see `Ledger.owned`."""

    async def add(self, store: LedgerStore, view: View, stolen: Sequence[PointId] = ()) -> None:
        """What was found of a part. stolen: ids that somebody took while they were being written."""
        self.unchanged += view.diff.unchanged
        self.hidden = self.hidden or bool(view.hidden)
        self.withheld = self.withheld or view.withheld
        self.expects_late = self.expects_late or view.ours.late is not None
        self.add_leaving(view)
        conflicts = (*view.diff.conflicts, *stolen)
        self.conflicting += len(conflicts)
        shown = conflicts[: SHOWN - len(self.shown)]
        asked = view.asked
        if not asked.held.keys() >= set(shown):
            asked = await find_holders(store, shown)
        holders = {**asked.moving, **asked.held}
        points = view.declaration.points
        self.shown += tuple(ConflictingPoint(id, points[id].shown_id, holders.get(id, "")) for id in shown)

    def add_leaving(self, view: View) -> None:
        """What leaves a part, and how many points are the set's own."""
        self.owned += len(view.ours.entries)
        if view.ledger is not None:
            self.owned_before = view.ledger.owned
        self.leaving += len(view.diff.delete)
        self.leaving_hashes = (self.leaving_hashes + sum(hash_ids(view.diff.delete))) % 2**64

    def add_failures(self, failures: Sequence[Failure]) -> None:
        """What could not be written."""
        self.failed += len(failures)
        self.failures += tuple(failures[: SHOWN - len(self.failures)])

    def too_many(self, percent: int) -> HeldDeletions | None:
        """The deletions, if they are more than `percent` of the set's own points.

        What was inserted since a pass last ended, while deletions were held back or before one gave way, must not let
        them go.
        """
        owned = min(self.owned, self.owned_before) if self.owned_before is not None else self.owned
        if 100 * self.leaving <= percent * owned:
            return None
        return HeldDeletions(self.leaving, owned, f"{self.leaving_hashes:016x}")

    def conclude(self, *, rebuilt: bool, bound: bool, held: HeldDeletions | None) -> Synced:
        """The pass is done with all that is to be seen. Raises Transient Progressing if something is hidden."""
        if self.hidden:
            raise Transient(
                Reason.PROGRESSING,
                "Qdrant hides points until it has optimized them (prevent_unoptimized), so whether some are missing "
                "cannot be told yet; looking again",
                retry_after=HIDDEN_SECONDS,
            )
        counts = {"unchanged": self.unchanged, "failed": self.failed, "conflicting": self.conflicting}
        for outcome, count in counts.items():
            metrics.POINT_OUTCOMES.labels(outcome).inc(count)
        return Synced(
            self._staged.total,
            self._staged.complete,
            self.written,
            self.deleted,
            self.unchanged,
            self.failed,
            self.failures,
            self.conflicting,
            self.shown,
            rebuilt=rebuilt,
            bound=bound,
            gave_up=self.gave_up,
            withheld=self.withheld,
            held_deletions=held,
        )


@dataclass(frozen=True, slots=True)
class Leaving:
    """What is to be deleted of one part when all parts are written."""

    part: Part
    ledger: Ledger | None
    """As the first walk left it; None with several parts: nothing of them is kept, and they are compared again."""
    delete: tuple[PointId, ...] = ()
    forget: tuple[PointId, ...] = ()


async def sync(
    store: LedgerStore,
    target: Target,
    staged: Staged,
    embed: Embed | None = None,
    given_up: GivenUp = nothing_given_up,
    *,
    pace: AtSafePoint = go_on,
    progress: PassProgress | None = None,
    max_delete_percent: int = 100,
    revision: str = "",
) -> Synced:
    """One pass. Raises what `Database`, `embed` and `pace` raise; then the next pass does the rest.

    embed: of the embedders that the points were declared with; None if there are none.
    pace: called between two windows, and after a part of which something was written or deleted; what it raises ends
    the pass there.
    max_delete_percent: of the set's own points; if more would be deleted, none is, until the target approves.
    revision: of the source; the ledger has it once everything is as declared.
    """
    with collection_may_go():
        this = Pass(store, target, staged, given_up)
        await this.find_ledger()
        await this.judge_all()
        if this.verdict is not None and this.verdict.replaced is not None and not this.verdict.bound:
            return _held_back(this.verdict.replaced, staged)
        await this.grow()
        if this.first is not None and revision not in ("", this.first.revision):
            await this.take_first()
        walk = Walk(this, SyncTally(staged), embed, pace, progress or PassProgress())
        synced = replace(await walk.go(max_delete_percent), reused=walk.reused)
        # What arrives late would make it untrue.
        whole = revision if synced.synced_whole(staged) and not walk.expects_late else ""
        await this.record_end(synced, whole, max_delete_percent)
        return synced


class Walk:
    """Both walks over the parts of one pass: the first writes, the second deletes."""

    def __init__(
        self, this: Pass, tally: SyncTally, embed: Embed | None, pace: AtSafePoint, progress: PassProgress
    ) -> None:
        self._pass = this
        self._tally = tally
        self._embed = embed
        self._reuse = Reuse(this.target.vectors_from, this.target.schema)
        self._pace = pace
        self._progress = progress
        self._leaving: list[Leaving] = []
        self._stopped: dict[int, View] = {}
        """By number, parts for which Qdrant had no room."""
        self._embedding = asyncio.Lock()
        """Held while texts are embedded: should the process be killed, those of one window are embedded again."""
        self._rebuilt = self._bound = self._failed = self._approved = False

    @property
    def expects_late(self) -> bool:
        """May a write arrive that an earlier pass, or another process, gave up?"""
        return self._tally.expects_late

    @property
    def reused(self) -> int:
        """See `Synced`."""
        return self._reuse.reused

    async def go(self, max_delete_percent: int) -> Synced:
        """Raises what `sync` raises."""
        this, tally = self._pass, self._tally
        numbers = range(len(this.parts))
        self._progress.begin("Writing", this.staged.total)
        try:
            # The first one finds out, or makes, what is the same for all.
            replaced = await self._write(0) or await _first_result(self._write, numbers[1:])
        except OutOfSpace:
            # What leaves the set makes room.
            await self._make_room(max_delete_percent)
            raise
        if replaced is not None:
            return _held_back(replaced, this.staged)
        await this.restate_head()
        held = tally.too_many(max_delete_percent)
        if held is not None and not await this.target.approves(held.digest):
            return tally.conclude(rebuilt=self._rebuilt, bound=self._bound, held=held)
        self._approved = held is not None
        self._progress.begin("Deleting", tally.leaving)
        for leaving in sorted(self._leaving, key=lambda each: each.part):
            await self._delete(leaving)
        done = tally.conclude(rebuilt=self._rebuilt, bound=self._bound, held=None)
        return replace(done, deletions_approved=self._approved)

    async def _write(self, number: int) -> Replaced | None:
        """What is new or changed in one part. Returns why nothing may be written, if that is so."""
        this, tally, part = self._pass, self._tally, self._pass.parts[number]
        view = await this.compare_part(part)
        if this.first is None:
            await _require_not_users(this, view)
        self._rebuilt, self._bound = view.ours.rebuilt, self._bound or view.bound
        if view.replaced is None and view.nothing_to_write:
            await tally.add(this.at(part), view)
            self._progress.done += len(view.ours.entries)
            return None
        before = view.ledger
        try:
            if not view.held_back:
                part, view = await this.make_ours(part, view)
            if view.held_back:
                return view.replaced
            self._require_going_on()
            store, schema, reuse = this.at(part), this.target.schema, self._reuse
            known, found = await write_known(store, schema, view.ours, view.diff, reuse)
            async with self._embedding if found.has_texts else nullcontext():
                self._require_going_on()
                done = known.join(
                    await write_part(store, schema, known.ledger, found, self._embed, self._safe_point, reuse.fill)
                )
        except OutOfSpace:
            self._stopped[number] = view
            raise
        except BaseException:
            self._failed = True
            raise
        written = len(view.diff.insert) + len(view.diff.change) - len(done.failures) - len(done.stolen)
        tally.written += written
        tally.add_failures(done.failures)
        await tally.add(this.at(part), view, done.stolen)
        if view.leaving:
            kept = Leaving(part, done.ledger, view.diff.delete, view.diff.forget)
            self._leaving.append(Leaving(part, None) if part.bits else kept)
        tally.gave_up = tally.gave_up or view.leaving or (before is not None and _gave_up(before, done.ledger))
        self._progress.done += len(done.ledger.entries)
        # The next pass begins with the first part again: one that gave way before it wrote anything might never reach
        # the last.
        if part.bits and written:
            await self._pace()
        return None

    async def _safe_point(self) -> None:
        self._require_going_on()
        await self._pace()

    def _require_going_on(self) -> None:
        if self._failed or self._stopped:
            raise GaveWay("another part of the set could not be written")

    async def _make_room(self, max_delete_percent: int) -> None:
        """Deletes what leaves the set, of all parts, on a server that takes no more data; but not more than may be."""
        this, tally = self._pass, SyncTally(self._pass.staged)
        ours = {leaving.part.number for leaving in self._leaving}
        leaving: list[tuple[Part, Ledger | None, tuple[PointId, ...]]] = []
        for part in this.parts:
            view = self._stopped.get(part.number) or await this.compare_part(part, again=True)
            if part.number in ours and view.ledger is not None and view.ledger.token != this.store.writer:
                raise written_meanwhile()
            tally.add_leaving(view)
            leaving.append((part, view.ledger, view.diff.delete))
        held = tally.too_many(max_delete_percent)
        if held is None or await this.target.approves(held.digest):
            for part, ledger, ids in leaving:
                await delete_unrecorded(this.at(part), this.target.collection, ledger, ids)

    async def _delete(self, leaving: Leaving) -> None:
        this, store = self._pass, self._pass.at(leaving.part)
        ledger = leaving.ledger
        if ledger is None:
            view = await this.compare_part(leaving.part, again=True)
            ledger, leaving = view.ledger, replace(leaving, delete=view.diff.delete, forget=view.diff.forget)
        if ledger is None or ledger.token != store.writer or ledger.pending is not None:
            raise written_meanwhile()
        deleted = await delete_part(store, this.target.collection, ledger, leaving.delete, leaving.forget)
        self._tally.deleted += deleted
        self._progress.done += len(leaving.delete)
        # What is left of deletions that a person approved would be another plan.
        if leaving.part.bits and deleted and not self._approved:
            await self._pace()


async def _first_result(work: Callable[[int], Awaitable[Result | None]], numbers: Iterable[int]) -> Result | None:
    """Does the work for each number, `PARTS_AT_ONCE` at a time, until one has a result or raises. Then no more is
    begun, and what is under way still ends.
    """
    following, running, errors = iter(numbers), set[asyncio.Future[Result | None]](), list[BaseException]()
    result: Result | None = None
    try:
        while True:
            while result is None and not errors and len(running) < PARTS_AT_ONCE:
                if (number := next(following, None)) is None:
                    break
                running.add(asyncio.ensure_future(work(number)))
            if not running:
                break
            done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            errors += [error for each in done if (error := each.exception()) is not None]
            result = result or next((each.result() for each in done if not each.exception() and each.result()), None)
    finally:
        for each in running:
            each.cancel()
        await asyncio.gather(*running, return_exceptions=True)
    if errors:
        # What is wrong says more than that something else was to come first.
        raise next((error for error in errors if not isinstance(error, GaveWay)), errors[0])
    return result


async def _require_not_users(this: Pass, view: View) -> None:
    """A collection of its user's names no ledger: what looks like another writer's point may be our own."""
    if this.target.registered is None and view.diff.conflicts:
        await _require_not_elsewhere(this.store, await ledger_collections(this.store.database))


def _held_back(replaced: Replaced, staged: Staged) -> Synced:
    return Synced(
        staged.total,
        staged.complete,
        failed=staged.failed,
        failures=staged.failures,
        replaced=replaced,
        steps=tuple(replaced.steps(staged.shown_ids(replaced.ids))),
    )


async def preview_views(
    store: LedgerStore, target: Target, staged: Staged, given_up: GivenUp = nothing_given_up
) -> AsyncIterator[View]:
    """What a pass would find, and do, of each part, one after another; writes nothing.

    Raises Terminal InvalidSpec if the ledger is in another collection, LedgerDamaged, LedgerUnreadable.
    """
    this = Pass(store, target, staged, given_up)
    await this.find_ledger()
    await this.judge_all()
    async for view in this.compare_grown() if this.must_grow else this.compare_parts():
        if this.first is None:
            await _require_not_users(this, view)
        yield view


async def read_sure(store: LedgerStore) -> Ledger | None:
    """The ledger. Raises what `LedgerStore.read` raises, if it can be sure of it."""
    try:
        return await store.read()
    except Terminal:
        await require_replayed(store.database)
        raise


@contextmanager
def collection_may_go() -> Iterator[None]:
    """The collection, or a point that we are changing, may go away under our hands: then it helps to try again."""
    try:
        yield
    except Rejected as error:
        if error.status in BAD_CONTENT:
            raise
        raise Transient(Reason.COLLECTION_NOT_READY, f"the collection changed meanwhile: {error.message}") from error


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
