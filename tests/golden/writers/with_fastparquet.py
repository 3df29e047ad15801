# /// script
# requires-python = ">=3.11"
# dependencies = ["fastparquet==2026.9.0", "pandas<3.2"]
# ///
"""What fastparquet writes: lists are JSON text, an index that it keeps is called `index`."""

import sys
from pathlib import Path

import fastparquet
import pandas as pd

FOLDER = Path(sys.argv[1])
frame = pd.DataFrame(
    {
        "id": [1, 2, 3, 4],
        "vector": [[0.5, 0.25, 0.125, 0.0], [1.0, 2.0, 3.0, 4.0], [4.0, 3.0, 2.0, 1.0], [0.0, 0.0, 0.0, 1.0]],
        "text": ["one", None, "three", "four"],
        "kind": pd.Categorical(["a", "b", None, "a"]),
        "seen": pd.to_datetime(["2026-01-02T03:04:05", None, "1970-01-01", "1970-01-02"], format="ISO8601"),
        "author": [{"name": "Ada"}, None, {"name": "Eve"}, {}],
        "flag": [True, False, True, False],
    }
)
encoding = {"vector": "json", "author": "json"} | dict.fromkeys(("id", "text", "kind", "seen", "flag"), "infer")
fastparquet.write(str(FOLDER / "fastparquet-whole.parquet"), frame, object_encoding=encoding)
fastparquet.write(str(FOLDER / "fastparquet-filtered.parquet"), frame[frame["id"] != 2], object_encoding=encoding)
