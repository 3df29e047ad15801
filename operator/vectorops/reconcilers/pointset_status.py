"""What the status of a PointSet says after a pass."""

from __future__ import annotations

import logging
from typing import Final

from vectorops.api.collection import PlanStatus
from vectorops.api.meta import APPROVE_PLAN, VERIFY, Condition, Resource
from vectorops.api.pointset import PointCounts, PointFailure, PointSetStatus, PointSetTarget
from vectorops.api.reasons import Reason
from vectorops.points.stage import SHOWN
from vectorops.points.synced import HeldDeletions, Synced
from vectorops.reconcilers.approvals import Approval
from vectorops.reconcilers.base import Outcome
from vectorops.reconcilers.situation import Situation
from vectorops.reconcilers.status import conditions
from vectorops.words import counted

logger = logging.getLogger(__name__)

CONFLICT_SECONDS: Final = 60.0


async def status_of(resource: Resource, found: Situation, synced: Synced) -> PointSetStatus:
    """What is so after the pass."""
    where = found.destination.remembered
    if synced.replaced is not None:
        held_back = await found.approval(synced.replaced.digest)
        return _replaced_status(resource, where, synced, held_back)
    # Of a pass that changed nothing nobody wants to read each ten minutes.
    logger.log(
        logging.INFO if synced.written or synced.deleted else logging.DEBUG,
        "points synced",
        extra={"resource": str(resource.ref), "written": synced.written, "deleted": synced.deleted},
    )
    status = _synced_status(resource, where, synced)
    if synced.held_deletions is not None:
        held_back = await found.approval(synced.held_deletions.digest)
        return _held_deletions_status(status, synced.held_deletions, held_back)
    return status


def outcome_of(resource: Resource, status: PointSetStatus, synced: Synced) -> Outcome:
    """The same for the driver, and when to look again."""
    # A sibling that gives a contested id up wakes us; anybody else may do so and cannot tell us.
    again = CONFLICT_SECONDS if synced.conflicting else None
    return Outcome(status, requeue_after=again, resource=resource, gave_up=synced.gave_up)


def _held_deletions_status(status: PointSetStatus, held: HeldDeletions, approval: Approval) -> PointSetStatus:
    """The status while nobody has said that so many points may go. What failed is told as well."""
    message = (
        f"{counted(held.count, 'point')} of {held.owned:,} would be deleted, more than spec.maxDeletePercent allows: "
        f"none is, and the rest is as declared. If they are to go, {approval.how}"
    )
    step = f"delete {counted(held.count, 'point')} of the {held.owned:,} that the set owns"
    plan = PlanStatus(hash=approval.hash, nonce=approval.nonce, steps=[step], destructive=True)
    found = conditions(False, Reason.DELETIONS_HELD_BACK, message, stalled=True)
    return status.model_copy(update={"plan": plan, "conditions": found})


def unchanged_status(resource: Resource, *, rebuilt: bool = False) -> PointSetStatus:
    """The status of a set whose points are still as its status says, even if something kept it from being Ready.

    rebuilt: see Synced.
    """
    found = [Condition.model_validate(condition) for condition in resource.status["conditions"]]
    counts = resource.status.get("points", {})
    if not resource.ready and not counts.get("failed"):
        found = whole_conditions(counts["synced"], rebuilt=rebuilt)
    return PointSetStatus(conditions=found, last_handled_approve_plan=_handled(resource), progress=None)


def _replaced_status(resource: Resource, where: PointSetTarget, synced: Synced, held_back: Approval) -> PointSetStatus:
    """The status while nobody has said that the collection is to be written into."""
    assert synced.replaced is not None
    message = (
        f"{synced.replaced.found}: it seems to be another collection by now, so nothing is written or deleted. Put "
        f"back what was there, or, to begin again in it as status.plan says, {held_back.how}"
    )
    steps = list(synced.steps)
    return PointSetStatus(
        target=where,
        plan=PlanStatus(hash=held_back.hash, nonce=held_back.nonce, steps=steps, destructive=False),
        last_handled_approve_plan=_handled(resource),
        conditions=conditions(False, Reason.COLLECTION_REPLACED, message, stalled=True),
    )


def _handled(resource: Resource, *, now: bool = False) -> str | None:
    """The approval that was carried out, for as long as its annotation is there. now: it has just been."""
    asked = resource.meta.annotations.get(APPROVE_PLAN)
    return asked if now or resource.status.get("lastHandledApprovePlan") == asked else None


def _synced_status(resource: Resource, where: PointSetTarget, synced: Synced) -> PointSetStatus:
    conflicts = [
        PointFailure(id=conflict.shown_id, reason=_held_by(conflict.owner, resource, where))
        for conflict in synced.shown_conflicts
    ]
    failures = [PointFailure(id=failure.shown_id, reason=failure.reason) for failure in synced.failures]
    counts = PointCounts(
        desired=synced.total,
        synced=synced.total - synced.failed - synced.conflicting,
        failed=synced.failed,
        conflicts=synced.conflicting,
    )
    shown = [*failures, *conflicts][:SHOWN]
    return PointSetStatus(
        target=where,
        source=None,
        progress=None,
        points=counts,
        failures=shown,
        plan=None,
        last_handled_approve_plan=_handled(resource, now=synced.bound or synced.deletions_approved),
        last_handled_verify_at=resource.meta.annotations.get(VERIFY) or resource.status.get("lastHandledVerifyAt"),
        conditions=_points_conditions(counts, shown, synced),
    )


def _points_conditions(counts: PointCounts, shown: list[PointFailure], synced: Synced) -> list[Condition]:
    if synced.withheld:
        return conditions(False, Reason.LEDGER_UNREADABLE, synced.withheld, stalled=True)
    if not shown:
        return whole_conditions(counts.synced, rebuilt=synced.rebuilt)
    first = shown[0]
    parts = [f"{counts.failed} of {counted(counts.desired, 'point')} failed"] if counts.failed else []
    parts += [f"{counts.conflicts} of {counted(counts.desired, 'point')} held by others"] if counts.conflicts else []
    message = f"{', '.join(parts)}; first: {describe_point_failure(first.id, first.reason)}"
    if not synced.complete:
        message += "; nothing is deleted while an id cannot be told"
    reason = Reason.POINTS_FAILED if counts.failed else Reason.POINT_CONFLICTS
    return conditions(False, reason, message, stalled=True)


def describe_point_failure(shown_id: str, reason: str) -> str:
    """Which point failed, and why. One without an id is called by its place, which the reason begins with."""
    return reason if reason.startswith(f"{shown_id}: ") else f"point {shown_id!r}: {reason}"


def whole_conditions(synced: int, *, rebuilt: bool = False) -> list[Condition]:
    """Of a set whose points are all as declared. rebuilt: see Synced."""
    message = f"{counted(synced, 'point')} as declared"
    if rebuilt:
        message += "; the ledger was lost once: points that left the set before that may still be stored"
    return conditions(True, Reason.LEDGER_LOST if rebuilt else Reason.SUCCEEDED, message)


def _held_by(owner: str, resource: Resource, where: PointSetTarget) -> str:
    if not owner:
        if resource.spec.get("adoptionPolicy") == "IfMatching":
            return (
                "another writer made this point, and it differs from what is declared; it is left alone. Delete it, "
                "declare it as it is stored, or declare another id"
            )
        return (
            "another writer made this point; it is left alone. Delete it, declare another id, or set adoptionPolicy: "
            "IfMatching if it equals what is declared"
        )
    installation, namespace, name = owner.rsplit("/", 2)
    if where.connection_kind and namespace != resource.meta.namespace:
        return "a PointSet of another namespace holds this id; declare another id"
    return f"PointSet {namespace}/{name} of installation {installation!r} holds this id; declare it in one set only"
