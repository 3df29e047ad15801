#!/usr/bin/env bash
# polars 2.1.0 as the writer, pyarrow 26.0.1, DuckDB 2.0.0 and chdb 4.4.0 as readers (seen 2026-11-28).
#
# One would guess: UInt64 and Int64 ids together become one of the two, a float, or an error, and a Parquet file of polars is one for
# everybody.
# What happens: they become Int128, silently, in `concat(how="vertical_relaxed")` as in `a + b`; so do JSON integers from 2^63 on. Parquet
# knows no such integer: polars writes 16 bytes that only polars takes for a number. DuckDB and ClickHouse give bytes without any error, and
# pyarrow cannot open the file, not even for its row count or another column (ArrowNotImplementedError, which is no ArrowInvalid).
#
# Output (ids 1 and 2):
#   polars: Int128 [1, 2]; DuckDB: BLOB 16 bytes, ClickHouse: Nullable(FixedString(16)); pyarrow opens it: ArrowNotImplementedError
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/python"
"$folder/python/bin/python" -m pip install --quiet --disable-pip-version-check polars==2.1.0 pyarrow==26.0.1 duckdb==2.0.0 chdb==4.4.0

"$folder/python/bin/python" - "$folder" <<'PYTHON'
import os
import sys

import chdb
import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

os.chdir(sys.argv[1])
shards = [pl.DataFrame({"id": pl.Series([n], dtype=kind), "x": [n]}) for n, kind in ((1, pl.UInt64), (2, pl.Int64))]
pl.concat(shards, how="vertical_relaxed").write_parquet("ids.parquet")

ids = pl.read_parquet("ids.parquet")["id"]
[(type_name, size)] = duckdb.sql("SELECT DISTINCT typeof(id), octet_length(id) FROM 'ids.parquet'").fetchall()
clickhouse = str(chdb.query("SELECT DISTINCT toTypeName(id) FROM file('ids.parquet')", "TabSeparatedRaw")).strip()
try:
    opened = pq.ParquetFile("ids.parquet").metadata.num_rows
except pa.ArrowNotImplementedError as error:
    assert not isinstance(error, pa.ArrowInvalid)
    opened = type(error).__name__
print(f"polars: {ids.dtype} {ids.to_list()}; DuckDB: {type_name} {size} bytes, ClickHouse: {clickhouse}; pyarrow opens it: {opened}")
assert (str(ids.dtype), ids.to_list()) == ("Int128", [1, 2])
assert (type_name, size) == ("BLOB", 16)
assert clickhouse == "Nullable(FixedString(16))"
assert opened == "ArrowNotImplementedError"
PYTHON
