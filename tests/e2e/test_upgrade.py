"""From the previous version to this one and back, with resources that the previous one made."""

import os
from typing import Any

import pytest
import yaml

from e2e import cluster
from e2e.cluster import CHART, ROOT, get, kubectl, until, wait_ready
from e2e.database import Qdrant

PREVIOUS = ROOT / "build" / "previous"
PREVIOUS_IMAGE = os.environ.get("E2E_PREVIOUS_IMAGE", "")
QUICKSTART = "examples/quickstart"
NAMESPACE = "e2e-upgraded"

pytestmark = pytest.mark.skipif(
    not (PREVIOUS_IMAGE and PREVIOUS.is_dir()),
    reason="`make build/previous`, and its image as E2E_PREVIOUS_IMAGE on the nodes, are what is upgraded",
)


@pytest.fixture(scope="module", autouse=True)
def previous(operator_namespace: str, qdrant: Qdrant) -> None:
    """The previous operator, and the quickstart as it was then, all Ready."""
    cluster.install(chart=PREVIOUS / "charts" / "vectorops", image=PREVIOUS_IMAGE)
    cluster.make_namespace(NAMESPACE)
    qdrant.connect(NAMESPACE)
    manifests = sorted((PREVIOUS / QUICKSTART).glob("[1-9]*.yaml"))
    kubectl("apply", "--namespace", NAMESPACE, *(f"--filename={file}" for file in manifests))
    wait_ready(NAMESPACE, "qdrantcollection,pointset", "--all")


def specs() -> dict[str, object]:
    """What users wrote, and the generation of it, by kind and name."""
    items = get("qdrantconnection,qdrantcollection,pointset", "--namespace", NAMESPACE)["items"]
    return {
        f"{item['kind']} {item['metadata']['name']}": (
            item["metadata"]["uid"],
            item["metadata"]["generation"],
            item["spec"],
        )
        for item in items
    }


def look_at_all(token: str) -> None:
    """Has the operator that runs now look at every resource, and waits until it has."""
    kinds = "qdrantconnection,qdrantcollection,pointset"
    kubectl("annotate", kinds, "--all", "--namespace", NAMESPACE, "--overwrite", f"vectorops.dev/reconcile={token}")

    def looked() -> bool:
        items = get(kinds, "--namespace", NAMESPACE)["items"]
        return all(item["status"].get("lastHandledReconcileAt") == token for item in items)

    until(looked, what="all to be looked at")
    wait_ready(NAMESPACE, kinds, "--all")


def test_upgraded_it_takes_on_what_there_is_and_writes_no_point(qdrant: Qdrant) -> None:
    before, versions = specs(), qdrant.versions("qdrant-notes", 384, "text")
    assert versions

    cluster.install()
    look_at_all("upgraded")

    image = get("deployment", cluster.RELEASE, "--namespace", cluster.OPERATOR_NAMESPACE)
    assert image["spec"]["template"]["spec"]["containers"][0]["image"] == cluster.IMAGE
    assert specs() == before
    assert qdrant.versions("qdrant-notes", 384, "text") == versions


def test_the_crds_are_those_of_the_new_version() -> None:
    for crd in cluster.CRDS:
        shipped = yaml.safe_load((CHART / "files/crds" / f"vectorops.dev_{crd.partition('.')[0]}.yaml").read_text())
        assert holds(get("customresourcedefinition", crd)["spec"], shipped["spec"]), crd


def test_rolled_back_the_previous_one_goes_on_and_writes_no_point(qdrant: Qdrant) -> None:
    before, versions = specs(), qdrant.versions("qdrant-notes", 384, "text")

    cluster.run("helm", "rollback", cluster.RELEASE, "1", "--namespace", cluster.OPERATOR_NAMESPACE, "--wait")
    look_at_all("rolled back")

    assert specs() == before
    assert qdrant.versions("qdrant-notes", 384, "text") == versions


def holds(found: Any, wanted: Any) -> bool:
    """Is everything that is wanted there? The API server adds to it."""
    if isinstance(wanted, dict):
        return isinstance(found, dict) and all(holds(found.get(key), value) for key, value in wanted.items())
    if isinstance(wanted, list):
        return isinstance(found, list) and len(found) == len(wanted) and all(map(holds, found, wanted))
    return bool(found == wanted)
