#!/usr/bin/env bash
# qdrant-client 1.20.0 against Qdrant 1.16.3 (seen 2026-11-27, REST and gRPC alike).
#
# One would guess: a server that does not know `update_mode=INSERT_ONLY` (it came with 1.17) refuses it, or the client does.
# What happens: the server ignores the field. The upsert overwrites the point that was there, and answers "completed".
# The client tells nothing about the option either. Safe on both: `update_filter` with an empty `has_id`.
#
# Output:
#   rest INSERT_ONLY: completed, and the point now says {'by': 'rest'}
#   grpc INSERT_ONLY: completed, and the point now says {'by': 'grpc'}
#   rest update_filter: completed, and the point still says {'by': 'grpc'}
set -euo pipefail
folder=$(mktemp -d)
. "$(dirname "$0")/start-qdrant" "$folder" @1.16.3

"$python" - <<'PYTHON'
import os

from qdrant_client import QdrantClient, models

where = {"url": os.environ["QDRANT_URL"], "grpc_port": int(os.environ["QDRANT_GRPC_PORT"]), "check_compatibility": False}
rest, grpc = QdrantClient(**where), QdrantClient(**where, prefer_grpc=True)
rest.create_collection("c", vectors_config=models.VectorParams(size=2, distance="Dot"))
rest.upsert("c", [models.PointStruct(id=1, vector=[1, 1], payload={"by": "its owner"})], wait=True)


def upsert(client, by, **how):
    status = client.upsert("c", [models.PointStruct(id=1, vector=[1, 1], payload={"by": by})], wait=True, **how).status
    return status.value, rest.retrieve("c", [1])[0].payload


for name, client in {"rest": rest, "grpc": grpc}.items():
    status, payload = upsert(client, name, update_mode=models.UpdateMode.INSERT_ONLY)
    print(f"{name} INSERT_ONLY: {status}, and the point now says {payload}")
    assert (status, payload) == ("completed", {"by": name})
nothing = models.Filter(must=[models.HasIdCondition(has_id=[])])
status, payload = upsert(rest, "rest", update_filter=nothing)
print(f"rest update_filter: {status}, and the point still says {payload}")
assert (status, payload) == ("completed", {"by": "grpc"})
PYTHON
