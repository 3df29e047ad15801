"""The records of a ledger: their ids and their JSON, read and written. Nothing here talks to Qdrant.

Format 1 has one part: a head, a base and a slot. Format 2 has `2**bits` parts, each with a base and a slot of its own.
The head has the same id in both formats, so that a version that knows format 1 only finds it, and refuses it.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple
from uuid import UUID, uuid5

import numpy as np

from vectorops.api.meta import JsonObject, Ref
from vectorops.ledger.entries import Entries, EntriesById, hash_ids
from vectorops.qdrant.database import PointId

FORMAT: Final = 1
"""Of a ledger of one part."""
FORMAT_OF_PARTS: Final = 2
MOST_BITS: Final = 16
"""65,536 parts of about 4,096 entries each: 268 million points."""
NAMESPACE: Final = UUID("3c1b8c52-7a55-5d0e-8e0f-0d6f3b1c9a77")
"""Namespace of the record ids."""

HASH_BITS: Final = 32
NO_HASH: Final = -1
"""Stands in `hashes` of every record, so that one that lists no id differs from one that was written before there were
hashes, and may list any.
"""

UNREADABLE: Final = (KeyError, TypeError, ValueError, OverflowError)
"""What reading a record raises that somebody else has changed."""

KINDS: Final = ("head", "base", "slot")
HASHES: Final = ("hashes",)
"""What follows from the rest of a record. It is there to be searched, and not read back: 4,096 numbers take as long as
all the rest.
"""
FIELDS_OF_ALL: Final = ("format", "key", "owner", "collection", "incarnation", "token", "kind")


class Part(NamedTuple):
    """Which part of a ledger: all points whose hashed id begins with the same bits."""

    bits: int = 0
    """How many bits decide; 0: the ledger has one part, and is of format 1."""
    generation: int = 0
    """Which cut into parts, from 1; 0 with format 1. A later one takes the place of an earlier one."""
    number: int = 0
    """The value of those bits."""

    @property
    def siblings(self) -> list[Part]:
        """All parts of the same ledger, this one included."""
        return [self._replace(number=number) for number in range(1 << self.bits)]


WHOLE: Final = Part()
"""The only part of a ledger of format 1."""


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

    def record_id(self, kind: str, part: Part = WHOLE) -> UUID:
        """See `record_id`."""
        return record_id(str(self), kind, part)


def record_id(key: str, kind: str, part: Part = WHOLE) -> UUID:
    """uuid5 of 1, key, kind, number and generation of the part, and 0. A head is found under the same id for ever."""
    number, generation = (0, 0) if kind == "head" else (part.number, part.generation)
    return uuid5(NAMESPACE, f"1|{key}|{kind}|{number}|{generation}|0")


@dataclass(frozen=True, slots=True)
class Slot:
    """One window that may have been carried out in part."""

    sequence: int
    entries: EntriesById
    """What the window is to make."""
    new: frozenset[PointId]
    """Ids that did not exist before the window."""
    texts: Mapping[str, frozenset[PointId]] = field(default_factory=dict)
    """By the vector's name, ids whose fingerprint of it is that of a text."""


@dataclass(frozen=True, slots=True)
class LateWrites:
    """Writes of a window that somebody else, or the next pass, had to settle: a request that nobody waits for any more
    may still arrive.
    """

    entries: EntriesById
    """What they make."""
    texts: Mapping[str, frozenset[PointId]]
    """See Slot."""
    until: int
    """Seconds since 1970: from then on none is expected."""

    def join(self, slot: Slot, until: int) -> LateWrites:
        """These, and those of one more window; where both have a point, the window's."""
        texts = {
            name: (self.texts.get(name, frozenset()) - slot.entries.keys()) | slot.texts.get(name, frozenset())
            for name in self.texts.keys() | slot.texts.keys()
        }
        return LateWrites({**self.entries, **slot.entries}, texts, until)

    def only(self, entries: EntriesById) -> LateWrites | None:
        """Those of some of the entries; None if these are none."""
        texts = {name: ids & entries.keys() for name, ids in self.texts.items()}
        return LateWrites(entries, texts, self.until) if entries else None


@dataclass(frozen=True, slots=True)
class Ledger:
    """What the records say of one part; and what the head says, which is the same for all parts."""

    names: tuple[str, ...]
    """The vectors that the entries of this part speak of, in their order."""
    entries: EntriesById
    through: int = 0
    """Sequence of the last window that was settled."""
    pending: Slot | None = None
    """The window that was left open, if any."""
    late: LateWrites | None = None
    """What may still arrive of one that was left open before."""
    token: str = ""
    """Who may write the part; "" if its records disagree."""
    rebuilt: bool = False
    """The ledger was lost once, and made again from what the source had."""
    deletion_policy: str = "Delete"
    """What becomes of the points when the set goes; for whoever finds the ledger without its resource."""
    shard_key: str = ""
    """That all points are kept under; "" for none."""
    created_at: str = ""
    """When the collection was created, for one without a mark, and if Qdrant tells (1.20); else ""."""
    part: Part = WHOLE
    revision: str = ""
    """Of the source whose points were all written; "" if there is none, or while it is not known."""
    owned: int | None = None
    """How many points the set owned when a pass last ended; None where deletions are never held back."""
    head_names: tuple[str, ...] = ()
    """The names of the vectors in the head. In a ledger of several parts they may be behind those of a part."""

    def align(self, names: tuple[str, ...]) -> Ledger:
        """The same, an open window included, for the vectors that the collection has now."""
        if self.names == names:
            return self

        def aligned(entries: EntriesById) -> Entries:
            return Entries.of(entries, len(self.names)).align(self.names, names)

        pending = self.pending and replace(self.pending, entries=aligned(self.pending.entries))
        late = self.late and replace(self.late, entries=aligned(self.late.entries))
        return replace(self, names=names, entries=aligned(self.entries), pending=pending, late=late)

    def split(self, bits: int) -> list[Ledger]:
        """The same, without an open window, cut into 2**bits parts; of which generation is not known yet."""
        width = len(self.names)
        late = Entries.of(self.late.entries if self.late is not None else {}, width).split(bits)
        return [
            replace(self, entries=entries, late=self.late and self.late.only(expected), part=part)
            for part, entries, expected in zip(
                Part(bits).siblings, Entries.of(self.entries, width).split(bits), late, strict=True
            )
        ]


def join_parts(parts: Sequence[Ledger]) -> Ledger:
    """The first part with the entries of all, and what may still arrive of any. They speak of the same vectors, and
    none has an open window.
    """
    first, width = parts[0], len(parts[0].names)
    late = [part.late for part in parts if part.late is not None]
    texts = {name: frozenset().union(*(one.texts.get(name, ()) for one in late)) for one in late for name in one.texts}
    expected = Entries.join([one.entries for one in late], width) if late else {}
    return replace(
        first,
        entries=Entries.join([part.entries for part in parts], width),
        late=LateWrites(expected, texts, max(one.until for one in late)) if late else None,
    )


def is_newer(record: JsonObject) -> bool:
    """Was the record written in a format, or cut into parts, that only a newer version knows?"""
    version, bits = record.get("format"), record.get("bits", 0)
    if type(version) is not int or type(bits) is not int:
        return False
    return version > FORMAT_OF_PARTS or (bits > (0 if version == FORMAT else MOST_BITS))


def part_of(head: JsonObject, number: int = 0) -> Part | None:
    """Where a head says that a part is. None if the head cannot be read."""
    version, bits, generation = (head.get(name) for name in ("format", "bits", "generation"))
    if type(version) is not int or type(bits) is not int or type(generation) is not int:
        return None
    part = Part(bits, generation, number)
    if version == FORMAT:
        return part if bits == 0 else None
    return part if version == FORMAT_OF_PARTS and 0 < bits <= MOST_BITS and generation > 0 else None


def is_of_part(record: JsonObject, part: Part) -> bool:
    """Does a base or slot say that it belongs to this part? One of format 1 says nothing of parts."""
    if part.bits == 0:
        return type(record.get("format")) is int and record["format"] == FORMAT and record.get("bits", 0) == 0
    stored = [record.get(name) for name in ("format", "bits", "generation", "n")]
    return stored == [FORMAT_OF_PARTS, part.bits, part.generation, part.number]


def read_ledger(head: JsonObject, base: JsonObject, slot: JsonObject, part: Part = WHOLE) -> Ledger:
    """What three records say. Raises one of `UNREADABLE` if somebody else has changed them."""
    if part_of(head, part.number) != part or not (is_of_part(base, part) and is_of_part(slot, part)):
        raise ValueError("records of another format or part")
    head_names = tuple(head["vectors"])
    names = tuple(base["vectors"]) if part.bits else head_names
    pending = None
    if slot["sequence"] > base["through"]:
        written_for = tuple(slot["vectors"]) if part.bits else names
        entries = unpack_entries(slot, len(written_for))
        # A slot from before there were texts does not speak of them.
        flags = slot.get("texts", {})
        texts = {name: unpack_flags(flags[name], entries) for name in flags}
        entries = entries if written_for == names else entries.align(written_for, names)
        pending = Slot(slot["sequence"], entries, unpack_flags(slot["new"], entries), texts)
    # Whoever took only some of the records has to take them all again.
    tokens = {head["token"], base["token"], slot["token"]}
    return Ledger(
        names,
        unpack_entries(base, len(names)),
        base["through"],
        pending,
        _read_late(base["late"], len(names)) if "late" in base else None,
        head["token"] if len(tokens) == 1 else "",
        rebuilt=bool(head.get("rebuilt")),
        deletion_policy=head["deletion_policy"],
        shard_key=head.get("shard_key", ""),
        created_at=head.get("created_at") or "",
        part=part,
        revision=str(head.get("revision", "")),
        owned=owned if type(owned := head.get("owned")) is int else None,
        head_names=head_names,
    )


def head_record(
    names: tuple[str, ...],
    *,
    rebuilt: bool,
    deletion_policy: str,
    created_at: str = "",
    revision: str = "",
    owned: int | None = None,
    part: Part = WHOLE,
) -> JsonObject:
    """The fields of a head that no other record has."""
    head: JsonObject = {
        "kind": "head",
        "generation": part.generation,
        "bits": part.bits,
        "parts": 1 << part.bits,
        "vectors": list(names),
        "rebuilt": rebuilt,
        "deletion_policy": deletion_policy,
        "hashes": [NO_HASH],
    }
    # Only where they are known: a ledger that was written before, and one without a source, keeps its bytes.
    known = {"created_at": created_at or None, "revision": revision or None, "owned": owned}
    return {**head, **{name: value for name, value in known.items() if value is not None}}


def base_record(
    entries: EntriesById, names: tuple[str, ...], through: int, part: Part = WHOLE, late: LateWrites | None = None
) -> JsonObject:
    """The fields of a base: what is so."""
    return {
        "kind": "base",
        "n": part.number,
        **_fields_of_part(names, part),
        "through": through,
        **pack_entries(entries, len(names)),
        **({"late": _late_record(late, len(names))} if late is not None else {}),
    }


def _late_record(late: LateWrites, width: int) -> JsonObject:
    packed = Entries.of(late.entries, width)
    u64, uuid = packed.encode()
    texts = {name: pack_flags(ids, packed) for name, ids in late.texts.items()}
    return {"until": late.until, "texts": texts, "u64": u64, "uuid": uuid, "width": width}


def _read_late(record: JsonObject, width: int) -> LateWrites:
    entries = unpack_entries(record, width)
    flags = record["texts"]
    return LateWrites(entries, {name: unpack_flags(flags[name], entries) for name in flags}, record["until"])


def slot_record(slot: Slot, names: tuple[str, ...], part: Part = WHOLE) -> JsonObject:
    """The fields of a slot whose window is open."""
    entries = Entries.of(slot.entries, len(names))
    return {
        "kind": "slot",
        **({"n": part.number} if part.bits else {}),
        **_fields_of_part(names, part),
        "sequence": slot.sequence,
        "state": "open",
        "new": pack_flags(slot.new, entries),
        "texts": {name: pack_flags(ids, entries) for name, ids in slot.texts.items()},
        **pack_entries(entries, len(names)),
    }


def free_slot_record(names: tuple[str, ...], part: Part = WHOLE) -> JsonObject:
    """The fields of the slot of a part in which there never was a window."""
    return {
        "kind": "slot",
        **({"n": part.number} if part.bits else {}),
        **_fields_of_part(names, part),
        "sequence": 0,
        "state": "free",
        "new": "",
        **pack_entries({}, len(names)),
    }


def _fields_of_part(names: tuple[str, ...], part: Part) -> JsonObject:
    """What base and slot say of their part. With one part the head says it, for both."""
    return {"bits": part.bits, "generation": part.generation, "vectors": list(names)} if part.bits else {}


def pack_entries(entries: EntriesById, width: int) -> JsonObject:
    """Entries as two base64 strings of rows, sorted by id. Beside them the hashes of the ids, for `holders`."""
    packed = Entries.of(entries, width)
    u64, uuid = packed.encode()
    return {"u64": u64, "uuid": uuid, "width": width, "hashes": [NO_HASH, *packed.hashes(HASH_BITS)]}


def unpack_entries(record: Mapping[str, Any], width: int) -> Entries:
    """The entries of a record. Raises one of `UNREADABLE`."""
    # A record that was written for other vector names, by somebody who was killed before the head was written.
    return Entries.decode(record["u64"], record["uuid"], record.get("width", width)).fit(width)


def search_hashes(ids: Iterable[PointId]) -> list[int]:
    """What to look for in `hashes`: the first 32 bits of the hash of each id, sorted, each once."""
    return sorted({hashed >> (64 - HASH_BITS) for hashed in hash_ids(ids)})


def pack_flags(flagged: Iterable[PointId], entries: EntriesById) -> str:
    """One bit an entry, in the order of `Entries`."""
    bits = Entries.of(entries, _width(entries)).flags(flagged)
    return base64.b64encode(np.packbits(bits).tobytes()).decode()


def unpack_flags(text: str, entries: EntriesById) -> frozenset[PointId]:
    """The flagged ones of the entries."""
    bits = np.unpackbits(np.frombuffer(base64.b64decode(text), dtype=np.uint8))
    return frozenset(id for id, bit in zip(Entries.of(entries, _width(entries)), bits.tolist(), strict=False) if bit)


def _width(entries: EntriesById) -> int:
    return (
        entries.width if isinstance(entries, Entries) else len(next(iter(entries.values())).vectors) if entries else 0
    )
