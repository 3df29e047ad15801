"""Does Qdrant still hold what the ledger says was written? Asked of a few parts at a time, without the source.

Whether every point is there is certain. Of the content, what the ledger's fingerprints tell is compared: payloads
without floats, and names of vectors. Numbers are compared where the source is read, on request.
"""

from __future__ import annotations

import asyncio
import random
from typing import Final

from vectorops.errors import Terminal
from vectorops.ledger.records import Ledger
from vectorops.ledger.store import LedgerStore
from vectorops.points.diff import Stored, parts_as_written
from vectorops.points.part import require_replayed
from vectorops.points.target import Target

PASSES: Final = 16
"""In so many verifications, each part has its turn."""
SAMPLED_POINTS: Final = 64
"""So many points of a part are compared."""


def share_of_parts(count: int, first: int) -> list[int]:
    """The parts of one verification, from `first` on."""
    return [(first + place) % count for place in range(-(-count // PASSES))]


async def is_part_as_written(store: LedgerStore, target: Target) -> bool:
    """Is every point of the part there, and are those of a sample as they were written? Writes nothing."""
    try:
        ledger = await store.read()
    except Terminal:
        return False
    if ledger is None or ledger.pending is not None or ledger.late is not None or ledger.names != target.names:
        return False
    ids = list(ledger.entries)
    there = await store.database.points(target.collection, ids)
    if len(there) < len(ids):
        await require_replayed(store.database)
        return False
    # Another sample each time.
    sampled = random.sample(ids, min(len(ids), SAMPLED_POINTS))
    stored = await store.database.points(target.collection, sampled, payload=True, vectors=True)
    return await asyncio.to_thread(_agree, ledger, stored, target)


def _agree(ledger: Ledger, stored: Stored, target: Target) -> bool:
    return not any(
        False in parts_as_written(ledger.entries[id], None, found, ledger.names, target.schema)
        for id, found in stored.items()
    )
