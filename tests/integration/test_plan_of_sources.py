"""`vectorops plan` of sets whose points come from a source: it says what `apply` then does, and writes nothing."""

import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from integration.command_line import CONNECTION, Answer, Shell, collection, point_set
from integration.conftest import StartQdrant
from servers.embeddings import EmbeddingServer
from servers.qdrant import QdrantServer

NOTHING, ERROR, CHANGES = 0, 1, 2


class Library:
    """A manifest beside its file of rows, and a Qdrant of its own."""

    def __init__(self, folder: Path, qdrant: QdrantServer) -> None:
        self.shell = Shell(folder)
        self.qdrant = qdrant
        self.documents = [CONNECTION, collection("zoo"), sourced_set("animals")]

    def put_rows(self, *rows: dict[str, Any]) -> None:
        lines = [json.dumps(row) for row in rows]
        (self.shell.folder / "rows.jsonl").write_text("\n".join([*lines, ""]))

    def apply(self, *flags: str) -> Answer:
        self.shell.write("all.yaml", *self.documents)
        return self.shell.run("apply", "-f", "all.yaml", "--qdrant", self.qdrant.url, *flags)

    def plan(self, *flags: str) -> Answer:
        """Also sees to it that Qdrant is as before."""
        self.shell.write("all.yaml", *self.documents)
        before = self.qdrant.telemetry_writes_by_endpoint()
        answer = self.shell.run("plan", "-f", "all.yaml", "--qdrant", self.qdrant.url, *flags)
        assert self.qdrant.telemetry_writes_by_endpoint() == before
        return answer

    def counts(self) -> dict[str, int]:
        """What is planned, without what does not happen."""
        counts = self.plan("-o", "json").by_name()["animals"]["points"]["counts"]
        return {fate: count for fate, count in counts.items() if count}

    def ids(self) -> set[int]:
        """Of the stored points."""
        found = self.qdrant.get("/collections/zoo")["points_count"]
        url = f"{self.qdrant.url}/collections/zoo/points/scroll"
        points = httpx.post(url, json={"limit": 100}, verify=False).json()["result"]["points"]
        assert len(points) == found
        return {point["id"] for point in points}


def sourced_set(name: str, **spec: Any) -> str:
    """A PointSet of rows.jsonl."""
    given = {"collectionRef": {"name": "zoo"}, "source": {"files": {"path": "rows.jsonl"}}, **spec}
    manifest = {
        "apiVersion": "vectorops.dev/v1alpha1",
        "kind": "PointSet",
        "metadata": {"name": name},
        "spec": given,
    }
    return f"\n{yaml.safe_dump(manifest, sort_keys=False)}"


def row(id: Any, *vector: float, **payload: Any) -> dict[str, Any]:
    return {"id": id, "vector": vector or [1, 0], **payload}


ROWS = [row(id) for id in range(1, 13)]


@pytest.fixture
def library(tmp_path: Path, start_qdrant: StartQdrant) -> Library:
    return Library(tmp_path, start_qdrant())


def words(answer: Answer) -> list[str]:
    return [line.strip() for line in answer.out.splitlines()]


def hash_in(text: str) -> str:
    found = re.search(r"approve plan ([0-9a-f]{12})", text)
    assert found, text
    return found[1]


def test_a_plan_counts_the_rows_that_are_new_changed_gone_and_as_stored(library):
    library.put_rows(*ROWS)

    assert library.counts() == {"new": 12}, "in a collection that is not there yet"
    assert library.apply().code == 0
    assert library.plan("--detailed-exitcode").code == NOTHING
    assert library.counts() == {"unchanged": 12}

    library.put_rows(row(1, 5, 0), row(2, by="hand"), *ROWS[4:], row(20), row(21), row(22))
    answer = library.plan("--detailed-exitcode")

    assert answer.code == CHANGES
    assert words(answer)[:5] == [
        "PointSet default/animals",
        "+ 3 points to insert: 20, 21, 22",
        "~ 2 points to change: 1, 2",
        "- 2 points to delete: 3, 4",
        "8 points as declared",
    ]
    assert library.counts() == {"new": 3, "changed": 2, "deleted": 2, "unchanged": 8}
    assert library.apply().code == 0
    assert library.ids() == {1, 2, *range(5, 13), 20, 21, 22}
    assert library.counts() == {"unchanged": 13}


def test_of_many_rows_all_are_counted_and_the_first_shown(library):
    """More than one part of a ledger holds."""
    library.put_rows(row(1))
    assert library.apply().code == 0
    library.put_rows(*(row(id) for id in range(1, 9002)))

    answer = library.plan("-o", "json").by_name()["animals"]

    assert answer["points"]["counts"] | {"new": 9000, "unchanged": 1} == answer["points"]["counts"]
    assert len(answer["points"]["new"]) == 10
    assert library.apply().code == 0
    assert library.counts() == {"unchanged": 9001}
    library.put_rows(*(row(id, 2, 0) if id % 1000 == 0 else row(id) for id in range(11, 9002)))
    assert library.counts() == {"changed": 9, "deleted": 10, "unchanged": 8982}


def test_rows_that_are_no_points_are_counted_with_the_first_reasons(library):
    library.put_rows(*ROWS[:3])
    assert library.apply().code == 0
    library.put_rows(row(1), row(2, 1, 2, 3), row(5, 1), {"vector": [1, 0]})

    answer = library.plan()
    planned = library.plan("-o", "json").by_name()["animals"]
    applied = library.apply("-o", "json").by_name()["animals"]

    assert answer.code == ERROR
    assert "3 points cannot be written; first: " in answer.out
    # In the same words, which call a row without an id by its place.
    assert applied["message"].partition("first: ")[2] in answer.out
    assert "nothing is deleted while an id cannot be told" in answer.out
    assert planned["points"]["counts"]["failed"] == applied["status"]["points"]["failed"] == 3
    assert planned["points"]["failures"] == applied["status"]["failures"]
    assert library.ids() == {1, 2, 3}


def test_a_source_that_cannot_be_read_is_the_problem_that_apply_meets(library):
    library.put_rows(*ROWS)
    assert library.apply().code == 0
    library.put_rows()
    planned = library.plan("-o", "json").by_name()["animals"]
    applied = library.apply("-o", "json").by_name()["animals"]

    assert planned["problem"] == f"SourceEmpty: {applied['message']}"
    assert len(library.ids()) == 12

    library.documents[-1] = sourced_set("animals", allowEmptySource=True)
    assert library.counts() == {"deleted": 12}
    assert library.apply().code == 0
    assert library.ids() == set()


def test_deletions_that_are_held_back_have_the_hash_that_apply_takes(library):
    library.documents[-1] = sourced_set("animals", maxDeletePercent=20)
    library.put_rows(*ROWS)
    assert library.apply().code == 0
    library.put_rows(*ROWS[:4], row(30), row(31))

    answer = library.plan()

    assert answer.code == ERROR
    assert "! 8 points to delete: 5, 6, 7, 8, 9, ..." in words(answer)
    assert "DeletionsHeldBack: 8 points of " in answer.out
    approved = library.plan("--approve", hash_in(answer.out))
    assert (approved.code, "- 8 points to delete: 5, 6, 7, 8, 9, ..." in words(approved)) == (0, True)
    assert library.apply("--approve", "0" * 12).code == 1
    assert library.ids() == {*range(1, 13), 30, 31}
    assert hash_in(library.plan().out) == hash_in(answer.out), "what was inserted since was counted before"
    assert library.apply("--approve", hash_in(answer.out)).code == 0
    assert library.ids() == {1, 2, 3, 4, 30, 31}


def test_new_rows_do_not_spoil_the_hash_of_what_is_held_back(library):
    library.documents[-1] = sourced_set("animals", maxDeletePercent=20)
    library.put_rows(*ROWS)
    assert library.apply().code == 0
    library.put_rows(*ROWS[:4], row(30), row(31))

    assert library.apply("--approve", hash_in(library.plan().out)).code == 0

    assert library.ids() == {1, 2, 3, 4, 30, 31}


def test_deletions_of_an_inline_set_are_held_back_in_its_plan_too(library):
    points = {id: [1.0, 0.0] for id in range(1, 11)}
    library.documents[-1] = point_set("animals", "zoo", points, maxDeletePercent=20)
    assert library.apply().code == 0
    library.documents[-1] = point_set("animals", "zoo", {1: [1.0, 0.0]}, maxDeletePercent=20)

    answer = library.plan()

    assert "! 9 points to delete: 2, 3, 4, 5, 6, ..." in words(answer)
    assert library.apply().code == 1
    assert library.apply("--approve", hash_in(answer.out)).code == 0
    assert library.ids() == {1}


def test_texts_to_embed_are_counted_and_not_embedded(library):
    with EmbeddingServer() as server:
        embedder = {"openAI": {"model": "any", "baseURL": server.base_url}}
        library.documents[1:] = [
            collection("zoo", vector={"embedder": embedder, "distance": "Dot"}),
            sourced_set("animals", mapping={"vectors": [{"embed": "title"}]}),
        ]
        rows = [{"id": id, "title": f"book {id}"} for id in range(1, 4)]
        library.put_rows(*rows, {"id": 4, "title": None})

        answer = library.plan()

        assert "3 texts to embed" in words(answer)
        assert not any("book" in text for text in server.texts)
        assert library.apply().code == 0, "what was planned can be done"
        library.put_rows(*rows[:2], rows[2] | {"title": "another"}, {"id": 4, "title": None, "shelf": 1})
        assert library.counts() == {"changed": 2, "unchanged": 2, "texts": 1}


def test_an_inline_set_takes_no_point_of_one_with_a_source(library):
    library.put_rows(*ROWS[:3])
    assert library.apply().code == 0
    library.documents.append(point_set("others", "zoo", {1: [9, 9]}))

    planned = library.plan("-o", "json").by_name()
    applied = library.apply("-o", "json").by_name()

    assert planned["others"]["points"]["conflicts"] == ["1"]
    assert planned["animals"]["points"]["counts"]["unchanged"] == 3
    assert applied["others"]["reason"] == "PointConflicts"
    assert applied["animals"]["ready"]


def test_a_point_that_somebody_deleted_is_planned_and_back_after_the_next_apply(library: Library) -> None:
    """At the command line there is no next look that would notice it."""
    library.put_rows(*({"id": number, "vector": [number, 1]} for number in range(1, 4)))
    library.apply()
    url = f"{library.qdrant.url}/collections/zoo/points/delete?wait=true"
    httpx.post(url, json={"points": [2]}, verify=False).raise_for_status()

    assert library.counts() == {"new": 1, "unchanged": 2}
    library.apply()
    assert library.ids() == {1, 2, 3}
