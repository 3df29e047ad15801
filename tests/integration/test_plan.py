"""`vectorops plan`: what would be done, in words and in an exit code, and nothing is done."""

import hashlib
import re
import uuid
from pathlib import Path
from typing import Any

import httpx
import pytest

from integration.command_line import CONNECTION, Answer, Shell, collection, point_set
from integration.conftest import StartQdrant
from servers.qdrant import QdrantServer

NOTHING, ERROR, CHANGES = 0, 1, 2


class Scene:
    """A shell and a Qdrant of its own, which counts what is written to it."""

    def __init__(self, folder: Path, qdrant: QdrantServer) -> None:
        self.shell = Shell(folder)
        self.qdrant = qdrant

    def apply(self, *documents: str) -> None:
        self.shell.write("all.yaml", *documents)
        answer = self.shell.run("apply", "-f", "all.yaml", "--qdrant", self.qdrant.url, "--owner", "us")
        assert answer.code == 0, answer.out

    def plan(self, *documents: str, flags: tuple[str, ...] = ("--detailed-exitcode",)) -> Answer:
        """Also sees to it that Qdrant is as before."""
        self.shell.write("all.yaml", *documents)
        before = self.qdrant.telemetry_writes_by_endpoint()
        answer = self.shell.run("plan", "-f", "all.yaml", "--qdrant", self.qdrant.url, "--owner", "us", *flags)
        assert self.qdrant.telemetry_writes_by_endpoint() == before
        return answer

    def put(self, path: str, body: dict[str, Any]) -> None:
        httpx.put(f"{self.qdrant.url}{path}", params={"wait": "true"}, json=body, verify=False).raise_for_status()

    def patch(self, path: str, body: dict[str, Any]) -> None:
        httpx.patch(f"{self.qdrant.url}{path}", json=body, verify=False).raise_for_status()


@pytest.fixture
def scene(tmp_path: Path, start_qdrant: StartQdrant) -> Scene:
    return Scene(tmp_path, start_qdrant())


def words(answer: Answer) -> list[str]:
    """The lines, without their indentation."""
    return [line.strip() for line in answer.out.splitlines()]


def test_a_first_plan_shows_all_that_would_be_made(scene):
    indexed = collection("zoo", payloadIndexes=[{"field": "a", "schema": {"type": "keyword"}}], aliases=["park"])

    answer = scene.plan(CONNECTION, indexed, point_set("animals", "zoo", {1: [1, 0], "lion": [0, 1]}))

    assert answer.code == CHANGES
    assert words(answer) == [
        "QdrantCollection default/zoo",
        "+ create collection zoo",
        "the vector: 2 Dot",
        '+ create payload index a: {"type": "keyword"}',
        "+ create alias park",
        "PointSet default/animals",
        "+ 2 points to insert: 1, lion",
        "3 resources: 2 to change, 0 with a problem, 1 as declared",
    ]
    assert scene.qdrant.get("/collections")["collections"] == []


def test_after_an_apply_nothing_is_left_to_do(scene):
    documents = [CONNECTION, collection("zoo"), point_set("animals", "zoo", {1: [1, 0], "lion": [0, 1]})]
    scene.apply(*documents)

    answer = scene.plan(*documents)

    assert answer.code == NOTHING
    assert words(answer)[-1] == "3 resources: 0 to change, 0 with a problem, 3 as declared"


def test_changed_new_and_vanished_points_are_told_apart_by_their_ids(scene):
    scene.apply(collection("zoo"), point_set("animals", "zoo", {1: [1, 0], "lion": [0, 1], 3: [1, 1]}))

    answer = scene.plan(
        collection("zoo"),
        point_set("animals", "zoo", {1: [1, 0], "lion": [5, 1], 4: [1, 1]}),
        flags=("-o", "json"),
    )

    assert answer.code == NOTHING
    assert answer.by_name()["animals"]["points"] == {
        "new": ["4"],
        "changed": ["lion"],
        "deleted": ["3"],
        "adopted": [],
        "conflicts": [],
        "failed": [],
        "unchanged": 1,
        "counts": {
            "new": 1,
            "changed": 1,
            "deleted": 1,
            "adopted": 0,
            "conflicts": 0,
            "failed": 0,
            "unchanged": 1,
            "texts": 0,
            "reused": 0,
        },
        "failures": [],
    }
    assert [change["action"] for change in answer.by_name()["animals"]["changes"]] == ["create", "update", "delete"]


def test_points_to_adopt_are_told_and_written_by_nobody(scene):
    scene.apply(collection("zoo"))
    scene.put("/collections/zoo/points", {"points": [{"id": 1, "vector": [1, 0]}, {"id": 2, "vector": [0, 1]}]})

    answer = scene.plan(
        collection("zoo"), point_set("animals", "zoo", {1: [1, 0], 2: [9, 9]}, adoptionPolicy="IfMatching")
    )

    assert "= 1 point to adopt: 1" in words(answer)
    assert "x 1 point held by another writer: 2, left alone" in words(answer)

    one = [collection("zoo"), point_set("animals", "zoo", {1: [1, 0]}, adoptionPolicy="IfMatching")]
    scene.apply(*one)
    assert scene.plan(*one).code == NOTHING


def test_what_apply_then_does_is_what_was_planned(scene):
    scene.apply(collection("zoo"), point_set("animals", "zoo", {1: [1, 0], 2: [0, 1]}))
    changed = [
        collection("zoo", hnswConfig={"m": 24}, aliases=["park"], deletionPolicy="Delete"),
        point_set("animals", "zoo", {2: [0, 2], 3: [1, 1]}),
    ]

    assert scene.plan(*changed).code == CHANGES
    scene.apply(*changed)

    assert scene.plan(*changed).code == NOTHING


def test_what_cannot_be_changed_in_place_is_shown_as_held_back_with_its_price(scene):
    scene.apply(collection("zoo"), point_set("animals", "zoo", {1: [1, 0]}))

    answer = scene.plan(collection("zoo", vector={"size": 3, "distance": "Dot"}))

    assert answer.code == ERROR
    held, problem = words(answer)[1:3]
    assert held.startswith("! the vector: size 2 -> 3")
    assert "1 point would be lost" in held
    assert "x held back: approve plan" in problem


def test_drift_is_seen(scene):
    scene.apply(collection("zoo", hnswConfig={"m": 24}))
    scene.patch("/collections/zoo", {"hnsw_config": {"m": 8}})

    answer = scene.plan(collection("zoo", hnswConfig={"m": 24}))

    assert answer.code == CHANGES
    assert "~ hnsw_config.m: 8 -> 24" in words(answer)


def test_a_collection_of_another_owner_and_one_that_was_there_first(scene):
    for name in ("theirs", "nobodys"):
        made = {"vectors": {"size": 2, "distance": "Dot"}}
        httpx.put(f"{scene.qdrant.url}/collections/{name}", json=made).raise_for_status()
    scene.shell.write("theirs.yaml", collection("theirs"))
    them = ("--qdrant", scene.qdrant.url, "--owner", "them")
    assert scene.shell.run("apply", "-f", "theirs.yaml", *them).code == 0

    answer = scene.plan(collection("theirs"), collection("nobodys"), flags=("-o", "json"))

    assert answer.code == ERROR
    assert "OwnedByAnother" in answer.by_name()["theirs"]["problem"]
    adopted = [{"action": "adopt", "description": "collection nobodys"}]
    assert answer.by_name()["nobodys"]["changes"] == adopted


def test_a_point_of_another_writer_and_one_that_cannot_be_written_are_problems(scene):
    scene.apply(collection("zoo"))
    foreign = {"points": [{"id": 7, "vector": [1, 1]}]}
    httpx.put(f"{scene.qdrant.url}/collections/zoo/points?wait=true", json=foreign).raise_for_status()

    answer = scene.plan(collection("zoo"), point_set("animals", "zoo", {7: [1, 0], 8: [1, 2, 3]}), flags=("-o", "json"))

    assert answer.code == ERROR
    animals = answer.by_name()["animals"]
    assert (animals["points"]["conflicts"], animals["points"]["failed"], animals["changes"]) == (["7"], ["8"], [])


def test_prune_shows_what_would_go_and_by_which_policy(scene):
    scene.apply(
        collection("goes", deletionPolicy="Delete"),
        collection("stays"),
        collection("zoo"),
        point_set("animals", "zoo", {1: [1, 0]}),
    )

    answer = scene.plan(collection("zoo"), flags=("--prune",))

    assert "- prune: delete its points in collection zoo" in words(answer)
    assert "- prune: delete collection goes" in words(answer)
    assert "- prune: let go of collection stays, which stays (deletionPolicy: Retain)" in words(answer)


def test_a_server_that_is_not_there_and_an_invalid_manifest_are_errors(scene):
    scene.shell.write("all.yaml", CONNECTION, collection("zoo"))
    scene.shell.write("bad.yaml", collection("zoo", vectorz=[]))

    away = scene.shell.run("plan", "-f", "all.yaml", "--timeout", "2", "--detailed-exitcode")
    invalid = scene.shell.run("plan", "-f", "bad.yaml", "--detailed-exitcode")
    plainly = scene.shell.run("plan", "-f", "bad.yaml")

    assert (away.code, invalid.code, plainly.code) == (ERROR, ERROR, 2)
    assert 'unknown field "spec.vectorz"' in invalid.err


def test_a_folder_is_neither_made_nor_changed(tmp_path):
    shell = Shell(tmp_path)
    name = f"zoo-{uuid.uuid4().hex[:8]}"
    shell.write("all.yaml", collection(name), point_set("animals", name, {1: [1, 0]}))
    flags = ("-f", "all.yaml", "--qdrant", "storage", "--detailed-exitcode")

    assert shell.run("plan", *flags).code == CHANGES
    assert not (tmp_path / "storage").exists()

    assert shell.run("apply", *flags[:-1]).code == 0
    before = _contents(tmp_path / "storage")
    shell.write("all.yaml", collection(name, hnswConfig={"m": 24}), point_set("animals", name, {2: [1, 0]}))
    assert shell.run("plan", *flags).code == CHANGES
    assert _contents(tmp_path / "storage") == before


def _contents(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_two_connections_may_share_one_folder(tmp_path):
    shell = Shell(tmp_path)
    other = CONNECTION.replace("main", "other")
    shell.write("all.yaml", CONNECTION, other, collection("zoo"), collection("park", connectionRef={"name": "other"}))
    flags = ("-f", "all.yaml", "--qdrant", "storage")

    assert shell.run("apply", *flags).code == 0
    assert shell.run("plan", *flags, "--detailed-exitcode").code == NOTHING


def test_a_users_collection_that_was_made_again_is_planned_as_apply_leaves_it(scene):
    """Nothing is written before somebody approves it, and both say the same hash."""
    body = {"vectors": {"size": 2, "distance": "Dot"}}
    url = f"{scene.qdrant.url}/collections/zoo"
    httpx.put(url, json=body).raise_for_status()
    documents = [CONNECTION, collection("zoo", managedBy="User"), point_set("animals", "zoo", {1: [1, 0], 2: [0, 1]})]
    scene.apply(*documents)
    for request in (("DELETE", url, None), ("PUT", url, body)):
        httpx.request(request[0], request[1], json=request[2]).raise_for_status()

    planned = scene.plan(*documents, flags=("-o", "json")).by_name()["animals"]
    applied = scene.shell.run("apply", "-f", "all.yaml", "--qdrant", scene.qdrant.url, "--owner", "us", "-o", "json")

    assert [change["action"] for change in planned["changes"]] == ["hold", "hold"]
    assert "write 2 points again" in planned["changes"][1]["description"]
    told = applied.by_name()["animals"]
    assert (applied.code, told["reason"]) == (1, "CollectionReplaced")
    approval = re.search("approve plan [0-9a-f]{12} with --approve", planned["problem"])
    assert approval is not None
    assert approval[0] in told["message"]
    assert scene.qdrant.get("/collections/zoo")["points_count"] == 0


def test_a_collection_that_becomes_its_users_keeps_its_sets_points(tmp_path):
    shell = Shell(tmp_path)
    animals = point_set("animals", "zoo", {1: [1, 0], 2: [0, 1]})
    flags = ("-f", "all.yaml", "--qdrant", "storage")
    shell.write("all.yaml", collection("zoo"), animals)
    assert shell.run("apply", *flags).code == 0
    shell.write("all.yaml", collection("zoo", managedBy="User"), animals)

    planned = shell.run("plan", *flags, "-o", "json").by_name()

    assert planned["animals"]["points"]["unchanged"] == 2
    assert "becomes its user's" in planned["zoo"]["changes"][0]["description"]
    assert shell.run("apply", *flags).code == 0
    assert shell.run("plan", *flags, "--detailed-exitcode").code == NOTHING


class Folder:
    """A shell with a Qdrant in a folder. What was planned is held against what is then done."""

    def __init__(self, folder: Path) -> None:
        self.shell = Shell(folder)

    def run(self, command: str, *documents: str, flags: tuple[str, ...] = ()) -> Answer:
        self.shell.write("all.yaml", *documents)
        options = ("-f", "all.yaml", "--qdrant", "storage", "--owner", "us", "-o", "json")
        return self.shell.run(command, *options, *flags)

    def approval(self, *documents: str) -> tuple[str, str]:
        """The flags that approve what is held back."""
        found = re.search("approve plan ([0-9a-f]{12}) with --approve", self.run("plan", *documents).out)
        assert found is not None
        return "--approve", found[1]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def actions(planned: dict[str, Any]) -> list[str]:
    return [change["action"] for change in planned["changes"]]


def test_a_point_that_passes_to_another_set_is_not_planned_to_be_deleted(folder):
    zoo = collection("zoo")
    folder.run("apply", zoo, point_set("all", "zoo", {1: [1, 0], 2: [0, 1], 3: [1, 1]}))
    split = [zoo, point_set("all", "zoo", {1: [1, 0]}), point_set("part", "zoo", {2: [0, 1]})]

    planned = folder.run("plan", *split).by_name()

    assert planned["all"]["points"]["deleted"] == ["3"]
    assert [change["description"] for change in planned["all"]["changes"]] == [
        "1 point to leave to PointSet default/part: 2",
        "1 point to delete: 3",
    ]
    assert planned["part"]["problem"] is None
    assert folder.run("apply", *split).code == 0
    assert folder.run("plan", *split, flags=("--detailed-exitcode",)).code == NOTHING


def test_an_approved_removal_of_a_vector_is_planned_with_what_the_sets_lose(folder):
    text, image = ({"name": name, "size": 2, "distance": "Dot"} for name in ("text", "image"))
    both = {"text": [1, 0], "image": [0, 1]}

    def zoo(*vectors: dict[str, Any], points: Any = both) -> list[str]:
        spec: dict[str, Any] = {"vectors": list(vectors), "vector": None}
        return [collection("zoo", **spec), point_set("animals", "zoo", {1: points})]

    folder.run("apply", *zoo(text, image))
    approve = folder.approval(*zoo(text))
    assert actions(folder.run("plan", *zoo(text)).by_name()["animals"]) == []

    planned = folder.run("plan", *zoo(text), flags=approve).by_name()["animals"]
    # A set that no longer declares the vector has its ledger written, and nothing else.
    of_the_ledger = folder.run("plan", *zoo(text, points={"text": [1, 0]}), flags=approve).by_name()["animals"]
    applied = folder.run("apply", *zoo(text), flags=approve).by_name()["animals"]

    assert planned["points"]["failed"] == ["1"]
    assert applied["status"]["points"]["failed"] == 1
    assert [change["description"] for change in of_the_ledger["changes"]] == ["the ledger of this set"]


def test_an_approved_replacement_of_a_vector_is_planned_with_all_points_that_lose_it(folder):
    def zoo(distance: str) -> list[str]:
        vectors = [{"name": "text", "size": 2, "distance": distance}, {"name": "image", "size": 2}]
        return [
            collection("zoo", vectors=vectors, vector=None),
            point_set("animals", "zoo", {1: {"text": [1, 0], "image": [0, 1]}}),
        ]

    folder.run("apply", *zoo("Dot"))
    approve = folder.approval(*zoo("Euclid"))

    planned = folder.run("plan", *zoo("Euclid"), flags=approve).by_name()

    assert len(planned["animals"]["points"]["changed"] + planned["animals"]["points"]["new"]) == 1
    assert folder.run("apply", *zoo("Euclid"), flags=approve).code == 0
    assert folder.run("plan", *zoo("Euclid"), flags=("--detailed-exitcode",)).code == NOTHING


def test_sets_of_a_collection_that_is_suspended_are_planned_as_apply_fills_them(folder):
    folder.run("apply", collection("zoo"), point_set("animals", "zoo", {1: [1, 0]}))
    suspended = [collection("zoo", suspend=True), point_set("animals", "zoo", {1: [1, 0], 2: [0, 1]})]

    planned = folder.run("plan", *suspended).by_name()["animals"]
    applied = folder.run("apply", *suspended).by_name()["animals"]

    assert (planned["problem"], planned["points"]["new"]) == (None, ["2"])
    assert (applied["reason"], applied["status"]["points"]["synced"]) == ("Succeeded", 2)


def test_a_users_collection_that_differs_gives_its_mark_back_and_its_sets_are_planned_as_apply_fills_them(folder):
    folder.run("apply", collection("zoo"), point_set("animals", "zoo", {1: [1, 0]}))
    theirs = collection("zoo", managedBy="User", hnswConfig={"m": 99})
    documents = [theirs, point_set("animals", "zoo", {1: [1, 0], 2: [0, 1]})]

    planned = folder.run("plan", *documents).by_name()
    applied = folder.run("apply", *documents).by_name()

    assert actions(planned["zoo"]) == ["update"]
    assert "SchemaMismatch: collection 'zoo' differs" in planned["zoo"]["problem"]
    assert applied["zoo"]["reason"] == "SchemaMismatch"
    assert (planned["animals"]["problem"], planned["animals"]["points"]["new"]) == (None, ["2"])
    assert (applied["animals"]["reason"], applied["animals"]["status"]["points"]["synced"]) == ("Succeeded", 2)
    assert actions(folder.run("plan", *documents).by_name()["zoo"]) == []


def test_a_pruned_set_is_planned_with_the_points_that_prune_leaves_to_who_changed_them(scene):
    """A collection of its user's was made again, and one of the ids stands for something else now."""
    url = f"{scene.qdrant.url}/collections/zoo"
    httpx.put(url, json={"vectors": {"size": 2, "distance": "Dot"}}).raise_for_status()
    zoo = collection("zoo", managedBy="User")
    scene.apply(CONNECTION, zoo, point_set("animals", "zoo", {1: [1, 0], 2: [0, 1], 3: [1, 1]}))
    others = [{"id": id, "vector": [5, id], "payload": {"by": "another"}} for id in (1, 2)]
    httpx.put(f"{url}/points", params={"wait": "true"}, json={"points": others}).raise_for_status()
    flags = ("-f", "all.yaml", "--qdrant", scene.qdrant.url, "--owner", "us", "--prune")

    planned = scene.plan(CONNECTION, zoo, flags=("--prune",))
    applied = scene.shell.run("apply", *flags)

    (line,) = [line for line in words(planned) if line.startswith("- prune")]
    assert line == "- prune: delete its points in collection zoo; 2 points that others changed stay: 1, 2"
    assert applied.code == 0
    assert scene.qdrant.get("/collections/zoo")["points_count"] == 2
