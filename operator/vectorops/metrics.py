"""What Prometheus may read; docs/metrics.md tells of each which question it answers.

Set where it happens: by `kube`, by the doors to Qdrant (`QDRANT`), by the embedders, by `points`, and by reconcilers
for rare events that deserve an alert. Served by `kube.health`.

However many resources there are, and whatever tenants declare, the series are bounded: nothing is labeled by object but
`vectorops_not_ready_since_timestamp_seconds`, which has an end, as have the servers of Qdrant. No label has a name that
Prometheus gives to targets in Kubernetes (namespace, pod, endpoint, ...): it would rename ours.
"""

from __future__ import annotations

import platform
from collections import Counter as Counts
from importlib import metadata
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, disable_created_metrics

from vectorops.api.kinds import BY_NAME
from vectorops.api.reasons import Reason

SERVERS_SHOWN: Final = 50
"""Servers of Qdrant with series of their own, each at most a few hundred; tenants declare as many as they like."""
OTHER: Final = "other"
"""The label `server` of all further ones."""
NOT_READY_SHOWN: Final = 500
"""Resources that are not Ready and have a series: those that have been so for longest."""

REGISTRY: Final = CollectorRegistry()
# Else every counter is two series.
disable_created_metrics()  # type: ignore[no-untyped-call]

RECONCILE: Final = Counter(
    "vectorops_reconcile",
    "Reconciliations. result: success, waiting (for a dependency), transient, terminal, or error (unforeseen).",
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
    "Resources that wait for a worker, not those that wait for a time.",
    ("lane",),
    registry=REGISTRY,
)
QUEUE_OLDEST_SECONDS: Final = Gauge(
    "vectorops_queue_oldest_seconds", "For how long the first of them has been waiting.", ("lane",), registry=REGISTRY
)
QUEUE_RUNNING: Final = Gauge("vectorops_queue_running", "Reconciliations that run now.", registry=REGISTRY)
QUEUE_LONGEST_RUN_SECONDS: Final = Gauge(
    "vectorops_queue_longest_run_seconds", "For how long the longest of them has been running.", registry=REGISTRY
)
CHANGES: Final = Counter(
    "vectorops_changes",
    "Changes of resources that were seen: made, edited, annotated, being deleted. A start counts what is not Ready.",
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
    "Collections of which Qdrant says that something is wrong. problem: red, grey, optimizer (failed), or warning.",
    ("problem",),
    registry=REGISTRY,
)
NOT_READY_SINCE: Final = Gauge(
    "vectorops_not_ready_since_timestamp_seconds",
    "Since when a resource is not Ready (Unix time), and why. stalled: true if only a person can help. "
    f"At most {NOT_READY_SHOWN}, the oldest; those that are Ready have no series.",
    ("kind", "resource_namespace", "name", "reason", "stalled"),
    registry=REGISTRY,
)
LAST_SUCCESS: Final = Gauge(
    "vectorops_last_success_timestamp_seconds",
    "When a resource of this kind was last reconciled with success (Unix time); while none was, the operator's start.",
    ("kind",),
    registry=REGISTRY,
)
OLDEST_LOOK: Final = Gauge(
    "vectorops_oldest_look_timestamp_seconds",
    "When the resource of this kind that was not looked at for longest was looked at (Unix time).",
    ("kind",),
    registry=REGISTRY,
)
RESYNC_INTERVAL_SECONDS: Final = Gauge(
    "vectorops_resync_interval_seconds",
    "How often all resources are listed and looked at, as the operator was told; what is old is measured by it.",
    registry=REGISTRY,
)
LEADER: Final = Gauge(
    "vectorops_leader", "1 while this process reconciles, 0 while it stands by for another.", registry=REGISTRY
)
KUBERNETES_REQUESTS: Final = Counter(
    "vectorops_kubernetes_requests",
    "Requests to the Kubernetes API; method WATCH: once when it begins. code: HTTP status, or the class of the error.",
    ("method", "code"),
    registry=REGISTRY,
)
UNREADABLE: Final = Counter(
    "vectorops_unreadable_resources",
    "Resources that a list or a watch showed and nobody can read; they are left out, and the log names them.",
    ("kind",),
    registry=REGISTRY,
)
LIST_SUCCESS: Final = Gauge(
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
    "Declared points of all PointSets by what their status says of them: synced, failed, conflicting.",
    ("state",),
    registry=REGISTRY,
)
POINT_OUTCOMES: Final = Counter(
    "vectorops_point_outcomes",
    "What became of points: written, deleted; and, once for each pass over them, unchanged, failed, conflicting.",
    ("outcome",),
    registry=REGISTRY,
)
TEXTS_EMBEDDED: Final = Counter(
    "vectorops_texts_embedded", "Texts that were given to an embedder.", ("provider",), registry=REGISTRY
)
TEXTS_TRUNCATED: Final = Counter(
    "vectorops_texts_truncated",
    "Texts that were longer than the model reads, so that only their beginning counts.",
    ("provider",),
    registry=REGISTRY,
)
TEXTS_FAILED: Final = Counter(
    "vectorops_texts_failed", "Texts that got no usable vector.", ("provider",), registry=REGISTRY
)
FINALIZERS_LET_GO: Final = Counter(
    "vectorops_finalizers_let_go",
    "Resources that were let go although their cleanup had not been done: what they made in Qdrant may remain.",
    ("kind",),
    registry=REGISTRY,
)
BUILD_INFO: Final = Gauge(
    "vectorops_build_info", "Always 1; the labels tell.", ("version", "python"), registry=REGISTRY
)

BUILD_INFO.labels(metadata.version("vectorops"), platform.python_version()).set(1)
ProcessCollector(registry=REGISTRY)

# Begun at 0: Prometheus sees no increase in a series that begins with 1.
for _kind in BY_NAME:
    FINALIZERS_LET_GO.labels(_kind)
    RECONCILE_ERRORS.labels(_kind, Reason.INTERNAL_ERROR.value)
for _outcome in ("written", "unchanged", "deleted", "failed", "conflicting"):
    POINT_OUTCOMES.labels(_outcome)

_HTTP: Final = frozenset(map(str, (200, 201, 202, 400, 401, 403, 404, 409, 413, 422, 429, 500, 502, 503, 504)))


class QdrantServers:
    """What is counted of the requests to each server, from the first door to it to the end of the last.

    The requests of connections that go are forgotten, or the series would never end.
    """

    def __init__(self) -> None:
        self._doors: Counts[str] = Counts()
        self._shown: set[str] = set()

    def opened(self, server: str) -> None:
        """There is one more door to this server (host:port)."""
        self._doors[server] += 1
        if len(self._shown) < SERVERS_SHOWN:
            self._shown.add(server)

    def ended(self, server: str, operation: str, code: str, seconds: float) -> None:
        """A request has ended. code: HTTP status, gRPC code, or the class of the error."""
        label = server if server in self._shown else OTHER
        # What answers need not be Qdrant: it could send any number.
        known = code if not code.isdecimal() or code in _HTTP else f"{code[0]}xx"
        QDRANT_REQUESTS.labels(label, operation, known).inc()
        QDRANT_REQUEST_SECONDS.labels(label, operation).observe(seconds)

    def closed(self, server: str) -> None:
        """One of the doors is closed, and nothing goes through it any more."""
        self._doors[server] -= 1
        if self._doors[server]:
            return
        del self._doors[server]
        self._shown.discard(server)
        for metric in (QDRANT_REQUESTS, QDRANT_REQUEST_SECONDS):
            metric.remove_by_labels({"server": server})


QDRANT: Final = QdrantServers()
