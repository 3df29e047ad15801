"""An operator for some namespaces only."""

import pytest

from e2e import cluster
from e2e.cluster import get, until, wait_ready
from e2e.database import Qdrant

WATCHED, OTHER = "e2e-watched", "e2e-other"


@pytest.fixture(scope="module", autouse=True)
def installed(operator_namespace: str, qdrant: Qdrant) -> None:
    for namespace in (WATCHED, OTHER):
        cluster.make_namespace(namespace)
    cluster.install("--set", f"watchNamespaces={{{WATCHED}}}", "--set", "rbac.aggregate=false")


def test_it_has_no_right_in_the_cluster_as_a_whole() -> None:
    for kind in ("clusterroles", "clusterrolebindings"):
        assert [name for name in cluster.names(kind) if "vectorops" in name] == []


def test_it_serves_these_and_leaves_others_alone(qdrant: Qdrant) -> None:
    for namespace in (OTHER, WATCHED):
        qdrant.connect(namespace)

    wait_ready(WATCHED, "qdrantconnection/main")

    assert "conditions" not in get("qdrantconnection", "main", "--namespace", OTHER)["status"]


def test_another_namespace_is_served_after_an_upgrade(qdrant: Qdrant) -> None:
    cluster.install("--set", f"watchNamespaces={{{WATCHED},{OTHER}}}", "--set", "rbac.aggregate=false")

    wait_ready(OTHER, "qdrantconnection/main")
    until(lambda: cluster.leader() in cluster.pods(), what="a leader")
