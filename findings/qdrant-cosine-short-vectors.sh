#!/usr/bin/env bash
# Qdrant 1.16.3 with qdrant-client 1.20.0 (seen 2026-11-27).
#
# One would guess: with the distance Cosine the length of a vector does not matter; only the zero vector is special.
# What happens: a vector shorter than about 0.000345 (its squared length is below the float32 epsilon) is stored as it is, not
# normalized, and its score is its tiny dot product: it ranks behind all others, in the same direction or not. So does each row of a
# multi-vector. Vectors of small numbers (averages, scaled or whitened ones) have to be normalized by whoever sends them.
#
# Output: the query points in the direction of 1, 2 and 3; 4 is at 60 degrees (1 and 2 come in either order)
#   id 2, length 0.000346 : score 1.0
#   id 1, length 1        : score 1.0
#   id 4, length 1        : score 0.5
#   id 3, length 0.000345 : score 0.000345
set -euo pipefail
folder=$(mktemp -d)
. "$(dirname "$0")/start-qdrant" "$folder" @1.16.3

"$python" - <<'PYTHON'
import os

from qdrant_client import QdrantClient, models

client = QdrantClient(url=os.environ["QDRANT_URL"], check_compatibility=False)
client.create_collection("c", vectors_config=models.VectorParams(size=2, distance="Cosine"))
vectors = {1: [1.0, 0.0], 2: [0.000346, 0.0], 3: [0.000345, 0.0], 4: [0.5, 0.75**0.5]}
client.upsert("c", [models.PointStruct(id=id, vector=vector) for id, vector in vectors.items()], wait=True)
found = [(point.id, round(point.score, 6)) for point in client.query_points("c", query=[1.0, 0.0]).points]
for id, score in found:
    length = "1" if id in {1, 4} else f"{vectors[id][0]:.6f}"
    print(f"id {id}, length {length:9}: score {score}")
assert sorted(found[:2]) == [(1, 1.0), (2, 1.0)], found
assert found[2:] == [(4, 0.5), (3, 0.000345)], found
PYTHON
