"""The table of docs/mapping.md: what each type of Arrow becomes. Each of its rows is a test."""

from __future__ import annotations

import json
import re
import uuid
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from vectorops.errors import Terminal
from vectorops.formats.base import ArrowRows
from vectorops.points.mapping import Mapper
from vectorops.points.schema import VectorSchema

PAGE = Path(__file__).parents[3] / "docs" / "mapping.md"
MOMENT = datetime(2026, 11, 28, 3, 4, 5, 678000, tzinfo=UTC)
POINT = pa.struct([("x", pa.int64()), ("y", pa.string())])
BERLIN = pa.scalar(MOMENT, pa.timestamp("us", "UTC")).value


def dictionary() -> pa.Array:
    return pa.array(["a"]).dictionary_encode()


TYPES: dict[str, pa.Array] = {
    "null": pa.nulls(1),
    "bool": pa.array([True]),
    "int8, int16, int32, int64": pa.array([2**63 - 1]),
    "uint8, uint16, uint32, uint64": pa.array([2**64 - 1], pa.uint64()),
    "halffloat": pa.array(np.array([0.1], np.float16)),
    "float": pa.array([0.1], pa.float32()),
    "double": pa.array([0.1]),
    "decimal32, decimal64, decimal128, decimal256": pa.array([Decimal("1.50")], pa.decimal128(10, 2)),
    "string, large_string, string_view": pa.array(["00123"]),
    "dictionary": dictionary(),
    "run_end_encoded": pa.RunEndEncodedArray.from_arrays([1], ["a"]),
    "date32, date64": pa.array([date(2026, 11, 28)]),
    "timestamp[s], [ms], [us]": pa.array([MOMENT], pa.timestamp("us")),
    "timestamp[ns]": pa.array([1], pa.timestamp("ns")),
    "timestamp[.., tz=UTC]": pa.array([MOMENT], pa.timestamp("ms", "UTC")),
    "timestamp[.., tz=Europe/Berlin]": pa.array([BERLIN], pa.timestamp("us", "Europe/Berlin")),
    "time32, time64": pa.array([time(12, 30, 0, 500)], pa.time64("ns")),
    "duration": pa.array([timedelta(seconds=90, milliseconds=500)], pa.duration("ms")),
    "month_day_nano_interval": pa.array([(14, 3, 1_500_000_000)], pa.month_day_nano_interval()),
    "binary, large_binary, binary_view, fixed_size_binary": pa.array([b"a"]),
    "list, large_list, list_view, large_list_view of floats": pa.array([[0.5, 2]], pa.list_(pa.float32())),
    "fixed_size_list of floats": pa.array([[0.5, 2]], pa.list_(pa.float32(), 2)),
    "list of integers": pa.array([[1, 2]]),
    "list of decimals": pa.array([[Decimal("0.5"), Decimal(2)]]),
    "list of strings": pa.array([["a", None]]),
    "struct": pa.array([{"x": 1, "y": None}], POINT),
    "map with keys of text": pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64())),
    "map with other keys": pa.array([[(1, 1)]], pa.map_(pa.int64(), pa.int64())),
    "union": pa.UnionArray.from_sparse(pa.array([0], pa.int8()), [pa.array([1])]),
    "arrow.json": pa.array(['{"a": [1]}'], pa.json_()),
    "arrow.uuid": pa.array([uuid.UUID(int=7).bytes], pa.uuid()),
    "arrow.bool8": pa.ExtensionArray.from_storage(pa.bool8(), pa.array([1], pa.int8())),
    "arrow.fixed_shape_tensor": pa.ExtensionArray.from_storage(
        pa.fixed_shape_tensor(pa.float32(), [2]), pa.array([[0.5, 2]], pa.list_(pa.float32(), 2))
    ),
    "other extension types": pa.ExtensionArray.from_storage(pa.opaque(pa.int64(), "t", "v"), pa.array([1])),
    "VARIANT (a struct of metadata and value)": pa.array(
        [{"metadata": b"", "value": b""}], pa.struct([("metadata", pa.binary()), ("value", pa.binary())])
    ),
    "geometry (WKB)": pa.array([b"\x01"]),
}


def outcome(array: pa.Array, use: str) -> str:
    names = {"payload": "c", "id": "id", "vector": "vector"}
    columns = {names[use]: array} if use == "id" else {"id": pa.array([1]), names[use]: array}
    mapper = Mapper(None, {"": VectorSchema("dense", 2)})
    try:
        block = mapper.map(ArrowRows([1], pa.RecordBatch.from_pydict(columns)))
    except Terminal:
        return "refused"
    if use == "payload":
        return f"`{json.dumps(block.payloads[0]['c'])}`"
    if use == "id":
        return "yes" if block.ids else "no"
    vector = block.vectors[""][0]
    return "none" if vector is None else "yes" if np.asarray(vector).tolist() in ([0.5, 2], [1, 2]) else "no"


def rows_of_page() -> dict[str, list[str]]:
    table = PAGE.read_text().split("## What each type becomes")[1].split("\n\n")
    lines = next(block for block in table if block.startswith("| type")).splitlines()[2:]
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    return {row[0].strip("`"): row[1:] for row in cells}


def test_the_page_has_each_type():
    assert list(rows_of_page()) == list(TYPES)


@pytest.mark.parametrize("name", TYPES)
def test_a_type_becomes_what_the_page_says(name):
    page = rows_of_page()[name]

    assert [outcome(TYPES[name], use) for use in ("payload", "id", "vector")] == page[:3]
