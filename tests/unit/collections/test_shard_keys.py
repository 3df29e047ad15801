"""Shard keys of a collection: made in place, never lost without approval, those of others left alone."""

import pytest

from unit.collections.echo import EchoingQdrant
from unit.collections.specs import TEXT, bring, declare, look
from vectorops.collections.plan import differences, mismatches
from vectorops.collections.steps import Action
from vectorops.qdrant.database import ShardsOfKey
from vectorops.qdrant.observe import observe
from vectorops.qdrant.server import shards_by_key

CUSTOM = {"sharding_method": "custom"}


def sharded(*keys, **spec):
    """A collection with shard keys: names, or what a spec says of one."""
    declared = [{"name": key} if isinstance(key, str) else key for key in keys]
    return declare(**({"params": CUSTOM, "shardKeys": declared} | spec))


@pytest.fixture
def qdrant() -> EchoingQdrant:
    return EchoingQdrant()


def keys(qdrant):
    return qdrant.collections["zoo"]["shard_keys"]


def put(qdrant, key, shards=1, replicas=1, points=0):
    keys(qdrant)[key] = ShardsOfKey(shards, replicas, points)


async def test_a_collection_gets_its_shard_keys_before_its_indexes(qdrant):
    """Qdrant makes no index while there is no shard."""
    index = {"field": "a", "schema": {"type": "keyword"}}

    done = await bring(qdrant, sharded({"name": "acme", "shardsNumber": 2}, "globex", payloadIndexes=[index]))

    assert keys(qdrant) == {"acme": ShardsOfKey(2, 1, 0), "globex": ShardsOfKey(1, 1, 0)}
    made = [what for what, _ in qdrant.writes if what.startswith("create")]
    assert made == ["create_collection", "create_shard_key", "create_shard_key", "create_index"]
    assert done.observed.indexes.keys() == {"a"}
    assert done.plan.doable == done.plan.held_back == ()


async def test_a_missing_key_is_made_in_place(qdrant):
    await bring(qdrant, sharded("acme"))

    todo = await look(qdrant, sharded("acme", "globex"))
    done = await bring(qdrant, sharded("acme", "globex"))

    assert [(step.action, step.lines) for step in todo.doable] == [
        (Action.CREATE_SHARD_KEY, ('create shard key "globex"',))
    ]
    assert done.plan.doable == ()
    assert done.mark.last_applied["shard_keys"] == ["acme", "globex"]


async def test_a_key_that_somebody_deleted_is_drift(qdrant):
    await bring(qdrant, sharded("acme"))
    del keys(qdrant)["acme"]

    assert (await look(qdrant, sharded("acme"))).is_drift


async def test_a_key_that_is_no_longer_declared_is_held_back_with_its_points(qdrant):
    await bring(qdrant, sharded("acme", "globex"))
    put(qdrant, "globex", points=7)

    done = await bring(qdrant, sharded("acme"))
    (step,) = done.plan.held_back

    assert keys(qdrant).keys() == {"acme", "globex"}
    assert step.described(1000) == ['delete shard key "globex" (its 7 points would be lost)']
    assert step.described() == ['delete shard key "globex" (its points would be lost)']
    assert done.plan.is_destructive
    assert done.mark.last_applied["shard_keys"] == ["acme", "globex"]


async def test_an_approved_deletion_is_done_once(qdrant):
    await bring(qdrant, sharded("acme", "globex"))
    asked = (await look(qdrant, sharded("acme"))).hash

    done = await bring(qdrant, sharded("acme"), approved=True)
    await bring(qdrant, sharded("acme", "globex"))

    assert done.plan.held_back == ()
    assert done.mark.last_applied["shard_keys"] == ["acme"]
    assert (await look(qdrant, sharded("acme"))).hash not in {"", asked}


async def test_keys_of_others_are_left_alone(qdrant):
    await bring(qdrant, sharded("acme"))
    put(qdrant, "theirs")
    put(qdrant, 5)

    done = await bring(qdrant, sharded("acme"))

    assert done.plan.doable == done.plan.held_back == ()
    assert keys(qdrant).keys() == {"acme", "theirs", 5}


async def test_a_number_is_another_key_than_its_digits(qdrant):
    await bring(qdrant, sharded("acme"))
    put(qdrant, 5)

    await bring(qdrant, sharded("acme", "5"))

    assert keys(qdrant).keys() == {"acme", 5, "5"}


async def test_another_number_of_shards_is_held_back_and_done_when_approved(qdrant):
    await bring(qdrant, sharded("acme"))
    wanted = sharded({"name": "acme", "shardsNumber": 3})

    held = await bring(qdrant, wanted)
    done = await bring(qdrant, wanted, approved=True)

    (line,) = held.plan.describe()
    assert line.startswith('shard key "acme": shardsNumber 1 -> 3 (cannot be changed in place: ')
    assert line.endswith("the shard key must be deleted and created again; its points would be lost)")
    assert keys(qdrant) == {"acme": ShardsOfKey(3, 1, 0)}
    assert done.plan.doable == done.plan.held_back == ()


async def test_where_replicas_are_and_how_many_is_no_drift(qdrant):
    """They change by themselves, as nodes come and go."""
    wanted = sharded({"name": "acme", "replicationFactor": 3, "placement": [1, 2, 3]})
    await bring(qdrant, wanted)
    put(qdrant, "acme", replicas=1)

    todo = await look(qdrant, wanted)

    assert todo.doable == todo.held_back == ()


async def test_a_key_that_is_there_already_counts_as_made(qdrant):
    """Qdrant answers 400 to a second creation: as after an answer that was lost."""
    await bring(qdrant, sharded())
    create, asked = qdrant.create_shard_key, []

    async def create_twice(name, key, body):
        asked.append(key)
        await create(name, key, body)
        await create(name, key, body)

    qdrant.create_shard_key = create_twice

    done = await bring(qdrant, sharded("acme"))

    assert asked == ["acme"]
    assert done.plan.doable == ()


async def test_indexes_wait_for_the_first_shard_key(qdrant):
    index = {"field": "a", "schema": {"type": "keyword"}}
    wanted = sharded(payloadIndexes=[index])

    without = await bring(qdrant, wanted)
    put(qdrant, "theirs")
    done = await bring(qdrant, wanted)

    assert without.plan.premature == ('create payload index a: {"type": "keyword"}',)
    assert without.plan.doable == ()
    assert done.plan.premature == ()
    assert done.observed.indexes.keys() == {"a"}


async def test_recreating_makes_the_keys_of_others_again(qdrant):
    await bring(qdrant, sharded("acme", "globex"))
    put(qdrant, "theirs", shards=2)
    put(qdrant, 5)

    done = await bring(qdrant, sharded("acme", vectors=[{**TEXT, "size": 8}]), approved=True)

    assert {key: there.shards for key, there in keys(qdrant).items()} == {"acme": 1, "theirs": 2, 5: 1}
    assert done.plan.doable == done.plan.held_back == ()


async def test_a_collection_sharded_automatically_gets_no_key(qdrant):
    """It would have to be created again; Qdrant answers 400."""
    await bring(qdrant, declare())

    done = await bring(qdrant, sharded("acme"))
    approved = await bring(qdrant, sharded("acme"), approved=True)

    assert done.plan.doable == ()
    assert [step.action for step in done.plan.held_back] == [Action.RECREATE_COLLECTION]
    assert keys(qdrant).keys() == {"acme"}
    assert approved.plan.doable == approved.plan.held_back == ()


async def test_shard_keys_decide_about_adoption_and_about_a_collection_of_the_users(qdrant):
    await bring(qdrant, sharded("acme"))
    found = await observe(qdrant, "zoo")

    assert mismatches(sharded("acme", "globex"), found, version="1.16.3") == []
    assert mismatches(sharded({"name": "acme", "shardsNumber": 2}), found, version="1.16.3") == [
        'shard key "acme": shardsNumber 1 -> 2'
    ]
    assert differences(sharded("acme", "globex"), found, version="1.16.3") == ['create shard key "globex"']


def test_the_answer_of_a_cluster_is_read():
    """As three nodes answered: the two replicas are on the other nodes."""
    remote = [
        {"shard_id": 1, "shard_key": "acme", "peer_id": 8, "state": "Active"},
        {"shard_id": 1, "shard_key": "acme", "peer_id": 6, "state": "Active"},
        {"shard_id": 3, "shard_key": 5, "peer_id": 6, "state": "Active"},
        {"shard_id": 4, "shard_key": 5, "peer_id": 6, "state": "Active"},
    ]
    local = [
        {"shard_id": 3, "shard_key": 5, "points_count": 2, "state": "Active"},
        {"shard_id": 7, "shard_key": "5", "points_count": 3, "state": "Active"},
        {"shard_id": 8, "shard_key": "5", "points_count": 4, "state": "Active"},
    ]

    assert shards_by_key({"local_shards": local, "remote_shards": remote}) == {
        "acme": ShardsOfKey(shards=1, replicas=2, points=None),
        5: ShardsOfKey(shards=2, replicas=1, points=None),
        "5": ShardsOfKey(shards=2, replicas=1, points=7),
    }
    assert shards_by_key({"local_shards": [{"shard_id": 0, "points_count": 4}], "remote_shards": []}) == {}
