"""What is said and done about replicas, on three real nodes of which one is killed."""

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest

from integration.command_line import CONNECTION, Answer, Shell
from integration.command_line import collection as declared
from integration.team import Team, is_settled, unique
from integration.world import change_by_hand, point, resource
from servers.kubeapi import Object, condition, is_ready
from servers.qdrant import QdrantCluster
from vectorops.api.meta import JsonObject, Ref, Resource
from vectorops.embedders.base import EmbedderSettings
from vectorops.embedders.pool import Embedders
from vectorops.local.cluster import LocalCluster
from vectorops.qdrant.connect import connect
from vectorops.reconcilers.base import Context
from vectorops.reconcilers.collection import CollectionReconciler
from vectorops.reconcilers.databases import Databases
from vectorops.reconcilers.driver import Driver
from vectorops.reconcilers.kinds import RECONCILERS
from vectorops.reconcilers.replicas import Replicas


@pytest.fixture
def team(api, namespace) -> Team:
    return Team(api, namespace)


def params(factor: int, shards: int = 2) -> Object:
    return {"shard_number": shards, "replication_factor": factor, "write_consistency_factor": 1}


def told(obj: Object) -> tuple[int, int, int, int]:
    """status.replicas: (wanted, active, dead, transferring)."""
    replicas = obj["status"]["replicas"]
    return replicas["wanted"], replicas["active"], replicas["dead"], replicas["transferring"]


def states(nodes: QdrantCluster, collection: str, *, seen_by: int = 0) -> list[list[str]]:
    """The states of each shard's replicas."""
    return [sorted(found.values()) for _, found in sorted(nodes.replicas(collection, seen_by=seen_by).items())]


def write(nodes: QdrantCluster, collection: str) -> None:
    """Points into all shards, past the operator."""
    points = [{"id": number, "vector": [1.0, 0.0, 0.0]} for number in range(100)]
    url = f"{nodes.nodes[0].url}/collections/{collection}/points?wait=true"
    httpx.put(url, json={"points": points}, timeout=60).raise_for_status()


class Impatient:
    """A collection that one reconciler in this process looks at, for which a replica that is not active is lost."""

    def __init__(self, nodes: QdrantCluster, name: str, **spec: Any) -> None:
        resources = [
            resource("QdrantConnection", "team", "main", {"url": nodes.nodes[0].url, "preferGrpc": False}),
            resource(
                "QdrantCollection", "team", name, {"connectionRef": {"name": "main"}, "vector": {"size": 3}} | spec
            ),
        ]
        for number, obj in enumerate(resources):
            obj["metadata"] |= {"uid": f"uid-{number}", "generation": 1, "resourceVersion": "1"}
        self.cluster = LocalCluster([Resource.from_object(obj) for obj in resources], {})
        self.ref = Ref("QdrantCollection", "team", name)
        self.databases = Databases(connect)
        context = Context(self.cluster, self.databases, Embedders(EmbedderSettings()), "impatient", writer="writer")
        reconcilers = {**RECONCILERS, "QdrantCollection": CollectionReconciler(Replicas(patience_seconds=0))}
        self.driver = Driver(context, reconcilers)

    async def look(self) -> Resource:
        """The collection after one look."""
        await self.driver.run(Ref("QdrantConnection", "team", "main"))
        verdict = await self.driver.run(self.ref)
        found = self.cluster.now(self.ref)
        assert found is not None
        assert verdict.status is not None
        return found

    async def until_ready(self) -> JsonObject:
        """Looks until there is nothing left to do."""
        async with asyncio.timeout(60):
            while True:
                found = await self.look()
                if found.ready and found.condition("Reconciling") is None:
                    return found.status
                await asyncio.sleep(0.1)


async def test_a_changed_factor_is_told_and_with_converge_made_true(
    team: Team, three_nodes: QdrantCluster, start_operator: Any
) -> None:
    start_operator()
    name = unique("factor")
    await team.connection(three_nodes.nodes[0])

    one = await team.collection(name, params=params(1))
    assert told(one) == (2, 2, 0, 0)

    raised = await team.collection(name, params=params(2), until="ReplicasMissing")
    assert told(raised) == (4, 2, 0, 0)
    assert condition(raised, "Stalled")
    assert "replicaPolicy: Converge" in condition(raised, "Ready")["message"]
    assert states(three_nodes, name) == [["Active"]] * 2

    made = await team.collection(name, params=params(2), replicaPolicy="Converge", until=_is_done)
    assert told(made) == (4, 4, 0, 0)
    assert states(three_nodes, name) == [["Active"] * 2] * 2


def test_the_command_line_says_what_it_would_do_about_replicas_and_does_it(
    tmp_path: Path, three_nodes: QdrantCluster
) -> None:
    shell, name = Shell(tmp_path), unique("command")

    def run(command: str, **spec: Any) -> Answer:
        shell.write("all.yaml", CONNECTION, declared(name, **spec))
        return shell.run(command, "-f", "all.yaml", "--qdrant", three_nodes.nodes[0].url)

    assert run("apply", params=params(2)).code == 0
    told = run("plan", params=params(3))
    assert told.code == 1
    assert "4 of 6 replicas are active" in told.out
    assert "replicaPolicy: Converge" in told.out
    assert "drop the replica of shard 0 on node" in run("plan", params=params(1), replicaPolicy="Converge").out

    answer = run("apply", params=params(1), replicaPolicy="Converge")

    assert answer.code == 0, answer.out
    assert states(three_nodes, name) == [["Active"]] * 2
    assert "drop the replica" not in run("plan", params=params(1), replicaPolicy="Converge").out

    # Of a collection of its user's as well, where nothing is ever changed.
    change_by_hand(three_nodes.nodes[0], name, {"params": {"replication_factor": 2}})
    theirs = run("plan", params=params(2), managedBy="User")
    assert theirs.code == 1
    assert "2 of 4 replicas are active" in theirs.out


async def test_a_killed_node_is_told_when_it_is_missed_and_waited_for_unless_it_is_lost(
    team: Team, three_nodes: QdrantCluster, start_operator: Any
) -> None:
    start_operator()
    waiting, moved = unique("waiting"), unique("moved")
    await team.connection(three_nodes.nodes[0])
    await team.collection(waiting, params=params(3))
    await team.points("cats", waiting, [point(1000, 1, 0, 0)], until=is_ready)
    impatient = Impatient(three_nodes, moved, params=params(2, shards=3), replicaPolicy="Converge")
    await impatient.until_ready()
    victim = three_nodes.peer(2)

    three_nodes.nodes[2].kill()
    try:
        # Until somebody writes, Qdrant takes its replicas for active.
        assert told(await team.look_again("QdrantCollection", waiting)) == (6, 6, 0, 0)
        placed = three_nodes.replicas(moved)
        hasty = Impatient(three_nodes, moved, params=params(1, shards=3), replicaPolicy="Converge")
        assert (await hasty.look()).status["replicas"] == {"wanted": 3, "active": 6, "dead": 0, "transferring": 0}
        await hasty.databases.close_all()
        assert three_nodes.replicas(moved) == placed, "or the one that is left might be the one that is not there"
        for name in (waiting, moved):
            write(three_nodes, name)
            three_nodes.wait_for(name, lambda found: "Dead" in _all(found), what="the write to be missed")

        missing = await team.collection(
            waiting, params=params(3), aliases=[f"{waiting}-alias"], until="ReplicasMissing"
        )
        assert told(missing) == (6, 4, 2, 0)
        assert condition(missing, "Reconciling"), "it passes by itself"
        await team.points("cats", waiting, [point(1000, 0, 1, 0)], until=is_ready)

        status = await impatient.until_ready()
        assert status["replicas"] == {"wanted": 6, "active": 6, "dead": 0, "transferring": 0}
        placed = three_nodes.replicas(moved)
        assert all(set(found.values()) == {"Active"} and victim not in found for found in placed.values())
        assert Counter(peer for found in placed.values() for peer in found) == {
            three_nodes.peer(0): 3,
            three_nodes.peer(1): 3,
        }
    finally:
        three_nodes.nodes[2].start()
        await impatient.databases.close_all()

    three_nodes.wait_for(waiting, lambda found: _all(found) == {"Active"}, what="the replicas to come back")
    back = await team.look_again("QdrantCollection", waiting)
    assert told(back) == (6, 6, 0, 0)
    assert is_ready(back)


def _all(found: dict[int, dict[int, str]]) -> set[str]:
    return {state for replicas in found.values() for state in replicas.values()}


def _is_done(obj: Object) -> bool:
    return is_settled(obj) and is_ready(obj)
