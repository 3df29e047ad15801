"""A long pass tells in the status of its resource how far it is, and by two events that it has begun and ended."""

from __future__ import annotations

from dataclasses import dataclass, replace

from vectorops.api.meta import JsonObject, Resource
from vectorops.api.pointset import ProgressStatus
from vectorops.api.reasons import Reason
from vectorops.points.pass_progress import PassProgress
from vectorops.points.synced import Synced
from vectorops.reconcilers.cluster import Cluster
from vectorops.words import counted


@dataclass(slots=True)
class ShownProgress:
    """How far a long pass is, in the status."""

    cluster: Cluster
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
        await self.cluster.write_status(self.resource, status)
        self.resource = replace(self.resource, status=status)

    async def _tell(self, reason: Reason, words: str) -> None:
        await self.cluster.event(self.resource, reason.value, words, warning=False)
