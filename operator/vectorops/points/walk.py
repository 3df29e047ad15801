"""Both walks over the parts of a set: the first inserts and changes points, two parts at a time, the second deletes, so
that nothing is deleted before what takes its place was written.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from vectorops.errors import GaveWay, OutOfSpace
from vectorops.ledger.entries import Entries
from vectorops.ledger.records import Ledger, Part
from vectorops.points.embedding import AtSafePoint, Embed
from vectorops.points.part import View, delete_part, delete_unrecorded, write_known, write_part, written_meanwhile
from vectorops.points.pass_progress import PassProgress
from vectorops.points.replaced import Replaced
from vectorops.points.reuse import Reuse
from vectorops.points.sync_pass import Pass, require_not_users
from vectorops.points.synced import Synced, SyncTally, report_replaced
from vectorops.qdrant.database import PointId

PARTS_AT_ONCE: Final = 2
"""Parts that are written at the same time: while one waits for its ledger, the other one writes points."""

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Leaving:
    """What is to be deleted of one part when all parts are written."""

    part: Part
    ledger: Ledger | None
    """As the first walk left it; None with several parts: nothing of them is kept, and they are compared again."""
    delete: tuple[PointId, ...] = ()
    forget: tuple[PointId, ...] = ()


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
            return report_replaced(replaced, this.staged)
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
            await require_not_users(this, view)
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


def _gave_up(before: Ledger, after: Ledger) -> bool:
    """Are there ids that a part had, and no longer has?"""
    held, holds = (Entries.of(ledger.entries, len(ledger.names)) for ledger in (before, after))
    return not holds.has_all_ids(held)
