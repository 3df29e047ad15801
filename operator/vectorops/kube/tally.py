"""What the resources' own statuses say, summed up when Prometheus asks. Kept by `controller`, in memory only.

One small record for each resource; nothing is computed while nobody asks.
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
from vectorops.reconcilers.status import ready_reason

POINT_STATES: Final = {"synced": "synced", "failed": "failed", "conflicts": "conflicting"}
"""Fields of `status.points` of a PointSet, and the label of each."""


PROBLEMS: Final = ("red", "grey", "optimizer", "warning")
"""What may be wrong with a collection, as Qdrant says."""


@dataclass(frozen=True, slots=True)
class State:
    """One resource after a look at it. All times are Unix times.

    problems: what Qdrant says of the collection, as the label of `UNHEALTHY_COLLECTIONS`.
    since: the last transition of Ready. succeeded: the end of the last look that was a success.
    """

    ready: str
    reason: str
    stalled: bool
    since: float
    points: tuple[tuple[str, int], ...]
    problems: tuple[str, ...]
    looked: float
    succeeded: float


class Tally:
    """All resources that were looked at. now: the Unix time, injected for tests."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._began = now()
        self._states: dict[Ref, State] = {}

    def put(self, ref: Ref, status: JsonObject, *, success: bool) -> None:
        """A look at a resource has ended; its status is now so."""
        now, before = self._now(), self._states.get(ref)
        self._states[ref] = _state(
            status, looked=now, succeeded=now if success else before.succeeded if before else self._began
        )

    def remove(self, ref: Ref) -> bool:
        """The resource is gone. Was it known?"""
        return self._states.pop(ref, None) is not None

    def measure(self) -> None:
        """Sets all gauges anew, so that what is gone has no series."""
        for gauge in (metrics.RESOURCES, metrics.NOT_READY_SINCE, metrics.LAST_SUCCESS, metrics.OLDEST_RECONCILE):
            gauge.clear()
        for labels, count in Counter(
            (ref.kind, state.ready, state.reason) for ref, state in self._states.items()
        ).items():
            metrics.RESOURCES.labels(*labels).set(count)
        for kind in {ref.kind for ref in self._states}:
            states = [state for ref, state in self._states.items() if ref.kind == kind]
            metrics.LAST_SUCCESS.labels(kind).set(max(state.succeeded for state in states))
            metrics.OLDEST_RECONCILE.labels(kind).set(min(state.looked for state in states))
        for ref, state in self._longest_not_ready():
            stalled = "true" if state.stalled else "false"
            metrics.NOT_READY_SINCE.labels(ref.kind, ref.namespace, ref.name, state.reason, stalled).set(state.since)
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

    def _longest_not_ready(self) -> list[tuple[Ref, State]]:
        not_ready = ((ref, state) for ref, state in self._states.items() if state.ready != "True")
        return heapq.nsmallest(metrics.NOT_READY_SHOWN, not_ready, key=lambda one: (one[1].since, str(one[0])))


def _state(status: JsonObject, *, looked: float, succeeded: float) -> State:
    conditions = {condition["type"]: condition for condition in status.get("conditions", ())}
    ready, reason = ready_reason(status)
    counts = status.get("points", {})
    return State(
        ready=str(ready),
        reason=str(reason),
        stalled="Stalled" in conditions,
        since=datetime.fromisoformat(conditions["Ready"]["lastTransitionTime"]).timestamp(),
        points=tuple((label, counts.get(field, 0)) for field, label in POINT_STATES.items() if field in counts),
        problems=_problems(status.get("health") or {}),
        looked=looked,
        succeeded=succeeded,
    )


def _problems(health: JsonObject) -> tuple[str, ...]:
    """health: `status.health` of a QdrantCollection, empty if it is well."""
    found = {
        "red": health.get("color") == "red",
        "grey": health.get("color") == "grey",
        "optimizer": bool(health.get("optimizer")),
        "warning": bool(health.get("warnings")),
    }
    return tuple(problem for problem in PROBLEMS if found[problem])
