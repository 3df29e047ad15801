"""PointSet: are the declared points in the collection, and nothing else of ours? `situation` finds the way there,
`points.sync` does the work; this module tells how it went.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from vectorops import metrics
from vectorops.api.meta import Resource
from vectorops.api.pointset import PointSetSpec, PointSetStatus
from vectorops.api.reasons import Reason
from vectorops.embedders.base import EmbeddedTexts
from vectorops.errors import GaveWay
from vectorops.ledger.collection import require_ledger_collection
from vectorops.points.pass_progress import PassProgress
from vectorops.points.removal import remove_points
from vectorops.points.stage import Inline
from vectorops.points.sync import sync
from vectorops.reconcilers.base import Context, Outcome
from vectorops.reconcilers.cleanup import finalize
from vectorops.reconcilers.copies import CopyMemory, as_of, copy_of
from vectorops.reconcilers.dependencies import UNMANAGED
from vectorops.reconcilers.filling import filled_key
from vectorops.reconcilers.pace import Pace
from vectorops.reconcilers.pointset_status import outcome_of, status_of, unchanged_status
from vectorops.reconcilers.shown_progress import ShownProgress
from vectorops.reconcilers.situation import (
    Destination,
    Removal,
    find_destinations,
    find_removals,
    find_situation,
)
from vectorops.reconcilers.status import conditions, suspended
from vectorops.reconcilers.verifying import Verifier, parse_needed, parse_some
from vectorops.sources.installed import require_installed

logger = logging.getLogger(__name__)


class PointSetReconciler:
    """See `driver.Reconciler`. copies: what is remembered of the points in collections beside the active ones."""

    def __init__(self, copies: CopyMemory | None = None) -> None:
        self._copies = copies or CopyMemory()

    async def reconcile(self, context: Context, resource: Resource) -> Outcome:
        spec = parse_some(resource, [])
        if spec.suspend or spec.source is None:
            metrics.SOURCE_READS.forget(resource.ref)
        if spec.suspend:
            return Outcome(suspended(resource))
        active, *beside = await find_destinations(context, resource, spec)
        resource = await context.cluster.set_finalizer(resource, True)
        where = active.remembered
        if resource.status.get("target") != where.dump() and copy_of(resource, where) is None:
            # Written down before the first point is, so that whoever deletes this set later knows where they are.
            progressing = conditions(False, Reason.PROGRESSING, "points are about to be written", reconciling=True)
            status = PointSetStatus(target=where, conditions=progressing)
            return Outcome(status, requeue_after=0.0, resource=resource)
        outcome = await sync_into(context, as_of(resource, where), spec, active)
        return await self._copies.keep(context, resource, spec, active, beside, outcome, sync_into)

    async def finalize(self, context: Context, resource: Resource) -> Outcome:
        async def clean_up() -> Outcome | None:
            for removal in await find_removals(context, resource):
                progress = PassProgress("Deleting")
                shown = ShownProgress(context.cluster, resource, progress)
                await _carry_out_removal(
                    resource, removal, Pace(context.cluster, resource, context.turn, shown.write), progress
                )
                if shown.resource is not resource:
                    # The finalizer is removed from the resource that we read, and its status was written since.
                    raise GaveWay("the points are deleted; the resource goes next")
            return None

        outcome = await finalize(context, resource, clean_up)
        if outcome.status is None:
            context.source_memory.forget_set(resource.ref)
            self._copies.forget_set(resource.ref)
        return outcome


async def sync_into(context: Context, resource: Resource, spec: PointSetSpec, destination: Destination) -> Outcome:
    """Makes the points in one physical collection as declared. resource: with the status that speaks of them there."""
    if spec.source is not None:
        require_installed()
        # Only now, because it needs the libraries of the extra `sources`.
        from vectorops.reconcilers.sourced import SourcedSet

        return await SourcedSet(context, resource, spec, destination).reconcile(spec.source)
    known, spec, texts = await parse_needed(context, resource)
    found = await find_situation(context, resource, spec, destination, texts)
    await require_ledger_collection(destination.access.database, destination.access.ledger_collection)
    verifier = Verifier(context, resource, found.store, found.target, texts, found.embedding.identities)
    declaration = await verifier.declaration(known, spec)
    if declaration is None:
        return Outcome(unchanged_status(resource), resource=resource)

    pace = Pace(context.cluster, resource, context.turn)

    async def embed(vector: str, texts: Sequence[str]) -> EmbeddedTexts:
        return await pace.watch(found.embedding.embed(vector, texts))

    staged = Inline(declaration)
    percent = spec.effective_max_delete_percent
    synced = await sync(
        found.store, found.target, staged, embed, found.given_up, pace=pace.point, max_delete_percent=percent
    )
    status = await status_of(resource, found, synced)
    if status.ready is not None and status.ready.status == "True":
        verifier.remember(declaration)
    return outcome_of(resource, status, synced)


async def _carry_out_removal(resource: Resource, removal: Removal, pace: Pace, progress: PassProgress) -> None:
    database, name = removal.access.database, removal.where.collection
    # What else there is under that name may say anything of anybody's points.
    await require_ledger_collection(database, removal.access.ledger_collection)
    if removal.deletes and not removal.is_gone:
        for store in removal.stores:
            is_marked = store.key.incarnation != UNMANAGED
            await remove_points(store, name, marked=is_marked, pace=pace.point, progress=progress)
        logger.info("points deleted", extra={"resource": str(resource.ref), "deleted": progress.done})
    if removal.registration is not None and not removal.is_gone:
        # Before the ledger goes: one that is registered and gone counts as lost, and a set of the same name that is
        # made later would take back whatever then stands under its ids.
        keys = (removal.registration, filled_key(removal.stores[0].key.installation, resource.ref))
        await database.update_collection(name, {"metadata": dict.fromkeys(keys)})
    for store in removal.stores:
        await store.remove()
