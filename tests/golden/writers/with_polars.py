# /// script
# requires-python = ">=3.11"
# dependencies = ["polars==2.1.0"]
# ///
"""What polars writes: Array and List vectors, enums, categories, decimals, structs, and Int128, which pyarrow lacks."""

import datetime
import sys
from decimal import Decimal
from pathlib import Path

import polars as pl

FOLDER = Path(sys.argv[1])
VECTORS = [[0.1, 0.2, 0.3, 0.4], [-1.0, 0.0, 1.0, 2.0], [0.5, 0.25, 0.125, 0.0625]]

frame = pl.DataFrame(
    {
        "id": pl.Series([1, 2, 2**64 - 1], dtype=pl.UInt64),
        "vector": pl.Series(VECTORS, dtype=pl.Array(pl.Float32, 4)),
        "title": ["one", None, "three"],
        "level": pl.Series(["low", "high", None], dtype=pl.Enum(["low", "high"])),
        "kind": pl.Series(["a", "b", "a"], dtype=pl.Categorical),
        "price": pl.Series([Decimal("1.10"), None, Decimal("-2.00")], dtype=pl.Decimal(12, 2)),
        "day": [datetime.date(2026, 1, 2), None, datetime.date(1, 1, 1)],
        "clock": [datetime.time(3, 4, 5, 6), None, datetime.time(0)],
        "at": [datetime.datetime(2026, 1, 2, 3, 4, 5, 678901), None, datetime.datetime(1900, 1, 1)],
        "at_tz": pl.Series(
            [datetime.datetime(2026, 7, 2, 3, 4, 5), None, datetime.datetime(1900, 1, 1)], dtype=pl.Datetime("ns")
        ).dt.replace_time_zone("Europe/Berlin"),
        "tags": [["a", None], [], None],
        "author": [{"name": "Ada", "age": 36}, {"name": None, "age": None}, None],
        "unsigned": pl.Series([0, 255, None], dtype=pl.UInt8),
        "nothing": pl.Series([None, None, None], dtype=pl.Null),
    }
)
frame.write_parquet(FOLDER / "polars-frame.parquet")
frame.write_ipc(FOLDER / "polars-frame.arrow")
frame.drop("vector").with_columns(vector=pl.Series(VECTORS, dtype=pl.List(pl.Float64))).write_ndjson(
    FOLDER / "polars-frame.ndjson"
)
frame.select("id", "title", "level", "price", "day", "at", "unsigned").write_csv(FOLDER / "polars-frame.csv")
pl.DataFrame(
    {
        "id": ["a", "b", "c"],
        "vector": pl.Series(VECTORS, dtype=pl.List(pl.Float32)),
        "half": pl.Series(VECTORS, dtype=pl.Array(pl.Float32, 4)).cast(pl.Array(pl.Float16, 4)),
    }
).write_parquet(FOLDER / "polars-lists.parquet")
# UInt64 beside Int64 becomes Int128.
pl.concat(
    [pl.DataFrame({"id": pl.Series([1], dtype=pl.UInt64)}), pl.DataFrame({"id": pl.Series([2], dtype=pl.Int64)})],
    how="vertical_relaxed",
).with_columns(vector=pl.Series(VECTORS[:2], dtype=pl.Array(pl.Float32, 4))).write_parquet(
    FOLDER / "polars-int128.parquet"
)
pl.DataFrame({"id": [1, 2], "vector": VECTORS[:2], "wait": [datetime.timedelta(seconds=1), None]}).write_parquet(
    FOLDER / "polars-duration.parquet"
)
