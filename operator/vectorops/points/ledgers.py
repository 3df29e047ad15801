"""How a PointSet comes by its ledger: it has one, inherits one, lost one, or begins one.

Nothing is written here: a set with nothing to do leaves no trace.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Final

from vectorops.api.reasons import Reason
from vectorops.errors import Terminal
from vectorops.points.declared import Declaration
from vectorops.points.diff import payload_fingerprint, recover
from vectorops.points.schema import PointSchema
from vectorops.qdrant.database import PointId
from vectorops.qdrant.ledger import (
    FIRST_HASH,
    UNKNOWN,
    Entries,
    Entry,
    Ledger,
    LedgerKey,
    LedgerStore,
    Others,
    align,
    others,
)

SAMPLED_LEDGERS: Final = 8
SAMPLED_POINTS: Final = 32


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
    another set owns it) and written again; what it no longer has cannot be known, and is left where it is. Raises
    Terminal LedgerUnreadable if another set's record cannot be read.
    previous: keys under which the same set may have kept it before; the first that is there is inherited. It is left
    to be removed when the collection says that the new one exists: killed before, we inherit again.
    """
    names = tuple(sorted(schema))
    if lost:
        stored = await store.database.points(store.key.collection, sorted(declaration.points, key=str))
        asked = await ask_others(store, stored, previous)
        if asked.unreadable:
            raise Terminal(Reason.LEDGER_UNREADABLE, f"the ledger of this set is lost, and {may_hold_any(asked)}")
        theirs = asked.held
        return Ledger(names, dict.fromkeys(stored.keys() - theirs.keys(), unknown(names)), rebuilt=True)
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


def unknown(names: Sequence[str]) -> Entry:
    """The entry of a point that is ours, and of which nothing is known."""
    return Entry(UNKNOWN, (UNKNOWN,) * len(names))


async def ask_others(store: LedgerStore, ids: Collection[PointId], former: Sequence[LedgerKey] = ()) -> Others:
    """What other sets have to do with these points of the collection. former: see `others`."""
    if not ids:
        return Others()
    return await others(
        store.database, store.ledger_collection, store.key, ids, former=former, shard_key=store.shard_key
    )


def may_hold_any(asked: Others) -> str:
    """For people: why points that leave the set are not deleted."""
    more = f" and {len(asked.unreadable) - 1} more" if len(asked.unreadable) > 1 else ""
    return (
        f"in the collection of the ledgers, {asked.unreadable[0]}{more} cannot be read and may hold any point, so no "
        "point is deleted: upgrade VectorOps if a newer version wrote it, else mend or delete it (docs/operations.md)"
    )


async def holds_what_ledgers_say(stores: Sequence[LedgerStore]) -> bool:
    """Is a collection the one that these ledgers speak of? Most points that they name stand in it with the payloads
    that were written. Looks at a few points of a few ledgers; those that cannot be read say nothing.
    """
    looked = found = 0
    for store in stores[:SAMPLED_LEDGERS]:
        try:
            ledger = await store.read()
        except Terminal:
            continue
        known = {id: entry for id, entry in ledger.entries.items() if entry.payload >= FIRST_HASH} if ledger else {}
        ids = sorted(known, key=str)[:SAMPLED_POINTS]
        stored = await store.database.points(store.key.collection, ids, payload=True)
        looked += len(ids)
        found += sum(payload_fingerprint(point) == known[id].payload for id, point in stored.items())
    return found * 2 > looked
