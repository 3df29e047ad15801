"""What a collection behind an alias needs next, decided without talking to anyone.

Each step is told from what is there: marks, aliases, and whether a collection fits the declaration. So a process that
was killed anywhere, or a declaration that changed meanwhile, needs no case of its own.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from vectorops.api.meta import JsonObject
from vectorops.collections.resolve import Desired

TARGET: Final = "target"
"""Key in `Mark.rolled_back`: the digest of the declaration that readers were moved back from."""
ANSWERED: Final = "answered"
"""Key in `Mark.rolled_back`: the request to move readers back that was carried out before they came here again."""


@dataclass(frozen=True, slots=True)
class Physical:
    """One physical collection, as far as the decision needs it."""

    name: str
    incarnation: str
    fits: bool
    """Can it be made as declared in place, without losing anything?"""
    switched_at: str = ""
    """When readers were last moved to it (RFC 3339); "" if they never were."""
    rolled_back: Mapping[str, Any] | None = None
    """See `Mark.rolled_back`."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What is there, and what is declared of it."""

    active: Physical
    others: tuple[Physical, ...]
    """The one that served last comes first."""
    is_direct: bool
    """Has the active collection the declared name itself, so that no alias can have it?"""
    target: str
    """Digest of the declaration."""
    roll_back: str
    """The incarnation that readers are to be moved away from, as a person asks; "" if nobody does."""
    now: datetime
    grace: timedelta

    @property
    def is_rolled_back(self) -> bool:
        """Were readers moved back from what is declared?"""
        return (self.active.rolled_back or {}).get(TARGET) == self.target

    @property
    def candidate(self) -> Physical | None:
        """The collection that readers could be moved to."""
        if self.active.fits and not self.is_direct:
            return None
        return next((one for one in self.others if one.fits), None)

    @property
    def retired(self) -> tuple[Physical, ...]:
        """Those that served before and are not to serve again."""
        return tuple(one for one in self.others if one.switched_at and one != self.candidate)

    @property
    def retire_at(self) -> datetime:
        """When the grace period is over."""
        return parse_time(self.active.switched_at) + self.grace if self.active.switched_at else self.now


@dataclass(frozen=True, slots=True)
class Settle:
    """Nothing is to be done."""

    until: datetime | None = None
    """When the grace period of a retired collection is over; None if there is none."""


@dataclass(frozen=True, slots=True)
class Abandon:
    """Collections that never served and that nobody wants any more are deleted."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Retire:
    """A collection that served before is deleted: its grace period is over."""

    name: str


@dataclass(frozen=True, slots=True)
class RollBack:
    """Readers are moved back."""

    to: str


@dataclass(frozen=True, slots=True)
class Start:
    """A collection is to be made as declared, beside the active one."""


@dataclass(frozen=True, slots=True)
class Proceed:
    """The candidate is filled and checked, and then readers are moved to it."""

    candidate: str


Move = Settle | Abandon | Retire | RollBack | Start | Proceed


def next_move(standing: Standing, *, retires: bool = True) -> Move:
    """The next step. Whether it needs an approval, or must wait, is decided by whoever carries it out.

    retires: may a collection be deleted whose grace period is over?
    """
    active, candidate = standing.active, standing.candidate
    is_answered = (active.rolled_back or {}).get(ANSWERED) == standing.roll_back
    if standing.roll_back == active.incarnation and not is_answered:
        served = [one for one in standing.others if one.switched_at]
        if served:
            return RollBack(served[0].name)
    if unwanted := tuple(one.name for one in standing.others if not one.switched_at and one != candidate):
        return Abandon(unwanted)
    is_over = standing.retire_at <= standing.now
    old = standing.retired
    if standing.is_rolled_back and candidate is not None and candidate.switched_at:
        # Nobody approved of it meanwhile.
        old = (*old, candidate)
    if old and is_over and retires:
        return Retire(old[-1].name)
    if candidate is not None:
        return Proceed(candidate.name)
    is_as_declared = active.fits and not standing.is_direct
    return Settle(standing.retire_at if old else None) if is_as_declared else Start()


def digest_of_target(desired: Desired) -> str:
    """Identifies a declaration, whatever the physical collection is called: 12 hexadecimal digits."""
    content = [
        desired.tree(),
        desired.shard_keys,
        {name: desired.embedders[name].identity for name in sorted(desired.embedders)},
    ]
    return hashlib.sha256(json.dumps(content, sort_keys=True, ensure_ascii=False).encode()).hexdigest()[:12]


def rolled_back_from(target: str) -> JsonObject:
    """`Mark.rolled_back` of a collection that readers were moved back to. target: see `digest_of_target`."""
    return {TARGET: target}


def answered(roll_back: str) -> JsonObject:
    """`Mark.rolled_back` of a collection that readers were moved to once more, after they had been moved back from it
    as `roll_back` asks.
    """
    return {ANSWERED: roll_back} if roll_back else {}


def parse_time(stamp: str) -> datetime:
    """The time of a mark. One that somebody damaged counts as long ago."""
    try:
        parsed = datetime.fromisoformat(stamp)
    except ValueError:
        return datetime.min.replace(tzinfo=UTC)
    return parsed if parsed.tzinfo is not None else parsed.replace(tzinfo=UTC)


def print_time(time: datetime) -> str:
    """The same, as it goes into a mark. To the millisecond: the order of two switches counts."""
    return time.astimezone(UTC).isoformat(timespec="milliseconds")
