"""What the operator knows of the resources, and when it looks at them.

Fed by watch events (`app`) and LISTs (`listing`).

Kept in memory and only ever a hint: the driver reads each object anew. All of it lives in one event loop.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Coroutine
from typing import Any, Final
from urllib.parse import urlsplit

from vectorops import metrics
from vectorops.api.kinds import CONNECTION_KINDS, rank
from vectorops.api.meta import Ref, Resource
from vectorops.errors import Terminal, Transient, VectorOpsError, Waiting
from vectorops.kube.changes import Mark, lane_for
from vectorops.kube.tally import Tally
from vectorops.queue import Lane, Result, Snapshot, WorkQueue
from vectorops.reconcilers.databases import Databases
from vectorops.reconcilers.driver import Driver, Verdict
from vectorops.reconcilers.references import References

logger = logging.getLogger(__name__)

QDRANT_PORT: Final = 6333
CONTESTED_SECONDS: Final = 2.0
"""After which a set that has just found ids of its own held by others is looked at once more."""


class Controller:
    """Resources in, reconciliations out. Made in a running event loop."""

    def __init__(self, driver: Driver, databases: Databases, *, workers: int, per_endpoint: int) -> None:
        self._driver = driver
        self._databases = databases
        self._marks: dict[Ref, Mark] = {}
        self._endpoints: dict[Ref, str] = {}
        self._references = References()
        self._heard: dict[Ref, set[Ref]] = {}
        self._tally = Tally()
        self._closing: set[asyncio.Task[None]] = set()
        self._queue: WorkQueue[Ref] = WorkQueue(
            self._run, endpoint_of=self._endpoint_of, concurrency=workers, endpoint_limit=per_endpoint
        )

    def seen(self, resource: Resource) -> None:
        """An object as an event or a LIST showed it."""
        ref = resource.ref
        lane = lane_for(self._marks.get(ref), resource)
        self._marks[ref] = Mark.of(resource)
        if lane is None:
            return
        self._references.update(resource)
        if resource.kind in CONNECTION_KINDS:
            self._endpoints[ref] = endpoint(str(resource.spec.get("url")))
        if lane is Lane.CHANGE:
            metrics.CHANGES.labels(ref.kind).inc()
        self._queue.add(ref, lane)

    def gone(self, ref: Ref) -> None:
        """An object is no more: those who waited for that, or hang on it, look again."""
        woken, connection = self._references.woken_by(ref), self._references.connection(ref)
        self._marks.pop(ref, None)
        self._references.remove(ref)
        self._forget(ref)
        self._queue.forget(ref)
        self._wake(woken, by=ref)
        if connection is not None:
            self._close_if_unused(connection)

    def known(self, kind: str) -> set[Ref]:
        """All objects of a kind that were seen and not seen to go."""
        return {ref for ref in self._marks if ref.kind == kind}

    def resync(self, ref: Ref, *, within_seconds: float) -> None:
        """Look at it some time in the next so many seconds, each time at the same point of them."""
        # The hash of strings differs from process to process, so neither two operators nor two starts are in step.
        phase = hash(ref) % 1000 / 1000
        self._queue.add_after(ref, phase * within_seconds, Lane.RESYNC)

    def snapshot(self) -> Snapshot:
        """The queue, for metrics and health."""
        return self._queue.snapshot()

    def measure(self) -> None:
        """Sets the gauges that are computed only when Prometheus asks."""
        now = self.snapshot()
        for lane in Lane:
            metrics.QUEUE_DEPTH.labels(lane.name.lower()).set(now.depth[lane])
            metrics.QUEUE_OLDEST_SECONDS.labels(lane.name.lower()).set(now.oldest_seconds[lane])
        metrics.QUEUE_RUNNING.set(now.running)
        metrics.QUEUE_LONGEST_RUN_SECONDS.set(now.longest_run_seconds)
        self._tally.measure()

    async def stop(self, *, drain_seconds: float) -> None:
        """Lets what runs come to its end, for so long, and closes all databases."""
        await self._queue.drain(drain_seconds)
        await asyncio.gather(*self._closing, return_exceptions=True)
        await self._databases.close_all()

    async def _run(self, ref: Ref) -> Result:
        begin = time.perf_counter()
        heard = self._heard[ref] = set()
        result = "error"
        try:
            verdict = await self._driver.run(ref)
            result = result_of(verdict.error)
        except VectorOpsError as error:
            # The API server itself failed us, so there is no status that could tell.
            metrics.RECONCILE_ERRORS.labels(ref.kind, error.reason.value).inc()
            result = result_of(error)
            words = {"resource": str(ref), "reason": error.reason.value}
            logger.warning("could not read or write the resource: %s", error.message, extra=words)
            return Result(backoff=True, requeue_after=error.retry_after if isinstance(error, Transient) else None)
        finally:
            del self._heard[ref]
            seconds = time.perf_counter() - begin
            metrics.RECONCILE.labels(ref.kind, result).inc()
            metrics.RECONCILE_SECONDS.labels(ref.kind).observe(seconds)
            logger.debug("reconciled", extra={"resource": str(ref), "result": result, "seconds": round(seconds, 3)})
        self._take_in(ref, verdict)
        if heard & verdict.rests_on:
            # Changed after we had read it, and before anybody knew that this verdict rests on it.
            self._queue.add(ref, Lane.CHANGE)
        return Result(verdict.requeue_after, verdict.backoff, verdict.longest_backoff)

    def _take_in(self, ref: Ref, verdict: Verdict) -> None:
        if verdict.error is not None and not isinstance(verdict.error, Waiting):
            metrics.RECONCILE_ERRORS.labels(ref.kind, verdict.error.reason.value).inc()
        if verdict.status is None:
            self._forget(ref)
        else:
            self._tally.put(ref, verdict.status, success=verdict.error is None)
            if self._references.looked_at(ref, verdict.status):
                # Whoever held its ids may have given them up while it was looked at, and woke nobody then.
                self._queue.add_after(ref, CONTESTED_SECONDS, Lane.CHANGE)
        if ref in self._marks:
            self._references.rest(ref, verdict.rests_on)
        woken = self._references.resting_on(ref) if verdict.wrote else set()
        if verdict.gave_up:
            woken |= self._references.contesting(ref)
        if verdict.told:
            woken |= self._references.woken_by(ref)
        self._wake(woken, by=ref)

    def _forget(self, ref: Ref) -> None:
        """Told once, by whoever is first: the run that let go of it, or the event that it is no more."""
        if self._tally.remove(ref):
            logger.info("gone", extra={"resource": str(ref)})

    def _wake(self, refs: set[Ref], *, by: Ref) -> None:
        for heard in self._heard.values():
            heard.add(by)
        resting = self._references.resting_on(by)
        for ref in refs:
            mark = self._marks.get(ref)
            # One that is named by another but was never seen does not exist yet; its own event will bring it. What `by`
            # refers to only minds when it waits to be deleted, or for `by`: else 300 new collections would have their
            # connection looked at 300 times.
            if mark is not None and (mark.deleting or ref in resting or not _refers_upward(by, ref)):
                self._queue.add(ref, Lane.CHANGE)

    def _endpoint_of(self, ref: Ref) -> str | None:
        connection = self._references.connection(ref)
        return self._endpoints.get(connection) if connection is not None else None

    def _close_if_unused(self, connection: Ref) -> None:
        """Closes the database of a vanished connection once nobody is left who might clean up through it."""
        if connection in self._marks or self._references.woken_by(connection):
            return
        self._endpoints.pop(connection, None)
        self._in_background(self._databases.close(connection))

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


def _refers_upward(one: Ref, other: Ref) -> bool:
    return rank(other.kind) < rank(one.kind)


def endpoint(url: str) -> str:
    """What two connections to one server have in common: host and port."""
    try:
        parts = urlsplit(url)
        return f"{parts.hostname}:{parts.port or QDRANT_PORT}"
    except ValueError:
        # Such as an unclosed bracket; the reconciler says so in status.
        return url


def result_of(error: VectorOpsError | None) -> str:
    """The label `result` of a reconciliation."""
    if error is None:
        return "success"
    if isinstance(error, Waiting):
        return "waiting"
    return "terminal" if isinstance(error, Terminal) else "transient"
