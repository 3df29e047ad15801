"""QdrantCollection: is the collection as declared? `decide` says what is to be done; this module carries it out, and
tells how things are.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from vectorops.api.collection import PhysicalCollection, PlanStatus, QdrantCollectionSpec, QdrantCollectionStatus
from vectorops.api.meta import APPROVE_PLAN, POINT_SET, TAKE_OVER_FROM, Condition, Ref, Resource
from vectorops.api.reasons import Reason
from vectorops.collections.apply import apply_plan
from vectorops.collections.locks import locks_of
from vectorops.collections.plan import Plan
from vectorops.collections.resolve import schema_status
from vectorops.collections.steps import Action, Step
from vectorops.errors import GaveWay, Transient, VectorOpsError
from vectorops.qdrant.marks import Mark
from vectorops.qdrant.observe import Observed, read_mark
from vectorops.reconcilers import approvals
from vectorops.reconcilers.aliases import Aliases, hand_over
from vectorops.reconcilers.approvals import Approval
from vectorops.reconcilers.base import Context, Outcome
from vectorops.reconcilers.cleanup import finalize, has_left
from vectorops.reconcilers.decide import Decision, Inspection, decide, is_kept
from vectorops.reconcilers.dependencies import Access, cleanup_access, connection_ref
from vectorops.reconcilers.health import with_health
from vectorops.reconcilers.migration_limit import MigrationLimit
from vectorops.reconcilers.migrator import Migrator, delete_collection
from vectorops.reconcilers.placement import Placement, find_placement
from vectorops.reconcilers.quality_watch import QualityWatch
from vectorops.reconcilers.reader import keep_reader
from vectorops.reconcilers.references import target
from vectorops.reconcilers.replicas import Replicas
from vectorops.reconcilers.snapshots import keep_snapshot
from vectorops.reconcilers.spec import RawSpec, parse
from vectorops.reconcilers.status import conditions, suspended

logger = logging.getLogger(__name__)

NO_SHARD_KEY: Final = (
    "Qdrant changes no payload index of a collection with sharding_method: custom before it has a shard key; "
    "declare shardKeys"
)

SETS_SECONDS: Final = 1.0
"""How often to check whether the sets of a collection know of a plan that takes something from their points."""


class CollectionReconciler:
    """See `driver.Reconciler`. replicas, quality: of all collections, over time."""

    def __init__(self, replicas: Replicas | None = None, quality: QualityWatch | None = None) -> None:
        self._replicas = replicas or Replicas()
        self._quality = quality or QualityWatch()
        self._limit = MigrationLimit()

    async def reconcile(self, context: Context, resource: Resource) -> Outcome:
        spec = parse(QdrantCollectionSpec, resource)
        if spec.suspend:
            return Outcome(suspended(resource))
        decision = await decide(context, resource, spec)
        database = decision.access.database
        if isinstance(decision, Inspection):
            if decision.released_mark is not None:
                await database.update_collection(decision.found.name, {"metadata": decision.released_mark.metadata()})
            decision.require_as_declared()
            answer = _inspection_outcome(decision)
            answer = await self._replicas.judge(database, resource, spec, decision.found, answer)
            answer = with_health(answer, resource, decision.found.health)
            embedders = decision.wanted.embedders
            return await keep_reader(context, resource, spec, decision.access, decision.found, embedders, answer)

        resource = await context.cluster.set_finalizer(resource, True)
        await _take_over_beside(decision)
        if decision.reports_drift:
            if decision.reported_mark != decision.found.mark:
                await database.update_collection(decision.found.name, {"metadata": decision.reported_mark.metadata()})
            answer = _decision_outcome(resource, decision, decision.plan, decision.reported_mark, decision.approval)
            answer = await self._replicas.judge(database, resource, spec, decision.found, answer)
            answer = with_health(answer, resource, decision.found.health)
            return await self._carry_on(
                context, resource, spec, decision, decision.found, decision.reported_mark, answer
            )
        if (leaving := _steps_that_points_miss(decision)) and (sets := await _ready_sets(context, resource)):
            return _announce_plan(resource, decision, leaving, sets)
        approved = decision.approval.given
        if decision.granted and decision.plan.is_destructive and spec.effective_snapshot_before:
            await keep_snapshot(context, resource, database, decision.found.name, decision.approval.hash)
        applied = await apply_plan(database, decision.plan, decision.mark, approved=approved)
        if decision.plan.is_drift:
            await _announce_correction(context, resource, decision.plan)
        elif lines := [line for step in decision.steps for line in step.described()]:
            logger.info("collection changed", extra={"resource": str(resource.ref), "steps": lines})
        if applied.plan.doable:
            # Qdrant may show a deleted index for a moment. Or somebody else undoes what we do: the backoff keeps us
            # from fighting over it.
            left = "; ".join(line for step in applied.plan.doable for line in step.lines)
            raise Transient(Reason.PROGRESSING, f"not yet to be seen in collection {applied.observed.name!r}: {left}")
        # Behind an alias nothing is held back of this collection: another one is filled.
        remaining = replace(applied.plan, held_back=()) if spec.is_aliased else applied.plan
        approval = await approvals.approval(
            context, resource, remaining.hash, database, applied.observed.name, used=approved
        )
        answer = _decision_outcome(resource, decision, remaining, applied.mark, approval)
        may_pass = not decision.steps
        answer = await self._replicas.judge(database, resource, spec, applied.observed, answer, may_pass=may_pass)
        answer = with_health(answer, resource, applied.observed.health)
        answer = await self._quality.judge(
            context,
            resource,
            spec.checks,
            database,
            answer,
            served=applied.observed,
            old=decision.migration.served_before if decision.migration is not None else None,
        )
        return await self._carry_on(context, resource, spec, decision, applied.observed, applied.mark, answer)

    async def _carry_on(
        self,
        context: Context,
        resource: Resource,
        spec: QdrantCollectionSpec,
        decision: Decision,
        served: Observed,
        mark: Mark,
        answer: Outcome,
    ) -> Outcome:
        """The answer, after the next step of a migration if there is one. served: the collection that readers ask.
        mark: its mark as stored.
        """
        # First: a migration may delete the collection that readers ask until they have read this.
        answer = await keep_reader(context, resource, spec, decision.access, served, locks_of(mark), answer)
        if decision.migration is None:
            return answer
        migrator = Migrator(context, resource, spec, decision, decision.migration, mark, self._limit, answer)
        return await migrator.carry_on()

    async def finalize(self, context: Context, resource: Resource) -> Outcome:
        self._quality.forget(resource.ref)

        async def clean_up() -> Outcome | None:
            if RawSpec(resource).deletes:
                return await _delete(context, resource)
            await _release(context, resource)
            return None

        return await finalize(context, resource, clean_up)


async def _take_over_beside(decision: Decision) -> None:
    """What the former owner has beside the active collection comes with it. Before that one, so that a process that is
    killed in between does it again.
    """
    former = decision.migration.placement.former if decision.migration is not None else ()
    mark = decision.mark
    for one in former:
        assert one.mark is not None, "its mark says whose it is"
        taken_over = replace(
            one.mark,
            installation=mark.installation,
            namespace=mark.namespace,
            name=mark.name,
            uid=mark.uid,
            connection=mark.connection,
            connection_kind=mark.connection_kind,
            previous=mark.previous,
        )
        await decision.access.database.update_collection(one.name, {"metadata": taken_over.metadata()})
    if former:
        raise Transient(Reason.PROGRESSING, "collections beside the active one were taken over; looking again")


def _inspection_outcome(decision: Inspection) -> Outcome:
    """The answer for a collection that its user manages, and that is as declared."""
    message = f"collection {decision.wanted.name!r} is as declared"
    return Outcome(
        QdrantCollectionStatus(
            collection=PhysicalCollection(name=decision.wanted.name),
            schema_=schema_status(decision.wanted),
            plan=None,
            last_handled_take_over_from=None,
            last_handled_approve_plan=None,
            conditions=conditions(True, Reason.SUCCEEDED, message),
        )
    )


def _steps_that_points_miss(decision: Decision) -> Sequence[Step]:
    """The steps after which declared points lack something, until their sets were reconciled.

    Those that were approved; and where somebody deleted a vector, those that bring it back empty. (No set that is Ready
    declares a vector that is added for the first time.)
    """
    added = [step for step in decision.plan.doable if step.action is Action.CREATE_VECTOR]
    return decision.granted or (added if decision.plan.is_drift else ())


async def _ready_sets(context: Context, resource: Resource) -> frozenset[Ref]:
    """The sets that still say that their points are as declared."""
    listed = await context.cluster.list(POINT_SET, refers_to=resource.ref)
    found = [await context.cluster.get(one.ref) for one in listed]
    sets = [one for one in found if one is not None and target(one) == resource.ref]
    return frozenset(one.ref for one in sets if one.ready and not one.deleting and not RawSpec(one).is_suspended)


def _announce_plan(resource: Resource, decision: Decision, steps: Sequence[Step], sets: frozenset[Ref]) -> Outcome:
    """Something will be missing from the points: their sets say so first, and wake us."""
    waiting = ", ".join(sorted(ref.name for ref in sets))
    what = "the approved plan is carried out" if decision.granted else "a vector that somebody deleted is added"
    message = f"{what} as soon as its PointSets say that they are not ready: {waiting}"
    shown = resource.status.get("plan") or _plan_status(steps, decision.plan, decision.approval).dump()
    status = QdrantCollectionStatus(
        plan=PlanStatus.model_validate({**shown, "approved": True}),
        conditions=conditions(False, Reason.PROGRESSING, message, reconciling=True),
    )
    return Outcome(status, requeue_after=SETS_SECONDS, resource=resource, rests_on=sets)


async def _announce_correction(context: Context, resource: Resource, todo: Plan) -> None:
    message = f"changed by others, and put right: {'; '.join(line for step in todo.doable for line in step.lines)}"
    logger.info(message, extra={"resource": str(resource.ref), "reason": Reason.DRIFTED.value})
    await context.cluster.event(resource, "DriftCorrected", message, warning=False)


def _decision_outcome(resource: Resource, decision: Decision, left: Plan, mark: Mark, approval: Approval) -> Outcome:
    """left: what is not done. mark: as it is now. approval: of what is left."""
    aliases, annotations = decision.aliases, resource.meta.annotations
    asked, handled = annotations.get(APPROVE_PLAN), resource.status.get("lastHandledApprovePlan")
    held_back = (*left.doable, *left.held_back) if decision.reports_drift else left.held_back
    shown = _plan_status(held_back, left, approval) if held_back else None
    drift = shown.steps if shown is not None and decision.reports_drift else []
    found = _collection_conditions(left, approval, aliases, drift)
    if aliases.again is not None:
        found.append(found[0].model_copy(update={"type": "Reconciling", "status": "True"}))
    status = QdrantCollectionStatus(
        collection=PhysicalCollection(name=left.in_force.name, incarnation=mark.incarnation),
        schema_=schema_status(left.in_force),
        plan=shown,
        last_handled_take_over_from=annotations.get(TAKE_OVER_FROM),
        last_handled_approve_plan=asked if decision.approval.given or handled == asked else None,
        conditions=found,
    )
    return Outcome(status, requeue_after=aliases.again, resource=resource, rests_on=aliases.rests_on)


def _plan_status(steps: Sequence[Step], todo: Plan, approval: Approval) -> PlanStatus:
    lines = [line for step in steps for line in step.described()]
    return PlanStatus(hash=approval.hash, nonce=approval.nonce, steps=lines, destructive=todo.is_destructive)


def _collection_conditions(left: Plan, approval: Approval, aliases: Aliases, drift: list[str]) -> list[Condition]:
    drifted = f"changed by others: {'; '.join(drift)}; {approval.how} to put it right" if drift else ""
    if left.held_back:
        first = left.held_back[0].described()[0]
        message = f"{first}; {approval.how}, or take the change back"
        return conditions(False, Reason.PLAN_HELD_BACK, message, stalled=True, drifted=drifted)
    if left.taken:
        message = "; ".join(aliases.taken_words(alias, holder) for alias, holder in left.taken)
        return conditions(False, Reason.ALIAS_TAKEN, message, stalled=True, drifted=drifted)
    if left.premature:
        message = f"{'; '.join(left.premature)}: {NO_SHARD_KEY}"
        return conditions(False, Reason.REQUEST_REJECTED, message, stalled=True, drifted=drifted)
    if left.unsupported:
        message = "; ".join(f"{path}: {value!r}" for path, value in left.unsupported)
        message = f"Qdrant {left.version} accepts this and does not keep it: {message}"
        return conditions(False, Reason.UNSUPPORTED_BY_SERVER, message, stalled=True, drifted=drifted)
    stay = "".join(f"; {words}" for words in aliases.stay_words)
    return conditions(True, Reason.SUCCEEDED, f"collection {left.desired.name!r} is as declared{stay}", drifted=drifted)


async def _release(context: Context, resource: Resource) -> None:
    """The collections stay behind. Tried once: a resource that keeps its data must never hang in deletion."""
    try:
        access = await cleanup_access(context, connection_ref(resource))
        placement = await find_placement(access.database, resource, context.installation)
        if RawSpec(resource).is_aliased:
            await _leave_beside(context, resource, access, placement)
        mark = placement.active.mark
        if mark is not None and mark.belongs_to(context.installation, resource.ref):
            await hand_over(context, resource, access.database, mark.collection, mark)
            await access.database.update_collection(mark.collection, {"metadata": mark.release().metadata()})
    except GaveWay:
        raise
    except VectorOpsError as error:
        words = {"resource": str(resource.ref), "reason": error.reason.value}
        logger.warning("a mark of what is retained stays: %s", error.message, extra=words)


async def _leave_beside(context: Context, resource: Resource, access: Access, placement: Placement) -> None:
    """The collections beside the active one are copies, and nobody would retire them any more, so they are deleted. One
    that served stays, released, if it would not be retired either, or if nobody can tell.
    """
    active, settings = placement.active, RawSpec(resource).migration_settings
    has_active = active.mark is not None and active.mark.belongs_to(context.installation, resource.ref)
    for other in placement.others:
        mark = other.mark
        assert mark is not None, "its mark says that it is ours"
        try:
            stays = not has_active or await is_kept(context, resource, settings, access, other, active)
        except GaveWay:
            raise
        except VectorOpsError:
            stays = True
        if not (stays and mark.switched_at):
            await delete_collection(context, resource, access, other.name)
            continue
        await access.database.update_collection(other.name, {"metadata": mark.release().metadata()})
        words = f"the old collection {other.name!r} stays with all that is in it, and nobody manages it any more"
        logger.warning(words, extra={"resource": str(resource.ref)})
        await context.cluster.event(resource, "OldCollectionStays", f"{words}: delete it by hand", warning=True)


async def _delete(context: Context, resource: Resource) -> Outcome | None:
    """Deletes the collections that are ours, after the PointSets that fill them. Returns what it waits for, if
    anything.
    """
    referring = await context.cluster.list(POINT_SET, refers_to=resource.ref)
    point_sets = [point_set for point_set in referring if not has_left(point_set)]
    if point_sets:
        return _blocked_outcome(point_sets)
    access = await cleanup_access(context, connection_ref(resource))
    placement = await find_placement(access.database, resource, context.installation)
    for found in reversed(placement.all):
        mark = found.mark
        if mark is None or not mark.belongs_to(context.installation, resource.ref):
            continue
        await hand_over(context, resource, access.database, found.name, mark)
        await delete_collection(context, resource, access, found.name)
        left = await read_mark(access.database, found.name)
        if left is not None and left.incarnation == mark.incarnation:
            raise Transient(Reason.DELETING, f"collection {found.name!r} is still there after it was deleted")
    return None


def _blocked_outcome(point_sets: list[Resource]) -> Outcome:
    live = sorted(point_set.meta.name for point_set in point_sets if not point_set.deleting)
    if live:
        reason = Reason.DELETION_BLOCKED
        message = f"PointSets still refer to it: {', '.join(live)}; delete them first, or set deletionPolicy: Retain"
    else:
        reason = Reason.DELETING
        message = f"waiting for PointSets to delete their points: {', '.join(sorted(p.meta.name for p in point_sets))}"
    blocked = conditions(False, reason, message, reconciling=True)
    return Outcome(QdrantCollectionStatus(conditions=blocked), requeue_after=60.0)
