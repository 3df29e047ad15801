"""A namespace is deleted with everything in it, in whatever order its controller takes: it ends, and Qdrant is left as
the deletion policies say.
"""

import pytest
from qdrant_client import models

from integration.conftest import StartOperator, StartQdrant
from integration.world import Stored, collection, connection, mark_of, point, point_set, secret
from servers.kubeapi import KubeApi, is_ready
from servers.process import wait_until
from servers.qdrant import QdrantServer

CONNECTION_FIRST = ("Secret", "QdrantConnection", "QdrantCollection", "PointSet")
COLLECTION_FIRST = ("QdrantCollection", "PointSet", "Secret", "QdrantConnection")
POINTS_FIRST = ("PointSet", "QdrantCollection", "QdrantConnection", "Secret")
in_every_order = pytest.mark.parametrize(
    "order",
    [CONNECTION_FIRST, COLLECTION_FIRST, POINTS_FIRST],
    ids=["connection first", "collection first", "points first"],
)
KEY = "a-key-that-only-a-secret-of-the-namespace-holds"


async def fill(api: KubeApi, namespace: str, server: QdrantServer, policy: str) -> None:
    """A connection with its Secret, a collection and two sets, all Ready."""
    await connect(api, namespace, server)
    await api.apply(collection(namespace, "zoo", deletionPolicy=policy))
    await declare_points(api, namespace, policy)


async def connect(api: KubeApi, namespace: str, server: QdrantServer) -> None:
    key = {"name": "qdrant", "key": "api-key"}
    await api.apply(secret(namespace, "qdrant", api_key=KEY))
    await api.apply(connection(namespace, server, apiKeySecretRef=key, timeoutSeconds=2))


async def declare_points(api: KubeApi, namespace: str, policy: str) -> None:
    for name, ids in (("cats", (1, 2)), ("birds", (3,))):
        points = [point(id, 1, 0, 0, payload={"set": name}) for id in ids]
        await api.apply(point_set(namespace, name, "zoo", points, deletionPolicy=policy))
    for name in ("cats", "birds"):
        await api.wait_for("PointSet", namespace, name, is_ready)


@in_every_order
async def test_with_deletion_policy_delete_nothing_of_a_deleted_namespace_is_left(
    api: KubeApi, namespace: str, start_qdrant: StartQdrant, start_operator: StartOperator, order: tuple[str, ...]
) -> None:
    server = start_qdrant(api_key=KEY)
    operator = start_operator()
    await fill(api, namespace, server, "Delete")

    await api.delete_namespace(namespace, order)

    async with Stored(server) as stored:
        assert not await stored.exists("zoo")
        assert await stored.points("vectorops-ledger") == {}
    assert "Traceback" not in operator.log_text()
    assert KEY not in operator.log_text()


@in_every_order
async def test_with_deletion_policy_retain_a_deleted_namespace_leaves_its_data_to_whoever_adopts_it(
    api: KubeApi, namespace: str, start_qdrant: StartQdrant, start_operator: StartOperator, order: tuple[str, ...]
) -> None:
    server = start_qdrant(api_key=KEY)
    start_operator()
    await fill(api, namespace, server, "Retain")
    async with Stored(server) as stored:
        before = await stored.versions("zoo")

        await api.delete_namespace(namespace, order)

        assert await stored.versions("zoo") == before
        assert sorted(before) == [1, 2, 3]
        assert await stored.points("vectorops-ledger") == {}
    assert mark_of(server, "zoo")["released"] is True


async def test_an_operator_that_starts_in_a_dying_namespace_still_cleans_up(
    api: KubeApi, namespace: str, start_qdrant: StartQdrant, start_operator: StartOperator
) -> None:
    """It has no client from before, and the API server takes no Events there."""
    server = start_qdrant(api_key=KEY)
    operator = start_operator()
    await fill(api, namespace, server, "Delete")
    operator.kill()
    await api.delete("Namespace", None, namespace)
    operator.start()

    await api.delete_namespace(namespace, COLLECTION_FIRST[:2] + CONNECTION_FIRST[1:2])

    async with Stored(server) as stored:
        assert not await stored.exists("zoo")
        assert await stored.points("vectorops-ledger") == {}
    assert "Traceback" not in operator.log_text()


async def test_a_users_collection_loses_our_points_and_nothing_else(
    api: KubeApi, namespace: str, start_qdrant: StartQdrant, start_operator: StartOperator
) -> None:
    server = start_qdrant(api_key=KEY)
    start_operator()
    async with Stored(server) as stored:
        await stored.client.create_collection(
            "zoo", vectors_config=models.VectorParams(size=3, distance=models.Distance.COSINE)
        )
        foreign = models.PointStruct(id=99, vector=[0.0, 1.0, 0.0], payload={"by": "another"})
        await stored.client.upsert("zoo", [foreign], wait=True)
        described, before = server.get("/collections/zoo")["config"], (await stored.points("zoo"))[99]
        await connect(api, namespace, server)
        await api.apply(collection(namespace, "zoo", managedBy="User"))
        await declare_points(api, namespace, "Delete")

        await api.delete_namespace(namespace, CONNECTION_FIRST)

        assert await stored.points("zoo") == {99: before}
        assert server.get("/collections/zoo")["config"] == described
        assert await stored.points("vectorops-ledger") == {}


async def test_what_cannot_be_cleaned_up_goes_when_it_is_told_to_skip_that(
    api: KubeApi, namespace: str, start_qdrant: StartQdrant, start_operator: StartOperator
) -> None:
    server = start_qdrant(api_key=KEY)
    operator = start_operator()
    await fill(api, namespace, server, "Delete")
    server.pause()
    try:
        for kind, name in (("PointSet", "cats"), ("PointSet", "birds"), ("QdrantCollection", "zoo")):
            await api.delete(kind, namespace, name)
        for kind, name in (("PointSet", "cats"), ("PointSet", "birds"), ("QdrantCollection", "zoo")):
            await api.annotate(kind, namespace, name, {"vectorops.dev/skip-cleanup": "true"})
            await api.wait_gone(kind, namespace, name)
    finally:
        server.resume()

    async with Stored(server) as stored:
        assert sorted(await stored.points("zoo")) == [1, 2, 3]
    # Told when the resource is gone, so a moment after that.
    counted = [
        f'vectorops_cleanups_skipped_total{{kind="{kind}"}} {count}.0'
        for kind, count in (("PointSet", 2), ("QdrantCollection", 1))
    ]
    wait_until(lambda: all(each in operator.metrics() for each in counted), what="all three to be counted")
    words = "let go without cleaning up: the annotation vectorops.dev/skip-cleanup is set"
    wait_until(lambda: operator.log_text().count(words) == 3, what="all three to be in the log")
