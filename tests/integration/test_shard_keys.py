"""Shard keys as users live with them: a key for each tenant, made with the collection, filled by sets, and gone with
them.
"""

import uuid
from pathlib import Path
from typing import Any

import httpx
import pytest
from qdrant_client import models

from integration.command_line import CONNECTION, Answer, Shell, collection, point_set
from integration.conftest import StartOperator
from integration.team import RECONCILE, Team, message, plan_hash
from integration.world import Stored
from servers.kubeapi import KubeApi, condition
from servers.qdrant import QdrantServer

CUSTOM = {"params": {"sharding_method": "custom"}}
POINT = {"id": 1, "vector": {"values": [1.0, 2.0, 3.0]}}


class Scene:
    """A shell, and a collection of its own in a shared Qdrant."""

    def __init__(self, folder: Path, qdrant: QdrantServer) -> None:
        self.shell = Shell(folder)
        self.qdrant = qdrant
        self.name = f"zoo-{uuid.uuid4().hex[:8]}"

    def zoo(self, *keys: str, **spec: Any) -> str:
        declared = {"shardKeys": [{"name": key} for key in keys]} if keys else {}
        return collection(self.name, **{**CUSTOM, **declared, **spec})

    def animals(self, name: str, points: dict[Any, list[float]], **spec: Any) -> str:
        return point_set(f"{name}-{self.name}", self.name, points, **spec)

    def run(self, command: str, *documents: str, flags: tuple[str, ...] = ()) -> Answer:
        self.shell.write("all.yaml", CONNECTION, *documents)
        owner = ("--qdrant", self.qdrant.url, "--owner", self.name)
        return self.shell.run(command, "-f", "all.yaml", *owner, *flags)

    def stored(self, key: str) -> dict[Any, list[float]]:
        """The vectors under a shard key, by id."""
        path = f"{self.qdrant.url}/collections/{self.name}/points/scroll"
        answer = httpx.post(path, json={"shard_key": key, "with_vector": True})
        answer.raise_for_status()
        return {point["id"]: point["vector"] for point in answer.json()["result"]["points"]}


@pytest.fixture
def scene(tmp_path: Path, cluster_qdrant: QdrantServer) -> Scene:
    return Scene(tmp_path, cluster_qdrant)


@pytest.fixture
def single(tmp_path: Path, qdrant: QdrantServer) -> Scene:
    """At a Qdrant that is not distributed."""
    return Scene(tmp_path, qdrant)


def test_two_sets_keep_the_same_id_under_two_keys(scene):
    documents = [
        scene.zoo("acme", "globex", payloadIndexes=[{"field": "a", "schema": {"type": "keyword"}}]),
        scene.animals("acme", {1: [1, 0], 2: [2, 0]}, shardKey="acme"),
        scene.animals("globex", {1: [0, 1]}, shardKey="globex"),
    ]

    planned = scene.run("plan", *documents, flags=("-o", "json"))
    applied = scene.run("apply", *documents)

    assert [change["description"] for change in planned.by_name()[scene.name]["changes"]][1:] == [
        'create shard key "acme"',
        'create shard key "globex"',
        'create payload index a: {"type": "keyword"}',
    ]
    assert applied.code == 0, applied.out
    assert scene.stored("acme") == {1: [1, 0], 2: [2, 0]}
    assert scene.stored("globex") == {1: [0, 1]}
    assert scene.run("plan", *documents, flags=("--detailed-exitcode",)).code == 0
    changed = [documents[0], scene.animals("acme", {2: [2, 2]}, shardKey="acme"), documents[2]]
    assert scene.run("apply", *changed).code == 0
    assert scene.stored("acme") == {2: [2, 2]}
    assert scene.stored("globex") == {1: [0, 1]}
    assert scene.run("apply", documents[0], documents[2], flags=("--prune",)).code == 0
    assert scene.stored("acme") == {}
    assert scene.stored("globex") == {1: [0, 1]}


def test_two_sets_that_claim_an_id_under_one_key_are_in_conflict(scene):
    first = scene.animals("first", {1: [1, 0]}, shardKey="acme")
    assert scene.run("apply", scene.zoo("acme"), first).code == 0

    answer = scene.run("apply", scene.zoo("acme"), first, scene.animals("second", {1: [0, 1]}, shardKey="acme"))

    assert answer.code == 1
    assert "PointConflicts" in answer.out
    assert f"PointSet default/first-{scene.name}" in answer.out.replace("\n", " ")
    assert scene.stored("acme") == {1: [1, 0]}


@pytest.mark.parametrize("command", ["plan", "apply"])
def test_case_16_a_set_without_a_shard_key_is_refused_before_anything_is_promised(single, command):
    """Qdrant refuses each point, and `plan` promised them."""
    answer = single.run(command, single.zoo(), single.animals("animals", {1: [1, 0]}), flags=("-o", "json"))

    told = answer.by_name()[f"animals-{single.name}"]
    words = told["problem"] if command == "plan" else f"{told['reason']}: {told['message']}"
    assert answer.code == 1
    assert words.startswith("InvalidSpec: spec.shardKey is required: ")
    assert not told.get("changes")


def test_shard_keys_are_refused_by_a_qdrant_that_is_not_distributed(single):
    answer = single.run("plan", single.zoo("acme"), flags=("-o", "json"))

    problem = answer.by_name()[single.name]["problem"]
    assert problem.startswith("UnsupportedByServer: spec.shardKeys: only a distributed Qdrant")


def test_shard_keys_are_refused_by_a_folder(scene):
    scene.shell.write("all.yaml", CONNECTION, scene.zoo("acme"))

    answer = scene.shell.run("apply", "-f", "all.yaml", "--qdrant", "folder", "-o", "json")

    assert answer.by_name()[scene.name]["reason"] == "UnsupportedByServer"


def test_a_shard_key_is_refused_where_there_are_none(scene):
    plain = collection(scene.name)

    answer = scene.run("plan", plain, scene.animals("animals", {1: [1, 0]}, shardKey="acme"), flags=("-o", "json"))

    assert "has no shard keys" in answer.by_name()[f"animals-{scene.name}"]["problem"]


def test_a_set_waits_for_its_shard_key(scene):
    animals = scene.animals("animals", {1: [1, 0]}, shardKey="globex")

    planned = scene.run("plan", scene.zoo("acme"), animals, flags=("-o", "json"))
    waiting = scene.run("apply", scene.zoo("acme"), animals, flags=("-o", "json", "--timeout", "3"))
    applied = scene.run("apply", scene.zoo("acme", "globex"), animals)

    told = waiting.by_name()[f"animals-{scene.name}"]
    assert told["reason"] == "CollectionNotReady"
    assert "it has no shard key 'globex'; declare it in spec.shardKeys there" in told["message"]
    assert planned.by_name()[f"animals-{scene.name}"]["problem"] == f"CollectionNotReady: {told['message']}"
    assert applied.code == 0, applied.out
    assert scene.stored("globex") == {1: [1, 0]}


def test_another_shard_key_in_the_files_is_told_and_moves_nothing(scene):
    assert scene.run("apply", scene.zoo("acme", "globex"), scene.animals("a", {1: [1, 0]}, shardKey="acme")).code == 0

    for command in ("plan", "apply"):
        answer = scene.run(command, scene.zoo("acme", "globex"), scene.animals("a", {1: [1, 0]}, shardKey="globex"))
        assert answer.code == 1
        assert "kept under the shard key 'acme'" in " ".join(answer.out.split())

    assert scene.stored("acme") == {1: [1, 0]}
    assert scene.stored("globex") == {}


def test_a_key_that_leaves_the_files_is_held_back_with_its_points(scene):
    documents = [scene.zoo("acme", "globex"), scene.animals("g", {1: [1, 0], 2: [1, 1]}, shardKey="globex")]
    assert scene.run("apply", *documents).code == 0

    planned = scene.run("plan", scene.zoo("acme"), documents[1], flags=("-o", "json"))
    applied = scene.run("apply", scene.zoo("acme"), documents[1], flags=("-o", "json"))

    assert [change["description"] for change in planned.by_name()[scene.name]["changes"]] == [
        'delete shard key "globex" (its 2 points would be lost)'
    ]
    assert applied.by_name()[scene.name]["reason"] == "PlanHeldBack"
    assert scene.stored("globex") == {1: [1, 0], 2: [1, 1]}


async def test_an_approved_key_goes_and_its_set_can_still_be_deleted(
    api: KubeApi, namespace: str, cluster_qdrant: QdrantServer, start_operator: StartOperator
) -> None:
    team, name = Team(api, namespace), f"zoo-{uuid.uuid4().hex[:8]}"
    start_operator()
    await team.connection(cluster_qdrant)
    keys = [{"name": "acme"}, {"name": "globex"}]
    vectors: Any = {"vector": {"size": 3, "distance": "Dot"}, **CUSTOM}
    await team.collection(name, **vectors, shardKeys=keys)
    for key in ("acme", "globex"):
        await team.points(key, name, [POINT], shardKey=key, until="Succeeded")

    held = await team.collection(name, **vectors, shardKeys=keys[:1], until="PlanHeldBack")
    await team.approve(name, plan_hash(held))
    await team.wait("QdrantCollection", name, "Succeeded")
    await team.annotate("PointSet", "globex", {RECONCILE: "now"})
    lost = await team.wait("PointSet", "globex", lambda found: "it has no shard key" in message(found))
    await team.delete("PointSet", "globex")
    await team.delete("PointSet", "acme")

    assert held["status"]["plan"]["steps"] == ['delete shard key "globex" (its points would be lost)']
    assert "it has no shard key 'globex'" in message(lost)
    assert condition(lost, "Ready")["status"] == "False"
    async with Stored(cluster_qdrant) as stored:
        assert await stored.count(name) == 0
        of_it = models.FieldCondition(key="collection", match=models.MatchValue(value=name))
        ledgers, _ = await stored.client.scroll("vectorops-ledger", models.Filter(must=[of_it]))
        assert ledgers == []
