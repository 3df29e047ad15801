# /// script
# requires-python = ">=3.11"
# dependencies = ["pandas==3.1.1", "pyarrow==26.0.1"]
# ///
"""What pandas writes: an index that is a column or none, categories, numpy vectors, JSON Lines, CSV."""

import sys
import uuid
from pathlib import Path

import numpy as np
import pandas as pd

FOLDER = Path(sys.argv[1])
VECTORS = list(np.arange(16, dtype=np.float32).reshape(4, 4) / 8)

frame = pd.DataFrame(
    {
        "id": [11, 12, 13, 14],
        "vector": VECTORS,
        "title": ["one", None, "three", "four"],
        "kind": pd.Categorical(["b", "a", None, "b"], categories=["a", "b"], ordered=True),
        "count": pd.array([1, None, 3, 4], "Int64"),
        # An integer column with a gap is a float one.
        "gap": [1, None, 3, 4],
        "at": pd.to_datetime(["2026-01-02T03:04:05.678901", None, "1900-01-01", "2262-04-11"], format="ISO8601"),
        "at_tz": pd.to_datetime(["2026-01-02T03:04:05+01:00"] * 4).tz_convert("America/New_York"),
        "wait": pd.to_timedelta([1, 2, 3, None], unit="s"),
        "mixed": [{"a": 1}, {"a": None}, None, {"b": "x"}],
    }
)
plain = frame.drop(columns="wait")
plain.to_parquet(FOLDER / "pandas-whole.parquet")
# Kept rows that are evenly spaced leave no index column; others leave `__index_level_0__`: shards of one job differ.
plain[plain["id"] != 12].to_parquet(FOLDER / "pandas-filtered.parquet")
plain[plain["id"] != 12].set_index("id").to_parquet(FOLDER / "pandas-named-index.parquet")
plain.set_index("id").to_parquet(FOLDER / "pandas-even-index.parquet")
frame.to_parquet(FOLDER / "pandas-timedelta.parquet")
pd.DataFrame({"id": [uuid.UUID(int=1), uuid.UUID(int=2)], "vector": VECTORS[:2]}).to_parquet(
    FOLDER / "pandas-uuid.parquet"
)
pd.DataFrame({"id": ["a", "b"], "vector": [[0.1, 0.2, 0.3, 0.4], [1, 2, 3, 4]]}).to_feather(
    FOLDER / "pandas-lists.feather"
)

plain.to_json(FOLDER / "pandas-records.jsonl", orient="records", lines=True, date_format="iso")
plain[["id", "title", "kind", "gap", "at"]].to_csv(FOLDER / "pandas-index.csv")
# NaN in an object column is the words NaN in no format: null in JSON, nothing in CSV.
plain[["id", "title", "kind", "gap", "at"]].to_csv(FOLDER / "pandas-plain.csv.gz", index=False)
