"""`vectorops ledger show` and `check`: what the ledgers of a Qdrant say, and whether that is so. Reads, and writes
nothing.

Of points, only their ids are read. Of ledgers, one part is in memory at a time, and all ids: 16 or 24 bytes each.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Final

from vectorops.api.connection import LEDGER_COLLECTION, QdrantConnectionSpec
from vectorops.api.meta import JsonObject
from vectorops.errors import Rejected
from vectorops.ledger.collection import holds_records, ledger_collections
from vectorops.ledger.inspection import (
    OUTLINE,
    SHOWN_IDS,
    Finding,
    InspectedLedger,
    InspectedPart,
    Severity,
    confirm,
    describe_ledger,
    find_lost,
    find_shared,
    group_records,
    inspect_part,
    judge_absent,
    judge_records,
    judge_registration,
)
from vectorops.ledger.records import record_id
from vectorops.local.override import UNUSED_URL, Override
from vectorops.local.session import read_only
from vectorops.qdrant.connect import Credentials, require_supported
from vectorops.qdrant.database import Database, PointId
from vectorops.qdrant.visibility import grace_seconds, hidden_points
from vectorops.reconcilers.dependencies import UNMANAGED

IDS_AT_ONCE: Final = 4096


@dataclass(frozen=True, slots=True)
class InspectedLedgers:
    """What was found in all collections of ledgers."""

    ledgers: Sequence[InspectedLedger] = ()
    findings: Sequence[Finding] = ()

    @property
    def is_sound(self) -> bool:
        """Is there no problem?"""
        return not any(one.severity is Severity.PROBLEM for one in self.findings)


@dataclass(slots=True)
class LedgerReader:
    """Reads the ledgers of one Qdrant.

    chosen: a set, as `name`, `namespace/name` or `installation/namespace/name`; "" for all. Where two sets have one
    name, all of them are read.
    """

    database: Database
    chosen: str = ""
    _described: dict[str, JsonObject | None] = field(default_factory=dict)

    async def show(self) -> InspectedLedgers:
        """What the ledgers say, and what is wrong with their records."""
        ledgers, findings = await self._read()
        return InspectedLedgers(ledgers, findings)

    async def check(self) -> InspectedLedgers:
        """The same, compared with what is stored. Where there is a problem, everything is read a second time, since an
        operator may be at work.
        """
        first = await self._check()
        if first.is_sound:
            return first
        self._described.clear()
        second = await self._check()
        return replace(second, findings=confirm(first.findings, second.findings))

    async def _check(self) -> InspectedLedgers:
        ledgers, findings = await self._read(all_of_collection=True)
        for one in ledgers:
            if not self._is_chosen(one.owner):
                continue
            described = await self._describe(one.collection)
            registration = judge_registration(one, described, unmanaged=UNMANAGED)
            findings += registration
            # Of the points of another collection nothing is known.
            if described is not None and not any(found.kind == "FormerLedger" for found in registration):
                findings += await self._check_points(one, described)
        by_place: dict[tuple[str, str, str], list[InspectedLedger]] = {}
        for one in ledgers:
            by_place.setdefault((one.collection, one.incarnation, one.shard_key), []).append(one)
        for some in by_place.values():
            findings += await asyncio.to_thread(find_shared, some)
        known = [(one.owner, one.collection, one.incarnation) for one in ledgers]
        for name in sorted(await self.database.collection_names()):
            described = await self._describe(name)
            findings += find_lost(name, described, known) if described is not None else []
        if self.chosen:
            ledgers = [one for one in ledgers if self._is_chosen(one.owner)]
            findings = [one for one in findings if self._is_chosen(one.owner)]
        return InspectedLedgers(ledgers, findings)

    def _is_chosen(self, owner: str) -> bool:
        return not self.chosen or owner == self.chosen or owner.endswith(f"/{self.chosen}")

    async def _describe(self, name: str) -> JsonObject | None:
        if name not in self._described:
            self._described[name] = await self.database.collection(name)
        return self._described[name]

    async def _read(self, *, all_of_collection: bool = False) -> tuple[list[InspectedLedger], list[Finding]]:
        """all_of_collection: also the ledgers of sets that were not chosen, since they may hold the same points."""
        ledgers: list[InspectedLedger] = []
        findings: list[Finding] = []
        names = await ledger_collections(self.database)
        if LEDGER_COLLECTION not in names and await self.database.collection(LEDGER_COLLECTION) is not None:
            # One from before collections of ledgers were marked.
            names += [LEDGER_COLLECTION] if await holds_records(self.database, LEDGER_COLLECTION) else []
        for name in names:
            groups, strays = group_records(await self.database.scroll(name, payload=OUTLINE))
            findings += [one for one in strays if self._is_chosen(one.owner)]
            for records in groups:
                if not (all_of_collection or self._is_chosen(records.owner)):
                    continue
                head = (await self._payloads(name, [records.head_id])).get(records.head_id)
                parts: list[InspectedPart] = []
                found = judge_records(records)
                for part in records.parts:
                    ids = [records.head_id, *(record_id(records.key, kind, part) for kind in ("base", "slot"))]
                    payloads = await self._payloads(name, ids)
                    inspected, wrong = await asyncio.to_thread(inspect_part, records, part, payloads)
                    parts += [inspected] if inspected is not None else []
                    found += wrong
                ledgers.append(describe_ledger(name, records, head, parts, found))
                findings += found
        return ledgers, findings

    async def _payloads(self, ledger_collection: str, ids: Sequence[PointId]) -> dict[PointId, JsonObject]:
        stored = await self.database.points(ledger_collection, ids, payload=True)
        return {id: record.payload for id, record in stored.items()}

    async def _check_points(self, ledger: InspectedLedger, described: JsonObject) -> list[Finding]:
        """Is every owned point stored?"""
        seconds = grace_seconds(self.database.info.version, await self.database.seconds_up())
        if seconds or hidden_points(described):
            why = "was started a moment ago" if seconds else "hides points until it has optimized them"
            words = f"Qdrant {why}, so nobody knows whether points are missing; check again later"
            return [Finding("PointsNotChecked", Severity.PROBLEM, words, ledger.owner, ledger.collection)]
        shown: list[PointId] = []
        total = 0
        reader = self.database
        if ledger.shard_key:
            reader = reader.with_shard_key(ledger.collection, ledger.shard_key)
        for part in ledger.parts:
            ids = list(part.expected) if part.expected is not None else []
            for start in range(0, len(ids), IDS_AT_ONCE):
                some = ids[start : start + IDS_AT_ONCE]
                try:
                    stored = await reader.points(ledger.collection, some)
                except Rejected as error:
                    words = f"its points cannot be read: {error.message}"
                    return [Finding("PointsNotChecked", Severity.PROBLEM, words, ledger.owner, ledger.collection)]
                absent = [id for id in some if id not in stored]
                shown += absent[: SHOWN_IDS - len(shown)]
                total += len(absent)
        return judge_absent(ledger, shown, total)


@asynccontextmanager
async def opened_reader(target: Override, chosen: str) -> AsyncIterator[LedgerReader]:
    """Raises what `Database.check` raises, Terminal UnsupportedVersion."""
    spec = QdrantConnectionSpec(url=target.url or UNUSED_URL, prefer_grpc=False)
    database = target.connect()(spec, Credentials())
    try:
        require_supported(await database.check())
        yield LedgerReader(read_only(database), chosen)
    finally:
        await database.close()


async def show_ledgers(target: Override, chosen: str) -> InspectedLedgers:
    """See `LedgerReader.show`."""
    async with opened_reader(target, chosen) as reader:
        return await reader.show()


async def check_ledgers(target: Override, chosen: str) -> InspectedLedgers:
    """See `LedgerReader.check`."""
    async with opened_reader(target, chosen) as reader:
        return await reader.check()
