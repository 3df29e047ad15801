"""Several replicas: one leads and does all the work, the others stand by and take over, and one that was believed to be
dead does no harm when it comes back.
"""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from integration.conftest import StartOperator, StartProxy, StartQdrant
from integration.team import Team
from integration.world import Stored, connection, point
from servers.kube import KubeServer
from servers.kubeapi import KubeApi, Object, is_ready
from servers.operator import OperatorProcess
from servers.process import DidNotStart, wait_until
from servers.proxy import Call
from servers.qdrant import QdrantServer

INSTALLATION = "replicated"
LEASE = "operator"
SECONDS = 6
PATIENCE_SECONDS = 60

StartReplica = Callable[..., OperatorProcess]


@pytest.fixture
def start_replica(start_operator: StartOperator, namespace: str) -> StartReplica:
    """Starts one in a pod of this name; the first one leads."""

    def start(pod: str, *, seconds: int = SECONDS, **options: Any) -> OperatorProcess:
        return start_operator(
            installation=INSTALLATION,
            flags=[f"--lease-name={LEASE}", f"--lease-namespace={namespace}", f"--lease-seconds={seconds}"],
            environment={"POD_NAME": pod},
            **options,
        )

    return start


@pytest.fixture
def qdrant(start_qdrant: StartQdrant) -> QdrantServer:
    """A server of each test's own: nobody else writes into its ledger."""
    return start_qdrant()


@pytest.fixture
async def stored(qdrant: QdrantServer):
    async with Stored(qdrant) as stored:
        yield stored


@pytest.fixture
async def team(api: KubeApi, namespace: str, qdrant: QdrantServer) -> Team:
    """A connection, declared."""
    await api.apply(connection(namespace, qdrant, timeoutSeconds=5))
    return Team(api, namespace)


def ask(operator: OperatorProcess, path: str) -> tuple[int, str]:
    answer = httpx.get(f"{operator.health_url}/{path}", timeout=5, verify=False)
    return answer.status_code, answer.text


def until_says(operator: OperatorProcess, words: str) -> None:
    wait_until(lambda: ask(operator, "readyz") == (200, words), what=f"/readyz: {words}", within_seconds=60)


def leads(operator: OperatorProcess) -> bool:
    return "vectorops_leader 1.0" in operator.metrics()


async def lease(api: KubeApi, namespace: str) -> Object:
    return await api.get("Lease", namespace, LEASE)


# ---- two of them ----


async def test_one_does_the_work_and_the_other_says_that_it_stands_by(
    api: KubeApi, team: Team, namespace: str, stored: Stored, start_replica: StartReplica
) -> None:
    one = start_replica("pod-one")
    two = start_replica("pod-two")

    await team.collection("zoo", until=is_ready)

    assert await stored.exists("zoo")
    assert (leads(one), leads(two)) == (True, False)
    assert ask(one, "readyz") == (200, "ok")
    assert ask(two, "readyz") == (200, "standby: pod-one leads")
    assert ask(one, "healthz") == ask(two, "healthz") == (200, "ok")
    # A look is counted when it has ended, a moment after its status is there.
    looked = 'vectorops_reconcile_total{kind="QdrantCollection"'
    wait_until(lambda: looked in one.metrics(), what="the look to be counted")
    assert looked not in two.metrics()
    spec = (await lease(api, namespace))["spec"]
    assert (spec["holderIdentity"], spec["leaseDurationSeconds"], spec["leaseTransitions"]) == ("pod-one", SECONDS, 0)


async def test_asked_to_end_the_leader_hands_over_at_once(
    api: KubeApi, team: Team, namespace: str, stored: Stored, start_replica: StartReplica
) -> None:
    """The Lease would last for two minutes; who stands by looks at it every eight seconds."""
    one = start_replica("pod-one", seconds=120)
    two = start_replica("pod-two", seconds=120)
    await team.collection("zoo", until=is_ready)

    assert one.stop() == 0
    until_says(two, "ok")
    await team.points("cats", "zoo", [point(1, 1, 0, 0)], until=is_ready)

    assert await stored.count("zoo") == 1
    spec = (await lease(api, namespace))["spec"]
    assert (spec["holderIdentity"], spec["leaseTransitions"]) == ("pod-two", 1)


async def test_a_leader_that_was_killed_is_followed_when_its_lease_has_run_out(
    team: Team, stored: Stored, start_replica: StartReplica
) -> None:
    one = start_replica("pod-one")
    two = start_replica("pod-two")
    await team.collection("zoo", until=is_ready)

    one.kill()
    until_says(two, "ok")
    await team.points("cats", "zoo", [point(1, 1, 0, 0)], until=is_ready)

    assert await stored.count("zoo") == 1


async def test_a_container_that_is_started_anew_in_its_pod_leads_again_at_once(
    team: Team, start_replica: StartReplica
) -> None:
    """Else a single replica would wait for its own Lease after each crash: here, for ten minutes."""
    one = start_replica("pod-one", seconds=600)
    await team.collection("zoo", until=is_ready)

    one.kill()
    one.start()

    until_says(one, "ok")


# ---- a leader that comes back ----


async def test_what_a_stopped_leader_does_when_it_goes_on_has_no_effect_on_the_ledger_and_the_world_converges(
    api: KubeApi,
    team: Team,
    namespace: str,
    qdrant: QdrantServer,
    stored: Stored,
    start_proxy: StartProxy,
    start_replica: StartReplica,
) -> None:
    """SIGSTOP in the middle of a sync, as by a node that hangs. The write that was under way is carried out; its answer
    waits for the one that is stopped.
    """
    proxy = start_proxy(qdrant.url)
    one = start_replica("pod-one")
    two = start_replica("pod-two")
    await team.connection(proxy.url, until=is_ready, preferGrpc=False, timeoutSeconds=60)
    await team.collection("zoo", until=is_ready)
    await team.points("cats", "zoo", [point(1, 1, 0, 0, payload={"name": "tom"})], until=is_ready)
    stopped = threading.Event()

    def stop_the_leader(call: Call) -> None:
        if "/collections/zoo/points" in call.path and call.method in {"PUT", "POST"} and "wait" in call.path:
            proxy.after = None
            one.pause()
            stopped.set()

    # When the server has done its work: a request of which half was sent would arrive when the process goes on.
    proxy.after = stop_the_leader
    old = [point(1, 1, 0, 0, payload={"name": "old"}), point(2, 0, 1, 0, payload={"name": "old"})]
    await team.points("cats", "zoo", old, until=lambda _: stopped.is_set())
    until_says(two, "ok")
    new = [point(1, 1, 0, 0, payload={"name": "new"}), point(3, 0, 0, 1, payload={"name": "new"})]
    await team.points("cats", "zoo", new, until=is_ready)
    ledger = await stored.points("vectorops-ledger")

    one.mark_log()
    one.resume()
    assert one.wait(within_seconds=PATIENCE_SECONDS) == 1

    assert "lost the leadership" in one.log_text()
    assert await stored.points("vectorops-ledger") == ledger
    await team.look_again("PointSet", "cats")
    assert await stored.payloads("zoo") == {1: {"name": "new"}, 3: {"name": "new"}}
    assert (await lease(api, namespace))["spec"]["holderIdentity"] == "pod-two"


async def test_a_leader_without_an_api_server_ends_and_the_next_one_goes_on(
    kube: KubeServer, team: Team, stored: Stored, start_proxy: StartProxy, start_replica: StartReplica
) -> None:
    proxy = start_proxy(kube.url, tls=kube.tls)
    one = start_replica("pod-one", kubeconfig=kube.kubeconfig(proxy.url))
    two = start_replica("pod-two")
    await team.collection("zoo", until=is_ready)

    proxy.blackhole()

    assert one.wait(within_seconds=PATIENCE_SECONDS) == 1
    assert "lost the leadership: the Lease could not be renewed in time" in one.log_text()
    until_says(two, "ok")
    await team.points("cats", "zoo", [point(1, 1, 0, 0)], until=is_ready)
    assert await stored.count("zoo") == 1


# ---- others who write the Lease ----


async def test_a_lease_that_somebody_deletes_or_labels_is_kept(
    api: KubeApi, team: Team, namespace: str, start_replica: StartReplica
) -> None:
    one = start_replica("pod-one")
    await api.delete("Lease", namespace, LEASE)
    remade = await api.wait_for("Lease", namespace, LEASE, lambda found: found["spec"]["holderIdentity"] == "pod-one")

    await api.patch("Lease", namespace, LEASE, {"metadata": {"labels": {"seen": "yes"}}})
    renewed = remade["spec"]["renewTime"]
    kept = await api.wait_for("Lease", namespace, LEASE, lambda found: found["spec"]["renewTime"] > renewed)

    assert kept["metadata"]["labels"] == {"seen": "yes"}
    assert one.running
    await team.collection("zoo", until=is_ready)


async def test_a_leader_whose_lease_was_given_to_another_ends(
    api: KubeApi, namespace: str, start_replica: StartReplica
) -> None:
    one = start_replica("pod-one")

    await api.patch("Lease", namespace, LEASE, {"spec": {"holderIdentity": "somebody"}})

    assert one.wait(within_seconds=PATIENCE_SECONDS) == 1
    assert "lost the leadership: somebody has taken the Lease" in one.log_text()


# ---- what is missing ----


def test_a_lease_without_a_namespace_is_told_at_the_start(start_operator: StartOperator) -> None:
    with pytest.raises(DidNotStart, match="--lease-name needs --lease-namespace, or POD_NAMESPACE in the environment"):
        start_operator(flags=[f"--lease-name={LEASE}"])


def test_a_standby_that_could_not_lead_ends(
    tmp_path: Path, start_kube: Callable[[], KubeServer], start_replica: StartReplica
) -> None:
    """It has no CRDs to watch; that another leads is no reason to hide it."""
    bare = start_kube()
    token = {"authorization": f"Bearer {bare.token}"}
    gone = f"{bare.url}/apis/apiextensions.k8s.io/v1/customresourcedefinitions/pointsets.vectorops.dev"
    httpx.delete(gone, headers=token, verify=bare.tls).raise_for_status()
    served = f"{bare.url}/apis/vectorops.dev/v1alpha1/pointsets"
    wait_until(lambda: httpx.get(served, headers=token, verify=bare.tls).status_code == 404, what="the CRD to go")

    with pytest.raises(DidNotStart, match=r"CustomResourceDefinition pointsets\.vectorops\.dev is not installed"):
        start_replica("pod-one", kubeconfig=bare.kubeconfig())
