"""The operator as it is installed by default, and what a team does with it."""

import base64
import time
from collections.abc import Iterator

import numpy as np
import pytest
import yaml

from e2e import cluster
from e2e.cluster import ROOT, apply, get, kubectl, until, wait_ready
from e2e.database import Qdrant

QUICKSTART = ROOT / "examples" / "quickstart"
SETS, POINTS = 12, 400


@pytest.fixture(scope="module", autouse=True)
def installed(operator_namespace: str, qdrant: Qdrant) -> str:
    """Returns the notes."""
    return cluster.install()


@pytest.fixture(scope="module")
def notes(installed: str, qdrant: Qdrant) -> Iterator[str]:
    """A namespace with the quickstart in it, by `kubectl apply`, all Ready."""
    namespace = cluster.make_namespace("e2e-notes")
    qdrant.connect(namespace)
    manifests = sorted(QUICKSTART.glob("[1-9]*.yaml"))
    kubectl("apply", "--namespace", namespace, *(f"--filename={file}" for file in manifests))
    wait_ready(namespace, "qdrantcollection,pointset", "--all")
    yield namespace
    kubectl("delete", "namespace", namespace, "--timeout=2m")


def test_the_notes_say_the_next_step(installed: str) -> None:
    assert "QdrantConnection" in installed
    assert "watches all namespaces" in installed


def test_the_operator_leads_and_has_nothing_to_complain_of(installed: str) -> None:
    (pod,) = cluster.pods()

    until(lambda: cluster.leader() == pod, what="the pod to lead")
    log = kubectl("logs", pod, "--namespace", cluster.OPERATOR_NAMESPACE)
    assert '"level":"error"' not in log
    assert '"level":"warning"' not in log


def test_a_search_from_a_pod_finds_the_note_that_answers(notes: str, qdrant: Qdrant) -> None:
    questions = yaml.safe_load((QUICKSTART / "data/queries.yaml").read_text())
    asked = next(each for each in questions if "backup" in each["question"])
    query = np.frombuffer(base64.b64decode(asked["packed"]), dtype="<f4").tolist()

    best = "client.query_points('qdrant-notes', query=query, using='text', limit=1).points[0].payload['title']"
    assert "snapshot" in qdrant.ask(best, query=query).lower()


def test_what_kubectl_shows_tells_how_it_stands(notes: str) -> None:
    table = kubectl("get", "vectorops", "--namespace", notes)

    assert "qdrant-notes" in table
    assert "False" not in table


def test_a_point_and_an_index_that_somebody_removed_come_back(notes: str, qdrant: Qdrant) -> None:
    before = qdrant.ids("qdrant-notes")
    removed = before[0]
    qdrant.ask("client.delete('qdrant-notes', [id], wait=True).status", id=removed)
    qdrant.ask("client.delete_payload_index('qdrant-notes', 'topic', wait=True).status")

    for resource in ("pointset", "qdrantcollection"):
        now = f"vectorops.dev/reconcile={time.time_ns()}"
        kubectl("annotate", resource, "--all", "--namespace", notes, "--overwrite", now)

    until(lambda: qdrant.ids("qdrant-notes") == before, what="the point to be back")
    schema = "sorted(client.get_collection('qdrant-notes').payload_schema)"
    until(lambda: "topic" in qdrant.ask(schema), what="the index to be back")


def test_thrown_out_in_the_middle_of_its_work_it_converges(qdrant: Qdrant, team: str) -> None:
    """Its pod is deleted by force while thousands of points are on their way: it gets no time to finish."""
    qdrant.connect(team)
    vectors = [{"name": "text", "size": 8}]
    sets = [
        {
            "apiVersion": "vectorops.dev/v1alpha1",
            "kind": "PointSet",
            "metadata": {"name": f"set-{number}"},
            "spec": {
                "collectionRef": {"name": team},
                "points": [
                    {
                        "id": number * POINTS + i,
                        "vectors": {"text": {"values": [1.0, *[i / POINTS] * 7]}},
                        "payload": {"n": i},
                    }
                    for i in range(POINTS)
                ],
            },
        }
        for number in range(SETS)
    ]
    apply(collection(team, vectors), namespace=team)
    wait_ready(team, "qdrantcollection", "--all")

    apply(*sets[: SETS // 2], namespace=team)
    until(lambda: qdrant.ids(team), what="the first points")
    kubectl("delete", "pod", *cluster.pods(), "--namespace", cluster.OPERATOR_NAMESPACE, "--grace-period=0", "--force")
    apply(*sets[SETS // 2 :], namespace=team)

    wait_ready(team, "pointsets", "--all")
    assert qdrant.ids(team) == sorted(range(SETS * POINTS), key=str)


def test_what_prometheus_scrapes_is_there(notes: str, qdrant: Qdrant) -> None:
    address = f"http://{cluster.RELEASE}-metrics.{cluster.OPERATOR_NAMESPACE}.svc:8081/metrics"

    def tells_all() -> bool:
        scraped = qdrant.ask("__import__('httpx').get(address).text", address=address)
        return "vectorops_leader 1.0" in scraped and 'vectorops_resources{kind="PointSet",ready="True",' in scraped

    # As Prometheus does, again and again: the Service may still lead to the pod that was thrown out.
    until(tells_all, what="the metrics of the leader")


def test_an_orderly_end_hands_over_at_once(installed: str) -> None:
    """The next pod need not wait for the Lease to run out."""
    (before,) = cluster.pods()

    kubectl("rollout", "restart", f"deployment/{cluster.RELEASE}", "--namespace", cluster.OPERATOR_NAMESPACE)
    kubectl("rollout", "status", f"deployment/{cluster.RELEASE}", "--namespace", cluster.OPERATOR_NAMESPACE)

    (after,) = cluster.pods()
    assert after != before
    until(lambda: cluster.leader() == after, what="the new pod to lead")
    log = kubectl("logs", after, "--namespace", cluster.OPERATOR_NAMESPACE)
    assert "standing by" not in log


def test_uninstalled_and_installed_again_it_finds_everything_and_writes_no_point(notes: str, qdrant: Qdrant) -> None:
    before = qdrant.versions("qdrant-notes", 384, "text")
    objects = {
        item["metadata"]["name"]: item["metadata"]["uid"] for item in get("pointsets", "--namespace", notes)["items"]
    }

    cluster.uninstall()
    assert set(cluster.CRDS) <= set(cluster.names("customresourcedefinitions"))
    until(lambda: not cluster.pods(), what="the operator to be gone")
    left = get("pointsets", "--namespace", notes)["items"]
    assert {item["metadata"]["name"]: item["metadata"]["uid"] for item in left} == objects
    cluster.install()
    kubectl("annotate", "pointsets", "--all", "--namespace", notes, "--overwrite", "vectorops.dev/reconcile=again")
    until(
        lambda: all(item["status"].get("lastHandledReconcileAt") == "again"
                    for item in get("pointsets", "--namespace", notes)["items"]),
        what="all to be looked at",
    )  # fmt: skip

    wait_ready(notes, "pointsets", "--all")
    assert qdrant.versions("qdrant-notes", 384, "text") == before


def collection(name: str, vectors: list[dict[str, object]], **spec: object) -> cluster.Object:
    """A QdrantCollection on the connection `main`."""
    return {
        "apiVersion": "vectorops.dev/v1alpha1",
        "kind": "QdrantCollection",
        "metadata": {"name": name},
        "spec": {"connectionRef": {"name": "main"}, "vectors": vectors, **spec},
    }
