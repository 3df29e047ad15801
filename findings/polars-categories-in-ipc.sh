#!/usr/bin/env bash
# polars 2.1.0 as the writer, pyarrow 26.0.1 and DuckDB 2.0.0 as readers (seen 2026-11-28).
#
# One would guess: Arrow IPC is the format that both speak, so a table of categories that polars wrote is as good in pyarrow as its own:
# what pyarrow opens and shows, it can decode, filter and write as Parquet.
# What happens: polars writes texts, and so the values of a dictionary, as `string_view`. pyarrow opens and shows them, and can do next to
# nothing else: decoding, casting, comparing and writing as Parquet raise ArrowNotImplementedError, which is no ArrowInvalid. DuckDB filters the
# same table. What helps: cast the values of the dictionary alone, or write with `compat_level=pl.CompatLevel.oldest()`.
#
# Output:
#   dictionary<values=string_view, indices=uint8, ordered=1>, shown as ['b', 'a', 'b']
#   pyarrow: decode, cast, compare, write as Parquet: ArrowNotImplementedError; DuckDB: 2 rows are 'b'
#   values cast first: ['b', 'a', 'b']; oldest level: dictionary<values=large_string, indices=uint8, ordered=1>
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/python"
"$folder/python/bin/python" -m pip install --quiet --disable-pip-version-check polars==2.1.0 pyarrow==26.0.1 duckdb==2.0.0

"$folder/python/bin/python" - "$folder" <<'PYTHON'
import sys

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

folder = sys.argv[1]
frame = pl.DataFrame({"kind": pl.Series(["b", "a", "b"], dtype=pl.Enum(["a", "b"]))})
frame.write_ipc(f"{folder}/kinds.arrow")
kinds_table = pa.ipc.open_file(f"{folder}/kinds.arrow").read_all()
kinds = kinds_table["kind"].chunk(0)
print(f"{kinds.type}, shown as {kinds.to_pylist()}")

uses = {
    "decode": kinds.dictionary_decode,
    "cast": lambda: kinds.cast(pa.string()),
    "compare": lambda: pc.equal(kinds, "b"),
    "write as Parquet": lambda: pq.write_table(kinds_table, f"{folder}/kinds.parquet"),
}
refused = []
for name, use in uses.items():
    try:
        use()
    except pa.ArrowNotImplementedError as error:
        assert not isinstance(error, pa.ArrowInvalid)
        refused.append(name)
[(count,)] = duckdb.sql("SELECT count(*) FROM kinds_table WHERE kind = 'b'").fetchall()
print(f"pyarrow: {', '.join(refused)}: ArrowNotImplementedError; DuckDB: {count} rows are 'b'")
assert refused == list(uses)
assert count == 2

helped = pa.DictionaryArray.from_arrays(kinds.indices, kinds.dictionary.cast(pa.string())).dictionary_decode().to_pylist()
frame.write_ipc(f"{folder}/oldest.arrow", compat_level=pl.CompatLevel.oldest())
oldest = pa.ipc.open_file(f"{folder}/oldest.arrow").schema.field("kind").type
print(f"values cast first: {helped}; oldest level: {oldest}")
assert helped == ["b", "a", "b"]
assert oldest.value_type == pa.large_string()
PYTHON
