#!/usr/bin/env bash
# qdrant-client 1.20.0 against Qdrant 1.16.3 (seen 2026-11-28).
#
# One would guess: deleting a collection deletes its snapshots, or they can still be listed.
# What happens: the files stay on disk, and nothing ever deletes them. To list or to download them is a 404 while there is no
# collection of that name. Once there is one, an empty one is enough, they are listed, and can be recovered from.
#
# Output:
#   files after the deletion: 1; listed: 404
#   listed beside an empty collection of the same name: 1
#   recovered points: 5
set -euo pipefail
folder=$(mktemp -d)
. "$(dirname "$0")/start-qdrant" "$folder" @1.16.3

FOLDER=$folder "$python" - <<'PYTHON'
import os
from pathlib import Path

from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import UnexpectedResponse

client = QdrantClient(os.environ["QDRANT_URL"], check_compatibility=False)
config = models.VectorParams(size=2, distance="Dot")
client.create_collection("c", vectors_config=config)
client.upsert("c", [models.PointStruct(id=id, vector=[1, id]) for id in range(5)], wait=True)
name = client.create_snapshot("c").name
client.delete_collection("c")
files = list((Path(os.environ["FOLDER"]) / "snapshots" / "c").glob("*.snapshot"))
try:
    listed = len(client.list_snapshots("c"))
except UnexpectedResponse as error:
    listed = error.status_code
print(f"files after the deletion: {len(files)}; listed: {listed}")
assert (len(files), listed) == (1, 404)
client.create_collection("c", vectors_config=config)
listed = len(client.list_snapshots("c"))
print(f"listed beside an empty collection of the same name: {listed}")
assert listed == 1
client.recover_snapshot("c", location=f"{os.environ['QDRANT_URL']}/collections/c/snapshots/{name}", wait=True)
print(f"recovered points: {client.count('c').count}")
assert client.count("c").count == 5
PYTHON
