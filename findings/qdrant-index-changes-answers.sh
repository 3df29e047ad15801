#!/usr/bin/env bash
# Qdrant 1.16.3 with qdrant-client 1.20.0 (seen 2026-11-27).
#
# One would guess: a payload index makes a filter quick, and does not change which points it finds. (Of full text it is documented.)
# What happens: the index answers for what it holds, and no more. With an integer index a range no longer finds 2.5, `except` no longer
# finds points whose value has another type, and `is_null` begins to find an array that has a null in it. Adding or removing an index
# changes what readers get, so a team that mixes types in one field has to test its filters with the indexes that it declares.
#
# Output:
#   n >= 2, integer index: [3, 4] -> [3]
#   n not in [1], integer index: [2, 3, 4] -> [3]
#   n not in [1], keyword index: [2, 3, 4] -> [2]
#   e is null, keyword index: [1] -> [1, 3]
set -euo pipefail
folder=$(mktemp -d)
. "$(dirname "$0")/start-qdrant" "$folder" @1.16.3

"$python" - <<'PYTHON'
import os

from qdrant_client import QdrantClient, models

client = QdrantClient(url=os.environ["QDRANT_URL"], check_compatibility=False)
client.create_collection("c", vectors_config=models.VectorParams(size=2, distance="Dot"))
payloads = {1: {"n": 1, "e": None}, 2: {"n": "1"}, 3: {"n": [1, 5], "e": [None]}, 4: {"n": 2.5}, 5: {}}
client.upsert("c", [models.PointStruct(id=id, vector=[1, 1], payload=p) for id, p in payloads.items()], wait=True)


def found(condition):
    return [point.id for point in client.scroll("c", scroll_filter=models.Filter(must=[condition]))[0]]


field = models.FieldCondition
at_least_2 = field(key="n", range=models.Range(gte=2))
not_1 = field(key="n", match=models.MatchExcept(**{"except": [1]}))
is_null = models.IsNullCondition(is_null=models.PayloadField(key="e"))
cases = [
    ("n >= 2", at_least_2, "n", "integer", ([3, 4], [3])),
    ("n not in [1]", not_1, "n", "integer", ([2, 3, 4], [3])),
    ("n not in [1]", not_1, "n", "keyword", ([2, 3, 4], [2])),
    ("e is null", is_null, "e", "keyword", ([1], [1, 3])),
]
for words, condition, path, kind, seen in cases:
    without = found(condition)
    client.create_payload_index("c", path, kind, wait=True)
    indexed = found(condition)
    client.delete_payload_index("c", path, wait=True)
    print(f"{words}, {kind} index: {without} -> {indexed}")
    assert (without, indexed) == seen
PYTHON
