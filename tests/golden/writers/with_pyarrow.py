# /// script
# requires-python = ">=3.11"
# dependencies = ["pyarrow==26.0.1"]
# ///
"""What pyarrow writes when it is given types: Parquet, and Arrow IPC as a file and as a stream."""

import datetime
import sys
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import pyarrow as pa
import pyarrow.parquet as pq

FOLDER = Path(sys.argv[1])
VECTORS = [[0.1, 0.2, 0.3, 0.4], [-1.0, 0.0, 1.0, 2.0], [0.5, 0.25, 0.125, 0.0625]]
BERLIN = datetime.timezone(datetime.timedelta(hours=1))

MOMENTS = [
    datetime.datetime(2026, 1, 2, 3, 4, 5, 678901),
    None,
    datetime.datetime(1969, 12, 31, 23, 59, 59, 999999),
]
scalars = pa.table(
    {
        "id": pa.array([0, 2**63, 2**64 - 1], pa.uint64()),
        "vector": pa.array(VECTORS, pa.list_(pa.float32())),
        "text": ["plain", "Grüße, 世界 🎈", None],
        "large_text": pa.array(["a", None, ""], pa.large_string()),
        "view": pa.array(["short", "longer than twelve bytes", None], pa.string_view()),
        "flag": [True, False, None],
        "small": pa.array([-128, 127, None], pa.int8()),
        "whole": pa.array([-(2**63), 2**63 - 1, None], pa.int64()),
        "half": pa.array([0.5, -2.0, None], pa.float16()),
        "single": pa.array([0.1, 1e30, None], pa.float32()),
        "double": pa.array([0.1, 1e300, None], pa.float64()),
        "price": pa.array([Decimal("12.30"), Decimal("-0.01"), None], pa.decimal128(10, 2)),
        "huge": pa.array([Decimal(10) ** 60, Decimal(-1), None], pa.decimal256(70, 0)),
        "day": pa.array([datetime.date(2026, 1, 2), datetime.date(1, 1, 1), None], pa.date32()),
        "clock": pa.array([datetime.time(3, 4, 5, 678901), datetime.time(0), None], pa.time64("us")),
        "at_s": pa.array([1767323045, -1, None], pa.timestamp("s")),
        "at_us": pa.array(MOMENTS, pa.timestamp("us")),
        "at_ns": pa.array([1767323045678901234, 0, None], pa.timestamp("ns")),
        "at_utc": pa.array(MOMENTS, pa.timestamp("us", tz="UTC")),
        "at_berlin": pa.array([1767323045678901, 1782960245000000, None], pa.timestamp("us", tz="Europe/Berlin")),
        "category": pa.array(["red", "green", "red"]).dictionary_encode(),
        "nothing": pa.nulls(3),
    }
)
pq.write_table(scalars, FOLDER / "pyarrow-scalars.parquet")

STRUCT = pa.struct([("name", pa.string()), ("born", pa.date32()), ("tags", pa.list_(pa.string()))])
nested = pa.table(
    {
        "id": ["doc-1", "doc-2", "7"],
        "vector": pa.array(VECTORS, pa.list_(pa.float64())),
        "author": pa.array(
            [{"name": "Ada", "born": datetime.date(1815, 12, 10), "tags": ["x", None]}, {"name": None}, None], STRUCT
        ),
        "tags": pa.array([["a", "b"], [], None], pa.large_list(pa.string())),
        "counts": pa.array([[("a", 1), ("b", None)], [], None], pa.map_(pa.string(), pa.int32())),
        "when": pa.array([[datetime.datetime(2026, 1, 2)], [None], None], pa.list_(pa.timestamp("ms"))),
        "grid": pa.array([[[1, 2], [3]], [[]], None], pa.list_(pa.list_(pa.int16()))),
    }
)
pq.write_table(nested, FOLDER / "pyarrow-nested.parquet")

# Vectors of all list types; only IPC has views. The unnamed vector lacks in one row.
lists = pa.table(
    {
        "id": pa.array([1, 2, 3], pa.int32()),
        "fixed": pa.array(VECTORS, pa.list_(pa.float32(), 4)),
        "halves": pa.array([[0.5, 1, 2, 4]] * 3, pa.list_(pa.float16())),
        "large": pa.array([VECTORS[0], None, VECTORS[2]], pa.large_list(pa.float32())),
        "rows": pa.array([VECTORS[:2], VECTORS[1:], VECTORS[2:]], pa.list_(pa.list_(pa.float32(), 4))),
    }
)
pq.write_table(lists, FOLDER / "pyarrow-lists.parquet", row_group_size=2, compression="zstd")
views = pa.table(
    {
        "id": pa.array(["a", "b", "c"]).dictionary_encode(),
        "vector": pa.array(VECTORS, pa.list_view(pa.float32())),
        "large_view": pa.array([VECTORS[0], None, VECTORS[1]], pa.large_list_view(pa.float32())),
        "ends": pa.RunEndEncodedArray.from_arrays(pa.array([2, 3], pa.int32()), pa.array(["x", "y"])),
        "time_ms": pa.array([0, 86399999, None], pa.time32("ms")),
        "numbers": pa.array([[1, 2], [], None], pa.list_view(pa.int64())),
    }
)
with pa.OSFile(str(FOLDER / "pyarrow-views.arrow"), "wb") as sink, pa.ipc.new_file(sink, views.schema) as writer:
    writer.write_table(views, max_chunksize=2)
with (
    pa.OSFile(str(FOLDER / "pyarrow-stream.arrows"), "wb") as sink,
    pa.ipc.new_stream(sink, scalars.schema, options=pa.ipc.IpcWriteOptions(compression="lz4")) as writer,
):
    writer.write_table(scalars)

UUIDS = [UUID(int=n) for n in (1, 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF, 0x550E8400E29B41D4A716446655440000)]
extensions = pa.table(
    {
        "id": pa.array([one.bytes for one in UUIDS], pa.uuid()),
        "vector": pa.array(VECTORS, pa.list_(pa.float32(), 4)),
        "other": pa.array([UUIDS[0].bytes, None, UUIDS[2].bytes], pa.uuid()),
        "facts": pa.array(['{"a": [1, 2.5, null]}', None, '"text"'], pa.json_()),
    }
)
pq.write_table(extensions, FOLDER / "pyarrow-extensions.parquet")

# What cannot be JSON.
pq.write_table(
    pa.table({"id": [1, 2], "vector": VECTORS[:2], "raw": pa.array([b"\x00\xff", None], pa.binary())}),
    FOLDER / "pyarrow-binary.parquet",
)
pq.write_table(
    pa.table({"id": [1, 2], "vector": VECTORS[:2], "wait": pa.array([1_500_000_000, None], pa.duration("ns"))}),
    FOLDER / "pyarrow-duration.parquet",
)
pq.write_table(
    pa.table(
        {"id": [1, 2], "vector": VECTORS[:2], "by_number": pa.array([[(1, "a")], None], pa.map_(pa.int32(), "string"))}
    ),
    FOLDER / "pyarrow-map-of-integers.parquet",
)
pq.write_table(
    pa.table(
        {
            "id": [1, 2],
            "vector": VECTORS[:2],
            "twice": pa.array([[("a", 1), ("a", 2)], [("a", 1)]], pa.map_("string", pa.int32())),
        }
    ),
    FOLDER / "pyarrow-map-with-a-key-twice.parquet",
)
pq.write_table(
    pa.table(
        {
            "id": [1, 2, 3, 4],
            "vector": pa.array(
                [[float("nan"), 0, 0, 0], [1e39, 0, 0, 0], [1, None, 3, 4], [1, 2, 3]], pa.list_(pa.float64())
            ),
            "score": [1.0, 2.0, 3.0, 4.0],
        }
    ),
    FOLDER / "pyarrow-bad-vectors.parquet",
)
pq.write_table(
    pa.table({"id": [1.0, 2.0], "vector": VECTORS[:2]}),
    FOLDER / "pyarrow-float-ids.parquet",
)
pq.write_table(
    pa.table({"id": ["a", None, ""], "vector": VECTORS}),
    FOLDER / "pyarrow-missing-ids.parquet",
)
pq.write_table(
    pa.table({"id": ["a", "b", "c"], "vector": VECTORS, "score": [1.0, float("nan"), float("inf")]}),
    FOLDER / "pyarrow-not-finite.parquet",
)
