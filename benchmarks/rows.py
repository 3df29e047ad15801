"""The rows that are loaded: a Parquet file made from a seed, and what becomes of it from phase to phase."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vectorops.api.meta import JsonObject

GROUP: Final = 122_880
"""Rows of a row group: as many as DuckDB writes."""
VECTOR_CHANGES, PAYLOAD_CHANGES, IS_DELETED = 37, 61, 83
"""Of each hundred rows one changes its vector, one its payload, one is deleted. So the changes are everywhere."""


@dataclass(frozen=True, slots=True)
class Files:
    """The same rows again and again; each file also has the changes of those before it."""

    base: Path
    rewritten: Path
    """The same rows in the same order, written otherwise: types of lists, row groups, compression, statistics."""
    vectors: Path
    payloads: Path
    deleted: Path


def payload_of(number: int, *, changed: bool = False) -> JsonObject:
    """Five fields, as documents have them."""
    return {
        "title": f"Document {number}{', second edition' if changed else ''}",
        "author": f"author-{number % 100}",
        "year": 1990 + number % 35,
        "score": number / 7,
        "tags": ["one", "two", f"tag-{number % 10}"],
    }


def vector_of(number: int, size: int, *, changed: bool = False) -> Any:
    """The vector of one row, of shape (size,)."""
    start = number // GROUP * GROUP
    return _vectors(start, number - start + 1, size)[-1] * (-1 if changed else 1)


def make_base(folder: Path, count: int, size: int) -> Path:
    """Writes the first file alone."""
    path = folder / "base.parquet"
    _write(path, _groups(count, size, ""))
    return path


def make_files(folder: Path, count: int, size: int) -> Files:
    """Writes all files."""
    files = Files(*(folder / f"{name}.parquet" for name in Files.__dataclass_fields__))
    make_base(folder, count, size)
    _write(files.vectors, _groups(count, size, "v"))
    _write(files.payloads, _groups(count, size, "vp"))
    _write(files.deleted, _groups(count, size, "vpd"))
    with pq.ParquetFile(files.base) as file:
        batches = (
            batch.set_column(1, "vector", batch.column("vector").cast(pa.large_list(pa.float32())))
            for batch in file.iter_batches(10_000)
        )
        _write(files.rewritten, batches, compression="zstd", write_statistics=False, use_dictionary=False)
    return files


def _vectors(start: int, count: int, size: int) -> Any:
    return np.random.default_rng((1, start)).uniform(-1, 1, (count, size)).astype(np.float32)


def _groups(count: int, size: int, changes: str) -> Iterator[pa.RecordBatch]:
    for start in range(0, count, GROUP):
        numbers = np.arange(start, min(start + GROUP, count))
        vectors = _vectors(start, len(numbers), size)
        of_hundred = numbers % 100
        if "v" in changes:
            vectors[of_hundred == VECTOR_CHANGES] *= -1
        kept = of_hundred != IS_DELETED if "d" in changes else np.ones(len(numbers), bool)
        payloads = [
            payload_of(number, changed="p" in changes and number % 100 == PAYLOAD_CHANGES)
            for number in numbers[kept].tolist()
        ]
        columns = {
            "id": pa.array(numbers[kept], pa.uint64()),
            "vector": pa.FixedSizeListArray.from_arrays(vectors[kept].ravel(), size),
            **{field: pa.array([payload[field] for payload in payloads]) for field in payloads[0]},
        }
        yield pa.record_batch(columns)


def _write(path: Path, batches: Iterator[pa.RecordBatch], **options: Any) -> None:
    first = next(batches)
    with pq.ParquetWriter(path, first.schema, **options) as writer:
        writer.write_batch(first, row_group_size=GROUP)
        for batch in batches:
            writer.write_batch(batch, row_group_size=GROUP)
