#!/usr/bin/env bash
# Qdrant 1.16.3 with httpx of qdrant-client 1.20.0 (seen 2026-11-27).
#
# One would guess: a collection has one vector without a name, or named ones; both together came with 1.18.
# What happens: a create whose map of vectors has the empty name beside others is taken, and points have both. How a point reads back then
# depends on what it has: a map where there are two, a bare list where the one without a name is alone.
#
# Output:
#   created: 200; with both: {'': [1.0, 2.0], 'n': [3.0]}; with the one without a name: [1.0, 2.0]; with the named one: {'n': [3.0]}
set -euo pipefail
folder=$(mktemp -d)
. "$(dirname "$0")/start-qdrant" "$folder" @1.16.3

"$python" - <<'PYTHON'
import os

import httpx

qdrant = httpx.Client(base_url=f"{os.environ['QDRANT_URL']}/collections/c", timeout=60)
created = qdrant.put("", json={"vectors": {"": {"size": 2, "distance": "Dot"}, "n": {"size": 1, "distance": "Dot"}}}).status_code
vectors = {1: {"": [1, 2], "n": [3]}, 2: [1, 2], 3: {"n": [3]}}
points = [{"id": id, "vector": vector} for id, vector in vectors.items()]
qdrant.put("/points?wait=true", json={"points": points}).raise_for_status()
found = qdrant.post("/points", json={"ids": [1, 2, 3], "with_vector": True}).json()["result"]
by_id = {point["id"]: point["vector"] for point in found}
print(f"created: {created}; with both: {by_id[1]}; with the one without a name: {by_id[2]}; with the named one: {by_id[3]}")
assert (created, by_id) == (200, {1: {"": [1, 2], "n": [3]}, 2: [1, 2], 3: {"n": [3]}})
PYTHON
