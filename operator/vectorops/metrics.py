"""The metrics for Prometheus; docs/metrics.md says which question each of them answers.

The number of series is bounded, whatever tenants declare: only `vectorops_not_ready_since_timestamp_seconds`,
`vectorops_source_unread_since_timestamp_seconds`, `vectorops_collection_check`, `vectorops_quality_degraded`,
`vectorops_sync_done` and `vectorops_sync_expected` are labeled by resource, and they have limits, as has the number of
Qdrant servers. No label has a name that Prometheus gives to targets in Kubernetes (namespace, pod, endpoint, ...):
Prometheus would rename ours.
"""

from __future__ import annotations

import heapq
import platform
import time
from collections import Counter as Counts
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from typing import Final, Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, disable_created_metrics

from vectorops.api.checks import ChecksStatus
from vectorops.api.kinds import BY_NAME
from vectorops.api.meta import Ref
from vectorops.api.reasons import Reason

SERVERS_SHOWN: Final = 50
"""Qdrant servers with series of their own, a few hundred each; tenants may declare any number of servers."""
OTHER: Final = "other"
"""The value of the label `server` for all other servers."""
NOT_READY_SHOWN: Final = 500
"""Resources that are not Ready and have a series of their own: the ones that have not been Ready for longest."""

UNREAD_INTERVALS: Final = 3
"""A source that was not read for so many of its refresh intervals counts as unread."""
UNREAD_SHOWN: Final = 500
"""Unread sources that have a series of their own: the ones that were read longest ago."""

MIGRATIONS_SHOWN: Final = 200
"""Migrations that have series of their own."""
CHECKS_SHOWN: Final = 200
"""Collections whose checks have series of their own."""

LONG_SYNC_SECONDS: Final = 10.0
"""A sync that takes longer has series of its own."""
LONG_SYNCS_SHOWN: Final = 100
"""Long syncs that have series of their own: those that have been under way for longest."""

REGISTRY: Final = CollectorRegistry()
# Otherwise every counter has two series.
disable_created_metrics()  # type: ignore[no-untyped-call]

RECONCILE: Final = Counter(
    "vectorops_reconcile",
    "Reconciliations. result: success, waiting (for a dependency, or for others), transient, terminal, or error "
    "(unforeseen).",
    ("kind", "result"),
    registry=REGISTRY,
)
RECONCILE_SECONDS: Final = Histogram(
    "vectorops_reconcile_seconds",
    "How long one reconciliation took.",
    ("kind",),
    buckets=(0.01, 0.05, 0.1, 0.5, 1, 5, 15, 60, 300),
    registry=REGISTRY,
)
RECONCILE_ERRORS: Final = Counter(
    "vectorops_reconcile_errors", "Reconciliations that failed, by reason.", ("kind", "reason"), registry=REGISTRY
)
QUEUE_DEPTH: Final = Gauge(
    "vectorops_queue_depth",
    "Resources that wait for a worker now, without those that are scheduled for later.",
    ("lane",),
    registry=REGISTRY,
)
QUEUE_OLDEST_SECONDS: Final = Gauge(
    "vectorops_queue_oldest_seconds", "How long the first of them has been waiting.", ("lane",), registry=REGISTRY
)
QUEUE_RUNNING: Final = Gauge("vectorops_queue_running", "Reconciliations that are running.", registry=REGISTRY)
QUEUE_LONGEST_RUN_SECONDS: Final = Gauge(
    "vectorops_queue_longest_run_seconds", "How long the longest of them has been running.", registry=REGISTRY
)
CHANGES: Final = Counter(
    "vectorops_changes",
    "Changes of resources: created, edited, annotated, being deleted. A start counts those that are not Ready.",
    ("kind",),
    registry=REGISTRY,
)
RESOURCES: Final = Gauge(
    "vectorops_resources",
    "Resources by the status and reason of their condition Ready.",
    ("kind", "ready", "reason"),
    registry=REGISTRY,
)
UNHEALTHY_COLLECTIONS: Final = Gauge(
    "vectorops_unhealthy_collections",
    "Collections for which Qdrant reports a problem: red, grey, optimizer (failed), or warning.",
    ("problem",),
    registry=REGISTRY,
)
NOT_READY_SINCE: Final = Gauge(
    "vectorops_not_ready_since_timestamp_seconds",
    "Since when a resource has not been Ready (Unix time), and why. stalled: true if only a person can help. "
    f"At most {NOT_READY_SHOWN}, the oldest; resources that are Ready have no series.",
    ("kind", "resource_namespace", "name", "reason", "stalled"),
    registry=REGISTRY,
)
LAST_SUCCESS: Final = Gauge(
    "vectorops_last_success_timestamp_seconds",
    "When a resource of this kind was last reconciled with success (Unix time); before that, the operator's start.",
    ("kind",),
    registry=REGISTRY,
)
OLDEST_RECONCILE: Final = Gauge(
    "vectorops_oldest_reconcile_timestamp_seconds",
    "The oldest last reconciliation of all resources of this kind (Unix time).",
    ("kind",),
    registry=REGISTRY,
)
RESYNC_INTERVAL_SECONDS: Final = Gauge(
    "vectorops_resync_interval_seconds",
    "The configured interval at which all resources are listed and reconciled.",
    registry=REGISTRY,
)
LEADER: Final = Gauge(
    "vectorops_leader", "1 while this process is the leader and reconciles, 0 while it stands by.", registry=REGISTRY
)
KUBERNETES_REQUESTS: Final = Counter(
    "vectorops_kubernetes_requests",
    "Requests to the Kubernetes API; method WATCH: once when it begins. code: HTTP status, or the class of the error.",
    ("method", "code"),
    registry=REGISTRY,
)
UNREADABLE: Final = Counter(
    "vectorops_unreadable_resources",
    "Resources from a list or a watch that cannot be parsed; they are skipped, and the log names them.",
    ("kind",),
    registry=REGISTRY,
)
LAST_LIST: Final = Gauge(
    "vectorops_last_list_timestamp_seconds", "When all resources were last listed (Unix time).", registry=REGISTRY
)
QDRANT_REQUESTS: Final = Counter(
    "vectorops_qdrant_requests",
    "Requests to Qdrant. server: host:port of the URL. code: HTTP status, gRPC code, or class of the error.",
    ("server", "operation", "code"),
    registry=REGISTRY,
)
QDRANT_REQUEST_SECONDS: Final = Histogram(
    "vectorops_qdrant_request_seconds",
    "How long one request to Qdrant took.",
    ("server", "operation"),
    buckets=(0.005, 0.025, 0.1, 0.5, 2, 10, 60),
    registry=REGISTRY,
)
POINTS: Final = Gauge(
    "vectorops_points",
    "Declared points of all PointSets by their state in status: synced, failed, conflicting.",
    ("state",),
    registry=REGISTRY,
)
POINT_OUTCOMES: Final = Counter(
    "vectorops_point_outcomes",
    "Points by what was done: written, deleted; and, once for each reconciliation, unchanged, failed, conflicting.",
    ("outcome",),
    registry=REGISTRY,
)
SOURCE_UNREAD_SINCE: Final = Gauge(
    "vectorops_source_unread_since_timestamp_seconds",
    f"When the source of a PointSet was last read (Unix time), if that is {UNREAD_INTERVALS} of its refresh intervals "
    f"ago. At most {UNREAD_SHOWN}, the oldest; sources that are read in time have no series.",
    ("resource_namespace", "name"),
    registry=REGISTRY,
)
COLLECTION_CHECK: Final = Gauge(
    "vectorops_collection_check",
    "How a collection answered its checks the last time. measure: recall, mrr, overlap, or latency_ratio (the median "
    f"answer in multiples of the old collection's). At most {CHECKS_SHOWN} collections.",
    ("resource_namespace", "name", "measure"),
    registry=REGISTRY,
)
MIGRATION_SINCE: Final = Gauge(
    "vectorops_migration_since_timestamp_seconds",
    "Since when a collection is in this phase of a migration. phase: Held, Filling, Checking, GracePeriod, or "
    f"RolledBack. A collection without a migration has no series. At most {MIGRATIONS_SHOWN}, the oldest.",
    ("resource_namespace", "name", "phase"),
    registry=REGISTRY,
)
QUALITY_DEGRADED: Final = Gauge(
    "vectorops_quality_degraded",
    "1 for a collection that answers its checks worse than their thresholds allow; other collections have no series. "
    f"At most {CHECKS_SHOWN} collections.",
    ("resource_namespace", "name"),
    registry=REGISTRY,
)
SYNC_DONE: Final = Gauge(
    "vectorops_sync_done",
    "How far a long sync of a PointSet with a source is. phase: fetching (bytes), reading (rows), writing or deleting "
    f"(points). At most {LONG_SYNCS_SHOWN}, the longest; one that has ended has no series.",
    ("resource_namespace", "name", "phase"),
    registry=REGISTRY,
)
SYNC_EXPECTED: Final = Gauge(
    "vectorops_sync_expected",
    "What vectorops_sync_done will be at the end of the phase, where that is known.",
    ("resource_namespace", "name", "phase"),
    registry=REGISTRY,
)
TEXTS_EMBEDDED: Final = Counter(
    "vectorops_texts_embedded", "Texts that were sent to an embedder.", ("provider",), registry=REGISTRY
)
TEXTS_REUSED: Final = Counter(
    "vectorops_texts_reused",
    "Texts whose vector was stored in another collection, and was taken from there.",
    registry=REGISTRY,
)
TEXTS_TRUNCATED: Final = Counter(
    "vectorops_texts_truncated",
    "Texts that were longer than the model reads, so that only their beginning was embedded.",
    ("provider",),
    registry=REGISTRY,
)
TEXTS_FAILED: Final = Counter(
    "vectorops_texts_failed", "Texts that got no usable vector.", ("provider",), registry=REGISTRY
)
CLEANUPS_SKIPPED: Final = Counter(
    "vectorops_cleanups_skipped",
    "Finalizers that were removed without cleanup: what the resource created in Qdrant may remain.",
    ("kind",),
    registry=REGISTRY,
)
BUILD_INFO: Final = Gauge(
    "vectorops_build_info", "Always 1; the labels hold the versions.", ("version", "python"), registry=REGISTRY
)

BUILD_INFO.labels(metadata.version("vectorops"), platform.python_version()).set(1)
ProcessCollector(registry=REGISTRY)

# Starts at 0: Prometheus sees no increase in a series that starts with 1.
for _kind in BY_NAME:
    CLEANUPS_SKIPPED.labels(_kind)
    RECONCILE_ERRORS.labels(_kind, Reason.INTERNAL_ERROR.value)
for _outcome in ("written", "unchanged", "deleted", "failed", "conflicting"):
    POINT_OUTCOMES.labels(_outcome)

_HTTP: Final = frozenset(map(str, (200, 201, 202, 400, 401, 403, 404, 409, 413, 422, 429, 500, 502, 503, 504)))


class QdrantServers:
    """Counts the requests to each server while at least one client of it is open.

    When the last client is closed, the series of the server are removed: otherwise their number would only grow.
    """

    def __init__(self) -> None:
        self._clients: Counts[str] = Counts()
        self._shown: set[str] = set()

    def opened(self, server: str) -> None:
        """One more client of this server (host:port) is open."""
        self._clients[server] += 1
        if len(self._shown) < SERVERS_SHOWN:
            self._shown.add(server)

    def ended(self, server: str, operation: str, code: str, seconds: float) -> None:
        """A request has ended. code: HTTP status, gRPC code, or the class of the error."""
        label = server if server in self._shown else OTHER
        # The server may be something other than Qdrant, and send any number.
        known = code if not code.isdecimal() or code in _HTTP else f"{code[0]}xx"
        QDRANT_REQUESTS.labels(label, operation, known).inc()
        QDRANT_REQUEST_SECONDS.labels(label, operation).observe(seconds)

    def closed(self, server: str) -> None:
        """One client of this server is closed, and all its requests have ended."""
        self._clients[server] -= 1
        if self._clients[server]:
            return
        del self._clients[server]
        self._shown.discard(server)
        for metric in (QDRANT_REQUESTS, QDRANT_REQUEST_SECONDS):
            metric.remove_by_labels({"server": server})


QDRANT: Final = QdrantServers()


@dataclass(slots=True)
class SourceRead:
    """The last time that one source was read, in Unix time, and how often that is to be."""

    last: float
    interval_seconds: float | None
    """None: at each resync."""


class SourceReads:
    """When the source of each PointSet was last read. now: the Unix time, replaced by tests."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._reads: dict[Ref, SourceRead] = {}
        self.resync_seconds = 600.0
        """How often a source is to be read that names no interval."""

    def expect(self, point_set: Ref, interval_seconds: float | None) -> None:
        """Its source is to be read so often. One that was never read counts from the first time."""
        known = self._reads.setdefault(point_set, SourceRead(self._now(), interval_seconds))
        known.interval_seconds = interval_seconds

    def succeeded(self, point_set: Ref) -> None:
        """Its source was read, or found to be as it was read last."""
        if point_set in self._reads:
            self._reads[point_set].last = self._now()

    def forget(self, point_set: Ref) -> None:
        """It has no source that is to be read: it is gone, suspended, or its points are inline."""
        self._reads.pop(point_set, None)

    def measure(self) -> None:
        """Sets the gauge."""
        SOURCE_UNREAD_SINCE.clear()
        now = self._now()
        unread = [
            (read.last, ref.namespace, ref.name)
            for ref, read in self._reads.items()
            if now - read.last >= UNREAD_INTERVALS * (read.interval_seconds or self.resync_seconds)
        ]
        for last, namespace, name in heapq.nsmallest(UNREAD_SHOWN, unread):
            SOURCE_UNREAD_SINCE.labels(namespace, name).set(last)


SOURCE_READS: Final = SourceReads()


class CheckResults:
    """How each collection answered its checks the last time that they ran."""

    def __init__(self) -> None:
        self._measures: dict[Ref, dict[str, float]] = {}

    def record(self, collection: Ref, status: ChecksStatus) -> None:
        """status: of the checks of the collection."""
        *before, new = status.measured
        ratio = [new.latency_ms / old.latency_ms for old in before if new.latency_ms and old.latency_ms]
        found = {"recall": new.recall, "mrr": new.mrr, "overlap": new.overlap}
        measures = {name: value for name, value in found.items() if value is not None}
        self._measures[collection] = measures | ({"latency_ratio": ratio[0]} if ratio else {})

    def forget(self, collection: Ref) -> None:
        """It is gone, or has no checks any more."""
        self._measures.pop(collection, None)

    def measure(self) -> None:
        """Sets the gauge."""
        COLLECTION_CHECK.clear()
        for ref in sorted(self._measures, key=str)[:CHECKS_SHOWN]:
            for name, value in self._measures[ref].items():
                COLLECTION_CHECK.labels(ref.namespace, ref.name, name).set(value)


CHECKS: Final = CheckResults()


class SyncCounts(Protocol):
    """How far a sync is."""

    @property
    def phase(self) -> str:
        """What is counted: see `SYNC_DONE`."""

    @property
    def done(self) -> int:
        """So much of it."""

    @property
    def total(self) -> int | None:
        """How much it will be; None if it is not known."""


@dataclass(frozen=True, slots=True)
class SyncUnderWay:
    """A sync that has not ended yet."""

    point_set: Ref
    begun: float
    """On the monotonic clock."""
    counts: SyncCounts
    """Changed by the sync."""


class SyncsUnderWay:
    """The syncs of PointSets with a source. clock: seconds, replaced by tests."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._syncs: dict[Ref, SyncUnderWay] = {}

    @contextmanager
    def follow(self, point_set: Ref, counts: SyncCounts) -> Iterator[None]:
        """The sync is under way inside the block."""
        self._syncs[point_set] = SyncUnderWay(point_set, self._clock(), counts)
        try:
            yield
        finally:
            del self._syncs[point_set]

    def older(self, seconds: float) -> list[SyncUnderWay]:
        """Those that began so long ago, the oldest first. May be called from any thread."""
        latest = self._clock() - seconds
        # A copy: a sync may begin or end meanwhile.
        return [sync for sync in list(self._syncs.values()) if sync.begun <= latest]

    def measure(self) -> None:
        """Sets the gauges."""
        SYNC_DONE.clear()
        SYNC_EXPECTED.clear()
        for sync in self.older(LONG_SYNC_SECONDS)[:LONG_SYNCS_SHOWN]:
            counts = sync.counts
            labels = (sync.point_set.namespace, sync.point_set.name, counts.phase.lower())
            SYNC_DONE.labels(*labels).set(counts.done)
            if counts.total is not None:
                SYNC_EXPECTED.labels(*labels).set(counts.total)


SYNCS: Final = SyncsUnderWay()
