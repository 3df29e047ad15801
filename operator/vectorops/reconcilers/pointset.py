"""PointSet: are the declared points in the collection, and nothing else of ours? `situation` finds the way there,
`points.sync` does the work; this module tells how it went.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final

from vectorops.api.collection import PlanStatus
from vectorops.api.meta import APPROVE_PLAN, VERIFY, Condition, Resource
from vectorops.api.pointset import PointCounts, PointFailure, PointSetStatus, PointSetTarget
from vectorops.api.reasons import Reason
from vectorops.embedders.base import EmbeddedTexts
from vectorops.ledger.collection import require_ledger_collection
from vectorops.points.declared import Declaration
from vectorops.points.replaced import Replaced
from vectorops.points.stage import SHOWN, Inline
from vectorops.points.sync import Synced, remove_points, sync
from vectorops.reconcilers.approvals import Approval
from vectorops.reconcilers.base import Context, Outcome
from vectorops.reconcilers.cleanup import finalize
from vectorops.reconcilers.dependencies import UNMANAGED
from vectorops.reconcilers.pace import Pace
from vectorops.reconcilers.situation import Removal, find_destination, find_removal, find_situation
from vectorops.reconcilers.status import conditions, suspended
from vectorops.reconcilers.verifying import Verifier, parse_needed, parse_some
from vectorops.words import counted

logger = logging.getLogger(__name__)

CONFLICT_SECONDS: Final = 60.0


class PointSetReconciler:
    """See `driver.Reconciler`."""

    async def reconcile(self, context: Context, resource: Resource) -> Outcome:
        spec = parse_some(resource, [])
        if spec.suspend:
            return Outcome(suspended(resource))
        destination = await find_destination(context, resource, spec)
        resource = await context.cluster.set_finalizer(resource, True)
        where = destination.remembered
        if resource.status.get("target") != where.dump():
            # Written down before the first point is, so that whoever deletes this set later knows where they are.
            return _progressing(resource, where)
        known, spec, texts = await parse_needed(context, resource)
        found = await find_situation(context, resource, spec, destination, texts)
        await require_ledger_collection(destination.access.database, destination.access.ledger_collection)
        verifier = Verifier(context, resource, found.store, found.target, texts, found.embedding.identities)
        declaration = await verifier.declaration(known, spec)
        if declaration is None:
            return Outcome(_unchanged(resource), resource=resource)

        pace = Pace(context.cluster, resource, context.turn)

        async def embed(vector: str, texts: Sequence[str]) -> EmbeddedTexts:
            return await pace.watch(found.embedding.embed(vector, texts))

        synced = await sync(found.store, found.target, Inline(declaration), embed, found.given_up, pace=pace.point)
        if synced.replaced is not None:
            held_back = await found.approval(synced.replaced.digest)
            return Outcome(
                _replaced_status(resource, where, declaration, synced.replaced, held_back), resource=resource
            )
        # Of a pass that changed nothing nobody wants to read each ten minutes.
        logger.log(
            logging.INFO if synced.written or synced.deleted else logging.DEBUG,
            "points synced",
            extra={"resource": str(resource.ref), "written": synced.written, "deleted": synced.deleted},
        )
        # A sibling that gives a contested id up wakes us; anybody else may do so and cannot tell us.
        again = CONFLICT_SECONDS if synced.conflicting else None
        status = _synced_status(resource, where, synced)
        if status.ready is not None and status.ready.status == "True":
            verifier.remember(declaration)
        return Outcome(status, requeue_after=again, resource=resource, gave_up=synced.gave_up)

    async def finalize(self, context: Context, resource: Resource) -> Outcome:
        async def clean_up() -> Outcome | None:
            removal = await find_removal(context, resource)
            if removal is not None:
                await _carry_out_removal(resource, removal)
            return None

        return await finalize(context, resource, clean_up)


def _unchanged(resource: Resource) -> PointSetStatus:
    """The status of a set that is still as its status says."""
    same = [Condition.model_validate(condition) for condition in resource.status["conditions"]]
    return PointSetStatus(conditions=same, last_handled_approve_plan=_handled(resource))


async def _carry_out_removal(resource: Resource, removal: Removal) -> None:
    database, name = removal.access.database, removal.where.collection
    # What else there is under that name may say anything of anybody's points.
    await require_ledger_collection(database, removal.access.ledger_collection)
    if removal.deletes and not removal.is_gone:
        deleted = sum(
            [await remove_points(store, name, marked=store.key.incarnation != UNMANAGED) for store in removal.stores]
        )
        logger.info("points deleted", extra={"resource": str(resource.ref), "deleted": deleted})
    if removal.registration is not None and not removal.is_gone:
        # Before the ledger goes: one that is registered and gone counts as lost, and a set of the same name that is
        # made later would take back whatever then stands under its ids.
        await database.update_collection(name, {"metadata": {removal.registration: None}})
    for store in removal.stores:
        await store.remove()


def _progressing(resource: Resource, where: PointSetTarget) -> Outcome:
    progressing = conditions(False, Reason.PROGRESSING, "points are about to be written", reconciling=True)
    return Outcome(PointSetStatus(target=where, conditions=progressing), requeue_after=0.0, resource=resource)


def _replaced_status(
    resource: Resource, where: PointSetTarget, declaration: Declaration, found: Replaced, held_back: Approval
) -> PointSetStatus:
    """The status while nobody has said that the collection is to be written into."""
    message = (
        f"{found.found}: it seems to be another collection by now, so nothing is written or deleted. Put back what "
        f"was there, or, to begin again in it as status.plan says, {held_back.how}"
    )
    steps = found.steps(declaration)
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
        points=counts,
        failures=shown,
        plan=None,
        last_handled_approve_plan=_handled(resource, now=synced.bound),
        last_handled_verify_at=resource.meta.annotations.get(VERIFY) or resource.status.get("lastHandledVerifyAt"),
        conditions=_points_conditions(counts, shown, synced),
    )


def _points_conditions(counts: PointCounts, shown: list[PointFailure], synced: Synced) -> list[Condition]:
    rebuilt = synced.rebuilt
    if synced.withheld:
        return conditions(False, Reason.LEDGER_UNREADABLE, synced.withheld, stalled=True)
    if not shown:
        message = f"{counted(counts.synced, 'point')} as declared"
        if rebuilt:
            message += "; the ledger was lost once: points that left the set before that may still be stored"
        return conditions(True, Reason.LEDGER_LOST if rebuilt else Reason.SUCCEEDED, message)
    first = shown[0]
    parts = [f"{counts.failed} of {counted(counts.desired, 'point')} failed"] if counts.failed else []
    parts += [f"{counts.conflicts} of {counted(counts.desired, 'point')} held by others"] if counts.conflicts else []
    message = f"{', '.join(parts)}; first: point {first.id!r}: {first.reason}"
    if not synced.complete:
        message += "; nothing is deleted while an id cannot be told"
    reason = Reason.POINTS_FAILED if counts.failed else Reason.POINT_CONFLICTS
    return conditions(False, reason, message, stalled=True)


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
