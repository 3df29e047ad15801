"""ConfigMaps as sources: read by their labels, watched for changes, and only with the right to. A real API server."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

from integration.conftest import StartOperator
from integration.team import Team, unique
from integration.world import Stored, resource
from servers.helm import render
from servers.kube import KubeServer
from servers.kubeapi import KubeApi, Object, is_ready
from servers.qdrant import QdrantServer
from vectorops.api.reasons import Reason
from vectorops.errors import Terminal
from vectorops.kube import access
from vectorops.kube.calls import Calls
from vectorops.kube.cluster import CONFIG_MAP_PAGE_ITEMS, KubeCluster
from vectorops.kube.config_map_watch import ConfigMapWatch
from vectorops.reconcilers.references import config_maps_of

SOURCE = {"vectorops.dev/source": "true"}


def config_map(namespace: str, name: str, content: str = "{}", **labels: str) -> Object:
    metadata = {"name": name, "namespace": namespace, "labels": SOURCE | labels}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"rows.jsonl": content}}


class Robot(NamedTuple):
    """A service account, as the operator's."""

    api: KubeApi
    namespace: str

    async def token(self) -> str:
        return await self.api.token(self.namespace, "robot")

    async def grant(self, rules: list[Object]) -> None:
        rbac = {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "metadata": {"name": "robot", "namespace": self.namespace},
        }
        await self.api.apply({**rbac, "kind": "Role", "rules": rules})
        subjects = [{"kind": "ServiceAccount", "name": "robot", "namespace": self.namespace}]
        role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "robot"}
        await self.api.apply({**rbac, "kind": "RoleBinding", "roleRef": role, "subjects": subjects})
        user = f"system:serviceaccount:{self.namespace}:robot"
        async with asyncio.timeout(30):
            for rule in rules:
                for verb in rule["verbs"]:
                    while not await self.api.may(user, resource="configmaps", verb=verb, namespace=self.namespace):
                        pass


@pytest.fixture
def team(api: KubeApi, namespace: str) -> Team:
    return Team(api, namespace)


@pytest.fixture
async def calls(kube: KubeServer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Calls]:
    """As the administrator."""
    async with as_user(kube.kubeconfig(), monkeypatch) as made:
        yield made


@asynccontextmanager
async def as_user(kubeconfig: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Calls]:
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
    client = access.make_client(await access.configuration())
    try:
        yield Calls(client)
    finally:
        await client.close()
        # aiohttp closes a connection with TLS after that.
        await asyncio.sleep(0.1)


@asynccontextmanager
async def watching(calls: Calls, namespace: str | None) -> AsyncIterator[Counter[str]]:
    """How often each namespace was named."""
    changed: Counter[str] = Counter()
    watch = ConfigMapWatch(calls, lambda place: changed.update([place]), namespace, interval_seconds=0.2)
    task = asyncio.create_task(watch.run())
    try:
        yield changed
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(holds: Callable[[], Any]) -> None:
    async with asyncio.timeout(30):
        while not holds():  # noqa: ASYNC110 - a watch tells no test
            await asyncio.sleep(0.02)


async def test_they_are_read_whole_by_their_labels_and_of_one_namespace(
    api: KubeApi, namespace: str, calls: Calls
) -> None:
    binary = {"binaryData": {"b.parquet": "UEFSMQ=="}}
    await api.apply(config_map(namespace, "one", "1", app="docs") | binary)
    await api.apply(config_map(namespace, "two", "2", app="other"))
    await api.apply(config_map("default", unique("elsewhere"), "3", app="docs"))
    unlabeled = config_map(namespace, "three", "4", app="docs")
    del unlabeled["metadata"]["labels"]["vectorops.dev/source"]
    await api.apply(unlabeled)

    found = await KubeCluster(calls, instance="test").config_maps(namespace, {"app": "docs"})

    assert [each["metadata"]["name"] for each in found] == ["one"]
    assert (found[0]["data"], found[0]["binaryData"]) == ({"rows.jsonl": "1"}, binary["binaryData"])
    assert found[0]["metadata"]["resourceVersion"]


async def test_all_pages_are_read(api: KubeApi, namespace: str, calls: Calls) -> None:
    names = {f"part-{number}" for number in range(CONFIG_MAP_PAGE_ITEMS + 1)}
    for name in names:
        await api.apply(config_map(namespace, name, app="docs"))

    found = await KubeCluster(calls, instance="test").config_maps(namespace, {"app": "docs"})

    assert {each["metadata"]["name"] for each in found} == names


async def test_more_than_fits_into_memory_is_refused(
    api: KubeApi, namespace: str, calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vectorops.kube.cluster.MAX_CONFIG_MAPS_BYTES", 99)
    await api.apply(config_map(namespace, "large", "x" * 100, app="docs"))

    with pytest.raises(Terminal) as refused:
        await KubeCluster(calls, instance="test").config_maps(namespace, {"app": "docs"})

    assert refused.value.reason is Reason.SOURCE_INVALID


@pytest.mark.parametrize("labels", [{"not a name": "x"}, {"app": "not a value!"}])
async def test_what_are_no_labels_is_the_mistake_of_the_resource(
    namespace: str, calls: Calls, labels: dict[str, str]
) -> None:
    with pytest.raises(Terminal) as refused:
        await KubeCluster(calls, instance="test").config_maps(namespace, labels)

    assert refused.value.reason is Reason.SOURCE_INVALID


async def test_a_value_is_no_selector_of_its_own(api: KubeApi, namespace: str, calls: Calls) -> None:
    await api.apply(config_map(namespace, "one", app="a", b="yes"))

    assert await KubeCluster(calls, instance="test").config_maps(namespace, {"app": "a,b"}) == []


@pytest.mark.parametrize("watch_all", [True, False])
async def test_each_change_of_one_names_its_namespace(
    api: KubeApi, namespace: str, calls: Calls, watch_all: bool
) -> None:
    if watch_all:
        await api.apply(config_map(namespace, "before"))
    async with watching(calls, None if watch_all else namespace) as changed:
        # One that was there before, or the first in the namespace.
        await api.apply(config_map(namespace, "before"))
        await until(lambda: changed[namespace] == 1)

        await api.apply(config_map(namespace, "rows", "1"))
        await until(lambda: changed[namespace] == 2)
        await api.apply(config_map(namespace, "rows", "2"))
        await until(lambda: changed[namespace] == 3)
        await api.patch("ConfigMap", namespace, "rows", {"metadata": {"labels": {"vectorops.dev/source": None}}})
        await until(lambda: changed[namespace] == 4)
        await api.delete("ConfigMap", namespace, "before")
        await until(lambda: changed[namespace] == 5)


RULE: Final = [
    rule
    for made in render({"rbac": {"configMaps": True}})
    if made["kind"] == "ClusterRole"
    for rule in made["rules"]
    if "configmaps" in rule["resources"]
]
"""What the chart grants if it is asked to. That each verb is needed, and granted to nobody else, test_rbac shows."""


@pytest.fixture
async def robot(api: KubeApi, namespace: str) -> Robot:
    """A service account with no right yet."""
    metadata = {"name": "robot", "namespace": namespace}
    await api.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata})
    return Robot(api, namespace)


async def test_without_the_right_the_refusal_says_what_to_do_and_the_right_is_found_when_it_comes(
    kube: KubeServer, api: KubeApi, namespace: str, robot: Robot, monkeypatch: pytest.MonkeyPatch
) -> None:
    await api.apply(config_map(namespace, "rows"))
    async with as_user(kube.kubeconfig(token=await robot.token()), monkeypatch) as calls:
        with pytest.raises(Terminal) as refused:
            await KubeCluster(calls, instance="test").config_maps(namespace, {})
        assert refused.value.reason is Reason.SOURCE_REFUSED
        assert "rbac.configMaps" in refused.value.message
        assert refused.value.on == config_maps_of(namespace)

        async with watching(calls, namespace) as changed:
            await robot.grant(RULE)
            await until(lambda: changed[namespace])

        found = await KubeCluster(calls, instance="test").config_maps(namespace, {})
    assert [each["metadata"]["name"] for each in found] == ["rows"]


# ---- a set whose rows are in them ----


def rows(*ids: int) -> str:
    return "".join(f'{{"id": {id}, "vector": [1, 0, 0], "kind": "row"}}\n' for id in ids)


def point_set_of(namespace: str, collection: str, **labels: str) -> Object:
    # A refresh that nobody waits for: what changes is told by the watch.
    spec = {"source": {"configMaps": {"selector": {"matchLabels": labels}}}, "refreshInterval": "1h"}
    return resource("PointSet", namespace, "rows", {"collectionRef": {"name": collection}, **spec})


async def test_a_change_is_in_qdrant_without_waiting_for_the_refresh(
    team: Team, qdrant: QdrantServer, stored: Stored, start_operator: StartOperator
) -> None:
    api, namespace, name = team.api, team.namespace, unique("rows")
    start_operator()
    await team.connection(qdrant)
    await team.collection(name)
    await api.apply(config_map(namespace, "rows", rows(1), app=name))
    await api.apply(point_set_of(namespace, name, app=name))
    await team.wait("PointSet", "rows", is_ready)
    assert sorted(await stored.points(name)) == [1]

    await api.apply(config_map(namespace, "rows", rows(2, 3), app=name))
    await until_stored(stored, name, [2, 3])

    await api.apply(config_map(namespace, "more", rows(4), app=name))
    await until_stored(stored, name, [2, 3, 4])

    await api.delete("ConfigMap", namespace, "more")
    await until_stored(stored, name, [2, 3])


async def test_what_is_wrong_in_one_is_told_and_mended_there(
    team: Team, qdrant: QdrantServer, stored: Stored, start_operator: StartOperator
) -> None:
    api, namespace, name = team.api, team.namespace, unique("rows")
    start_operator()
    await team.connection(qdrant)
    await team.collection(name)
    await api.apply(point_set_of(namespace, name, app=name))
    # No ConfigMap has the labels yet.
    await team.wait("PointSet", "rows", "SourceEmpty")

    await api.apply(config_map(namespace, "rows", "{", app=name))
    await team.wait("PointSet", "rows", "SourceInvalid")
    assert await stored.points(name) == {}

    await api.apply(config_map(namespace, "rows", rows(1), app=name))
    await team.wait("PointSet", "rows", is_ready)
    assert sorted(await stored.points(name)) == [1]


async def until_stored(stored: Stored, name: str, ids: list[int]) -> None:
    async with asyncio.timeout(60):
        while sorted(await stored.points(name)) != ids:  # noqa: ASYNC110 - Qdrant tells nobody
            await asyncio.sleep(0.1)
