"""Which replica may lead, decided without talking to anyone.

The protocol is client-go's, so `kubectl get lease` shows the usual fields. A Lease names its holder, which renews it.
Another process may take it after its duration without a renewal. No clocks are compared: each process measures with its
own clock how long it has seen no change.

`kubernetes.aio.leaderelection` is not used: it compares wall clocks, cannot release the Lease, and has no check before
a request.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Self

from vectorops.api.meta import JsonObject

API_VERSION: Final = "coordination.k8s.io/v1"

GIVE_UP: Final = 2 / 3
"""Share of its duration after which a leader that could not renew the Lease gives up: before others may take it."""
RENEW: Final = 1 / 6
"""Share of it between two renewals: two in a row may fail before the leader gives up."""
POLL: Final = 1 / 15
"""Share of it between two reads of a standby replica: the longest time of an orderly change of leaders."""


@dataclass(frozen=True, slots=True)
class LeaseRecord:
    """The content of a Lease. Two records are equal if it was not renewed in between."""

    holder: str
    """Empty if it was released."""
    seconds: float | None
    transitions: int
    acquired: str | None
    renewed: str | None

    @classmethod
    def of(cls, lease: JsonObject) -> Self:
        """From the object. Any of its fields may be missing."""
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
        """The spec to write."""
        return {
            "holderIdentity": self.holder,
            # The API requires a whole number from 1.
            "leaseDurationSeconds": max(1, round(self.seconds or 1)),
            "leaseTransitions": self.transitions,
            "acquireTime": self.acquired,
            "renewTime": self.renewed,
        }


@dataclass(frozen=True, slots=True)
class Sighting:
    """A record, and when it was first seen, by `time.monotonic()`."""

    record: LeaseRecord
    since: float


NOBODY: Final = LeaseRecord(holder="", seconds=None, transitions=0, acquired=None, renewed=None)


def update_sighting(before: Sighting | None, record: LeaseRecord | None, now: float) -> Sighting:
    """The sighting after another read. record: None if there is no Lease."""
    found = record or NOBODY
    return before if before is not None and before.record == found else Sighting(found, now)


def may_take(sighting: Sighting, identity: str, now: float, *, seconds: float) -> bool:
    """May this process take the Lease? seconds: its duration if the record names none.

    A record with our identity is from an earlier process of this pod, which has ended: a pod runs one at a time.
    """
    record = sighting.record
    return record.holder in ("", identity) or now - sighting.since >= (record.seconds or seconds)


def take(before: LeaseRecord | None, identity: str, seconds: float, at: datetime) -> LeaseRecord:
    """The record that takes the Lease, or renews it."""
    if before is not None and before.holder == identity:
        return LeaseRecord(identity, seconds, before.transitions, before.acquired or timestamp(at), timestamp(at))
    transitions = before.transitions + 1 if before is not None else 0
    return LeaseRecord(identity, seconds, transitions, timestamp(at), timestamp(at))


def release(before: LeaseRecord, at: datetime) -> LeaseRecord:
    """The record that lets any process take the Lease."""
    return LeaseRecord("", 1.0, before.transitions, timestamp(at), timestamp(at))


def timestamp(at: datetime) -> str:
    """A MicroTime of Kubernetes."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
