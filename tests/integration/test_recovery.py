"""What the operator makes of a world that was changed behind its back: status lost or from an older version, ledger
gone or damaged, points rolled back.
"""

import pytest
from qdrant_client import models

from integration.conftest import StartOperator, StartQdrant
from integration.team import Team, message
from integration.world import Stored, collection, connection, point, point_set, put_by_hand
from servers.kubeapi import KubeApi, Object, condition, is_ready
from servers.operator import OperatorProcess
from servers.qdrant import QdrantServer

OURS = (("QdrantConnection", "main"), ("QdrantCollection", "zoo"), ("PointSet", "cats"))
LEDGER = "vectorops-ledger"
POINTS = [point(1, 1, 0, 0, payload={"name": "tom"}), point(2, 0, 1, 0, payload={"name": "garfield"})]


@pytest.fixture
def qdrant(start_qdrant: StartQdrant) -> QdrantServer:
    """A server of each test's own in place of the shared one: its writes are counted, and its collections go.

    The fixture `stored` looks into this one.
    """
    return start_qdrant()


@pytest.fixture
def operator(start_operator: StartOperator) -> OperatorProcess:
    return start_operator()


@pytest.fixture
async def team(api: KubeApi, namespace: str, qdrant: QdrantServer, operator: OperatorProcess) -> Team:
    """A connection, a collection and a set of points, declared at once, and all Ready."""
    await api.apply(connection(namespace, qdrant))
    await api.apply(collection(namespace, "zoo", deletionPolicy="Delete"))
    await api.apply(point_set(namespace, "cats", "zoo", POINTS))
    team = Team(api, namespace)
    for kind, name in OURS:
        await team.wait(kind, name, is_ready)
    return team


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


async def forget(team: Team, old_status: Object) -> None:
    """Takes away what stands in status, as a restore from a backup does; finalizers stay."""
    for kind, name in OURS:
        status = (await team.get(kind, name))["status"]
        await team.api.patch_status(kind, team.namespace, name, dict.fromkeys(status) | old_status)


async def test_objects_with_an_old_status_or_none_become_ready_without_a_write_to_qdrant(
    team: Team, operator: OperatorProcess, qdrant: QdrantServer, old_status: Object
) -> None:
    before = {name: (await team.get(kind, name))["status"] for kind, name in OURS}
    operator.stop()
    await forget(team, old_status)
    writes = qdrant.telemetry_writes_by_endpoint()

    operator.start()
    for kind, name in OURS:
        found = await team.wait(kind, name, is_ready)
        assert {each["type"] for each in found["status"]["conditions"]} == {"Ready"}
        assert without_times(found["status"]) == without_times(before[name])

    assert qdrant.telemetry_writes_by_endpoint() == writes


async def test_objects_that_are_deleted_after_their_status_was_lost_are_cleaned_up(
    team: Team, operator: OperatorProcess, stored: Stored, old_status: Object
) -> None:
    operator.kill()
    await forget(team, old_status)
    for kind, name in OURS:
        await team.ask_to_delete(kind, name)

    operator.start()
    for kind, name in OURS:
        await team.gone(kind, name)

    assert not await stored.exists("zoo")
    assert await stored.points(LEDGER) == {}


def without_times(status: Object) -> Object:
    told = [{**each, "lastTransitionTime": None} for each in status["conditions"]]
    return {**status, "conditions": told}


# ---- the ledger ----


async def test_a_lost_ledger_is_made_again_from_what_is_declared_and_nothing_is_deleted(
    team: Team, stored: Stored
) -> None:
    foreign = (await put_by_hand(stored, "zoo", 99))[99]

    await stored.client.delete_collection(LEDGER)
    told = await team.points("cats", "zoo", [POINTS[0], point(3, 0, 0, 1)], until=is_ready)

    points = await stored.points("zoo")
    assert sorted(points) == [1, 2, 3, 99]
    assert points[99] == foreign
    assert "ledger was lost" in message(told)

    # From here on it knows its points again.
    await team.points("cats", "zoo", [], until=is_ready)
    assert sorted(await stored.points("zoo")) == [2, 99]


async def test_a_damaged_ledger_is_told_nothing_is_deleted_and_its_restoration_repairs_it(
    team: Team, stored: Stored, qdrant: QdrantServer
) -> None:
    base = next(each for each in (await stored.points(LEDGER)).values() if each.payload["kind"] == "base")
    await stored.client.delete(LEDGER, [base.id], wait=True)
    before, writes = await stored.versions("zoo"), qdrant.telemetry_writes()

    told = await team.points("cats", "zoo", [POINTS[1], point(3, 0, 0, 1)], until="LedgerDamaged")
    assert condition(told, "Stalled")["status"] == "True"
    assert await stored.versions("zoo") == before
    assert qdrant.telemetry_writes() == writes

    await stored.client.upsert(LEDGER, [models.PointStruct(id=base.id, vector={}, payload=base.payload)], wait=True)
    await team.look_again("PointSet", "cats")
    await team.wait("PointSet", "cats", is_ready)
    assert sorted(await stored.points("zoo")) == [2, 3]


async def test_a_set_whose_ledger_a_newer_version_wrote_waits_to_be_deleted_until_a_person_lets_it_go(
    team: Team, stored: Stored
) -> None:
    """After a rollback of the operator."""
    records = await stored.points(LEDGER)
    await stored.client.set_payload(LEDGER, {"format": 3}, points=list(records), wait=True)
    before = await stored.versions("zoo")

    await team.points("cats", "zoo", [POINTS[1]], until="LedgerUnreadable")
    await team.api.delete("PointSet", team.namespace, "cats")
    told = await team.wait("PointSet", "cats", "LedgerUnreadable")
    assert "Upgrade VectorOps" in message(told)
    assert told["metadata"]["deletionTimestamp"]

    await team.annotate("PointSet", "cats", {"vectorops.dev/skip-cleanup": "true"})
    await team.api.wait_gone("PointSet", team.namespace, "cats")
    assert await stored.versions("zoo") == before
    assert (await stored.points(LEDGER)).keys() == records.keys()


async def test_points_that_were_rolled_back_under_the_ledger_are_put_right(
    team: Team, stored: Stored, qdrant: QdrantServer
) -> None:
    """A snapshot of the collection is restored, and the ledger knows nothing of that."""
    snapshot = await stored.client.create_snapshot("zoo", wait=True)
    assert snapshot is not None
    declared = [
        point(1, 0, 0, 1, payload={"name": "tom"}),
        point(2, 0, 1, 0, payload={"name": "garfield", "likes": "lasagne"}),
        point(3, 0, 1, 0, payload={"name": "felix"}),
    ]
    await team.points("cats", "zoo", declared, until=is_ready)
    wanted = await stored.points("zoo")

    location = (qdrant.folder / "snapshots" / "zoo" / snapshot.name).as_uri()
    await stored.client.recover_snapshot("zoo", location, priority=models.SnapshotPriority.SNAPSHOT, wait=True)
    assert await stored.points("zoo") != wanted
    await team.look_again("QdrantCollection", "zoo")
    await team.look_again("PointSet", "cats")

    assert await stored.points("zoo") == wanted
    assert is_ready(await team.get("PointSet", "cats"))


async def test_a_collection_deleted_by_hand_is_made_and_filled_again(team: Team, stored: Stored) -> None:
    wanted = await stored.points("zoo")

    await stored.client.delete_collection("zoo")
    await team.look_again("QdrantCollection", "zoo")
    await team.wait("QdrantCollection", "zoo", is_ready)
    await team.look_again("PointSet", "cats")

    assert await stored.points("zoo") == wanted
    assert len(await stored.points(LEDGER)) == 3, "what was known of the former collection is forgotten"


@pytest.mark.parametrize("policy", ["Delete", "Retain"])
@pytest.mark.parametrize("gone", ["nothing", LEDGER, "zoo"])
async def test_a_set_can_be_deleted_whatever_is_gone_in_qdrant(
    api: KubeApi,
    namespace: str,
    qdrant: QdrantServer,
    operator: OperatorProcess,
    stored: Stored,
    gone: str,
    policy: str,
) -> None:
    """Also one that never had a point, and so never had a ledger."""
    team = Team(api, namespace)
    await team.connection(qdrant)
    await team.collection("zoo")
    await team.points("nobody", "zoo", [], deletionPolicy=policy, until=is_ready)
    if gone == LEDGER:
        await team.points("cats", "zoo", POINTS, deletionPolicy=policy, until=is_ready)
    operator.stop()
    if gone != "nothing":
        await stored.client.delete_collection(gone)
    operator.start()

    for each in await api.list("PointSet", namespace):
        await team.delete("PointSet", each["metadata"]["name"])
