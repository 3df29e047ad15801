#!/usr/bin/env bash
# DuckDB 2.0.0 (seen 2026-11-28).
#
# One would guess: DuckDB reads ids of JSON Lines up to 2^64-1 exactly (it does, as HUGEINT), so a COPY to Parquet keeps them, or refuses.
# What happens: HUGEINT, and so each SUM of integers, goes into Parquet as DOUBLE, without a word. Two ids become one, also for DuckDB's own
# reader: a table that is written and read again has other values. COPY to CSV keeps them, Arrow gets decimals. A cast to UBIGINT, or to
# DECIMAL(38, 0), before the COPY helps.
#
# Output:
#   JSON Lines: 2 different ids, HUGEINT; read back from Parquet: 1, DOUBLE; cast to UBIGINT first: 2, UBIGINT
#   a sum: 9007199254740993; read back: 9007199254740992.0
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/python"
"$folder/python/bin/python" -m pip install --quiet --disable-pip-version-check duckdb==2.0.0

"$folder/python/bin/python" - "$folder" <<'PYTHON'
import os
import sys

import duckdb

os.chdir(sys.argv[1])
IDS = [2**63 + 1, 2**63 + 2]
with open("points.jsonl", "w") as file:
    file.writelines(f'{{"id": {each}}}\n' for each in IDS)


def count(source):
    [(different, type_name)] = duckdb.sql(f"SELECT count(DISTINCT id), any_value(typeof(id)) FROM '{source}'").fetchall()
    return different, type_name


duckdb.sql("COPY (FROM 'points.jsonl') TO 'points.parquet'")
duckdb.sql("COPY (SELECT id::UBIGINT AS id FROM 'points.jsonl') TO 'cast.parquet'")
read, written, cast = count("points.jsonl"), count("points.parquet"), count("cast.parquet")
shown = ["{}, {}".format(*each) for each in (written, cast)]
print(f"JSON Lines: {read[0]} different ids, {read[1]}; read back from Parquet: {shown[0]}; cast to UBIGINT first: {shown[1]}")
assert (read, written, cast) == ((2, "HUGEINT"), (1, "DOUBLE"), (2, "UBIGINT"))

SUM = f"SELECT sum(size) AS total FROM (VALUES ({2**53}), (1)) AS files(size)"
duckdb.sql(f"COPY ({SUM}) TO 'sum.parquet'")
[(total,)], [(back,)] = duckdb.sql(SUM).fetchall(), duckdb.sql("FROM 'sum.parquet'").fetchall()
print(f"a sum: {total}; read back: {back}")
assert (total, back) == (2**53 + 1, float(2**53))
PYTHON
