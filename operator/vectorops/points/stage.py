"""The points of a source, by part of the ledger: the same id always falls into the same part, so each part is compared
and written without the others.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final, Protocol

from vectorops.ledger.entries import part_numbers
from vectorops.ledger.records import Part
from vectorops.points.declared import Declaration, Declared, Failure
from vectorops.qdrant.database import PointId

SHOWN: Final = 10
"""Failures, and conflicts, that are kept to be shown; the others are counted."""


class Staged(Protocol):
    """A source that was read to its end, before anything of it is written."""

    @property
    def bits(self) -> int:
        """How many bits of the hashed id are to decide which part a point falls into. A ledger may have more."""

    @property
    def total(self) -> int:
        """Declared points, the same one declared twice counted once."""

    @property
    def complete(self) -> bool:
        """Is every id known, so that what is not among them may be deleted?"""

    @property
    def failed(self) -> int:
        """How many declared points cannot be written."""

    @property
    def failures(self) -> tuple[Failure, ...]:
        """The first `SHOWN` of them."""

    def declaration(self, part: Part) -> Declaration:
        """The points of one part; without the failures, which are those of the whole source."""


@dataclass(frozen=True, slots=True)
class Inline:
    """Points that are in memory: those of a manifest."""

    whole: Declaration
    bits: int = 0
    _by_bits: dict[int, list[Declaration]] = field(default_factory=dict, repr=False, compare=False)

    @property
    def total(self) -> int:
        """See Staged."""
        return self.whole.total

    @property
    def complete(self) -> bool:
        """See Staged."""
        return self.whole.complete

    @property
    def failed(self) -> int:
        """See Staged."""
        return len(self.whole.failures)

    @property
    def failures(self) -> tuple[Failure, ...]:
        """See Staged."""
        return self.whole.failures[:SHOWN]

    def declaration(self, part: Part) -> Declaration:
        """See Staged."""
        if not part.bits:
            return self.whole
        if part.bits not in self._by_bits:
            self._by_bits[part.bits] = _split_declaration(self.whole, part.bits)
        return self._by_bits[part.bits][part.number]


def _split_declaration(whole: Declaration, bits: int) -> list[Declaration]:
    points: list[dict[PointId, Declared]] = [{} for _ in range(1 << bits)]
    for (id, declared), number in zip(whole.points.items(), part_numbers(whole.points, bits), strict=True):
        points[number][id] = declared
    return [replace(whole, points=some, failures=()) for some in points]
