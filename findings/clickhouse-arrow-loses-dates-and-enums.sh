#!/usr/bin/env bash
# ClickHouse as chdb 4.4.0, pyarrow 26.0.1 as the reader (seen 2026-11-28).
#
# One would guess: a query gives the same types as Parquet and as Arrow, two forms of one type system, so a pipeline may pass from one to the other.
# What happens: a DateTime is a timestamp with a zone in Parquet, and a uint32 (seconds since 1970, the zone is gone) in Arrow; an Enum8 is its
# text in Parquet, and its number as int8, without the texts, in Arrow. DateTime64 is a timestamp in both. Nothing warns: payloads that were
# dates and words become integers, and filters on them find nothing.
#
# Output:
#   Parquet: seen timestamp[ms, tz=UTC], kind b'new'; Arrow: seen uint32 1767323045, kind int8 7; DateTime64 is timestamp[ms, tz=UTC] in both
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/python"
"$folder/python/bin/python" -m pip install --quiet --disable-pip-version-check chdb==4.4.0 pyarrow==26.0.1

"$folder/python/bin/python" - <<'PYTHON'
import chdb
import pyarrow as pa
import pyarrow.parquet as pq

QUERY = """
SELECT toDateTime('2026-01-02 03:04:05', 'UTC') AS seen, toDateTime64('2026-01-02 03:04:05', 3, 'UTC') AS fine,
       CAST('new' AS Enum8('new' = 7, 'old' = 8)) AS kind
"""
parquet = pq.read_table(pa.BufferReader(chdb.query(QUERY, "Parquet").bytes()))
arrow = pa.ipc.open_file(chdb.query(QUERY, "Arrow").bytes()).read_all()
(in_parquet,), (in_arrow,) = parquet.to_pylist(), arrow.to_pylist()
types = {name: (parquet.schema.field(name).type, arrow.schema.field(name).type) for name in ("seen", "fine", "kind")}
print(
    f"Parquet: seen {types['seen'][0]}, kind {in_parquet['kind']}; Arrow: seen {types['seen'][1]} {in_arrow['seen']}, "
    f"kind {types['kind'][1]} {in_arrow['kind']}; DateTime64 is {types['fine'][0]} in both"
)
assert types["seen"] == (pa.timestamp("ms", tz="UTC"), pa.uint32())
assert types["fine"] == (pa.timestamp("ms", tz="UTC"),) * 2
assert types["kind"] == (pa.binary(), pa.int8())
assert (in_parquet["kind"], in_arrow["kind"]) == (b"new", 7)
PYTHON
