#!/usr/bin/env bash
# deltalake 1.6.6 as the writer, pyarrow 26.0.1 and DuckDB 2.0.0 as readers (seen 2026-11-28).
#
# One would guess: a column of UUIDs is stored as such, or as plain bytes, or is refused when it is written; its Arrow table then reads as
# before.
# What happens: the type becomes plain `binary`, but the *name* of the extension type, `arrow.uuid`, stays in the metadata of the column and
# the file. The table is written without a word, and from then on pyarrow opens neither the data file nor the table by deltalake's own
# `to_pyarrow_table`, whichever columns are asked for: it finds a UUID that is not 16 bytes of fixed size. DuckDB reads bytes.
#
# Output:
#   the table's type: binary, arrow.uuid; to_pyarrow_table of x alone: ArrowInvalid; pyarrow opens the file: ArrowInvalid; DuckDB: [('BLOB', 16, 1)]
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/python"
"$folder/python/bin/python" -m pip install --quiet --disable-pip-version-check deltalake==1.6.6 pyarrow==26.0.1 duckdb==2.0.0

"$folder/python/bin/python" - "$folder" <<'PYTHON'
import sys
import uuid
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable, write_deltalake

folder = Path(sys.argv[1], "points")
write_deltalake(str(folder), pa.table({"id": pa.array([uuid.UUID(int=7).bytes], pa.uuid()), "x": [1]}))
table = DeltaTable(str(folder))
(file,) = folder.glob("*.parquet")


def attempt(read):
    try:
        return read()
    except pa.ArrowInvalid as error:
        return type(error).__name__


field = table.schema().fields[0]
by_table = attempt(lambda: table.to_pyarrow_table(columns=["x"]).num_rows)
by_file = attempt(lambda: pq.read_table(file, columns=["x"]).num_rows)
in_duckdb = duckdb.sql(f"SELECT typeof(id), octet_length(id), x FROM '{file}'").fetchall()
kept = field.metadata["ARROW:extension:name"]
print(
    f"the table's type: {field.type.type}, {kept}; to_pyarrow_table of x alone: {by_table}; "
    f"pyarrow opens the file: {by_file}; DuckDB: {in_duckdb}"
)
assert (field.type.type, kept) == ("binary", "arrow.uuid")
assert by_table == by_file == "ArrowInvalid"
assert in_duckdb == [("BLOB", 16, 1)]
PYTHON
