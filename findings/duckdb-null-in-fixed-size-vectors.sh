#!/usr/bin/env bash
# DuckDB 2.0.0 as the writer, pyarrow 26.0.1 and polars 2.1.0 as readers (seen 2026-11-28).
#
# One would guess: a vector that is missing in a row is a NULL in the file, as for any other type; what one reader reads, all do.
# What happens: one NULL in a column of the fixed type FLOAT[n] makes the column unreadable for pyarrow, and so for pandas and datasets,
# wherever the row is: the schema, the row count and the other columns are fine, the first read of the vectors raises ArrowInvalid. polars
# and DuckDB read the file. Casting to FLOAT[] before COPY helps.
#
# Output (3 rows, the vector of the second is NULL):
#   FLOAT[2]: 3 rows, ids [1, 2, 3], pyarrow: ArrowInvalid, polars: [[1.0, 0.5], None, [3.0, 0.5]]
#   FLOAT[]: 3 rows, ids [1, 2, 3], pyarrow: [[1.0, 0.5], None, [3.0, 0.5]], polars: [[1.0, 0.5], None, [3.0, 0.5]]
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/python"
"$folder/python/bin/python" -m pip install --quiet --disable-pip-version-check duckdb==2.0.0 pyarrow==26.0.1 polars==2.1.0

"$folder/python/bin/python" - "$folder" <<'PYTHON'
import os
import sys

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

os.chdir(sys.argv[1])


def read(type_name):
    """Rows, ids, and the vectors as pyarrow and as polars give them, of a file that DuckDB has written."""
    vector = f"CASE WHEN id <> 2 THEN [id, 0.5] END::{type_name} AS vector"
    duckdb.sql(f"COPY (SELECT id, {vector} FROM range(1, 4) AS ids(id)) TO 'points.parquet'")
    rows, ids = pq.read_metadata("points.parquet").num_rows, pq.read_table("points.parquet", columns=["id"])["id"].to_pylist()
    try:
        in_pyarrow = pq.read_table("points.parquet")["vector"].to_pylist()
    except pa.ArrowInvalid as error:
        in_pyarrow = type(error).__name__
    in_polars = pl.read_parquet("points.parquet")["vector"].to_list()
    print(f"{type_name}: {rows} rows, ids {ids}, pyarrow: {in_pyarrow}, polars: {in_polars}")
    return rows, ids, in_pyarrow, in_polars


VECTORS = [[1.0, 0.5], None, [3.0, 0.5]]
assert read("FLOAT[2]") == (3, [1, 2, 3], "ArrowInvalid", VECTORS)
assert read("FLOAT[]") == (3, [1, 2, 3], VECTORS, VECTORS)
PYTHON
