#!/usr/bin/env bash
# Qdrant 1.16.3 with httpx of qdrant-client 1.20.0 (seen 2026-11-27).
#
# One would guess: to put a payload index on a field that has one adds none, so the limit on their number has nothing to say.
# What happens: at strict mode's `max_payload_index_count` even the very same index is refused; below it, it is put over the other. What is
# declared again and again, as desired state is, works until the limit is reached and never after. To change the type of an index there,
# it has to be deleted first.
#
# Output:
#   2 of 3 indexes: the same one again gives 200
#   3 of 3 indexes: the same one again gives 400 (maximum number of payload indices (3))
set -euo pipefail
folder=$(mktemp -d)
. "$(dirname "$0")/start-qdrant" "$folder" @1.16.3

"$python" - <<'PYTHON'
import os

import httpx

qdrant = httpx.Client(base_url=os.environ["QDRANT_URL"], timeout=60)
strict = {"enabled": True, "max_payload_index_count": 3}
qdrant.put("/collections/c", json={"vectors": {"size": 2, "distance": "Dot"}, "strict_mode_config": strict})


def put(field):
    return qdrant.put("/collections/c/index?wait=true", json={"field_name": field, "field_schema": "keyword"})


assert put("a").status_code == put("b").status_code == 200
again = put("b")
print(f"2 of 3 indexes: the same one again gives {again.status_code}")
assert again.status_code == 200
assert put("c").status_code == 200
again = put("c")
words = "maximum number of payload indices (3)"
assert words in again.json()["status"]["error"], again.text
print(f"3 of 3 indexes: the same one again gives {again.status_code} ({words})")
assert again.status_code == 400
PYTHON
