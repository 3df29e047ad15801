"""Is a collection without a mark still the one that a set wrote its points into? `judge` decides without talking
to anyone.

A collection that its user manages has no mark of ours. If the user deletes it and creates another one of the same name,
that may hold other points under the ids of the set. From Qdrant 1.20 on, the time of creation shows this. Before, only
the points can: single changes are corrected, but if many points are missing or changed at once, they are no longer the
set's until a person approves.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from vectorops.errors import Terminal
from vectorops.ledger.entries import FIRST_HASH, EntriesById
from vectorops.ledger.records import Ledger
from vectorops.ledger.store import LedgerStore
from vectorops.points.declared import Declaration
from vectorops.points.diff import Stored, parts_as_written, payload_fingerprint
from vectorops.points.schema import PointSchema
from vectorops.qdrant.database import PointId
from vectorops.words import counted

FEW: Final = 10
"""If a set has fewer points, two that are missing or changed at once are too many; otherwise more than half."""

SHOWN_IDS: Final = 5

SAMPLED_LEDGERS: Final = 8
SAMPLED_POINTS: Final = 32


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
    """The sequences of the last windows of the ledger's parts, added up, so that each finding has another digest."""
    unclear: tuple[PointId, ...] = ()
    """Points of which no part is certainly unchanged, and no part certainly changed."""
    in_part: bool = False
    """Is some part of one of the `other` points certainly unchanged?"""

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

    @property
    def ids(self) -> list[PointId]:
        """Of all points that this speaks of."""
        return [*self.gone, *self.other, *self.unclear]

    def steps(self, shown_ids: Mapping[PointId, str]) -> list[str]:
        """What an approval does, for people. shown_ids: of those of the points that are declared, as declared."""
        steps = [f"accept the current collection {self.collection!r} as the one that the set writes into"]
        if gone := [id for id in self.gone if id in shown_ids]:
            steps.append(f"write {counted(len(gone), 'point')} again, if the id is free")
        if left := (*self.other, *self.unclear):
            ids = [shown_ids.get(id, str(id)) for id in left]
            shown = f"{', '.join(ids[:SHOWN_IDS])}{', ...' if len(ids) > SHOWN_IDS else ''}"
            steps.append(f"leave {counted(len(ids), 'point')} unchanged, because others may have changed them: {shown}")
        return steps

    def kept(self, entries: EntriesById) -> EntriesById:
        """What the set still owns: unchanged points, and points that are being deleted."""
        lost = {*self.gone, *self.other, *self.unclear}
        return {id: entry for id, entry in entries.items() if id not in lost}


def find_evidence(
    collection: str, ledger: Ledger, declaration: Declaration, stored: Stored, schema: PointSchema
) -> Replaced:
    """What speaks in one part of the ledger against the collection being the one that the ledger is about.

    ledger: without an open window, and without points of other sets. stored: payload and vectors of all its points.
    """
    owned = {id: entry for id, entry in ledger.entries.items() if not entry.dying}
    gone = tuple(id for id in owned if id not in stored)
    parts = {
        id: parts_as_written(entry, declaration.points.get(id), stored[id], ledger.names, schema)
        for id, entry in owned.items()
        if id in stored
    }
    other = tuple(id for id, known in parts.items() if False in known)
    unclear = tuple(id for id, known in parts.items() if not {True, False} & set(known))
    in_part = any(True in parts[id] for id in other)
    return Replaced(collection, len(owned), gone, other, ledger.through, unclear, in_part)


def judge(evidence: Sequence[Replaced], remembered: str, created: str) -> Replaced | None:
    """What speaks against it in all parts together, if that is enough.

    remembered, created: when the collection was created, as the ledger says and as Qdrant says; "" if unknown.
    """
    if remembered and created and _is_same_time(remembered, created):
        return None
    found = Replaced(
        evidence[0].collection,
        sum(each.written for each in evidence),
        tuple(id for each in evidence for id in each.gone),
        tuple(id for each in evidence for id in each.other),
        sum(each.through for each in evidence),
        tuple(id for each in evidence for id in each.unclear),
        any(each.in_part for each in evidence),
    )
    if not (found.gone or found.other):
        return None
    if remembered and created:
        return found
    if found.written == 1:
        # A point that was changed by hand keeps some part. A missing point is written again, if its id is free.
        return found if found.other and not found.in_part else None
    count = len(found.gone) + len(found.other)
    return found if count >= 2 and (found.written < FEW or 2 * count > found.written) else None


async def holds_what_ledgers_say(stores: Sequence[LedgerStore]) -> bool:
    """Is a collection the one that these ledgers speak of? Most points that they name are stored in it with the
    payloads that were written. Reads a few points of a few ledgers; those that cannot be read say nothing.
    """
    sampled = found = 0
    for store in stores[:SAMPLED_LEDGERS]:
        try:
            ledger = await store.read()
        except Terminal:
            continue
        known = {id: entry for id, entry in ledger.entries.items() if entry.payload >= FIRST_HASH} if ledger else {}
        ids = sorted(known, key=str)[:SAMPLED_POINTS]
        stored = await store.database.points(store.key.collection, ids, payload=True)
        sampled += len(ids)
        found += sum(payload_fingerprint(point) == known[id].payload for id, point in stored.items())
    return found * 2 > sampled


def _is_same_time(one: str, other: str) -> bool:
    try:
        return datetime.fromisoformat(one) == datetime.fromisoformat(other)
    except (ValueError, TypeError):
        return one == other
