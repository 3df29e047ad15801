"""Collections that are deleted: after what, by which name, what stays behind, and though Qdrant refuses or is down."""

import asyncio
import threading

from qdrant_client import models

from integration.conftest import StartOperator, StartProxy, StartQdrant
from integration.team import Team, message, reason, unique
from integration.world import (
    Stored,
    change_by_hand,
    config_of,
    make_by_hand,
    mark_of,
    point,
    put_by_hand,
    secret,
)
from servers.kubeapi import KubeApi, is_ready
from servers.proxy import Call, Cut
from servers.qdrant import QdrantServer

# -------------------------------------------------------------------------------------------- what goes, and after what


async def test_peers_03_the_collection_is_deleted_by_the_name_that_it_was_created_under(
    team: Team, stored: Stored
) -> None:
    """F creates `spec.name` and deletes the resource's name."""
    resource, name = unique("resource"), unique("physical")
    await make_by_hand(stored, resource)
    await team.collection(resource, collectionName=name, deletionPolicy="Delete")
    assert await stored.exists(name)

    await team.delete("QdrantCollection", resource)

    assert not await stored.exists(name)
    assert await stored.exists(resource)


async def test_a_collection_is_deleted_after_its_sets_and_says_what_it_waits_for(team: Team, stored: Stored) -> None:
    name = unique("blocked")
    await team.collection(name, deletionPolicy="Delete")
    await team.points("live-" + name, name, [point(1, 1, 0, 0)])

    await team.ask_to_delete("QdrantCollection", name)
    blocked = await team.wait("QdrantCollection", name, lambda obj: reason(obj) == "DeletionBlocked")
    assert f"live-{name}" in message(blocked)
    assert await stored.count(name) == 1

    await team.delete("PointSet", "live-" + name)
    await team.gone("QdrantCollection", name)
    assert not await stored.exists(name)


async def test_a_collection_waits_for_a_set_that_is_being_deleted(team: Team, stored: Stored) -> None:
    name = unique("waits")
    await team.collection(name, deletionPolicy="Delete")
    await team.points(name, name, [point(1, 1, 0, 0)])
    # What it cannot read it will not act upon.
    damaged = models.Filter(must=[has("kind", "base"), has("collection", name)])
    await stored.client.delete("vectorops-ledger", damaged)
    await team.ask_to_delete("PointSet", name)

    await team.ask_to_delete("QdrantCollection", name)
    waiting = await team.wait(
        "QdrantCollection", name, lambda obj: "waiting for PointSets" in message(obj) and reason(obj) == "Deleting"
    )
    assert name in message(waiting)
    assert await stored.exists(name)

    await team.annotate("PointSet", name, {"vectorops.dev/skip-cleanup": "true"})
    await team.gone("QdrantCollection", name)
    assert not await stored.exists(name)


async def test_a_collection_waits_for_no_set_that_only_somebody_elses_finalizer_holds(
    team: Team, api: KubeApi, stored: Stored
) -> None:
    name = unique("left")
    await team.collection(name, deletionPolicy="Delete")
    await team.points(name, name, [point(1, 1, 0, 0)])
    held = {"metadata": {"finalizers": ["vectorops.dev/cleanup", "example.com/hold"]}}
    await api.patch("PointSet", team.namespace, name, held)
    await team.ask_to_delete("PointSet", name)

    await team.ask_to_delete("QdrantCollection", name)
    await team.gone("QdrantCollection", name)

    assert not await stored.exists(name)
    assert await api.find("PointSet", team.namespace, name) is not None
    await api.patch("PointSet", team.namespace, name, {"metadata": {"finalizers": None}})


def has(key: str, value: str) -> models.FieldCondition:
    """A filter's condition: the payload has this value."""
    return models.FieldCondition(key=key, match=models.MatchValue(value=value))


# -------------------------------------------------------------------------------------------------- what is left behind


async def test_cocoindex_05_what_was_retained_is_found_again_and_not_written_again(
    team: Team, stored: Stored, qdrant: QdrantServer
) -> None:
    """After the state is lost everything is written again, and what was removed meanwhile stays."""
    name = unique("retained")
    points = [point(1, 1, 0, 0), point(2, 0, 1, 0), point(3, 0, 0, 1)]
    first = await team.collection(name)
    await team.points(name, name, points)
    # The collection first: its set keeps its points, and goes without deleting one when it goes at all.
    await team.delete("QdrantCollection", name)
    assert mark_of(qdrant, name)["released"] is True
    assert await stored.count(name) == 3
    before = qdrant.telemetry_writes_by_endpoint()

    again = await team.collection(name)
    kept = await team.look_again("PointSet", name)

    assert is_ready(kept), message(kept)
    assert again["status"]["collection"] == first["status"]["collection"]
    after = qdrant.telemetry_writes_by_endpoint()
    written = {endpoint: count - before.get(endpoint, 0) for endpoint, count in after.items()}
    assert {endpoint for endpoint, count in written.items() if count} == {"PATCH /collections/{name}"}
    await team.points(name, name, points[:1])
    assert sorted(await stored.points(name)) == [1]


async def test_a_resource_under_another_name_takes_what_was_retained(team: Team, stored: Stored) -> None:
    first, second = unique("first"), unique("second")
    await team.collection(first)
    await put_by_hand(stored, first, 1)
    await team.delete("QdrantCollection", first)

    heir = await team.collection(second, collectionName=first)

    assert is_ready(heir)
    assert await stored.count(first) == 1


async def test_suspend_freezes_a_collection_and_its_deletion_still_works(
    team: Team, stored: Stored, qdrant: QdrantServer
) -> None:
    name = unique("suspend")
    await team.collection(name, hnswConfig={"m": 20})
    change_by_hand(qdrant, name, {"hnsw_config": {"m": 9}})

    frozen = await team.collection(name, hnswConfig={"m": 30}, suspend=True, deletionPolicy="Delete")
    await team.look_again("QdrantCollection", name)
    assert reason(frozen) == "Suspended"
    assert config_of(qdrant, name)["hnsw_config"]["m"] == 9

    await team.delete("QdrantCollection", name)
    assert not await stored.exists(name)


async def test_skip_cleanup_lets_go_and_leaves_everything(team: Team, stored: Stored) -> None:
    name = unique("skip")
    await team.collection(name, deletionPolicy="Delete")
    await team.points(name, name, [point(1, 1, 0, 0)])
    await team.ask_to_delete("QdrantCollection", name)
    await team.wait("QdrantCollection", name, lambda obj: reason(obj) == "DeletionBlocked")

    await team.annotate("QdrantCollection", name, {"vectorops.dev/skip-cleanup": "true"})
    await team.gone("QdrantCollection", name)

    assert await stored.count(name) == 1
    # Sent when the resource is gone, so a moment after that.
    assert await team.event(name, "CleanupSkipped")
    await team.delete("PointSet", name)
    assert await stored.count(name) == 0


# ------------------------------------------------------------------------------------ a server that refuses, or is down


async def test_peers_02_04_07_10_a_deletion_lasts_until_qdrant_has_done_it(
    api: KubeApi,
    namespace: str,
    start_qdrant: StartQdrant,
    start_operator: StartOperator,
    start_proxy: StartProxy,
) -> None:
    """B deletes without the key and swallows the refusal, D takes a failed DELETE for success, E has no finalizer, C
    sends no key at all: the collection leaks.
    """
    qdrant = start_qdrant(api_key="secret")
    proxy = start_proxy(qdrant.url)
    start_operator()
    team = Team(api, namespace)
    await api.create(secret(namespace, "key", api_key="secret"))
    await team.connection(proxy.url, apiKeySecretRef={"name": "key", "key": "api-key"})
    made = await team.collection("resource", collectionName="physical", deletionPolicy="Delete", until=is_ready)
    assert made["metadata"]["finalizers"] == ["vectorops.dev/cleanup"]

    tried = threading.Event()

    def refuse_deletions(call: Call) -> None:
        if call.method == "DELETE":
            tried.set()
            raise Cut

    proxy.before = refuse_deletions
    await team.ask_to_delete("QdrantCollection", "resource")
    await asyncio.to_thread(tried.wait, 30)
    async with Stored(qdrant) as stored:
        assert await stored.exists("physical")
        assert (await team.get("QdrantCollection", "resource"))["metadata"]["finalizers"]

        proxy.before = None
        await team.gone("QdrantCollection", "resource")
        assert not await stored.exists("physical")


async def test_cocoindex_12_a_collection_is_deleted_although_qdrant_was_down_when_it_was_asked(
    api: KubeApi, namespace: str, start_qdrant: StartQdrant, start_operator: StartOperator
) -> None:
    """The run says OK, the record is removed, and the collection stays for ever."""
    qdrant = start_qdrant()
    start_operator()
    team = Team(api, namespace)
    await team.connection(qdrant)
    await team.collection("zoo", deletionPolicy="Delete")
    await team.points("animals", "zoo", [point(1, 1, 0, 0)], until=is_ready)

    qdrant.kill()
    await team.ask_to_delete("PointSet", "animals")
    await team.ask_to_delete("QdrantCollection", "zoo")
    await team.wait("PointSet", "animals", lambda obj: reason(obj) in {"Unreachable", "ServerError"})
    qdrant.start()

    await team.gone("PointSet", "animals")
    await team.gone("QdrantCollection", "zoo")
    async with Stored(qdrant) as stored:
        assert not await stored.exists("zoo")
