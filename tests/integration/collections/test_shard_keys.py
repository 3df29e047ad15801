"""Shard keys on a real distributed Qdrant: it keeps the rules that tests/unit/collections/test_shard_keys.py go by."""

import uuid
from collections.abc import AsyncIterator

import httpx
import pytest

from servers.qdrant import QdrantServer
from unit.collections.specs import TEXT, bring, declare
from vectorops.api.connection import QdrantConnectionSpec
from vectorops.qdrant.connect import Credentials, connect
from vectorops.qdrant.database import Database, ShardsOfKey

INDEX = {"field": "a", "schema": {"type": "keyword"}}


@pytest.fixture
async def database(cluster_qdrant: QdrantServer) -> AsyncIterator[Database]:
    database = connect(QdrantConnectionSpec(url=cluster_qdrant.url, prefer_grpc=False), Credentials())
    await database.check()
    yield database
    await database.close()


@pytest.fixture
def name() -> str:
    return f"zoo-{uuid.uuid4().hex[:8]}"


def sharded(name, *keys, **spec):
    return declare(name, **({"params": {"sharding_method": "custom"}, "shardKeys": list(keys)} | spec))


async def test_made_changed_recreated_and_at_rest(database, name, cluster_qdrant):
    """Each step is one declaration; after each nothing is left to do."""
    peer = cluster_qdrant.get("/cluster")["peer_id"]
    acme = {"name": "acme", "shardsNumber": 2, "replicationFactor": 3, "placement": [peer]}

    made = await bring(database, sharded(name, acme, payloadIndexes=[INDEX]))
    assert made.observed.shard_keys == {"acme": ShardsOfKey(shards=2, replicas=1, points=0)}
    assert made.observed.indexes.keys() == {"a"}

    more = await bring(database, sharded(name, acme, {"name": "globex"}, payloadIndexes=[INDEX]))
    await database.create_shard_key(name, 5, {})
    held = await bring(database, sharded(name, {**acme, "shardsNumber": 1}, payloadIndexes=[INDEX]))
    assert held.observed.shard_keys.keys() == {"acme", "globex", 5}
    assert [step.target for step in held.plan.held_back] == ["acme", "globex"]

    done = await bring(database, sharded(name, {**acme, "shardsNumber": 1}, payloadIndexes=[INDEX]), approved=True)
    assert done.observed.shard_keys == {"acme": ShardsOfKey(1, 1, 0), 5: ShardsOfKey(1, 1, 0)}

    larger = sharded(name, {"name": "acme"}, payloadIndexes=[INDEX], vectors=[{**TEXT, "size": 8}])
    again = await bring(database, larger, approved=True)
    assert again.observed.shard_keys.keys() == {"acme", 5}
    assert again.observed.indexes.keys() == {"a"}
    for applied in (made, more, done, again):
        assert applied.plan.doable == applied.plan.held_back == ()
        assert applied.plan.premature == ()


async def test_a_peer_that_is_not_there_is_told_in_qdrants_words(database, name):
    with pytest.raises(Exception, match="Peer 123 does not exist"):
        await bring(database, sharded(name, {"name": "acme", "placement": [123]}))


async def test_indexes_wait_for_a_key_that_others_make(database, name, cluster_qdrant):
    waiting = await bring(database, sharded(name, payloadIndexes=[INDEX]))
    httpx.put(f"{cluster_qdrant.url}/collections/{name}/shards", json={"shard_key": "theirs"}).raise_for_status()

    done = await bring(database, sharded(name, payloadIndexes=[INDEX]))

    assert waiting.plan.premature != ()
    assert waiting.plan.doable == ()
    assert done.plan.premature == ()
    assert done.observed.indexes.keys() == {"a"}
