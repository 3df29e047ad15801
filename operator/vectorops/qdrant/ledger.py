"""The ledger, format 1: which points a PointSet owns and what was last written of each. Specified in
docs/ledger.md.

This module knows the records and how they are written so that a killed process, a lost answer or a second writer
cannot make them lie; `points.sync` knows what they mean for points. Sets are small so far: `bits` is 0, so one base
and one journal slot are the whole ledger.

The order of one window is: `open` (the slot tells what is about to be written), the points, `settle` (the base
tells what is). A slot whose sequence is above the base's `through` was left open by somebody who was killed.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Final, NamedTuple
from uuid import UUID, uuid5

import numpy as np
from numpy.typing import NDArray
from xxhash import xxh3_64_intdigest

from vectorops.api.meta import JsonObject, Ref
from vectorops.api.reasons import Reason
from vectorops.errors import Rejected, Terminal, Transient
from vectorops.qdrant.database import Database, PayloadChange, PointData, PointId
from vectorops.qdrant.marks import LEDGER_METADATA, is_ledger, mark_of

FORMAT: Final = 1
NAMESPACE: Final = UUID("3c1b8c52-7a55-5d0e-8e0f-0d6f3b1c9a77")
"""Namespace of the record ids."""

ABSENT: Final = 0
UNKNOWN: Final = 1
TOMBSTONE: Final = 2
"""Fingerprints with a meaning of their own: no such vector; owned, content not known; being deleted."""
FIRST_HASH: Final = 16
"""Smaller ones are no hashes."""


class Entry(NamedTuple):
    """What was last written of one point. vectors: one fingerprint for each of `Ledger.names`, in that order."""

    payload: int
    vectors: tuple[int, ...]

    @property
    def dying(self) -> bool:
        """Is the point being deleted?"""
        return self.payload == TOMBSTONE


Entries = Mapping[PointId, Entry]

UNREADABLE: Final = (KeyError, TypeError, ValueError, OverflowError)
"""What reading a record raises that somebody else has changed."""

KINDS: Final = ("head", "base", "slot")
FIELDS_OF_ALL: Final = ("format", "key", "owner", "collection", "incarnation", "token", "kind")

HASH_BITS: Final = 32
NO_HASH: Final = -1
"""Stands in `hashes` of every record, so that one that lists no id differs from one that was written before there were
hashes, and may list any.
"""

INDEXES: Final[Mapping[str, JsonObject]] = {
    "owner": {"type": "keyword"},
    "hashes": {"type": "integer", "lookup": True, "range": False},
}
"""Payload indexes of a collection of ledgers: each search has one of these among its conditions, and what it leaves is
little. (One for every field would make the collection six times slower to create.)
"""

LEDGERS_AT_ONCE: Final = 8
"""Ledgers of other sets that are held in memory together: of the largest inline sets some 2 MB."""
IDS_AT_ONCE: Final = 2048
"""Ids that one request asks about."""

SAMPLE: Final = 100
"""Records of an unmarked collection that are looked at one by one."""


@dataclass(frozen=True, slots=True)
class Slot:
    """One window that may have been carried out in part.

    new: ids that did not exist before it. texts: by the vector's name, ids whose fingerprint of it is that of a text.
    """

    sequence: int
    entries: Entries
    new: frozenset[PointId]
    texts: Mapping[str, frozenset[PointId]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Ledger:
    """What the records say. names: the vectors that entries speak of. pending: the window that was left open, if any.

    rebuilt: the ledger was lost once, and made again from what the source had.
    deletion_policy: what becomes of the points when the set goes; for whoever finds the ledger without its resource.
    shard_key: that all points are kept under; "" for none.
    created_at: when the collection was created, for one without a mark, and if Qdrant tells (1.20); else "".
    """

    names: tuple[str, ...]
    entries: Entries
    through: int = 0
    pending: Slot | None = None
    token: str = ""
    rebuilt: bool = False
    deletion_policy: str = "Delete"
    shard_key: str = ""
    created_at: str = ""


@dataclass(frozen=True, slots=True)
class LedgerKey:
    """Which ledger: whose points, in which physical collection. Never the UID, never the connection."""

    installation: str
    point_set: Ref
    collection: str
    incarnation: str

    @property
    def owner(self) -> str:
        """Installation, namespace and name: the same in every collection."""
        return f"{self.installation}/{self.point_set.namespace}/{self.point_set.name}"

    def __str__(self) -> str:
        return f"{self.owner}/{self.collection}/{self.incarnation}"

    def record_id(self, kind: str) -> UUID:
        """uuid5 of format, key, kind, part, generation and number; the last three are 0 while bits is 0."""
        return record_id(str(self), kind)


def record_id(key: str, kind: str) -> UUID:
    """See `LedgerKey.record_id`. key: as a string."""
    return uuid5(NAMESPACE, f"{FORMAT}|{key}|{kind}|0|0|0")


def align(entry: Entry, old: tuple[str, ...], new: tuple[str, ...]) -> Entry:
    """The same entry for another list of vector names. Names that came are absent: no point has them yet."""
    by_name = dict(zip(old, entry.vectors, strict=True))
    return Entry(entry.payload, tuple(by_name.get(name, ABSENT) for name in new))


@dataclass(slots=True)
class LedgerStore:
    """Reads and writes the ledger of one PointSet.

    database: of the points, too; see `for_shard_key`. writer: our token; writes of anybody else's token have no effect.
    deletion_policy, created_at, shard_key: to be remembered in it, see `Ledger`.
    """

    database: Database
    ledger_collection: str
    key: LedgerKey
    writer: str
    deletion_policy: str = "Delete"
    created_at: str = ""
    shard_key: str = ""

    def for_shard_key(self, shard_key: str) -> LedgerStore:
        """The same for a set whose points are kept under a shard key: its `database` sees no others of the
        collection.
        """
        if not shard_key or shard_key == self.shard_key:
            return self
        narrowed = self.database.with_shard_key(self.key.collection, shard_key)
        return replace(self, database=narrowed, shard_key=shard_key)

    async def read(self) -> Ledger | None:
        """The ledger, or None if there is none.

        Raises Terminal LedgerDamaged if a record of it is missing or damaged, LedgerUnreadable if a newer version of
        VectorOps wrote one.
        """
        head, base, slot = await self._records()
        if head is None:
            return None
        for record in (head, base, slot):
            if record is not None and _is_newer(record):
                raise Terminal(
                    Reason.LEDGER_UNREADABLE,
                    f"a newer version of VectorOps wrote the ledger of this set in collection "
                    f"{self.ledger_collection!r}: nothing is written or deleted. Upgrade VectorOps; to delete the set "
                    "without its points, see docs/operations.md",
                )
        if base is None or slot is None:
            raise self._damaged("is missing")
        try:
            if not all(_is_readable(record) for record in (head, base, slot)):
                raise KeyError("format")
            return _ledger(head, base, slot)
        except UNREADABLE:
            # Without its origin: that would quote content.
            raise self._damaged("cannot be read") from None

    async def exists(self) -> bool:
        """Is there a ledger, readable or not?"""
        return (await self._records())[0] is not None

    def _damaged(self, what: str) -> Terminal:
        return Terminal(
            Reason.LEDGER_DAMAGED,
            f"a record of the ledger in collection {self.ledger_collection!r} {what}: nothing is written or "
            "deleted. Restore it from a snapshot, or delete all records of this set to have it rebuilt "
            "(docs/operations.md)",
        )

    async def create(self, names: tuple[str, ...], entries: Entries, *, rebuilt: bool = False) -> Ledger:
        """Makes the records, the head last: without it there is no ledger. What is there already, from a try that
        was killed or from another writer, is not overwritten before the token is ours.
        """
        head = _head(names, rebuilt, self.deletion_policy, self.created_at)
        base = _base(entries, names, 0)
        slot = {"kind": "slot", "sequence": 0, "state": "free", "new": "", **_pack({}, len(names))}
        await self.database.upsert(self.ledger_collection, [self._record(base), self._record(slot)], insert_only=True)
        await self.database.upsert(self.ledger_collection, [self._record(head)], insert_only=True)
        ledger = await self._taken_over()
        if ledger.through == 0 and ledger.pending is None and ledger.entries != entries:
            ledger = await self.settle(ledger, entries, 0)
        return ledger

    async def take(self, ledger: Ledger) -> Ledger:
        """Makes us the writer, and returns what the records say then: the former writer may have written meanwhile."""
        return ledger if ledger.token == self.writer else await self._taken_over()

    async def _taken_over(self) -> Ledger:
        ids = [self.key.record_id(kind) for kind in ("head", "base", "slot")]
        changes = [PayloadChange(id, put={"token": self.writer}) for id in ids]
        await self.database.change_payloads(self.ledger_collection, changes)
        return await self._taken()

    async def open(
        self,
        ledger: Ledger,
        entries: Entries,
        new: Iterable[PointId],
        texts: Mapping[str, frozenset[PointId]] = MappingProxyType({}),
    ) -> Slot:
        """Tells what is about to be written, before it is. See `Slot`.

        Raises Transient AnotherWriter if we are not the writer any more.
        """
        slot = Slot(ledger.through + 1, entries, frozenset(new), texts)
        record = self._record(
            {
                "kind": "slot",
                "sequence": slot.sequence,
                "state": "open",
                "new": _pack_flags(slot.new, entries),
                "texts": {name: _pack_flags(ids, entries) for name, ids in texts.items()},
                **_pack(entries, len(ledger.names)),
            }
        )
        await self._write([record], older={"key": "sequence", "range": {"gte": slot.sequence}})
        _, base, stored = await self._records()
        self._expect(base is not None and base["token"] == self.writer and base["through"] == ledger.through)
        self._expect(stored == record.payload)
        return slot

    async def settle(self, ledger: Ledger, entries: Entries, through: int) -> Ledger:
        """Tells what is so now; the slot up to `through` has nothing more to say."""
        record = self._record(_base(entries, ledger.names, through))
        await self._write([record], older=_beyond(through))
        _, base, _ = await self._records()
        self._expect(base == record.payload)
        return replace(ledger, entries=entries, through=through, pending=None)

    async def restate(self, ledger: Ledger) -> Ledger:
        """The same as `settle`, the head included: the collection got or lost vectors, or the policy changed.

        ledger: aligned, and without an open window; what the slot holds counts no more.
        """
        head = _head(ledger.names, ledger.rebuilt, self.deletion_policy, self.created_at)
        # Both in one request. Should only the base be written after all, its width tells (see `_unpack`).
        records = [self._record(_base(ledger.entries, ledger.names, ledger.through)), self._record(head)]
        await self._write(records, older=_beyond(ledger.through))
        return await self._taken()

    async def remove(self) -> None:
        """Deletes the records, also what is left of them; safe to repeat.

        In one request, and the slot before the base: a slot that is left beside the base of the next ledger would
        look like an open window.
        """
        ids = [self.key.record_id(kind) for kind in ("head", "slot", "base")]
        try:
            await self.database.delete_points(self.ledger_collection, ids)
        except Rejected as error:
            # No set has a ledger in this Qdrant any more.
            if error.status != 404:
                raise

    async def remove_former(self) -> None:
        """Deletes the ledgers that this set has of former incarnations of its physical collection.

        One is deleted only if it is certain that its collection is gone: the ledgers are listed first, and then the
        collection of that very name must carry the mark with our incarnation. A ledger of any other collection stays.
        """
        where: JsonObject = {
            "must": [
                {"key": "owner", "match": {"value": self.key.owner}},
                {"key": "collection", "match": {"value": self.key.collection}},
            ],
            "must_not": [{"key": "incarnation", "match": {"value": self.key.incarnation}}],
        }
        records = await self.database.scroll(self.ledger_collection, where, payload=("key",))
        keys = sorted({str(record.payload["key"]) for record in records if "key" in record.payload})
        if not keys:
            return
        found = await self.database.collection(self.key.collection)
        mark = mark_of(found, self.key.collection) if found is not None else None
        if mark is not None and mark.incarnation == self.key.incarnation:
            where["must"].append({"key": "key", "match": {"any": keys}})
            await self.database.delete_matching(self.ledger_collection, where)

    async def _taken(self) -> Ledger:
        ledger = await self.read()
        self._expect(ledger is not None and ledger.token == self.writer)
        assert ledger is not None
        return ledger

    async def _records(self) -> tuple[JsonObject | None, JsonObject | None, JsonObject | None]:
        ids = [self.key.record_id(kind) for kind in ("head", "base", "slot")]
        try:
            stored = await self.database.points(self.ledger_collection, ids, payload=True)
        except Rejected as error:
            if error.status != 404:
                raise
            return None, None, None
        head, base, slot = (stored[id].payload if id in stored else None for id in ids)
        return head, base, slot

    async def _write(self, records: Sequence[PointData], *, older: JsonObject) -> None:
        """Overwrites records if their token is ours, and they are older than what `older` excludes.

        A request that we gave up waiting for may arrive late, after we went on: it must not bring back what was so.
        """
        where = {"must": [{"key": "token", "match": {"value": self.writer}}], "must_not": [older]}
        await self.database.upsert(self.ledger_collection, records, where=where)

    def _record(self, fields: JsonObject) -> PointData:
        common = {
            "format": FORMAT,
            "key": str(self.key),
            "owner": self.key.owner,
            "collection": self.key.collection,
            "incarnation": self.key.incarnation,
            "token": self.writer,
        }
        if self.shard_key:
            # In every record: whoever asks who owns an id asks for it under one shard key.
            common["shard_key"] = self.shard_key
        return PointData(self.key.record_id(fields["kind"]), payload={**common, **fields})

    def _expect(self, so: bool) -> None:
        if not so:
            raise Transient(
                Reason.ANOTHER_WRITER,
                f"another operator of installation {self.key.installation!r} writes this set as well",
            )


async def ensure_ledger_collection(database: Database, name: str, *, replication_factor: int) -> None:
    """The collection for ledgers, made if there is none. Strict mode is off in it: a default one would refuse its
    records. Raises what `require_ledger_collection` raises.
    """
    if await require_ledger_collection(database, name):
        return
    body: JsonObject = {"vectors": {}, "strict_mode_config": {"enabled": False}, "metadata": LEDGER_METADATA}
    if replication_factor > 1:
        body["replication_factor"] = replication_factor
    try:
        await database.create_collection(name, body)
    except Rejected:
        # Another set made it at the same moment.
        if await database.collection(name) is None:
            raise
    await require_ledger_collection(database, name)


async def require_ledger_collection(database: Database, name: str, *, change: bool = True) -> bool:
    """May ledgers be kept in this collection? False: there is none yet.

    One that holds nothing but our records, from before collections of ledgers were marked, gets its mark here; one
    that lacks payload indexes gets them. change: False only looks.
    Raises Terminal OwnedByAnother, UnknownMark or NotAdopted if it is anything else: nothing is written into it.
    """
    found = await database.collection(name)
    if found is None:
        return False
    marked = is_ledger(found, name)
    if not marked:
        await _require_only_records(database, name, found)
    if not change:
        return True
    for path in INDEXES.keys() - (found.get("payload_schema") or {}).keys():
        await database.create_index(name, path, INDEXES[path])
    if not marked:
        await database.update_collection(name, {"metadata": LEDGER_METADATA})
    return True


async def _require_only_records(database: Database, name: str, found: JsonObject) -> None:
    """Is an unmarked collection one that an earlier version made for ledgers? Raises Terminal NotAdopted if not."""
    params = found["config"]["params"]
    stranger = ""
    if params.get("vectors") or params.get("sparse_vectors"):
        stranger = "it has vectors"
    else:
        of_no_kind: JsonObject = {"must_not": [{"key": "kind", "match": {"any": list(KINDS)}}]}
        some = await database.scroll(name, of_no_kind, limit=1)
        some += [
            record
            for record in await database.scroll(name, payload=FIELDS_OF_ALL, limit=SAMPLE)
            if not _is_record(record.payload)
        ]
        if some:
            stranger = f"point {some[0].id} is no record of a ledger"
    if stranger:
        raise Terminal(
            Reason.NOT_ADOPTED,
            f"collection {name!r} was there first, and cannot be used for ledgers: {stranger}. Nothing is written into "
            "it. Name another one, or none, in ledgerCollectionName of a QdrantConnection (docs/operations.md)",
        )


def _is_record(payload: JsonObject) -> bool:
    return all(isinstance(payload.get(name), int if name == "format" else str) for name in FIELDS_OF_ALL)


async def ledger_collections(database: Database) -> list[str]:
    """The collections that carry the mark of one for ledgers. Reads every collection: for rare questions."""
    found = []
    for name in sorted(await database.collection_names()):
        described = await database.collection(name)
        # Other marks, and damaged ones, are not what is asked for.
        with suppress(Terminal):
            if described is not None and is_ledger(described, name):
                found.append(name)
    return found


async def ledgers_of(database: Database, ledger_collection: str, collection: str, owners: str) -> list[LedgerKey]:
    """The ledgers of all incarnations of a collection, of sets whose owner begins with `owners`. For rare questions."""
    where: JsonObject = {
        "must": [{"key": "kind", "match": {"value": "head"}}, {"key": "collection", "match": {"value": collection}}]
    }
    try:
        heads = await database.scroll(ledger_collection, where, payload=("key", "owner", "incarnation"))
    except Rejected as error:
        if error.status != 404:
            raise
        return []
    keys = []
    for head in heads:
        owner, incarnation = head.payload.get("owner"), head.payload.get("incarnation")
        if isinstance(owner, str) and isinstance(incarnation, str) and owner.startswith(owners):
            installation, namespace, name = owner.rsplit("/", 2)
            keys.append(LedgerKey(installation, Ref("PointSet", namespace, name), collection, incarnation))
    return keys


async def holds_records(database: Database, name: str) -> bool:
    """Does an unmarked collection look like one that ledgers are kept in? Then it can be nobody's target."""
    ours = {"must": [{"key": "kind", "match": {"any": list(KINDS)}}]}
    found = await database.scroll(name, ours, payload=FIELDS_OF_ALL, limit=SAMPLE)
    return bool(found) and all(_is_record(record.payload) for record in found)


@dataclass(frozen=True, slots=True)
class Others:
    """What other sets have to do with some points.

    held: by id, which set owns it, as `installation/namespace/name`. moving: those that another set has in a window
    that it has open, or is deleting; owned by it (in `held`) or not. unreadable: records, with their owners, that this
    version cannot read: those sets may hold any point.
    """

    held: Mapping[PointId, str] = field(default_factory=dict)
    moving: Mapping[PointId, str] = field(default_factory=dict)
    unreadable: tuple[str, ...] = ()


async def others(
    database: Database,
    ledger_collection: str,
    key: LedgerKey,
    ids: Collection[PointId],
    *,
    former: Sequence[LedgerKey] = (),
    shard_key: str = "",
) -> Others:
    """Which sets beside that of `key` have to do with these points of its physical collection.

    former: keys under which the same set kept its ledger before; what they hold is not another's.
    shard_key: the one that the points are kept under, "" for none: the same id under another key is another point.
    Costs one small request, and reading the ledgers of those that may hold one of the ids: by the hashes in their
    records, or all of it for a ledger that was last written before there were hashes.
    """
    held: dict[PointId, str] = {}
    moving: dict[PointId, str] = {}
    unreadable: dict[str, None] = {}
    asked = list(ids)
    for start in range(0, len(asked), IDS_AT_ONCE):
        some = frozenset(asked[start : start + IDS_AT_ONCE])
        keys, bad = await _candidates(database, ledger_collection, key, some, former, shard_key)
        unreadable |= dict.fromkeys(bad)
        for first in range(0, len(keys), LEDGERS_AT_ONCE):
            owners = {each: keys[each] for each in list(keys)[first : first + LEDGERS_AT_ONCE]}
            records = [id for each in owners for id in _ids_of(each)]
            stored = await database.points(ledger_collection, records, payload=True)
            payloads = {id: record.payload for id, record in stored.items()}
            # Unpacking is work of the processor's: elsewhere, or leases and probes wait for it.
            found = await asyncio.to_thread(_read_page, owners, payloads, some)
            held |= found.held
            moving |= found.moving
            unreadable |= dict.fromkeys(found.unreadable)
    return Others(held, moving, tuple(unreadable))


async def _candidates(
    database: Database,
    ledger_collection: str,
    key: LedgerKey,
    ids: frozenset[PointId],
    former: Sequence[LedgerKey],
    shard_key: str,
) -> tuple[dict[str, str], list[str]]:
    """Ledgers of other sets that may speak of one of the ids, as key to owner; and records that nobody can read."""
    same_shard_key: JsonObject = {
        "should": [{"key": "shard_key", "match": {"value": shard_key}}, {"is_empty": {"key": "shard_key"}}]
    }
    where: JsonObject = {
        "must": [
            {"key": "collection", "match": {"value": key.collection}},
            {"key": "incarnation", "match": {"value": key.incarnation}},
            *([same_shard_key] if shard_key else []),
            {
                "should": [
                    {"key": "hashes", "match": {"any": sorted({hash_of(id) for id in ids})}},
                    {"is_empty": {"key": "hashes"}},
                ]
            },
        ],
        "must_not": [
            {"key": "key", "match": {"any": [str(key), *map(str, former)]}},
            {"key": "kind", "match": {"value": "head"}},
        ],
    }
    try:
        records = await database.scroll(ledger_collection, where, payload=("key", "owner"))
    except Rejected as error:
        if error.status != 404:
            raise
        return {}, []
    keys: dict[str, str] = {}
    bad = []
    for record in records:
        named, owner = str(record.payload.get("key")), str(record.payload.get("owner"))
        is_a_set = owner.count("/") > 1 and named == f"{owner}/{key.collection}/{key.incarnation}"
        if is_a_set and record.id in _ids_of(named):
            keys[named] = owner
        else:
            bad.append(_unreadable(record.id, record.payload.get("owner")))
    return keys, bad


def _ids_of(key: str) -> tuple[UUID, UUID]:
    """Where the base and the slot of a ledger are."""
    return record_id(key, "base"), record_id(key, "slot")


def _unreadable(id: PointId, owner: object) -> str:
    return f"record {id} of {owner}" if isinstance(owner, str) else f"record {id} of an unknown set"


def _read_page(owners: Mapping[str, str], records: Mapping[PointId, JsonObject], ids: frozenset[PointId]) -> Others:
    """What some ledgers say of these ids. owners: by key. records: base and slot of all, by id."""
    held: dict[PointId, str] = {}
    moving: dict[PointId, str] = {}
    unreadable = []
    for key, owner in owners.items():
        base, slot = map(records.get, _ids_of(key))
        if base is None and slot is None:
            # Removed since it was found.
            continue
        try:
            if base is None or slot is None or not (_is_readable(base) and _is_readable(slot)):
                raise KeyError
            claimed, in_flight = _claims(base, slot, ids)
        except UNREADABLE:
            unreadable.append(_unreadable(_ids_of(key)[0], owner))
            continue
        held |= dict.fromkeys(claimed, owner)
        moving |= dict.fromkeys(in_flight, owner)
    return Others(held, moving, tuple(unreadable))


def _claims(base: JsonObject, slot: JsonObject, ids: frozenset[PointId]) -> tuple[set[PointId], set[PointId]]:
    """Which of the ids a set owns, with the window that it has open and without what it is deleting; and which are in
    that window, or being deleted.
    """
    width = base["width"]
    entries = _unpack(base, width, only=ids)
    moving: set[PointId] = set()
    if slot["sequence"] > base["through"]:
        window = _unpack(slot, width, only=ids)
        moving |= window.keys()
        entries |= window
    dying = {id for id, entry in entries.items() if entry.dying}
    return entries.keys() - dying, moving | dying


def hash_of(id: PointId) -> int:
    """The first 32 bits of XXH3-64 of an id (8 bytes little-endian, or the 16 of a UUID), as kept in the records."""
    raw = id.to_bytes(8, "little") if isinstance(id, int) else id.bytes
    return xxh3_64_intdigest(raw) >> (64 - HASH_BITS)


def _is_newer(record: JsonObject) -> bool:
    """Was the record written in a format, or cut into parts, that only a newer version knows?"""
    return any(type(number) is int and number > known for number, known in _versions(record))


def _is_readable(record: JsonObject) -> bool:
    return all(type(number) is int and number == known for number, known in _versions(record))


def _versions(record: JsonObject) -> list[tuple[object, int]]:
    """What a record says of its format, beside what this version knows. Only a head must speak of parts."""
    return [(record.get("format"), FORMAT), (record.get("bits", None if record.get("kind") == "head" else 0), 0)]


def _ledger(head: JsonObject, base: JsonObject, slot: JsonObject) -> Ledger:
    names = tuple(head["vectors"])
    pending = None
    if slot["sequence"] > base["through"]:
        entries = _unpack(slot, len(names))
        # A slot from before there were texts does not speak of them.
        flags = slot.get("texts", {})
        texts = {name: _unpack_flags(flags[name], entries) for name in flags}
        pending = Slot(slot["sequence"], entries, _unpack_flags(slot["new"], entries), texts)
    # Whoever took only some of the records has to take them all again.
    tokens = {head["token"], base["token"], slot["token"]}
    token = head["token"] if len(tokens) == 1 else ""
    return Ledger(
        names,
        _unpack(base, len(names)),
        base["through"],
        pending,
        token,
        rebuilt=bool(head.get("rebuilt")),
        deletion_policy=head["deletion_policy"],
        shard_key=head.get("shard_key", ""),
        created_at=head.get("created_at") or "",
    )


def _head(names: tuple[str, ...], rebuilt: bool, deletion_policy: str, created_at: str = "") -> JsonObject:
    head: JsonObject = {
        "kind": "head",
        "generation": 0,
        "bits": 0,
        "parts": 1,
        "vectors": list(names),
        "rebuilt": rebuilt,
        "deletion_policy": deletion_policy,
        "hashes": [NO_HASH],
    }
    # Only where it is known: a ledger that was written before it was told keeps its bytes.
    return {**head, "created_at": created_at} if created_at else head


def _base(entries: Entries, names: tuple[str, ...], through: int) -> JsonObject:
    return {"kind": "base", "n": 0, "through": through, **_pack(entries, len(names))}


def _beyond(through: int) -> JsonObject:
    """A condition: what a record says is newer. A head has no such field, and is never."""
    return {"key": "through", "range": {"gt": through}}


def _pack(entries: Entries, width: int) -> JsonObject:
    """Entries as two base64 strings: rows of little-endian (id, payload, one for each vector), sorted by id. Beside
    them the hashes of the ids, for `others`.
    """
    numbers = sorted(id for id in entries if isinstance(id, int))
    uuids = sorted(id for id in entries if isinstance(id, UUID))
    u64 = np.zeros((len(numbers), 2 + width), dtype="<u8")
    for row, number in enumerate(numbers):
        entry = entries[number]
        u64[row] = (number, entry.payload, *entry.vectors)
    u128 = np.zeros((len(uuids), 3 + width), dtype="<u8")
    for row, uuid in enumerate(uuids):
        entry = entries[uuid]
        high, low = np.frombuffer(uuid.bytes, dtype="<u8")
        u128[row] = (high, low, entry.payload, *entry.vectors)
    hashes = [NO_HASH, *sorted({hash_of(id) for id in entries})]
    return {"u64": _text(u64), "uuid": _text(u128), "width": width, "hashes": hashes}


def _unpack(record: Mapping[str, Any], width: int, *, only: frozenset[PointId] | None = None) -> dict[PointId, Entry]:
    """The entries of a record; only: of these ids."""
    # A record written for other vector names, left by somebody who was killed meanwhile: see `LedgerStore.restate`.
    stored = record.get("width", width)
    entries: dict[PointId, Entry] = {}
    numbers = _rows(record["u64"], 2 + stored)
    uuids = _rows(record["uuid"], 3 + stored)
    if only is not None:
        numbers = numbers[np.isin(numbers[:, 0], _column(id for id in only if isinstance(id, int)))]
        firsts = _column(int.from_bytes(id.bytes[:8], "little") for id in only if isinstance(id, UUID))
        uuids = uuids[np.isin(uuids[:, 0], firsts)]
    for row in numbers.tolist():
        entries[row[0]] = _fitted(Entry(row[1], tuple(row[2:])), width)
    for ids, row in zip(uuids[:, :2], uuids[:, 2:].tolist(), strict=True):
        entries[UUID(bytes=ids.tobytes())] = _fitted(Entry(row[0], tuple(row[1:])), width)
    # Two UUIDs may have their first half in common.
    return entries if only is None else {id: entry for id, entry in entries.items() if id in only}


def _column(numbers: Iterable[int]) -> NDArray[np.uint64]:
    return np.fromiter(numbers, dtype="<u8")


def _fitted(entry: Entry, width: int) -> Entry:
    return entry if len(entry.vectors) == width else Entry(entry.payload, (UNKNOWN,) * width)


def _text(rows: NDArray[np.uint64]) -> str:
    return base64.b64encode(rows.tobytes()).decode()


def _rows(text: str, width: int) -> NDArray[np.uint64]:
    return np.frombuffer(base64.b64decode(text, validate=True), dtype="<u8").reshape(-1, width)


def _pack_flags(new: Iterable[PointId], entries: Entries) -> str:
    """One bit an entry, in the order of `_pack`."""
    flagged = set(new)
    bits = np.array([id in flagged for id in _order(entries)], dtype=bool)
    return base64.b64encode(np.packbits(bits).tobytes()).decode()


def _unpack_flags(text: str, entries: Entries) -> frozenset[PointId]:
    bits = np.unpackbits(np.frombuffer(base64.b64decode(text), dtype=np.uint8))
    return frozenset(id for id, bit in zip(_order(entries), bits, strict=False) if bit)


def _order(entries: Entries) -> list[PointId]:
    numbers = sorted(id for id in entries if isinstance(id, int))
    return [*numbers, *sorted(id for id in entries if isinstance(id, UUID))]
