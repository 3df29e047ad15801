"""`vectorops check`: the checks of collections against what is in Qdrant, with an exit code for CI."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from documented import documented, manifest, replaced, run
from integration.command_line import CONNECTION, Answer, Shell, collection, point_set
from integration.team import unique
from servers.models import minilm
from servers.qdrant import QdrantServer

PASSED, FAILED, WRONG_USAGE = 0, 1, 2
RIGHT = {"vector": [1, 0], "expect": ["1"]}


class Scene:
    """A shell, and two collections of equal points: the one that is checked, and another one."""

    def __init__(self, folder: Path, qdrant: QdrantServer, name: str) -> None:
        self.shell = Shell(folder)
        self.qdrant = qdrant
        self.name, self.other = name, f"{name}-other"

    def manifest(self, *queries: dict[str, Any], **thresholds: float) -> str:
        checks = {"queries": list(queries), "k": 1, "thresholds": thresholds}
        return collection(self.name, checks=checks, aliases=[f"{self.name}-alias"])

    def run(self, *arguments: str, manifest: str) -> Answer:
        self.shell.write("all.yaml", CONNECTION, manifest)
        return self.shell.run("check", "-f", "all.yaml", "--qdrant", self.qdrant.url, *arguments)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, qdrant: QdrantServer) -> str:
    """The name of what no test changes."""
    scene = Scene(tmp_path_factory.mktemp("made"), qdrant, unique("checked"))
    points = {1: [1.0, 0.0], "up": [0.0, 1.0]}
    scene.shell.write(
        "made.yaml",
        CONNECTION,
        scene.manifest(RIGHT, recall=1),
        collection(scene.other),
        point_set(scene.name, scene.name, points),
        point_set(scene.other, scene.other, points),
    )
    applied = scene.shell.run("apply", "-f", "made.yaml", "--qdrant", qdrant.url, "--owner", scene.name)
    assert applied.code == 0, applied.out
    return scene.name


@pytest.fixture
def scene(tmp_path: Path, qdrant: QdrantServer, made: str) -> Scene:
    return Scene(tmp_path, qdrant, made)


def test_checks_that_pass(scene):
    answer = scene.run("-o", "json", manifest=scene.manifest(RIGHT, {"vector": [0, 1], "expect": ["up"]}, recall=1))

    assert answer.code == PASSED
    (report,) = answer.json
    assert (report["name"], report["problem"], report["checks"]["result"]) == (scene.name, None, "Passed")
    assert [(one["collection"], one["recall"]) for one in report["checks"]["measured"]] == [(scene.name, 1)]


def test_checks_that_fail(scene):
    answer = scene.run(manifest=scene.manifest({"vector": [0, 1], "expect": ["1"]}, recall=1))

    assert answer.code == FAILED
    assert "Failed; recall is 0, and at least 1 is required; worst: queries[0] (0.00)" in answer.out


def test_another_collection_is_compared_with_by_its_name_or_an_alias(scene):
    manifest = scene.manifest({"vector": [1, 0]}, overlap=1, latencyRatio=1000)

    answer = scene.run("--old", scene.other, manifest=manifest)
    assert (answer.code, "to compare with" in answer.out) == (PASSED, True)
    same = scene.run("--old", f"{scene.name}-alias", manifest=manifest)
    assert (same.code, "is the collection that is checked" in same.out) == (FAILED, True)
    missing = scene.run("--old", "nowhere", manifest=manifest)
    assert (missing.code, "CollectionNotFound" in missing.out) == (FAILED, True)


def test_without_another_collection_what_compares_alone_decides_nothing(scene):
    answer = scene.run(manifest=scene.manifest({"vector": [1, 0]}, overlap=1))

    assert answer.code == FAILED
    assert "no threshold can be measured without another collection to compare with" in answer.out


def test_a_query_that_cannot_be_asked_says_why(scene):
    answer = scene.run("-o", "json", manifest=scene.manifest({"vector": [1, 0, 0]}, recall=1))

    assert answer.code == FAILED
    assert answer.json[0]["checks"] is None
    assert answer.json[0]["problem"].startswith("InvalidSpec: spec.checks: queries[0]: vector: 3 components")


def test_a_server_that_is_away_fails(scene):
    scene.shell.write("all.yaml", CONNECTION, scene.manifest(RIGHT, recall=1))

    answer = scene.shell.run("check", "-f", "all.yaml", "--timeout", "2")

    assert answer.code == FAILED
    assert "ConnectionNotReady" in answer.out


def test_files_without_checks_are_wrong_usage(scene):
    answer = scene.run(manifest=collection(scene.name))

    assert answer.code == WRONG_USAGE
    assert "no QdrantCollection in the files declares spec.checks" in answer.err


def test_one_collection_at_a_time_is_compared(scene):
    checks = {"queries": [RIGHT], "thresholds": {"recall": 1}}
    two = "---".join([scene.manifest(RIGHT, recall=1), collection(scene.other, checks=checks)])

    answer = scene.run("--old", "other", manifest=two)

    assert answer.code == WRONG_USAGE
    assert "--old is for one collection" in answer.err


def test_invalid_manifests_are_wrong_usage(scene):
    answer = scene.run(manifest=scene.manifest(RIGHT, recall=2))

    assert answer.code == WRONG_USAGE
    assert "spec.checks.thresholds.recall" in answer.err


def test_queries_come_from_a_file_beside_the_manifest(scene):
    (scene.shell.folder / "checks.jsonl").write_text('{"vector": [1, 0], "expect": [1]}\n')
    checks = {"source": {"files": {"path": "checks.jsonl"}}, "thresholds": {"mrr": 1}}

    assert scene.run(manifest=collection(scene.name, checks=checks)).code == PASSED


@pytest.mark.timeout(600)
def test_the_texts_of_the_page_are_asked_as_it_says(tmp_path, qdrant):
    folder = tmp_path / "models"
    minilm(folder)
    declared = manifest("docs/checks.md", "Checks")
    before = declared.replace("name: help}", "name: help-before}")
    texts = {
        "reset-password": "How to reset a forgotten password, and get into your account again",
        "invoices": "All invoices and receipts of your payments are in the billing section",
        "opening-hours": "We are there from Monday to Friday, from nine to five",
    }
    points = [{"id": id, "vector": {"text": text}} for id, text in texts.items()]
    sets = [
        {
            "apiVersion": "vectorops.dev/v1alpha1",
            "kind": "PointSet",
            "metadata": {"name": name},
            "spec": {"collectionRef": {"name": name}, "points": points},
        }
        for name in ("help", "help-before")
    ]
    shell = Shell(tmp_path)
    shell.write("help.yaml", CONNECTION, f"\n{declared}")
    shell.write("all.yaml", CONNECTION, f"\n{declared}", f"\n{before}", *(f"\n{yaml.safe_dump(one)}" for one in sets))
    variables = {"VECTOROPS_MODEL_FOLDER": str(folder), "VECTOROPS_OFFLINE": "true"}
    run(f"vectorops apply -f all.yaml --owner page --qdrant {qdrant.url}", tmp_path, environment=variables)

    commands = replaced(documented("docs/checks.md", "In CI"), {"http://qdrant:6333": qdrant.url})
    told = run(commands, tmp_path, environment=variables)

    assert "Passed" in told
    (report,) = json.loads(told[told.index("[") :])
    assert [one["recall"] for one in report["checks"]["measured"]] == [1, 1]
