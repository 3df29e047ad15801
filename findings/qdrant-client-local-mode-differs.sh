#!/usr/bin/env bash
# qdrant-client 1.20.0, its local mode beside Qdrant 1.16.3 (seen 2026-11-27).
#
# One would guess: what a test finds in local mode (`QdrantClient(path=...)`), the server finds too.
# What happens: on the same points the same filters find other ones. Local mode matches full text without regard to case and order of
# words where the server, without an index, looks for the very characters; it counts a missing field as zero values, and takes an array
# that has a null for null. A uint8 vector of a Cosine collection is normalized to fractions, which uint8 cannot hold.
#
# Output:                         server        local
#   text "hello"                    [2]           [1, 2, 3]
#   text "World Hello"              []            [1]
#   fewer than 1 value in tags      []            [3, 4, 5]
#   e is null                       [1]           [1, 3]
#   uint8 vector [30, 40], Cosine   [30.0, 40.0]  [0.6, 0.8]
set -euo pipefail
folder=$(mktemp -d)
. "$(dirname "$0")/start-qdrant" "$folder" @1.16.3

LOCAL="$folder/local" "$python" - 2>/dev/null <<'PYTHON'
import os

from qdrant_client import QdrantClient, models

server = QdrantClient(url=os.environ["QDRANT_URL"], check_compatibility=False)
local = QdrantClient(path=os.environ["LOCAL"])
payloads = {
    1: {"t": "Hello World", "tags": ["a", "b"], "e": None},
    2: {"t": "hello", "tags": "a"},
    3: {"t": ["Hello", "World"], "e": [None]},
    4: {},
    5: {},
}
for client in (server, local):
    client.create_collection("c", vectors_config=models.VectorParams(size=2, distance="Dot"))
    client.upsert("c", [models.PointStruct(id=id, vector=[1, 1], payload=p) for id, p in payloads.items()], wait=True)
    client.create_collection("u", vectors_config=models.VectorParams(size=2, distance="Cosine", datatype="uint8"))
    client.upsert("u", [models.PointStruct(id=1, vector=[30, 40])], wait=True)

field = models.FieldCondition
cases = [
    ('text "hello"', field(key="t", match=models.MatchText(text="hello")), ([2], [1, 2, 3])),
    ('text "World Hello"', field(key="t", match=models.MatchText(text="World Hello")), ([], [1])),
    ("fewer than 1 value in tags", field(key="tags", values_count=models.ValuesCount(lt=1)), ([], [3, 4, 5])),
    ("e is null", models.IsNullCondition(is_null=models.PayloadField(key="e")), ([1], [1, 3])),
]
for words, condition, seen in cases:
    found = tuple(
        [point.id for point in client.scroll("c", scroll_filter=models.Filter(must=[condition]))[0]]
        for client in (server, local)
    )
    print(f"{words:32}{found[0]!s:14}{found[1]}")
    assert found == seen, found
stored = [[round(x, 1) for x in client.retrieve("u", [1], with_vectors=True)[0].vector] for client in (server, local)]
print(f"{'uint8 vector [30, 40], Cosine':32}{stored[0]!s:14}{stored[1]}")
assert stored == [[30, 40], [0.6, 0.8]], stored
local.close()
PYTHON
