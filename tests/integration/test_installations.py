"""Who owns what, when more than one installation speaks to a Qdrant, and when one installation comes back with nothing
but its YAML.
"""

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from integration.conftest import StartOperator, StartQdrant
from integration.world import Stored, collection, connection, has_reason, look_again, mark_of, point, point_set
from servers.kube import KubeServer
from servers.kubeapi import KubeApi, Object, condition, is_ready
from servers.qdrant import QdrantServer

POINTS = [point(1, 1, 0, 0, payload={"kind": "cat"}), point("sparrow", 0, 1, 0, payload={"kind": "bird"})]
TAKE_OVER_FROM = "vectorops.dev/take-over-from"


async def declare(
    api: KubeApi, namespace: str, server: QdrantServer, *, take_over_from: str | None = None, m: int = 24, **spec: Any
) -> None:
    """A connection, the collection `zoo` and a set of points in it."""
    annotations = {TAKE_OVER_FROM: take_over_from} if take_over_from else None
    index = {"field": "kind", "schema": {"type": "keyword"}}
    of_collection = {"hnswConfig": {"m": m}, "payloadIndexes": [index], "aliases": ["menagerie"]} | spec
    await api.apply(connection(namespace, server))
    await api.apply(collection(namespace, "zoo", deletionPolicy="Delete", annotations=annotations, **of_collection))
    await api.apply(point_set(namespace, "animals", "zoo", POINTS))


async def everything(server: QdrantServer) -> Object:
    """All that clients could see of the collection: configuration, mark, indexes, points as they were written."""
    async with Stored(server) as stored:
        points = {id: (point.vector, point.payload) for id, point in (await stored.points("zoo")).items()}
        described = server.get("/collections/zoo")
        return {
            "config": described["config"],
            "indexes": described["payload_schema"],
            "points": points,
            "versions": await stored.versions("zoo"),
        }


@pytest.fixture
async def second_api(start_kube: Callable[[], KubeServer], namespace: str) -> AsyncIterator[tuple[KubeServer, KubeApi]]:
    """Another cluster, with a namespace of the same name."""
    kube = start_kube()
    async with kube.api() as api:
        await api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
        yield kube, api


async def test_a_second_installation_changes_nothing_and_says_whose_the_collection_is(
    api: KubeApi, namespace: str, start_qdrant: StartQdrant, start_operator: StartOperator
) -> None:
    server = start_qdrant()
    start_operator(installation="first")
    await declare(api, namespace, server)
    await api.wait_for("PointSet", namespace, "animals", is_ready)
    before, writes = await everything(server), server.telemetry_writes()

    other = await api.create_namespace()
    start_operator(installation="second", namespaces=[other])
    await declare(api, other, server, m=48)
    told = await api.wait_for("QdrantCollection", other, "zoo", has_reason("OwnedByAnother"))
    await api.wait_for("PointSet", other, "animals", has_reason("CollectionNotReady"))
    await look_again(api, "QdrantCollection", other, "zoo")
    await api.delete("PointSet", other, "animals")
    await api.delete("QdrantCollection", other, "zoo")
    await api.wait_gone("PointSet", other, "animals")
    await api.wait_gone("QdrantCollection", other, "zoo")

    assert f"QdrantCollection {namespace}/zoo of installation 'first'" in condition(told, "Ready")["message"]
    assert server.telemetry_writes() == writes
    assert await everything(server) == before


async def test_two_resources_of_one_installation_do_not_share_a_collection(
    api: KubeApi, namespace: str, start_qdrant: StartQdrant, start_operator: StartOperator
) -> None:
    server = start_qdrant()
    start_operator()
    await declare(api, namespace, server)
    await api.wait_for("PointSet", namespace, "animals", is_ready)
    before, writes = await everything(server), server.telemetry_writes()

    await api.apply(connection(namespace, server, name="the-same-server"))
    await api.apply(
        collection(
            namespace, "copy", collectionName="zoo", connectionRef={"name": "the-same-server"}, deletionPolicy="Delete"
        )
    )
    await api.wait_for("QdrantCollection", namespace, "copy", has_reason("OwnedByAnother"))
    await api.delete("QdrantCollection", namespace, "copy")
    await api.wait_gone("QdrantCollection", namespace, "copy")

    assert server.telemetry_writes() == writes
    assert await everything(server) == before


async def test_a_collection_moves_to_another_installation_with_its_points_and_none_is_written_again(
    api: KubeApi,
    namespace: str,
    second_api: tuple[KubeServer, KubeApi],
    start_qdrant: StartQdrant,
    start_operator: StartOperator,
) -> None:
    server = start_qdrant()
    start_operator(installation="first")
    await declare(api, namespace, server)
    await api.wait_for("PointSet", namespace, "animals", is_ready)
    before = await everything(server)

    second_kube, second = second_api
    start_operator(installation="second", kubeconfig=second_kube.kubeconfig())
    await declare(second, namespace, server, take_over_from="first")
    await second.wait_for("QdrantCollection", namespace, "zoo", is_ready)
    await second.wait_for("PointSet", namespace, "animals", is_ready)
    after, writes = await everything(server), server.telemetry_writes()

    assert (after["points"], after["versions"], after["indexes"]) == (
        before["points"],
        before["versions"],
        before["indexes"],
    )
    assert mark_of(server, "zoo")["installation"] == "second"
    assert mark_of(server, "zoo")["incarnation"] == before["config"]["metadata"]["vectorops.dev/mark"]["incarnation"]
    assert await ledger_owners(server) == {f"second/{namespace}/animals"}

    # The first one finds out, and then its resources go.
    told = await look_again(api, "QdrantCollection", namespace, "zoo")
    await api.apply(point_set(namespace, "animals", "zoo", [point(1, 0, 0, 1), point(5, 1, 1, 1)]))
    await api.wait_for("PointSet", namespace, "animals", has_reason("CollectionNotReady"))
    assert condition(told, "Ready")["reason"] == "OwnedByAnother"
    assert server.telemetry_writes() == writes
    for kind, name in (("PointSet", "animals"), ("QdrantCollection", "zoo")):
        await api.delete(kind, namespace, name)
        await api.wait_gone(kind, namespace, name)
    await look_again(second, "QdrantCollection", namespace, "zoo")
    await look_again(second, "PointSet", namespace, "animals")
    left = await everything(server)
    assert (left["points"], left["versions"]) == (before["points"], before["versions"])
    assert mark_of(server, "zoo") == after["config"]["metadata"]["vectorops.dev/mark"]

    # What came along is the new owner's to change and to delete.
    await second.apply(point_set(namespace, "animals", "zoo", POINTS[1:]))
    await second.wait_for("PointSet", namespace, "animals", is_ready)
    async with Stored(server) as stored:
        assert await stored.count("zoo") == 1
    await second.delete("PointSet", namespace, "animals")
    await second.delete("QdrantCollection", namespace, "zoo")
    await second.wait_gone("QdrantCollection", namespace, "zoo")
    async with Stored(server) as stored:
        assert not await stored.exists("zoo")
        assert await stored.points("vectorops-ledger") == {}


async def test_taking_over_works_once_until_it_is_asked_for_anew(
    api: KubeApi,
    namespace: str,
    second_api: tuple[KubeServer, KubeApi],
    start_qdrant: StartQdrant,
    start_operator: StartOperator,
) -> None:
    server = start_qdrant()
    second_kube, second = second_api
    start_operator(installation="first")
    start_operator(installation="second", kubeconfig=second_kube.kubeconfig())
    await declare(api, namespace, server)
    await api.wait_for("QdrantCollection", namespace, "zoo", is_ready)
    await declare(second, namespace, server, take_over_from="first")
    await second.wait_for("QdrantCollection", namespace, "zoo", is_ready)

    # Back again, and the second one's old annotation does not fetch it once more.
    await api.annotate("QdrantCollection", namespace, "zoo", {TAKE_OVER_FROM: "second"})
    await api.wait_for(
        "QdrantCollection", namespace, "zoo", lambda _: mark_of(server, "zoo")["installation"] == "first"
    )
    for _ in range(2):
        told = await look_again(second, "QdrantCollection", namespace, "zoo")
        assert condition(told, "Ready")["reason"] == "OwnedByAnother"
    assert mark_of(server, "zoo")["installation"] == "first"

    # A new wish is a new move.
    await second.annotate("QdrantCollection", namespace, "zoo", {TAKE_OVER_FROM: None})
    await look_again(second, "QdrantCollection", namespace, "zoo")
    await second.annotate("QdrantCollection", namespace, "zoo", {TAKE_OVER_FROM: "first"})
    await second.wait_for("QdrantCollection", namespace, "zoo", is_ready)
    assert mark_of(server, "zoo")["installation"] == "second"


async def test_two_installations_that_both_want_to_take_over_do_not_play_ping_pong(
    api: KubeApi,
    namespace: str,
    second_api: tuple[KubeServer, KubeApi],
    start_qdrant: StartQdrant,
    start_operator: StartOperator,
) -> None:
    server = start_qdrant()
    second_kube, second = second_api
    start_operator(installation="first", flags=["--resync-seconds=1"])
    start_operator(installation="second", flags=["--resync-seconds=1"], kubeconfig=second_kube.kubeconfig())
    await declare(api, namespace, server)
    await api.wait_for("PointSet", namespace, "animals", is_ready)
    async with Stored(server) as stored:
        before = await stored.versions("zoo")

    await declare(second, namespace, server, take_over_from="first")
    await declare(api, namespace, server, take_over_from="second")
    await second.wait_for("QdrantCollection", namespace, "zoo", lambda found: condition(found, "Ready"))
    for each in (api, second) * 2:
        await look_again(each, "QdrantCollection", namespace, "zoo")
    owner = mark_of(server, "zoo")["installation"]
    owning = {"first": api, "second": second}[owner]
    await owning.wait_for("PointSet", namespace, "animals", is_ready)

    writes = server.telemetry_writes()
    for each in (api, second) * 2:
        await look_again(each, "QdrantCollection", namespace, "zoo")

    assert mark_of(server, "zoo")["installation"] == owner
    assert server.telemetry_writes() == writes
    async with Stored(server) as stored:
        assert await stored.versions("zoo") == before


async def test_a_rebuilt_cluster_finds_its_own_and_writes_nothing_again(
    start_kube: Callable[[], KubeServer], namespace: str, start_qdrant: StartQdrant, start_operator: StartOperator
) -> None:
    """Etcd emptied; the same installation name, YAML and Qdrant, as after a restore by Velero or from Git."""
    kube, server = start_kube(), start_qdrant()
    operator = start_operator(installation="prod", kubeconfig=kube.kubeconfig())
    first = await declared_in(kube, namespace, server)
    before, writes = await everything(server), server.telemetry_writes_by_endpoint()

    operator.kill()
    kube.rebuild()
    operator.start()
    second = await declared_in(kube, namespace, server)

    assert not first & second
    assert server.telemetry_writes_by_endpoint() == writes
    assert await everything(server) == before


async def declared_in(kube: KubeServer, namespace: str, server: QdrantServer) -> set[str]:
    """Applies all to an empty cluster, waits until all is Ready, and returns the uids."""
    async with kube.api() as api:
        await api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
        await declare(api, namespace, server)
        await api.wait_for("PointSet", namespace, "animals", is_ready)
        await look_again(api, "PointSet", namespace, "animals")
        return {
            (await api.wait_for(kind, namespace, name, is_ready))["metadata"]["uid"]
            for kind, name in (("QdrantConnection", "main"), ("QdrantCollection", "zoo"), ("PointSet", "animals"))
        }


async def ledger_owners(server: QdrantServer) -> set[str]:
    async with Stored(server) as stored:
        return {payload["owner"] for payload in (await stored.payloads("vectorops-ledger")).values()}
