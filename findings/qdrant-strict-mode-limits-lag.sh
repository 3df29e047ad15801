#!/usr/bin/env bash
# qdrant-client 1.20.0 against Qdrant 1.16.3 (seen 2026-11-28).
#
# One would guess: with `strict_mode_config: {max_points_count: 50}` the request that would make more than 50 points is refused.
# What happens: the size of the collection is taken again only at about each 32nd update. Until then any number of points is
# taken, so the limit is no guard against one large write, and a client must not count on it to stop in time.
#
# Output:
#   31 requests of 50 points were taken; the next one: 400
#   points in the collection: 1550
set -euo pipefail
folder=$(mktemp -d)
. "$(dirname "$0")/start-qdrant" "$folder" @1.16.3

"$python" - <<'PYTHON'
import os

from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import UnexpectedResponse

client = QdrantClient(os.environ["QDRANT_URL"], check_compatibility=False)
limits = models.StrictModeConfig(enabled=True, max_points_count=50)
client.create_collection(
    "c", vectors_config=models.VectorParams(size=3, distance="Dot"), strict_mode_config=limits
)
taken, status = 0, 200
while taken < 100 and status == 200:
    points = [models.PointStruct(id=taken * 50 + place, vector=[1, 2, 3]) for place in range(50)]
    try:
        client.upsert("c", points, wait=True)
        taken += 1
    except UnexpectedResponse as error:
        status = error.status_code
print(f"{taken} requests of 50 points were taken; the next one: {status}")
print(f"points in the collection: {client.count('c').count}")
assert status == 400
assert client.count("c").count > 500
PYTHON
