"""What the operator makes of a world that was changed behind its back: status lost or from an older version, ledger
gone or damaged, points rolled back.
"""

import pytest
from qdrant_client import models

from integration.conftest import StartOperator, StartQdrant
from integration.world import Stored, collection, connection, has_reason, look_again, point, point_set
from servers.kubeapi import KubeApi, Object, condition, is_ready
from servers.qdrant import QdrantServer

OURS = (("QdrantConnection", "main"), ("QdrantCollection", "zoo"), ("PointSet", "cats"))
LEDGER = "vectorops-ledger"
POINTS = [point(1, 1, 0, 0, payload={"name": "tom"}), point(2, 0, 1, 0, payload={"name": "garfield"})]


async def declare(api: KubeApi, namespace: str, server: QdrantServer) -> None:
    """A connection, a collection and a set of points, all Ready."""
    await api.apply(connection(namespace, server))
    await api.apply(collection(namespace, "zoo", deletionPolicy="Delete"))
    await api.apply(point_set(namespace, "cats", "zoo", POINTS))
    for kind, name in OURS:
        await api.wait_for(kind, namespace, name, is_ready)


# ---- status ----


@pytest.fixture(params=["none", "from another version"])
def old_status(request: pytest.FixtureRequest) -> Object:
    """What stands in every status before the operator starts, beside nulls."""
    if request.param == "none":
        return {}
    time = "2020-01-01T00:00:00Z"
    told = [
        {"type": "Ready", "status": "Unknown", "reason": "Legacy", "message": "", "lastTransitionTime": time},
        {"type": "Legacy", "status": "True", "reason": "Legacy", "message": "", "lastTransitionTime": time},
    ]
    return {"observedGeneration": 1, "conditions": told}


async def forget(api: KubeApi, namespace: str, old_status: Object) -> None:
    """Takes away what stands in status, as a restore from a backup does; finalizers stay."""
    for kind, name in OURS:
        status = (await api.get(kind, namespace, name))["status"]
        await api.patch_status(kind, namespace, name, dict.fromkeys(status) | old_status)


async def test_objects_with_an_old_status_or_none_become_ready_without_a_write_to_qdrant(
    api: KubeApi, namespace: str, start_qdrant: StartQdrant, start_operator: StartOperator, old_status: Object
) -> None:
    server = start_qdrant()
    operator = start_operator()
    await declare(api, namespace, server)
    before = {name: (await api.get(kind, namespace, name))["status"] for kind, name in OURS}
    operator.stop()
    await forget(api, namespace, old_status)
    writes = server.telemetry_writes_by_endpoint()

    operator.start()
    for kind, name in OURS:
        found = await api.wait_for(kind, namespace, name, is_ready)
        assert {each["type"] for each in found["status"]["conditions"]} == {"Ready"}
        assert without_times(found["status"]) == without_times(before[name])

    assert server.telemetry_writes_by_endpoint() == writes


async def test_objects_that_are_deleted_after_their_status_was_lost_are_cleaned_up(
    api: KubeApi, namespace: str, start_qdrant: StartQdrant, start_operator: StartOperator, old_status: Object
) -> None:
    server = start_qdrant()
    operator = start_operator()
    await declare(api, namespace, server)
    operator.kill()
    await forget(api, namespace, old_status)
    for kind, name in OURS:
        await api.delete(kind, namespace, name)

    operator.start()
    for kind, name in OURS:
        await api.wait_gone(kind, namespace, name)

    async with Stored(server) as stored:
        assert not await stored.exists("zoo")
        assert await stored.points(LEDGER) == {}


def without_times(status: Object) -> Object:
    told = [{**each, "lastTransitionTime": None} for each in status["conditions"]]
    return {**status, "conditions": told}


# ---- the ledger ----


async def test_a_lost_ledger_is_made_again_from_what_is_declared_and_nothing_is_deleted(
    api: KubeApi, namespace: str, start_qdrant: StartQdrant, start_operator: StartOperator
) -> None:
    server = start_qdrant()
    start_operator()
    await declare(api, namespace, server)
    async with Stored(server) as stored:
        foreign = models.PointStruct(id=99, vector=[0.0, 0.0, 1.0], payload={"by": "another"})
        await stored.client.upsert("zoo", [foreign], wait=True)
        foreign_before = (await stored.points("zoo"))[99]

        await stored.client.delete_collection(LEDGER)
        await api.apply(point_set(namespace, "cats", "zoo", [POINTS[0], point(3, 0, 0, 1)]))
        told = await api.wait_for("PointSet", namespace, "cats", is_ready)

        points = await stored.points("zoo")
        assert sorted(points) == [1, 2, 3, 99]
        assert points[99] == foreign_before
        assert "ledger was lost" in condition(told, "Ready")["message"]

        # From here on it knows its points again.
        await api.apply(point_set(namespace, "cats", "zoo", []))
        await api.wait_for("PointSet", namespace, "cats", is_ready)
        assert sorted(await stored.points("zoo")) == [2, 99]


async def test_a_damaged_ledger_is_told_nothing_is_deleted_and_its_restoration_repairs_it(
    api: KubeApi, namespace: str, start_qdrant: StartQdrant, start_operator: StartOperator
) -> None:
    server = start_qdrant()
    start_operator()
    await declare(api, namespace, server)
    async with Stored(server) as stored:
        base = next(each for each in (await stored.points(LEDGER)).values() if each.payload["kind"] == "base")
        await stored.client.delete(LEDGER, [base.id], wait=True)
        before, writes = await stored.versions("zoo"), server.telemetry_writes()

        await api.apply(point_set(namespace, "cats", "zoo", [POINTS[1], point(3, 0, 0, 1)]))
        told = await api.wait_for("PointSet", namespace, "cats", has_reason("LedgerDamaged"))
        assert condition(told, "Stalled")["status"] == "True"
        assert await stored.versions("zoo") == before
        assert server.telemetry_writes() == writes

        await stored.client.upsert(LEDGER, [models.PointStruct(id=base.id, vector={}, payload=base.payload)], wait=True)
        await look_again(api, "PointSet", namespace, "cats")
        await api.wait_for("PointSet", namespace, "cats", is_ready)
        assert sorted(await stored.points("zoo")) == [2, 3]


async def test_points_that_were_rolled_back_under_the_ledger_are_put_right(
    api: KubeApi, namespace: str, start_qdrant: StartQdrant, start_operator: StartOperator
) -> None:
    """A snapshot of the collection is restored, and the ledger knows nothing of that."""
    server = start_qdrant()
    start_operator()
    await declare(api, namespace, server)
    async with Stored(server) as stored:
        snapshot = await stored.client.create_snapshot("zoo", wait=True)
        assert snapshot is not None
        declared = [
            point(1, 0, 0, 1, payload={"name": "tom"}),
            *POINTS[1:],
            point(3, 0, 1, 0, payload={"name": "felix"}),
        ]
        declared[1] = point(2, 0, 1, 0, payload={"name": "garfield", "likes": "lasagne"})
        await api.apply(point_set(namespace, "cats", "zoo", declared))
        await api.wait_for("PointSet", namespace, "cats", is_ready)
        wanted = await stored.points("zoo")

        location = (server.folder / "snapshots" / "zoo" / snapshot.name).as_uri()
        await stored.client.recover_snapshot("zoo", location, priority=models.SnapshotPriority.SNAPSHOT, wait=True)
        assert await stored.points("zoo") != wanted
        await look_again(api, "QdrantCollection", namespace, "zoo")
        await look_again(api, "PointSet", namespace, "cats")

        assert await stored.points("zoo") == wanted
        assert is_ready(await api.get("PointSet", namespace, "cats"))


async def test_a_collection_deleted_by_hand_is_made_and_filled_again(
    api: KubeApi, namespace: str, start_qdrant: StartQdrant, start_operator: StartOperator
) -> None:
    server = start_qdrant()
    start_operator()
    await declare(api, namespace, server)
    async with Stored(server) as stored:
        wanted = await stored.points("zoo")

        await stored.client.delete_collection("zoo")
        await look_again(api, "QdrantCollection", namespace, "zoo")
        await api.wait_for("QdrantCollection", namespace, "zoo", is_ready)
        await look_again(api, "PointSet", namespace, "cats")

        assert await stored.points("zoo") == wanted
        assert len(await stored.points(LEDGER)) == 3, "what was known of the former collection is forgotten"


@pytest.mark.parametrize("policy", ["Delete", "Retain"])
@pytest.mark.parametrize("gone", ["nothing", LEDGER, "zoo"])
async def test_a_set_can_be_deleted_whatever_is_gone_in_qdrant(
    api: KubeApi, namespace: str, start_qdrant: StartQdrant, start_operator: StartOperator, gone: str, policy: str
) -> None:
    """Also one that never had a point, and so never had a ledger."""
    server = start_qdrant()
    operator = start_operator()
    await api.apply(connection(namespace, server))
    await api.apply(collection(namespace, "zoo"))
    await api.apply(point_set(namespace, "nobody", "zoo", [], deletionPolicy=policy))
    await api.wait_for("PointSet", namespace, "nobody", is_ready)
    if gone == LEDGER:
        await api.apply(point_set(namespace, "cats", "zoo", POINTS, deletionPolicy=policy))
        await api.wait_for("PointSet", namespace, "cats", is_ready)
    operator.stop()
    async with Stored(server) as stored:
        if gone != "nothing":
            await stored.client.delete_collection(gone)
    operator.start()

    for each in await api.list("PointSet", namespace):
        await api.delete("PointSet", namespace, each["metadata"]["name"])
        await api.wait_gone("PointSet", namespace, each["metadata"]["name"])
