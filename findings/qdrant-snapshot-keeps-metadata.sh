#!/usr/bin/env bash
# Qdrant 1.16.3 with httpx of qdrant-client 1.20.0 (seen 2026-11-27).
#
# One would guess: a snapshot of a collection, restored with `priority=snapshot`, brings the collection back as it was.
# What happens: where a collection of that name exists, points and payload indexes are those of the snapshot; its `metadata` and its
# HNSW settings stay those of now. Only where there is none do they come from the snapshot. So what was kept in metadata beside the data (an
# owner, a version, a checkpoint) is of another time than the data after a restore: delete the collection first.
#
# Output:
#   restored over the collection: metadata {'mark': 'now'}, m 33, indexes ['t'], points [1]
#   restored where there is none: metadata {'mark': 'then'}, m 16, indexes ['t'], points [1]
set -euo pipefail
folder=$(mktemp -d)
. "$(dirname "$0")/start-qdrant" "$folder" @1.16.3

"$python" - <<'PYTHON'
import os

import httpx

qdrant = httpx.Client(base_url=f"{os.environ['QDRANT_URL']}/collections/c", timeout=60)
ok = httpx.Response.raise_for_status


def seen():
    found = ok(qdrant.get("")).json()["result"]
    points = ok(qdrant.post("/points/scroll", json={})).json()["result"]["points"]
    config = found["config"]
    return config["metadata"], config["hnsw_config"]["m"], list(found["payload_schema"]), [point["id"] for point in points]


def restore():
    ok(qdrant.post("/snapshots/upload?priority=snapshot", files={"snapshot": snapshot}))
    metadata, m, indexes, points = seen()
    return f"metadata {metadata}, m {m}, indexes {indexes}, points {points}"


def put(id):
    ok(qdrant.put("/points?wait=true", json={"points": [{"id": id, "vector": [1, 1]}]}))


ok(qdrant.put("", json={"vectors": {"size": 2, "distance": "Dot"}, "metadata": {"mark": "then"}}))
ok(qdrant.put("/index?wait=true", json={"field_name": "t", "field_schema": "keyword"}))
put(1)
name = ok(qdrant.post("/snapshots")).json()["result"]["name"]
snapshot = ok(qdrant.get(f"/snapshots/{name}")).content
ok(qdrant.patch("", json={"metadata": {"mark": "now"}, "hnsw_config": {"m": 33}}))
ok(qdrant.delete("/index/t?wait=true"))
put(2)
over = restore()
print(f"restored over the collection: {over}")
ok(qdrant.delete(""))
alone = restore()
print(f"restored where there is none: {alone}")
assert over == "metadata {'mark': 'now'}, m 33, indexes ['t'], points [1]"
assert alone == "metadata {'mark': 'then'}, m 16, indexes ['t'], points [1]"
PYTHON
