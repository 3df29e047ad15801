"""How a PointSet comes by its ledger: it has one, inherits one, lost one, or begins one. Called by `sync` when
there are points to write, and never otherwise: a set with nothing to do leaves no trace.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from vectorops.points.declared import Declaration
from vectorops.points.diff import Stored
from vectorops.qdrant.database import PointId
from vectorops.qdrant.ledger import UNKNOWN, Entry, Ledger, LedgerStore, align, owners


async def begin(
    store: LedgerStore, names: tuple[str, ...], declaration: Declaration, stored: Stored, *, lost: bool, previous: str
) -> Ledger:
    """Makes the ledger of a set that has none.

    lost: the collection says that there was one. What the source still has is taken back into ownership (unless
    another set owns it) and written again; what it no longer has cannot be known, and is left where it is.
    previous: the installation that the collection was taken over from; its ledger of the same set is inherited.
    """
    if lost:
        entries = _unknown(set(stored) & set(declaration.points) - await _owned_by_others(store), names)
        return await store.create(names, entries, rebuilt=True)
    if previous:
        former = replace(store, key=replace(store.key, installation=previous))
        inherited = await former.read()
        if inherited is not None:
            entries = {id: align(entry, inherited.names, names) for id, entry in inherited.entries.items()}
            if inherited.pending is not None:
                # Whether the former owner finished its last window is not known: what it was about to write is ours
                # to repair.
                entries |= _unknown((set(inherited.pending.entries) - inherited.pending.new) & set(stored), names)
            ledger = await store.create(names, entries)
            await former.remove()
            return ledger
    return await store.create(names, {})


async def _owned_by_others(store: LedgerStore) -> set[PointId]:
    held = await owners(store.database, store.ledger_collection, store.key.collection, store.key.incarnation)
    return {id for owner, ids in held.items() if owner != store.key.owner for id in ids}


def _unknown(ids: Collection[PointId], names: tuple[str, ...]) -> dict[PointId, Entry]:
    return {id: Entry(UNKNOWN, (UNKNOWN,) * len(names)) for id in ids}
