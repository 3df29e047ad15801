"""Whether what was seen of an object is worth a look, decided without talking to anyone. Called by `controller`.

Every status that we write comes back as a watch event. Were those looked at, each reconciliation would cause the next
one, and the backoff of a failing resource would be defeated by its own error message.
"""

from __future__ import annotations

from dataclasses import dataclass

from vectorops.api.meta import ANNOTATIONS, FINALIZER, Resource
from vectorops.queue import Lane


@dataclass(frozen=True, slots=True)
class Mark:
    """What of an object makes a difference to us. Spec changes move the generation; status is not in it."""

    uid: str
    generation: int
    deleting: bool
    annotations: tuple[str | None, ...]
    has_finalizer: bool

    @classmethod
    def of(cls, resource: Resource) -> Mark:
        """The mark of an object as it was seen."""
        meta = resource.meta
        return cls(
            uid=meta.uid,
            generation=meta.generation,
            deleting=resource.deleting,
            annotations=tuple(meta.annotations.get(name) for name in ANNOTATIONS),
            has_finalizer=FINALIZER in meta.finalizers,
        )


def lane_for(before: Mark | None, resource: Resource) -> Lane | None:
    """In which lane an object is to be looked at after it was seen; None: there is nothing new.

    before: its mark when it was last seen.
    """
    now = Mark.of(resource)
    if before is None:
        # At a start nearly all are settled, and those that are not must not wait behind them.
        return Lane.RESYNC if resource.ready and not resource.deleting else Lane.CHANGE
    if _without_finalizer(before) != _without_finalizer(now):
        return Lane.CHANGE
    # Nobody but us adds our finalizer, so that it came is an echo; that it went while the object lives is tampering.
    lost = before.has_finalizer and not now.has_finalizer and not now.deleting
    return Lane.CHANGE if lost else None


def _without_finalizer(mark: Mark) -> tuple[object, ...]:
    return mark.uid, mark.generation, mark.deleting, mark.annotations
