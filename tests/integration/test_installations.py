"""Who owns what, when more than one installation speaks to a Qdrant, and when one installation comes back with nothing
but its YAML.
"""

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from integration.conftest import StartOperator, StartQdrant
from integration.team import Team, message, reason
from integration.world import Stored, collection, connection, mark_of, point, point_set
from servers.kube import KubeServer
from servers.kubeapi import KubeApi, Object, is_ready
from servers.qdrant import QdrantServer

POINTS = [point(1, 1, 0, 0, payload={"kind": "cat"}), point("sparrow", 0, 1, 0, payload={"kind": "bird"})]
TAKE_OVER_FROM = "vectorops.dev/take-over-from"


async def declare(
    team: Team, server: QdrantServer, *, take_over_from: str | None = None, m: int = 24, **spec: Any
) -> None:
    """A connection, the collection `zoo` and a set of points in it, all at once."""
    annotations = {TAKE_OVER_FROM: take_over_from} if take_over_from else None
    index = {"field": "kind", "schema": {"type": "keyword"}}
    of_collection = {"hnswConfig": {"m": m}, "payloadIndexes": [index], "aliases": ["menagerie"]} | spec
    await team.api.apply(connection(team.namespace, server))
    await team.api.apply(
        collection(team.namespace, "zoo", deletionPolicy="Delete", annotations=annotations, **of_collection)
    )
    await team.api.apply(point_set(team.namespace, "animals", "zoo", POINTS))


async def declare_until_ready(team: Team, server: QdrantServer, **declared: Any) -> None:
    """The same, and the points are there."""
    await declare(team, server, **declared)
    await team.wait("PointSet", "animals", is_ready)


async def take_over(team: Team, former: str) -> None:
    """Has the collection taken over from an installation, once its own says whose it is."""
    await team.wait("QdrantCollection", "zoo", "OwnedByAnother")
    await team.annotate("QdrantCollection", "zoo", {TAKE_OVER_FROM: former})
    await team.wait("QdrantCollection", "zoo", is_ready)


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
def first(api: KubeApi, namespace: str) -> Team:
    return Team(api, namespace)


@pytest.fixture
def second_kube(start_kube: Callable[[], KubeServer]) -> KubeServer:
    """Another cluster."""
    return start_kube()


@pytest.fixture
async def second(second_kube: KubeServer, namespace: str) -> AsyncIterator[Team]:
    """The team of the other cluster, in a namespace of the same name."""
    async with second_kube.api() as api:
        yield await in_new_namespace(api, namespace)


async def in_new_namespace(api: KubeApi, namespace: str) -> Team:
    await api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
    return Team(api, namespace)


async def test_a_second_installation_changes_nothing_and_says_whose_the_collection_is(
    first: Team, api: KubeApi, start_qdrant: StartQdrant, start_operator: StartOperator
) -> None:
    server = start_qdrant()
    start_operator(installation="first")
    await declare_until_ready(first, server)
    before, writes = await everything(server), server.telemetry_writes()

    other = Team(api, await api.create_namespace())
    start_operator(installation="second", namespaces=[other.namespace])
    await declare(other, server, m=48)
    told = await other.wait("QdrantCollection", "zoo", "OwnedByAnother")
    await other.wait("PointSet", "animals", "CollectionNotReady")
    await other.look_again("QdrantCollection", "zoo")
    await other.ask_to_delete("PointSet", "animals")
    await other.ask_to_delete("QdrantCollection", "zoo")
    await other.gone("PointSet", "animals")
    await other.gone("QdrantCollection", "zoo")

    assert f"QdrantCollection {first.namespace}/zoo of installation 'first'" in message(told)
    assert server.telemetry_writes() == writes
    assert await everything(server) == before


async def test_two_resources_of_one_installation_do_not_share_a_collection(
    first: Team, start_qdrant: StartQdrant, start_operator: StartOperator
) -> None:
    server = start_qdrant()
    start_operator()
    await declare_until_ready(first, server)
    before, writes = await everything(server), server.telemetry_writes()

    await first.api.apply(connection(first.namespace, server, name="the-same-server"))
    await first.collection(
        "copy",
        collectionName="zoo",
        connectionRef={"name": "the-same-server"},
        deletionPolicy="Delete",
        until="OwnedByAnother",
    )
    await first.delete("QdrantCollection", "copy")

    assert server.telemetry_writes() == writes
    assert await everything(server) == before


async def test_a_collection_moves_to_another_installation_with_its_points_and_none_is_written_again(
    first: Team, second_kube: KubeServer, second: Team, start_qdrant: StartQdrant, start_operator: StartOperator
) -> None:
    server = start_qdrant()
    start_operator(installation="first")
    await declare_until_ready(first, server)
    before = await everything(server)

    start_operator(installation="second", kubeconfig=second_kube.kubeconfig())
    await declare(second, server)
    await take_over(second, "first")
    await second.wait("PointSet", "animals", is_ready)
    after, writes = await everything(server), server.telemetry_writes()

    assert (after["points"], after["versions"], after["indexes"]) == (
        before["points"],
        before["versions"],
        before["indexes"],
    )
    assert mark_of(server, "zoo")["installation"] == "second"
    assert mark_of(server, "zoo")["incarnation"] == before["config"]["metadata"]["vectorops.dev/mark"]["incarnation"]
    assert await ledger_owners(server) == {f"second/{second.namespace}/animals"}

    # The first one finds out, and then its resources go.
    told = await first.look_again("QdrantCollection", "zoo")
    await first.points("animals", "zoo", [point(1, 0, 0, 1), point(5, 1, 1, 1)], until="CollectionNotReady")
    assert reason(told) == "OwnedByAnother"
    assert server.telemetry_writes() == writes
    await first.delete("PointSet", "animals")
    await first.delete("QdrantCollection", "zoo")
    await second.look_again("QdrantCollection", "zoo")
    await second.look_again("PointSet", "animals")
    left = await everything(server)
    assert (left["points"], left["versions"]) == (before["points"], before["versions"])
    assert mark_of(server, "zoo") == after["config"]["metadata"]["vectorops.dev/mark"]

    # What came along is the new owner's to change and to delete.
    await second.points("animals", "zoo", POINTS[1:], until=is_ready)
    async with Stored(server) as stored:
        assert await stored.count("zoo") == 1
    await second.ask_to_delete("PointSet", "animals")
    await second.delete("QdrantCollection", "zoo")
    async with Stored(server) as stored:
        assert not await stored.exists("zoo")
        assert await stored.points("vectorops-ledger") == {}


async def test_taking_over_works_once_until_it_is_asked_for_anew(
    first: Team, second_kube: KubeServer, second: Team, start_qdrant: StartQdrant, start_operator: StartOperator
) -> None:
    server = start_qdrant()
    start_operator(installation="first")
    start_operator(installation="second", kubeconfig=second_kube.kubeconfig())
    await declare(first, server)
    await first.wait("QdrantCollection", "zoo", is_ready)
    # It came with the resource, as out of a repository or a backup: it may have been carried out long ago.
    await declare(second, server, take_over_from="first")
    told = await second.wait("QdrantCollection", "zoo", "OwnedByAnother")
    assert "came with the resource" in message(told)
    await second.annotate("QdrantCollection", "zoo", {TAKE_OVER_FROM: None})
    await second.look_again("QdrantCollection", "zoo")
    await take_over(second, "first")

    # Back again, and the second one's old annotation does not fetch it once more.
    await first.annotate("QdrantCollection", "zoo", {TAKE_OVER_FROM: "second"})
    await first.wait("QdrantCollection", "zoo", lambda _: mark_of(server, "zoo")["installation"] == "first")
    for _ in range(2):
        assert reason(await second.look_again("QdrantCollection", "zoo")) == "OwnedByAnother"
    assert mark_of(server, "zoo")["installation"] == "first"

    # A new wish is a new move.
    await second.annotate("QdrantCollection", "zoo", {TAKE_OVER_FROM: None})
    await second.look_again("QdrantCollection", "zoo")
    await take_over(second, "first")
    assert mark_of(server, "zoo")["installation"] == "second"

    # Whoever has lost its status remembers nothing, and does nothing.
    await first.annotate("QdrantCollection", "zoo", {TAKE_OVER_FROM: None})
    await first.look_again("QdrantCollection", "zoo")
    await take_over(first, "second")
    await second.lose_status("QdrantCollection", "zoo")
    assert reason(await second.look_again("QdrantCollection", "zoo")) == "OwnedByAnother"
    assert mark_of(server, "zoo")["installation"] == "first"


async def test_two_installations_that_both_want_to_take_over_do_not_play_ping_pong(
    first: Team, second_kube: KubeServer, second: Team, start_qdrant: StartQdrant, start_operator: StartOperator
) -> None:
    server = start_qdrant()
    start_operator(installation="first", flags=["--resync-seconds=1"])
    start_operator(installation="second", flags=["--resync-seconds=1"], kubeconfig=second_kube.kubeconfig())
    await declare_until_ready(first, server)
    async with Stored(server) as stored:
        before = await stored.versions("zoo")

    await declare(second, server)
    await second.wait("QdrantCollection", "zoo", "OwnedByAnother")
    await declare(second, server, take_over_from="first")
    await declare(first, server, take_over_from="second")
    for each in (first, second) * 2:
        await each.look_again("QdrantCollection", "zoo")
    owner = mark_of(server, "zoo")["installation"]
    await {"first": first, "second": second}[owner].wait("PointSet", "animals", is_ready)

    writes = server.telemetry_writes()
    for each in (first, second) * 2:
        await each.look_again("QdrantCollection", "zoo")

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
    former = await declared_in(kube, namespace, server)
    before, writes = await everything(server), server.telemetry_writes_by_endpoint()

    operator.kill()
    kube.rebuild()
    operator.start()
    rebuilt = await declared_in(kube, namespace, server)

    assert not former & rebuilt
    assert server.telemetry_writes_by_endpoint() == writes
    assert await everything(server) == before


async def declared_in(kube: KubeServer, namespace: str, server: QdrantServer) -> set[str]:
    """Applies all to an empty cluster, waits until all is Ready, and returns the uids."""
    async with kube.api() as api:
        team = await in_new_namespace(api, namespace)
        await declare_until_ready(team, server)
        await team.look_again("PointSet", "animals")
        return {
            (await team.wait(kind, name, is_ready))["metadata"]["uid"]
            for kind, name in (("QdrantConnection", "main"), ("QdrantCollection", "zoo"), ("PointSet", "animals"))
        }


async def ledger_owners(server: QdrantServer) -> set[str]:
    async with Stored(server) as stored:
        return {payload["owner"] for payload in (await stored.payloads("vectorops-ledger")).values()}
