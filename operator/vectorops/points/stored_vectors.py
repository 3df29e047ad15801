"""The vectors that a set has of its texts in another physical collection, such as the old one of a migration.

The ledger of the set in that collection says which text the vector of a point was made of, and by which embedder. A
vector is taken only while the ledger is known to speak of what is stored: no window was open, and none may arrive late,
that would write another text's vector under the same id.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from vectorops.api.reasons import Reason
from vectorops.errors import Rejected, Terminal, Transient
from vectorops.ledger.entries import part_numbers
from vectorops.ledger.records import WHOLE, Ledger, Part
from vectorops.ledger.store import LedgerStore
from vectorops.points.declared import BadPoint, check_range
from vectorops.points.part import require_replayed
from vectorops.points.reuse import WantedText
from vectorops.points.schema import PointSchema
from vectorops.vectors import Sparse, VectorData

TRIES: Final = 2
"""How often vectors are read if the ledger was written meanwhile. Then the texts are embedded."""
MOST_PARTS: Final = 16
"""Parts of the ledger that stay in memory: some 4 MB."""


@dataclass(slots=True)
class StoredVectors:
    """See `reuse.VectorSource`. It reads each part of the ledger once, when it is asked first: make a new one for each
    pass, and sync the other collection before.
    """

    store: LedgerStore
    """The ledger of the set in the collection that is read, and how to reach the points there. Nothing is written, so
    its token does not matter.
    """
    schema: PointSchema
    """Of the collection that is read."""
    _parts: dict[int, Ledger] = field(default_factory=dict, init=False, repr=False)
    """Parts of the ledger, by number."""

    async def known(self, wanted: Sequence[WantedText], schema: PointSchema) -> set[WantedText]:
        """See `reuse.VectorSource`. The ledger says it; whether the points are still there is not asked."""
        try:
            return {each for _, some in await self._stated(wanted, schema) for each in some}
        except Transient as error:
            if error.reason is not Reason.ANOTHER_WRITER:
                raise
            return set()

    async def find(self, wanted: Sequence[WantedText], schema: PointSchema) -> dict[WantedText, VectorData]:
        """See `reuse.VectorSource`. Raises Transient Progressing while the server replays what it was given."""
        for _ in range(TRIES):
            try:
                found = await self._read(wanted, schema)
                if found is not None:
                    return found
            except Transient as error:
                # The ledger was cut into other parts, or removed.
                if error.reason is not Reason.ANOTHER_WRITER:
                    raise
            self._parts.clear()
        return {}

    async def _read(self, wanted: Sequence[WantedText], schema: PointSchema) -> dict[WantedText, VectorData] | None:
        """None: the ledger was written meanwhile, so nobody can tell which of the vectors it speaks of."""
        found: dict[WantedText, VectorData] = {}
        for ledger, some in await self._stated(wanted, schema):
            store = self.store.for_shard_key(ledger.shard_key)
            ids = list(dict.fromkeys(each.id for each in some))
            names = sorted({each.vector for each in some})
            try:
                stored = await store.database.points(store.key.collection, ids, vectors=names)
            except Rejected:
                # The collection, its shard key, or one of the vectors is gone.
                return {}
            await require_replayed(store.database)
            if not await self._is_current(ledger):
                return None
            for each in some:
                vector = stored[each.id].vectors.get(each.vector) if each.id in stored else None
                if vector is not None and _is_usable(vector, each, schema):
                    found[each] = vector
        return found

    async def _stated(self, wanted: Iterable[WantedText], schema: PointSchema) -> list[tuple[Ledger, list[WantedText]]]:
        """By part of the ledger, the texts of which it says that their vectors are stored, in a form that loses
        nothing.
        """
        kept = {name for name, here in self.schema.items() if name in schema and here.keeps_for(schema[name])}
        usable = [each for each in wanted if each.vector in kept]
        found: list[tuple[Ledger, list[WantedText]]] = []
        try:
            first = await self._ledger(WHOLE) if usable else None
            if first is None:
                return []
            numbers = np.array(part_numbers([each.id for each in usable], first.part.bits))
            for number in np.unique(numbers).tolist():
                ledger = await self._ledger(first.part._replace(number=number))
                if ledger is not None:
                    of_part = [usable[place] for place in np.flatnonzero(numbers == number)]
                    found.append((ledger, [each for each in of_part if _states(ledger, each)]))
        except Terminal:
            # It is damaged, or of a newer version: the pass over that collection says so.
            return []
        return [(ledger, stated) for ledger, stated in found if stated]

    async def _ledger(self, part: Part) -> Ledger | None:
        """One part of the ledger, `WHOLE` for the first; None if there is none. The latest stay in memory."""
        ledger = self._parts.get(part.number) or await self.store.at(part).read()
        if ledger is not None:
            self._parts[part.number] = ledger
            if len(self._parts) > MOST_PARTS:
                del self._parts[next(number for number in self._parts if number not in (0, part.number))]
        return ledger

    async def _is_current(self, ledger: Ledger) -> bool:
        """Was no window opened or settled in the part since it was read?"""
        # Where the ledger was cut into other parts, these records are gone.
        ids = [self.store.key.record_id(kind, ledger.part) for kind in ("base", "slot")]
        where = {"must": [{"has_id": [str(id) for id in ids]}]}
        collection, fields = self.store.ledger_collection, ("through", "sequence")
        try:
            records = await self.store.database.scroll(collection, where, payload=fields)
        except Rejected:
            return False
        stated = {name: number for record in records for name, number in record.payload.items()}
        if stated.get("through") != ledger.through or type(stated.get("sequence")) is not int:
            return False
        last = ledger.pending.sequence if ledger.pending is not None else ledger.through
        return bool(stated["sequence"] <= last)


def _states(ledger: Ledger, wanted: WantedText) -> bool:
    """Does the ledger say that the vector of this very text is stored, whatever became of a window that was left open,
    and of what may still arrive of an earlier one?
    """
    if wanted.vector not in ledger.names:
        return False
    place = ledger.names.index(wanted.vector)
    entry = ledger.entries.get(wanted.id)
    unsure = (perhaps.entries.get(wanted.id) for perhaps in (ledger.pending, ledger.late) if perhaps is not None)
    entries = [entry, *(each for each in unsure if each is not None)]
    return all(each is not None and each.vectors[place] == wanted.fingerprint for each in entries)


def _is_usable(vector: VectorData, wanted: WantedText, schema: PointSchema) -> bool:
    expected = schema[wanted.vector]
    if isinstance(vector, Sparse):
        numbers, fits = vector.values, expected.kind == "sparse"
    else:
        kind = "multivector" if vector.ndim == 2 else "dense"
        numbers, fits = vector, (kind, vector.shape[-1]) == (expected.kind, expected.size)
    try:
        check_range(wanted.vector, numbers, expected)
    except BadPoint:
        return False
    return fits
