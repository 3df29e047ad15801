"""Arrow IPC (files and streams) to rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from vectorops.formats.base import ArrowRows, ColumnChoice, invalid_file, mapped_errors
from vectorops.formats.record_batches import cut_batch

MAGIC: Final = b"ARROW1"
OLD_MAGIC: Final = b"FEA1"
CONTINUATION: Final = b"\xff\xff\xff\xff"
END_OF_STREAM: Final = CONTINUATION + bytes(4)

MAX_HELD_BYTES: Final = 256 * 2**20
"""Of a record batch that lies in memory whole."""


def read_arrow_ipc(path: Path, name: str, columns: ColumnChoice, *, is_private: bool) -> Iterator[ArrowRows]:
    """See `read_rows`."""
    with mapped_errors(name, "Arrow IPC file"), pa.memory_map(str(path)) if is_private else pa.OSFile(str(path)) as raw:
        done = 0
        for batch in _batches(raw, name, columns, is_private=is_private):
            for column in batch.columns:
                # Raises ArrowInvalid if a buffer leads outside of itself, which would be read all the same. Text that
                # is no UTF-8 is left to the row that has it.
                _as_bytes(column).validate(full=True)
            for some in cut_batch(batch):
                yield ArrowRows(range(done + 1, done + 1 + some.num_rows), some)
                done += some.num_rows


def _batches(raw: Any, name: str, columns: ColumnChoice, *, is_private: bool) -> Iterator[Any]:
    begin, end = raw.read_at(8, 0), raw.read_at(8, max(0, raw.size() - 8))
    raw.seek(0)
    if begin.startswith(OLD_MAGIC):
        raise invalid_file(name, "is of version 1 of Feather: write it as version 2")
    if not begin.startswith((MAGIC, CONTINUATION)):
        raise invalid_file(name, "is no Arrow IPC file")
    is_stream = begin.startswith(CONTINUATION)
    # The format lets a stream end anywhere between two batches, but all writers mark its end.
    if is_stream and end != END_OF_STREAM:
        raise invalid_file(name, "is cut short: the mark of the end of the stream is missing")
    open_reader = pa.ipc.open_stream if is_stream else pa.ipc.open_file
    names = open_reader(raw).schema.names
    raw.seek(0)
    chosen = set(columns(names))
    fields = [index for index, field in enumerate(names) if field in chosen]
    reader = open_reader(raw, options=pa.ipc.IpcReadOptions(included_fields=fields, use_threads=False))
    if is_stream:
        return iter(reader)
    count = reader.num_record_batches
    if not is_private and count and raw.size() // count > MAX_HELD_BYTES:
        raise invalid_file(
            name, f"its record batches are too large: write them with at most {MAX_HELD_BYTES >> 20} MiB each"
        )
    return map(reader.get_batch, range(count))


def _as_bytes(column: Any) -> Any:
    if pa.types.is_string(column.type):
        return column.view(pa.binary())
    return column.view(pa.large_binary()) if pa.types.is_large_string(column.type) else column
