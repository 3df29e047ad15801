# /// script
# requires-python = ">=3.11"
# dependencies = ["pyiceberg[pyarrow,sql-sqlite]==0.12.0", "pyarrow==26.0.1"]
# ///
"""The data file of an Iceberg table, and what its scan gives: names are spelled in another way in the file."""

import datetime
import shutil
import sys
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.catalog.sql import SqlCatalog

FOLDER = Path(sys.argv[1])
rows = pa.table(
    {
        "id": ["doc-1", "doc-2", "doc-3"],
        "vector": pa.array([[0.5, 0.25, 0.125, 0.0], [1, 2, 3, 4], [4, 3, 2, 1]], pa.list_(pa.float32())),
        "a b-x": ["one", None, "three"],
        "seen": pa.array([datetime.datetime(2026, 1, 2, 3, 4, 5), None, None], pa.timestamp("us", tz="UTC")),
        "counts": pa.array([[("x", 1)], None, []], pa.map_(pa.string(), pa.int64())),
        "author": [{"name": "Ada", "age": 36}, None, {"name": "Eve", "age": None}],
    }
)
with tempfile.TemporaryDirectory() as folder:
    catalog = SqlCatalog("golden", uri=f"sqlite:///{folder}/catalog.db", warehouse=f"file://{folder}")
    catalog.create_namespace("docs")
    table = catalog.create_table("docs.rows", rows.schema)
    table.append(rows)
    [data] = Path(folder).rglob("*.parquet")
    shutil.copyfile(data, FOLDER / "pyiceberg-data.parquet")
    pq.write_table(table.scan().to_arrow(), FOLDER / "pyiceberg-scan.parquet")
