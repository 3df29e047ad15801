"""`snapshotBefore`: what an approved plan takes away is in one snapshot, however often that was tried."""

import httpx

from integration.conftest import StartProxy
from integration.team import Team, message, plan_hash, unique
from integration.world import Stored, config_of, connection, put_by_hand
from servers.kubeapi import Object, is_ready
from servers.proxy import Call
from servers.qdrant import QdrantServer


def snapshots_of(server: QdrantServer, name: str) -> list[str]:
    return [snapshot["name"] for snapshot in server.get(f"/collections/{name}/snapshots")]


async def test_an_approved_plan_leaves_one_snapshot_with_what_it_took_though_its_answer_and_the_next_one_were_lost(
    team: Team, stored: Stored, qdrant: QdrantServer, start_proxy: StartProxy
) -> None:
    name, between = unique("kept"), start_proxy(qdrant.url)
    await team.api.apply(connection(team.namespace, between.url, name))
    spec: Object = {"connectionRef": {"name": name}, "snapshotBefore": True}
    await team.collection(name, **spec, vector={"size": 3})
    before = await put_by_hand(stored, name, 77, 78)
    held = await team.collection(name, **spec, vector={"size": 4})
    assert snapshots_of(qdrant, name) == []

    def is_snapshot(call: Call) -> bool:
        return call.method == "POST" and call.path.startswith(f"/collections/{name}/snapshots")

    between.lose_answer(is_snapshot)
    between.lose_answer(lambda call: call.method == "DELETE" and call.path.startswith(f"/collections/{name}"))
    await team.approve(name, plan_hash(held))
    await team.wait("QdrantCollection", name, is_ready)

    assert await stored.points(name) == {}
    (snapshot,) = snapshots_of(qdrant, name)
    assert snapshot in "; ".join(await team.events(name, "SnapshotTaken"))
    file = qdrant.folder / "snapshots" / name / snapshot
    recovery = f"{qdrant.url}/collections/{name}-back/snapshots/recover?wait=true"
    httpx.put(recovery, json={"location": file.as_uri()}, timeout=60).raise_for_status()
    assert await stored.points(f"{name}-back") == before
    assert "vectorops.dev/snapshot" not in config_of(qdrant, name)["metadata"], "it spoke of the old collection"

    # The next plan that loses data has a snapshot of its own; one that loses none has none, nor has one without the
    # field.
    again = await team.collection(name, **spec, vector={"size": 5})
    await team.approve(name, plan_hash(again))
    await team.wait("QdrantCollection", name, is_ready)
    assert len(snapshots_of(qdrant, name)) == 2
    await team.collection(name, **spec, vector={"size": 5}, hnswConfig={"m": 20})
    without = await team.collection(name, connectionRef={"name": name}, vector={"size": 6}, hnswConfig={"m": 20})
    await team.approve(name, plan_hash(without))
    await team.wait("QdrantCollection", name, is_ready)
    assert len(snapshots_of(qdrant, name)) == 2


async def test_a_collection_whose_name_is_too_long_for_a_snapshot_keeps_its_points(
    team: Team, stored: Stored, qdrant: QdrantServer
) -> None:
    """Qdrant's own limit, and what is told instead of its error."""
    long = unique("x" * 189)
    for name, status in ((long[:197], 200), (long, 500)):
        body = {"vectors": {"size": 3, "distance": "Dot"}}
        httpx.put(f"{qdrant.url}/collections/{name}", json=body, timeout=60).raise_for_status()
        assert httpx.post(f"{qdrant.url}/collections/{name}/snapshots", timeout=60).status_code == status
        await stored.client.delete_collection(name)
    name = unique("long")
    await team.collection(name, collectionName=long, snapshotBefore=True)
    before = await put_by_hand(stored, long, 77)
    held = await team.collection(name, collectionName=long, snapshotBefore=True, vector={"size": 4})

    await team.approve(name, plan_hash(held))
    refused = await team.wait("QdrantCollection", name, "InvalidSpec")

    assert "too long for a snapshot" in message(refused)
    assert await stored.points(long) == before
