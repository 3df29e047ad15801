"""A team changes the model of a collection: one edit, checks of its own, no gap for readers, and a way back."""

from collections.abc import Iterator

import pytest

from e2e import cluster, embeddings
from e2e.cluster import apply, get, kubectl, until, wait_ready
from e2e.database import Qdrant, secret
from e2e.test_story import collection
from servers.certificates import CertificateAuthority

TEXTS = {
    "reset": "Choose forgot password below the login form to reset it",
    "backup": "A snapshot of the collection is the backup that you restore from",
    "speed": "Lower the search latency by quantization of the vectors",
}
QUESTIONS = {"how can i reset a forgotten password": "reset", "which backup can i restore": "backup"}
LARGE, SMALL, TOO_SMALL = embeddings.SIZE, 192, 8
"""Components of models. In so few, words that mean nothing alike are counted as one, and the wrong page comes first."""


@pytest.fixture(scope="module", autouse=True)
def installed(operator_namespace: str, embedding_server: CertificateAuthority, qdrant: Qdrant) -> None:
    authority = {"ca.crt": embedding_server.certificate.read_text()}
    apply(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "authorities"}, "data": authority},
        namespace=operator_namespace,
    )
    values = {"caBundle.configMapName": "authorities", "embedding.allowedHosts": f"{{{embeddings.HOST}}}"}
    cluster.install(*(f"--set={name}={value}" for name, value in values.items()))


@pytest.fixture(scope="module")
def help_pages(installed: None, qdrant: Qdrant) -> Iterator[str]:
    """A namespace with a collection of help pages, made by the large model, and Ready. The collection has its name."""
    name = cluster.make_namespace("e2e-help")
    qdrant.connect(name)
    points = [{"id": id_, "vectors": {"text": {"text": text}}} for id_, text in TEXTS.items()]
    spec = {"collectionRef": {"name": name}, "points": points}
    apply(
        secret("embeddings", {"api-key": embeddings.API_KEY}),
        {"apiVersion": "vectorops.dev/v1alpha1", "kind": "PointSet", "metadata": {"name": "pages"}, "spec": spec},
        namespace=name,
    )
    declare(name, LARGE)
    wait_ready(name, "qdrantcollection,pointset", "--all")
    yield name
    kubectl("delete", "namespace", name, "--timeout=2m")


def declare(name: str, size: int) -> None:
    """The collection with a model of this size."""
    model = {
        "model": "words",
        "dimensions": size,
        "baseURL": f"https://{embeddings.HOST}/v1",
        "apiKeySecretRef": {"name": "embeddings", "key": "api-key"},
    }
    queries = [{"text": question, "expect": [id_]} for question, id_ in QUESTIONS.items()]
    checks = {"queries": queries, "k": 1, "thresholds": {"recall": 1}}
    vectors: list[dict[str, object]] = [{"name": "text", "embedder": {"openAI": model}}]
    aliased = {"layout": "Aliased", "migration": {"approval": "Auto"}, "checks": checks}
    apply(collection(name, vectors, **aliased), namespace=name)


def answers(qdrant: Qdrant, name: str, size: int) -> list[str]:
    """The texts that readers find first, by the alias."""
    best = "client.query_points(name, query=query, using='text', limit=1).points[0].id"
    assert len(qdrant.ids(name)) == len(TEXTS)
    return [qdrant.ask(best, name=name, query=embeddings.embed(question, size)) for question in QUESTIONS]


def migration(name: str) -> cluster.Object:
    found: cluster.Object = get("qcol", name, "--namespace", name)["status"].get("migration") or {}
    return found


def test_a_model_that_answers_worse_is_held_back(help_pages: str, qdrant: Qdrant) -> None:
    declare(help_pages, TOO_SMALL)

    reason = 'jsonpath={.status.conditions[?(@.type=="Ready")].reason}=ChecksFailed'
    kubectl("wait", f"qcol/{help_pages}", "--namespace", help_pages, f"--for={reason}", "--timeout=1m")

    assert migration(help_pages)["checks"]["result"] == "Failed"
    assert answers(qdrant, help_pages, LARGE)


def test_a_changed_model_is_one_edit(help_pages: str, qdrant: Qdrant) -> None:
    before = answers(qdrant, help_pages, LARGE)

    declare(help_pages, SMALL)
    until(lambda: migration(help_pages).get("phase") == "GracePeriod", what="readers to be moved")
    wait_ready(help_pages, "qdrantcollection,pointset", "--all")

    assert answers(qdrant, help_pages, SMALL) == before
    assert migration(help_pages)["checks"]["result"] == "Passed"
    heads, row = kubectl("get", "qcol", "--namespace", help_pages).splitlines()
    assert "MIGRATION" in heads
    assert "GracePeriod" in row
    kept = qdrant.ask("[each.name for each in client.get_collections().collections]")
    assert len([name for name in kept if name.startswith(help_pages)]) == 2


def test_readers_are_moved_back(help_pages: str, qdrant: Qdrant) -> None:
    incarnation = migration(help_pages)["to"]["incarnation"]

    kubectl("annotate", "qcol", help_pages, "--namespace", help_pages, f"vectorops.dev/roll-back={incarnation}")
    until(lambda: migration(help_pages).get("phase") == "RolledBack", what="readers to be moved back")

    answers(qdrant, help_pages, LARGE)
    table = kubectl("get", "qcol", "--namespace", help_pages)
    assert "RolledBack" in table
    # The former model in Git again: nothing is left to do, and the other collection goes after the grace period.
    declare(help_pages, LARGE)
    wait_ready(help_pages, "qdrantcollection,pointset", "--all")
    answers(qdrant, help_pages, LARGE)
