"""What Prometheus may read, named after controller-runtime's where it has the same. Nothing is labeled by object.

Set by `kube`, by Qdrant connections (`observe_qdrant`), and by reconcilers for rare events that deserve an alert.
Served by `kube.health`.
"""

from __future__ import annotations

import platform
from importlib import metadata
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, disable_created_metrics

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
RESOURCES: Final = Gauge(
    "vectorops_resources",
    "Resources by the status and reason of their condition Ready.",
    ("kind", "ready", "reason"),
    registry=REGISTRY,
)
LIST_SUCCESS: Final = Gauge(
    "vectorops_last_list_timestamp_seconds", "When all resources were last listed (Unix time).", registry=REGISTRY
)
QDRANT_REQUESTS: Final = Counter(
    "vectorops_qdrant_requests", "Requests to Qdrant. code: OK or the error.", ("operation", "code"), registry=REGISTRY
)
QDRANT_REQUEST_SECONDS: Final = Histogram(
    "vectorops_qdrant_request_seconds",
    "How long one request to Qdrant took.",
    ("operation",),
    buckets=(0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 15, 60),
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


def observe_qdrant(operation: str, code: str, seconds: float) -> None:
    """One request to Qdrant has ended; given to `qdrant.connect.connect`."""
    QDRANT_REQUESTS.labels(operation, code).inc()
    QDRANT_REQUEST_SECONDS.labels(operation).observe(seconds)
