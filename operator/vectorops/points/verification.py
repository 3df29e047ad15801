"""How much of a set that should be as declared is compared with Qdrant in one reconciliation.

To read every vector of every large set at every resync costs more than to write them all. So each reconciliation asks
whether every point is there, and compares the content of a share; the next one takes the next share. Whoever finds a
difference compares everything. A small set is always compared whole, and so is one whose declaration changed, because
then the ledger does not say what is declared.

What is remembered of a set is a few hundred bytes, in memory only: the specs and the stored points are not in it.
"""

from __future__ import annotations

import asyncio
import random
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from vectorops import metrics
from vectorops.api.meta import Ref
from vectorops.errors import Terminal
from vectorops.ledger.entries import Entries, EntriesById, Entry
from vectorops.ledger.records import Ledger
from vectorops.ledger.store import LedgerStore
from vectorops.points.declared import Declaration
from vectorops.points.diff import diff, entry_of
from vectorops.points.fingerprints import unpredicted
from vectorops.points.schema import PointSchema
from vectorops.points.target import Target
from vectorops.qdrant.database import PointId

SHARE_POINTS: Final = 256
"""So many points are compared at once; a set of no more is always compared whole."""
SETS_REMEMBERED: Final = 10_000
"""Of those that were reconciled longest ago, nothing is known: they are declared and compared as after a start."""


@dataclass(frozen=True, slots=True)
class Remembered:
    """What is remembered of a declaration without any point that failed."""

    uid: str
    generation: int
    schema: PointSchema = field(repr=False)
    """Of the collection that it was checked against."""
    identities: Mapping[str, str]
    """Of the embedders, by the vector's name."""
    texts: frozenset[str]
    """Names of the vectors that some point gives as text."""
    entries: int
    """Digest of what the ledger says when all is written, see `digest`."""
    following: int
    """Where in the spec's list of points the next share begins."""


class Verification:
    """What this process remembers of the sets that they found as declared."""

    def __init__(self) -> None:
        self._sets: OrderedDict[Ref, Remembered | None] = OrderedDict()
        """None: see `suspect`."""

    def known(self, ref: Ref, uid: str, generation: int) -> Remembered | None:
        """What is remembered of this declaration, None if nothing is, or of another one."""
        found = self._sets.get(ref)
        return found if found is not None and (found.uid, found.generation) == (uid, generation) else None

    def remember(self, ref: Ref, remembered: Remembered) -> None:
        """Takes the place of what was remembered of the set."""
        self._put(ref, remembered)

    def suspect(self, ref: Ref) -> None:
        """All of the set is to be compared until it is remembered again, whatever its status says.

        A status stays Ready for a while if the pass that was to put something right could not be carried out.
        """
        self._put(ref, None)

    def is_suspected(self, ref: Ref) -> bool:
        """See `suspect`."""
        return ref in self._sets and self._sets[ref] is None

    def _put(self, ref: Ref, remembered: Remembered | None) -> None:
        self._sets[ref] = remembered
        self._sets.move_to_end(ref)
        if len(self._sets) > SETS_REMEMBERED:
            self._sets.popitem(last=False)


def share(following: int, count: int) -> tuple[list[int], int]:
    """Positions of the points to compare this time, and where the next share begins. All positions come in turn."""
    positions = [(following + step) % count for step in range(min(SHARE_POINTS, count))]
    return positions, (following + len(positions)) % count


def first_position(count: int) -> int:
    """Where the first share after a start begins: an operator that starts often compares another one each time."""
    return random.randrange(count)  # noqa: S311 - spreads work, keeps no secret


def digest(entries: EntriesById, names: tuple[str, ...]) -> int:
    """Tells entries from any others of the same vectors; the same within one process only."""
    packed = Entries.of(entries, len(names))
    return hash((packed.numbers.tobytes(), packed.uuids.tobytes()))


def entries_of(declaration: Declaration, names: tuple[str, ...]) -> dict[PointId, Entry]:
    """What the ledger says when all points are written as declared."""
    return {id: entry_of(point, names) for id, point in declaration.points.items()}


def agrees(ledger: Ledger, declared: Mapping[PointId, Entry]) -> bool:
    """Does a ledger remember these entries, but for numbers that Qdrant gave back otherwise than predicted?"""
    if ledger.entries.keys() != declared.keys():
        return False
    return all(
        is_ == to_be or is_ == unpredicted(to_be)
        for id, entry in declared.items()
        if (found := ledger.entries[id]) != entry
        for is_, to_be in zip((found.payload, *found.vectors), (entry.payload, *entry.vectors), strict=True)
    )


async def settled_ledger(store: LedgerStore, target: Target) -> Ledger | None:
    """The ledger, if nothing but its points can need a write; None: compare everything. Writes nothing."""
    if target.hides:
        return None
    try:
        ledger = await store.read()
    except Terminal:
        return None
    if ledger is None or ledger.part.bits or not target.expects(ledger):
        return None
    if ledger.pending is not None or ledger.late is not None:
        return None
    to_be = (tuple(sorted(target.schema)), store.deletion_policy, store.created_at, store.shard_key)
    is_ = (ledger.names, ledger.deletion_policy, ledger.created_at, ledger.shard_key)
    return ledger if is_ == to_be else None


async def is_as_written(store: LedgerStore, target: Target, ledger: Ledger, compared: Declaration) -> bool:
    """Is every point of the ledger there, and the content of the points of `compared` as declared?

    compared: a share of the declaration that `ledger` says was written. Counts the points as unchanged if so.
    """
    ids = list(compared.points)
    if len(ids) < len(ledger.entries):
        there: Sequence[PointId] = list(ledger.entries)
        if len(await store.database.points(target.collection, there)) < len(there):
            return False
    stored = await store.database.points(target.collection, ids, payload=True, vectors=True)
    entries = {id: ledger.entries[id] for id in ids if id in ledger.entries}
    to_compare = replace(ledger, entries=entries)
    found = await asyncio.to_thread(diff, compared, to_compare, stored, target.schema)
    if found.unchanged < len(ids):
        return False
    metrics.POINT_OUTCOMES.labels("unchanged").inc(len(ledger.entries))
    return True
