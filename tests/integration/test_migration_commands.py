"""Migrations at the command line: planned, carried out, left to a later run, and taken back."""

from pathlib import Path
from typing import Any

import pytest

from integration.command_line import CONNECTION, Answer, Shell
from integration.team import unique
from servers.qdrant import QdrantServer


class Files:
    """A folder with manifests of collections behind aliases, each with one set."""

    def __init__(self, folder: Path, server: QdrantServer) -> None:
        self._shell, self._server = Shell(folder), server
        self.name = unique("cli")

    def run(
        self, command: str, *flags: str, shards: int, names: tuple[str, ...] = ("a",), layout: str = "Aliased"
    ) -> Answer:
        documents = [CONNECTION]
        for name in names:
            documents.append(
                f"""
apiVersion: vectorops.dev/v1alpha1
kind: QdrantCollection
metadata: {{name: {self.name}-{name}}}
spec:
  connectionRef: {{name: main}}
  layout: {layout}
  vector: {{size: 2}}
  params: {{shard_number: {shards}}}
  {"migration: {approval: Auto}" if layout == "Aliased" else ""}
"""
            )
            documents.append(
                f"""
apiVersion: vectorops.dev/v1alpha1
kind: PointSet
metadata: {{name: {self.name}-{name}}}
spec:
  collectionRef: {{name: {self.name}-{name}}}
  points: [{{id: 1, vector: {{values: [1.0, 0.0]}}}}]
"""
            )
        self._shell.write("all.yaml", *documents)
        return self._shell.run(command, "-f", "all.yaml", "--qdrant", self._server.url, *flags)

    def behind(self, name: str) -> list[str]:
        """The physical collections of one."""
        found = [each["name"] for each in self._server.get("/collections")["collections"]]
        return [one for one in found if one.startswith(f"{self.name}-{name}-")]

    def shards(self, name: str = "a") -> Any:
        """Of the collection that the alias leads to."""
        return self._server.get(f"/collections/{self.name}-{name}")["config"]["params"]["shard_number"]


@pytest.fixture
def files(tmp_path: Path, qdrant: QdrantServer) -> Files:
    return Files(tmp_path, qdrant)


def test_several_are_carried_out_one_after_the_other_in_one_run(files: Files) -> None:
    names = ("a", "b", "c")
    assert files.run("apply", shards=1, names=names).code == 0

    moved = files.run("apply", shards=2, names=names)

    assert moved.code == 0, moved.err
    assert [files.shards(name) for name in names] == [2, 2, 2]


def test_a_plan_shows_the_steps_and_a_later_run_moves_readers_back(files: Files) -> None:
    files.run("apply", shards=1)
    planned = files.run("plan", shards=2)
    assert "params.shard_number: 1 -> 2" in planned.out
    assert "for the new collection: 1 point to insert" in planned.out
    assert files.shards() == 1

    begun = files.run("apply", "--no-wait", "-o", "json", shards=2)
    (found,) = [one for one in begun.json if one["kind"] == "QdrantCollection"]
    assert found["reason"] in {"Migrating", "Succeeded"}
    files.run("apply", shards=2)
    assert files.shards() == 2

    (found,) = [one for one in files.run("apply", "-o", "json", shards=2).json if one["kind"] == "QdrantCollection"]
    served = found["status"]["migration"]["to"]["incarnation"]
    assert f"--roll-back {served}" in found["status"]["migration"]["message"]
    old = found["status"]["migration"]["from"]["incarnation"]
    for command in ("plan", "apply"):
        wrong = files.run(command, "--roll-back", old, shards=2)
        assert (wrong.code, files.shards()) == (1, 2)
        assert f"--roll-back {old}: nothing was moved back" in wrong.err
    assert files.run("plan", "--roll-back", served, shards=2).code == 0
    back = files.run("apply", "--roll-back", served, shards=2)
    assert back.code == 1
    assert "readers were moved back" in back.out
    again = files.run("apply", "--roll-back", served, shards=1)
    assert again.code == 0, "it was carried out by the run before"
    assert "nothing was moved back" not in back.err + again.err
    assert files.shards() == 1


def test_what_is_pruned_in_the_grace_period_leaves_the_collection_that_readers_ask(files: Files) -> None:
    owner = unique("owner")
    files.run("apply", "--owner", owner, shards=1, names=("a", "b"))
    assert files.run("apply", "--owner", owner, shards=2, names=("a", "b")).code == 0
    assert len(files.behind("a")) == 2

    pruned = files.run("apply", "--owner", owner, "--prune", shards=2, names=("b",))

    assert pruned.code == 0, pruned.err
    assert len(files.behind("a")) == 1
    assert files.shards("a") == 2


def test_an_alias_does_not_become_a_collection_again(files: Files) -> None:
    files.run("apply", shards=1)

    refused = files.run("apply", "-o", "json", shards=1, layout="Direct")

    (found,) = [one for one in refused.json if one["kind"] == "QdrantCollection"]
    assert (refused.code, found["reason"]) == (1, "InvalidSpec")
    assert "layout: Aliased cannot be taken back" in found["message"]
