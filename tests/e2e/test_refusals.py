"""What is wrong is said at once, by its name."""

import re

import pytest

from e2e import cluster
from e2e.cluster import CommandFailed, get, kubectl, until

CONTAINER = "operator"


@pytest.fixture(scope="module", autouse=True)
def installed(operator_namespace: str) -> None:
    """Nothing yet."""


@pytest.mark.parametrize(
    ("wrong", "named"),
    [("replicaCuont=2", "replicaCuont"), ("log.level=loud", "level"), ("replicaCount=many", "replicaCount")],
)
def test_a_wrong_value_is_refused_by_its_name(wrong: str, named: str) -> None:
    with pytest.raises(CommandFailed, match=re.escape(named)):
        cluster.install("--set", wrong, wait=False)

    assert cluster.pods() == []


def test_without_the_crds_the_first_lines_say_which_one_is_missing() -> None:
    cluster.install("--set", "crds.install=false", wait=False)

    # Nobody waited for the pod; and when its container is started once more, the log begins from nothing.
    until(cluster.pods, what="a pod")
    (pod,) = cluster.pods()
    until(lambda: ended(pod), what="the container to end")
    assert ended(pod)["exitCode"] == 1
    missing = "the CustomResourceDefinition qdrantconnections.vectorops.dev is not installed"
    until(lambda: missing in first_lines(pod), what=missing)
    command = "vectorops crds | kubectl apply --server-side -f -"
    until(lambda: command in first_lines(pod), what=command)


def test_without_a_right_the_first_lines_say_which_one_is_missing() -> None:
    cluster.install("--set", "rbac.create=false", wait=False)

    until(lambda: any("RBAC does not let the operator" in first_lines(pod) for pod in cluster.pods()), what="the words")


def ended(pod: str) -> cluster.Object:
    """How the container ended last; {} if it did not yet."""
    status = get("pod", pod, "--namespace", cluster.OPERATOR_NAMESPACE)["status"]
    found: cluster.Object = {}
    for container in status.get("containerStatuses", ()):
        found = container["state"].get("terminated") or container["lastState"].get("terminated") or {}
    return found


def first_lines(pod: str) -> str:
    return kubectl("logs", pod, "--namespace", cluster.OPERATOR_NAMESPACE)
