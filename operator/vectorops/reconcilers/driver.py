"""One reconciliation from key to written status: read, decide whether it concerns us, reconcile, tell.

Both shells call `Driver.run` with the key that their queue hands out. Everything that is the same for all kinds is
here: errors become conditions, the status is written once and only if it changed, an event tells a change of
reason.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

from vectorops.api.kinds import CONNECTION_KINDS
from vectorops.api.meta import QDRANT_COLLECTION, RECONCILE, TAKE_OVER_FROM, JsonObject, Ref, Resource
from vectorops.api.reasons import Reason
from vectorops.errors import GaveWay, OutcomeUnknown, Terminal, Transient, Unauthorized, VectorOpsError, Waiting
from vectorops.reconcilers import status
from vectorops.reconcilers.base import Context, Outcome, Turn
from vectorops.reconcilers.dependencies import reopen
from vectorops.reconciliation import reconciling

logger = logging.getLogger(__name__)

BLIP: Final = timedelta(minutes=2)
"""For so long a ready resource stays Ready while its database does not answer."""
POLL_SECONDS: Final = 60.0
"""How often a resource that waits is reconciled anyway, should the wake-up be lost."""
PROBE_SECONDS: Final = 60.0
"""How often a connection is tried at least: all that use it wait for it, and not for a backoff of minutes."""
BLIPS: Final = frozenset(
    {
        Reason.UNREACHABLE,
        Reason.SERVER_ERROR,
        Reason.RATE_LIMITED,
        Reason.PROGRESSING,
        Reason.KUBERNETES_API,
        Reason.SOURCE_UNAVAILABLE,
        Reason.SOURCE_CHANGED,
        Reason.STAGING_FULL,
    }
)
"""Reasons that pass by themselves unless they are Terminal, as those that a restart of Qdrant or of the API server
produces. Not ConnectionNotReady: a connection has waited that long itself before it says so.
"""
SEEN_BY_OTHERS: Final = ("collection", "schema", "observedGeneration", "migration")
"""What of a status, beside Ready, others act upon: where their points go, what makes vectors of their texts, whether
Ready speaks of a new URL, and which collection is to be filled.
"""


class Reconciler(Protocol):
    """One kind's reconciler. `finalize` is called instead of `reconcile` while the resource is being deleted; it
    removes the finalizer itself when nothing is left to clean up.
    """

    async def reconcile(self, context: Context, resource: Resource) -> Outcome: ...

    async def finalize(self, context: Context, resource: Resource) -> Outcome: ...


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the shell does next."""

    requeue_after: float | None = None
    """Seconds until the next reconciliation; None: the next resync."""
    backoff: bool = False
    """The run failed: reconcile again with backoff, not before `requeue_after`."""
    longest_backoff: float | None = None
    """Seconds; None: the queue's own limit."""
    wake_dependents: bool = False
    """Did what others can see of this resource change? Those that depend on it should be reconciled."""
    gave_up: bool = False
    """Did a PointSet give up ids? Its siblings that wait for some should be reconciled."""
    wrote: bool = False
    """Did anything of its status change? Those whose verdict rests on it should be reconciled."""
    rests_on: frozenset[Ref] = frozenset()
    """Other resources whose change may change this verdict, beside those that the spec names."""
    status: JsonObject | None = None
    """As it is now in the cluster; None if the resource is gone."""
    error: VectorOpsError | None = None


class Driver:
    """Runs reconcilers. now: the time of day, injected for tests."""

    def __init__(
        self,
        context: Context,
        reconcilers: Mapping[str, Reconciler],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._context = context
        self._reconcilers = reconcilers
        self._now = now
        self._failing_since: dict[Ref, datetime] = {}
        self._unanswered: set[Ref] = set()

    async def run(self, ref: Ref, turn: Turn | None = None) -> Verdict:
        """Reconciles one resource. Never raises for what is wrong with a resource or a database.

        turn: what the shell says of this run; None: it may take as long as it likes.
        Raises what `Cluster` raises while reading or writing the resource itself: the shell backs off.
        """
        with reconciling(str(ref)):
            return await self._run(ref, replace(self._context, turn=turn or Turn()))

    async def _run(self, ref: Ref, context: Context) -> Verdict:
        resource = await context.cluster.get(ref)
        if resource is None:
            self._failing_since.pop(ref, None)
            self._unanswered.discard(ref)
            return Verdict(wake_dependents=True)
        try:
            outcome = await self._reconcile(context, resource)
        except VectorOpsError as error:
            return await self._failed(resource, error)
        except Exception as error:
            # A fault of ours must not look like a fault of the user's, and must not stop the others.
            logger.exception("reconciliation failed", extra={"resource": str(ref)})
            words = f"{type(error).__name__}: a fault in the operator; its log has the details"
            return await self._failed(resource, Transient(Reason.INTERNAL_ERROR, words))
        if outcome.passing and (left := self._blip_left(resource)) > 0:
            if outcome.status is not None and (ready := outcome.status.ready) is not None:
                extra = {"resource": str(ref), "reason": ready.reason}
                logger.info("trying again: %s", ready.message, extra=extra)
            again = min(left, outcome.requeue_after or left)
            return Verdict(requeue_after=again, rests_on=outcome.rests_on, status=resource.status)
        if not outcome.passing:
            self._failing_since.pop(ref, None)
        if outcome.status is None:
            return Verdict(wake_dependents=True)
        current = outcome.resource or resource
        return await self._write_status(
            current,
            status.updated(current, outcome.status),
            Verdict(requeue_after=outcome.requeue_after, rests_on=outcome.rests_on, gave_up=outcome.gave_up),
        )

    async def _reconcile(self, context: Context, resource: Resource) -> Outcome:
        reconciler = self._reconcilers[resource.kind]
        act = reconciler.finalize if resource.deleting else reconciler.reconcile
        try:
            return await act(context, resource)
        except Unauthorized:
            # The key may have been rotated since the Secret was read: read it once more before complaining.
            if not await reopen(context, resource):
                raise
            return await act(context, resource)

    def _blip_left(self, resource: Resource) -> float:
        """For how many seconds it may stay Ready although something is wrong; 0 if it is not Ready."""
        since = self._failing_since.setdefault(resource.ref, self._now())
        left = (since + BLIP - self._now()).total_seconds()
        return left if resource.ready and not resource.deleting else 0.0

    async def _failed(self, resource: Resource, error: VectorOpsError) -> Verdict:
        left = self._blip_left(resource)
        verdict = _next_run(error)
        if resource.kind in CONNECTION_KINDS:
            verdict = replace(verdict, longest_backoff=PROBE_SECONDS)
        if error.reason in BLIPS and not isinstance(error, Terminal) and left > 0:
            logger.info(
                "trying again: %s", error.message, extra={"resource": str(resource.ref), "reason": error.reason.value}
            )
            # Not later than when it must be reported.
            longest = min(left, verdict.longest_backoff or left)
            return replace(verdict, status=resource.status, longest_backoff=longest)
        return await self._write_status(resource, status.failed(resource, error), verdict)

    async def _write_status(self, resource: Resource, new: JsonObject, verdict: Verdict) -> Verdict:
        token = resource.meta.annotations.get(RECONCILE)
        if token is not None and (verdict.error is None or isinstance(verdict.error, Terminal)):
            new = {**new, "lastHandledReconcileAt": token}
        asked = resource.meta.annotations.get(TAKE_OVER_FROM)
        if asked is not None and resource.is_new and resource.kind == QDRANT_COLLECTION:
            # It came with the resource, out of a repository or a backup: see `approvals.take_over`.
            new = {**new, "lastHandledTakeOverFrom": asked}
        merged = status.merge(resource.status, new, now=self._now(), generation=resource.meta.generation)
        if merged == resource.status:
            is_unanswered = resource.ref in self._unanswered
            self._unanswered.discard(resource.ref)
            return replace(verdict, status=merged, wake_dependents=is_unanswered)
        # Until the answer is there: if it is lost, the status may be written all the same, and the next run finds
        # nothing new to write; those that depend on this resource must be woken even so.
        self._unanswered.add(resource.ref)
        await self._context.cluster.write_status(resource, merged)
        self._unanswered.discard(resource.ref)
        before, after = status.ready_reason(resource.status), status.ready_reason(merged)
        if before != after:
            await self._announce(resource, merged, after)
        seen_by_others = before != after or any(resource.status.get(key) != merged.get(key) for key in SEEN_BY_OTHERS)
        return replace(verdict, status=merged, wake_dependents=seen_by_others, wrote=True)

    async def _announce(self, resource: Resource, merged: JsonObject, after: tuple[object, object]) -> None:
        message = next(c["message"] for c in merged["conditions"] if c["type"] == "Ready")
        warning = after[0] == "False" and any(c["type"] == "Stalled" for c in merged["conditions"])
        level = logging.WARNING if warning else logging.INFO
        logger.log(level, "%s", message, extra={"resource": str(resource.ref), "reason": after[1]})
        await self._context.cluster.event(resource, str(after[1]), message, warning=warning)


def _next_run(error: VectorOpsError) -> Verdict:
    """When to reconcile again after an error; the rules of the error tree."""
    rests_on = frozenset({error.on} if error.on else ())
    if isinstance(error, GaveWay):
        return Verdict(requeue_after=0.0, error=error)
    if isinstance(error, Transient):
        soon = 0.0 if isinstance(error, OutcomeUnknown) else None
        return Verdict(backoff=True, requeue_after=error.retry_after or soon, error=error)
    if isinstance(error, Waiting):
        return Verdict(requeue_after=POLL_SECONDS, rests_on=rests_on, error=error)
    return Verdict(error.retry_after, rests_on=rests_on, error=error)
