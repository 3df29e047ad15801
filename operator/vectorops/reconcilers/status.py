"""How a new status grows out of the old one, decided without talking to anyone."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Literal

from vectorops.api.meta import TAKE_OVER_FROM, Condition, JsonObject, Resource, Status
from vectorops.api.reasons import Reason
from vectorops.errors import GaveWay, Terminal, VectorOpsError


def conditions(
    ready: bool | None,
    reason: Reason,
    message: str,
    *,
    reconciling: bool = False,
    stalled: bool = False,
    drifted: str = "",
) -> list[Condition]:
    """The conditions of a resource, as kstatus reads them: Reconciling and Stalled exist only while true.

    drifted: what differs from the declaration, if it is reported rather than corrected.
    """
    status: Literal["True", "False", "Unknown"] = "Unknown" if ready is None else "True" if ready else "False"
    found = [Condition(type="Ready", status=status, reason=reason.value, message=message)]
    if reconciling:
        found.append(Condition(type="Reconciling", status="True", reason=reason.value, message=message))
    if stalled:
        found.append(Condition(type="Stalled", status="True", reason=reason.value, message=message))
    if drifted:
        found.append(Condition(type="Drifted", status="True", reason=Reason.DRIFTED.value, message=drifted))
    return found


def updated(resource: Resource, new: Status) -> JsonObject:
    """What `merge` takes: the fields that were set, and of the old status all others.

    Without the progress of a pass: a run that ends has ended it.
    """
    old = {name: value for name, value in without_conditions(resource.status).items() if name != "progress"}
    return {**old, **new.dump_set()}


def merge(old: JsonObject, new: JsonObject, *, now: datetime, generation: int) -> JsonObject:
    """The status to write: `new`, with the transition times of conditions whose status did not change kept from `old`.

    `new` never carries times or generations; a null in it is left out. If the result equals `old`, nothing may be
    written.
    """
    before = {condition.get("type"): condition for condition in old.get("conditions", ())}
    merged = {key: value for key, value in new.items() if value is not None}
    merged["observedGeneration"] = generation
    merged["conditions"] = [
        _timed(condition, before.get(condition["type"]), now, generation) for condition in new.get("conditions", ())
    ]
    return merged


def _timed(condition: JsonObject, before: JsonObject | None, now: datetime, generation: int) -> JsonObject:
    unchanged = before is not None and before.get("status") == condition["status"]
    time = before.get("lastTransitionTime") if before is not None and unchanged else None
    return {
        **condition,
        "observedGeneration": generation,
        "lastTransitionTime": time or now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


def failed(resource: Resource, error: VectorOpsError) -> JsonObject:
    """The status after an error: what was known stays, the conditions tell what is wrong."""
    terminal = isinstance(error, Terminal)
    reason = (
        Reason.DELETING if resource.deleting and not terminal and error.reason is Reason.PROGRESSING else error.reason
    )
    failure = Status(conditions=conditions(False, reason, error.message, reconciling=not terminal, stalled=terminal))
    known = updated(resource, failure)
    if isinstance(error, GaveWay) and "progress" in resource.status:
        # The pass that it tells of goes on.
        known["progress"] = resource.status["progress"]
    if TAKE_OVER_FROM not in resource.meta.annotations:
        # The annotation was removed. Setting the same value again is a new request.
        known.pop("lastHandledTakeOverFrom", None)
    return known


def suspended(resource: Resource) -> Status:
    """The status while `spec.suspend` is true: what was known stays, and Ready says why it no longer moves."""
    before = resource.condition("Ready")
    known = {"True": True, "False": False}.get(before["status"]) if before else None
    if "progress" in resource.status:
        # A pass over its points was ended on the way.
        known = False
    message = "spec.suspend is true: nothing is compared and nothing is changed"
    return Status(conditions=conditions(known, Reason.SUSPENDED, message))


def without_conditions(status: JsonObject) -> JsonObject:
    """All of a status but what `merge` makes."""
    return {key: value for key, value in status.items() if key not in ("conditions", "observedGeneration")}


def ready_reason(status: JsonObject) -> tuple[Any, Any]:
    """(status, reason) of Ready; an event tells when it changes, and dependants are woken."""
    for condition in status.get("conditions", ()):
        if condition.get("type") == "Ready":
            return condition.get("status"), condition.get("reason")
    return None, None
