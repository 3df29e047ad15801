"""What the records of a ledger hold, and what is wrong with them, for a person who looks for a fault. Nothing here
talks to Qdrant, and nothing here changes a record.

A finding is a problem if points or their ownership are at risk, or if that cannot be known. What the next pass over the
set puts in order by itself, as what a killed process left, is a notice.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

import numpy as np

from vectorops.api.meta import JsonObject
from vectorops.errors import Terminal
from vectorops.ledger.entries import TOMBSTONE, Entries, EntryRows
from vectorops.ledger.records import (
    FIELDS_OF_ALL,
    HASH_BITS,
    NO_HASH,
    UNREADABLE,
    WHOLE,
    Ledger,
    Part,
    is_newer,
    part_of,
    read_ledger,
    record_id,
)
from vectorops.qdrant.database import PointId, StoredPoint
from vectorops.qdrant.marks import MARK_KEY, REGISTRATION_PREFIX, mark_of
from vectorops.words import counted

OUTLINE: Final = (*FIELDS_OF_ALL, "shard_key", "bits", "generation", "n")
"""Fields of a record that say where it belongs. They are short, whatever the ledger holds."""
SHOWN_IDS: Final = 5
"""Ids that a message names; the others are counted."""
RUNBOOK: Final = "docs/operations.md, A damaged ledger"


class Severity(StrEnum):
    """problem: something is wrong. notice: the next pass over the set puts it in order."""

    PROBLEM = "problem"
    NOTICE = "notice"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it should be."""

    kind: str
    """One word for all findings of this kind."""
    severity: Severity
    message: str
    """What, and what to do."""
    owner: str = ""
    """The set, as `installation/namespace/name`; "" if it is not known."""
    collection: str = ""
    """Of the set's points; "" if it is not known."""


@dataclass(frozen=True, slots=True)
class LedgerRecords:
    """The records of one ledger, each with the fields of `OUTLINE` only."""

    key: str
    owner: str
    collection: str
    incarnation: str
    outlines: Mapping[PointId, JsonObject]

    @property
    def head_id(self) -> PointId:
        """Where the head is, or should be."""
        return record_id(self.key, "head")

    @property
    def head(self) -> JsonObject | None:
        """None if it is missing."""
        return self.outlines.get(self.head_id)

    @property
    def is_newer(self) -> bool:
        """Did a newer version write one of them?"""
        return any(is_newer(outline) for outline in self.outlines.values())

    @property
    def parts(self) -> list[Part]:
        """Those that the head names; none if it cannot be read."""
        first = part_of(self.head) if self.head is not None and not self.is_newer else None
        return first.siblings if first is not None else []

    def find(self, kind: str, severity: Severity, message: str) -> Finding:
        """A finding about this ledger."""
        return Finding(kind, severity, message, self.owner, self.collection)


@dataclass(frozen=True, slots=True)
class InspectedPart:
    """One part of a ledger. `claims` and `expected` hold ids only; their fingerprints mean nothing."""

    number: int
    points: int = 0
    """Points that the set owns by the base, without those that it is deleting."""
    deleting: int = 0
    """Points that were deleted, and not seen gone yet."""
    through: int = 0
    """Sequence of the last window that was settled."""
    window: int | None = None
    """Points of the window that is open; None: none is."""
    packed_bytes: int = 0
    """Of the entries, in base64."""
    claims: Entries | None = field(default=None, repr=False)
    """What no other set may hold: also the points of an open window."""
    expected: Entries | None = field(default=None, repr=False)
    """What must be stored: without the points of an open window."""


@dataclass(frozen=True, slots=True)
class InspectedLedger:
    """What the records of one ledger say."""

    ledger_collection: str
    owner: str
    collection: str
    incarnation: str
    shard_key: str = ""
    format: int | None = None
    """None: the head is missing, or damaged."""
    generation: int | None = None
    revision: str = ""
    """Of the source that was written whole; "" if there is none."""
    owned: int | None = None
    """See `Ledger`."""
    vectors: tuple[str, ...] = ()
    deletion_policy: str = ""
    rebuilt: bool = False
    """Was it lost once?"""
    parts: tuple[InspectedPart, ...] = ()
    """Those that can be read."""
    findings: tuple[Finding, ...] = ()

    @property
    def points(self) -> int:
        """Of all parts."""
        return sum(part.points for part in self.parts)

    @property
    def open_windows(self) -> int:
        """Of all parts."""
        return sum(part.window is not None for part in self.parts)

    @property
    def packed_bytes(self) -> int:
        """Of all parts."""
        return sum(part.packed_bytes for part in self.parts)


def group_records(records: Iterable[StoredPoint]) -> tuple[list[LedgerRecords], list[Finding]]:
    """The records of a collection by ledger, and what is no record of any. records: with `OUTLINE` as payload."""
    outlines: dict[str, dict[PointId, JsonObject]] = {}
    strays: list[Finding] = []
    for record in records:
        outline = record.payload
        named = [outline.get(name) for name in ("owner", "collection", "incarnation", "key")]
        owner, key = named[0], named[3]
        if all(isinstance(one, str) for one in named) and "/".join(map(str, named[:3])) == key:
            outlines.setdefault(key, {})[record.id] = outline
            continue
        whose = f", by its owner field of {owner}," if isinstance(owner, str) else ""
        words = (
            f"record {record.id}{whose} names no ledger that there can be. While it is there, no set deletes a point. "
            f"Restore it, or delete it ({RUNBOOK})"
        )
        strays.append(Finding("StrayRecord", Severity.PROBLEM, words, owner if isinstance(owner, str) else ""))
    found = []
    for key, some in sorted(outlines.items()):
        first = next(iter(some.values()))
        found.append(LedgerRecords(key, first["owner"], first["collection"], first["incarnation"], some))
    return found, strays


def judge_records(records: LedgerRecords) -> list[Finding]:
    """Are all records there that the head names, each where it should be, and no others?"""
    if records.is_newer:
        words = (
            "a newer version of VectorOps wrote this ledger, so this version can neither show nor check it. Beside it, "
            "this version deletes no point of any set. Use the newer version"
        )
        return [records.find("NewerFormat", Severity.PROBLEM, words)]
    misplaced = [id for id, outline in records.outlines.items() if id != _stated_id(records.key, outline)]
    found = []
    if misplaced:
        words = (
            f"record {misplaced[0]}{_more(len(misplaced) - 1)} is not what its id says. While it is there, no set "
            f"deletes a point. Restore the collection of the ledgers, or delete the record ({RUNBOOK})"
        )
        found.append(records.find("MisplacedRecord", Severity.PROBLEM, words))
    if records.head is None:
        words = (
            "the head is missing, and other records are there. If the set exists, it has lost its ledger: it makes it "
            "again from what its manifest or source has, and deletes nothing (LedgerLost). If the set is gone, delete "
            f"these records by their owner ({RUNBOOK})"
        )
        return [*found, records.find("HeadMissing", Severity.PROBLEM, words)]
    if not records.parts:
        words = f"the head, record {records.head_id}, cannot be read: nothing is written or deleted. See {RUNBOOK}"
        return [*found, records.find("HeadDamaged", Severity.PROBLEM, words)]
    wanted = {record_id(records.key, kind, part): (kind, part) for part in records.parts for kind in ("base", "slot")}
    missing = [id for id in wanted if id not in records.outlines]
    if missing:
        kind, part = wanted[missing[0]]
        words = (
            f"the {kind} of part {part.number}, record {missing[0]},{_more(len(missing) - 1)} is missing: nothing is "
            f"written or deleted (LedgerDamaged). See {RUNBOOK}"
        )
        found.append(records.find("RecordMissing", Severity.PROBLEM, words))
    left = records.outlines.keys() - wanted.keys() - {records.head_id, *misplaced}
    if left:
        words = (
            f"{counted(len(left), 'record')} of other parts than the head names: a process that was killed while it "
            "cut the ledger left them, or one cuts it now. Nobody reads them, and they go when the ledger is next cut "
            "or taken over"
        )
        found.append(records.find("LeftOverRecords", Severity.NOTICE, words))
    return found


def _stated_id(key: str, outline: JsonObject) -> PointId | None:
    """Where a record should be by its own fields; None if they say nothing of the kind."""
    kind, bits, generation, number = (outline.get(name, 0) for name in ("kind", "bits", "generation", "n"))
    if kind == "head":
        return record_id(key, kind)
    if kind not in {"base", "slot"} or any(type(one) is not int for one in (bits, generation, number)):
        return None
    return record_id(key, kind, Part(bits, generation, number) if bits else WHOLE)


def _more(count: int) -> str:
    return f" and {count:,} more" if count else ""


def inspect_part(
    records: LedgerRecords, part: Part, payloads: Mapping[PointId, JsonObject]
) -> tuple[InspectedPart | None, list[Finding]]:
    """What head, base and slot of a part say, and what is wrong with them. payloads: whole, by id.

    None if one of them cannot be read; `judge_records` says which one is missing.
    """
    of_part = [payloads.get(record_id(records.key, kind, part)) for kind in ("head", "base", "slot")]
    head, base, slot = of_part
    if head is None or base is None or slot is None:
        return None, []
    try:
        ledger = read_ledger(head, base, slot, part)
        entries = Entries.of(ledger.entries, len(ledger.names))
        window = Entries.of(ledger.pending.entries, len(ledger.names)) if ledger.pending else None
        of_slot = Entries.decode(slot["u64"], slot["uuid"], slot["width"])
        packed = sum(len(record[name]) for record in (base, slot) for name in ("u64", "uuid"))
    except UNREADABLE:
        words = (
            f"the records of part {part.number} cannot be read: nothing is written or deleted (LedgerDamaged). "
            f"See {RUNBOOK}"
        )
        return None, [records.find("PartDamaged", Severity.PROBLEM, words)]
    owned = _without_dying(entries)
    ids = _ids_only(owned)
    inspected = InspectedPart(
        part.number,
        points=len(owned),
        deleting=len(entries) - len(owned),
        through=ledger.through,
        window=len(window) if window is not None else None,
        packed_bytes=packed,
        claims=ids if window is None else _ids_only(_without_dying(entries.updated(window))),
        expected=ids if window is None else _ids_only(owned.without(list(window))),
    )
    return inspected, _judge_part(records, ledger, (base, slot), (entries, of_slot))


def _judge_part(
    records: LedgerRecords, ledger: Ledger, both: Sequence[JsonObject], contents: Sequence[Entries]
) -> list[Finding]:
    """both: base and slot. contents: of each."""
    part, found = ledger.part, []
    for kind, record, entries in zip(("base", "slot"), both, contents, strict=True):
        where = f"the {kind} of part {part.number}"
        if entries.updated(entries) != entries:
            words = f"{where} holds ids in a wrong order, or twice, and is misread. See {RUNBOOK}"
            found.append(records.find("PartDamaged", Severity.PROBLEM, words))
        elif len(entries.split(part.bits)[part.number]) < len(entries):
            words = f"{where} holds ids that belong to other parts, and are looked for there. See {RUNBOOK}"
            found.append(records.find("PartDamaged", Severity.PROBLEM, words))
        if "hashes" not in record:
            words = f"{where} is from before there were hashes: whoever asks for a point reads it whole. It is written "
            words += "with them when the set next changes"
            found.append(records.find("NoHashes", Severity.NOTICE, words))
        elif record["hashes"] != [NO_HASH, *entries.hashes(HASH_BITS)]:
            words = (
                f"{where} lists hashes of other ids than it holds, so another set may take its points. See {RUNBOOK}"
            )
            found.append(records.find("WrongHashes", Severity.PROBLEM, words))
    if ledger.pending is not None:
        size = counted(len(ledger.pending.entries), "point")
        words = (
            f"part {part.number} has a window of {size} open: a pass is under way, or was killed. The next settles it"
        )
        found.append(records.find("OpenWindow", Severity.NOTICE, words))
    if ledger.late is not None:
        size, until = counted(len(ledger.late.entries), "point"), datetime.fromtimestamp(ledger.late.until, UTC)
        words = (
            f"part {part.number} expects requests about {size} that nobody waits for any more, until {until:%H:%M:%S} "
            "UTC: a pass was killed. Until then the source of the set is read at each look"
        )
        found.append(records.find("LateWrites", Severity.NOTICE, words))
    return found


def _without_dying(entries: Entries) -> Entries:
    return entries.chosen(entries.numbers[:, 1] != TOMBSTONE, entries.uuids[:, 2] != TOMBSTONE)


def _ids_only(entries: Entries) -> Entries:
    """The same ids in as little memory as may be."""
    return Entries(entries.numbers[:, :2].copy(), entries.uuids[:, :3].copy())


def describe_ledger(
    ledger_collection: str,
    records: LedgerRecords,
    head: JsonObject | None,
    parts: Sequence[InspectedPart],
    findings: Sequence[Finding],
) -> InspectedLedger:
    """Everything about one ledger together. head: the whole record, of whatever format."""
    stated: Mapping[str, Any] = head or {}

    def text(name: str) -> str:
        return value if isinstance(value := stated.get(name), str) else ""

    def number(name: str) -> int | None:
        return value if type(value := stated.get(name)) is int else None

    vectors = stated.get("vectors")
    return InspectedLedger(
        ledger_collection,
        records.owner,
        records.collection,
        records.incarnation,
        text("shard_key"),
        number("format"),
        number("generation"),
        text("revision"),
        number("owned"),
        tuple(map(str, vectors)) if isinstance(vectors, list) else (),
        text("deletion_policy"),
        stated.get("rebuilt") is True,
        tuple(parts),
        tuple(findings),
    )


def judge_registration(ledger: InspectedLedger, described: JsonObject | None, *, unmanaged: str) -> list[Finding]:
    """Does the collection of the points know of the ledger?

    described: `result` of GET /collections/{name}; None if there is none. unmanaged: the incarnation that stands for a
    collection without a mark.
    """
    name, if_gone = ledger.collection, f"if the set is gone, delete its records ({RUNBOOK})"
    mark, damage = None, None
    try:
        mark = mark_of(described, name) if described is not None else None
    except Terminal as error:
        damage = error
    severity = Severity.PROBLEM
    if described is None:
        kind, words = "CollectionGone", f"collection {name!r} is gone; {if_gone}"
    elif damage is not None:
        kind, words = damage.reason.value, damage.message
    elif ledger.incarnation == unmanaged and mark is None:
        # Nothing is written into the collection of a user.
        return []
    elif ledger.incarnation == unmanaged:
        kind, severity = "FormerLedger", Severity.NOTICE
        words = f"collection {name!r} is managed by now: the set inherits this ledger when it is next reconciled"
    elif mark is None:
        kind = "MarkMissing"
        words = (
            f"collection {name!r} has no ownership mark ({MARK_KEY}): somebody removed it. The QdrantCollection writes "
            "it again if it knows whose the collection is"
        )
    elif mark.incarnation != ledger.incarnation:
        kind, severity = "FormerLedger", Severity.NOTICE
        words = (
            f"this ledger is of a former collection {name!r}. The set removes it when it registers for the collection "
            f"of today; {if_gone}"
        )
    elif _registrations(described).get(ledger.owner) != ledger.incarnation:
        kind = "NotRegistered"
        words = (
            f"the metadata of collection {name!r} does not say that there is this ledger, so its loss would not be "
            f"noticed. The set registers it when it is next reconciled; {if_gone}"
        )
    else:
        return []
    return [Finding(kind, severity, words, ledger.owner, name)]


def find_lost(name: str, described: JsonObject, known: Iterable[tuple[str, str, str]]) -> list[Finding]:
    """Ledgers that the metadata of a collection names, and that are not there.

    known: owner, collection and incarnation of those that are.
    """
    try:
        mark = mark_of(described, name)
    except Terminal:
        return []
    if mark is None:
        return []
    there = set(known)
    return [
        Finding(
            "LedgerGone",
            Severity.PROBLEM,
            f"the metadata of collection {name!r} says that there is a ledger, and there is none: the set says "
            "LedgerLost, takes back the points that it declares, and deletes nothing. If the set is gone, remove the "
            f"key {REGISTRATION_PREFIX}{owner} from the metadata",
            owner,
            name,
        )
        for owner, incarnation in _registrations(described).items()
        # One of another incarnation came with a restored snapshot.
        if incarnation == mark.incarnation and (owner, name, incarnation) not in there
    ]


def _registrations(described: JsonObject) -> dict[str, object]:
    """By owner, the incarnation that was registered."""
    metadata = (described.get("config") or {}).get("metadata") or {}
    return {
        key.removeprefix(REGISTRATION_PREFIX): value
        for key, value in metadata.items()
        if key.startswith(REGISTRATION_PREFIX)
    }


def judge_absent(ledger: InspectedLedger, absent: Sequence[PointId], total: int) -> list[Finding]:
    """absent: the first few of the `total` points that the set owns and that are not stored."""
    if not total:
        return []
    words = (
        f"Qdrant lacks {total:,} of its {counted(ledger.points, 'point')}: {_list_ids(absent, total)}. Somebody "
        "deleted them, or the points or the ledger were restored. The set writes those again that it declares; to have "
        "that done now, set the annotation vectorops.dev/verify to a new value"
    )
    return [Finding("PointsMissing", Severity.PROBLEM, words, ledger.owner, ledger.collection)]


def find_shared(ledgers: Sequence[InspectedLedger]) -> list[Finding]:
    """Points that several sets hold: a finding for each of the sets. ledgers: all of one collection, incarnation and
    shard key.
    """
    claims = [
        (place, part.claims) for place, one in enumerate(ledgers) for part in one.parts if part.claims is not None
    ]
    whose = [place for place, _ in claims]
    shared: dict[tuple[int, ...], list[PointId]] = {}
    for rows in ([each.numbers[:, :1] for _, each in claims], [each.uuids[:, :2] for _, each in claims]):
        for id, holders in _repeated(rows, whose):
            shared.setdefault(holders, []).append(id)
    found = []
    for holders, ids in sorted(shared.items()):
        for place in holders:
            one = ledgers[place]
            others = [ledgers[other] for other in holders if other != place]
            names = [
                other.owner if other.owner != one.owner else f"its own ledger in {other.ledger_collection!r}"
                for other in others
            ]
            words = (
                f"it shares {counted(len(ids), 'point')} with {' and '.join(names)}: "
                f"{_list_ids(ids[:SHOWN_IDS], len(ids))}. A point that passes from one set to another is held by both "
                "for a moment. If this stays, declare each point in one set only: the other one gives it up when it "
                "next changes or deletes it"
            )
            found.append(Finding("SharedPoints", Severity.PROBLEM, words, one.owner, one.collection))
    return found


def _repeated(several: Sequence[EntryRows], whose: Sequence[int]) -> Iterator[tuple[PointId, tuple[int, ...]]]:
    """Ids that stand in rows of several holders, with these. several: ids, each of shape (n, 1) or (n, 2)."""
    if not several:
        return
    ids, holders = np.concatenate(several), np.repeat(whose, [len(rows) for rows in several])
    order = np.lexsort((holders, *ids.T))
    ids, holders = ids[order], holders[order]
    edges = np.flatnonzero(np.concatenate([[True], (ids[1:] != ids[:-1]).any(axis=1), [True]])[: len(ids) + 1])
    starts, ends = edges[:-1], edges[1:]
    for start, end in zip(starts[ends - starts > 1].tolist(), ends[ends - starts > 1].tolist(), strict=True):
        several_holders = tuple(dict.fromkeys(holders[start:end].tolist()))
        if len(several_holders) > 1:
            id = ids[start]
            yield (int(id[0]) if len(id) == 1 else UUID(bytes=id.tobytes())), several_holders


def _list_ids(ids: Sequence[PointId], total: int) -> str:
    return ", ".join(map(str, ids)) + _more(total - len(ids))


def confirm(first: Sequence[Finding], second: Sequence[Finding]) -> list[Finding]:
    """What was found twice. An operator that is at work changes records and points between two requests.

    A problem that was found only the second time may be such a moment, and is left out. Notices are of the second time.
    """
    known = {(one.kind, one.owner, one.collection) for one in first}
    return [one for one in second if one.severity is Severity.NOTICE or (one.kind, one.owner, one.collection) in known]
