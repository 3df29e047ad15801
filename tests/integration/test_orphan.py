"""`vectorops orphan`: the resources go, and everything that they made in Qdrant stays, whatever their policies."""

from pathlib import Path

import pytest

from integration.command_line import Answer, Shell
from integration.conftest import StartOperator, StartQdrant
from integration.world import Stored, collection, connection, mark_of, point, point_set
from servers.kube import KubeServer
from servers.kubeapi import KubeApi, Object, is_ready
from servers.operator import ForkedOperator
from servers.qdrant import QdrantServer

RESOURCES = (("PointSet", "cats"), ("QdrantCollection", "zoo"), ("QdrantConnection", "main"))
POINTS = [point(1, 1, 0, 0, payload={"name": "tom"}), point(2, 0, 1, 0, payload={"name": "garfield"})]


@pytest.fixture
def qdrant(start_qdrant: StartQdrant) -> QdrantServer:
    """A server of each test's own: its writes are counted."""
    return start_qdrant()


@pytest.fixture
def orphan(kube: KubeServer, tmp_path: Path):
    shell = Shell(tmp_path)

    def run(*arguments: str) -> Answer:
        return shell.run("orphan", *arguments, environment={"KUBECONFIG": str(kube.kubeconfig())})

    return run


async def declare(api: KubeApi, namespace: str, qdrant: QdrantServer) -> None:
    """Resources whose deletion would take everything along, all Ready."""
    await api.apply(connection(namespace, qdrant))
    await api.apply(collection(namespace, "zoo", deletionPolicy="Delete"))
    await api.apply(point_set(namespace, "cats", "zoo", POINTS, deletionPolicy="Delete"))
    for kind, name in RESOURCES:
        await api.wait_for(kind, namespace, name, is_ready)


async def left(api: KubeApi, namespace: str) -> list[Object]:
    return [found for kind, _ in RESOURCES for found in await api.list(kind, namespace)]


@pytest.mark.parametrize("running", [True, False], ids=["the operator runs", "the operator is gone"])
async def test_resources_go_and_their_points_stay(
    api: KubeApi, namespace: str, qdrant: QdrantServer, start_operator: StartOperator, orphan, running: bool
) -> None:
    operator = start_operator()
    await declare(api, namespace, qdrant)
    if not running:
        operator.stop()
    async with Stored(qdrant) as stored:
        before = await stored.versions("zoo"), await stored.points("vectorops-ledger"), mark_of(qdrant, "zoo")

        answer = orphan("--namespace", namespace)

        assert answer.code == 0, answer.out
        assert "1 PointSet deleted; what they made in Qdrant stays" in answer.out
        assert await left(api, namespace) == []
        after = await stored.versions("zoo"), await stored.points("vectorops-ledger"), mark_of(qdrant, "zoo")
        assert after == before


async def test_the_same_manifests_find_all_of_it_again_and_write_no_point(
    api: KubeApi, namespace: str, qdrant: QdrantServer, start_operator: StartOperator, orphan
) -> None:
    start_operator()
    await declare(api, namespace, qdrant)
    assert orphan("--namespace", namespace).code == 0
    async with Stored(qdrant) as stored:
        before = await stored.versions("zoo")

        await declare(api, namespace, qdrant)

        assert await stored.versions("zoo") == before


async def test_other_namespaces_keep_theirs(
    api: KubeApi, namespace: str, qdrant: QdrantServer, start_operator: StartOperator, orphan
) -> None:
    other = await api.create_namespace()
    start_operator(namespaces=[namespace, other])
    await declare(api, namespace, qdrant)
    await api.apply(connection(other, qdrant))

    orphan("--namespace", namespace)

    assert await left(api, namespace) == []
    assert len(await left(api, other)) == 1


async def test_what_another_finalizer_holds_is_named(
    api: KubeApi, namespace: str, qdrant: QdrantServer, orphan
) -> None:
    held = connection(namespace, qdrant)
    held["metadata"]["finalizers"] = ["example.com/held"]
    await api.apply(held)

    answer = orphan("--namespace", namespace)

    assert answer.code == 1
    assert (
        f"QdrantConnection {namespace}/main is still there: it waits for its finalizers example.com/held" in answer.out
    )


async def test_the_crds_go_when_asked_and_the_points_stay(start_kube, qdrant: QdrantServer, tmp_path: Path) -> None:
    own = start_kube()
    kubeconfig = own.kubeconfig()
    async with own.api() as api, Stored(qdrant) as stored:
        namespace = await api.create_namespace()
        operator = ForkedOperator(tmp_path, kubeconfig=kubeconfig, installation="ours", namespaces=[namespace])
        try:
            operator.start()
            await declare(api, namespace, qdrant)
            before = await stored.versions("zoo")

            shell = Shell(tmp_path)
            told = shell.run("orphan", "-A", "--delete-crds", environment={"KUBECONFIG": str(kubeconfig)})
        finally:
            operator.kill()

        assert told.code == 0, told.out
        for plural in ("qdrantconnections", "qdrantcollections", "pointsets"):
            await api.wait_gone("CustomResourceDefinition", None, f"{plural}.vectorops.dev")
        assert await stored.versions("zoo") == before


def test_one_has_to_say_which(orphan) -> None:
    for arguments in ((), ("--all-namespaces", "--namespace", "team")):
        answer = orphan(*arguments)
        assert answer.code == 2
        assert "Either --namespace or" in answer.err
    assert "it needs --all-namespaces" in orphan("--namespace", "team", "--delete-crds").err
