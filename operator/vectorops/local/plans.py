"""What `plan` finds out, as data."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from vectorops.api.meta import JsonObject, Ref

PlanAction = Literal["create", "update", "delete", "adopt", "hold"]


@dataclass(frozen=True, slots=True)
class PlannedChange:
    """One thing that `apply` would do."""

    action: PlanAction
    """`adopt`: `apply` would own what is there, and leave its content. `hold`: `apply` would not do it before somebody
    approves it.
    """
    description: str
    """In lines, for people."""


@dataclass(frozen=True, slots=True)
class ResourcePlan:
    """What would become of one resource."""

    kind: str
    namespace: str
    name: str
    changes: tuple[PlannedChange, ...] = ()
    remarks: tuple[str, ...] = ()
    """What is worth knowing and no change."""
    problem: str | None = None
    """Why it would not become ready."""
    points: JsonObject | None = None
    """Of a PointSet: the ids that are new, changed, deleted, adopted, conflicting and failed, and how many are
    unchanged; `counts` of all of them, and of the texts: to embed, and reused. Of a set with a source, the first few
    ids only.
    """


def planned(
    ref: Ref,
    changes: Iterable[PlannedChange] = (),
    *,
    remarks: Iterable[str] = (),
    problem: str | None = None,
    points: JsonObject | None = None,
) -> ResourcePlan:
    """The plan of one resource."""
    return ResourcePlan(ref.kind, ref.namespace, ref.name, tuple(changes), tuple(remarks), problem, points)
