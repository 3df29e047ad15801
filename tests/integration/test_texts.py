"""Points from texts, end to end: the operator, Qdrant, and the real all-MiniLM-L6-v2 from a folder, offline."""

import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from qdrant_client import models

from integration.command_line import CONNECTION, Shell
from integration.conftest import StartOperator
from integration.team import Team, message, plan_hash, reason, unique
from integration.world import Stored, collection, connection, has_reason, is_current, point, point_set
from servers.embeddings import Answer, EmbeddingServer
from servers.kubeapi import KubeApi, Object, condition
from servers.models import MINILM, minilm, minilm_files, tiny_dense, tiny_multivector, tiny_sparse
from servers.operator import OperatorProcess
from servers.qdrant import QdrantServer
from vectorops.api.meta import JsonObject

TWIN = "team/all-MiniLM-L6-v2-twin"
"""The same files under another name: another model of equal size, as far as anybody can tell."""

PATIENCE_SECONDS = 360.0
"""Loading a model takes a while where all cores are busy."""
MANY = 1100
"""Texts of a set that takes three windows, so that a pass over it can be interrupted."""

ANIMALS = {
    1: "The lion sleeps in the shade of an acacia.",
    2: "Penguins huddle together to keep warm.",
    3: "The octopus changes its color to hide from its enemies.",
    4: "Bees dance to tell each other where flowers are.",
}

pytestmark = pytest.mark.timeout(800)


def text_point(id: int, text: str, **more: Any) -> Object:
    """A point with a text, two numbers of its own, and a payload."""
    declared = point(id, payload={"number": id} | more.pop("payload", {}), image=more.pop("image", [id, 1]))
    declared["vectors"]["text"] = {"text": text}
    return declared


def animals(**changed: Object) -> list[Object]:
    """The animals; `p2=...` stands for the second one."""
    return [changed.get(f"p{id}", text_point(id, text)) for id, text in ANIMALS.items()]


def vectors(model: str = MINILM) -> list[JsonObject]:
    return [
        {"name": "text", "embedder": {"sentenceTransformers": {"model": model}}},
        {"name": "image", "size": 2, "distance": "Dot"},
    ]


@pytest.fixture
def model_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    minilm(folder)
    (folder / TWIN).parent.mkdir()
    (folder / TWIN).symlink_to(minilm_files())
    return folder


@pytest.fixture
def start(start_operator: StartOperator, model_folder: Path) -> Callable[[], OperatorProcess]:
    """Starts the operator of one installation, also for another time."""
    installation = unique("texts")

    def start() -> OperatorProcess:
        flags = ["--model-folder", str(model_folder), "--offline", "--embedding-threads=2", "--embedding-device=cpu"]
        return start_operator(installation=installation, flags=flags)

    return start


@pytest.fixture
async def team(api: KubeApi, namespace: str, qdrant: QdrantServer) -> Team:
    await api.apply(connection(namespace, qdrant))
    return Team(api, namespace)


async def written(team: Team, name: str, points: list[Object], *, until: str = "Succeeded") -> Object:
    """Declares the points of a set, and waits until they are written."""
    await team.points(name, name, points, until=lambda _: True)
    return await wait(team, "PointSet", name, has_reason(until))


async def wait(team: Team, kind: str, name: str, predicate: Callable[[Object], object]) -> Object:
    return await team.api.wait_for(kind, team.namespace, name, predicate, timeout=PATIENCE_SECONDS)


async def until(so: Callable[[], Any]) -> None:
    """Waits for what no resource tells."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not await so():
        assert time.monotonic() < deadline, "it did not happen"


def embedded(operator: OperatorProcess) -> int:
    """How many texts the embedder was given since the operator was started."""
    lines = operator.metrics().splitlines()
    return sum(int(float(line.split()[-1])) for line in lines if line.startswith("vectorops_texts_embedded_total{"))


def children(operator: OperatorProcess) -> list[int]:
    """Processes that the operator started to run models."""
    found = []
    for task in Path(f"/proc/{operator.pid}/task").iterdir():
        found += [int(pid) for pid in (task / "children").read_text().split()]
    return [pid for pid in found if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]


async def test_texts_are_found_by_what_they_mean_and_are_embedded_once(
    team: Team, stored: Stored, start: Callable[[], OperatorProcess]
) -> None:
    from sentence_transformers import SentenceTransformer

    name = unique("animals")
    operator = start()
    # All at once, as from one file: nobody waits for the collection to be looked at first.
    await team.collection(name, until=lambda _: True, vectors=vectors())
    told = await written(team, name, animals())

    assert told["status"]["points"] == {"desired": 4, "synced": 4, "failed": 0, "conflicts": 0}
    assert embedded(operator) == 4
    model = SentenceTransformer(str(minilm_files()), device="cpu")
    there = await stored.vectors(name)
    for id, text in ANIMALS.items():
        assert np.dot(there[id]["text"], model.encode(text, normalize_embeddings=True)) > 0.9999
    question = model.encode("How do insects communicate?").tolist()
    best = (await stored.client.query_points(name, question, using="text", limit=1)).points
    assert [hit.id for hit in best] == [4]

    # Nothing of this is a reason to embed.
    await team.look_again("PointSet", name)
    await written(team, name, animals(p1=text_point(1, ANIMALS[1], payload={"tag": "cat"})))
    await written(team, name, animals(p1=text_point(1, ANIMALS[1], payload={"tag": "cat"}, image=[7, 7])))
    assert embedded(operator) == 4
    assert (await stored.vectors(name))[1] == there[1] | {"image": [7.0, 7.0]}

    changed = text_point(2, "Flamingos stand on one leg.")
    await written(team, name, animals(p2=changed))
    assert embedded(operator) == 5

    operator.kill()
    again = start()
    await team.look_again("PointSet", name)
    assert (embedded(again), children(again)) == (0, [])

    # What is bad about one text is told of its point, and the others stay.
    told = await written(team, name, [*animals(p2=changed), text_point(9, "  ")], until="PointsFailed")
    assert told["status"]["failures"] == [{"id": "9", "reason": "vectors.text.text: empty text"}]
    assert (embedded(again), await stored.count(name)) == (0, 4)


async def test_another_model_of_equal_size_is_asked_for_and_then_makes_all_texts_anew(
    team: Team, stored: Stored, start: Callable[[], OperatorProcess]
) -> None:
    name = unique("models")
    operator = start()
    await team.collection(name, until=lambda _: True, vectors=vectors())
    await written(team, name, animals())
    foreign = models.PointStruct(id=77, vector={"text": [0.5] * 384}, payload={"by": "a stranger"})
    await stored.client.upsert(name, [foreign], wait=True)
    before, versions = await stored.points(name), await stored.versions(name, "text")

    held_back = await team.collection(name, until="PlanHeldBack", vectors=vectors(TWIN))
    assert TWIN in message(held_back)
    # Points go on with the model that made those that are there.
    await written(team, name, [*animals(), text_point(5, "An elephant never forgets.")])
    assert embedded(operator) == 5

    await team.approve(name, plan_hash(held_back))
    await wait(team, "QdrantCollection", name, has_reason("Succeeded"))

    async def is_embedded_anew() -> bool:
        return embedded(operator) == 10

    # The set is woken by its collection.
    await until(is_embedded_anew)
    await team.look_again("PointSet", name)
    after = await stored.points(name)
    assert {id: after[id].payload for id in before} == {id: one.payload for id, one in before.items()}
    assert {id: after[id].vector.get("image") for id in before} == {
        id: one.vector.get("image") for id, one in before.items()
    }
    now = await stored.versions(name, "text")
    assert {id for id in before if now[id] != versions[id]} == set(ANIMALS)
    assert embedded(operator) == 10


async def test_one_text_may_stand_for_a_dense_a_sparse_and_a_multi_vector(
    team: Team, stored: Stored, start: Callable[[], OperatorProcess], model_folder: Path
) -> None:
    name = unique("kinds")
    kinds = {"dense": tiny_dense, "sparse": tiny_sparse, "multivector": tiny_multivector}
    declared = {
        kind: {"name": kind, "embedder": {"sentenceTransformers": {"model": make(model_folder)}}}
        for kind, make in kinds.items()
    }
    operator = start()
    await team.collection(
        name,
        until=lambda _: True,
        vectors=[declared["dense"], declared["multivector"]],
        sparseVectors=[declared["sparse"]],
    )
    points: list[Object] = [
        {"id": id, "vectors": {kind: {"text": text} for kind in kinds}} for id, text in ANIMALS.items()
    ]

    await written(team, name, points)

    there = await stored.vectors(name)
    for vectors_of_one in there.values():
        assert vectors_of_one.keys() == kinds.keys()
        assert len(vectors_of_one["dense"]) == 16
        assert len(vectors_of_one["multivector"]) > 1
        assert len(vectors_of_one["sparse"].indices) > 0
    assert embedded(operator) == 3 * len(ANIMALS)
    points[0]["vectors"]["sparse"] = {"text": "a zebra"}
    await written(team, name, points)
    await team.look_again("PointSet", name)
    assert embedded(operator) == 3 * len(ANIMALS) + 1
    now = await stored.vectors(name)
    assert now[1]["sparse"] != there[1]["sparse"]
    assert now[1] | {"sparse": there[1]["sparse"]} == there[1]


async def test_a_collection_that_its_user_manages_takes_texts_too(
    team: Team, stored: Stored, start: Callable[[], OperatorProcess]
) -> None:
    name = unique("users")
    await stored.client.create_collection(
        name, {"text": models.VectorParams(size=384, distance=models.Distance.COSINE)}
    )
    operator = start()
    await team.collection(name, until=lambda _: True, vectors=vectors()[:1], managedBy="User")
    lion: Object = {"id": 1, "vectors": {"text": {"text": ANIMALS[1]}}}

    await written(team, name, [lion])
    await team.look_again("PointSet", name)

    assert (embedded(operator), await stored.count(name)) == (1, 1)


def many() -> list[Object]:
    return [{"id": id, "vectors": {"text": {"text": f"Report number {id} about the zoo."}}} for id in range(MANY)]


async def test_an_operator_that_is_killed_while_it_embeds_is_followed_by_one_that_goes_on(
    team: Team, stored: Stored, start: Callable[[], OperatorProcess]
) -> None:
    name = unique("killed")
    first = start()
    await team.collection(name, vectors=vectors()[:1])
    foreign = models.PointStruct(id=MANY + 1, vector={"text": [0.5] * 384}, payload={"by": "a stranger"})
    await stored.client.upsert(name, [foreign], wait=True)
    theirs = (await stored.points(name))[MANY + 1]
    await team.points(name, name, many(), until=lambda _: True)

    async def is_begun() -> bool:
        return await stored.count(name) > 1

    await until(is_begun)
    first.kill()
    done = await stored.count(name) - 1
    second = start()
    told = await wait(team, "PointSet", name, has_reason("Succeeded"))

    assert told["status"]["points"]["synced"] == MANY
    assert 0 < done < MANY
    # What the first one wrote is recognized.
    assert embedded(second) == MANY - done
    there = await stored.points(name)
    assert there.keys() == {*range(MANY), MANY + 1}
    assert there[MANY + 1] == theirs


async def test_a_model_whose_process_is_killed_is_started_again(
    team: Team, stored: Stored, start: Callable[[], OperatorProcess]
) -> None:
    name = unique("child")
    operator = start()
    await team.collection(name, vectors=vectors()[:1])
    await team.points(name, name, many(), until=lambda _: True)

    async def is_begun() -> bool:
        return await stored.count(name) > 0

    await until(is_begun)
    (child,) = children(operator)
    os.kill(child, signal.SIGKILL)
    await wait(team, "PointSet", name, has_reason("Succeeded"))

    assert await stored.count(name) == MANY
    assert children(operator) != [child]


async def test_a_set_whose_texts_cannot_be_embedded_keeps_its_points_and_can_be_deleted(
    team: Team, stored: Stored, start: Callable[[], OperatorProcess], model_folder: Path
) -> None:
    name = unique("gone")
    first = start()
    await team.collection(name, vectors=vectors())
    await written(team, name, animals())
    before = await stored.points(name)
    first.kill()
    shutil.rmtree(model_folder)
    model_folder.mkdir()
    start()

    numbers = point(6, text=[0.5] * 384, image=[6, 6])
    await team.points(name, name, [text_point(5, "new"), numbers, *animals()[1:]], until=lambda _: True)
    told = await wait(team, "PointSet", name, lambda found: is_current(found) and reason(found) != "Progressing")

    assert (reason(told), condition(told, "Ready")["status"]) == ("ModelNotFound", "False")
    assert "vector 'text'" in message(told)
    # What needs no model is written; what the set has no longer is not deleted while it cannot be made as declared.
    assert (await stored.points(name)).keys() == before.keys() | {6}
    assert {id: one for id, one in (await stored.points(name)).items() if id != 6} == before
    await team.ask_to_delete("PointSet", name)
    await team.api.wait_gone("PointSet", team.namespace, name)
    assert await stored.count(name) == 0


def test_a_plan_tells_which_texts_would_be_embedded_and_embeds_none(tmp_path: Path, model_folder: Path) -> None:
    shell = Shell(tmp_path / "manifests")
    shell.folder.mkdir()
    flags = ["-f", "zoo.yaml", "--qdrant", str(tmp_path / "qdrant"), "--model-folder", str(model_folder), "--offline"]

    def declare(model: str, *points: Object) -> None:
        resources = [
            collection("default", "zoo", vectors=vectors(model)),
            point_set("default", "set", "zoo", [*points]),
        ]
        shell.write("zoo.yaml", CONNECTION, *(f"\n{yaml.safe_dump(resource)}" for resource in resources))

    def planned() -> Object:
        found = shell.run("plan", *flags, "-o", "json").by_name()["set"]["points"]
        return {key: found[key] for key in ("new", "changed", "unchanged")}

    declare(MINILM, *animals())
    assert planned() == {"new": ["1", "2", "3", "4"], "changed": [], "unchanged": 0}
    assert shell.run("apply", *flags).code == 0

    declare(MINILM, *animals(p2=text_point(2, "Flamingos stand on one leg.")), text_point(5, "new"))
    assert planned() == {"new": ["5"], "changed": ["2"], "unchanged": 3}
    # Held back: nothing would be made of the other model yet.
    declare(TWIN, *animals())
    assert planned() == {"new": [], "changed": [], "unchanged": 4}


async def test_a_server_that_hangs_holds_up_no_deletion(
    team: Team, stored: Stored, start_operator: StartOperator
) -> None:
    """An answer is awaited for minutes, all tries together; nobody should wait so long for what is not wanted."""
    start_operator()
    name = unique("hanging")
    with EmbeddingServer() as server:
        hosted = {"openAI": {"model": "text-embedding-3-small", "baseURL": server.base_url, "dimensions": 4}}
        await team.collection(name, vectors=[{"name": "text", "embedder": hosted}])
        server.answer_always(Answer(hangs=True))
        await team.points(name, name, [{"id": 1, "vectors": {"text": {"text": "a text"}}}], until=lambda _: True)
        await until(lambda: _is_asked(server))

        await team.delete("PointSet", name)

    assert await stored.count(name) == 0


async def _is_asked(server: EmbeddingServer) -> bool:
    return bool(server.requests)
