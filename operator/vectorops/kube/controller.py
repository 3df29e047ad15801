"""What the operator knows of the resources, and when it reconciles them.

This is kept in memory, and is a hint only: the driver reads each object before it reconciles it. All runs in one event
loop.
"""

from __future__ import annotations

import asyncio
import logging
import time
from functools import partial
from typing import Final
from urllib.parse import urlsplit

from vectorops import metrics
from vectorops.api.kinds import CONNECTION_KINDS, rank
from vectorops.api.meta import Ref, Resource
from vectorops.errors import GaveWay, Terminal, Transient, VectorOpsError, Waiting
from vectorops.kube.changes import SeenState, lane_for
from vectorops.kube.tally import Tally
from vectorops.queue import Lane, Result, Snapshot, WorkQueue
from vectorops.reconcilers.base import Turn
from vectorops.reconcilers.databases import Databases
from vectorops.reconcilers.driver import Driver, Verdict
from vectorops.reconcilers.references import References, config_maps_of

logger = logging.getLogger(__name__)

QDRANT_PORT: Final = 6333
YIELD_SECONDS: Final = 10.0
"""A long run gives way to a resource that has waited so long for its place."""
CONTESTED_SECONDS: Final = 2.0
"""When a PointSet is reconciled again that has just found ids that other sets hold."""


class Controller:
    """Enqueues observed resources and reconciles them. Must be created in a running event loop."""

    def __init__(self, driver: Driver, databases: Databases, *, workers: int, per_endpoint: int) -> None:
        self._driver = driver
        self._databases = databases
        self._seen: dict[Ref, SeenState] = {}
        self._endpoints: dict[Ref, str] = {}
        self._references = References()
        self._changed_during: dict[Ref, set[Ref]] = {}
        self._tally = Tally()
        self._closing: set[asyncio.Task[None]] = set()
        self._queue: WorkQueue[Ref] = WorkQueue(
            self._reconcile, endpoint_of=self._endpoint_of, concurrency=workers, endpoint_limit=per_endpoint
        )

    def seen(self, resource: Resource) -> None:
        """Enqueues an object from a watch or a LIST if it has changed."""
        ref = resource.ref
        lane = lane_for(self._seen.get(ref), resource)
        self._seen[ref] = SeenState.of(resource)
        if lane is None:
            return
        self._references.update(resource)
        if resource.kind in CONNECTION_KINDS:
            self._endpoints[ref] = endpoint(str(resource.spec.get("url")))
        if lane is Lane.CHANGE:
            metrics.CHANGES.labels(ref.kind).inc()
        self._queue.add(ref, lane)

    def gone(self, ref: Ref) -> None:
        """Forgets a deleted object, and enqueues the resources that wait for that or depend on it."""
        woken, connection = self._references.woken_by(ref), self._references.connection(ref)
        self._seen.pop(ref, None)
        self._references.remove(ref)
        self._forget(ref)
        self._queue.forget(ref)
        self._enqueue(woken, by=ref)
        if connection is not None:
            self._close_if_unused(connection)

    def config_maps_changed(self, namespace: str) -> None:
        """Enqueues the resources whose verdict rests on the ConfigMaps of a namespace."""
        changed = config_maps_of(namespace)
        for during in self._changed_during.values():
            during.add(changed)
        for ref in self._references.resting_on(changed) & self._seen.keys():
            self._queue.add(ref, Lane.CHANGE)

    def known(self, kind: str) -> set[Ref]:
        """All objects of a kind that exist, as far as was observed."""
        return {ref for ref in self._seen if ref.kind == kind}

    def resync(self, ref: Ref, *, within_seconds: float) -> None:
        """Enqueues it within so many seconds, at the same point of each interval."""
        # The hash of strings differs in each process, so operators and restarts do not run in step.
        phase = hash(ref) % 1000 / 1000
        self._queue.add_after(ref, phase * within_seconds, Lane.RESYNC)

    def snapshot(self) -> Snapshot:
        """The queue, for metrics and health."""
        return self._queue.snapshot()

    def measure(self) -> None:
        """Sets the gauges that are computed only for a scrape."""
        now = self.snapshot()
        for lane in Lane:
            metrics.QUEUE_DEPTH.labels(lane.name.lower()).set(now.depth[lane])
            metrics.QUEUE_OLDEST_SECONDS.labels(lane.name.lower()).set(now.oldest_seconds[lane])
        metrics.QUEUE_RUNNING.set(now.running)
        metrics.QUEUE_LONGEST_RUN_SECONDS.set(now.longest_run_seconds)
        self._tally.measure()

    async def stop(self, *, drain_seconds: float) -> None:
        """Lets running reconciliations end, for so many seconds, and closes all databases."""
        await self._queue.drain(drain_seconds)
        await asyncio.gather(*self._closing, return_exceptions=True)
        await self._databases.close_all()

    async def _reconcile(self, ref: Ref) -> Result:
        begin = time.perf_counter()
        changed = self._changed_during[ref] = set()
        result = "error"
        turn = Turn(
            should_yield=partial(self._queue.should_yield, ref, patience_seconds=YIELD_SECONDS),
            is_stopping=lambda: self._queue.is_draining,
            report_progress=partial(self._queue.report_progress, ref),
        )
        try:
            verdict = await self._driver.run(ref, turn)
            result = result_of(verdict.error)
        except VectorOpsError as error:
            # The API server itself failed, so the error cannot be written to a status.
            metrics.RECONCILE_ERRORS.labels(ref.kind, error.reason.value).inc()
            result = result_of(error)
            words = {"resource": str(ref), "reason": error.reason.value}
            logger.warning("could not read or write the resource: %s", error.message, extra=words)
            return Result(backoff=True, requeue_after=error.retry_after if isinstance(error, Transient) else None)
        finally:
            del self._changed_during[ref]
            seconds = time.perf_counter() - begin
            metrics.RECONCILE.labels(ref.kind, result).inc()
            metrics.RECONCILE_SECONDS.labels(ref.kind).observe(seconds)
            logger.debug("reconciled", extra={"resource": str(ref), "result": result, "seconds": round(seconds, 3)})
        self._record(ref, verdict)
        if changed & verdict.rests_on:
            # It changed after it was read, and before the references knew that this verdict rests on it.
            self._queue.add(ref, Lane.CHANGE)
        return Result(verdict.requeue_after, verdict.backoff, verdict.longest_backoff)

    def _record(self, ref: Ref, verdict: Verdict) -> None:
        if verdict.error is not None and not isinstance(verdict.error, Waiting | GaveWay):
            metrics.RECONCILE_ERRORS.labels(ref.kind, verdict.error.reason.value).inc()
        if verdict.status is None:
            self._forget(ref)
        else:
            self._tally.put(ref, verdict.status, success=verdict.error is None)
            if self._references.looked_at(ref, verdict.status):
                # The holder may have released its ids during the reconciliation, when it enqueued nobody.
                self._queue.add_after(ref, CONTESTED_SECONDS, Lane.CHANGE)
        if ref in self._seen:
            self._references.rest(ref, verdict.rests_on)
        woken = self._references.resting_on(ref) if verdict.wrote else set()
        if verdict.gave_up:
            woken |= self._references.contesting(ref)
        if verdict.wake_dependents:
            woken |= self._references.woken_by(ref)
        self._enqueue(woken, by=ref)

    def _forget(self, ref: Ref) -> None:
        """Logs the deletion once: after the reconciliation that removed the finalizer, or after the watch event."""
        if self._tally.remove(ref):
            logger.info("gone", extra={"resource": str(ref)})

    def _enqueue(self, refs: set[Ref], *, by: Ref) -> None:
        for changed in self._changed_during.values():
            changed.add(by)
        resting = self._references.resting_on(by)
        for ref in refs:
            state = self._seen.get(ref)
            # A resource that others name but that was never seen does not exist yet; its own event will enqueue it.
            # What `by` refers to is enqueued only if it waits to be deleted, or for `by`: otherwise 300 new collections
            # would cause 300 reconciliations of their connection.
            refers_upward = rank(ref.kind) < rank(by.kind)
            if state is not None and (state.deleting or ref in resting or not refers_upward):
                self._queue.add(ref, Lane.CHANGE)

    def _endpoint_of(self, ref: Ref) -> str | None:
        connection = self._references.connection(ref)
        return self._endpoints.get(connection) if connection is not None else None

    def _close_if_unused(self, connection: Ref) -> None:
        """Closes the database of a deleted connection once no resource may need it for its cleanup."""
        if connection in self._seen or self._references.woken_by(connection):
            return
        self._endpoints.pop(connection, None)
        task = asyncio.get_running_loop().create_task(self._databases.close(connection))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


def endpoint(url: str) -> str:
    """Host and port, which identify a server."""
    try:
        parts = urlsplit(url)
        return f"{parts.hostname}:{parts.port or QDRANT_PORT}"
    except ValueError:
        # For example an unclosed bracket; the reconciler reports it in status.
        return url


def result_of(error: VectorOpsError | None) -> str:
    """The label `result` of a reconciliation."""
    if error is None:
        return "success"
    if isinstance(error, Waiting | GaveWay):
        return "waiting"
    return "terminal" if isinstance(error, Terminal) else "transient"
