"""Does a collection still answer its checks well while it serves readers?

Reported beside Ready, which says that it is as declared: one may be so without the other. After readers were moved, the
collection is compared with the one that they left, for as long as that is kept. Without another one, what the queries
expect is compared: a change in place, of the quantization or of HNSW, may cost answers, too.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from vectorops import metrics
from vectorops.api.checks import Checks, ChecksStatus
from vectorops.api.meta import POINT_SET, Condition, Ref, Resource
from vectorops.api.reasons import Reason
from vectorops.collections.quality import can_be_judged_alone
from vectorops.errors import GaveWay, VectorOpsError
from vectorops.qdrant.database import Database
from vectorops.qdrant.observe import Observed
from vectorops.reconcilers.base import Context, Outcome
from vectorops.reconcilers.checking import run_checks

logger = logging.getLogger(__name__)

WATCH_SECONDS: Final = 300.0
"""How often a collection is asked that is compared with another one, or that was degraded. Reconciliations between two
times ask nothing.
"""
ALONE_SECONDS: Final = 3600.0
"""The same for other ones, unless the configuration changes: the answers then change with the points only."""
SHOWN_CHARACTERS: Final = 500
CONDITION: Final = "QualityDegraded"


@dataclass(frozen=True, slots=True)
class WatchedQuality:
    """The last time that one collection was asked."""

    asked: str
    """What was asked and what answered, in a form that can be compared."""
    at: float
    """On the clock of the watch."""
    words: str
    """What is worse than it should be; "" if nothing is."""


class QualityWatch:
    """All collections that are watched. What is known of them is this process's: after a restart they are asked again.

    clock: in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known: dict[Ref, WatchedQuality] = {}

    async def judge(
        self,
        context: Context,
        resource: Resource,
        checks: Checks | None,
        database: Database,
        outcome: Outcome,
        *,
        served: Observed,
        old: Observed | None = None,
    ) -> Outcome:
        """The outcome for a QdrantCollection, with the condition QualityDegraded if it answers its checks too badly.

        served: the physical collection that readers ask. old: the one that they asked before, while it is kept. Asks
        Qdrant only when it is time, or when something about the two changed, and not while points are being written. An
        event tells when the quality becomes too low. Checks that cannot be run change nothing about what is known; the
        log says why. At the command line nothing is watched: `vectorops check` asks there.
        Raises GaveWay if the process ends.
        """
        if context.grants is not None:
            return outcome
        words = await self.watch_quality(context, resource, checks, database, served=served, old=old)
        before = resource.condition(CONDITION)
        if words and (before is None or before["status"] != "True"):
            logger.warning("%s", words, extra={"resource": str(resource.ref), "reason": CONDITION})
            await context.cluster.event(resource, CONDITION, words, warning=True)
        return with_quality(outcome, words)

    async def watch_quality(
        self,
        context: Context,
        resource: Resource,
        checks: Checks | None,
        database: Database,
        *,
        served: Observed,
        old: Observed | None = None,
    ) -> str:
        """What is worse than it should be, in words; "" if nothing is. See `judge`."""
        if checks is None or not (old is not None or can_be_judged_alone(checks)):
            self.forget(resource.ref)
            return ""
        known, now = self._known.get(resource.ref), self._clock()
        ends = [
            [one.name, one.mark.incarnation if one.mark else "", one.tree(), one.mark.embedders if one.mark else {}]
            for one in (served, old)
            if one is not None
        ]
        asked = json.dumps([checks.dump(), ends], sort_keys=True, default=str)
        is_fine_alone = old is None and (known is None or not known.words)
        interval = ALONE_SECONDS if is_fine_alone else WATCH_SECONDS
        if known is not None and known.asked == asked and now - known.at < interval:
            return known.words
        told = resource.condition(CONDITION)
        before = known.words if known is not None else str(told["message"]) if told is not None else ""
        if not served.points or await _is_being_filled(context, resource):
            return before
        try:
            status = await run_checks(context, resource, checks, database, new=served, old=old)
            if status.result == "Failed":
                # Once more: it may have been the moment.
                status = await run_checks(context, resource, checks, database, new=served, old=old)
            words = degraded_words(status)
        except GaveWay:
            raise
        except VectorOpsError as error:
            extra = {"resource": str(resource.ref), "reason": error.reason.value}
            logger.warning("the checks could not be run: %s", error.message, extra=extra)
            words = before
        self._known[resource.ref] = WatchedQuality(asked, now, words)
        return words

    def forget(self, collection: Ref) -> None:
        """The collection is not watched any longer."""
        self._known.pop(collection, None)
        metrics.CHECKS.forget(collection)


async def _is_being_filled(context: Context, collection: Resource) -> bool:
    """Does a PointSet write into it, or is one about to?"""
    listed = await context.cluster.list(POINT_SET, refers_to=collection.ref)
    sets = [one for each in listed if (one := await context.cluster.get(each.ref)) is not None]
    return any(not one.ready and (one.condition("Reconciling") or not one.condition("Ready")) for one in sets)


def with_quality(outcome: Outcome, words: str) -> Outcome:
    """The same answer with the condition QualityDegraded. words: what is worse than it should be; "" if nothing is."""
    if not words or outcome.status is None:
        return outcome
    degraded = Condition(type=CONDITION, status="True", reason=Reason.QUALITY_DEGRADED.value, message=words)
    shown = [*outcome.status.conditions, degraded]
    return replace(outcome, status=outcome.status.model_copy(update={"conditions": shown}))


def degraded_words(status: ChecksStatus) -> str:
    """What the condition says; "" for checks that passed."""
    return "; ".join(status.failures)[:SHOWN_CHARACTERS]
