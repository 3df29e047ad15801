"""What was last written of each point of a set, in sorted arrays: a million entries are no million Python objects.

Everything here is pure. A set of ids is always compared in one step, never id by id, except where a caller asks for
one id. The functions that hash ids give the same numbers as the `xxhash` package, for whole arrays at once.
"""

from __future__ import annotations

import base64
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from vectorops.qdrant.database import PointId

ABSENT: Final = 0
"""Fingerprint of a vector that the point does not have."""
UNKNOWN: Final = 1
"""Fingerprint of what is ours, while its content is not known."""
TOMBSTONE: Final = 2
"""Fingerprint of what is being deleted."""
FIRST_HASH: Final = 16
"""Smaller fingerprints are no hashes."""

LARGE: Final = 16_384
"""More entries than this are never turned into Python objects all at once to find one of them."""

EntryRows = NDArray[np.uint64]


class Entry(NamedTuple):
    """What was last written of one point."""

    payload: int
    """Fingerprint of the payload."""
    vectors: tuple[int, ...]
    """One fingerprint for each named vector of the ledger, in the order of its names."""

    @property
    def dying(self) -> bool:
        """Is the point being deleted?"""
        return self.payload == TOMBSTONE


EntriesById = Mapping[PointId, Entry]
"""`Entries`, or a dict of them."""


def unknown_entry(names: Sequence[str]) -> Entry:
    """The entry of a point that is ours, and of which nothing is known."""
    return Entry(UNKNOWN, (UNKNOWN,) * len(names))


class Entries(Mapping[PointId, Entry]):
    """Entries by id, in the order of the ids: first the integers, then the UUIDs. Immutable."""

    __slots__ = ("_by_id", "numbers", "uuids")

    numbers: EntryRows
    """Shape (n, 2 + width), little-endian: the id, the payload's fingerprint, one for each vector; sorted by id."""
    uuids: EntryRows
    """Shape (n, 3 + width): the same with the 16 bytes of a UUID as the first two columns."""

    def __init__(self, numbers: EntryRows, uuids: EntryRows) -> None:
        self.numbers, self.uuids = numbers, uuids
        self._by_id: dict[PointId, Entry] | None = None

    @classmethod
    def of(cls, entries: EntriesById, width: int) -> Entries:
        """The same entries as arrays. width: how many vectors each of them has."""
        if isinstance(entries, Entries) and entries.width == width:
            return entries
        rows: dict[type, list[tuple[PointId, Entry]]] = {int: [], UUID: []}
        for item in entries.items():
            rows[type(item[0])].append(item)
        numbers, uuids = rows.values()
        u64 = np.fromiter((id for id, _ in numbers), dtype="<u8", count=len(numbers)).reshape(-1, 1)
        halves = np.frombuffer(b"".join([id.bytes for id, _ in uuids if isinstance(id, UUID)]), dtype="<u8")
        return cls(
            _order_rows(np.hstack([u64, _fingerprints(numbers, width)]), 1),
            _order_rows(np.hstack([halves.reshape(-1, 2), _fingerprints(uuids, width)]), 2),
        )

    @classmethod
    def join(cls, several: Sequence[EntriesById], width: int) -> Entries:
        """The entries of several parts, which have no id in common."""
        parts = [cls.of(entries, width) for entries in several]
        numbers = np.concatenate([part.numbers for part in parts])
        uuids = np.concatenate([part.uuids for part in parts])
        return cls(_order_rows(numbers, 1), _order_rows(uuids, 2))

    @classmethod
    def decode(cls, u64: str, uuid: str, width: int) -> Entries:
        """The entries that two base64 strings of rows hold. Raises ValueError or TypeError."""
        return cls(_decode_rows(u64, 2 + width), _decode_rows(uuid, 3 + width))

    def encode(self) -> tuple[str, str]:
        """Two base64 strings of rows, of the integers and of the UUIDs."""
        return _encode_rows(self.numbers), _encode_rows(self.uuids)

    @property
    def width(self) -> int:
        """How many vectors each entry has a fingerprint of."""
        return int(self.numbers.shape[1]) - 2

    def __len__(self) -> int:
        return len(self.numbers) + len(self.uuids)

    def __iter__(self) -> Iterator[PointId]:
        yield from self.numbers[:, 0].tolist()
        raw = self.uuids[:, :2].tobytes()
        for start in range(0, len(raw), 16):
            yield UUID(int=int.from_bytes(raw[start : start + 16], "big"))

    def __getitem__(self, id: PointId) -> Entry:
        if self._by_id is None and len(self) <= LARGE:
            self._by_id = dict(zip(self, self._entries(), strict=True))
        if self._by_id is not None:
            return self._by_id[id]
        found = self.only([id])
        if not found:
            raise KeyError(id)
        return found[id]

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Entries):
            same = np.array_equal(self.numbers, other.numbers) and np.array_equal(self.uuids, other.uuids)
            return same or (not self and not other)
        return super().__eq__(other)

    def __hash__(self) -> int:
        raise TypeError("entries are compared, never hashed")

    def __repr__(self) -> str:
        return f"Entries({len(self.numbers)} integers, {len(self.uuids)} UUIDs, width={self.width})"

    def only(self, ids: Collection[PointId]) -> Entries:
        """Those of these ids."""
        return self.chosen(*self._among(ids))

    def same_as(self, other: Entries) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Which entries `other` has as well, id and fingerprints: masks of `numbers` and of `uuids`. Both have the same
        width.
        """
        numbers = _same_rows(self.numbers, other.numbers, self.numbers[:, 0], other.numbers[:, 0])
        # As bytes, a UUID is big-endian.
        firsts = self.uuids[:, 0].byteswap(), other.uuids[:, 0].byteswap()
        return numbers, _same_rows(self.uuids, other.uuids, *firsts)

    def chosen(self, numbers: NDArray[np.bool_], uuids: NDArray[np.bool_]) -> Entries:
        """Those of two masks, of `numbers` and of `uuids`."""
        return Entries(self.numbers[numbers], self.uuids[uuids])

    def has_all_ids(self, other: Entries) -> bool:
        """Is each id of the other among these?"""
        return all(
            _is_among(_keys(theirs, ids), _keys(ours, ids)).all()
            for ours, theirs, ids in ((self.numbers, other.numbers, 1), (self.uuids, other.uuids, 2))
        )

    def without(self, ids: Collection[PointId]) -> Entries:
        """Those of all other ids."""
        if not ids:
            return self
        numbers, uuids = self._among(ids)
        return self.chosen(~numbers, ~uuids)

    def without_ids_of(self, other: Entries) -> Entries:
        """Those whose id the other has not."""
        numbers = _is_among(_keys(self.numbers, 1), _keys(other.numbers, 1))
        return self.chosen(~numbers, ~_is_among(_keys(self.uuids, 2), _keys(other.uuids, 2)))

    def updated(self, newer: Entries) -> Entries:
        """All entries of both; where both have an id, that of the newer ones."""
        if not newer:
            return self
        numbers = _order_rows(np.concatenate([self.numbers, newer.numbers]), 1)
        uuids = _order_rows(np.concatenate([self.uuids, newer.uuids]), 2)
        return Entries(_last(numbers, 1), _last(uuids, 2))

    def flags(self, ids: Iterable[PointId]) -> NDArray[np.bool_]:
        """For each entry, in their order, whether its id is one of these."""
        return np.concatenate(self._among(ids))

    def split(self, bits: int) -> list[Entries]:
        """By part: 2**bits of them, see `part_numbers`."""
        numbers = _grouped(self.numbers, _first_bits(_hash_numbers(self.numbers[:, 0]), bits), 1 << bits)
        uuids = _grouped(self.uuids, _first_bits(_hash_uuids(self.uuids[:, :2]), bits), 1 << bits)
        return [Entries(*rows) for rows in zip(numbers, uuids, strict=True)]

    def align(self, old: tuple[str, ...], new: tuple[str, ...]) -> Entries:
        """The same entries for another list of vector names. A name that came is absent: no point has it yet."""
        places = [old.index(name) if name in old else None for name in new]

        def aligned(rows: EntryRows, ids: int) -> EntryRows:
            absent = np.full(len(rows), ABSENT, dtype="<u8")
            columns = [rows[:, ids + 1 + place] if place is not None else absent for place in places]
            return np.column_stack([rows[:, : ids + 1], *columns]) if columns else rows[:, : ids + 1]

        return Entries(aligned(self.numbers, 1), aligned(self.uuids, 2))

    def fit(self, width: int) -> Entries:
        """The same ids with a fingerprint of so many vectors. Of another number of vectors, nothing is known."""
        if self.width == width:
            return self

        def fitted(rows: EntryRows, ids: int) -> EntryRows:
            return np.hstack([rows[:, : ids + 1], np.full((len(rows), width), UNKNOWN, dtype="<u8")])

        return Entries(fitted(self.numbers, 1), fitted(self.uuids, 2))

    def hashes(self, bits: int) -> list[int]:
        """The first bits of the hash of each id, sorted, each once."""
        both = [_hash_numbers(self.numbers[:, 0]), _hash_uuids(self.uuids[:, :2])]
        # np.unique of numpy 2.4 takes 150 times as long as a sort.
        ordered = np.sort(_first_bits(np.concatenate(both), bits))
        found: list[int] = ordered[np.append(True, ordered[1:] != ordered[:-1])[: len(ordered)]].tolist()
        return found

    def _entries(self) -> Iterator[Entry]:
        for row in self.numbers[:, 1:].tolist():
            yield Entry(row[0], tuple(row[1:]))
        for row in self.uuids[:, 2:].tolist():
            yield Entry(row[0], tuple(row[1:]))

    def _among(self, ids: Iterable[PointId]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """For each row, whether its id is one of these."""
        wanted = list(ids)
        numbers = np.fromiter((id for id in wanted if isinstance(id, int)), dtype="<u8")
        uuids = np.frombuffer(b"".join([id.bytes for id in wanted if isinstance(id, UUID)]), dtype="S16")
        return _is_among(_keys(self.numbers, 1), numbers), _is_among(_keys(self.uuids, 2), uuids)


def _fingerprints(items: Sequence[tuple[PointId, Entry]], width: int) -> EntryRows:
    flat = [number for _, entry in items for number in (entry.payload, *entry.vectors)]
    return np.array(flat, dtype="<u8").reshape(len(items), 1 + width)


def _keys(rows: EntryRows, ids: int) -> NDArray[Any]:
    """The id of each row as something that sorts as ids do. ids: columns of an id, two for a UUID."""
    if ids == 1:
        return rows[:, 0]
    # Texts of 16 bytes are compared byte by byte.
    return np.ascontiguousarray(rows[:, :2]).view("S16").reshape(-1)


def _order_rows(rows: EntryRows, ids: int) -> EntryRows:
    """The rows by id; those of the same id stay in their order."""
    # As bytes, a UUID is big-endian.
    keys = (rows[:, 0],) if ids == 1 else (rows[:, 1].byteswap(), rows[:, 0].byteswap())
    return rows[np.lexsort(keys)]


def _last(rows: EntryRows, ids: int) -> EntryRows:
    """Of sorted rows, the last one of each id."""
    keys = _keys(rows, ids)
    last: EntryRows = rows[np.append(keys[1:] != keys[:-1], True)[: len(rows)]]
    return last


def _is_among(keys: NDArray[Any], wanted: NDArray[Any]) -> NDArray[np.bool_]:
    if not len(wanted):
        return np.zeros(len(keys), dtype=bool)
    wanted = np.sort(wanted)
    places = np.searchsorted(wanted, keys)
    same: NDArray[np.bool_] = wanted[np.minimum(places, len(wanted) - 1)] == keys
    return same


def hash_ids(ids: Iterable[PointId]) -> list[int]:
    """XXH3-64 of each id: of its 8 bytes, little-endian, or of the 16 of a UUID. In the order of the ids."""
    wanted = list(ids)
    hashes = np.zeros(len(wanted), dtype="<u8")
    is_number = np.fromiter((isinstance(id, int) for id in wanted), dtype=bool, count=len(wanted))
    hashes[is_number] = _hash_numbers(np.fromiter((id for id in wanted if isinstance(id, int)), dtype="<u8"))
    uuids = b"".join(id.bytes for id in wanted if isinstance(id, UUID))
    hashes[~is_number] = _hash_uuids(np.frombuffer(uuids, dtype="<u8").reshape(-1, 2))
    found: list[int] = hashes.tolist()
    return found


def part_numbers(ids: Iterable[PointId], bits: int) -> list[int]:
    """The part of each id: the first bits of its hash. 0 bits are one part, number 0."""
    return [hashed >> (64 - bits) for hashed in hash_ids(ids)]


def _same_rows(rows: EntryRows, others: EntryRows, keys: EntryRows, other_keys: EntryRows) -> NDArray[np.bool_]:
    """Which of the rows are among the others. Both are sorted by their keys.

    Of rows with the same key only the first of the others is compared: that of another UUID with the same first half
    makes a row count as different.
    """
    if not (len(rows) and len(others)):
        return np.zeros(len(rows), dtype=bool)
    places = np.minimum(np.searchsorted(other_keys, keys), len(others) - 1)
    same: NDArray[np.bool_] = (others[places] == rows).all(axis=1)
    return same


def _first_bits(hashes: EntryRows, bits: int) -> EntryRows:
    return hashes >> np.uint64(64 - bits) if bits else np.zeros_like(hashes)


def _grouped(rows: EntryRows, groups: EntryRows, count: int) -> list[EntryRows]:
    """The rows of each group, in the same order."""
    order = np.argsort(groups.astype("<u4"), kind="stable")
    ends = np.searchsorted(groups[order], np.arange(1, count, dtype="<u8"))
    return np.split(rows[order], ends)


SECRET: Final = np.frombuffer(
    bytes.fromhex(
        "b8fe6c3923a44bbe7c01812cf721ad1cded46de9839097db7240a4a4b7b3671fcb79e64eccc0e578825ad07dccff7221b8084674f743248e"
    ),
    dtype="<u8",
)
"""The beginning of the default secret of XXH3."""
LOW: Final = np.uint64(0xFFFFFFFF)
HALF: Final = np.uint64(32)


def _hash_numbers(ids: EntryRows) -> EntryRows:
    """XXH3-64 of 8 bytes each."""
    swapped = (ids >> HALF) | (ids << HALF)
    hashes = swapped ^ (SECRET[1] ^ SECRET[2])
    hashes = hashes ^ _rotated(hashes, 49) ^ _rotated(hashes, 24)
    hashes = hashes * np.uint64(0x9FB21C651E98DF25)
    hashes = hashes ^ ((hashes >> np.uint64(35)) + np.uint64(8))
    hashes = hashes * np.uint64(0x9FB21C651E98DF25)
    mixed: EntryRows = hashes ^ (hashes >> np.uint64(28))
    return mixed


def _hash_uuids(ids: EntryRows) -> EntryRows:
    """XXH3-64 of 16 bytes each. ids: shape (n, 2)."""
    low = ids[:, 0] ^ (SECRET[3] ^ SECRET[4])
    high = ids[:, 1] ^ (SECRET[5] ^ SECRET[6])
    hashes = np.uint64(16) + low.byteswap() + high + _multiplied(low, high)
    hashes = hashes ^ (hashes >> np.uint64(37))
    hashes = hashes * np.uint64(0x165667919E3779F9)
    mixed: EntryRows = hashes ^ (hashes >> HALF)
    return mixed


def _rotated(numbers: EntryRows, bits: int) -> EntryRows:
    return (numbers << np.uint64(bits)) | (numbers >> np.uint64(64 - bits))


def _multiplied(one: EntryRows, other: EntryRows) -> EntryRows:
    """The two halves of the products of 128 bits, combined by exclusive or."""
    lows = (one & LOW) * (other & LOW)
    cross = (one >> HALF) * (other & LOW)
    middle = (one & LOW) * (other >> HALF) + (lows >> HALF) + (cross & LOW)
    high: EntryRows = (one >> HALF) * (other >> HALF) + (cross >> HALF) + (middle >> HALF)
    low: EntryRows = (middle << HALF) | (lows & LOW)
    return high ^ low


def _encode_rows(rows: EntryRows) -> str:
    return base64.b64encode(rows.tobytes()).decode()


def _decode_rows(text: str, width: int) -> EntryRows:
    rows: EntryRows = np.frombuffer(base64.b64decode(text, validate=True), dtype="<u8").reshape(-1, width)
    return rows
