#!/usr/bin/env bash
# pandas 3.1.1 with pyarrow 26.0.1 (seen 2026-11-28; pandas 2.3.3 writes the column both times).
#
# One would guess: a *named* index goes into a Parquet file as a column of its name, whatever its values; or it never does.
# What happens: `set_index` of pandas 3 turns evenly spaced integers into a RangeIndex, and a RangeIndex is only described in pandas' own metadata.
# 11, 12, 13 give a file without ids for every reader but pandas; 11, 12, 14 give one with them. So of two shards of one job one has the column.
# `reset_index()` before writing, or `to_parquet(index=True)`, helps.
#
# Output:
#   [11, 12, 13]: columns ['x']; [11, 12, 14]: columns ['x', 'id']; [11, 12, 13] with index=True: columns ['x', 'id']
#   polars reads both shards together: ColumnNotFoundError
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/python"
"$folder/python/bin/python" -m pip install --quiet --disable-pip-version-check pandas==3.1.1 pyarrow==26.0.1 polars==2.1.0

"$folder/python/bin/python" - "$folder" <<'PYTHON'
import sys

import pandas as pd
import polars as pl
import pyarrow.parquet as pq

EVEN, UNEVEN = [11, 12, 13], [11, 12, 14]


def write(name, ids, **options):
    """Write a shard; gives the names of its columns."""
    pd.DataFrame({"id": ids, "x": [1, 2, 3]}).set_index("id").to_parquet(f"{sys.argv[1]}/{name}.parquet", **options)
    return pq.read_schema(f"{sys.argv[1]}/{name}.parquet").names


helped = write("shard-0", EVEN, index=True)
even, uneven = write("shard-0", EVEN), write("shard-1", UNEVEN)
print(f"{EVEN}: columns {even}; {UNEVEN}: columns {uneven}; {EVEN} with index=True: columns {helped}")
assert (even, uneven, helped) == (["x"], ["x", "id"], ["x", "id"])

try:
    together = pl.read_parquet(f"{sys.argv[1]}/shard-*.parquet", columns=["id", "x"])
except pl.exceptions.PolarsError as error:
    together = type(error).__name__
print(f"polars reads both shards together: {together}")
assert together == "ColumnNotFoundError"
PYTHON
