#!/usr/bin/env bash
# datasets 5.2.0 with pandas 3.1.1 (seen 2026-11-28).
#
# One would guess: float32 vectors that are exported as JSON Lines and loaded again with the same features have the same bits; a float needs
# nine digits.
# What happens: `Dataset.to_json` writes by way of pandas, which cuts to ten digits *behind the point*, not ten that count. Components of a
# normalized embedding are small, and some are very small: about one of a hundred is another float afterwards, so nearly every vector is
# another vector. Whoever compares vectors to find what changed writes all points anew. `to_json(double_precision=15)` helps (it is handed
# to pandas); polars keeps all bits.
#
# Output (200 normalized vectors of 384 components):
#   to_json: 708 of 76800 components and 198 of 200 vectors differ; double_precision=15: 0 and 0; polars: 0 and 0
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/python"
"$folder/python/bin/python" -m pip install --quiet --disable-pip-version-check datasets==5.2.0 pandas==3.1.1 polars==2.1.0 numpy==2.4.6

HF_HUB_OFFLINE=1 HF_HOME="$folder/hub" "$folder/python/bin/python" - "$folder" 2>/dev/null <<'PYTHON'
import os
import sys

import numpy as np
import polars as pl
from datasets import Dataset, Features, List, Value

os.chdir(sys.argv[1])
COUNT, SIZE = 200, 384
vectors = np.random.default_rng(1).standard_normal((COUNT, SIZE)).astype(np.float32)
vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
features = Features({"vector": List(Value("float32"))})
dataset = Dataset.from_dict({"vector": list(vectors)}, features=features)


def through_datasets(name, **options):
    dataset.to_json(name, **options)
    return Dataset.from_json(name, features=features)["vector"][:]


def through_polars():
    pl.DataFrame({"vector": pl.Series(vectors, dtype=pl.Array(pl.Float32, SIZE))}).write_ndjson("polars.jsonl")
    return pl.read_ndjson("polars.jsonl", schema={"vector": pl.List(pl.Float32)})["vector"].to_list()


def differ(found):
    different = np.array(found, np.float32) != vectors
    return int(different.sum()), int(different.any(axis=1).sum())


plain, precise, polars = (
    differ(found) for found in (through_datasets("a.jsonl"), through_datasets("b.jsonl", double_precision=15), through_polars())
)
print(
    f"to_json: {plain[0]} of {COUNT * SIZE} components and {plain[1]} of {COUNT} vectors differ; "
    f"double_precision=15: {precise[0]} and {precise[1]}; polars: {polars[0]} and {polars[1]}"
)
assert plain[1] > COUNT * 0.9
assert precise == polars == (0, 0)
PYTHON
