"""EntryRows of a source on their way to Qdrant: staged in a file, with their ids and fingerprints in memory.

The source is read to its end before anything is written: only then is it known which ids are declared twice, and which
are not declared any more. Of each point 40 bytes and its fingerprints stay in memory; its payload, vectors and texts go
to a file. Within each batch of the file the points are sorted by the hash of their id, so those of one part of the
ledger, however many parts there are, stand together in each batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import numpy as np
import orjson
import pyarrow as pa
from numpy.typing import NDArray

from vectorops.api.meta import JsonObject
from vectorops.ledger.entries import ABSENT, Entries, EntryRows, hash_ids, part_numbers
from vectorops.ledger.records import Ledger, Part
from vectorops.points.block import Block, RowFailure, VectorColumn
from vectorops.points.declared import Declaration, Declared, Failure
from vectorops.points.fingerprints import (
    fingerprint_dense_vectors,
    fingerprint_payload_text,
    fingerprint_text,
    fingerprint_vector,
)
from vectorops.points.schema import PointSchema, VectorSchema
from vectorops.points.stage import SHOWN
from vectorops.points.staging_folder import StagingSpace
from vectorops.qdrant.database import PointData, PointId
from vectorops.vectors import Sparse, VectorData

POINTS_OF_A_PART: Final = 4096
"""On average, at most. Twice as many points are cut into twice as many parts."""
BATCH_BYTES: Final = 16 * 2**20
"""Of payloads, vectors and texts: so much is sorted and written at once."""


class Staging:
    """Takes the blocks of one source, and gives what was staged."""

    def __init__(self, space: StagingSpace, schema: PointSchema, identities: Mapping[str, str]) -> None:
        """identities: of the embedders, by the vector's name."""
        self._space = space
        self._schema = schema
        self._names = tuple(sorted(schema))
        self._identities = identities
        self._files: list[str] = []
        self._ranks: list[int] = []
        self._failures: list[Failure] = []
        self._failed = 0
        self._failed_ids: dict[PointId, int] = {}
        """With the highest rank of the files in which they failed."""
        self._complete = True
        self._index: list[_Index] = []
        self._waiting: list[tuple[_Index, pa.RecordBatch]] = []
        self._waiting_bytes = 0
        self._path = space.path / "points.arrow"
        self._writer: Any = None

    @property
    def points(self) -> int:
        """How many were taken so far."""
        return sum(len(index) for index in self._index) + sum(len(index) for index, _ in self._waiting)

    def begin(self, file: str, rank: int = 0) -> None:
        """The blocks that follow are of this file. rank: see `SourceFile`."""
        self._files.append(file)
        self._ranks.append(rank)

    def fail(self, failure: RowFailure) -> None:
        """A row of the file that is no point."""
        where = self._files[-1] if self._files else ""
        row = f"{where}, row {failure.number}" if failure.number else where
        shown = Failure(failure.shown_id or row, f"{row}: {failure.reason}", failure.id)
        if failure.id is None:
            self._complete = False
        else:
            rank = self._ranks[-1] if self._ranks else 0
            before = self._failed_ids.get(failure.id)
            self._failed_ids[failure.id] = rank if before is None else max(rank, before)
            if before is not None:
                # One id is one point, however often it fails.
                return
        self._failed += 1
        if len(self._failures) < SHOWN:
            self._failures.append(shown)

    def add(self, block: Block) -> None:
        """The points of a block, and its failures. Raises Terminal or Transient StagingFull."""
        for failure in block.failures:
            self.fail(failure)
        if not len(block):
            return
        index, batch = self._staged(block)
        self._waiting.append((index, batch))
        self._waiting_bytes += batch.nbytes
        if self._waiting_bytes >= BATCH_BYTES:
            self._write_waiting()

    def finish(self, *, verifies: bool = False) -> Sourced:
        """What was staged. No block can be added any more. verifies: see `Sourced`."""
        self._write_waiting()
        if self._writer is not None:
            self._writer.close()
        batches: list[pa.RecordBatch] = []
        if self._index:
            reader = pa.ipc.open_file(pa.memory_map(str(self._path)))
            batches = [reader.get_batch(number) for number in range(reader.num_record_batches)]
        return Sourced(
            self._schema,
            self._files,
            self._index,
            batches,
            complete=self._complete,
            failed=self._failed,
            failures=tuple(self._failures),
            failed_ids=self._failed_ids,
            ranks=self._ranks,
            verifies=verifies,
        )

    def _staged(self, block: Block) -> tuple[_Index, pa.RecordBatch]:
        fingerprints = np.full((len(block), 1 + len(self._names)), ABSENT, dtype="<u8")
        payloads = [fingerprint_payload_text(payload) for payload in block.payloads]
        fingerprints[:, 0] = [fingerprint for fingerprint, _ in payloads]
        columns: dict[str, pa.Array] = {
            "shown": pa.array(block.shown_ids, pa.string()),
            "payload": pa.array([text for _, text in payloads], pa.large_binary()),
        }
        for place, name in enumerate(self._names):
            if name in block.vectors:
                vectors = block.vectors[name]
                fingerprints[:, 1 + place] = (
                    fingerprint_dense_vectors(vectors)
                    if isinstance(vectors, np.ndarray)
                    else [fingerprint_vector(vector) if vector is not None else ABSENT for vector in vectors]
                )
                columns[f"vector {name}"] = _pack_vectors(vectors)
            if name in block.texts:
                for row, text in enumerate(block.texts[name]):
                    if text is not None:
                        fingerprints[row, 1 + place] = fingerprint_text(text, self._identities[name])
                columns[f"text {name}"] = pa.array(block.texts[name], pa.large_string())
        index = _Index(
            np.array(hash_ids(block.ids), dtype="<u8"),
            *_keys_of(block.ids),
            fingerprints,
            np.full(len(block), len(self._files) - 1, dtype="<u4"),
            np.array(block.numbers, dtype="<u8"),
        )
        # The same columns for every block: files may have different ones.
        types: dict[str, pa.DataType] = {"shown": pa.string(), "payload": pa.large_binary()}
        types |= {f"vector {name}": pa.large_binary() for name in self._names}
        types |= {f"text {name}": pa.large_string() for name in self._names if name in self._identities}
        columns |= {name: pa.nulls(len(block), kind) for name, kind in types.items() if name not in columns}
        return index, pa.record_batch({name: columns[name] for name in types})

    def _write_waiting(self) -> None:
        if not self._waiting:
            return
        index = _Index.join([index for index, _ in self._waiting])
        table = pa.Table.from_batches([batch for _, batch in self._waiting])
        self._waiting, self._waiting_bytes = [], 0
        order = np.argsort(index.hashes, kind="stable")
        batch = table.take(pa.array(order)).combine_chunks().to_batches()[0]
        self._space.take(batch.nbytes)
        if self._writer is None:
            self._writer = pa.ipc.new_file(str(self._path), batch.schema)
        self._writer.write_batch(batch)
        self._index.append(index.at(order))


@dataclass(frozen=True, slots=True)
class _Index:
    """What stays in memory of n points."""

    hashes: EntryRows
    """Shape (n,): see `hash_ids`."""
    is_uuid: NDArray[np.bool_]
    keys: EntryRows
    """Shape (n, 2): the 16 bytes of a UUID; or an integer, and 0."""
    fingerprints: EntryRows
    """Shape (n, 1 + vectors): of the payload, and of each vector."""
    files: NDArray[np.uint32]
    """Shape (n,): which file the row is in."""
    numbers: EntryRows
    """Shape (n,): of the row in its file, from 1."""

    def __len__(self) -> int:
        return len(self.hashes)

    def at(self, places: NDArray[Any] | slice) -> _Index:
        """The points at some places."""
        return _Index(*(getattr(self, name)[places] for name in self.__slots__))

    @classmethod
    def join(cls, several: Sequence[_Index]) -> _Index:
        """One after another."""
        return cls(*(np.concatenate([getattr(one, name) for one in several]) for name in cls.__slots__))


@dataclass(frozen=True, slots=True)
class _PartRows:
    """The points of one part, sorted by id: first the integers, then the UUIDs."""

    entries: Entries
    batches: NDArray[np.int64]
    """Which batch each is in."""
    places: NDArray[np.int64]
    """Where in the batch."""
    twice: tuple[Failure, ...]
    """Ids that are declared more than once, with different content."""


class Sourced:
    """See `stage.Staged`. The points are read from the file when they are needed."""

    def __init__(
        self,
        schema: PointSchema,
        files: Sequence[str],
        index: Sequence[_Index],
        batches: Sequence[pa.RecordBatch],
        *,
        complete: bool,
        failed: int,
        failures: tuple[Failure, ...],
        failed_ids: Mapping[PointId, int],
        ranks: Sequence[int],
        verifies: bool,
    ) -> None:
        """failed_ids: with the highest rank of the files in which they failed. verifies: is everything to be compared
        with what is stored, whatever the ledger says?
        """
        self._schema = schema
        self._names = tuple(sorted(schema))
        self._files = files
        self._index = index
        self._batches = batches
        self._failed_ids = failed_ids
        self._ranks = np.array(ranks, dtype=np.int64)
        self._verifies = verifies
        self._latest: tuple[Part, _PartRows] | None = None
        self.complete = complete
        """See Staged."""
        self.failed = failed
        """See Staged."""
        self.failures = failures
        """See Staged."""
        count = sum(map(len, index))
        self.bits = max(0, math.ceil(math.log2(count / POINTS_OF_A_PART))) if count else 0
        """See Staged."""
        self.total = failed
        """See Staged."""
        mended: set[PointId] = set()
        for part in Part(self.bits).siblings:
            rows = self._rows(part)
            self.total += len(rows.entries) + len(rows.twice)
            self.failed += len(rows.twice)
            self.failures += rows.twice[: SHOWN - len(self.failures)]
            if failed_ids:
                mended |= failed_ids.keys() & {*rows.entries, *(failure.id for failure in rows.twice)}
        if mended:
            # A newer file gives the point as well: the older row does not count.
            self._failed_ids = {id: rank for id, rank in failed_ids.items() if id not in mended}
            self.total -= len(mended)
            self.failed -= len(mended)
            self.failures = tuple(each for each in self.failures if each not in failures or each.id not in mended)

    def ids(self, part: Part) -> list[PointId]:
        """See Staged."""
        return list(self._rows(part).entries)

    def shown_ids(self, ids: Collection[PointId]) -> Mapping[PointId, str]:
        """See Staged."""
        by_part: dict[int, list[PointId]] = {}
        for id, number in zip(ids, part_numbers(ids, self.bits), strict=True):
            by_part.setdefault(number, []).append(id)
        return {
            id: point.shown_id
            for number, some in by_part.items()
            for id, point in self.declaration(Part(self.bits, 0, number), some).points.items()
        }

    def declaration(self, part: Part, ids: Collection[PointId] | None = None) -> Declaration:
        """See Staged."""
        rows = self._rows(part)
        if ids is None:
            return self._declared(rows, slice(None))
        wanted = set(ids)
        return self._declared(rows, np.array([id in wanted for id in rows.entries], dtype=bool))

    def unsettled(self, part: Part, ledger: Ledger) -> tuple[Declaration, Entries]:
        """See Staged."""
        rows = self._rows(part)
        if self._verifies:
            return self._declared(rows, slice(None)), Entries.of({}, len(self._names))
        entries = Entries.of(ledger.entries, len(self._names))
        unsure = {
            *(ledger.pending.entries if ledger.pending is not None else ()),
            *(ledger.late.entries if ledger.late is not None else ()),
        }
        if unsure:
            # Of those, the ledger does not say what is so.
            keep = np.array([id not in unsure for id in entries], dtype=bool)
            entries = entries.chosen(keep[: len(entries.numbers)], keep[len(entries.numbers) :])
        same = rows.entries.same_as(entries)
        return self._declared(rows, ~np.concatenate(same)), rows.entries.chosen(*same)

    def _rows(self, part: Part) -> _PartRows:
        # Two parts are compared at the same time, each in a thread: what another one remembers is not looked at twice.
        latest = self._latest
        if latest is None or latest[0][::2] != part[::2]:
            latest = self._latest = part, self._gather(part)
        return latest[1]

    def _gather(self, part: Part) -> _PartRows:
        found, batches, places = [], [], []
        for number, index in enumerate(self._index):
            first, end = _range_of(index.hashes, part)
            if first < end:
                found.append(index.at(slice(first, end)))
                batches.append(np.full(end - first, number))
                places.append(np.arange(first, end))
        if not found:
            none = np.zeros(0, dtype=np.int64)
            return _PartRows(Entries.of({}, len(self._names)), none, none, ())
        index = _Index.join(found)
        # As bytes, a UUID is big-endian. Of two of one id, that of the file with the higher rank is last.
        firsts = np.where(index.is_uuid, index.keys[:, 0].byteswap(), index.keys[:, 0])
        order = np.lexsort(
            (index.numbers, index.files, self._ranks[index.files], index.keys[:, 1].byteswap(), firsts, index.is_uuid)
        )
        index, in_batches, in_places = index.at(order), np.concatenate(batches)[order], np.concatenate(places)[order]

        def shown_at(row: int) -> str:
            shown: str = self._batches[in_batches[row]].column("shown")[in_places[row]].as_py()
            return shown

        keep, twice = self._choose(index, shown_at)
        index = index.at(keep)
        split = int(len(index) - index.is_uuid.sum())
        entries = Entries(
            np.ascontiguousarray(np.hstack([index.keys[:split, :1], index.fingerprints[:split]])),
            np.ascontiguousarray(np.hstack([index.keys[split:], index.fingerprints[split:]])),
        )
        return _PartRows(entries, in_batches[keep], in_places[keep], twice)

    def _choose(self, index: _Index, shown_at: Callable[[int], str]) -> tuple[NDArray[np.bool_], tuple[Failure, ...]]:
        """Which of the sorted points count: one of each id, and none where their content differs.

        shown_at: the id of a row as declared.
        """
        keep = np.ones(len(index), dtype=bool)
        repeated = (index.keys[1:] == index.keys[:-1]).all(axis=1) & (index.is_uuid[1:] == index.is_uuid[:-1])
        twice: list[tuple[Failure, int]] = []
        for start, end in _runs(repeated):
            same = index.at(slice(start, end + 1))
            keep[start:end] = False
            ranks = self._ranks[same.files]
            same = same.at(ranks == ranks[-1])
            if (same.fingerprints != same.fingerprints[-1]).any():
                keep[end] = False
                (id,) = _ids_of(same.at(slice(0, 1)))
                rows = [f"{self._files[file]}, row {row}" for file, row in zip(same.files, same.numbers, strict=True)]
                more = f" and {len(rows) - 2} more" if len(rows) > 2 else ""
                words = f"this id is declared with different content in {rows[0]}, and {rows[1]}{more}"
                twice.append((Failure(shown_at(end), words, id), int(ranks[-1])))
        if self._failed_ids:
            ranks = self._ranks[index.files].tolist()
            counts = [self._counts(id, rank) for id, rank in zip(_ids_of(index), ranks, strict=True)]
            keep &= np.array(counts, dtype=bool)
        return keep, tuple(failure for failure, rank in twice if self._counts(failure.id, rank))

    def _counts(self, id: PointId | None, rank: int) -> bool:
        """Does a row of a file with this rank count, or did one that is not older fail?"""
        failed = self._failed_ids.get(id) if id is not None else None
        return failed is None or failed < rank

    def _declared(self, rows: _PartRows, chosen: NDArray[np.bool_] | slice) -> Declaration:
        """The chosen points of a part."""
        twice = frozenset(failure.id for failure in rows.twice if failure.id is not None)
        protected = twice.union(self._failed_ids)
        numbers, uuids = rows.entries.numbers, rows.entries.uuids
        fingerprints = np.concatenate([numbers[:, 1:], uuids[:, 2:]])[chosen].tolist()
        batches, places = rows.batches[chosen], rows.places[chosen]
        ids = [*rows.entries][chosen] if isinstance(chosen, slice) else _chosen_ids(rows.entries, chosen)
        found: list[Declared | None] = [None] * len(ids)
        for number in np.unique(batches):
            of_batch = np.flatnonzero(batches == number)
            some = self._batches[number].take(pa.array(places[of_batch]))
            for place, row in zip(of_batch.tolist(), self._read(some), strict=True):
                id, (fingerprint, *others) = ids[place], fingerprints[place]
                shown, payload, vectors, texts = row
                known = {name: value for name, value in zip(self._names, others, strict=True) if value != ABSENT}
                found[place] = Declared(PointData(id, vectors, payload), shown, fingerprint, known, texts)
        points = {point.data.id: point for point in found if point is not None}
        return Declaration(points, complete=self.complete, protected=protected)

    def _read(self, batch: pa.RecordBatch) -> Iterator[tuple[str, JsonObject, dict[str, VectorData], dict[str, str]]]:
        """Of each row the id as shown, payload, vectors and texts."""
        shown = batch.column("shown").to_pylist()
        payloads = batch.column("payload").to_pylist()
        vectors = {
            name: _unpack_vectors(batch.column(f"vector {name}"), self._schema[name])
            for name in self._names
            if batch.column(f"vector {name}").null_count < len(batch)
        }
        texts = {
            name.removeprefix("text "): batch.column(name).to_pylist()
            for name in batch.schema.names
            if name.startswith("text ")
        }
        for row in range(len(batch)):
            yield (
                shown[row],
                orjson.loads(payloads[row]),
                {name: vector for name, column in vectors.items() if (vector := column[row]) is not None},
                {name: text for name, column in texts.items() if (text := column[row]) is not None},
            )


def _range_of(hashes: EntryRows, part: Part) -> tuple[int, int]:
    """Where the points of a part stand among sorted hashes."""
    if not part.bits:
        return 0, len(hashes)
    shift = 64 - part.bits
    first = np.searchsorted(hashes, np.uint64(part.number << shift))
    is_last = part.number == (1 << part.bits) - 1
    end = len(hashes) if is_last else np.searchsorted(hashes, np.uint64((part.number + 1) << shift))
    return int(first), int(end)


def _runs(repeated: NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """First and last place of each run of equals. repeated: whether each but the first equals the one before."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], repeated, [False]]).astype(np.int8)))
    yield from zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)


def _keys_of(ids: Sequence[PointId]) -> tuple[NDArray[np.bool_], EntryRows]:
    is_uuid = np.fromiter((isinstance(id, UUID) for id in ids), dtype=bool, count=len(ids))
    keys = np.zeros((len(ids), 2), dtype="<u8")
    keys[~is_uuid, 0] = np.fromiter((id for id in ids if isinstance(id, int)), dtype="<u8")
    halves = b"".join(id.bytes for id in ids if isinstance(id, UUID))
    keys[is_uuid] = np.frombuffer(halves, dtype="<u8").reshape(-1, 2)
    return is_uuid, keys


def _ids_of(index: _Index) -> Iterator[PointId]:
    for is_uuid, key in zip(index.is_uuid.tolist(), index.keys, strict=True):
        yield UUID(bytes=key.tobytes()) if is_uuid else int(key[0])


def _chosen_ids(entries: Entries, chosen: NDArray[np.bool_]) -> list[PointId]:
    split = len(entries.numbers)
    return list(entries.chosen(chosen[:split], chosen[split:]))


def _pack_vectors(vectors: VectorColumn) -> pa.Array:
    if isinstance(vectors, np.ndarray):
        numbers = np.ascontiguousarray(vectors, dtype="<f4")
        offsets = np.arange(len(numbers) + 1, dtype="<i8") * (4 * numbers.shape[1])
        return pa.LargeBinaryArray.from_buffers(
            pa.large_binary(), len(numbers), [None, pa.py_buffer(offsets), pa.py_buffer(numbers)]
        )
    return pa.array([_pack_vector(vector) if vector is not None else None for vector in vectors], pa.large_binary())


def _pack_vector(vector: VectorData) -> bytes:
    if isinstance(vector, Sparse):
        return vector.indices.astype("<u4").tobytes() + vector.values.astype("<f4").tobytes()
    return vector.astype("<f4").tobytes()


def _unpack_vectors(column: pa.Array, schema: VectorSchema) -> Sequence[VectorData | None]:
    if schema.kind == "dense" and not column.null_count:
        offsets = np.frombuffer(column.buffers()[1], dtype="<i8")[column.offset : column.offset + len(column) + 1]
        numbers = np.frombuffer(column.buffers()[2], dtype="<f4")[offsets[0] // 4 : offsets[-1] // 4]
        return list(numbers.reshape(-1, schema.size))
    return [_unpack_vector(packed, schema) if packed is not None else None for packed in column.to_pylist()]


def _unpack_vector(packed: bytes, schema: VectorSchema) -> VectorData:
    if schema.kind == "sparse":
        half = len(packed) // 2
        return Sparse(np.frombuffer(packed[:half], dtype="<u4"), np.frombuffer(packed[half:], dtype="<f4"))
    numbers: NDArray[np.float32] = np.frombuffer(packed, dtype="<f4")
    return numbers.reshape(-1, schema.size) if schema.kind == "multivector" else numbers
