"""The points of a source, by part of the ledger: the same id always falls into the same part, so each part is compared
and written without the others.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

from vectorops.ledger.entries import Entries, part_numbers
from vectorops.ledger.records import Ledger, Part
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

    def ids(self, part: Part) -> Sequence[PointId]:
        """Of the points of one part."""

    def declaration(self, part: Part, ids: Collection[PointId] | None = None) -> Declaration:
        """The points of one part, or those of these ids at least. Failures are those of the whole source: left out."""

    def shown_ids(self, ids: Collection[PointId]) -> Mapping[PointId, str]:
        """Of those of these ids that are declared, as declared."""

    def unsettled(self, part: Part, ledger: Ledger) -> tuple[Declaration, Entries]:
        """The points of one part that have to be compared with what is stored; and the entries of the others, which the
        ledger says were written as declared.

        ledger: of the same part, for the vectors that the collection has now.
        """


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

    def ids(self, part: Part) -> Sequence[PointId]:
        """See Staged."""
        return list(self.declaration(part).points)

    def shown_ids(self, ids: Collection[PointId]) -> Mapping[PointId, str]:
        """See Staged."""
        return {id: self.whole.points[id].shown_id for id in ids if id in self.whole.points}

    def unsettled(self, part: Part, ledger: Ledger) -> tuple[Declaration, Entries]:
        """See Staged. So few points are compared whole."""
        return self.declaration(part), Entries.of({}, len(ledger.names))

    def declaration(self, part: Part, _ids: Collection[PointId] | None = None) -> Declaration:
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
