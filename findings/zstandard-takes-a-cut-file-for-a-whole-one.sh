#!/usr/bin/env bash
# zstandard 0.25.0, pyarrow 26.0.1, Python 3.11 (seen 2026-11-28).
#
# One would guess: a compressed file of which the end is missing, as an upload that broke off leaves it, raises when it is read, as gzip's does.
# What happens: zstandard's `stream_reader` and `open` end at the last whole block, as if the content ended there. No error, no warning: of a
# file of rows the last ones are "gone", and whoever makes a store equal to the file deletes them. pyarrow's reader of the same format raises.
#
# Output (4,000 lines written, the last 5 bytes of the file missing):
#   gzip: EOFError; zstandard stream_reader: 3715 lines; zstandard open: 3715 lines; pyarrow: OSError
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/python"
"$folder/python/bin/python" -m pip install --quiet --disable-pip-version-check zstandard==0.25.0 pyarrow==26.0.1

"$folder/python/bin/python" - "$folder" <<'PYTHON'
import gzip
import io
import json
import random
import sys
from pathlib import Path

import pyarrow as pa
import zstandard

LINES = 4000
random.seed(1)
rows = [json.dumps({"id": n, "vector": [random.random() for _ in range(4)]}) + "\n" for n in range(LINES)]
content = "".join(rows).encode()
gzip_file, zstd_file = (Path(sys.argv[1], name) for name in ("rows.jsonl.gz", "rows.jsonl.zst"))
gzip_file.write_bytes(gzip.compress(content)[:-5])
zstd_file.write_bytes(zstandard.compress(content)[:-5])


def lines(read):
    try:
        return read().count(b"\n")
    except (EOFError, OSError) as error:
        return type(error).__name__


found = {
    "gzip": lines(lambda: gzip.open(gzip_file).read()),
    "zstandard stream_reader": lines(lambda: zstandard.ZstdDecompressor().stream_reader(io.BytesIO(zstd_file.read_bytes())).read()),
    "zstandard open": lines(lambda: zstandard.open(zstd_file).read()),
    "pyarrow": lines(lambda: pa.CompressedInputStream(pa.OSFile(str(zstd_file)), "zstd").read()),
}
print("; ".join(f"{name}: {read}" + (" lines" if isinstance(read, int) else "") for name, read in found.items()))
assert found["gzip"] == "EOFError"
assert found["pyarrow"] == "OSError"
assert 0 < found["zstandard stream_reader"] == found["zstandard open"] < LINES
PYTHON
