"""Qdrant is away for a moment or for minutes, answers get lost on their way back, the operator starts anew: afterwards
the world is as declared, and nothing was done twice.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable
from functools import partial

import pytest
from qdrant_client import models

from integration.conftest import StartOperator, StartProxy, StartQdrant
from integration.world import Stored, collection, connection, has_reason, point, point_set
from servers.kube import KubeServer
from servers.kubeapi import KubeApi, Object, condition, is_ready
from servers.process import wait_until
from servers.proxy import Call, Proxy
from servers.qdrant import QdrantServer

OURS = (("QdrantConnection", "main"), ("QdrantCollection", "zoo"), ("PointSet", "cats"))
WELL_BELOW_TWO_MINUTES = 50


async def declare(api: KubeApi, namespace: str, server: QdrantServer) -> None:
    """A connection, a collection and a set of points, all Ready."""
    await api.apply(connection(namespace, server, timeoutSeconds=3))
    await api.apply(collection(namespace, "zoo", aliases=["menagerie"]))
    await api.apply(point_set(namespace, "cats", "zoo", [point(1, 1, 0, 0), point(2, 0, 1, 0)]))
    for kind, name in OURS:
        await api.wait_for(kind, namespace, name, is_ready)


# ---- a restart of Qdrant ----


async def test_a_restart_of_qdrant_is_not_seen_in_any_status(
    api: KubeApi, namespace: str, start_qdrant: StartQdrant, start_operator: StartOperator
) -> None:
    server = start_qdrant()
    operator = start_operator()
    await declare(api, namespace, server)
    before = {name: await api.get(kind, namespace, name) for kind, name in OURS}

    server.kill()
    for kind, name in OURS:
        await api.annotate(kind, namespace, name, {"vectorops.dev/reconcile": "while it is away"})
    wait_until(lambda: operator.log_text().count("trying again: ") >= len(OURS), what="all to have tried in vain")
    during = {name: await api.get(kind, namespace, name) for kind, name in OURS}
    server.start()
    after = [
        await api.wait_for(kind, namespace, name, lambda found: "lastHandledReconcileAt" in found["status"])
        for kind, name in OURS
    ]

    assert {name: each["status"] for name, each in during.items()} == {n: each["status"] for n, each in before.items()}
    for each in after:
        old = before[each["metadata"]["name"]]
        assert each["status"]["conditions"] == old["status"]["conditions"]


@pytest.mark.timeout(600)
async def test_two_minutes_without_a_qdrant_hold_up_nobody_elses_resources_and_end_well(
    api: KubeApi, namespace: str, start_qdrant: StartQdrant, start_operator: StartOperator
) -> None:
    """It takes those two minutes, and some more until everybody has tried again."""
    sick, well = start_qdrant(), start_qdrant()
    start_operator()
    await declare(api, namespace, sick)
    await api.apply(point_set(namespace, "leaving", "zoo", [point(7, 1, 1, 0)]))
    await api.wait_for("PointSet", namespace, "leaving", is_ready)
    async with Stored(sick) as stored:
        foreign = models.PointStruct(id=99, vector=[0.0, 0.0, 1.0], payload={"by": "another"})
        await stored.client.upsert("zoo", [foreign], wait=True)
        foreign_before = (await stored.points("zoo"))[99]

    sick.pause()
    try:
        await api.delete("PointSet", namespace, "leaving")
        await api.apply(point_set(namespace, "cats", "zoo", [point(1, 0, 0, 1)]))
        for kind, name in OURS[:2]:
            await api.annotate(kind, namespace, name, {"vectorops.dev/reconcile": "while it is away"})

        # Another Qdrant meanwhile.
        await api.apply(connection(namespace, well, name="other"))
        await api.apply(collection(namespace, "garden", connectionRef={"name": "other"}))
        await api.apply(point_set(namespace, "roses", "garden", [point(1, 1, 0, 0)]))
        await api.wait_for("PointSet", namespace, "roses", is_ready)

        told = await api.wait_for(
            "PointSet", namespace, "leaving", lambda found: condition(found, "Ready")["status"] == "False"
        )
        assert condition(told, "Ready")["reason"] == "Unreachable"
        await asyncio.sleep(WELL_BELOW_TWO_MINUTES)
        for kind, name in OURS[:2]:
            assert is_ready(await api.get(kind, namespace, name))

        await api.wait_for("QdrantConnection", namespace, "main", has_reason("Unreachable"), timeout=240)
        await api.wait_for("QdrantCollection", namespace, "zoo", has_reason("ConnectionNotReady"))
        await api.apply(point_set(namespace, "roses", "garden", [point(1, 1, 0, 0), point(2, 0, 1, 0)]))
        await api.wait_for("PointSet", namespace, "roses", is_ready)
        assert await api.find("PointSet", namespace, "leaving")
    finally:
        sick.resume()

    for kind, name in OURS:
        await api.wait_for(kind, namespace, name, is_ready, timeout=200)
    await api.wait_gone("PointSet", namespace, "leaving", timeout=200)
    async with Stored(sick) as stored:
        points = await stored.points("zoo")
    assert sorted(points) == [1, 99]
    assert points[1].vector == [0.0, 0.0, 1.0]
    assert points[99] == foreign_before


async def test_a_restart_of_the_operator_writes_nothing_anywhere(
    api: KubeApi, namespace: str, start_qdrant: StartQdrant, start_operator: StartOperator
) -> None:
    server = start_qdrant()
    operator = start_operator()
    await declare(api, namespace, server)
    writes = server.telemetry_writes()
    before = [(await api.get(kind, namespace, name))["metadata"]["resourceVersion"] for kind, name in OURS]

    operator.stop()
    operator.start()

    looked = [f'vectorops_reconcile_total{{kind="{kind}",result="success"}}' for kind, _ in OURS]
    wait_until(lambda: all(each in operator.metrics() for each in looked), what="all to have been looked at")
    assert [(await api.get(kind, namespace, name))["metadata"]["resourceVersion"] for kind, name in OURS] == before
    assert server.telemetry_writes() == writes
    assert '"level":"error"' not in operator.log_text()


# ---- answers that get lost ----


class Loss:
    """One request whose answer gets lost: `PUT /collections/zoo/points`, as a regular expression without the query."""

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self.met = False

    def __call__(self, call: Call) -> bool:
        matches = re.fullmatch(self.pattern, f"{call.method} {call.path.partition('?')[0]}") is not None
        self.met = self.met or matches
        return matches


OVER_REST = {
    "create": "PUT /collections/ZOO",
    "update": "PATCH /collections/ZOO",
    "index": "PUT /collections/ZOO/index",
    "no-index": "DELETE /collections/ZOO/index/kind",
    "alias": "POST /collections/aliases",
    "ledger": "PUT /collections/LEDGER",
    "record": "PUT /collections/LEDGER/points",
    "token": "POST /collections/LEDGER/points/batch",
    "forget": "POST /collections/LEDGER/points/delete",
    "upsert": "PUT /collections/ZOO/points",
    "vectors": "PUT /collections/ZOO/points/vectors",
    "payload": "POST /collections/ZOO/points/batch",
    "delete": "POST /collections/ZOO/points/delete",
    "drop": "DELETE /collections/ZOO",
}
OVER_GRPC = {
    "upsert-grpc": "POST /qdrant.Points/Upsert",
    "vectors-grpc": "POST /qdrant.Points/UpdateVectors",
    "delete-grpc": "POST /qdrant.Points/Delete",
}
TO_KUBERNETES = {
    f"{verb}-{kind}": f"PATCH .*/{plural}/NAME{path}"
    for kind, plural in (("conn", "qdrantconnections"), ("col", "qdrantcollections"), ("set", "pointsets"))
    for verb, path in (("finalizer", ""), ("status", "/status"))
}


async def live(
    api: KubeApi, namespace: str, name: str, server: QdrantServer, of_connection: Object, end: Callable[[], None]
) -> None:
    """The life of a connection, a collection and a set of points, all called `name`, seen to be as declared at each
    stage. end: called before the last stage, in which all is deleted.
    """
    everything = ("PointSet", "QdrantCollection", "QdrantConnection")
    ledger = f"{name}-ledger"
    spec: Object = {"connectionRef": {"name": name}, "deletionPolicy": "Delete"}
    vectors: Object = {"vectors": [{"name": "text", "size": 2, "distance": "Dot"}, {"name": "image", "size": 2}]}
    of_connection = {"timeoutSeconds": 10, "ledgerCollectionName": ledger} | of_connection
    await api.apply(connection(namespace, server, name=name, **of_connection))

    async def expect(points: dict[int, tuple[list[float], Object]], m: int, index: str, alias: str) -> None:
        found = [await api.wait_for(kind, namespace, name, is_ready, timeout=60) for kind in everything]
        assert {condition(each, "Ready")["reason"] for each in found} == {"Succeeded"}
        assert found[0]["status"]["points"] == {
            "desired": len(points),
            "synced": len(points),
            "failed": 0,
            "conflicts": 0,
        }
        async with Stored(server) as stored:
            present = await stored.points(name)
        assert {id: (each.vector["text"], each.payload) for id, each in present.items()} == points
        described = server.get(f"/collections/{name}")
        assert described["config"]["hnsw_config"]["m"] == m
        assert list(described["payload_schema"]) == [index]
        aliases = server.get(f"/collections/{name}/aliases")["aliases"]
        assert [each["alias_name"] for each in aliases] == [f"{name}-{alias}"]

    def declared(points: dict[int, tuple[list[float], Object]]) -> list[Object]:
        return [point(id, text=vector, image=[1, 0], payload=payload) for id, (vector, payload) in points.items()]

    first: dict[int, tuple[list[float], Object]] = {
        1: ([1.0, 0.0], {"a": 1}),
        2: ([2.0, 0.0], {"a": 2}),
        3: ([3.0, 0.0], {}),
    }
    index: Object = {"field": "kind", "schema": {"type": "keyword"}}
    shape: Object = {"hnswConfig": {"m": 24}, "payloadIndexes": [index], "aliases": [f"{name}-old"]}
    await api.apply(collection(namespace, name, **spec, **vectors, **shape))
    await api.apply(point_set(namespace, name, name, declared(first)))
    await expect(first, 24, "kind", "old")

    second: dict[int, tuple[list[float], Object]] = {
        1: ([1.5, 0.0], {"a": 1}),
        2: ([2.0, 0.0], {"b": 2}),
        4: ([4.0, 0.0], {}),
    }
    index = {"field": "year", "schema": {"type": "integer"}}
    shape = {"hnswConfig": {"m": 32}, "payloadIndexes": [index], "aliases": [f"{name}-new"]}
    await api.apply(collection(namespace, name, **spec, **vectors, **shape))
    await api.apply(point_set(namespace, name, name, declared(second)))
    await expect(second, 32, "year", "new")

    end()
    for kind in everything:
        await api.delete(kind, namespace, name)
    for kind in everything:
        await api.wait_gone(kind, namespace, name, timeout=60)
    async with Stored(server) as stored:
        assert not await stored.exists(name)
        assert await stored.points(ledger) == {}


@pytest.mark.timeout(240)
async def test_an_answer_of_qdrant_that_is_lost_after_the_write_changes_nothing_about_the_end(
    api: KubeApi, namespace: str, start_qdrant: StartQdrant, start_operator: StartOperator, start_proxy: StartProxy
) -> None:
    """One life for each kind of write, side by side, each with proxies of its own."""
    server = start_qdrant()
    start_operator()
    losses = {}
    lives: list[Awaitable[None]] = []
    for name, pattern in (OVER_REST | OVER_GRPC).items():
        rest, grpc = start_proxy(server.url), start_proxy(f"127.0.0.1:{server.grpc_port}")
        loss = losses[name] = Loss(pattern.replace("ZOO", name).replace("LEDGER", f"{name}-ledger"))
        (grpc if name in OVER_GRPC else rest).lose_answer(loss)
        way = {"url": rest.url, "grpcPort": grpc.port, "preferGrpc": name in OVER_GRPC}
        lives.append(live(api, namespace, name, server, way, lambda: None))

    await asyncio.gather(*lives)

    assert not [name for name, loss in losses.items() if not loss.met]


@pytest.mark.timeout(240)
async def test_an_answer_of_the_api_server_that_is_lost_after_the_write_changes_nothing_about_the_end(
    api: KubeApi,
    kube: KubeServer,
    namespace: str,
    start_qdrant: StartQdrant,
    start_operator: StartOperator,
    start_proxy: StartProxy,
) -> None:
    """Of the finalizers that are put on and taken off, and of each status."""
    server = start_qdrant()
    proxy: Proxy = start_proxy(kube.url, tls=kube.tls)
    start_operator(kubeconfig=kube.kubeconfig(proxy.url))
    losses = []

    def lose(pattern: str) -> None:
        losses.append(Loss(pattern))
        proxy.lose_answer(losses[-1])

    lives = []
    for name, template in TO_KUBERNETES.items():
        pattern = template.replace("NAME", name)
        lose(pattern)
        end = partial(lose, pattern) if name.startswith("finalizer") else lambda: None
        lives.append(live(api, namespace, name, server, {}, end))

    await asyncio.gather(*lives)

    assert not [loss.pattern for loss in losses if not loss.met]
