"""Values whose effect only a cluster shows: another user, a read-only root, authorities of one's own, extra objects."""

import pytest

from e2e import cluster, embeddings
from e2e.cluster import apply, kubectl, wait_ready
from e2e.database import Qdrant, secret
from e2e.test_story import collection
from servers.certificates import CertificateAuthority

OPENSHIFTS_CHOICE = 1_000_660_000
"""A user id that the image has no name for, as OpenShift gives one to each namespace."""
TEXTS = {
    1: "Choose forgot password below the login form to reset it",
    2: "A snapshot of the collection is the backup that you restore from",
    3: "Lower the search latency by quantization of the vectors",
}


@pytest.fixture(scope="module", autouse=True)
def installed(operator_namespace: str, embedding_server: CertificateAuthority) -> None:
    authority = {"ca.crt": embedding_server.certificate.read_text()}
    apply(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "authorities"}, "data": authority},
        namespace=operator_namespace,
    )
    values = {
        "podSecurityContext.runAsUser": OPENSHIFTS_CHOICE,
        "podSecurityContext.runAsGroup": 0,
        "podSecurityContext.fsGroup": OPENSHIFTS_CHOICE,
        "caBundle.configMapName": "authorities",
        "embedding.allowedHosts": f"{{{embeddings.HOST}}}",
        "metrics.dashboard.enabled": "true",
        "networkPolicy.enabled": "true",
        "rbac.configMaps": "true",
    }
    cluster.install(*(f"--set={name}={value}" for name, value in values.items()))


def inside(expression: str) -> str:
    """What a Python expression is in the operator's container."""
    code = f"import os; print({expression})"
    where = (f"deployment/{cluster.RELEASE}", "--namespace", cluster.OPERATOR_NAMESPACE)
    return kubectl("exec", *where, "--", "python", "-c", code).strip()


def test_it_works_as_a_user_whom_the_image_does_not_know(qdrant: Qdrant, team: str) -> None:
    qdrant.connect(team)

    wait_ready(team, "qdrantconnection/main")

    assert inside("os.getuid()") == str(OPENSHIFTS_CHOICE)
    assert inside("os.statvfs('/').f_flag & os.ST_RDONLY") == "1"


def test_the_texts_of_a_team_are_embedded_by_its_server_and_found(qdrant: Qdrant, team: str) -> None:
    """The operator trusts the server by `caBundle` alone, and has its key from the team's Secret."""
    model = {
        "model": "words",
        "baseURL": f"https://{embeddings.HOST}/v1",
        "apiKeySecretRef": {"name": "embeddings", "key": "api-key"},
    }
    points = [{"id": id_, "vectors": {"text": {"text": text}}} for id_, text in TEXTS.items()]
    faq = {
        "apiVersion": "vectorops.dev/v1alpha1",
        "kind": "PointSet",
        "metadata": {"name": "faq"},
        "spec": {"collectionRef": {"name": team}, "points": points},
    }

    qdrant.connect(team)
    apply(
        secret("embeddings", {"api-key": embeddings.API_KEY}),
        collection(team, [{"name": "text", "embedder": {"openAI": model}}]),
        faq,
        namespace=team,
    )
    wait_ready(team, "qdrantcollection,pointset", "--all")

    best = "client.query_points(name, query=query, using='text', limit=1).points[0].id"
    assert qdrant.ask(best, name=team, query=embeddings.embed("which backup can I restore")) == 2
    assert qdrant.ask(best, name=team, query=embeddings.embed("my password")) == 1


def test_rows_of_a_config_map_become_points_and_follow_its_changes(qdrant: Qdrant, team: str) -> None:
    """With the libraries of the image, on a read-only root, by the right that the chart gives."""

    def handbook(*ids: int) -> cluster.Object:
        rows = "".join(f'{{"id": {id_}, "vector": [{id_}, 1], "title": "page {id_}"}}\n' for id_ in ids)
        labels = {"vectorops.dev/source": "true", "app": "handbook"}
        metadata = {"name": "handbook", "labels": labels}
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"pages.jsonl": rows}}

    pages = {
        "apiVersion": "vectorops.dev/v1alpha1",
        "kind": "PointSet",
        "metadata": {"name": "pages"},
        "spec": {
            "collectionRef": {"name": team},
            "source": {"configMaps": {"selector": {"matchLabels": {"app": "handbook"}}}},
        },
    }
    qdrant.connect(team)
    apply(handbook(1, 2, 3), collection(team, [{"name": "vector", "size": 2}]), pages, namespace=team)
    wait_ready(team, "qdrantcollection,pointset", "--all")
    assert qdrant.ids(team) == [1, 2, 3]

    apply(handbook(2, 4), namespace=team)

    cluster.until(lambda: qdrant.ids(team) == [2, 4], what="the points to follow")


def test_a_host_that_is_not_allowed_is_refused_by_its_name(qdrant: Qdrant, team: str) -> None:
    elsewhere = {"model": "words", "baseURL": "https://embeddings.elsewhere.svc/v1"}
    qdrant.connect(team)
    apply(collection(team, [{"name": "text", "embedder": {"openAI": elsewhere}}]), namespace=team)

    reason = 'jsonpath={.status.conditions[?(@.type=="Ready")].reason}=ModelRefused'
    kubectl("wait", f"qcol/{team}", "--namespace", team, f"--for={reason}", "--timeout=1m")
    assert "embeddings.elsewhere.svc" in kubectl("get", "qcol", team, "--namespace", team, "-o", "jsonpath={.status}")
    assert not qdrant.ask("client.collection_exists(name)", name=team)


@pytest.mark.parametrize(
    ("kind", "selector"),
    [
        ("configmaps", "grafana_dashboard=1"),
        ("networkpolicies", f"app.kubernetes.io/instance={cluster.RELEASE}"),
    ],
)
def test_what_is_asked_for_besides_is_there(kind: str, selector: str) -> None:
    assert len(cluster.names(kind, "--selector", selector, "--namespace", cluster.OPERATOR_NAMESPACE)) == 1
