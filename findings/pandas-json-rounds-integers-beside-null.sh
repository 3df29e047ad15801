#!/usr/bin/env bash
# pandas 3.1.1 with pyarrow 26.0.1 (seen 2026-11-28).
#
# One would guess: an integer column with a missing value is read exactly once it is asked for as Int64, or with `dtype_backend="pyarrow"`:
# that is what those types are for, and `read_csv` does it.
# What happens: `read_json(lines=True)` goes by float64 first, and makes the asked type of that. One null anywhere in the file, and ids
# above 2^53 are rounded, in all rows, under a type that says they are exact. `engine="pyarrow"` together with `dtype_backend="pyarrow"`
# reads them right.
#
# Output (the id 9007199254740993, and a null in the row behind it):
#   read_csv, Int64: 9007199254740993; read_json, Int64: 9007199254740992; read_json, pyarrow types: 9007199254740992;
#   read_json, pyarrow types, without the null: 9007199254740993; read_json, pyarrow types and engine: 9007199254740993
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/python"
"$folder/python/bin/python" -m pip install --quiet --disable-pip-version-check pandas==3.1.1 pyarrow==26.0.1

"$folder/python/bin/python" - <<'PYTHON'
import io

import pandas as pd

EXACT, ROUNDED = 2**53 + 1, 2**53
CSV = f'id\n{EXACT}\n""\n'
JSON, WITHOUT_NULL = f'{{"id": {EXACT}}}\n{{"id": null}}\n', f'{{"id": {EXACT}}}\n{{"id": 1}}\n'


def read_json(text, **options):
    return pd.read_json(io.StringIO(text), lines=True, **options)["id"]


found = {
    "read_csv, Int64": pd.read_csv(io.StringIO(CSV), dtype={"id": "Int64"})["id"],
    "read_json, Int64": read_json(JSON, dtype={"id": "Int64"}),
    "read_json, pyarrow types": read_json(JSON, dtype_backend="pyarrow"),
    "read_json, pyarrow types, without the null": read_json(WITHOUT_NULL, dtype_backend="pyarrow"),
    "read_json, pyarrow types and engine": pd.read_json(io.BytesIO(JSON.encode()), lines=True, dtype_backend="pyarrow", engine="pyarrow")["id"],
}
print("; ".join(f"{way}: {column[0]}" for way, column in found.items()))
assert [int(column[0]) for column in found.values()] == [EXACT, ROUNDED, ROUNDED, EXACT, EXACT]
assert all(str(column.dtype) in {"Int64", "int64[pyarrow]"} for column in found.values())
PYTHON
