# /// script
# requires-python = ">=3.11"
# dependencies = ["deltalake==1.6.6", "pyarrow==26.0.1"]
# ///
"""The data files of a Delta table, and what its scan gives."""

import datetime
import shutil
import sys
import tempfile
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable, write_deltalake

FOLDER = Path(sys.argv[1])
VECTORS = pa.array([[0.5, 0.25, 0.125, 0.0], [1, 2, 3, 4], [4, 3, 2, 1]], pa.list_(pa.float32(), 4))
rows = pa.table(
    {
        "id": pa.array([1, 2, 3], pa.int64()),
        "vector": VECTORS,
        "text": ["one", None, "three"],
        "price": pa.array([Decimal("1.10"), None, Decimal("-2.00")], pa.decimal128(12, 2)),
        "day": pa.array([datetime.date(2026, 1, 2), None, datetime.date(1900, 1, 1)]),
        "seen": pa.array([datetime.datetime(2026, 1, 2, 3, 4, 5), None, None], pa.timestamp("us", tz="UTC")),
        "counts": pa.array([[("x", 1)], None, []], pa.map_(pa.string(), pa.int64())),
    }
)


def write(name: str, table: pa.Table) -> None:
    """The one data file of a new table, and the rows that its scan gives."""
    with tempfile.TemporaryDirectory() as folder:
        write_deltalake(folder, table)
        [data] = Path(folder).glob("*.parquet")
        shutil.copyfile(data, FOLDER / f"{name}.parquet")
        if name == "deltalake-data":
            pq.write_table(pa.table(DeltaTable(folder).to_pyarrow_table()), FOLDER / "deltalake-scan.parquet")


write("deltalake-data", rows)
# pyarrow cannot open this one, whichever columns are asked for.
write(
    "deltalake-uuid",
    pa.table({"id": pa.array([bytes(15) + bytes([n]) for n in range(3)], pa.uuid()), "vector": VECTORS}),
)
