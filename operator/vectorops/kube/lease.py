"""Who may lead, decided without talking to anyone. Called by `election`.

The protocol is client-go's, so that `kubectl get lease` shows what one expects: a Lease names its holder, who renews
it; another may take it once it has stood unchanged for as long as it says. Nobody compares clocks: each measures with
its own for how long it has seen no change.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Self

from vectorops.api.meta import JsonObject

API_VERSION: Final = "coordination.k8s.io/v1"

GIVE_UP: Final = 2 / 3
"""Share of its duration after which a Lease that could not be renewed is given up: before another may take it."""
RENEW: Final = 1 / 6
"""Share of it between two renewals: one may fail, and the one after it, before it is given up."""
LOOK: Final = 1 / 15
"""Share of it between two looks of those who stand by: how long an orderly hand-over takes at most."""


@dataclass(frozen=True, slots=True)
class Record:
    """What a Lease says. holder: empty if it was released. Two records are equal if nobody renewed in between."""

    holder: str
    seconds: float | None
    transitions: int
    acquired: str | None
    renewed: str | None

    @classmethod
    def of(cls, lease: JsonObject) -> Self:
        """From the object, of whose fields somebody may have removed any."""
        spec: dict[str, Any] = lease.get("spec") or {}
        seconds = spec.get("leaseDurationSeconds")
        return cls(
            holder=spec.get("holderIdentity") or "",
            seconds=float(seconds) if seconds else None,
            transitions=spec.get("leaseTransitions") or 0,
            acquired=spec.get("acquireTime"),
            renewed=spec.get("renewTime"),
        )

    def spec(self) -> JsonObject:
        """As it is written."""
        return {
            "holderIdentity": self.holder,
            # Whole and at least 1, says the API.
            "leaseDurationSeconds": max(1, round(self.seconds or 1)),
            "leaseTransitions": self.transitions,
            "acquireTime": self.acquired,
            "renewTime": self.renewed,
        }


@dataclass(frozen=True, slots=True)
class Sighting:
    """A record, and when it was first seen so, by `time.monotonic()`."""

    record: Record
    since: float


NOBODY: Final = Record(holder="", seconds=None, transitions=0, acquired=None, renewed=None)


def seen(before: Sighting | None, record: Record | None, now: float) -> Sighting:
    """What is known after one more look. record: None if there is no Lease."""
    found = record or NOBODY
    return before if before is not None and before.record == found else Sighting(found, now)


def may_take(sighting: Sighting, identity: str, now: float, *, seconds: float) -> bool:
    """May we make the Lease ours? seconds: what counts where the record does not say how long it lasts.

    One that names us is of an earlier process of this pod, which has ended: a pod runs one at a time.
    """
    record = sighting.record
    return record.holder in ("", identity) or now - sighting.since >= (record.seconds or seconds)


def taken(before: Record | None, identity: str, seconds: float, at: datetime) -> Record:
    """The record that makes it ours, or renews it."""
    if before is not None and before.holder == identity:
        return Record(identity, seconds, before.transitions, before.acquired or timestamp(at), timestamp(at))
    transitions = before.transitions + 1 if before is not None else 0
    return Record(identity, seconds, transitions, timestamp(at), timestamp(at))


def released(before: Record, at: datetime) -> Record:
    """The record that leaves it to whoever comes first."""
    return Record("", 1.0, before.transitions, timestamp(at), timestamp(at))


def timestamp(at: datetime) -> str:
    """A MicroTime of Kubernetes."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
