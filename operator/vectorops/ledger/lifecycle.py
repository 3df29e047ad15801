"""How a set comes by its ledger, has it cut into more parts, and registers it with the collection of its points.

What a window left undone is found out from the stored points, which this layer does not know: `Recover` does that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace

from vectorops.api.meta import JsonObject
from vectorops.api.reasons import Reason
from vectorops.errors import Terminal
from vectorops.ledger.entries import Entries, EntriesById, unknown_entry
from vectorops.ledger.holders import find_holders
from vectorops.ledger.records import Ledger, LedgerKey, join_parts
from vectorops.ledger.store import LedgerStore
from vectorops.qdrant.database import PointId

Recover = Callable[[Ledger], Awaitable[Ledger]]
"""One part without its open window, for the vectors that the collection has now; nothing is written."""


async def initial_ledger(
    store: LedgerStore,
    names: tuple[str, ...],
    declared: Iterable[Sequence[PointId]],
    recover: Recover,
    *,
    lost: bool,
    previous: Sequence[LedgerKey],
) -> Ledger:
    """What a set that has no ledger begins with, in one part; nothing is written.

    declared: ids of all declared points, some thousands at a time. lost: the collection says that there was a ledger.
    What the source still has is taken back into ownership (unless another set owns it) and written again; what it no
    longer has cannot be known, and is left where it is. previous: keys under which the same set may have kept its
    ledger before; the first that is there is inherited. It is removed when the collection says that the new one exists:
    killed before, we inherit again.
    Raises Terminal LedgerUnreadable if the ledger is lost and another set's record cannot be read.
    """
    if lost:
        found: list[EntriesById] = [{}]
        for ids in declared:
            stored = await store.database.points(store.key.collection, ids)
            asked = await find_holders(store, stored, previous)
            if asked.unreadable:
                words = f"the ledger of this set is lost, and {asked.explain_unreadable(store.key.point_set.namespace)}"
                raise Terminal(Reason.LEDGER_UNREADABLE, words)
            taken_back = dict.fromkeys(stored.keys() - asked.held.keys(), unknown_entry(names))
            found.append(Entries.of(taken_back, len(names)))
        return Ledger(names, Entries.join(found, len(names)), rebuilt=True)
    for key in previous:
        former = await read_all_parts(replace(store, key=key))
        if former:
            require_shard_key(store, former[0])
            whole = join_parts([await recover(part) for part in former])
            return Ledger(names, whole.entries, late=whole.late)
    return Ledger(names, {})


async def read_all_parts(store: LedgerStore) -> list[Ledger]:
    """All parts of a ledger; none if there is no ledger. Raises what `LedgerStore.read` raises."""
    first = await store.read()
    if first is None:
        return []
    found = [first]
    for part in first.part.siblings[1:]:
        ledger = await store.at(part).read()
        # A head that is gone meanwhile: whoever removed the ledger removes the other parts too.
        found += [ledger] if ledger is not None else []
    return found


async def regrow(store: LedgerStore, first: Ledger, recover: Recover, bits: int) -> Ledger:
    """Cuts a ledger into more parts, and returns the first of them. first: the first part as it is now.

    Nobody else may write a part while it is copied, so all are taken before. Raises Transient AnotherWriter.
    """
    if first.part.bits:
        await store.take_head()
    taken = []
    for part in first.part.siblings:
        each = store.at(part)
        taken.append(await recover(await each.take(await each.read_existing())))
    return await store.at(first.part).regrow(await asyncio.to_thread(join_parts, taken), bits)


async def register(
    store: LedgerStore, *, registered: bool | None, registration: JsonObject, previous: Sequence[LedgerKey]
) -> None:
    """Has the collection's metadata say that there is a ledger, and removes the ledgers that this one follows.

    registered: does the metadata say so already? None: it is the user's collection, and nothing is written into it.
    """
    if registered is not True:
        for key in previous:
            await replace(store, key=key).remove()
    if registered is False:
        await store.remove_former()
        await store.database.update_collection(store.key.collection, {"metadata": registration})


def require_shard_key(store: LedgerStore, ledger: Ledger) -> None:
    """Raises Terminal InvalidSpec if the points of the set are kept under another shard key than the declared one."""
    if ledger.shard_key != store.shard_key:
        before = f"under the shard key {ledger.shard_key!r}" if ledger.shard_key else "without a shard key"
        raise Terminal(
            Reason.INVALID_SPEC,
            f"spec.shardKey: the points of this set are kept {before}, and that cannot be changed: take the change "
            "back, or delete the set and create it again",
        )
