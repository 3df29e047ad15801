"""Carries out what `collections.next_move` decides about the collections behind an alias, and tells how far it is.

One step at a time: after each the next reconciliation sees what is there, and decides anew. A mark says what is about
to be true before an alias makes it true, so a process that was killed between the two is understood by the next one.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final

from vectorops.api.checks import Checks, ChecksStatus
from vectorops.api.collection import PlanStatus, QdrantCollectionSpec, QdrantCollectionStatus
from vectorops.api.meta import APPROVE_PLAN, ROLL_BACK, Condition, JsonObject, Resource
from vectorops.api.migration import Filled, MigrationEnd, MigrationPhase, MigrationStatus
from vectorops.api.reasons import Reason
from vectorops.collections.apply import apply_plan
from vectorops.collections.last_applied import LastApplied
from vectorops.collections.next_move import (
    Abandon,
    Physical,
    Proceed,
    Retire,
    RollBack,
    Settle,
    Start,
    answered,
    print_time,
    rolled_back_from,
)
from vectorops.collections.room import find_room
from vectorops.collections.steps import lines_of
from vectorops.errors import Transient
from vectorops.ledger.collection import delete_ledgers_of
from vectorops.points.others import Copied, OthersCopy, count_about, count_others
from vectorops.qdrant.marks import Mark
from vectorops.qdrant.observe import Observed, read_mark
from vectorops.reconcilers import approvals
from vectorops.reconcilers.base import Context, Outcome
from vectorops.reconcilers.checking import run_checks
from vectorops.reconcilers.decide import Decision, Migrating
from vectorops.reconcilers.dependencies import Access
from vectorops.reconcilers.filling import find_filling
from vectorops.reconcilers.foreign_points import copy_between, describe_copied, ledgered, log_copied
from vectorops.reconcilers.migration_limit import MigrationLimit
from vectorops.reconcilers.pace import Pace
from vectorops.reconcilers.snapshots import keep_snapshot
from vectorops.reconcilers.spec import RawSpec
from vectorops.reconcilers.status import conditions
from vectorops.words import counted

logger = logging.getLogger(__name__)

MOST_PASSES: Final = 3
"""Passes over others' points before readers are moved."""
FEW_POINTS: Final = 1000
"""So many that a last pass wrote are no reason for another one."""
FILLING_SECONDS: Final = 10.0
"""When a collection that is being filled is looked at, should no set wake it."""


async def delete_collection(context: Context, resource: Resource, access: Access, name: str) -> None:
    """Deletes a physical collection, if it is still ours, with the ledgers of its points."""
    database = access.database
    mark = await read_mark(database, name)
    if mark is None or not mark.belongs_to(context.installation, resource.ref):
        return
    if RawSpec(resource).is_aliased:
        # No ledger follows these, as it does where a collection of the same name is made again. Twice: a set that is
        # being written just now may make its ledger again in between.
        await delete_ledgers_of(database, access.ledger_collection, name, mark.incarnation)
    await database.delete_collection(name)
    if RawSpec(resource).is_aliased:
        await delete_ledgers_of(database, access.ledger_collection, name, mark.incarnation)
    logger.info("collection deleted", extra={"resource": str(resource.ref), "collection": name})


@dataclass(frozen=True, slots=True)
class Migrator:
    """One reconciliation of a collection behind an alias, after what can be done in place was done."""

    context: Context
    resource: Resource
    spec: QdrantCollectionSpec
    decision: Decision
    migrating: Migrating
    mark: Mark
    """Of the active collection, as stored."""
    limit: MigrationLimit
    answer: Outcome
    """About the active collection."""

    @property
    def access(self) -> Access:
        return self.decision.access

    @property
    def active(self) -> Observed:
        return self.decision.found

    @property
    def blocks_others(self) -> bool:
        """Must there be no points that no PointSet declares?"""
        return self.spec.migration_settings.effective_others_points == "Block"

    @property
    def copies_others(self) -> bool:
        """Are points that no PointSet declares copied?"""
        return self.spec.migration_settings.effective_others_points == "Copy"

    @property
    def _pace(self) -> Pace:
        return Pace(self.context.cluster, self.resource, self.context.turn)

    async def carry_on(self) -> Outcome:
        """Does the next step, and returns the answer with what there is to tell of it."""
        match self.migrating.move:
            case Settle(until):
                return self._settled(until)
            case Abandon(names):
                for name in names:
                    await self._delete_unused(name)
                return self._again("a collection that is not needed any more was deleted")
            case Retire(name):
                return await self._retire(name)
            case RollBack(to):
                return await self._roll_back(to)
            case Start():
                return await self._start()
            case Proceed():
                return await self._proceed()

    # ---- before the switch ----

    async def _start(self) -> Outcome:
        candidate, standing = self._candidate, self.migrating.standing
        if self.blocks_others and (count := await count_about(ledgered(self.access, self.active))):
            return self._blocked(self._others_words(count))
        if self.migrating.is_held:
            return self._held()
        room = await find_room(self.access.database, candidate.wanted, self.active)
        if room.refusal:
            return self._blocked(room.refusal)
        async with self.limit.start(self.context, self.resource, self.access.database):
            await apply_plan(self.access.database, candidate.plan, candidate.mark)
        logger.info(
            "migration started",
            extra={"resource": str(self.resource.ref), "from": self.active.name, "to": candidate.wanted.name},
        )
        if standing.is_rolled_back:
            await self._write_mark(replace(self.mark, rolled_back={}))
        return self._again(f"collection {candidate.wanted.name!r} was created")

    async def _proceed(self) -> Outcome:
        candidate, standing = self._candidate, self.migrating.standing
        if self.migrating.is_held:
            return self._held()
        if standing.is_rolled_back:
            await self._write_mark(replace(self.mark, rolled_back={}))
            return self._again("the change is approved")
        if candidate.plan.doable:
            applied = await apply_plan(self.access.database, candidate.plan, candidate.mark)
            left = "; ".join(lines_of(applied.plan.doable))
            return self._again(f"collection {candidate.found.name!r} is made as declared{f': {left}' if left else ''}")
        await self._carry_over()
        if (waiting := await self._fill()) is not None:
            return waiting
        if self.spec.checks is not None:
            return await self._check(self.spec.checks)
        await self._switch(candidate)
        return self._again("readers were moved")

    async def _carry_over(self) -> None:
        """Payload indexes and shard keys that others made are made in the candidate, too."""
        database, candidate, last = self.access.database, self._candidate, LastApplied.from_json(self.mark.last_applied)
        for path in sorted(self.active.indexes.keys() - candidate.found.indexes.keys() - last.indexes):
            await database.create_index(candidate.found.name, path, self.active.indexes[path])
        if not candidate.found.is_sharded_by_key:
            return
        for key in self.active.shard_keys.keys() - candidate.found.shard_keys.keys() - last.shard_keys:
            shards = self.active.shard_keys[key]
            options = {"shards_number": shards.shards, "replication_factor": shards.replicas}
            await database.create_shard_key(candidate.found.name, key, options)

    async def _fill(self) -> Outcome | None:
        """None if the candidate has all points that it is to have."""
        leaves = self.spec.migration_settings.effective_others_points == "Leave"
        candidate = self._candidate.found
        filling = await find_filling(self.context, self.resource, self.active, candidate, leaves=leaves)
        if not filling.is_whole:
            if filling.has_conflicts and self.copies_others:
                await self._copy_between(self.active, candidate).remove_stale()
            new = self._candidate.physical
            message = f"collection {new.name!r} is being filled; not yet by: {filling.describe()}"
            filled = Filled(point_sets=filling.done, of=filling.point_sets)
            status = self._status("Filling", self.migrating.standing.active, new, filled=filled, message=message)
            is_blocked = bool(filling.blocked)
            reason = Reason.MIGRATION_BLOCKED if is_blocked else Reason.MIGRATING
            found = conditions(False, reason, message, stalled=is_blocked, reconciling=not is_blocked)
            outcome = self._outcome(found, {"migration": status}, requeue_after=FILLING_SECONDS)
            return replace(outcome, rests_on=outcome.rests_on | filling.rests_on)
        if self.blocks_others and (count := await count_others(ledgered(self.access, self.active), self._pace.point)):
            return self._blocked(self._others_words(count))
        if self.copies_others:
            # Until a pass finds little to do: others may write all the while.
            for _ in range(MOST_PASSES):
                copied = await self._copy_between(self.active, candidate).copy()
                log_copied(self.resource, copied)
                if copied.written + copied.removed <= FEW_POINTS:
                    break
            await self._tell_of_others(copied)
        return None

    def _copy_between(self, old: Observed, new: Observed) -> OthersCopy:
        return copy_between(self.context, self.resource, self.spec.migration_settings, self.access, old, new)

    async def _copy_late(self, old: Observed, new: Observed) -> None:
        """What others brought into the old collection since the last pass."""
        copied = await self._copy_between(old, new).copy_late()
        log_copied(self.resource, copied)
        await self._tell_of_others(copied)

    async def _tell_of_others(self, copied: Copied) -> None:
        if words := describe_copied(copied):
            await self.context.cluster.event(self.resource, "OthersPoints", words, warning=True)

    async def _check(self, declared: Checks) -> Outcome:
        """Moves readers if the candidate answers well enough, or if a person has agreed to move them all the same."""
        candidate, database = self._candidate, self.access.database
        checks = await run_checks(self.context, self.resource, declared, database, new=candidate.found, old=self.active)
        new = candidate.physical
        words = f"collection {new.name!r} answers its checks as it should"
        status = self._status("Checking", self.migrating.standing.active, new, message=words, checks=checks)
        if checks.result == "Failed":
            digest = approvals.digest_to_approve("switch", new.incarnation)
            approval = await approvals.approval(self.context, self.resource, digest, database, self.active.name)
            if not approval.given:
                words = f"{'; '.join(checks.failures)}; readers stay. {approval.how} to move them all the same"
                steps = ["move all aliases to the new collection, although it missed thresholds of its checks"]
                plan = PlanStatus(hash=approval.hash, nonce=approval.nonce, steps=steps, destructive=False)
                found = conditions(False, Reason.CHECKS_FAILED, words, stalled=True)
                return self._outcome(found, {"migration": status.model_copy(update={"message": words}), "plan": plan})
        await self._switch(candidate)
        return self._again("readers were moved", {"migration": status})

    async def _switch(self, candidate: Decision) -> None:
        """Moves readers. The mark first, so that what served last is known whatever happens in between."""
        database, new, old = self.access.database, candidate.found.name, self.active.name
        asked = approvals.roll_back(self.context, self.resource, candidate.mark.incarnation)
        mark = replace(
            candidate.mark,
            switched_at=print_time(self.context.now()),
            rolled_back=answered(asked if asked == candidate.mark.incarnation else ""),
            last_applied={
                **candidate.mark.last_applied,
                "aliases": self.mark.last_applied.get("aliases", []),
            },
        )
        await self._write_mark(mark)
        if not self.migrating.standing.is_direct:
            await self._move_aliases(old, new)
            if self.copies_others:
                await self._copy_late(self.active, candidate.found)
            await self._announce("Switched", f"readers were moved from collection {old!r} to {new!r}")
            return
        # All but the name itself can be moved before.
        if further := sorted(alias for alias, holder in (await database.aliases()).items() if holder == old):
            await database.move_aliases(further, new)
        if self.copies_others:
            await self._copy_between(self.active, candidate.found).copy()
        if self.spec.effective_snapshot_before:
            occasion = f"retire {self.mark.incarnation}"
            await keep_snapshot(self.context, self.resource, database, old, occasion)
        began = time.monotonic()
        await delete_collection(self.context, self.resource, self.access, old)
        await database.move_aliases([self.migrating.placement.name], new)
        gap = time.monotonic() - began
        await self._announce(
            "Switched", f"collection {old!r} became an alias of {new!r}; readers found neither for {gap:.2f} s"
        )

    async def _move_aliases(self, old: str, new: str) -> None:
        """All aliases that lead to the one collection lead to the other then, after one request."""
        holders = await self.access.database.aliases()
        alias = self.migrating.placement.name
        if holders.get(alias, old) != old:
            raise Transient(Reason.PROGRESSING, f"alias {alias!r} was moved meanwhile; looking again")
        moved = {alias, *(name for name, holder in holders.items() if holder == old)}
        await self.access.database.move_aliases(sorted(moved), new)

    # ---- after the switch ----

    async def _roll_back(self, to: str) -> Outcome:
        found = next(one for one in self.migrating.placement.others if one.name == to)
        assert found.mark is not None, "its mark says that it is ours"
        mark = replace(
            found.mark,
            switched_at=print_time(self.context.now()),
            rolled_back=rolled_back_from(self.migrating.standing.target),
            last_applied={**found.mark.last_applied, "aliases": self.mark.last_applied.get("aliases", [])},
        )
        await self._write_mark(mark)
        await self._move_aliases(self.active.name, to)
        if self.copies_others:
            await self._copy_late(self.active, found)
        await self._announce("RolledBack", f"readers were moved back from collection {self.active.name!r} to {to!r}")
        return self._again("readers were moved back")

    async def _retire(self, name: str) -> Outcome:
        approval = self.migrating.approval
        if approval is not None and not approval.given:
            step = f"delete the old collection {name!r} with all its points"
            plan = PlanStatus(hash=approval.hash, nonce=approval.nonce, steps=[step], destructive=True)
            words = f"migration.retire is Manual: collection {name!r} is kept until you {approval.how}"
            return self._outcome(None, {"migration": self._grace_period(name, words), "plan": plan})
        if leading := [alias for alias, holder in (await self.access.database.aliases()).items() if holder == name]:
            words = (
                f"alias {min(leading)!r} leads to the old collection {name!r}, so it is kept: move or delete the alias"
            )
            return self._outcome(None, {"migration": self._grace_period(name, words)})
        old = next(one for one in self.migrating.placement.others if one.name == name)
        if self.blocks_others and (count := await self._copy_between(old, self.active).count_missing()):
            words = (
                f"{counted(count, 'point')} of others came into the old collection {name!r} after readers were moved, "
                "so it is kept: declare or delete them, or set migration.othersPoints to Copy or Leave"
            )
            return self._outcome(None, {"migration": self._grace_period(name, words)})
        if self.spec.effective_snapshot_before and old.mark is not None:
            occasion = f"retire {old.mark.incarnation}"
            await keep_snapshot(self.context, self.resource, self.access.database, name, occasion)
        await self._delete_unused(name)
        await self._announce("Retired", f"the old collection {name!r} was deleted")
        return self._again(f"the old collection {name!r} was deleted")

    async def _delete_unused(self, name: str) -> None:
        """Deletes a collection of ours that no alias leads to."""
        if name in (await self.access.database.aliases()).values():
            raise Transient(Reason.PROGRESSING, f"an alias leads to collection {name!r} by now; looking again")
        await delete_collection(self.context, self.resource, self.access, name)

    async def _write_mark(self, mark: Mark) -> None:
        await self.access.database.update_collection(mark.collection, {"metadata": mark.metadata()})

    async def _announce(self, reason: str, message: str) -> None:
        logger.info(message, extra={"resource": str(self.resource.ref), "reason": reason})
        await self.context.cluster.event(self.resource, reason, message, warning=False)

    # ---- what is told ----

    @property
    def _candidate(self) -> Decision:
        assert self.migrating.candidate is not None, "the move is about one"
        return self.migrating.candidate

    @property
    def _made_candidate(self) -> Physical | None:
        """None while it is not made: each look would draw another name for it."""
        return self._candidate.physical if self._candidate.found.exists else None

    def _again(self, message: str, update: Mapping[str, Any] = MappingProxyType({})) -> Outcome:
        """The status after a step, and the next one at once."""
        found = conditions(False, Reason.MIGRATING, message, reconciling=True)
        is_approved = self.migrating.approval is not None and self.migrating.approval.given
        handled = {"last_handled_approve_plan": self.resource.meta.annotations.get(APPROVE_PLAN)}
        return self._outcome(found, {**update, **(handled if is_approved else {})}, requeue_after=0.0)

    def _others_words(self, count: int) -> str:
        return (
            f"collection {self.active.name!r} has {counted(count, 'point')} that no PointSet declares: declare or "
            "delete them, or say with migration.othersPoints whether they are copied (Copy) or left behind (Leave)"
        )

    def _blocked(self, message: str) -> Outcome:
        """The migration cannot go on."""
        standing, new = self.migrating.standing, self._made_candidate
        phase: MigrationPhase = "Filling" if self._candidate.found.exists else "Held"
        status = self._status(phase, standing.active, new, message=message)
        found = conditions(False, Reason.MIGRATION_BLOCKED, message, stalled=True)
        return self._outcome(found, {"migration": status})

    def _settled(self, until: datetime | None) -> Outcome:
        """until: the end of the grace period; None: there is no old collection."""
        if until is None:
            return self._outcome(None, {"migration": None})
        standing = self.migrating.standing
        old = standing.retired[0].name
        words = (
            f"collection {old!r} is kept current until {until:%Y-%m-%dT%H:%MZ}, and deleted then; "
            f"to move readers back, {self._how_to_roll_back()}"
        )
        seconds = max((until - standing.now).total_seconds(), 1.0)
        return self._outcome(None, {"migration": self._grace_period(old, words)}, requeue_after=seconds)

    def _grace_period(self, name: str, message: str) -> MigrationStatus:
        """name: of the old collection."""
        standing = self.migrating.standing
        since = standing.active.switched_at
        old = next(one for one in standing.others if one.name == name)
        return self._status("GracePeriod", old, standing.active, since=since, message=message)

    def _held(self) -> Outcome:
        """The migration waits for approval."""
        candidate, standing, approval = self._candidate, self.migrating.standing, self.migrating.approval
        assert approval is not None, "it is held"
        if standing.is_rolled_back:
            reason, why = Reason.ROLLED_BACK, "readers were moved back from what is declared"
        else:
            lines = lines_of(self.migrating.held_back)
            reason, why = Reason.PLAN_HELD_BACK, lines[0] if lines else "the name is to become an alias"
        phase: MigrationPhase = "RolledBack" if standing.is_rolled_back else "Held"
        message = f"{why}; {approval.how} to migrate, or take the change back"
        status = self._status(phase, standing.active, self._made_candidate, message=message)
        steps = describe_migration(self.spec, self.migrating)
        plan = PlanStatus(hash=approval.hash, nonce=approval.nonce, steps=steps, destructive=standing.is_direct)
        found = conditions(False, reason, message, stalled=True)
        again = None
        if standing.is_rolled_back and candidate.found.exists and standing.retire_at > standing.now:
            again = max((standing.retire_at - standing.now).total_seconds(), 1.0)
        return self._outcome(found, {"migration": status, "plan": plan}, requeue_after=again)

    def _how_to_roll_back(self) -> str:
        incarnation = self.migrating.standing.active.incarnation
        if self.context.grants is not None:
            return f"run once more with --roll-back {incarnation}"
        if self.resource.meta.annotations.get(ROLL_BACK) == incarnation:
            return f"remove the annotation {ROLL_BACK}, and then set it to {incarnation} again"
        return f"set the annotation {ROLL_BACK}: {incarnation}"

    def _status(
        self,
        phase: MigrationPhase,
        old: Physical,
        new: Physical | None,
        *,
        message: str,
        filled: Filled | None = None,
        checks: ChecksStatus | None = None,
        since: str = "",
    ) -> MigrationStatus:
        before: JsonObject = self.resource.status.get("migration") or {}
        to = MigrationEnd(name=new.name, incarnation=new.incarnation) if new is not None else None
        is_same = before.get("to") == (to.dump() if to is not None else None)
        known = before.get("since") if is_same and before.get("phase") == phase else None
        began = since or known or print_time(self.context.now())
        if is_same and before.get("checks"):
            checks = _unless_as_before(checks, ChecksStatus.model_validate(before["checks"]))
        return MigrationStatus(
            phase=phase,
            from_=MigrationEnd(name=old.name, incarnation=old.incarnation),
            to=to,
            filled=filled,
            checks=checks,
            since=began,
            message=message,
        )

    def _outcome(
        self, found: Sequence[Condition] | None, update: dict[str, Any], *, requeue_after: float | None = None
    ) -> Outcome:
        """The answer about the active collection, with these changes. found: conditions in place of Ready and what
        explains it; None: they stay.
        """
        status = self.answer.status
        assert isinstance(status, QdrantCollectionStatus)
        kept = status.conditions
        if found is not None and (kept[0].status == "True" or kept[0].reason == Reason.PLAN_HELD_BACK.value):
            explained = {"Ready", "Reconciling", "Stalled"}
            kept = [*found, *(one for one in kept if one.type not in explained)]
        changes = {"conditions": kept, **update}
        times = [seconds for seconds in (self.answer.requeue_after, requeue_after) if seconds is not None]
        return replace(self.answer, status=status.model_copy(update=changes), requeue_after=min(times, default=None))


def describe_migration(spec: QdrantCollectionSpec, migrating: Migrating) -> list[str]:
    """The steps of a migration, for people."""
    candidate, settings = migrating.candidate, spec.migration_settings
    assert candidate is not None, "the move is about one"
    old = migrating.standing.active.name
    is_made = candidate.found.exists
    made = (
        f"use collection {candidate.wanted.name}" if is_made else f"create collection {migrating.placement.name}-<id>"
    )
    lines = [
        f"{made} beside {old}, with all settings",
        *(f"  {line}" for line in lines_of(migrating.held_back)),
        "fill it with the points of all PointSets, which go on to keep the old one current",
        *(["run the checks on both"] if spec.checks is not None else []),
    ]
    if migrating.standing.is_direct:
        return [
            *lines,
            f"delete collection {old}, create alias {old}: for a moment readers find neither, and there is no way back",
        ]
    then = "delete it" if settings.effective_retire == "Auto" else "delete it when that is approved"
    return [
        *lines,
        "move all aliases to it in one request",
        f"keep {old} current for {settings.effective_grace_period}, then {then}",
    ]


def _unless_as_before(checks: ChecksStatus | None, before: ChecksStatus) -> ChecksStatus:
    """The older of two results that say the same: times differ each time, and no status is written for them."""
    if checks is None:
        return before

    def said(status: ChecksStatus) -> list[Any]:
        measured = [(one.collection, one.recall, one.mrr, one.overlap) for one in status.measured]
        return [status.result, status.queries, len(status.failures), measured]

    return before if said(checks) == said(before) else checks
