"""Reads and writes the ledger of one set, a part at a time, so that a killed process, a lost answer or a second writer
cannot make it lie.

The order of one window is: `open` (the slot says what is about to be written), the points, `settle` (the base says
what is). A slot whose sequence is above the base's `through` was left open by somebody who was killed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

from vectorops.api.meta import JsonObject
from vectorops.api.reasons import Reason
from vectorops.errors import Rejected, Terminal, Transient
from vectorops.ledger.entries import EntriesById
from vectorops.ledger.records import (
    FORMAT,
    FORMAT_OF_PARTS,
    HASHES,
    KINDS,
    UNREADABLE,
    WHOLE,
    LateWrites,
    Ledger,
    LedgerKey,
    Part,
    Slot,
    base_record,
    free_slot_record,
    head_record,
    is_newer,
    part_of,
    read_ledger,
    slot_record,
)
from vectorops.qdrant.database import Database, PayloadChange, PointData, PointId
from vectorops.qdrant.marks import mark_of

PARTS_AT_ONCE: Final = 16
"""Parts that are written, or checked, together when a ledger is created or cut: some 3 MB."""


@dataclass(slots=True)
class LedgerStore:
    """Reads and writes one part of the ledger of one PointSet. Writes of anybody else's token have no effect."""

    database: Database
    """Where the points are, too; see `for_shard_key`."""
    ledger_collection: str
    key: LedgerKey
    writer: str
    """Our token."""
    deletion_policy: str = "Delete"
    """To be remembered, see `Ledger`; so are the next two."""
    created_at: str = ""
    shard_key: str = ""
    part: Part = WHOLE
    """`WHOLE` also where nobody knows yet how many parts there are."""

    def for_shard_key(self, shard_key: str) -> LedgerStore:
        """The same for a set whose points are kept under a shard key: its `database` sees no others of the
        collection.
        """
        if not shard_key or shard_key == self.shard_key:
            return self
        narrowed = self.database.with_shard_key(self.key.collection, shard_key)
        return replace(self, database=narrowed, shard_key=shard_key)

    def at(self, part: Part) -> LedgerStore:
        """The same for another part."""
        return replace(self, part=part)

    async def read(self) -> Ledger | None:
        """The part, or None if there is no ledger. A store that knows of no parts reads the first one.

        Raises Terminal LedgerDamaged if a record of it is missing or damaged, LedgerUnreadable if a newer version of
        VectorOps wrote one; Transient AnotherWriter if the ledger was cut into other parts meanwhile.
        """
        head, base, slot = await self._records(*KINDS)
        if head is None:
            return None
        self._require_known(head)
        part = part_of(head, self.part.number)
        if part is None:
            raise self._damaged("cannot be read")
        if part != self.part:
            self._expect(self.part == WHOLE)
            return await self.at(part).read()
        if base is None or slot is None:
            raise self._damaged("is missing")
        self._require_known(base)
        self._require_known(slot)
        try:
            return read_ledger(head, base, slot, part)
        except UNREADABLE:
            # Without its origin: that would quote content.
            raise self._damaged("cannot be read") from None

    async def read_existing(self) -> Ledger:
        """The part, of a ledger that was there a moment ago. Raises Transient AnotherWriter if it is gone, and what
        `read` raises.
        """
        ledger = await self.read()
        self._expect(ledger is not None)
        assert ledger is not None
        return ledger

    async def require_parts(self, first: Ledger) -> None:
        """Raises Terminal LedgerDamaged if a record of another part is missing: before any part is written."""
        if first.part.bits:
            ids = self._ids_of(first.part)
            stored = await self.database.points(self.ledger_collection, ids)
            if len(stored) < len(ids):
                # It may have been cut into other parts, or removed, since it was read.
                now = await self.read()
                self._expect(now is not None and now.part == first.part)
                raise self._damaged("is missing")

    def _ids_of(self, first: Part) -> list[PointId]:
        return [self.key.record_id(kind, part) for part in first.siblings for kind in ("base", "slot")]

    async def exists(self) -> bool:
        """Is there a ledger, readable or not?"""
        return await self.read_head() is not None

    def _require_known(self, record: JsonObject) -> None:
        if is_newer(record):
            raise Terminal(
                Reason.LEDGER_UNREADABLE,
                f"a newer version of VectorOps wrote the ledger of this set in collection {self.ledger_collection!r}: "
                "nothing is written or deleted. Upgrade VectorOps; to delete the set without its points, see "
                "docs/operations.md",
            )

    def _damaged(self, what: str) -> Terminal:
        # The parts before it may have been written already.
        so_far = "no more is written or deleted" if self.part.number else "nothing is written or deleted"
        return Terminal(
            Reason.LEDGER_DAMAGED,
            f"a record of the ledger in collection {self.ledger_collection!r} {what}: {so_far}. Restore it "
            "from a snapshot, or delete all records of this set to have it rebuilt (docs/operations.md)",
        )

    async def create(
        self,
        names: tuple[str, ...],
        entries: EntriesById,
        *,
        late: LateWrites | None = None,
        rebuilt: bool = False,
        bits: int = 0,
    ) -> Ledger:
        """Makes the records, the head last: without it there is no ledger. Returns the first part.

        What is there already, from a try that was killed or from another writer, is not overwritten before the token
        is ours. Raises Transient AnotherWriter.
        """
        first = Part(bits, await self._next_generation() if bits else 0)
        await self._create_parts(Ledger(names, entries, late=late), first)
        head = head_record(
            names, rebuilt=rebuilt, deletion_policy=self.deletion_policy, created_at=self.created_at, part=first
        )
        await self.database.upsert(self.ledger_collection, [self._record(head, first)], insert_only=True)
        if bits:
            # Another process may have made the ledger meanwhile: then its parts are the ones that count.
            await self.at(first).require_taken_head()
            await self._require_created(first)
            await self.remove_older(first.generation)
            return await self.at(first).read_taken()
        ledger = await self._take_over()
        if ledger.through == 0 and ledger.pending is None and (ledger.entries, ledger.late) != (entries, late):
            ledger = await self.settle(replace(ledger, late=late), entries, 0)
        return ledger

    async def _create_parts(self, whole: Ledger, first: Part) -> None:
        """Base and slot of each part of a generation; those that exist stay."""
        # Elsewhere than in the event loop: a million entries take 0.2 s.
        by_part = await asyncio.to_thread(whole.split, first.bits)
        names = whole.names
        parts = list(zip(first.siblings, by_part, strict=True))
        for start in range(0, len(parts), PARTS_AT_ONCE):
            sent = []
            for part, some in parts[start : start + PARTS_AT_ONCE]:
                records = [base_record(some.entries, names, 0, part, some.late), free_slot_record(names, part)]
                sent += [self._record(record, part) for record in records]
            await self.database.upsert(self.ledger_collection, sent, insert_only=True)

    async def _require_created(self, first: Part) -> None:
        """Raises Transient AnotherWriter if not all base and slot records of a generation are ours."""
        ids = self._ids_of(first)
        for start in range(0, len(ids), PARTS_AT_ONCE):
            some = ids[start : start + PARTS_AT_ONCE]
            stored = await self.database.points(self.ledger_collection, some, payload=True, without=HASHES)
            self._expect(all(id in stored and stored[id].payload.get("token") == self.writer for id in some))

    async def _next_generation(self) -> int:
        """A generation of which there is no record yet: what a killed try has left is never read as our own."""
        where = {"must": [{"key": "owner", "match": {"value": self.key.owner}}, self._same_key()]}
        try:
            records = await self.database.scroll(self.ledger_collection, where, payload=("generation",))
        except Rejected as error:
            if error.status != 404:
                raise
            return 1
        known = [record.payload.get("generation") for record in records]
        return 1 + max((generation for generation in known if type(generation) is int), default=0)

    async def regrow(self, whole: Ledger, bits: int) -> Ledger:
        """Cuts the ledger into more parts, and returns the first of them.

        whole: all parts as they are now, joined, each taken by us and without an open window.
        The new generation is written beside the old one; then the head, which decides; then the old one is deleted.
        Killed in between, the ledger is the old one, or the new one with records beside it that nobody reads.
        """
        first = Part(bits, max(whole.part.generation + 1, await self._next_generation()))
        await self._create_parts(whole, first)
        await self._require_created(first)
        await self.at(first).restate_head(whole)
        ledger = await self.at(first).read_taken()
        await self.remove_older(first.generation)
        return ledger

    async def remove_older(self, generation: int) -> None:
        """Deletes the parts of earlier generations. A request that arrives late deletes nothing that is in use."""
        ids = [self.key.record_id(kind) for kind in ("slot", "base")]
        if await self.database.points(self.ledger_collection, ids):
            await self.database.delete_points(self.ledger_collection, ids)
        older = self._parts({"key": "generation", "range": {"lt": generation}})
        if await self.database.scroll(self.ledger_collection, older, limit=1):
            await self.database.delete_matching(self.ledger_collection, older)

    async def take(self, ledger: Ledger) -> Ledger:
        """Makes us the writer of the part, and returns what the records say then: the former writer may have written
        meanwhile. With several parts, the head must be ours already.
        """
        return ledger if ledger.token == self.writer else await self._take_over()

    async def take_head(self) -> None:
        """Makes us the writer of the head: of a ledger in several parts, the first that is taken."""
        await self._put_token(["head"])

    async def take_parts(self, first: Part) -> None:
        """Makes us the writer of all parts in one request; the head must be ours already. What was read of a part
        before says no more what is so.
        """
        ids = self._ids_of(first)
        changes = [PayloadChange(id, put={"token": self.writer}) for id in ids]
        await self.database.change_payloads(self.ledger_collection, changes)

    async def require_taken_head(self) -> None:
        """Raises Transient AnotherWriter unless the head is ours, and names the generation of this part."""
        head = await self.read_head()
        self._expect_head(head)

    async def _take_over(self) -> Ledger:
        await self._put_token(["base", "slot"] if self.part.bits else ["head", "base", "slot"])
        return await self.read_taken()

    async def _put_token(self, kinds: Sequence[str]) -> None:
        changes = [PayloadChange(self.key.record_id(kind, self.part), put={"token": self.writer}) for kind in kinds]
        await self.database.change_payloads(self.ledger_collection, changes)

    async def open(
        self,
        ledger: Ledger,
        entries: EntriesById,
        new: Iterable[PointId],
        texts: Mapping[str, frozenset[PointId]] = MappingProxyType({}),
    ) -> Slot:
        """Says what is about to be written, before it is. See `Slot`.

        Raises Transient AnotherWriter if we are not the writer any more.
        """
        slot = Slot(ledger.through + 1, entries, frozenset(new), texts)
        record = self._record(slot_record(slot, ledger.names, self.part))
        await self._write([record], {"key": "sequence", "range": {"gte": slot.sequence}})
        head, base, stored = await self._records(*KINDS)
        self._expect_head(head)
        self._expect(base is not None and base["token"] == self.writer and base["through"] == ledger.through)
        self._expect(stored == _read_record_back(record))
        return slot

    async def settle(self, ledger: Ledger, entries: EntriesById, through: int) -> Ledger:
        """Says what is so now; the slot up to `through` has nothing more to say.

        Raises Transient AnotherWriter if we are not the writer any more.
        """
        record = self._record(base_record(entries, ledger.names, through, self.part, ledger.late))
        await self._write([record], _beyond(through))
        head, base = await self._records("head", "base")
        self._expect_head(head)
        self._expect(base == _read_record_back(record))
        return replace(ledger, entries=entries, through=through, pending=None)

    async def restate(self, ledger: Ledger) -> Ledger:
        """The same as `settle`, what the head says included: the collection got or lost vectors, or the policy changed.

        ledger: aligned, and without an open window; what the slot holds counts no more. With several parts, each says
        which vectors it speaks of, and the head is written by `restate_head`, last.
        """
        if self.part.bits:
            return await self.settle(ledger, ledger.entries, ledger.through)
        # Both in one request. Should only the base be written after all, its width tells (see `unpack_entries`).
        edition = _following_edition(await self.read_head())
        records = [
            self._record(base_record(ledger.entries, ledger.names, ledger.through, late=ledger.late)),
            self._record({**self._head(ledger), **edition}),
        ]
        await self._write(records, _beyond(ledger.through), *_since(edition))
        return await self.read_taken()

    async def restate_head(self, ledger: Ledger) -> None:
        """Writes the head of a ledger in several parts. Raises Transient AnotherWriter if it is not ours any more."""
        edition = _following_edition(await self.read_head())
        record = self._record({**self._head(ledger), **edition})
        await self._write([record], *_since(edition))
        head = await self.read_head()
        self._expect(head == record.payload)

    async def read_head(self) -> JsonObject | None:
        """The head record, whatever it says; None if there is no ledger."""
        return (await self._records("head", without=()))[0]

    async def record_revision(self, revision: str, owned: int | None = None) -> None:
        """Has the head say which revision of the source is written whole. "": none, before a part is written.

        owned: how many points the set owns; None: the head says nothing of it.
        Raises Transient AnotherWriter if the head is not ours.
        """
        head = await self.read_head()
        self._expect_head(head)
        assert head is not None
        edition = _following_edition({"edition": 0, **head})
        stated = {key: value for key, value in head.items() if key not in {"revision", "owned"}} | edition
        stated |= {"revision": revision} if revision else {}
        stated |= {"owned": owned} if owned is not None else {}
        await self._write([PointData(self.key.record_id("head"), payload=stated)], *_since(edition))
        head = await self.read_head()
        self._expect(head == stated)

    def says_the_same(self, ledger: Ledger, names: tuple[str, ...]) -> bool:
        """Does the head say what it should, of the vectors with these names?"""
        stated = (ledger.head_names, ledger.deletion_policy, ledger.created_at)
        return stated == (names, self.deletion_policy, self.created_at)

    def _head(self, ledger: Ledger) -> JsonObject:
        return head_record(
            ledger.names,
            rebuilt=ledger.rebuilt,
            deletion_policy=self.deletion_policy,
            created_at=self.created_at,
            revision=ledger.revision,
            owned=ledger.owned,
            part=self.part,
        )

    async def remove(self) -> None:
        """Deletes the records, also what is left of them; safe to repeat.

        Head, slot and base in one request, and the slot before the base: a slot that is left beside the base of the
        next ledger would look like an open window.
        """
        ids = [self.key.record_id(kind) for kind in ("head", "slot", "base")]
        try:
            await self.database.delete_points(self.ledger_collection, ids)
            await self.database.delete_matching(self.ledger_collection, self._parts())
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

    def _same_key(self) -> JsonObject:
        return {"key": "key", "match": {"value": str(self.key)}}

    def _parts(self, *conditions: JsonObject) -> JsonObject:
        """A filter: our records of format 2 but the head."""
        owner = {"key": "owner", "match": {"value": self.key.owner}}
        is_part = {"key": "kind", "match": {"any": ["base", "slot"]}}
        return {"must": [owner, self._same_key(), is_part, *conditions]}

    async def read_taken(self) -> Ledger:
        """The part, which we just made ours. Raises Transient AnotherWriter if somebody else did so meanwhile."""
        ledger = await self.read()
        self._expect(ledger is not None and ledger.token == self.writer)
        assert ledger is not None
        return ledger

    async def _records(self, *kinds: str, without: Sequence[str] = HASHES) -> list[JsonObject | None]:
        ids = [self.key.record_id(kind, self.part) for kind in kinds]
        try:
            stored = await self.database.points(self.ledger_collection, ids, payload=True, without=without)
        except Rejected as error:
            if error.status != 404:
                raise
            stored = {}
        return [stored[id].payload if id in stored else None for id in ids]

    async def _write(self, records: Sequence[PointData], *newer: JsonObject) -> None:
        """Overwrites records if their token is ours, and no condition of `newer` is true of them.

        A request that we gave up waiting for may arrive late, after we went on: it must not bring back what was so,
        least of all a head of fewer parts.
        """
        excluded = [{"key": "generation", "range": {"gt": self.part.generation}}, *newer]
        where = {"must": [{"key": "token", "match": {"value": self.writer}}], "must_not": excluded}
        await self.database.upsert(self.ledger_collection, records, where=where)

    def _record(self, fields: JsonObject, part: Part | None = None) -> PointData:
        part = part or self.part
        common = {
            "format": FORMAT_OF_PARTS if part.bits else FORMAT,
            "key": str(self.key),
            "owner": self.key.owner,
            "collection": self.key.collection,
            "incarnation": self.key.incarnation,
            "token": self.writer,
        }
        if self.shard_key:
            # In every record: whoever asks who owns an id asks for it under one shard key.
            common["shard_key"] = self.shard_key
        return PointData(self.key.record_id(fields["kind"], part), payload={**common, **fields})

    def _expect_head(self, head: JsonObject | None) -> None:
        """Is the ledger still cut into the same parts, and are we the writer of it?"""
        self._expect(head is not None and part_of(head, self.part.number) == self.part)
        assert head is not None
        self._expect(head.get("token") == self.writer)

    def _expect(self, so: bool) -> None:
        if not so:
            raise Transient(
                Reason.ANOTHER_WRITER,
                f"another operator of installation {self.key.installation!r} writes this set as well",
            )


def _read_record_back(record: PointData) -> JsonObject:
    """What is read of a record that was written."""
    return {name: value for name, value in record.payload.items() if name not in HASHES}


def _following_edition(head: JsonObject | None) -> JsonObject:
    """How often the head was written since it spoke of a revision first; nothing if it never did."""
    return {"edition": head["edition"] + 1} if head is not None and "edition" in head else {}


def _since(edition: JsonObject) -> list[JsonObject]:
    """Conditions: another head was written since. A revision that arrives late is not written whole any more."""
    return [{"key": name, "range": {"gte": number}} for name, number in edition.items()]


def _beyond(through: int) -> JsonObject:
    """A condition: what a record says is newer. A head has no such field, and is never."""
    return {"key": "through", "range": {"gt": through}}
