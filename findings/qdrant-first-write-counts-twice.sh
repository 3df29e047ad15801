#!/usr/bin/env bash
# Qdrant 1.16.3, strict mode, one node, with httpx of qdrant-client 1.20.0 (seen 2026-11-27).
#
# One would guess: with `write_rate_limit: 10` (points a minute) a new collection takes 10 points at once.
# What happens: the first write into a collection is charged twice. One of 5 points is taken and leaves nothing; one of 6 is refused, with
# 429 and "only 4.0 were available"; with a limit of 1 the very first point is refused. A request for more points than the limit is refused
# for ever, costs nothing, and names no time to wait.
#
# Output:
#   limit 10, first write of 5 points: 200, then of 1 point: 429
#   limit 10, first write of 6 points: 429, retry-after given: True
#   limit 10, first write of 11 points: 429, retry-after given: False
#   limit 1, first write of 1 point: 429
set -euo pipefail
folder=$(mktemp -d)
. "$(dirname "$0")/start-qdrant" "$folder" @1.16.3

"$python" - <<'PYTHON'
import itertools
import os

import httpx

qdrant = httpx.Client(base_url=os.environ["QDRANT_URL"], timeout=60)
names = map(str, itertools.count())


def collection(limit):
    name = f"/collections/{next(names)}"
    qdrant.put(name, json={"vectors": {}, "strict_mode_config": {"enabled": True, "write_rate_limit": limit}}).raise_for_status()
    return name


def write(name, count):
    points = [{"id": id, "vector": {}} for id in range(count)]
    return qdrant.put(f"{name}/points?wait=true", json={"points": points})


name = collection(10)
first, then = write(name, 5).status_code, write(name, 1).status_code
print(f"limit 10, first write of 5 points: {first}, then of 1 point: {then}")
assert (first, then) == (200, 429)
for count, is_told in {6: True, 11: False}.items():
    answer = write(collection(10), count)
    print(f"limit 10, first write of {count} points: {answer.status_code}, retry-after given: {'retry-after' in answer.headers}")
    assert (answer.status_code, "retry-after" in answer.headers) == (429, is_told)
status = write(collection(1), 1).status_code
print(f"limit 1, first write of 1 point: {status}")
assert status == 429
PYTHON
