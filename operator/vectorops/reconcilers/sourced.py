"""A PointSet whose points come from a source: read, staged, written. `source_reading` finds out what is needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from vectorops import metrics
from vectorops.api.meta import JsonObject, Resource
from vectorops.api.pointset import PointSetSpec, ProgressStatus
from vectorops.api.reasons import Reason
from vectorops.api.source import Source
from vectorops.embedders.base import EmbeddedTexts
from vectorops.errors import GaveWay, Terminal
from vectorops.ledger.collection import require_ledger_collection
from vectorops.points.progress import PassProgress
from vectorops.points.sync import Synced, sync
from vectorops.reconcilers.base import Context, Outcome
from vectorops.reconcilers.pace import Pace
from vectorops.reconcilers.pointset_status import outcome_of, status_of, unchanged_status
from vectorops.reconcilers.references import config_maps_of
from vectorops.reconcilers.situation import Destination, find_situation
from vectorops.reconcilers.source_reading import (
    SourceReading,
    opened_source,
    seconds_of,
    vectors_of_embedded_columns,
)
from vectorops.words import counted


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
        shown = ShownProgress(self.context, self.resource, progress)
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
                return Outcome(unchanged_status(resource), requeue_after=reading.interval, resource=resource)
            with context.staging.space() as space:
                staged = await reading.stage(space)
                metrics.SOURCE_READS.succeeded(resource.ref)
                if staged is None:
                    return Outcome(unchanged_status(resource), requeue_after=reading.interval, resource=resource)

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


@dataclass(slots=True)
class ShownProgress:
    """How far a long pass is, in the status."""

    context: Context
    resource: Resource
    progress: PassProgress
    goes_on: bool = False
    """Did the pass begin in an earlier run, which gave way?"""

    def __post_init__(self) -> None:
        self.goes_on = self.is_shown

    @property
    def is_shown(self) -> bool:
        """Does the status say how far it is?"""
        return "progress" in self.resource.status

    async def write(self) -> None:
        """Writes it, with an event when it does so first."""
        now = self.progress
        shown = ProgressStatus(phase=now.phase, done=now.done, total=now.total)
        was_shown = self.is_shown
        await self._write({**self.resource.status, "progress": shown.dump()})
        if not was_shown:
            what = {"Fetching": "bytes", "Reading": "rows"}.get(now.phase, "points")
            await self._tell(Reason.PROGRESSING, f"a long pass has begun: {now.phase.lower()} {what}")

    async def announce_end(self, synced: Synced) -> None:
        """Tells by an event how a pass ended that was shown. The status is written by whoever reconciles."""
        if not self.is_shown or synced.replaced is not None:
            return
        as_declared = synced.total - synced.failed - synced.conflicting
        words = f"the long pass has ended: {as_declared:,} of {counted(synced.total, 'point')} as declared"
        if not self.goes_on:
            words += f", {synced.written:,} written, {synced.deleted:,} deleted"
        await self._tell(Reason.SUCCEEDED if as_declared == synced.total else Reason.POINTS_FAILED, words)

    async def remove(self) -> None:
        """Takes it from the status."""
        if self.is_shown:
            await self._write({name: value for name, value in self.resource.status.items() if name != "progress"})

    async def _write(self, status: JsonObject) -> None:
        await self.context.cluster.write_status(self.resource, status)
        self.resource = replace(self.resource, status=status)

    async def _tell(self, reason: Reason, words: str) -> None:
        await self.context.cluster.event(self.resource, reason.value, words, warning=False)
