"""Is a collection that nobody marked still the one that a set wrote its points into? Decided without talking to anyone.

A collection that its user manages carries no mark of ours: dropped, and made again under its name, it looks the same,
and other points may stand in it under the ids of the set. From Qdrant 1.20 on the time of its creation tells. Before,
only the points can: single ones are changed by hand, and put right; when many are gone or changed at once, whatever
happened, they are not the set's any more before a person has said so.
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
"""Of fewer points, any two that are gone or changed at once are too many; of as many or more, more than half."""

SHOWN_IDS: Final = 5


@dataclass(frozen=True, slots=True)
class Replaced:
    """What speaks against the collection being the same. written: how many points the set wrote into it.

    gone: of those, the ones that are not there. other: the ones under whose id something else stands.
    unclear: those of which nothing is certainly as it was written, and nothing certainly otherwise.
    through: the sequence of the ledger's last window, so that no later plan is the same.
    """

    collection: str
    written: int
    gone: tuple[PointId, ...]
    other: tuple[PointId, ...]
    through: int
    unclear: tuple[PointId, ...] = ()

    @property
    def digest(self) -> str:
        """What tells this finding from any other, for an approval."""
        content = [self.collection, self.through, *([str(id) for id in ids] for ids in (self.gone, self.other))]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:12]

    @property
    def found(self) -> str:
        """For people."""
        changed = f"{len(self.gone):,} gone and {len(self.other):,} changed"
        return f"of {counted(self.written, 'point')} that the set wrote into collection {self.collection!r}, {changed}"

    def steps(self, declaration: Declaration) -> list[str]:
        """What is done when it is approved, for people."""
        steps = [f"take collection {self.collection!r} as it is now for the one that the set writes into"]
        if gone := [id for id in self.gone if id in declaration.points]:
            steps.append(f"write {counted(len(gone), 'point')} again, where nothing stands under the id")
        if left := (*self.other, *self.unclear):
            ids = [declaration.points[id].shown_id if id in declaration.points else str(id) for id in left]
            shown = f"{', '.join(ids[:SHOWN_IDS])}{', ...' if len(ids) > SHOWN_IDS else ''}"
            steps.append(f"leave {counted(len(ids), 'point')} to whoever may have changed them, as they are: {shown}")
        return steps

    def kept(self, entries: Entries) -> Entries:
        """What the set still owns: what stands there as it was written, and what is being deleted."""
        lost = {*self.gone, *self.other, *self.unclear}
        return {id: entry for id, entry in entries.items() if id not in lost}


def replacement(
    collection: str, created: str, ledger: Ledger, declaration: Declaration, stored: Stored, schema: PointSchema
) -> Replaced | None:
    """What speaks against the collection being the one that the ledger is about, if that is enough.

    created: see `Observed.created_at`. ledger: without an open window, and without what is known to be another set's.
    stored: payload and vectors of all points that the ledger remembers.
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
        # A point that was changed by hand keeps something. One that is gone is written where nothing stands.
        return found if other and True not in parts[other[0]] else None
    count = len(gone) + len(other)
    return found if count >= 2 and (len(owned) < FEW or 2 * count > len(owned)) else None


def _is_same_time(one: str, other: str) -> bool:
    try:
        return datetime.fromisoformat(one) == datetime.fromisoformat(other)
    except (ValueError, TypeError):
        return one == other
