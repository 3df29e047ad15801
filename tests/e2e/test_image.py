"""What only a running container of the image shows."""

import pytest

from e2e import cluster
from e2e.cluster import kubectl, wait_ready
from e2e.database import Qdrant
from e2e.test_story import collection


@pytest.fixture(scope="module", autouse=True)
def installed(operator_namespace: str, qdrant: Qdrant) -> None:
    """With every import in the log."""
    cluster.install("--set=extraEnv[0].name=PYTHONVERBOSE", "--set-string=extraEnv[0].value=1")


def test_it_has_what_reads_sources() -> None:
    where = (f"deployment/{cluster.RELEASE}", "--namespace", cluster.OPERATOR_NAMESPACE)
    code = "import vectorops.sources.installed as it, pyarrow.parquet; it.require_installed(); print('all')"

    assert kubectl("exec", *where, "--", "python", "-c", code).strip().endswith("all")


def test_nothing_is_compiled_that_could_have_been_when_the_image_was_built(qdrant: Qdrant, team: str) -> None:
    """The file system is read-only, so it would be compiled again at each start."""
    qdrant.connect(team)
    points = [{"id": 1, "vectors": {"text": {"values": [1.0, 0.5, 0.25, 0.125]}}}]
    cats = {
        "apiVersion": "vectorops.dev/v1alpha1",
        "kind": "PointSet",
        "metadata": {"name": "cats"},
        "spec": {"collectionRef": {"name": team}, "points": points},
    }
    cluster.apply(collection(team, [{"name": "text", "size": 4}]), cats, namespace=team)
    wait_ready(team, "qdrantcollection,pointset", "--all")

    where = (f"deployment/{cluster.RELEASE}", "--namespace", cluster.OPERATOR_NAMESPACE)
    # Python says from which file it has the code of each module.
    begin = "# code object from "
    files = [line.removeprefix(begin) for line in kubectl("logs", *where).splitlines() if line.startswith(begin)]

    assert files
    assert [file for file in files if file.endswith(".py")] == []
