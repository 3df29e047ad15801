"""`vectorops apply`: no cluster, a folder or a real server, and the same promises."""

import base64
import json
import re
import signal
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
import yaml
from qdrant_client import QdrantClient, models

from integration.command_line import CONNECTION, Answer, Shell, collection, point_set
from integration.conftest import StartQdrant
from servers.qdrant import QdrantServer


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


@pytest.fixture
def zoo() -> str:
    """A name of a collection that no other test uses."""
    return f"zoo-{uuid.uuid4().hex[:8]}"


class Place:
    """What `--qdrant` is given, and a look into it with the plain client."""

    def __init__(self, given: str, folder: Path | None = None) -> None:
        self.given = given
        self._folder = folder

    def client(self) -> QdrantClient:
        return (
            QdrantClient(path=str(self._folder))
            if self._folder
            else QdrantClient(url=self.given, check_compatibility=False)
        )

    def ids(self, name: str) -> set[str]:
        client = self.client()
        try:
            return {str(record.id) for record in client.scroll(name, limit=1000)[0]}
        finally:
            client.close()

    def collections(self) -> set[str]:
        client = self.client()
        try:
            return {found.name for found in client.get_collections().collections}
        finally:
            client.close()


@pytest.fixture(params=["folder", "server"])
def place(request: pytest.FixtureRequest, tmp_path: Path, zoo: str) -> Iterator[Place]:
    """An embedded folder, and a real server."""
    if request.param == "folder":
        yield Place("storage", tmp_path / "storage")
    else:
        qdrant: QdrantServer = request.getfixturevalue("qdrant")
        found = Place(qdrant.url)
        yield found
        # Sets of one owner are known by their names: the next test has one of the same name in another collection.
        for name in found.collections():
            if name.startswith(zoo):
                httpx.delete(f"{qdrant.url}/collections/{name}", timeout=30).raise_for_status()


# ---- what a person gets ----


def test_a_collection_and_its_points_are_made_and_can_be_searched(shell, place, zoo):
    shell.write("all.yaml", CONNECTION, collection(zoo), point_set("animals", zoo, {1: [1, 0], 2: [0, 1]}))

    answer = shell.run("apply", "-f", "all.yaml", "--qdrant", place.given)

    assert (answer.code, answer.err) == (0, "")
    assert [line.split()[0] for line in answer.out.splitlines()] == [
        "KIND",
        "QdrantConnection",
        "QdrantCollection",
        "PointSet",
    ]
    client = place.client()
    best = client.query_points(zoo, query=[0.0, 1.0], limit=1).points[0]
    client.close()
    assert (best.id, best.score) == (2, 1.0)


def test_rows_of_config_maps_in_the_manifests_become_points(shell, place, zoo):
    labels = 'labels: {docs: zoo, vectorops.dev/source: "true"}'
    rows = """'{"id": 1, "vector": [1, 0]}'"""
    config_map = f"\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: rows, {labels}}}\ndata: {{a.jsonl: {rows}}}\n"
    declared = yaml.safe_load(point_set("animals", zoo, {}))
    del declared["spec"]["points"]
    declared["spec"]["source"] = {"configMaps": {"selector": {"matchLabels": {"docs": "zoo"}}}}
    shell.write("all.yaml", CONNECTION, collection(zoo), config_map, f"\n{yaml.safe_dump(declared)}")

    answer = shell.run("apply", "-f", "all.yaml", "--qdrant", place.given)

    assert answer.code == 0, answer.out + answer.err
    assert "skipped" not in answer.err
    assert place.ids(zoo) == {"1"}


def test_json_output_is_one_array_and_nothing_else(shell, place, zoo):
    shell.write("all.yaml", CONNECTION, collection(zoo), point_set("animals", zoo, {1: [1, 0]}))

    answer = shell.run("apply", "-f", "all.yaml", "--qdrant", place.given, "-o", "json")

    assert answer.code == 0
    assert [result["kind"] for result in answer.json] == ["QdrantConnection", "QdrantCollection", "PointSet"]
    animals = answer.by_name()["animals"]
    assert set(animals) == {"kind", "namespace", "name", "ready", "reason", "message", "status"}
    assert (animals["namespace"], animals["ready"], animals["reason"]) == ("default", True, "Succeeded")
    assert animals["status"]["points"] == {"desired": 1, "synced": 1, "failed": 0, "conflicts": 0}


def test_the_flag_stands_in_for_a_connection_that_the_files_lack(shell, place, zoo):
    shell.write("all.yaml", collection(zoo))

    assert shell.run("apply", "-f", "all.yaml", "--qdrant", place.given).code == 0
    assert zoo in place.collections()


def test_without_the_flag_a_missing_connection_is_told_at_once(shell, zoo):
    shell.write("all.yaml", collection(zoo), point_set("animals", zoo, {}))

    answer = shell.run("apply", "-f", "all.yaml", "-o", "json")

    assert answer.code == 1
    assert answer.by_name()[zoo]["reason"] == "ConnectionNotFound"
    assert not answer.by_name()["animals"]["ready"]


def test_manifests_come_from_standard_input_too(shell, place, zoo):
    assert shell.run("apply", "-f", "-", "--qdrant", place.given, stdin=collection(zoo)).code == 0
    assert zoo in place.collections()


def test_a_point_that_cannot_be_written_fails_alone_and_the_command_says_so(shell, place, zoo):
    points = point_set("animals", zoo, {1: [1, 0], 2: [1, 2, 3]})
    shell.write("all.yaml", collection(zoo), points)

    answer = shell.run("apply", "-f", "all.yaml", "--qdrant", place.given, "-o", "json")

    assert answer.code == 1
    assert answer.by_name()["animals"]["reason"] == "PointsFailed"
    assert answer.by_name()["animals"]["status"]["failures"][0]["id"] == "2"
    assert place.ids(zoo) == {"1"}


# ---- the same promises as in a cluster ----


def test_a_second_apply_writes_nothing(shell, start_qdrant: StartQdrant, zoo):
    qdrant = start_qdrant()
    indexed = collection(zoo, payloadIndexes=[{"field": "a", "schema": {"type": "keyword"}}], aliases=[f"{zoo}-alias"])
    shell.write("all.yaml", indexed, point_set("animals", zoo, {1: [1, 0], "lion": [0, 1]}))
    assert shell.run("apply", "-f", "all.yaml", "--qdrant", qdrant.url).code == 0
    before = qdrant.telemetry_writes_by_endpoint()

    assert shell.run("apply", "-f", "all.yaml", "--qdrant", qdrant.url).code == 0

    assert before
    assert qdrant.telemetry_writes_by_endpoint() == before


def test_vectors_that_cosine_normalizes_are_as_declared_for_the_next_process(shell, place, zoo):
    manifests = """
apiVersion: vectorops.dev/v1alpha1
kind: QdrantCollection
metadata: {name: ZOO}
spec:
  connectionRef: {name: main}
  vectors: [{name: text, size: 2}, {name: tokens, size: 2, multivector: {comparator: max_sim}}]
---
apiVersion: vectorops.dev/v1alpha1
kind: PointSet
metadata: {name: animals}
spec:
  collectionRef: {name: ZOO}
  points: [{id: 1, vectors: {text: {values: [3, 4]}, tokens: {rows: [[3, 4], [0, 2]]}}}]
"""
    shell.write("all.yaml", CONNECTION, manifests.replace("ZOO", zoo))
    assert shell.run("apply", "-f", "all.yaml", "--qdrant", place.given).code == 0

    planned = shell.run("plan", "-f", "all.yaml", "--qdrant", place.given, "--detailed-exitcode")

    assert (planned.code, "1 point as declared" in planned.out) == (0, True)


def test_points_that_leave_the_file_leave_the_collection_and_foreign_ones_stay(shell, place, zoo):
    shell.write("all.yaml", collection(zoo), point_set("animals", zoo, {1: [1, 0], 2: [0, 1]}))
    assert shell.run("apply", "-f", "all.yaml", "--qdrant", place.given).code == 0
    client = place.client()
    client.upsert(zoo, [models.PointStruct(id=7, vector=[1.0, 1.0])])
    client.close()
    shell.write("all.yaml", collection(zoo), point_set("animals", zoo, {2: [0, 1], 3: [1, 1]}))

    assert shell.run("apply", "-f", "all.yaml", "--qdrant", place.given).code == 0

    assert place.ids(zoo) == {"2", "3", "7"}


def test_another_owner_changes_nothing_and_says_so(shell, place, zoo):
    shell.write("all.yaml", collection(zoo), point_set("animals", zoo, {1: [1, 0]}))
    assert shell.run("apply", "-f", "all.yaml", "--qdrant", place.given, "--owner", "one").code == 0
    shell.write("all.yaml", collection(zoo), point_set("animals", zoo, {2: [1, 0]}))

    answer = shell.run("apply", "-f", "all.yaml", "--qdrant", place.given, "--owner", "two", "-o", "json")

    assert answer.code == 1
    assert answer.by_name()[zoo]["reason"] == "OwnedByAnother"
    assert place.ids(zoo) == {"1"}


def test_a_collection_is_taken_over_by_the_run_that_is_told_from_whom(shell, place, zoo):
    shell.write("all.yaml", collection(zoo), point_set("animals", zoo, {1: [1, 0]}))
    common = ("apply", "-f", "all.yaml", "--qdrant", place.given, "-o", "json")
    assert shell.run(*common, "--owner", "one").code == 0

    refused = shell.run(*common, "--owner", "two", "--take-over-from", "three")
    moved = shell.run(*common, "--owner", "two", "--take-over-from", "one")

    assert "run once more with --take-over-from one" in refused.by_name()[zoo]["message"]
    assert moved.code == 0
    assert shell.run(*common, "--owner", "two").code == 0
    assert shell.run(*common, "--owner", "one").code == 1


# ---- what is held back ----


def approves(answer: Answer) -> str:
    """The hash of the one plan that is held back."""
    (found,) = set(re.findall("approve plan ([0-9a-f]{12}) with --approve", answer.out))
    return str(found)


def test_a_plan_that_is_held_back_is_carried_out_by_the_run_that_approves_it(shell, place, zoo):
    shell.write("all.yaml", collection(zoo), point_set("animals", zoo, {1: [1, 0]}))
    assert shell.run("apply", "-f", "all.yaml", "--qdrant", place.given).code == 0
    shell.write(
        "all.yaml", collection(zoo, vector={"size": 3, "distance": "Dot"}), point_set("animals", zoo, {1: [1, 0, 0]})
    )
    planned = shell.run("plan", "-f", "all.yaml", "--qdrant", place.given)

    held = shell.run("apply", "-f", "all.yaml", "--qdrant", place.given)
    assert (held.code, approves(held)) == (1, approves(planned))
    assert shell.run("apply", "-f", "all.yaml", "--qdrant", place.given, "--approve", "0123456789ab").code == 1
    granted = ("-f", "all.yaml", "--qdrant", place.given, "--approve", approves(held))
    assert "- the vector: size 2 -> 3" in shell.run("plan", *granted).out

    assert shell.run("apply", *granted).code == 0

    assert place.ids(zoo) == {"1"}


def test_an_approval_does_not_fit_what_was_filled_meanwhile(shell, place, zoo):
    shell.write("all.yaml", collection(zoo), point_set("animals", zoo, {1: [1, 0]}))
    assert shell.run("apply", "-f", "all.yaml", "--qdrant", place.given).code == 0
    shell.write("all.yaml", collection(zoo, vector={"size": 3, "distance": "Dot"}))
    held = shell.run("apply", "-f", "all.yaml", "--qdrant", place.given)
    client = place.client()
    client.upsert(zoo, [models.PointStruct(id=7, vector=[1.0, 1.0])])
    client.close()

    late = shell.run("apply", "-f", "all.yaml", "--qdrant", place.given, "--approve", approves(held))

    assert late.code == 1
    assert approves(late) != approves(held)
    assert place.ids(zoo) == {"1", "7"}


def test_the_hash_that_is_told_at_the_end_counts_what_the_sets_wrote_meanwhile(shell, place, zoo):
    vectors = [{"name": "a", "size": 2}, {"name": "b", "size": 2}]
    shell.write("all.yaml", collection(zoo, vector=None, vectors=vectors))
    assert shell.run("apply", "-f", "all.yaml", "--qdrant", place.given).code == 0
    changed = collection(zoo, vector=None, vectors=[vectors[0], {"name": "b", "size": 3}])
    shell.write("all.yaml", changed, point_set("animals", zoo, {1: {"a": [1, 0]}}))
    held = shell.run("apply", "-f", "all.yaml", "--qdrant", place.given)
    assert place.ids(zoo) == {"1"}

    done = shell.run("apply", "-f", "all.yaml", "--qdrant", place.given, "--approve", approves(held))

    assert done.code == 0


# ---- prune ----


def test_prune_removes_what_the_owner_no_longer_declares_by_its_policy(shell, place, zoo):
    goes, stays, kept = f"{zoo}-goes", f"{zoo}-stays", f"{zoo}-kept"
    shell.write(
        "all.yaml",
        collection(goes, deletionPolicy="Delete"),
        collection(stays),
        collection(kept),
        point_set("kept", kept, {1: [1, 0]}),
        point_set("gone", kept, {2: [1, 0]}),
    )
    assert shell.run("apply", "-f", "all.yaml", "--qdrant", place.given, "--owner", zoo).code == 0
    shell.write("all.yaml", collection(kept), point_set("kept", kept, {1: [1, 0]}))

    answer = shell.run("apply", "-f", "all.yaml", "--qdrant", place.given, "--owner", zoo, "--prune")

    assert answer.code == 0
    assert sorted(answer.err.splitlines()) == [
        "PointSet default/gone: pruned",
        f"QdrantCollection default/{goes}: pruned",
        f"QdrantCollection default/{stays}: pruned",
    ]
    assert place.collections() & {goes, stays, kept} == {stays, kept}
    assert place.ids(kept) == {"1"}
    again = shell.run("apply", "-f", "all.yaml", "--qdrant", place.given, "--owner", zoo, "--prune")
    assert (again.code, again.err) == (0, "")


def test_prune_touches_nothing_of_another_owner_or_of_nobody(shell, place, zoo):
    theirs, mine, nobodys = f"{zoo}-theirs", f"{zoo}-mine", f"{zoo}-nobodys"
    shell.write("theirs.yaml", collection(theirs, deletionPolicy="Delete"), point_set("theirs", theirs, {1: [1, 0]}))
    assert shell.run("apply", "-f", "theirs.yaml", "--qdrant", place.given, "--owner", f"{zoo}-them").code == 0
    client = place.client()
    client.create_collection(nobodys, vectors_config=models.VectorParams(size=2, distance=models.Distance.DOT))
    client.upsert(nobodys, [models.PointStruct(id=7, vector=[1.0, 1.0])])
    client.close()
    shell.write("mine.yaml", collection(mine))

    answer = shell.run("apply", "-f", "mine.yaml", "--qdrant", place.given, "--owner", f"{zoo}-me", "--prune")

    assert (answer.code, answer.err) == (0, "")
    assert (place.ids(theirs), place.ids(nobodys)) == ({"1"}, {"7"})


def test_a_name_that_no_url_can_hold_does_not_stop_prune(shell, start_qdrant: StartQdrant, zoo):
    qdrant = start_qdrant()
    foreign = httpx.put(
        f"{qdrant.url}/collections/%2E%2E", json={"vectors": {"size": 2, "distance": "Dot"}}, timeout=30
    )
    assert foreign.is_success
    shell.write("all.yaml", collection(zoo))

    answer = shell.run("apply", "-f", "all.yaml", "--qdrant", qdrant.url, "--owner", zoo, "--prune")

    assert (answer.code, answer.err) == (0, "")


def test_an_id_that_a_pruned_set_held_is_taken_by_the_set_that_declares_it_now(shell, place, zoo):
    shell.write("all.yaml", collection(zoo), point_set("old", zoo, {1: [1, 0]}))
    assert shell.run("apply", "-f", "all.yaml", "--qdrant", place.given, "--owner", zoo).code == 0
    shell.write("all.yaml", collection(zoo), point_set("new", zoo, {1: [0, 1]}))

    answer = shell.run("apply", "-f", "all.yaml", "--qdrant", place.given, "--owner", zoo, "--prune")

    assert answer.code == 0
    assert place.ids(zoo) == {"1"}


@pytest.mark.parametrize("order", [("all", "part"), ("part", "all")], ids=["giver first", "taker first"])
def test_a_point_that_moves_from_one_set_to_another_is_there_after_one_run(shell, place, zoo, order):
    """A file of points is split in two."""

    def write(**points: dict[str, list[float]]) -> None:
        shell.write("all.yaml", collection(zoo), *(point_set(name, zoo, points[name]) for name in order))

    write(all={"own": [1, 0], "shared": [0, 1]}, part={})
    assert shell.run("apply", "-f", "all.yaml", "--qdrant", place.given).code == 0
    before = place.ids(zoo)

    write(all={"own": [1, 0]}, part={"shared": [1, 1]})
    planned = shell.run("plan", "-f", "all.yaml", "--qdrant", place.given)
    assert (planned.code, "0 with a problem" in planned.out) == (0, True), planned.out
    answer = shell.run("apply", "-f", "all.yaml", "--qdrant", place.given, "-o", "json")

    assert answer.code == 0, answer.out
    assert answer.by_name()["part"]["status"]["points"]["synced"] == 1
    assert place.ids(zoo) == before
    assert "0 to change" in shell.run("plan", "-f", "all.yaml", "--qdrant", place.given).out
    # And it is that set's to delete.
    write(all={"own": [1, 0]}, part={})
    assert shell.run("apply", "-f", "all.yaml", "--qdrant", place.given).code == 0
    assert len(place.ids(zoo)) == 1


def test_another_collection_for_ledgers_is_refused_until_the_first_is_named_again(shell, qdrant: QdrantServer, zoo):
    """In a cluster the API server forbids it; a file knows nothing of what it was before."""

    def write(ledgers: str, points: dict[int, list[float]]) -> None:
        spec = f'url: "{qdrant.url}", preferGrpc: false, ledgerCollectionName: {ledgers}'
        shell.write(
            "all.yaml",
            CONNECTION.replace('url: "http://127.0.0.1:1"', spec),
            collection(zoo),
            point_set("animals", zoo, points),
        )

    for first, then in (("vectorops-ledger", f"{zoo}-a"), (f"{zoo}-b", f"{zoo}-c")):
        name, owner = zoo, ("--owner", first)
        write(first, {1: [1, 0], 2: [0, 1]})
        assert shell.run("apply", "-f", "all.yaml", *owner).code == 0

        write(then, {1: [0, 1]})
        refused = shell.run("apply", "-f", "all.yaml", *owner, "-o", "json")
        assert refused.code == 1
        assert refused.by_name()["animals"]["reason"] == "InvalidSpec"
        assert first in refused.by_name()["animals"]["message"]
        assert shell.run("plan", "-f", "all.yaml", *owner).code == 1

        write(first, {1: [0, 1]})
        assert shell.run("apply", "-f", "all.yaml", *owner).code == 0
        assert Place(qdrant.url).ids(name) == {"1"}
        zoo += "-next"


def test_the_ledger_of_a_users_collection_is_found_where_it_is(shell: Shell, qdrant: QdrantServer, zoo: str) -> None:
    """Its metadata names none, and its own points must not be told to be another writer's."""
    made = {"vectors": {"size": 2, "distance": "Dot"}}
    httpx.put(f"{qdrant.url}/collections/{zoo}", json=made, timeout=30).raise_for_status()

    def run(ledgers: str) -> Answer:
        spec = f'url: "{qdrant.url}", preferGrpc: false, ledgerCollectionName: {ledgers}'
        shell.write(
            "all.yaml",
            CONNECTION.replace('url: "http://127.0.0.1:1"', spec),
            collection(zoo, managedBy="User"),
            point_set("animals", zoo, {1: [1, 0]}),
        )
        return shell.run("apply", "-f", "all.yaml", "--owner", zoo, "-o", "json")

    assert run(f"{zoo}-first").code == 0
    refused = run(f"{zoo}-then")

    assert refused.code == 1
    assert refused.by_name()["animals"]["reason"] == "InvalidSpec"
    assert f"{zoo}-first" in refused.by_name()["animals"]["message"]
    assert run(f"{zoo}-first").code == 0


def test_a_pruned_set_leaves_its_points_if_its_last_policy_was_to_retain_them(shell, place, zoo):
    shell.write("all.yaml", collection(zoo), point_set("old", zoo, {1: [1, 0]}))
    assert shell.run("apply", "-f", "all.yaml", "--qdrant", place.given, "--owner", zoo).code == 0
    shell.write("all.yaml", collection(zoo), point_set("old", zoo, {1: [1, 0]}, deletionPolicy="Retain"))
    assert shell.run("apply", "-f", "all.yaml", "--qdrant", place.given, "--owner", zoo).code == 0
    shell.write("all.yaml", collection(zoo))

    answer = shell.run("apply", "-f", "all.yaml", "--qdrant", place.given, "--owner", zoo, "--prune")

    assert (answer.code, answer.err) == (0, "PointSet default/old: pruned\n")
    assert place.ids(zoo) == {"1"}


def test_another_collection_name_is_refused_until_prune_may_remove_the_old_one(shell, place, zoo):
    """What the API server refuses always, since it knows what was declared before."""
    old, new = f"{zoo}-old", f"{zoo}-new"
    animals = point_set("animals", zoo, {1: [1, 0]})
    common = ("-f", "all.yaml", "--qdrant", place.given, "--owner", zoo)
    shell.write("all.yaml", collection(zoo, collectionName=old, deletionPolicy="Delete"), animals)
    assert shell.run("apply", *common).code == 0
    shell.write("all.yaml", collection(zoo, collectionName=new, deletionPolicy="Delete"), animals)

    refused = shell.run("apply", *common, "-o", "json")
    told = shell.run("plan", *common, "-o", "json")

    assert refused.code == told.code == 1
    assert refused.by_name()[zoo]["reason"] == "InvalidSpec"
    for words in (refused.by_name()[zoo]["message"], told.by_name()[zoo]["problem"]):
        assert "spec.collectionName" in words
        assert f"this resource has collection '{old}'" in words
        assert "--prune" in words
    assert place.collections() & {old, new} == {old}

    planned = shell.run("plan", *common, "--prune")
    assert f"- prune: delete collection {old}" in planned.out
    done = shell.run("apply", *common, "--prune")
    assert done.code == 0
    assert f"QdrantCollection default/{zoo}, as it was in collection '{old}': pruned" in done.err
    assert place.collections() & {old, new} == {new}
    assert place.ids(new) == {"1"}
    assert shell.run("apply", *common, "--prune").err == ""


@pytest.mark.parametrize("why", ["another's", "suspended"])
def test_the_old_collection_stays_while_its_resource_is_not_as_declared_in_the_new_one(shell, place, zoo, why):
    """Else a rename that is refused would end with nothing at all."""
    old, new = f"{zoo}-old", f"{zoo}-new"
    animals = point_set("animals", zoo, {1: [1, 0]})
    common = ("-f", "all.yaml", "--qdrant", place.given, "--owner", zoo)
    shell.write("other.yaml", collection("other", collectionName=new))
    assert shell.run("apply", "-f", "other.yaml", "--qdrant", place.given, "--owner", f"{zoo}-other").code == 0
    shell.write("all.yaml", collection(zoo, collectionName=old, deletionPolicy="Delete"), animals)
    assert shell.run("apply", *common).code == 0
    name = new if why == "another's" else f"{zoo}-newer"
    shell.write(
        "all.yaml", collection(zoo, collectionName=name, deletionPolicy="Delete", suspend=why == "suspended"), animals
    )

    told = shell.run("plan", *common, "--prune")
    done = shell.run("apply", *common, "--prune")

    words = "is as declared elsewhere"
    assert f"collection '{old}' would be left as it is until" in told.out
    assert words in told.out
    assert f"collection '{old}' is left as it is until" in done.err
    assert words in done.err
    assert place.ids(old) == {"1"}


def test_a_collection_that_becomes_its_users_under_another_name_is_refused_as_well(shell, place, zoo):
    old, new = f"{zoo}-old", f"{zoo}-new"
    common = ("-f", "all.yaml", "--qdrant", place.given, "--owner", zoo)
    shell.write("other.yaml", collection("other", collectionName=new))
    assert shell.run("apply", "-f", "other.yaml", "--qdrant", place.given, "--owner", f"{zoo}-other").code == 0
    shell.write("all.yaml", collection(zoo, collectionName=old))
    assert shell.run("apply", *common).code == 0
    shell.write("all.yaml", collection(zoo, collectionName=new, managedBy="User"))

    refused = shell.run("apply", *common, "-o", "json")

    assert refused.code == 1
    assert f"this resource has collection '{old}'" in refused.by_name()[zoo]["message"]


def test_another_collection_of_a_set_is_refused_until_prune_may_remove_its_points(shell, place, zoo):
    here, there = f"{zoo}-from", f"{zoo}-to"
    both = [collection(here), collection(there)]
    common = ("-f", "all.yaml", "--qdrant", place.given, "--owner", zoo)
    shell.write("all.yaml", *both, point_set("moving", here, {1: [1, 0]}), point_set("stays", here, {2: [1, 0]}))
    assert shell.run("apply", *common).code == 0
    shell.write("all.yaml", *both, point_set("moving", there, {1: [1, 0]}), point_set("stays", here, {2: [1, 0]}))

    refused = shell.run("apply", *common, "-o", "json")

    assert refused.code == 1
    assert f"the points of this set are in collection '{here}'" in refused.by_name()["moving"]["message"]
    assert (place.ids(here), place.ids(there)) == ({"1", "2"}, set())

    assert shell.run("apply", *common, "--prune").code == 0
    assert (place.ids(here), place.ids(there)) == ({"2"}, {"1"})
    assert shell.run("plan", *common, "--detailed-exitcode").code == 0

    # And out of the files, from where it is now.
    shell.write("all.yaml", *both, point_set("stays", here, {2: [1, 0]}))
    assert shell.run("apply", *common, "--prune").code == 0
    assert (place.ids(here), place.ids(there)) == ({"2"}, set())


def test_prune_needs_an_owner(shell, zoo):
    shell.write("all.yaml", collection(zoo))

    answer = shell.run("apply", "-f", "all.yaml", "--qdrant", "storage", "--prune")

    assert answer.code == 2
    assert "--owner" in answer.err


# ---- keys ----


def secret(key: str) -> str:
    encoded = base64.b64encode(f"{key}\n".encode()).decode()
    return f"\napiVersion: v1\nkind: Secret\nmetadata: {{name: qdrant}}\ndata: {{api-key: {encoded}}}\n"


def connection(url: str) -> str:
    spec = {"url": url, "preferGrpc": False, "apiKeySecretRef": {"name": "qdrant", "key": "api-key"}}
    return CONNECTION.split("spec:")[0] + f"spec: {json.dumps(spec)}\n"


def test_a_key_comes_from_the_secret_in_the_files(shell, start_qdrant: StartQdrant, zoo):
    qdrant = start_qdrant(api_key="sesame")
    shell.write("all.yaml", secret("sesame"), connection(qdrant.url), collection(zoo))

    answer = shell.run("apply", "-f", "all.yaml")

    assert answer.code == 0
    assert qdrant.get(f"/collections/{zoo}")["config"]["params"]["vectors"]["size"] == 2


def test_a_key_that_is_missing_or_wrong_is_told_at_once_and_never_shown(shell, start_qdrant: StartQdrant, zoo):
    qdrant = start_qdrant(api_key="sesame")
    shell.write("missing.yaml", connection(qdrant.url), collection(zoo))
    shell.write("wrong.yaml", secret("mustard"), connection(qdrant.url), collection(zoo))

    missing = shell.run("apply", "-f", "missing.yaml", "-o", "json")
    wrong = shell.run("apply", "-f", "wrong.yaml", "-o", "json")

    assert (missing.code, missing.by_name()["main"]["reason"]) == (1, "SecretNotFound")
    assert (wrong.code, wrong.by_name()["main"]["reason"]) == (1, "Unauthorized")
    assert "mustard" not in wrong.out + wrong.err


def test_the_key_for_the_flag_comes_from_the_environment_and_the_secret_may_be_elsewhere(
    shell, start_qdrant: StartQdrant, zoo
):
    qdrant = start_qdrant(api_key="sesame")
    shell.write("all.yaml", connection("https://qdrant.example:6333"), collection(zoo))
    environment = {"VECTOROPS_QDRANT_API_KEY": "sesame"}

    assert shell.run("apply", "-f", "all.yaml", "--qdrant", qdrant.url, environment=environment).code == 0
    assert shell.run("apply", "-f", "all.yaml", "--qdrant", qdrant.url).code == 1


# ---- mistakes ----


def test_a_model_that_is_nowhere_is_told_at_once_and_nothing_is_made_of_it(shell, place, zoo):
    models = shell.folder / "models"
    models.mkdir()
    embedder = {"sentenceTransformers": {"model": "nobody/nothing"}}
    shell.write("all.yaml", CONNECTION, collection(zoo, vector={"embedder": embedder}))
    where = ("-f", "all.yaml", "--qdrant", place.given, "--model-folder", str(models), "--offline")

    answer = shell.run("apply", *where, "--threads", "1", "--device", "cpu", "-o", "json")

    assert answer.code == 1
    told = answer.by_name()[zoo]
    assert (told["ready"], told["reason"]) == (False, "ModelNotFound")
    assert "nobody/nothing" in told["message"]
    assert zoo not in place.collections()
    planned = shell.run("plan", *where)
    assert planned.code == 1
    assert "ModelNotFound" in planned.out


def test_an_invalid_manifest_in_any_file_stops_everything(shell, place, zoo):
    (shell.folder / "manifests").mkdir()
    shell.write("manifests/1.yaml", collection(zoo))
    shell.write("manifests/2.yaml", "kind: Secret\nspec: [1,\n")
    shell.write("manifests/3.yaml", collection("other", vectorz=[]))

    answer = shell.run("apply", "-f", "manifests", "--qdrant", place.given)

    assert (answer.code, answer.out) == (2, "")
    assert "manifests/2.yaml:2: not YAML" in answer.err
    assert 'manifests/3.yaml (document 1, QdrantCollection default/other): unknown field "spec.vectorz"' in answer.err
    assert zoo not in place.collections()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-f", "missing.yaml"], "missing.yaml: No such file or directory"),
        (["-f", "all.yaml", "--qdrant", "localhost:6333"], "http://localhost:6333"),
        (["-f", "all.yaml", "--qdrant", ""], "a URL or a folder is expected"),
        (["-f", "all.yaml", "--qdrant", "all.yaml"], "is a file"),
        (["-f", "all.yaml", "--qdrant", "all.yaml/storage"], "Not a directory"),
        (["-f", "all.yaml", "--qdrant", "http://key@localhost"], "without a key"),
        (["-f", "all.yaml", "--owner", "a/b"], "--owner"),
        (["-f", "all.yaml", "-n", "Not_A_Name"], "metadata.namespace"),
        (["-f", "all.yaml", "--timeout", "0"], "--timeout"),
        (["-f", "all.yaml", "--model-folder", "nowhere"], "--model-folder"),
        (["-f", "all.yaml", "--threads", "0"], "--threads"),
        (["-f", "all.yaml", "--unknown"], "--unknown"),
        ([], "--filename"),
    ],
)
def test_wrong_usage_ends_with_2_and_says_what_is_wrong(shell, zoo, arguments, words):
    shell.write("all.yaml", collection(zoo))

    answer = shell.run("apply", *arguments)

    assert (answer.code, answer.out) == (2, "")
    assert words in answer.err


def test_a_server_that_is_not_there_is_waited_for_as_long_as_asked(shell, zoo):
    shell.write("all.yaml", CONNECTION, collection(zoo))

    answer = shell.run("apply", "-f", "all.yaml", "--timeout", "10", "-o", "json")

    assert answer.code == 1
    assert answer.by_name()["main"]["reason"] == "Unreachable"
    assert answer.by_name()[zoo]["reason"] == "ConnectionNotReady"
    assert "time ran out" in answer.err


def test_an_interrupt_ends_it_with_130_and_no_traceback(shell, start_qdrant: StartQdrant, zoo):
    qdrant = start_qdrant()
    qdrant.pause()
    shell.write("all.yaml", collection(zoo))
    # A suite that runs in the background of a shell has interrupts ignored, and so would the command.
    command = ["env", "--default-signal=INT", *shell.command("apply", "-f", "all.yaml", "--qdrant", qdrant.url)]
    process = subprocess.Popen(command, cwd=shell.folder, stderr=subprocess.PIPE, text=True, env=shell.environment())
    # The flag's folder or server is looked at only after everything is loaded; a connection shows that it is.
    _until_connected(qdrant, process)

    process.send_signal(signal.SIGINT)
    try:
        _, said = process.communicate(timeout=30)
    finally:
        process.kill()
        qdrant.resume()

    assert process.returncode == 130
    assert said == "interrupted; run the same command again to go on\n"


def _until_connected(qdrant: QdrantServer, process: subprocess.Popen[str]) -> None:
    port = f":{qdrant.port:04X}"
    while process.poll() is None:
        rows = Path("/proc/net/tcp").read_text().splitlines()[1:]
        if any(row.split()[2].endswith(port) and row.split()[3] == "01" for row in rows):
            return


def test_a_reader_that_goes_away_makes_no_noise(shell, place, zoo):
    shell.write("all.yaml", collection(zoo))
    for output in ("json", "table"):
        command = shell.command("apply", "-f", "all.yaml", "--qdrant", place.given, "-o", output)
        process = subprocess.Popen(
            command,
            cwd=shell.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=shell.environment(),
        )
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        said = process.stderr.read()
        process.stderr.close()

        assert process.wait(timeout=30) == 1
        assert said == ""


def test_help_and_version_need_nothing_heavy(shell):
    """What is not needed is not loaded: `apply` works where neither kopf nor kubernetes can be imported."""
    (shell.folder / "kopf.py").write_text("raise ImportError")
    (shell.folder / "kubernetes.py").write_text("raise ImportError")
    environment = {"PYTHONPATH": str(shell.folder)}
    shell.write("all.yaml", CONNECTION)

    assert shell.run("--help", environment=environment).code == 0
    assert shell.run("--version", environment=environment).out.startswith("vectorops ")
    assert shell.run("apply", "-f", "all.yaml", "--timeout", "1", environment=environment).code == 1


def test_what_is_declared_stays_when_another_connection_spells_the_address_otherwise(
    shell, start_qdrant: StartQdrant, zoo
):
    """Two teams' connections to one Qdrant: each shows the collections of both."""
    qdrant = start_qdrant()
    other = qdrant.url.replace("127.0.0.1", "localhost")
    assert other != qdrant.url
    shell.write(
        "all.yaml",
        CONNECTION.replace('"http://127.0.0.1:1"', f"{qdrant.url}, preferGrpc: false"),
        CONNECTION.replace('"http://127.0.0.1:1"', f"{other}, preferGrpc: false").replace("name: main", "name: other"),
        collection(zoo, connectionRef={"name": "other"}, deletionPolicy="Delete"),
        point_set("animals", zoo, {1: [1, 0]}),
    )
    flags = ("-f", "all.yaml", "--owner", "us", "--prune")
    assert shell.run("apply", *flags).code == 0
    before = qdrant.get(f"/collections/{zoo}")["config"]["metadata"]

    assert "delete" not in shell.run("plan", *flags).out
    again = shell.run("apply", *flags)

    assert (again.code, again.err) == (0, "")
    assert qdrant.get(f"/collections/{zoo}")["config"]["metadata"] == before


# ---- a connection of a cluster ----

SHARED: Final = {"connectionRef": {"kind": "ClusterQdrantConnection", "name": "shared"}}


def cluster_connection(url: str, **spec: Any) -> str:
    declared = {"url": url, "preferGrpc": False, **spec}
    head = "\napiVersion: vectorops.dev/v1alpha1\nkind: ClusterQdrantConnection\nmetadata: {name: shared}\n"
    return f"{head}spec: {json.dumps(declared)}\n"


def namespace(name: str, **labels: str) -> str:
    return f"\napiVersion: v1\nkind: Namespace\nmetadata: {json.dumps({'name': name, 'labels': labels})}\n"


def test_a_connection_of_the_cluster_is_used_as_an_operator_would(shell, start_qdrant: StartQdrant, zoo):
    qdrant = start_qdrant(api_key="sesame")
    selector = {"selector": {"matchLabels": {"qdrant": "shared"}}}
    shared = cluster_connection(
        qdrant.url,
        apiKeySecretRef={"name": "qdrant", "key": "api-key"},
        allowedNamespaces=selector,
        collectionNames=["{namespace}.*"],
    )
    key = secret("sesame").replace("name: qdrant", "name: qdrant, namespace: vectorops-system")
    fine, wrong = collection(zoo, collectionName=f"team.{zoo}", **SHARED), collection(f"{zoo}-wrong", **SHARED)
    fine, wrong = (each.replace("metadata:", "metadata:\n  namespace: team") for each in (fine, wrong))
    shell.write("all.yaml", key, shared, namespace("team", qdrant="shared"), fine, wrong)
    shell.write("stranger.yaml", key, shared, collection(zoo, collectionName=f"default.{zoo}", **SHARED))

    plan = shell.run("plan", "-f", "all.yaml", "-o", "json")
    answer = shell.run("apply", "-f", "all.yaml", "-o", "json")
    stranger = shell.run("apply", "-f", "stranger.yaml", "-o", "json")

    assert (answer.code, stranger.code) == (1, 1)
    assert {name: one["reason"] for name, one in answer.by_name().items()} == {
        "shared": "Succeeded",
        zoo: "Succeeded",
        f"{zoo}-wrong": "NotAllowed",
    }
    assert answer.by_name()["shared"]["namespace"] == ""
    assert plan.by_name()[f"{zoo}-wrong"]["problem"].startswith("NotAllowed: metadata.name")
    assert qdrant.get(f"/collections/team.{zoo}")["config"]["metadata"]["vectorops.dev/mark"]["format"] == 2
    assert stranger.by_name()[zoo]["reason"] == "NotAllowed"


def test_what_was_made_through_a_connection_of_the_cluster_is_pruned(shell, qdrant: QdrantServer, zoo):
    shared = cluster_connection(qdrant.url, allowedNamespaces={"names": ["default"]}, collectionNames=["*"])
    goes = collection(f"{zoo}-goes", **SHARED, deletionPolicy="Delete")
    kept = [collection(zoo, **SHARED, deletionPolicy="Delete"), point_set("kept", zoo, {1: [1, 0]})]
    shell.write("all.yaml", shared, goes, *kept, point_set("gone", zoo, {2: [1, 0]}))
    assert shell.run("apply", "-f", "all.yaml", "--owner", zoo).code == 0
    shell.write("all.yaml", shared, *kept)

    plan = shell.run("plan", "-f", "all.yaml", "--owner", zoo, "--prune")
    answer = shell.run("apply", "-f", "all.yaml", "--owner", zoo, "--prune")

    assert f"prune: delete collection {zoo}-goes" in plan.out
    assert answer.code == 0
    assert sorted(answer.err.splitlines()) == [
        "PointSet default/gone: pruned",
        f"QdrantCollection default/{zoo}-goes: pruned",
    ]
    assert {found["name"] for found in qdrant.get("/collections")["collections"]} & {zoo, f"{zoo}-goes"} == {zoo}


def test_the_flag_stands_in_for_a_connection_of_the_cluster(shell, place, zoo):
    """A team's files do not hold what an administrator wrote; what they do hold of it counts."""
    shell.write("all.yaml", collection(zoo, **SHARED))
    shell.write("strict.yaml", cluster_connection("http://127.0.0.1:1"), collection(f"{zoo}-2", **SHARED))

    assert shell.run("apply", "-f", "all.yaml", "--qdrant", place.given).code == 0
    refused = shell.run("apply", "-f", "strict.yaml", "--qdrant", place.given, "-o", "json")

    assert zoo in place.collections()
    assert refused.by_name()[f"{zoo}-2"]["reason"] == "NotAllowed"


def test_the_example_of_a_shared_qdrant_is_applied_without_a_cluster(shell, place):
    example = Path(__file__).parents[2] / "examples" / "shared-qdrant"

    answer = shell.run("apply", "-f", str(example), "--qdrant", place.given, "--owner", "example", "-o", "json")

    assert answer.code == 0, answer.out
    assert "search.articles" in place.collections()
