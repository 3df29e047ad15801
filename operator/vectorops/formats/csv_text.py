"""CSV to rows of text.

pyarrow has a reader, too: it makes 31 of `0x1F`, and of a whole column floats because of one `+5`.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from vectorops.formats.base import (
    MAX_BATCH_BYTES,
    MAX_BATCH_ROWS,
    MAX_ROW_BYTES,
    ArrowRows,
    BadRow,
    ColumnChoice,
    invalid_file,
    mapped_errors,
)
from vectorops.formats.unpacked import open_unpacked
from vectorops.words import counted


def read_csv(path: Path, name: str, columns: ColumnChoice, max_unpacked_bytes: int) -> Iterator[ArrowRows | BadRow]:
    """See `read_rows`. The first row is the header."""
    # Of the process; the library's own is less than a long text has.
    csv.field_size_limit(MAX_ROW_BYTES)
    with mapped_errors(name, "CSV file"), open_unpacked(path, name, max_unpacked_bytes) as stream:
        # What is no UTF-8 becomes lone surrogates, and harms its row alone.
        text = io.TextIOWrapper(stream, "utf-8-sig", "surrogateescape", newline="")
        records = csv.reader(text, strict=True)
        try:
            header = next(records)
            "".join(header).encode()
        except (StopIteration, UnicodeEncodeError, csv.Error):
            raise invalid_file(name, "is no CSV file with a header of UTF-8 text in its first row") from None
        twice = sorted({column for column in header if header.count(column) > 1})
        if twice:
            raise invalid_file(name, f"two columns have the same name: {', '.join(twice)}")
        chosen = list(columns(header))
        numbers: list[int] = []
        rows: list[list[str]] = []
        held, number = 0, 1
        # Without a row, too, the header is judged: the page of an error is no empty file.
        yield ArrowRows([], pa.RecordBatch.from_arrays([pa.array([], pa.string()) for _ in chosen], chosen))
        while True:
            number += 1
            try:
                row = next(records)
            except StopIteration:
                break
            except csv.Error as error:
                if "unexpected end of data" in str(error):
                    raise invalid_file(name, f"is cut short: the quotes of row {number} are not closed") from None
                if "field limit" in str(error):
                    raise invalid_file(
                        name, f"a cell of row {number} is longer than {MAX_ROW_BYTES >> 20} MiB, or not closed"
                    ) from None
                yield BadRow(number, "the row's quotes are wrong")
                continue
            if not row:
                continue
            if len(row) != len(header):
                yield BadRow(number, f"{counted(len(row), 'cell')}, but the header has {len(header):,}")
                continue
            numbers.append(number)
            rows.append(row)
            held += sum(map(len, row))
            if len(rows) == MAX_BATCH_ROWS or held >= MAX_BATCH_BYTES:
                yield from _batch(header, chosen, numbers, rows)
                numbers, rows, held = [], [], 0
        yield from _batch(header, chosen, numbers, rows)


def _batch(
    header: list[str], chosen: list[str], numbers: list[int], rows: list[list[str]]
) -> Iterator[ArrowRows | BadRow]:
    try:
        columns = dict(zip(header, zip(*rows, strict=True), strict=True)) if rows else {}
        arrays = [pa.array(columns[name], pa.string()) for name in chosen] if rows else []
    except UnicodeEncodeError:
        good = []
        for number, row in zip(numbers, rows, strict=True):
            try:
                "".join(row).encode()
            except UnicodeEncodeError:
                yield BadRow(number, "the row is no UTF-8", dict(zip(header, row, strict=True)))
            else:
                good.append((number, row))
        yield from _batch(header, chosen, [number for number, _ in good], [row for _, row in good])
        return
    if rows:
        yield ArrowRows(numbers, pa.RecordBatch.from_arrays(arrays, chosen))
