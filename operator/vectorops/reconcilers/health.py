"""Is a collection well, as Qdrant says in the answer that is read anyway?

Reported beside Ready, which says that it is as declared: one may be so without the other. Nothing that comes and goes
by itself is reported: yellow is a collection at work, and grey one that has something to do at its next write; so grey
counts only if the reconciliation before found it, too.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from vectorops.api.collection import HealthStatus, QdrantCollectionStatus
from vectorops.api.meta import Condition, Resource
from vectorops.api.reasons import Reason
from vectorops.qdrant.observe import Health
from vectorops.reconcilers.base import Outcome

WELL: Final = frozenset({"green", "yellow"})
GREY_SECONDS: Final = 60.0
"""When to reconcile one again that is grey."""
SHOWN_CHARACTERS: Final = 500


def with_health(outcome: Outcome, resource: Resource, health: Health) -> Outcome:
    """The same answer with what Qdrant says of the collection, if it is not well. resource: as it was read."""
    assert isinstance(outcome.status, QdrantCollectionStatus), "of a collection that is there"
    if health.color in WELL and not health.optimizer and not health.warnings:
        return replace(outcome, status=outcome.status.model_copy(update={"health": None}))
    # Yellow comes and goes also beside a warning.
    color = "green" if health.color in WELL else health.color
    shown = HealthStatus(color=color, optimizer=health.optimizer or None, warnings=list(health.warnings))
    before = (resource.status.get("health") or {}).get("color")
    is_new = color == "grey" and before != "grey"
    shown_conditions = list(outcome.status.conditions)
    if words := _words(replace(health, color="green") if is_new else health):
        shown_conditions.append(
            Condition(type="Unhealthy", status="True", reason=Reason.UNHEALTHY.value, message=words)
        )
    status = outcome.status.model_copy(update={"health": shown, "conditions": shown_conditions})
    again = min(outcome.requeue_after or GREY_SECONDS, GREY_SECONDS) if is_new else outcome.requeue_after
    return replace(outcome, status=status, requeue_after=again)


def _words(health: Health) -> str:
    """For people, "" for nothing that is worth telling."""
    parts = []
    if health.color == "red":
        parts.append("Qdrant says red: an operation on the collection failed, and its log says which")
    elif health.color not in WELL:
        parts.append(f"Qdrant says {health.color}: it optimizes the collection only once something is written into it")
    if health.optimizer:
        parts.append(f"its optimizer failed: {health.optimizer}")
    parts += [f"Qdrant warns: {warning}" for warning in health.warnings]
    return "; ".join(parts)[:SHOWN_CHARACTERS]
