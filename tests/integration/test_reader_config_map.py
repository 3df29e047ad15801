"""The ConfigMap from which readers learn what to ask: kept by the operator on a real API server, and only if it is
theirs.
"""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from integration.team import Team, message, reason, unique
from integration.world import Stored, make_by_hand, secret
from servers.helm import render
from servers.kube import KubeServer
from servers.kubeapi import Object, is_ready
from servers.qdrant import QdrantServer
from vectorops.api.meta import QDRANT_COLLECTION, Resource
from vectorops.api.reasons import Reason
from vectorops.errors import Terminal, Transient
from vectorops.kube import access
from vectorops.kube.calls import Calls
from vectorops.kube.cluster import KubeCluster

ON: Final = {"readerConfigMap": True}
OPEN_AI: Final = {"model": "text-embedding-3-small", "apiKeySecretRef": {"name": "the-secret", "key": "api-key"}}


async def content_of(team: Team, name: str) -> Object:
    found = await team.api.get("ConfigMap", team.namespace, f"{name}-reader")
    parsed: Object = json.loads(found["data"]["reader.json"])
    return parsed


async def names_of(team: Team) -> set[str]:
    return {each["metadata"]["name"] for each in await team.api.list("ConfigMap", team.namespace)}


def foreign(namespace: str, name: str) -> Object:
    metadata = {"name": f"{name}-reader", "namespace": namespace, "labels": {"by": "someone"}}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"theirs": "1"}}


async def test_it_says_where_and_what_to_ask_and_belongs_to_the_collection(team: Team, qdrant: QdrantServer) -> None:
    name = unique("told")

    made = await team.collection(name, until=is_ready, aliases=[f"{name}-too"], **ON)

    assert made["status"]["readerConfigMap"] == f"{name}-reader"
    found = await team.api.get("ConfigMap", team.namespace, f"{name}-reader")
    [owner] = found["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["uid"], owner["controller"]) == (QDRANT_COLLECTION, made["metadata"]["uid"], True)
    assert await content_of(team, name) == {
        "version": 1,
        "url": qdrant.url,
        "grpcPort": qdrant.grpc_port,
        "name": name,
        "aliases": [f"{name}-too"],
        "collection": made["status"]["collection"]["name"],
        "incarnation": made["status"]["collection"]["incarnation"],
        "vectors": [{"name": "", "kind": "dense", "size": 3, "distance": "Cosine", "datatype": "float32"}],
    }
    assert found["data"]["QDRANT_URL"] == qdrant.url
    assert found["data"]["QDRANT_COLLECTION"] == name


async def test_nothing_is_written_while_nothing_changes_and_a_change_is(team: Team) -> None:
    name = unique("idle")
    await team.collection(name, until=is_ready, **ON)
    before = await team.api.get("ConfigMap", team.namespace, f"{name}-reader")

    for _ in range(2):
        await team.look_again("QdrantCollection", name)

    assert await team.api.get("ConfigMap", team.namespace, f"{name}-reader") == before

    # What others do to it is put right; their labels stay.
    theirs = {"metadata": {"labels": {"team": "search"}}, "data": {"QDRANT_URL": "http://elsewhere", "more": "1"}}
    await team.api.patch("ConfigMap", team.namespace, f"{name}-reader", theirs)
    await team.look_again("QdrantCollection", name)
    mended = await team.api.get("ConfigMap", team.namespace, f"{name}-reader")
    assert mended["data"] == before["data"]
    assert mended["metadata"]["labels"]["team"] == "search"

    await team.collection(name, until=is_ready, aliases=[f"{name}-too"], **ON)
    assert (await content_of(team, name))["aliases"] == [f"{name}-too"]


async def test_it_tells_the_model_and_no_secret(team: Team) -> None:
    name = unique("model")
    await team.api.apply(secret(team.namespace, "the-secret", api_key="sk-secret"))
    asked = {"prompts": {"query": "query: "}, "extraBody": {"queries": {"input_type": "query"}}}
    vectors = [
        {"name": "text", "embedder": {"openAI": {**OPEN_AI, **asked, "baseURL": "https://models.example.org/v1"}}}
    ]

    await team.collection(name, until=is_ready, vectors=vectors, **ON)

    [vector] = (await content_of(team, name))["vectors"]
    assert vector["size"] == 1536
    embedder = vector["embedder"]
    assert (embedder["provider"], embedder["model"]) == ("openAI", "text-embedding-3-small")
    assert embedder["baseURL"] == "https://models.example.org/v1"
    assert (embedder["queryPrompt"], embedder["queryExtraBody"]) == ("query: ", {"input_type": "query"})
    assert "the-secret" not in json.dumps(vector)


async def test_a_model_that_is_only_declared_is_not_told(team: Team) -> None:
    """The change is held back: a question must still be asked of the old model."""
    name = unique("held")
    await team.api.apply(secret(team.namespace, "the-secret", api_key="sk-secret"))
    old = [{"name": "text", "embedder": {"openAI": OPEN_AI}}]
    new = [{"name": "text", "embedder": {"openAI": OPEN_AI | {"model": "text-embedding-3-large"}}}]
    await team.collection(name, until=is_ready, vectors=old, **ON)
    before = await content_of(team, name)

    await team.collection(name, until="PlanHeldBack", vectors=new, **ON)

    assert await content_of(team, name) == before


async def test_a_collection_of_its_user_has_one_too(team: Team, stored: Stored) -> None:
    name = unique("users")
    await make_by_hand(stored, name)

    await team.collection(name, until=is_ready, managedBy="User", **ON)

    found = await content_of(team, name)
    assert (found["collection"], found["incarnation"]) == (name, None)


async def test_one_that_was_there_first_is_refused_and_left_alone(team: Team) -> None:
    name = unique("taken")
    theirs = await team.api.apply(foreign(team.namespace, name))

    refused = await team.collection(name, until="OwnedByAnother", **ON)

    assert f"ConfigMap '{name}-reader'" in message(refused)
    assert "delete or rename it" in message(refused)
    assert (await team.api.get("ConfigMap", team.namespace, f"{name}-reader"))["data"] == theirs["data"]

    # Not to be deleted either.
    await team.collection(name, until=is_ready, readerConfigMap=False)
    assert (await team.api.get("ConfigMap", team.namespace, f"{name}-reader"))["data"] == theirs["data"]

    await team.api.delete("ConfigMap", team.namespace, f"{name}-reader")
    await team.collection(name, until=is_ready, **ON)
    assert (await content_of(team, name))["name"] == name


@pytest.mark.parametrize("off", [{"readerConfigMap": False}, {}], ids=["false", "absent"])
async def test_it_goes_when_it_is_not_wanted_any_more(team: Team, off: Object) -> None:
    name = unique("off")
    await team.collection(name, until=is_ready, **ON)

    done = await team.collection(name, until=is_ready, **off)

    assert f"{name}-reader" not in await names_of(team)
    assert "readerConfigMap" not in done["status"]


async def test_none_is_made_unless_it_is_asked_for(team: Team) -> None:
    name = unique("none")

    made = await team.collection(name, until=is_ready)

    assert f"{name}-reader" not in await names_of(team)
    assert "readerConfigMap" not in made["status"]


async def test_a_name_that_would_be_too_long_is_told(team: Team) -> None:
    name = "a" * 250

    refused = await team.collection(name, collectionName=unique("long"), until="InvalidSpec", **ON)

    assert "spec.readerConfigMap" in message(refused)
    assert reason(await team.collection(name, collectionName=refused["spec"]["collectionName"])) == "Succeeded"


# ---- behind an alias ----


def alias_of(server: QdrantServer, alias: str) -> str:
    found = {one["alias_name"]: one["collection_name"] for one in server.get("/aliases")["aliases"]}
    return str(found[alias])


async def test_it_follows_readers_to_another_collection_and_back(team: Team, qdrant: QdrantServer) -> None:
    name = unique("moved")
    shape: Object = {"layout": "Aliased", "migration": {"approval": "Auto"}, **ON}
    await team.collection(name, until=is_ready, **shape)
    old = alias_of(qdrant, name)
    before = await content_of(team, name)
    assert (before["name"], before["collection"]) == (name, old)

    await team.collection(name, until=is_ready, vector={"size": 3, "datatype": "float16"}, **shape)

    new = alias_of(qdrant, name)
    after = await content_of(team, name)
    assert after["collection"] == new != old
    assert after["vectors"][0]["datatype"] == "float16"

    await team.annotate("QdrantCollection", name, {"vectorops.dev/roll-back": after["incarnation"]})
    await team.wait(
        "QdrantCollection", name, lambda obj: (obj["status"].get("migration") or {}).get("phase") == "RolledBack"
    )
    assert alias_of(qdrant, name) == old
    assert await content_of(team, name) == before


async def test_while_it_cannot_be_kept_no_reader_is_moved(team: Team, qdrant: QdrantServer) -> None:
    name = unique("unheard")
    shape: Object = {"layout": "Aliased", "migration": {"approval": "Auto", "gracePeriod": "0s"}, **ON}
    await team.collection(name, until=is_ready, **shape)
    old = alias_of(qdrant, name)
    await team.api.delete("ConfigMap", team.namespace, f"{name}-reader")
    await team.api.apply(foreign(team.namespace, name))

    await team.collection(name, until="OwnedByAnother", params={"shard_number": 2}, **shape)
    assert alias_of(qdrant, name) == old

    await team.api.delete("ConfigMap", team.namespace, f"{name}-reader")
    await team.look_again("QdrantCollection", name)
    done = await team.wait("QdrantCollection", name, lambda obj: is_ready(obj) and "migration" not in obj["status"])
    new = alias_of(qdrant, name)
    assert new != old
    assert done["status"]["collection"]["name"] == new == (await content_of(team, name))["collection"]


# ---- rights ----

RULE: Final[Object] = next(
    rule
    for made in render({"rbac": {"readerConfigMaps": True}})
    if made["kind"] == "ClusterRole"
    for rule in made["rules"]
    if "configmaps" in rule["resources"]
)


@asynccontextmanager
async def cluster_of(kubeconfig: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[KubeCluster]:
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
    client = access.make_client(await access.configuration())
    try:
        yield KubeCluster(Calls(client), instance="test")
    finally:
        await client.close()


async def resource_of(team: Team, name: str) -> Resource:
    return Resource.from_object(await team.get("QdrantCollection", name))


async def test_without_the_right_the_refusal_names_the_value_of_the_chart(
    kube: KubeServer, team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = unique("no-right")
    await team.collection(name, until=is_ready)
    metadata = {"name": "reader-robot", "namespace": team.namespace}
    await team.api.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata})
    token = await team.api.token(team.namespace, "reader-robot")
    async with cluster_of(kube.kubeconfig(token=token), monkeypatch) as cluster:
        resource = await resource_of(team, name)
        for asked in (
            cluster.keep_config_map(resource, f"{name}-reader", {}),
            cluster.delete_config_map(resource, "a"),
        ):
            with pytest.raises(Terminal, match=r"rbac\.readerConfigMaps") as refused:
                await asked
            assert refused.value.reason is Reason.NOT_ALLOWED
    assert f"{name}-reader" not in await names_of(team)


async def test_one_of_an_earlier_resource_of_the_name_or_that_is_being_deleted_is_waited_for(
    kube: KubeServer, team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = unique("earlier")
    await team.collection(name, until=is_ready)
    resource = await resource_of(team, name)
    earlier = resource.meta.model_copy(update={"uid": "00000000-0000-0000-0000-000000000000"})
    config_map = f"{name}-config"
    async with cluster_of(kube.kubeconfig(), monkeypatch) as cluster:
        await cluster.keep_config_map(Resource(resource.kind, earlier, resource.spec, {}), config_map, {"a": "1"})
        with pytest.raises(Transient, match="of an earlier QdrantCollection"):
            await cluster.keep_config_map(resource, config_map, {"a": "2"})
        await cluster.delete_config_map(resource, config_map)
        assert (await team.api.get("ConfigMap", team.namespace, config_map))["data"] == {"a": "1"}

        own = f"{name}-own"
        await cluster.keep_config_map(resource, own, {"a": "1"})
        await team.api.patch("ConfigMap", team.namespace, own, {"metadata": {"finalizers": ["example.org/hold"]}})
        await cluster.delete_config_map(resource, own)
        with pytest.raises(Transient, match="is being deleted"):
            await cluster.keep_config_map(resource, own, {"a": "1"})
        await team.api.patch("ConfigMap", team.namespace, own, {"metadata": {"finalizers": None}})
        await cluster.keep_config_map(resource, own, {"a": "3"})
    assert (await team.api.get("ConfigMap", team.namespace, own))["data"] == {"a": "3"}


def test_the_chart_gives_only_what_is_used() -> None:
    assert RULE["verbs"] == ["get", "create", "patch", "delete"]
    default: list[Any] = [rule for made in render() for rule in made.get("rules", ()) if made["kind"] == "ClusterRole"]
    assert not [rule for rule in default if "configmaps" in rule["resources"]]
