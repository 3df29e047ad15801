"""Arrow IPC (files and streams) to rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from vectorops.formats.base import ArrowRows, Columns, invalid_file, mapped_errors
from vectorops.formats.batches import cut_batch

MAGIC: Final = b"ARROW1"
OLD_MAGIC: Final = b"FEA1"
CONTINUATION: Final = b"\xff\xff\xff\xff"
END_OF_STREAM: Final = CONTINUATION + bytes(4)

MAX_HELD_BYTES: Final = 256 * 2**20
"""Of a record batch that lies in memory whole."""


def read_arrow_ipc(path: Path, name: str, columns: Columns, *, is_private: bool) -> Iterator[ArrowRows]:
    """See `read_rows`."""
    with mapped_errors(name, "Arrow IPC file"), pa.memory_map(str(path)) if is_private else pa.OSFile(str(path)) as raw:
        begin, end = raw.read_at(8, 0), raw.read_at(8, max(0, raw.size() - 8))
        raw.seek(0)
        if begin.startswith(OLD_MAGIC):
            raise invalid_file(name, "is of version 1 of Feather: write it as version 2")
        if begin.startswith(MAGIC):
            batches = _file_batches(raw, name, columns, is_private=is_private)
        elif begin.startswith(CONTINUATION):
            # The format lets a stream end anywhere between two batches, but all writers mark its end.
            if end != END_OF_STREAM:
                raise invalid_file(name, "is cut short: the mark of the end of the stream is missing")
            batches = _stream_batches(raw, columns)
        else:
            raise invalid_file(name, "is no Arrow IPC file")
        done = 0
        for batch in batches:
            _validate(batch)
            for some in cut_batch(batch):
                yield ArrowRows(range(done + 1, done + 1 + some.num_rows), some)
                done += some.num_rows


def _file_batches(raw: Any, name: str, columns: Columns, *, is_private: bool) -> Iterator[Any]:
    reader = pa.ipc.open_file(raw)
    count = reader.num_record_batches
    if not is_private and count and raw.size() // count > MAX_HELD_BYTES:
        raise invalid_file(
            name, f"its record batches are too large: write them with at most {MAX_HELD_BYTES >> 20} MiB each"
        )
    reader = pa.ipc.open_file(raw, options=_only(reader.schema, columns))
    return map(reader.get_batch, range(count))


def _stream_batches(raw: Any, columns: Columns) -> Iterator[Any]:
    schema = pa.ipc.open_stream(raw).schema
    raw.seek(0)
    return iter(pa.ipc.open_stream(raw, options=_only(schema, columns)))


def _only(schema: Any, columns: Columns) -> Any:
    chosen = set(columns(schema.names))
    return pa.ipc.IpcReadOptions(
        included_fields=[index for index, field in enumerate(schema.names) if field in chosen], use_threads=False
    )


def _validate(batch: Any) -> None:
    """Raises ArrowInvalid if a buffer leads outside of itself, which would be read all the same. Text that is no UTF-8
    is left to the row that has it.
    """
    for column in batch.columns:
        if pa.types.is_string(column.type):
            column.view(pa.binary()).validate(full=True)
        elif pa.types.is_large_string(column.type):
            column.view(pa.large_binary()).validate(full=True)
        else:
            column.validate(full=True)
