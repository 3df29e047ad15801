"""Which other sets hold some points of a collection, without reading every ledger of it.

Each base and slot carries the hashes of its ids under a payload index: one search finds the sets that may hold one of
the ids, and only the parts of these that the ids fall into are read. A record that this version cannot read may hold
any point. A record without `hashes` is found by every search, so a later format may leave them out, and is then taken
for one that may hold any point by all versions that do not know it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from vectorops.api.meta import JsonObject
from vectorops.errors import Rejected
from vectorops.ledger.entries import Entries, part_numbers
from vectorops.ledger.records import (
    HASHES,
    UNREADABLE,
    WHOLE,
    LedgerKey,
    Part,
    is_of_part,
    part_of,
    record_id,
    search_hashes,
)
from vectorops.ledger.store import LedgerStore
from vectorops.qdrant.database import PointId

LEDGERS_AT_ONCE: Final = 8
"""Ledgers of other sets that are held in memory together: of the largest inline sets some 2 MB."""
IDS_AT_ONCE: Final = 2048
"""Ids that one request asks about."""
PARTS_AT_ONCE: Final = 16
"""Parts of one other set that are held in memory together."""

Payloads = Mapping[PointId, JsonObject]


@dataclass(frozen=True, slots=True)
class Holders:
    """What other sets have to do with some points."""

    held: Mapping[PointId, str] = field(default_factory=dict)
    """By id, the set that owns it, as `installation/namespace/name`."""
    moving: Mapping[PointId, str] = field(default_factory=dict)
    """Ids that another set has in a window that it has open, or is deleting; whether it owns them or not."""
    unreadable: Mapping[PointId, str] = field(default_factory=dict)
    """Ids of records that this version cannot read, with their owners, "" if unknown: these sets may hold any point."""

    def explain_unreadable(self, namespace: str) -> str:
        """Why points that leave a set are not deleted, for readers of this namespace.

        A set of another namespace is not named: the reader may not know of it, and the record is named.
        """
        record, owner = next(iter(self.unreadable.items()))
        match owner.rsplit("/", 2):
            case _, of, _:
                whose = owner if of == namespace else "another namespace"
            case _:
                whose = "an unknown set"
        more = f" and {len(self.unreadable) - 1} more" if len(self.unreadable) > 1 else ""
        return (
            f"in the collection of the ledgers, record {record} of {whose}{more} cannot be read and may hold any "
            "point, so no point is deleted: upgrade VectorOps if a newer version wrote it, else mend or delete it "
            "(docs/operations.md)"
        )


async def find_holders(store: LedgerStore, ids: Collection[PointId], former: Sequence[LedgerKey] = ()) -> Holders:
    """What other sets than that of the store have to do with these points of its physical collection.

    former: keys under which the same set kept its ledger before; what they hold is not another's. The same id under
    another shard key than the store's is another point.
    Costs one small request for 2,048 ids, and reading the parts of those sets that may hold one of them: all of the
    ledger if it was last written before there were hashes.
    """
    held: dict[PointId, str] = {}
    moving: dict[PointId, str] = {}
    unreadable: dict[PointId, str] = {}
    asked = list(ids)
    for start in range(0, len(asked), IDS_AT_ONCE):
        some = asked[start : start + IDS_AT_ONCE]
        keys, parts, bad = await _candidates(store, some, former)
        unreadable |= bad
        for first in range(0, len(keys), LEDGERS_AT_ONCE):
            owners = {key: keys[key] for key in list(keys)[first : first + LEDGERS_AT_ONCE]}
            for found in await _read_ledgers(store, owners, parts, some):
                held |= found.held
                moving |= found.moving
                unreadable |= found.unreadable
    return Holders(held, moving, unreadable)


async def _candidates(
    store: LedgerStore, ids: Sequence[PointId], former: Sequence[LedgerKey]
) -> tuple[dict[str, str], dict[str, set[Part]], dict[PointId, str]]:
    """Ledgers of other sets that may speak of one of the ids, as key to owner, and by key the parts that may; and
    records that nobody can read, as id to owner.
    """
    key = store.key
    same_shard_key: JsonObject = {
        "should": [{"key": "shard_key", "match": {"value": store.shard_key}}, {"is_empty": {"key": "shard_key"}}]
    }
    hashes = {"should": [{"key": "hashes", "match": {"any": search_hashes(ids)}}, {"is_empty": {"key": "hashes"}}]}
    where: JsonObject = {
        "must": [
            {"key": "collection", "match": {"value": key.collection}},
            {"key": "incarnation", "match": {"value": key.incarnation}},
            *([same_shard_key] if store.shard_key else []),
            hashes,
        ],
        "must_not": [
            {"key": "key", "match": {"any": [str(key), *map(str, former)]}},
            {"key": "kind", "match": {"value": "head"}},
        ],
    }
    wanted = ("key", "owner", "bits", "generation", "n")
    try:
        records = await store.database.scroll(store.ledger_collection, where, payload=wanted)
    except Rejected as error:
        if error.status != 404:
            raise
        return {}, {}, {}
    keys: dict[str, str] = {}
    parts: dict[str, set[Part]] = {}
    bad: dict[PointId, str] = {}
    for record in records:
        named, owner = str(record.payload.get("key")), str(record.payload.get("owner"))
        is_a_set = owner.count("/") > 1 and named == f"{owner}/{key.collection}/{key.incarnation}"
        stated = _stated_part(record.payload)
        if is_a_set and record.id in _ids_of_part(named, stated):
            keys[named] = owner
            parts.setdefault(named, set()).add(stated)
        else:
            bad[record.id] = owner if isinstance(record.payload.get("owner"), str) else ""
    return keys, parts, bad


def _stated_part(payload: JsonObject) -> Part:
    bits, generation, number = (payload.get(name, 0) for name in ("bits", "generation", "n"))
    return Part(bits, generation, number) if bits else WHOLE


def _ids_of_part(key: str, part: Part) -> tuple[UUID, UUID]:
    """Where the base and the slot of a part are."""
    return record_id(key, "base", part), record_id(key, "slot", part)


async def _read_ledgers(
    store: LedgerStore, owners: Mapping[str, str], parts: Mapping[str, set[Part]], ids: Sequence[PointId]
) -> list[Holders]:
    """What some ledgers say of these ids. owners: by key; parts: by key, those that may speak of them."""
    records = [id for key in owners for id in (record_id(key, "head"), *_ids_of_part(key, WHOLE))]
    stored = await _payloads(store, records)
    cut = [key for key in owners if (stored.get(record_id(key, "head")) or {}).get("bits")]
    whole = {key: owner for key, owner in owners.items() if key not in cut}
    # Unpacking is work of the processor's: in the event loop, leases and probes would wait for it.
    found = [await asyncio.to_thread(read_whole_ledgers, whole, stored, frozenset(ids))]
    for key in cut:
        found += await _read_parts(store, key, owners[key], stored[record_id(key, "head")], ids)
    for key, owner in owners.items():
        if record_id(key, "head") not in stored:
            found += await _read_parts_without_head(store, key, owner, sorted(parts[key] - {WHOLE}), ids)
    return found


async def _read_parts_without_head(
    store: LedgerStore, key: str, owner: str, parts: Sequence[Part], ids: Sequence[PointId]
) -> list[Holders]:
    """What parts say whose head is gone: as with one part, what they claim counts until the set has a ledger again."""
    found: list[Holders] = []
    for first in range(0, len(parts), PARTS_AT_ONCE):
        some = parts[first : first + PARTS_AT_ONCE]
        stored = await _payloads(store, [id for part in some for id in _ids_of_part(key, part)])
        # Those that were removed since they were found say nothing.
        left = [part for part in some if stored.keys() & set(_ids_of_part(key, part))]
        found += [await asyncio.to_thread(_read_part, key, owner, part, stored, frozenset(ids)) for part in left]
    return found


async def _read_parts(
    store: LedgerStore, key: str, owner: str, head: JsonObject, ids: Sequence[PointId]
) -> list[Holders]:
    """What a ledger in several parts says of these ids."""
    cut = part_of(head)
    if cut is None:
        return [Holders(unreadable={record_id(key, "head"): owner})]
    numbers = part_numbers(ids, cut.bits)
    by_part: dict[Part, list[PointId]] = {}
    for id, number in zip(ids, numbers, strict=True):
        by_part.setdefault(cut._replace(number=number), []).append(id)
    found: list[Holders] = []
    parts = list(by_part)
    for first in range(0, len(parts), PARTS_AT_ONCE):
        some = parts[first : first + PARTS_AT_ONCE]
        head_id = record_id(key, "head")
        stored = await _payloads(store, [head_id, *(id for part in some for id in _ids_of_part(key, part))])
        if (now := stored.get(head_id)) != head:
            # Written, removed, or cut into other parts meanwhile. A cut is rare, so this ends.
            return await _read_parts(store, key, owner, now, ids) if now is not None else []
        found += [
            await asyncio.to_thread(_read_part, key, owner, part, stored, frozenset(by_part[part])) for part in some
        ]
    return found


async def _payloads(store: LedgerStore, ids: Sequence[PointId]) -> dict[PointId, JsonObject]:
    stored = await store.database.points(store.ledger_collection, ids, payload=True, without=HASHES)
    return {id: record.payload for id, record in stored.items()}


def read_whole_ledgers(owners: Mapping[str, str], records: Payloads, ids: frozenset[PointId]) -> Holders:
    """What some ledgers of one part say of these ids. owners: by key. records: head, base and slot of all, by id."""
    held: dict[PointId, str] = {}
    moving: dict[PointId, str] = {}
    unreadable: dict[PointId, str] = {}
    for key, owner in owners.items():
        head = records.get(record_id(key, "head"))
        if head is not None and part_of(head) != WHOLE:
            unreadable[record_id(key, "head")] = owner
            continue
        base, slot = _ids_of_part(key, WHOLE)
        if base not in records and slot not in records:
            # Removed since it was found.
            continue
        found = _read_part(key, owner, WHOLE, records, ids)
        held |= found.held
        moving |= found.moving
        unreadable |= found.unreadable
    return Holders(held, moving, unreadable)


def _read_part(key: str, owner: str, part: Part, records: Payloads, ids: frozenset[PointId]) -> Holders:
    base, slot = map(records.get, _ids_of_part(key, part))
    try:
        if base is None or slot is None or not (is_of_part(base, part) and is_of_part(slot, part)):
            raise KeyError(part)
        claimed, in_flight = read_claims(base, slot, ids)
    except UNREADABLE:
        return Holders(unreadable={record_id(key, "base", part): owner})
    return Holders(dict.fromkeys(claimed, owner), dict.fromkeys(in_flight, owner))


def read_claims(base: JsonObject, slot: JsonObject, ids: frozenset[PointId]) -> tuple[set[PointId], set[PointId]]:
    """Which of the ids a set owns, with the window that it has open and without what it is deleting; and which are in
    that window, or being deleted. Raises one of `UNREADABLE`.
    """
    entries = dict(Entries.decode(base["u64"], base["uuid"], base["width"]).only(ids))
    moving: set[PointId] = set()
    if slot["sequence"] > base["through"]:
        window = Entries.decode(slot["u64"], slot["uuid"], slot["width"]).only(ids)
        moving |= window.keys()
        entries |= window
    dying = {id for id, entry in entries.items() if entry.dying}
    return entries.keys() - dying, moving | dying
