"""Parquet to rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from vectorops.errors import Terminal
from vectorops.formats.base import (
    MAX_BATCH_BYTES,
    MAX_BATCH_ROWS,
    ArrowRows,
    Columns,
    first_words,
    invalid_file,
    mapped_errors,
)
from vectorops.formats.batches import cut_batch


def read_parquet(path: Path, name: str, columns: Columns) -> Iterator[ArrowRows]:
    """See `read_rows`."""
    with mapped_errors(name, "Parquet file"):
        # pre_buffer holds the whole file. A memory map would kill the process if the file is cut while it is read.
        try:
            file = pq.ParquetFile(path, pre_buffer=False, buffer_size=65536)
        except NotImplementedError as error:
            raise invalid_file(
                name,
                f"pyarrow cannot read the type of a column ({first_words(error)}): cast it before it is written; a "
                "128-bit integer to BIGINT or text, a UUID to text",
            ) from None
        with file:
            chosen = list(columns(file.schema_arrow.names))
            enums = _enum_columns(file)
            done = 0
            try:
                for batch in file.iter_batches(_batch_rows(file.metadata), columns=chosen, use_threads=False):
                    for some in cut_batch(_decode_enums(batch, enums)):
                        yield ArrowRows(range(done + 1, done + 1 + some.num_rows), some)
                        done += some.num_rows
            except (pa.ArrowException, OSError) as error:
                raise _unreadable(file, name, chosen, done, error) from None
            if done != file.metadata.num_rows:
                raise invalid_file(name, f"has {done:,} rows, but says that it has {file.metadata.num_rows:,}")


def _batch_rows(metadata: Any) -> int:
    """Rows of a batch that has about the wanted bytes."""
    total = sum(metadata.row_group(index).total_byte_size for index in range(metadata.num_row_groups))
    each = max(1, total // max(1, metadata.num_rows))
    return int(min(MAX_BATCH_ROWS, max(1, MAX_BATCH_BYTES // each)))


def _enum_columns(file: Any) -> frozenset[str]:
    """Columns of bytes that Parquet says are names: ClickHouse writes Enum8 so."""
    columns = (file.schema.column(index) for index in range(len(file.schema)))
    return frozenset(column.path for column in columns if column.logical_type.type == "ENUM")


def _decode_enums(batch: Any, enums: frozenset[str]) -> Any:
    for index, field in enumerate(batch.schema):
        if field.name in enums and pa.types.is_binary(field.type):
            batch = batch.set_column(index, field.name, batch.column(index).view(pa.string()))
    return batch


def _unreadable(file: Any, name: str, columns: Sequence[str], done: int, error: Exception) -> Terminal:
    """Which column it is that cannot be read, and what helps."""
    reason = first_words(error)
    helps = "if it is not needed, leave it out with mapping.payload.exclude; else write the file again"
    if "Length spanned by list offsets" in reason:
        helps = "DuckDB writes a NULL in a column of type FLOAT[n] so; cast it before COPY: column::FLOAT[]"
    # Only from the row group on in which reading ended.
    ends, total = [], 0
    for index in range(file.metadata.num_row_groups):
        total += file.metadata.row_group(index).num_rows
        ends.append(total)
    left = [index for index, end in enumerate(ends) if end > done]
    for column in columns:
        try:
            for _ in file.iter_batches(256, row_groups=left, columns=[column], use_threads=False):
                pass
        except (pa.ArrowException, OSError):
            return invalid_file(name, f"column {column} cannot be read ({reason}): {helps}")
    return invalid_file(name, f"is damaged: {reason}")
