"""The statuses of all resources, summed up for Prometheus.

It keeps one small record for each resource in memory, and computes nothing without a scrape.
"""

from __future__ import annotations

import heapq
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from vectorops import metrics
from vectorops.api.meta import JsonObject, Ref
from vectorops.api.reasons import Reason
from vectorops.reconcilers.status import ready_reason

POINT_STATES: Final = {"synced": "synced", "failed": "failed", "conflicts": "conflicting"}
"""Fields of `status.points` of a PointSet, and the label of each."""

PROBLEMS: Final = ("red", "grey", "optimizer", "warning")
"""Problems that Qdrant may report for a collection."""


@dataclass(frozen=True, slots=True)
class ResourceState:
    """One resource after its last reconciliation. All times are Unix times."""

    ready: str
    reason: str
    stalled: bool
    since: float
    """The last transition of Ready."""
    points: tuple[tuple[str, int], ...]
    problems: tuple[str, ...]
    """Labels of `UNHEALTHY_COLLECTIONS`."""
    degraded: bool
    """Does it answer its checks too badly?"""
    migration: tuple[float, str] | None
    """Since when it is in which phase of a migration; None: it is in none."""
    reconciled: float
    """The end of the last reconciliation."""
    succeeded: float
    """The end of the last successful reconciliation."""


class Tally:
    """All reconciled resources. now: the Unix time, replaced by tests."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._started = now()
        self._states: dict[Ref, ResourceState] = {}

    def put(self, ref: Ref, status: JsonObject, *, success: bool) -> None:
        """Records the status after a reconciliation."""
        now, before = self._now(), self._states.get(ref)
        conditions = {condition["type"]: condition for condition in status.get("conditions", ())}
        ready, reason = ready_reason(status)
        counts, health = status.get("points", {}), status.get("health") or {}
        problems = {
            "red": health.get("color") == "red",
            "grey": health.get("color") == "grey",
            "optimizer": bool(health.get("optimizer")),
            "warning": bool(health.get("warnings")),
        }
        self._states[ref] = ResourceState(
            ready=str(ready),
            reason=str(reason),
            stalled="Stalled" in conditions,
            since=datetime.fromisoformat(conditions["Ready"]["lastTransitionTime"]).timestamp(),
            points=tuple((label, counts.get(field, 0)) for field, label in POINT_STATES.items() if field in counts),
            problems=tuple(problem for problem in PROBLEMS if problems[problem]),
            migration=_migration_of(status),
            degraded=Reason.QUALITY_DEGRADED.value in conditions,
            reconciled=now,
            succeeded=now if success else before.succeeded if before else self._started,
        )

    def remove(self, ref: Ref) -> bool:
        """Forgets a deleted resource. Was it known?"""
        metrics.SOURCE_READS.forget(ref)
        metrics.CHECKS.forget(ref)
        return self._states.pop(ref, None) is not None

    def measure(self) -> None:
        """Sets all gauges. Deleted resources get no series."""
        metrics.SOURCE_READS.measure()
        metrics.CHECKS.measure()
        metrics.SYNCS.measure()
        for gauge in (metrics.RESOURCES, metrics.NOT_READY_SINCE, metrics.LAST_SUCCESS, metrics.OLDEST_RECONCILE):
            gauge.clear()
        for labels, count in Counter(
            (ref.kind, state.ready, state.reason) for ref, state in self._states.items()
        ).items():
            metrics.RESOURCES.labels(*labels).set(count)
        for kind in {ref.kind for ref in self._states}:
            states = [state for ref, state in self._states.items() if ref.kind == kind]
            metrics.LAST_SUCCESS.labels(kind).set(max(state.succeeded for state in states))
            metrics.OLDEST_RECONCILE.labels(kind).set(min(state.reconciled for state in states))
        not_ready = ((ref, state) for ref, state in self._states.items() if state.ready != "True")
        oldest = heapq.nsmallest(metrics.NOT_READY_SHOWN, not_ready, key=lambda one: (one[1].since, str(one[0])))
        for ref, state in oldest:
            stalled = "true" if state.stalled else "false"
            metrics.NOT_READY_SINCE.labels(ref.kind, ref.namespace, ref.name, state.reason, stalled).set(state.since)
        metrics.MIGRATION_SINCE.clear()
        migrations = ((state.migration, ref) for ref, state in self._states.items() if state.migration is not None)
        for (since, phase), ref in heapq.nsmallest(
            metrics.MIGRATIONS_SHOWN, migrations, key=lambda one: (one[0][0], str(one[1]))
        ):
            metrics.MIGRATION_SINCE.labels(ref.namespace, ref.name, phase).set(since)
        metrics.QUALITY_DEGRADED.clear()
        degraded = sorted((ref for ref, state in self._states.items() if state.degraded), key=str)
        for ref in degraded[: metrics.CHECKS_SHOWN]:
            metrics.QUALITY_DEGRADED.labels(ref.namespace, ref.name).set(1)
        problems = Counter(dict.fromkeys(PROBLEMS, 0))
        for state in self._states.values():
            problems.update(state.problems)
        for label, number in problems.items():
            metrics.UNHEALTHY_COLLECTIONS.labels(label).set(number)
        points: Counter[str] = Counter(dict.fromkeys(POINT_STATES.values(), 0))
        for state in self._states.values():
            points.update(dict(state.points))
        for label, number in points.items():
            metrics.POINTS.labels(label).set(number)


def _migration_of(status: JsonObject) -> tuple[float, str] | None:
    migration = status.get("migration")
    if migration is None:
        return None
    return datetime.fromisoformat(migration["since"]).timestamp(), str(migration["phase"])
