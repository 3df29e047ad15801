"""A PointSet whose points come from a source: read, staged, written. `source_reading` finds out what is needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from vectorops import metrics
from vectorops.api.meta import Resource
from vectorops.api.pointset import PointSetSpec
from vectorops.api.source import Source
from vectorops.embedders.base import EmbeddedTexts
from vectorops.errors import GaveWay, Terminal
from vectorops.ledger.collection import require_ledger_collection
from vectorops.points.pass_progress import PassProgress
from vectorops.points.sync import sync
from vectorops.reconcilers.base import Context, Outcome
from vectorops.reconcilers.durations import seconds_of
from vectorops.reconcilers.pace import Pace
from vectorops.reconcilers.pointset_status import outcome_of, status_of, unchanged_status
from vectorops.reconcilers.references import config_maps_of
from vectorops.reconcilers.shown_progress import ShownProgress
from vectorops.reconcilers.situation import Destination, find_situation
from vectorops.reconcilers.source_reading import (
    SourceReading,
    opened_source,
    vectors_of_embedded_columns,
)


@dataclass(frozen=True, slots=True)
class SourcedSet:
    """One reconciliation of a set whose points come from a source."""

    context: Context
    resource: Resource
    spec: PointSetSpec
    destination: Destination

    async def reconcile(self, declared: Source) -> Outcome:
        rests_on = None if declared.config_maps is None else config_maps_of(self.resource.meta.namespace)
        try:
            outcome = await self._show(declared)
        except Terminal as error:
            # A source is mended elsewhere, and nobody tells.
            error.on, error.retry_after = error.on or rests_on, seconds_of(self.spec.refresh_interval)
            raise
        return replace(outcome, rests_on=outcome.rests_on | {rests_on}) if rests_on is not None else outcome

    async def _show(self, declared: Source) -> Outcome:
        progress = PassProgress()
        shown = ShownProgress(self.context.cluster, self.resource, progress)
        with metrics.SYNCS.follow(self.resource.ref, progress):
            try:
                return await self._reconcile(declared, shown)
            except GaveWay:
                # The next run goes on.
                raise
            except Exception:
                await shown.remove()
                raise

    async def _reconcile(self, declared: Source, shown: ShownProgress) -> Outcome:
        context, resource, spec = self.context, self.resource, self.spec
        metrics.SOURCE_READS.expect(resource.ref, seconds_of(spec.refresh_interval))
        texts = vectors_of_embedded_columns(spec.mapping)
        found = await find_situation(context, resource, spec, self.destination, texts)
        access = self.destination.access
        await require_ledger_collection(access.database, access.ledger_collection)
        progress = shown.progress
        pace = Pace(context.cluster, resource, context.turn, show=shown.write)
        async with opened_source(context, resource, declared) as source:
            reading = SourceReading(context, resource, spec, found, source, pace, progress)
            if await reading.is_unchanged():
                metrics.SOURCE_READS.succeeded(resource.ref)
                status = unchanged_status(resource, rebuilt=reading.rebuilt)
                return Outcome(status, requeue_after=reading.interval, resource=resource)
            with context.staging.space() as space:
                staged = await reading.stage(space)
                metrics.SOURCE_READS.succeeded(resource.ref)
                if staged is None:
                    status = unchanged_status(resource, rebuilt=reading.rebuilt)
                    return Outcome(status, requeue_after=reading.interval, resource=shown.resource)

                async def embed(vector: str, some: Sequence[str]) -> EmbeddedTexts:
                    return await pace.watch(found.embedding.embed(vector, some))

                synced = await sync(
                    found.store,
                    found.target,
                    staged,
                    embed,
                    found.given_up,
                    pace=pace.point,
                    progress=progress,
                    max_delete_percent=spec.effective_max_delete_percent,
                    revision=str(reading.revision),
                )
                status = await status_of(resource, found, synced)
        status = status.model_copy(update={"progress": None})
        if synced.replaced is None:
            status = status.model_copy(update={"source": reading.status(synced.total)})
        if synced.synced_whole(staged):
            reading.remember()
        await shown.announce_end(synced)
        # A conflict does not have it read each minute: a sibling that gives an id up wakes us.
        outcome = outcome_of(shown.resource, status, synced)
        return replace(outcome, requeue_after=reading.interval)
