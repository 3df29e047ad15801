#!/usr/bin/env bash
# deltalake 1.6.6, with pyarrow 26.0.1 and polars 2.1.0 (seen 2026-11-28).
#
# One would guess: Delta has no unsigned integers, so uint8, the type of vectors that are quantized to bytes, is stored as the next larger
# integer or is refused for its type.
# What happens: it becomes the *signed* integer of the same size. Vectors whose components all stay below 128 are written, and their type is
# `byte` from then on; the first batch with a larger one fails, however many were written before. So it is the data of a later day that
# breaks the job. A cast to int16 before the first write helps.
#
# Output:
#   first day, components up to 100: written, array of byte; second day, up to 200: DeltaError; polars the same: DeltaError
#   as int16: written, array of short
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/python"
"$folder/python/bin/python" -m pip install --quiet --disable-pip-version-check deltalake==1.6.6 pyarrow==26.0.1 polars==2.1.0

"$folder/python/bin/python" - "$folder" <<'PYTHON'
import sys

import polars as pl
import pyarrow as pa
from deltalake import DeltaTable, write_deltalake
from deltalake.exceptions import DeltaError

folder = sys.argv[1]
DAYS = [[[1, 100]], [[1, 200]]]


def append(name, data):
    """Append to the table of that name; says "written" and the type of the vectors, or the error."""
    try:
        write_deltalake(f"{folder}/{name}", data, mode="append")
    except DeltaError as error:
        return type(error).__name__
    return f"written, array of {DeltaTable(f'{folder}/{name}').schema().fields[0].type.element_type.type}"


def arrow(rows, component):
    return pa.table({"vector": pa.array(rows, pa.list_(component))})


first, second = (append("uint8", arrow(rows, pa.uint8())) for rows in DAYS)
in_polars = append("uint8", pl.DataFrame({"vector": pl.Series(DAYS[1], dtype=pl.List(pl.UInt8))}))
print(f"first day, components up to 100: {first}; second day, up to 200: {second}; polars the same: {in_polars}")
assert (first, second, in_polars) == ("written, array of byte", "DeltaError", "DeltaError")

wider = [append("int16", arrow(rows, pa.int16())) for rows in DAYS]
print(f"as int16: {wider[1]}")
assert wider == ["written, array of short"] * 2
PYTHON
