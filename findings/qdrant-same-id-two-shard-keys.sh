#!/usr/bin/env bash
# Qdrant 1.16.3, distributed (one node is enough), with httpx of qdrant-client 1.20.0 (seen 2026-11-27).
#
# One would guess: an id names one point of a collection, and a condition that lets no existing point be overwritten sees it wherever it is.
# What happens: with `sharding_method: custom` an id names one point for each shard key. Under another key the same id is inserted, whatever
# the condition; `count` says 2, and a read by id without a key gives one of the two. Whoever asks "is this id mine?" without the key may
# be answered about somebody else's point. (Which one is read is not always the same: of 200 reads 192 gave one, 8 the other.)
#
# Output:
#   insert-only under a: 200, under b: 200; count says 2; a read by id gives 1 point
#   read under a: {'of': 'a'}; read under b: {'of': 'b'}
set -euo pipefail
folder=$(mktemp -d)
p2p_port=$(python3 -c 'import socket; print(socket.create_server(("127.0.0.1", 0)).getsockname()[1])')
export QDRANT__CLUSTER__ENABLED=true QDRANT__CLUSTER__P2P__PORT=$p2p_port QDRANT_URI=http://127.0.0.1:$p2p_port
. "$(dirname "$0")/start-qdrant" "$folder" @1.16.3

"$python" - <<'PYTHON'
import os

import httpx

qdrant = httpx.Client(base_url=os.environ["QDRANT_URL"], timeout=60)


def ask(method, path, body):
    answer = qdrant.request(method, f"/collections/c{path}", json=body)
    return answer.status_code, answer.json()["result"]


def read(**where):
    return ask("POST", "/points", {"ids": [1], "with_payload": True, **where})[1]


ask("PUT", "", {"vectors": {"size": 2, "distance": "Dot"}, "sharding_method": "custom"})
inserted = []
for key in ("a", "b"):
    ask("PUT", "/shards", {"shard_key": key})
    point = {"id": 1, "vector": [1, 1], "payload": {"of": key}}
    body = {"points": [point], "shard_key": key, "update_filter": {"must": [{"has_id": []}]}}
    inserted.append(ask("PUT", "/points?wait=true", body)[0])
count = ask("POST", "/points/count", {"exact": True})[1]["count"]
print(f"insert-only under a: {inserted[0]}, under b: {inserted[1]}; count says {count}; a read by id gives {len(read())} point")
of = [read(shard_key=key)[0]["payload"] for key in ("a", "b")]
print(f"read under a: {of[0]}; read under b: {of[1]}")
assert (inserted, count, len(read()), of) == ([200, 200], 2, 1, [{"of": "a"}, {"of": "b"}])
PYTHON
