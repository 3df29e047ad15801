#!/usr/bin/env bash
# Qdrant 1.16.3 with httpx of qdrant-client 1.20.0 (seen 2026-11-28). Linux: memory is read from /proc.
#
# One would guess: a payload index that is created with `on_disk: true` costs little memory.
# What happens: in a collection without vectors it costs as much as one in memory. Only the optimizer writes a segment in the form whose index
# can be on disk, and it goes by the size of the vectors: without any, all segments stay as they are, and their indexes in memory.
#
# Output (bytes of memory for each integer, 100 points with 4,096 each; below 0: the collection before left memory free):
#   no index -15, in memory 220, on disk 219
set -euo pipefail
folder=$(mktemp -d)
. "$(dirname "$0")/start-qdrant" "$folder" @1.16.3

export QDRANT_PROCESS=$qdrant_process
"$python" - <<'PYTHON'
import os
import random
import re
import time
from pathlib import Path

import httpx

POINTS, INTEGERS = 100, 4096
qdrant = httpx.Client(base_url=os.environ["QDRANT_URL"], timeout=60)
random.seed(1)


def anonymous_bytes() -> int:
    """What is neither a file nor a page that could be read again."""
    rollup = Path(f"/proc/{os.environ['QDRANT_PROCESS']}/smaps_rollup").read_text()
    return int(re.search(r"Anonymous:\s+(\d+) kB", rollup)[1]) * 1024


def bytes_for_each(name: str, index: dict | None) -> float:
    qdrant.put(f"/collections/{name}", json={"vectors": {}}).raise_for_status()
    if index is not None:
        schema = {"type": "integer", "lookup": True, "range": False, **index}
        body = {"field_name": "numbers", "field_schema": schema}
        qdrant.put(f"/collections/{name}/index?wait=true", json=body).raise_for_status()
    before = anonymous_bytes()
    for id in range(POINTS):
        payload = {"numbers": [random.getrandbits(32) for _ in range(INTEGERS)]}
        points = {"points": [{"id": id, "vector": {}, "payload": payload}]}
        qdrant.put(f"/collections/{name}/points?wait=true", json=points).raise_for_status()
    time.sleep(8)  # what is flushed every 5 seconds has been
    return (anonymous_bytes() - before) / (POINTS * INTEGERS)


bytes_for_each("warm-up", {})
without, in_memory, on_disk = (bytes_for_each(*each) for each in (("a", None), ("b", {}), ("c", {"on_disk": True})))
print(f"no index {without:.0f}, in memory {in_memory:.0f}, on disk {on_disk:.0f}")
assert in_memory > without + 100
assert on_disk > 0.8 * in_memory
PYTHON
