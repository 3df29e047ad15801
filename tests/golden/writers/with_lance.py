# /// script
# requires-python = ">=3.11"
# dependencies = ["pylance==14.0.2", "pyarrow==26.0.1"]
# ///
"""What a Lance data set gives: its own files are no Parquet, so its rows are exported as Arrow IPC and Parquet."""

import datetime
import sys
import tempfile
from pathlib import Path

import lance
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq

FOLDER = Path(sys.argv[1])
rows = pa.table(
    {
        "id": pa.array([1, 2, 3], pa.uint32()),
        "vector": pa.array([[0.5, 0.25, 0.125, 0.0], [1, 2, 3, 4], [4, 3, 2, 1]], pa.list_(pa.float32(), 4)),
        "text": ["one", None, "three"],
        "author": [{"name": "Ada", "age": 36}, {"name": None, "age": 1}, {"name": "Eve", "age": None}],
        "tags": [["a"], [], ["b", "c"]],
        "seen": pa.array([datetime.datetime(2026, 1, 2, 3, 4, 5), None, None], pa.timestamp("us", tz="UTC")),
    }
)
with tempfile.TemporaryDirectory() as folder:
    lance.write_dataset(rows, folder)
    found = lance.dataset(folder).to_table()
pa.feather.write_feather(found, FOLDER / "lance-table.arrow", compression="uncompressed")
pq.write_table(found, FOLDER / "lance-table.parquet")
