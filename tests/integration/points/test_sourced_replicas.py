"""A set with a source on three real nodes, one of which is killed while its rows are written."""

import itertools
from collections.abc import AsyncIterator

import httpx
import pytest

from integration.conftest import StartProxy
from integration.points import sourced
from integration.points.scene import VECTORS, Scene
from integration.points.sourced import revision_of, rows_of_edition, sync_rows
from servers.proxy import Call, Proxy
from servers.qdrant import QdrantCluster
from vectorops.api.connection import QdrantConnectionSpec
from vectorops.errors import Transient
from vectorops.points import diff, staging
from vectorops.qdrant.connect import Credentials, connect
from vectorops.qdrant.database import Database


@pytest.fixture
def proxy(three_nodes: QdrantCluster, start_proxy: StartProxy) -> Proxy:
    return start_proxy(three_nodes.nodes[0].url)


@pytest.fixture
async def database(proxy: Proxy) -> AsyncIterator[Database]:
    database = connect(QdrantConnectionSpec(url=proxy.url, prefer_grpc=False), Credentials())
    await database.check()
    yield database
    await database.close()


async def load(scene: Scene, edition: int) -> None:
    """Passes, as often as the server needs it."""
    for _ in range(20):
        try:
            await sync_rows(scene, rows_of_edition(edition), str(edition), writer="one")
        except Transient:
            continue
        return
    raise AssertionError("no pass reached its end")


def ids_that_replicas_agree_about(nodes: QdrantCluster, collection: str) -> set[int | str]:
    """What not all replicas of a shard say alike is not shown."""
    url = f"{nodes.nodes[0].url}/collections/{collection}/points/scroll?consistency=all"
    body = {"limit": 1000, "with_payload": True, "with_vector": True}
    answer = httpx.post(url, json=body, timeout=60).raise_for_status().json()
    return {found["id"] for found in answer["result"]["points"]}


async def test_replicas_are_equal_though_a_node_was_killed_during_a_pass(
    three_nodes: QdrantCluster, proxy: Proxy, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(staging, "POINTS_OF_A_PART", sourced.POINTS_OF_A_PART)
    # Or the ledger would say only in ten minutes that all is written.
    monkeypatch.setattr(diff, "LATE_SECONDS", 0)
    scene = Scene(database)
    await scene.make(VECTORS, shard_number=3, replication_factor=2, write_consistency_factor=1)
    await load(scene, 0)
    writes = itertools.count(1)

    def kill(call: Call) -> None:
        if f"/{scene.collection}/points" in call.path and "wait=" in call.path and next(writes) == 3:
            three_nodes.nodes[2].kill()

    proxy.before = kill
    try:
        await load(scene, 1)
        assert next(writes) > 3
        assert await scene.stored() == await scene.expected(*rows_of_edition(1))
    finally:
        three_nodes.nodes[2].start()
    await load(scene, 2)

    assert await scene.stored() == await scene.expected(*rows_of_edition(2))
    assert await revision_of(scene) == "2"
    for collection in (scene.collection, scene.ledgers):
        three_nodes.wait_for(
            collection,
            lambda found: {state for replicas in found.values() for state in replicas.values()} == {"Active"},
            what="the replicas to come back",
        )
    ids = {str(id) for id in ids_that_replicas_agree_about(three_nodes, scene.collection)}
    assert ids == {str(id) for id in await scene.stored()}
