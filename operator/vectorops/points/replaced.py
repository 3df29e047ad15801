"""Is a collection without a mark still the one that a set wrote its points into? Decided without talking to anyone.

A collection that its user manages has no mark of ours. If the user deletes it and creates another one of the same name,
that may hold other points under the ids of the set. From Qdrant 1.20 on, the time of creation shows this. Before, only
the points can: single changes are corrected, but if many points are missing or changed at once, they are no longer the
set's until a person approves.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from vectorops.points.declared import Declaration
from vectorops.points.diff import Stored, parts_as_written
from vectorops.points.schema import PointSchema
from vectorops.qdrant.database import PointId
from vectorops.qdrant.ledger import Entries, Ledger
from vectorops.words import counted

FEW: Final = 10
"""If a set has fewer points, two that are missing or changed at once are too many; otherwise more than half."""

SHOWN_IDS: Final = 5


@dataclass(frozen=True, slots=True)
class Replaced:
    """Evidence that the collection is another one."""

    collection: str
    written: int
    """How many points the set wrote into it."""
    gone: tuple[PointId, ...]
    """Of those, the points that are missing."""
    other: tuple[PointId, ...]
    """The points whose id now has other content."""
    through: int
    """The sequence of the ledger's last window, so that each finding has another digest."""
    unclear: tuple[PointId, ...] = ()
    """Points of which no part is certainly unchanged, and no part certainly changed."""

    @property
    def digest(self) -> str:
        """Identifies this finding, for an approval."""
        content = [self.collection, self.through, *([str(id) for id in ids] for ids in (self.gone, self.other))]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:12]

    @property
    def found(self) -> str:
        """For people."""
        changed = f"{len(self.gone):,} gone and {len(self.other):,} changed"
        return f"of {counted(self.written, 'point')} that the set wrote into collection {self.collection!r}, {changed}"

    def steps(self, declaration: Declaration) -> list[str]:
        """What an approval does, for people."""
        steps = [f"accept the current collection {self.collection!r} as the one that the set writes into"]
        if gone := [id for id in self.gone if id in declaration.points]:
            steps.append(f"write {counted(len(gone), 'point')} again, if the id is free")
        if left := (*self.other, *self.unclear):
            ids = [declaration.points[id].shown_id if id in declaration.points else str(id) for id in left]
            shown = f"{', '.join(ids[:SHOWN_IDS])}{', ...' if len(ids) > SHOWN_IDS else ''}"
            steps.append(f"leave {counted(len(ids), 'point')} unchanged, because others may have changed them: {shown}")
        return steps

    def kept(self, entries: Entries) -> Entries:
        """What the set still owns: unchanged points, and points that are being deleted."""
        lost = {*self.gone, *self.other, *self.unclear}
        return {id: entry for id, entry in entries.items() if id not in lost}


def replacement(
    collection: str, created: str, ledger: Ledger, declaration: Declaration, stored: Stored, schema: PointSchema
) -> Replaced | None:
    """The evidence that the collection is not the one of the ledger; None if it does not suffice.

    created: see `Observed.created_at`. ledger: without an open window, and without points of
    other sets.
    stored: payload and vectors of all points in the ledger.
    """
    if ledger.created_at and created and _is_same_time(ledger.created_at, created):
        return None
    owned = {id: entry for id, entry in ledger.entries.items() if not entry.dying}
    gone = tuple(id for id in owned if id not in stored)
    parts = {
        id: parts_as_written(entry, declaration.points.get(id), stored[id], ledger.names, schema)
        for id, entry in owned.items()
        if id in stored
    }
    other = tuple(id for id, known in parts.items() if False in known)
    unclear = tuple(id for id, known in parts.items() if not {True, False} & set(known))
    found = Replaced(collection, len(owned), gone, other, ledger.through, unclear)
    if not (gone or other):
        return None
    if ledger.created_at and created:
        return found
    if len(owned) == 1:
        # A point that was changed by hand keeps some part. A missing point is written again, if its id is free.
        return found if other and True not in parts[other[0]] else None
    count = len(gone) + len(other)
    return found if count >= 2 and (len(owned) < FEW or 2 * count > len(owned)) else None


def _is_same_time(one: str, other: str) -> bool:
    try:
        return datetime.fromisoformat(one) == datetime.fromisoformat(other)
    except (ValueError, TypeError):
        return one == other
