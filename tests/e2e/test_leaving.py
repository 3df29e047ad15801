"""The operator and its CRDs are removed, and nobody loses anything: `crds.keep: false`."""

import pytest

from e2e import cluster
from e2e.cluster import kubectl, wait_ready
from e2e.database import Qdrant
from e2e.test_story import collection


@pytest.fixture(scope="module", autouse=True)
def installed(operator_namespace: str, qdrant: Qdrant) -> None:
    cluster.install("--set", "crds.keep=false")


@pytest.fixture
def declared(qdrant: Qdrant, team: str) -> str:
    """A collection and points whose deletion would take the data along, all Ready."""
    points = {
        "apiVersion": "vectorops.dev/v1alpha1",
        "kind": "PointSet",
        "metadata": {"name": "cats"},
        "spec": {
            "collectionRef": {"name": team},
            "points": [{"id": 1, "vectors": {"text": {"values": [1.0, 0.5, 0.25, 0.125]}}}],
            "deletionPolicy": "Delete",
        },
    }
    qdrant.connect(team)
    declared = collection(team, [{"name": "text", "size": 4}], deletionPolicy="Delete")
    cluster.apply(declared, points, namespace=team)
    wait_ready(team, "qdrantcollection,pointset", "--all")
    return team


def test_with_the_crds_go_all_resources_and_the_data_stays(declared: str, qdrant: Qdrant) -> None:
    cluster.uninstall()

    assert not set(cluster.CRDS) & set(cluster.names("customresourcedefinitions"))
    for kind in ("clusterroles", "clusterrolebindings"):
        assert [name for name in cluster.names(kind) if "vectorops" in name] == []
    assert cluster.names("serviceaccount,role,rolebinding,job", "--namespace", cluster.OPERATOR_NAMESPACE) == [
        "default"
    ]
    assert qdrant.ids(declared) == [1]
    # Nothing holds the namespace up.
    kubectl("delete", "namespace", declared, "--timeout=1m")
