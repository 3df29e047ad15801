"""JSON Lines to rows.

pyarrow has a reader, too: it turns texts that are dates into dates, and integers from 2^63 on into floats.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from vectorops.api.meta import JsonObject
from vectorops.formats.base import (
    MAX_BATCH_BYTES,
    MAX_BATCH_ROWS,
    MAX_ROW_BYTES,
    BadRow,
    JsonRows,
    invalid_file,
    mapped_errors,
)
from vectorops.formats.json_text import BadJson, load_exact_json
from vectorops.formats.unpacked import open_unpacked

BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"


def read_json_lines(path: Path, name: str, max_unpacked_bytes: int) -> Iterator[JsonRows | BadRow]:
    """See `read_rows`."""
    numbers: list[int] = []
    rows: list[JsonObject] = []
    held = number = 0
    with mapped_errors(name, "JSON Lines file"), open_unpacked(path, name, max_unpacked_bytes) as stream:
        while line := stream.readline(MAX_ROW_BYTES):
            number += 1
            if number == 1:
                line = line.removeprefix(BYTE_ORDER_MARK)
                if line.lstrip().startswith(b"["):
                    raise invalid_file(name, "is a JSON list: write one object a line (jq --compact-output '.[]')")
            ended = line.endswith(b"\n")
            if not ended and len(line) == MAX_ROW_BYTES:
                while (rest := stream.readline(MAX_ROW_BYTES)) and not rest.endswith(b"\n"):
                    pass
                yield BadRow(number, f"the line is longer than {MAX_ROW_BYTES >> 20} MiB")
                continue
            if line.isspace():
                continue
            try:
                row = load_exact_json(line)
            except BadJson as error:
                if not ended:
                    raise invalid_file(name, f"is cut short: its last line, {number}, is no JSON") from None
                yield BadRow(number, f"the line is {error}", _read_leniently(line))
                continue
            if not isinstance(row, dict):
                yield BadRow(number, "the line is no JSON object")
                continue
            numbers.append(number)
            rows.append(row)
            held += len(line)
            if len(rows) == MAX_BATCH_ROWS or held >= MAX_BATCH_BYTES:
                yield JsonRows(numbers, rows)
                numbers, rows, held = [], [], 0
    if rows:
        yield JsonRows(numbers, rows)


def _read_leniently(line: bytes) -> JsonObject | None:
    """What Python takes for JSON: NaN, any integer, half of a surrogate pair. None if it is no object."""
    try:
        row = json.loads(line.decode("utf-8", "surrogateescape"))
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) else None
