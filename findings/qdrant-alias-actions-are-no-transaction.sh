#!/usr/bin/env bash
# qdrant-client 1.20.0 against Qdrant 1.16.3 (seen 2026-11-28).
#
# One would guess: "change aliases atomically" carries out all actions of a request or none, so that a switch by
# `delete_alias` and `create_alias` cannot lose the alias.
# What happens: the actions are carried out one by one, and those before the one that fails stay. The alias whose deletion
# was followed by a failing creation is gone, and readers get 404. Safe: `create_alias` alone. It moves an alias that exists.
#
# Output:
#   refused with 404; aliases now: {'moved': 'c'}
#   create_alias alone moved 'moved' to 'a'
set -euo pipefail
folder=$(mktemp -d)
. "$(dirname "$0")/start-qdrant" "$folder" @1.16.3

"$python" - <<'PYTHON'
import os

from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import UnexpectedResponse

client = QdrantClient(os.environ["QDRANT_URL"], check_compatibility=False)
for name in "abc":
    client.create_collection(name, vectors_config=models.VectorParams(size=3, distance="Cosine"))


def create(alias, collection):
    return models.CreateAliasOperation(create_alias=models.CreateAlias(alias_name=alias, collection_name=collection))


def delete(alias):
    return models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=alias))


def aliases():
    return {one.alias_name: one.collection_name for one in client.get_aliases().aliases}


client.update_collection_aliases([create("moved", "b"), create("lost", "a")])
try:
    client.update_collection_aliases([delete("moved"), create("moved", "c"), delete("lost"), create("lost", "missing")])
    status = 200
except UnexpectedResponse as error:
    status = error.status_code
print(f"refused with {status}; aliases now: {aliases()}")
assert (status, aliases()) == (404, {"moved": "c"})
client.update_collection_aliases([create("moved", "a")])
print(f"create_alias alone moved 'moved' to {aliases()['moved']!r}")
assert aliases() == {"moved": "a"}
PYTHON
