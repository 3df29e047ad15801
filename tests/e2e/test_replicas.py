"""Two replicas: one leads, the other is there when it goes."""

import pytest

from e2e import cluster
from e2e.cluster import get, kubectl, until, wait_ready
from e2e.database import Qdrant
from e2e.test_story import collection


@pytest.fixture(scope="module", autouse=True)
def installed(operator_namespace: str, qdrant: Qdrant) -> None:
    cluster.install("--set", "replicaCount=2")


def deployment() -> cluster.Object:
    found: cluster.Object = get("deployment", cluster.RELEASE, "--namespace", cluster.OPERATOR_NAMESPACE)
    return found


def test_both_are_ready_and_one_leads() -> None:
    # Helm waits until as many are ready as the Deployment's strategy demands: one may be unavailable.
    until(lambda: deployment()["status"].get("readyReplicas") == 2, what="both to be ready")
    until(lambda: cluster.leader() in cluster.pods(), what="one of them to lead")


@pytest.mark.parametrize("how", [[], ["--grace-period=0", "--force"]], ids=["asked to end", "by force"])
def test_when_the_leader_goes_the_other_one_goes_on(qdrant: Qdrant, team: str, how: list[str]) -> None:
    qdrant.connect(team)
    cluster.apply(collection(f"{team}-before", [{"name": "text", "size": 4}]), namespace=team)
    wait_ready(team, "qdrantcollection", "--all")
    leader = cluster.leader()

    kubectl("delete", "pod", leader, "--namespace", cluster.OPERATOR_NAMESPACE, "--wait=false", *how)
    until(lambda: cluster.leader() not in ("", leader), what="another leader")
    cluster.apply(collection(f"{team}-after", [{"name": "text", "size": 4}]), namespace=team)

    wait_ready(team, "qdrantcollection", "--all")
    assert qdrant.ask("client.collection_exists(name)", name=f"{team}-after")
    until(lambda: deployment()["status"].get("readyReplicas") == 2, what="two again")


def test_an_upgrade_exchanges_one_after_the_other(qdrant: Qdrant, team: str) -> None:
    qdrant.connect(team)
    before = set(cluster.pods())

    cluster.install("--set", "replicaCount=2", "--set", "log.level=debug")

    until(lambda: not before & set(cluster.pods()), what="the old ones to go")
    until(lambda: cluster.leader() in cluster.pods(), what="one of the new ones to lead")
    wait_ready(team, "qdrantconnection/main")
