# /// script
# requires-python = ">=3.11"
# dependencies = ["datasets==5.2.0"]
# ///
"""What Hugging Face datasets writes: with features and without, Parquet and JSON Lines."""

import datetime
import sys
from pathlib import Path

from datasets import ClassLabel, Dataset, Features, Json, List, Value, disable_progress_bars

disable_progress_bars()
FOLDER = Path(sys.argv[1])
ROWS = {
    "id": ["doc-1", "doc-2", "doc-3"],
    "vector": [[0.1, 0.2, 0.3, 0.4], [-1.0, 0.0, 1.0, 2.0], [0.5, 0.25, 0.125, 0.0625]],
    "text": ["one", None, "three"],
    "seen": [datetime.datetime(2026, 1, 2, 3, 4, 5), None, datetime.datetime(1969, 12, 31)],
    "answers": [{"text": ["a"], "start": [1]}, {"text": [], "start": []}, {"text": [], "start": []}],
}
features = Features(
    {
        "id": Value("string"),
        "vector": List(Value("float32"), length=4),
        "text": Value("large_string"),
        "seen": Value("timestamp[us, tz=UTC]"),
        "answers": {"text": List(Value("string")), "start": List(Value("int32"))},
        "label": ClassLabel(names=["neg", "pos"]),
        "facts": Json(),
    }
)
more = {"label": [0, 1, 1], "facts": [{"a": 1, "b": [None, "x"]}, None, 7]}
Dataset.from_dict(ROWS | more, features=features).to_parquet(FOLDER / "datasets-features.parquet")
plain = Dataset.from_dict(ROWS)
plain.to_parquet(FOLDER / "datasets-plain.parquet")
plain.to_json(FOLDER / "datasets-plain.jsonl")
