"""A migration on three nodes with two replicas of each shard, of which one node is killed while it is filled."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx
import pytest

from integration.conftest import StartOperator, StartProxy
from integration.team import Team, unique
from integration.test_migration import leads_to, names_behind, phase
from integration.world import point
from servers.kubeapi import KubeApi, Object, is_ready
from servers.proxy import Call
from servers.qdrant import QdrantCluster, QdrantServer

POINTS = 1500
SETS = 3

pytestmark = pytest.mark.timeout(300)


@dataclass
class Reader:
    """Asks for the best point by an alias, without a pause."""

    answers: int = 0
    failures: list[str] = field(default_factory=list)


@asynccontextmanager
async def reading(server: QdrantServer, alias: str) -> AsyncIterator[Reader]:
    """A reader that asks one node all the while."""
    reader = Reader()

    async def ask() -> None:
        body = {"query": [1.0, 0.0, 0.0], "limit": 1}
        async with httpx.AsyncClient(timeout=30) as client:
            while True:
                try:
                    answer = await client.post(f"{server.url}/collections/{alias}/points/query", json=body)
                except httpx.HTTPError as error:
                    reader.failures.append(repr(error))
                    continue
                reader.answers += 1
                if answer.status_code != 200 or len(answer.json()["result"]["points"]) != 1:
                    reader.failures.append(answer.text)
                await asyncio.sleep(0.005)

    task = asyncio.create_task(ask())
    try:
        yield reader
    finally:
        task.cancel()


def params(shards: int) -> Object:
    return {"shard_number": shards, "replication_factor": 2, "write_consistency_factor": 1}


def agreed(nodes: QdrantCluster, collection: str) -> dict[int, list[float]]:
    """The points about which all replicas say the same."""
    body = {"limit": 10_000, "with_payload": True, "with_vector": True}
    url = f"{nodes.nodes[0].url}/collections/{collection}/points/scroll?consistency=all"
    found = httpx.post(url, json=body, timeout=60).raise_for_status().json()["result"]["points"]
    return {one["id"]: one["vector"] for one in found}


async def test_no_request_fails_though_a_node_is_killed_while_the_new_collection_is_filled(
    api: KubeApi,
    namespace: str,
    three_nodes: QdrantCluster,
    start_proxy: StartProxy,
    start_operator: StartOperator,
) -> None:
    proxy = start_proxy(three_nodes.nodes[0].url)
    start_operator()
    team, name = Team(api, namespace), unique("moved")
    await team.connection(proxy.url)
    auto: Object = {"layout": "Aliased", "migration": {"approval": "Auto"}}
    await team.collection(name, params=params(3), until=is_ready, **auto)
    sets = {f"set-{n}": [point(i * SETS + n, 1 + i, n, 1) for i in range(POINTS // SETS)] for n in range(SETS)}
    for each, points in sets.items():
        await team.points(each, name, points, until=is_ready)
    old = leads_to(three_nodes.nodes[1], name)
    writes = itertools.count(1)

    def kill(call: Call) -> None:
        is_filling = f"/collections/{name}-" in call.path and f"/{old}/" not in call.path and "/points" in call.path
        if is_filling and call.method != "GET" and "wait=" in call.path and next(writes) == 2:
            three_nodes.nodes[2].kill()

    proxy.before = kill
    try:
        async with reading(three_nodes.nodes[1], name) as reader:
            await team.collection(name, params=params(2), until=lambda _: True, **auto)
            await api.wait_for(
                "QdrantCollection", namespace, name, lambda obj: phase(obj) == "GracePeriod", timeout=120
            )
            new = leads_to(three_nodes.nodes[1], name)
            before = reader.answers
            while reader.answers < before + 20:  # noqa: ASYNC110 - a reader tells nobody
                await asyncio.sleep(0.05)
        assert next(writes) > 2, "a node was killed"
        assert reader.failures == []
    finally:
        three_nodes.nodes[2].start()

    for collection in (old, new):
        three_nodes.wait_for(
            collection,
            lambda found: {state for replicas in found.values() for state in replicas.values()} == {"Active"},
            what="the replicas to come back",
        )
    await team.look_again("QdrantCollection", name)
    assert names_behind(three_nodes.nodes[0], name) == sorted([old, new])
    assert agreed(three_nodes, new).keys() == set(range(POINTS))
    assert agreed(three_nodes, new) == agreed(three_nodes, old)
