#!/usr/bin/env bash
# Qdrant 1.16.3 with httpx of qdrant-client 1.20.0 (seen 2026-11-28).
#
# One would guess: the datatype of a sparse index says how weights are stored, and a PATCH of it that GET shows has been carried out.
# What happens: weights are stored as float32 whatever it says. The scores of a search change only when the optimizer builds the index of a
# segment again, here because a third of the points is deleted. Until then GET shows uint8, the status is green, and the scores are exact.
# After that all weights near the largest one share one score, and the points still read back exactly.
#
# Output:
#   distinct scores of the best five: float32 5, patched 5, index built again 1; datatype shown after the patch: uint8, green
#   weight of the best point as it reads back: exact
set -euo pipefail
folder=$(mktemp -d)
. "$(dirname "$0")/start-qdrant" "$folder" @1.16.3

"$python" - <<'PYTHON'
import os
import random
import time

import httpx

qdrant = httpx.Client(base_url=f"{os.environ['QDRANT_URL']}/collections/c", timeout=60)
random.seed(1)
COUNT = 20_000
weights = {id: random.uniform(0.01, 409.5) for id in range(COUNT)}


def best_scores() -> list[float]:
    query = {"query": {"indices": [7], "values": [1.0]}, "using": "t", "limit": 5, "filter": {"must": [{"has_id": kept}]}}
    return [point["score"] for point in qdrant.post("/points/query", json=query).json()["result"]["points"]]


def wait_until_idle() -> dict:
    time.sleep(1)
    while True:
        found = qdrant.get("").json()["result"]
        if found["status"] == "green" and found["optimizer_status"] == "ok":
            return found
        time.sleep(0.2)


sparse = {"t": {"index": {"datatype": "float32", "full_scan_threshold": 0}}}
optimizers = {
    "indexing_threshold": 1,
    "default_segment_number": 1,
    "vacuum_min_vector_number": 100,
    "deleted_threshold": 0.05,
}
qdrant.put("", json={"vectors": {}, "sparse_vectors": sparse, "optimizers_config": optimizers}).raise_for_status()
for start in range(0, COUNT, 2000):
    ids = range(start, start + 2000)
    points = [{"id": id, "vector": {"t": {"indices": [7], "values": [weights[id]]}}} for id in ids]
    qdrant.put("/points?wait=true", json={"points": points}).raise_for_status()
wait_until_idle()
dropped = list(range(0, COUNT, 3))
kept = sorted(set(weights) - set(dropped), key=weights.get, reverse=True)[:5]
best = kept[0]

exact = best_scores()
qdrant.patch("", json={"sparse_vectors": {"t": {"index": {"datatype": "uint8"}}}}).raise_for_status()
found = wait_until_idle()
shown = found["config"]["params"]["sparse_vectors"]["t"]["index"]["datatype"]
patched = best_scores()
qdrant.post("/points/delete?wait=true", json={"points": dropped}).raise_for_status()
deadline = time.monotonic() + 60
while len(set(rebuilt := best_scores())) > 1 and time.monotonic() < deadline:
    time.sleep(0.5)
read = qdrant.post("/points", json={"ids": [best], "with_vector": True}).json()["result"][0]["vector"]["t"]["values"][0]
is_exact = abs(read - weights[best]) < 1e-4
counts = [len(set(scores)) for scores in (exact, patched, rebuilt)]
print(
    f"distinct scores of the best five: float32 {counts[0]}, patched {counts[1]}, index built again {counts[2]}; "
    f"datatype shown after the patch: {shown}, {found['status']}"
)
print(f"weight of the best point as it reads back: {'exact' if is_exact else 'changed'}")
assert (counts, shown, is_exact) == ([5, 5, 1], "uint8", True)
PYTHON
