"""How a PointSet comes by its ledger: it has one, inherits one, lost one, or begins one.

Nothing is written here: a set with nothing to do leaves no trace.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from vectorops.api.reasons import Reason
from vectorops.errors import Terminal
from vectorops.points.declared import Declaration
from vectorops.points.diff import recover
from vectorops.points.schema import PointSchema
from vectorops.qdrant.database import PointId
from vectorops.qdrant.ledger import UNKNOWN, Entries, Entry, Ledger, LedgerKey, LedgerStore, align, owners


async def first(
    store: LedgerStore,
    schema: PointSchema,
    declaration: Declaration,
    *,
    lost: bool,
    previous: Sequence[LedgerKey],
) -> Ledger:
    """What a set that has no ledger begins with; nothing is written.

    lost: the collection says that there was one. What the source still has is taken back into ownership (unless
    another set owns it) and written again; what it no longer has cannot be known, and is left where it is.
    previous: keys under which the same set may have kept it before; the first that is there is inherited. It is left
    to be removed when the collection says that the new one exists: killed before, we inherit again.
    """
    names = tuple(sorted(schema))
    if lost:
        unknown = Entry(UNKNOWN, (UNKNOWN,) * len(names))
        stored = await store.database.points(store.key.collection, sorted(declaration.points, key=str))
        return Ledger(names, dict.fromkeys(stored.keys() - await held_by_others(store), unknown), rebuilt=True)
    inherited = await _inheritance(store, previous)
    if inherited is None:
        return Ledger(names, {})
    ids = sorted(inherited.pending.entries if inherited.pending else (), key=str)
    touched = await store.database.points(store.key.collection, ids, payload=True, vectors=True)
    return Ledger(names, recover(aligned(inherited, names), declaration, touched, schema).entries)


async def _inheritance(store: LedgerStore, previous: Sequence[LedgerKey]) -> Ledger | None:
    """What the same set remembered under a former key: its collection was taken over, or is no longer its user's."""
    for key in previous:
        ledger = await replace(store, key=key).read()
        if ledger is not None:
            require_shard_key(store, ledger)
            return ledger
    return None


def require_shard_key(store: LedgerStore, ledger: Ledger) -> None:
    """Raises Terminal InvalidSpec if the points of the set are kept under another shard key than the declared one."""
    if ledger.shard_key != store.shard_key:
        before = f"under the shard key {ledger.shard_key!r}" if ledger.shard_key else "without a shard key"
        raise Terminal(
            Reason.INVALID_SPEC,
            f"spec.shardKey: the points of this set are kept {before}, and that cannot be changed: take the change "
            "back, or delete the set and create it again",
        )


def aligned(ledger: Ledger, names: tuple[str, ...]) -> Ledger:
    """The same ledger, an open window included, for the vectors that the collection has now."""
    if ledger.names == names:
        return ledger

    def renamed(entries: Entries) -> Entries:
        return {id: align(entry, ledger.names, names) for id, entry in entries.items()}

    pending = ledger.pending and replace(ledger.pending, entries=renamed(ledger.pending.entries))
    return replace(ledger, names=names, entries=renamed(ledger.entries), pending=pending)


async def held_by_others(store: LedgerStore) -> set[PointId]:
    """Points of the collection that other sets own."""
    held = await owners(
        store.database, store.ledger_collection, store.key.collection, store.key.incarnation, store.shard_key
    )
    return {id for owner, ids in held.items() if owner != store.key.owner for id in ids}
