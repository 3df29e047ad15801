"""Deletes the points of a set that is being deleted, part by part, and tells which of them would stay."""

from __future__ import annotations

from vectorops.errors import OutOfSpace
from vectorops.ledger.records import Ledger
from vectorops.ledger.store import LedgerStore
from vectorops.points.embedding import AtSafePoint, go_on
from vectorops.points.part import (
    Judge,
    Judgment,
    delete_part,
    delete_unrecorded,
    find_owned,
    record_found,
    require_replayed,
)
from vectorops.points.pass_progress import PassProgress
from vectorops.points.replaced import Replaced, judge
from vectorops.points.sync_pass import collection_may_go, read_sure
from vectorops.qdrant.database import PointId


async def remove_points(
    store: LedgerStore,
    collection: str,
    *,
    marked: bool = True,
    pace: AtSafePoint = go_on,
    progress: PassProgress | None = None,
) -> int:
    """Deletes all points that the set owns. Returns how many were deleted; safe to repeat.

    marked: does a mark tell that this is the collection that the ledger is about? If not, and it seems to be another
    one, what is no longer as it was written stays.
    pace: called after each part of which something was deleted; what it raises ends the work there, and the next run
    goes on.
    The ledger stays, to be removed once nothing says any more that it must exist. Raises Terminal LedgerUnreadable if
    another set's record cannot be read.
    """
    with collection_may_go():
        first = await read_sure(store)
        if first is None:
            await require_replayed(store.database)
            return 0
        store = store.for_shard_key(first.shard_key)
        if first.shard_key and first.shard_key not in await store.database.shard_keys(collection):
            # The points went with their shard key.
            return 0
        if first.part.bits:
            await store.require_parts(first)
            await store.take_head()
        judge_part = None if marked else await _judge_removal(store, collection, first)
        deleted = 0
        for part in first.part.siblings:
            ledger = await store.at(part).read_existing() if part.bits else first
            of_part = await _remove_part(store.at(part), collection, ledger, judge_part)
            deleted += of_part
            if progress is not None:
                progress.done += of_part
            if part.bits and of_part:
                await pace()
        return deleted


async def kept_by_removal(store: LedgerStore, collection: str, *, marked: bool = True) -> list[PointId]:
    """Points of the set that `remove_points` would leave, because they are no longer as they were written. Writes
    nothing. marked: see `remove_points`.
    """
    first = None if marked else await read_sure(store)
    if first is None:
        return []
    if first.shard_key and first.shard_key not in await store.database.shard_keys(collection):
        return []
    store = store.for_shard_key(first.shard_key)
    judge_part = await _judge_removal(store, collection, first)
    kept: list[PointId] = []
    for part in first.part.siblings:
        ledger = await store.at(part).read() if part.bits else first
        if ledger is not None:
            ours, stored = await find_owned(store.at(part), collection, ledger, judge_part)
            kept += [id for id in ledger.entries if id in stored and id not in ours.entries]
    return kept


async def _remove_part(store: LedgerStore, collection: str, ledger: Ledger, judge_part: Judge | None) -> int:
    try:
        ledger = await store.take(ledger)
        ours, stored = await find_owned(store, collection, ledger, judge_part)
        ledger = await record_found(store, ledger, ours)
        ids, gone = [id for id in ledger.entries if id in stored], [id for id in ledger.entries if id not in stored]
        return await delete_part(store, collection, ledger, ids, gone)
    except OutOfSpace:
        # The ledger goes anyway.
        ours, stored = await find_owned(store, collection, ledger, judge_part)
        return await delete_unrecorded(store, collection, ledger, [id for id in ours.entries if id in stored])


async def _judge_removal(store: LedgerStore, collection: str, first: Ledger) -> Judge:
    """What is kept of a collection without a mark that seems to be another one, by all parts together."""
    evidence: list[Replaced] = []

    async def gather(found: Replaced, _ledger: Ledger) -> Judgment:
        evidence.append(found)
        return Judgment()

    async def repeat(found: Replaced, ledger: Ledger) -> Judgment:
        return Judgment(judge(evidence or [found], ledger.created_at, store.created_at))

    if first.part.bits:
        for part in first.part.siblings:
            ledger = await store.at(part).read()
            if ledger is not None:
                await find_owned(store.at(part), collection, ledger, gather)
    return repeat
