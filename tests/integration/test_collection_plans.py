"""What cannot change in place: it waits for an approval of its plan, and costs nothing but what the plan says."""

import asyncio
import threading

import httpx
import pytest
from qdrant_client import models

from integration.conftest import StartProxy
from integration.team import Team, plan_hash, reason, unique
from integration.world import Stored, config_of, connection, indexes_of, point, put_by_hand
from servers.kubeapi import Object, condition, is_ready
from servers.proxy import Call
from servers.qdrant import QdrantServer


async def test_peers_09_another_size_waits_for_one_approval_and_costs_nothing_but_the_data(
    team: Team, stored: Stored, qdrant: QdrantServer
) -> None:
    """C's new collection has size, distance, shards and replicas, and has lost the rest."""
    name, alias = unique("size"), unique("reader")
    declared: Object = {"payloadIndexes": [{"field": "kind", "schema": {"type": "keyword"}}], "aliases": [alias]}
    first = await team.collection(name, hnswConfig={"m": 20}, **declared)
    await team.points(f"{name}-points", name, [point(1, 1, 0, 0), point(2, 0, 1, 0)])
    before = await put_by_hand(stored, name, 77)

    refused = await team.collection(name, vector={"size": 4}, hnswConfig={"m": 20}, **declared)
    assert reason(refused) == "PlanHeldBack"
    assert condition(refused, "Stalled")["status"] == "True"
    assert "size 3 -> 4" in refused["status"]["plan"]["steps"][0]
    assert refused["status"]["plan"]["destructive"]
    assert await stored.points(name) == before

    await team.approve(name, "0123456789ab")
    still = await team.look_again("QdrantCollection", name)
    assert plan_hash(still) == plan_hash(refused)
    assert await stored.points(name) == before

    await team.approve(name, plan_hash(refused))
    done = await team.wait("QdrantCollection", name, is_ready)
    assert "plan" not in done["status"]
    assert done["status"]["collection"]["incarnation"] != first["status"]["collection"]["incarnation"]
    assert config_of(qdrant, name)["params"]["vectors"] == {"size": 4, "distance": "Cosine"}
    assert config_of(qdrant, name)["hnsw_config"]["m"] == 20
    assert indexes_of(qdrant, name).keys() == {"kind"}
    assert qdrant.get(f"/collections/{alias}")["status"]
    refilled = await team.points(f"{name}-points", name, [point(1, 1, 0, 0, 0), point(2, 0, 1, 0, 0)], until=is_ready)
    assert refilled["status"]["target"]["incarnation"] == done["status"]["collection"]["incarnation"]
    assert sorted(await stored.points(name)) == [1, 2]

    # The annotation is still there. It meant that plan, not the next.
    again = await team.collection(name, vector={"size": 5}, hnswConfig={"m": 20}, **declared)
    assert reason(again) == "PlanHeldBack"
    assert plan_hash(again) != plan_hash(refused)
    back = await team.collection(name, vector={"size": 4}, hnswConfig={"m": 20}, **declared)
    assert is_ready(back)
    assert sorted(await stored.points(name)) == [1, 2]


async def test_a_restored_collection_is_not_destroyed_by_the_approval_of_before(
    team: Team, stored: Stored, qdrant: QdrantServer
) -> None:
    """Snapshot and annotation are back, as in a cluster that was built anew from a backup; status is in none."""
    name = unique("restored")
    await team.collection(name)
    before = await put_by_hand(stored, name, 77)
    snapshots = f"{qdrant.url}/collections/{name}/snapshots"
    snapshot = httpx.post(snapshots, timeout=60).raise_for_status().json()["result"]["name"]
    content = httpx.get(f"{snapshots}/{snapshot}", timeout=60).raise_for_status().content
    held = await team.collection(name, vector={"size": 4})
    await team.approve(name, plan_hash(held))
    await team.wait("QdrantCollection", name, is_ready)
    assert await stored.points(name) == {}

    # Over the one that is there Qdrant restores none of another size.
    httpx.delete(f"{qdrant.url}/collections/{name}", timeout=60).raise_for_status()
    upload = {"snapshot": content}
    httpx.post(f"{snapshots}/upload?priority=snapshot", files=upload, timeout=60).raise_for_status()
    restored = await team.look_again("QdrantCollection", name)
    await team.lose_status("QdrantCollection", name)
    rebuilt = await team.look_again("QdrantCollection", name)

    for found in (restored, rebuilt):
        assert reason(found) == "PlanHeldBack"
        assert found["metadata"]["annotations"]["vectorops.dev/approve-plan"] == plan_hash(held)
    assert len({plan_hash(held), plan_hash(restored), plan_hash(rebuilt)}) == 3
    assert await stored.points(name) == before
    # The same plan again is asked for under the same hash.
    assert plan_hash(await team.look_again("QdrantCollection", name)) == plan_hash(rebuilt)


async def test_cocoindex_08_sets_fill_the_new_collection_themselves_after_an_approved_plan(
    team: Team, stored: Stored
) -> None:
    """Dropped and created again, left empty, and said OK."""
    name = unique("refill")
    await team.collection(name, vectors=[{"name": "v", "size": 3, "distance": "Dot"}])
    await team.points(name, name, [point(n, v=[1, 2, 3]) for n in range(20)])
    held = await team.collection(name, vectors=[{"name": "v", "size": 3, "distance": "Euclid"}])

    await team.approve(name, plan_hash(held))
    done = await team.wait("QdrantCollection", name, is_ready)
    await team.wait(
        "PointSet",
        name,
        lambda obj: (
            is_ready(obj) and obj["status"]["target"]["incarnation"] == done["status"]["collection"]["incarnation"]
        ),
    )

    assert await stored.vectors(name) == {n: {"v": [1.0, 2.0, 3.0]} for n in range(20)}


async def test_sets_say_that_they_are_not_ready_before_an_approved_plan_takes_anything_from_their_points(
    team: Team, stored: Stored, qdrant: QdrantServer, start_proxy: StartProxy
) -> None:
    name, between = unique("announced"), start_proxy(qdrant.url)
    deletion, released = threading.Event(), threading.Event()

    def hold(call: Call) -> None:
        if call.method == "DELETE" and call.path.startswith(f"/collections/{name}"):
            deletion.set()
            released.wait(60)

    between.before = hold
    await team.api.apply(connection(team.namespace, between.url, name))
    spec: Object = {"connectionRef": {"name": name}}
    await team.collection(name, **spec, vector={"size": 3})
    await team.points(name, name, [point(1, 1, 0, 0)], until=is_ready)
    await team.points(f"{name}-off", name, [], suspend=True)
    held = await team.collection(name, **spec, vector={"size": 3, "distance": "Dot"})

    await team.approve(name, plan_hash(held))
    assert await asyncio.to_thread(deletion.wait, 60)
    told = await team.get("PointSet", name)
    assert not is_ready(told)
    assert reason(told) == "CollectionNotReady"
    assert await stored.count(name) == 1, "nothing was taken yet"

    released.set()
    await team.wait("PointSet", name, is_ready)
    assert await stored.vectors(name) == {1: [1.0, 0.0, 0.0]}
    assert is_ready(await team.get("QdrantCollection", name))


@pytest.mark.parametrize(
    "after",
    [
        {"vectors": [{"name": "v", "size": 3}, {"name": "w", "size": 3}]},
        {"vectors": [{"name": "v", "size": 3, "distance": "Dot"}]},
        {"vectors": [{"name": "v", "size": 3, "datatype": "float16"}]},
        {"vectors": [{"name": "w", "size": 3}]},
        {"vectors": [{"name": "v", "size": 3}], "params": {"shard_number": 3}},
    ],
    ids=["another-vector", "distance", "datatype", "renamed", "shards"],
)
async def test_peers_01_no_change_of_the_schema_drops_a_collection_unasked(
    team: Team, stored: Stored, after: Object
) -> None:
    name = unique("schema")
    await team.collection(name, vectors=[{"name": "v", "size": 3}])
    await stored.client.upsert(name, [models.PointStruct(id=1, vector={"v": [1.0, 0.0, 0.0]})], wait=True)
    before = await stored.points(name)

    refused = await team.collection(name, **after)

    assert reason(refused) == "PlanHeldBack"
    assert refused["status"]["plan"]["destructive"]
    assert await stored.points(name) == before


async def test_cocoindex_09_a_datatype_reaches_qdrant_and_is_no_destructive_no_op(
    team: Team, qdrant: QdrantServer
) -> None:
    name = unique("datatype")

    await team.collection(name, vector={"size": 3, "datatype": "float16"})
    refused = await team.collection(name, vector={"size": 3, "datatype": "uint8"})

    assert config_of(qdrant, name)["params"]["vectors"]["datatype"] == "float16"
    assert reason(refused) == "PlanHeldBack"
