#!/usr/bin/env bash
# Qdrant 1.16.3, distributed (one node is enough), with httpx of qdrant-client 1.20.0 (seen 2026-11-27).
#
# One would guess: a 400 means that nothing was changed.
# What happens: in a collection with `sharding_method: custom` that has no shard key yet, creating a payload index is refused with 400, and
# GET shows none. When the first shard key is made, the index is there: its schema was saved before the part that writes into shards
# refused. The deletion of an index likewise: 400, and it is gone.
#
# Output:
#   create an index without a shard: 400 Wrong input: Shard key not specified; GET shows {}
#   after the first shard key: GET shows ['k']
#   delete it without a shard: 400 Wrong input: Shard key not specified
#   after the next shard key: GET shows []
set -euo pipefail
folder=$(mktemp -d)
p2p_port=$(python3 -c 'import socket; print(socket.create_server(("127.0.0.1", 0)).getsockname()[1])')
export QDRANT__CLUSTER__ENABLED=true QDRANT__CLUSTER__P2P__PORT=$p2p_port QDRANT_URI=http://127.0.0.1:$p2p_port
. "$(dirname "$0")/start-qdrant" "$folder" @1.16.3

"$python" - <<'PYTHON'
import os

import httpx

qdrant = httpx.Client(base_url=os.environ["QDRANT_URL"], timeout=60)


def ask(method, path, body=None):
    answer = qdrant.request(method, path, json=body)
    return answer.status_code, answer.json()


def indexes():
    return ask("GET", "/collections/c")[1]["result"]["payload_schema"]


ask("PUT", "/collections/c", {"vectors": {"size": 2, "distance": "Dot"}, "sharding_method": "custom"})
status, told = ask("PUT", "/collections/c/index?wait=true", {"field_name": "k", "field_schema": "keyword"})
error = told["status"]["error"]
print(f"create an index without a shard: {status} {error}; GET shows {indexes()}")
assert (status, indexes()) == (400, {})
assert ask("PUT", "/collections/c/shards", {"shard_key": "a"})[0] == 200
print(f"after the first shard key: GET shows {list(indexes())}")
assert list(indexes()) == ["k"]
assert ask("POST", "/collections/c/shards/delete", {"shard_key": "a"})[0] == 200
status, told = ask("DELETE", "/collections/c/index/k?wait=true")
print(f"delete it without a shard: {status} {told['status']['error']}")
assert status == 400
assert ask("PUT", "/collections/c/shards", {"shard_key": "a"})[0] == 200
print(f"after the next shard key: GET shows {list(indexes())}")
assert indexes() == {}
PYTHON
