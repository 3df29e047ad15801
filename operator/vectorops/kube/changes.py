"""Does an observed object need a reconciliation? Decided without talking to anyone.

Every status that we write comes back as a watch event. If these were reconciled, each reconciliation would cause the
next one, and a failing resource would bypass its own backoff.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from vectorops.api.meta import ANNOTATIONS, FINALIZER, Resource
from vectorops.queue import Lane


@dataclass(frozen=True, slots=True)
class SeenState:
    """The part of an object whose change matters. A change of spec raises the generation; status is no part of it."""

    uid: str
    generation: int
    deleting: bool
    annotations: tuple[str | None, ...]
    has_finalizer: bool

    @classmethod
    def of(cls, resource: Resource) -> SeenState:
        """From an object as it was observed."""
        meta = resource.meta
        return cls(
            uid=meta.uid,
            generation=meta.generation,
            deleting=resource.deleting,
            annotations=tuple(meta.annotations.get(name) for name in ANNOTATIONS),
            has_finalizer=FINALIZER in meta.finalizers,
        )


def lane_for(before: SeenState | None, resource: Resource) -> Lane | None:
    """The lane in which to enqueue an observed object; None if nothing changed. before: from its last observation."""
    now = SeenState.of(resource)
    if before is None:
        # At a start nearly all resources are Ready, and the others must not wait behind them.
        return Lane.RESYNC if resource.ready and not resource.deleting else Lane.CHANGE
    if replace(before, has_finalizer=now.has_finalizer) != now:
        return Lane.CHANGE
    # We added the finalizer ourselves, so its arrival is an echo. If it disappears from a live object, others removed
    # it.
    lost = before.has_finalizer and not now.has_finalizer and not now.deleting
    return Lane.CHANGE if lost else None
