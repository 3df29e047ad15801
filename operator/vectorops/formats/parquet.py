"""Parquet to rows."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from vectorops.errors import Terminal
from vectorops.formats.base import (
    MAX_BATCH_BYTES,
    MAX_BATCH_ROWS,
    ArrowRows,
    ColumnChoice,
    first_words,
    invalid_file,
    mapped_errors,
)
from vectorops.formats.record_batches import cut_batch

UNREADABLE: Final = {
    "64 bits not implemented": "cast it before it is written, a 128-bit integer to BIGINT or text",
    "UuidType": "cast it before it is written, a UUID to text",
    "Length spanned by list offsets": "DuckDB writes a NULL in a column of type FLOAT[n] so; cast it before COPY: "
    "column::FLOAT[]",
}
"""What helps against what pyarrow says of a file that another writer takes for a good one."""


def read_parquet(path: Path, name: str, columns: ColumnChoice) -> Iterator[ArrowRows]:
    """See `read_rows`."""
    with mapped_errors(name, "Parquet file"):
        # pre_buffer holds the whole file. A memory map would kill the process if the file is cut while it is read.
        try:
            file = pq.ParquetFile(path, pre_buffer=False, buffer_size=65536)
        except pa.ArrowException as error:
            reason = first_words(error)
            helps = next((helps for part, helps in UNREADABLE.items() if part in reason), None)
            if helps is None and not isinstance(error, NotImplementedError):
                raise
            raise invalid_file(
                name, f"pyarrow cannot read the type of a column ({reason}): {helps or 'cast it before it is written'}"
            ) from None
        with file:
            chosen = list(columns(file.schema_arrow.names))
            # ClickHouse writes Enum8 so, with the texts.
            parts = [file.schema.column(index) for index in range(len(file.schema))]
            enums = frozenset(part.path for part in parts if part.logical_type.type == "ENUM")
            groups = [file.metadata.row_group(index) for index in range(file.metadata.num_row_groups)]
            row_bytes = max(1, sum(group.total_byte_size for group in groups) // max(1, file.metadata.num_rows))
            done = 0
            try:
                # A text that many rows share lies in the file once.
                samples = (
                    file.iter_batches(64, row_groups=[0], columns=chosen, use_threads=False) if groups else iter(())
                )
                if (sample := next(samples, None)) is not None and sample.num_rows:
                    row_bytes = max(row_bytes, sample.nbytes // sample.num_rows)
                rows = min(MAX_BATCH_ROWS, max(1, MAX_BATCH_BYTES // row_bytes))
                for batch in file.iter_batches(rows, columns=chosen, use_threads=False):
                    for some in cut_batch(_with_texts(batch, enums) if enums else batch):
                        yield ArrowRows(range(done + 1, done + 1 + some.num_rows), some)
                        done += some.num_rows
            except (pa.ArrowException, OSError) as error:
                raise _unreadable_column(file, name, chosen, done, error) from None
            if done != file.metadata.num_rows:
                raise invalid_file(name, f"has {done:,} rows, but says that it has {file.metadata.num_rows:,}")


def _with_texts(batch: Any, names: Collection[str]) -> Any:
    """The batch with these columns of bytes as text."""
    for index, field in enumerate(batch.schema):
        if field.name in names and pa.types.is_binary(field.type):
            batch = batch.set_column(index, field.name, batch.column(index).view(pa.string()))
    return batch


def _unreadable_column(file: Any, name: str, columns: Sequence[str], done: int, error: Exception) -> Terminal:
    """Which column it is that cannot be read, and what helps."""
    reason = first_words(error)
    helps = next(
        (helps for part, helps in UNREADABLE.items() if part in reason),
        "if it is not needed, leave it out with mapping.payload.exclude; else write the file again",
    )
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
