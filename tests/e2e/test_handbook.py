"""The handbook, read from the first page to the last by somebody who types what it says."""

import base64
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from documented import ROOT, documented, manifest, replaced, run
from e2e import cluster, database
from e2e.cluster import get, kubectl, until, wait_ready
from e2e.database import Qdrant
from e2e.test_story import collection
from servers.certificates import CertificateAuthority

TEAM = "search"
"""The namespace that the pages speak of."""
NOTES = "qdrant-notes"
STRANGER = "0f6a1c5e-7c1d-4f0e-9a55-0c6e6b7d2f31"
"""The former installation that docs/backup.md speaks of."""

REPOSITORY, _, TAG = cluster.IMAGE.rpartition(":")
OUR_IMAGE = {"registry.example.com/vectorops": REPOSITORY, "0.1.0": TAG}


@dataclass(frozen=True)
class Reader:
    """Types commands in a folder of their own, with a kubeconfig of their own."""

    folder: Path

    def types(self, commands: str) -> str:
        """Returns what is printed."""
        environment = {
            "KUBECONFIG": str(self.folder / "kubeconfig"),
            "API_KEY": database.API_KEY,
            "HELM_CACHE_HOME": str(self.folder / "helm"),
        }
        return run(commands, self.folder, environment=environment)

    def writes(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)


@pytest.fixture(scope="module")
def reader(qdrant: Qdrant, tmp_path_factory: pytest.TempPathFactory) -> Reader:
    """With a clone of this repository, and with what they have who want to connect a Qdrant: key and certificates."""
    folder = tmp_path_factory.mktemp("reader")
    (folder / "charts").symlink_to(ROOT / "charts")
    shutil.copytree(ROOT / "examples", folder / "examples")
    (folder / "kubeconfig").write_text(kubectl("config", "view", "--raw", "--flatten"))
    _, authority, connection = qdrant.connection()
    (folder / "ca.crt").write_bytes(base64.b64decode(authority["data"]["ca.crt"]))
    (folder / "examples/quickstart/00-connection.yaml").write_text(yaml.safe_dump(connection))
    client = CertificateAuthority(folder / "authority").issue("client")
    shutil.copy(client.certificate, folder / "client.crt")
    shutil.copy(client.key, folder / "client.key")
    return Reader(folder)


@pytest.fixture(scope="module", autouse=True)
def installed(operator_namespace: str, reader: Reader) -> str:
    """Returns the notes."""
    reader.writes("values.yaml", replaced(manifest("docs/install.md", "With Helm"), OUR_IMAGE))
    return reader.types(documented("docs/install.md", "With Helm"))


@pytest.fixture(scope="module")
def connected(reader: Reader, installed: str) -> str:
    """The team's namespace, in which commands without a namespace work from now on."""
    try:
        reader.types(documented("docs/connect.md", "A connection"))
    finally:
        kubectl("label", "namespace", TEAM, cluster.OURS)
    here = {"https://qdrant.qdrant.svc:6333": database.URL}
    reader.writes("connection.yaml", replaced(manifest("docs/connect.md", "A connection"), here))
    reader.types(documented("docs/connect.md", "A connection", 2))
    return TEAM


# ---- install, connect ----


def test_what_is_to_be_seen_is_that_it_runs(reader: Reader) -> None:
    told = reader.types(documented("docs/install.md", "See that it runs"))

    assert "successfully rolled out" in told
    assert '"level":"info"' in told


def test_a_connection_says_how_it_is(connected: str, reader: Reader) -> None:
    told = reader.types(documented("docs/connect.md", "See what is wrong"))

    assert "Qdrant 1.16.3 answers" in told


def test_a_client_certificate_is_presented(connected: str, reader: Reader) -> None:
    reader.types(documented("docs/connect.md", "Client certificates"))

    connection = get("qdrantconnection", "main", "--namespace", connected)
    assert connection["spec"]["tls"]["clientCertificateSecretRef"] == {"name": "qdrant-client"}
    assert connection["status"]["observedGeneration"] == connection["metadata"]["generation"]


def test_a_namespace_uses_a_connection_of_the_cluster(connected: str, reader: Reader, qdrant: Qdrant) -> None:
    page, heading = "docs/connect.md", "One Qdrant for many namespaces"
    here = {"https://qdrant.qdrant.svc:6333": database.URL}
    reader.types(documented("docs/connect.md", "One Qdrant for many namespaces"))
    reader.writes("cluster-connection.yaml", replaced(manifest(page, heading), here))
    reader.writes("shared-collection.yaml", manifest(page, heading, 2))

    reader.types(documented("docs/connect.md", "One Qdrant for many namespaces", 2))
    reader.types(documented("docs/connect.md", "One Qdrant for many namespaces", 3))

    assert qdrant.ask("client.collection_exists('search.handbook')")
    kubectl("delete", "--namespace", connected, "qdrantcollection/handbook")
    kubectl("delete", "clusterqdrantconnection/shared")


def test_a_key_that_changes_is_read_at_once(connected: str, reader: Reader) -> None:
    def token() -> object:
        return get("qdrantconnection", "main", "--namespace", connected)["status"].get("lastHandledReconcileAt")

    before = token()
    reader.types(documented("docs/connect.md", "Keys and certificates that change"))

    until(lambda: token() != before, what="the connection to be looked at")
    wait_ready(connected, "qdrantconnection/main")


# ---- use ----


QUICKSTART = documented("examples/quickstart/README.md", "In a cluster that runs the operator")


@pytest.fixture(scope="module")
def quickstart(connected: str, reader: Reader) -> str:
    """Applied. Returns what kubectl shows then."""
    return reader.types(QUICKSTART)


def test_the_quickstart_is_applied(quickstart: str, qdrant: Qdrant) -> None:
    assert "notes-operations" in quickstart
    assert len(qdrant.ids(NOTES)) > 100


def test_a_plan_that_was_held_back_is_approved(connected: str, reader: Reader, qdrant: Qdrant) -> None:
    cluster.apply(collection("documents", [{"name": "text", "size": 4}]), namespace=connected)
    wait_ready(connected, "qdrantcollection/documents")
    cluster.apply(collection("documents", [{"name": "text", "size": 8}]), namespace=connected)

    def plan() -> str:
        found = get("qdrantcollection", "documents", "--namespace", connected)["status"].get("plan") or {}
        return str(found.get("hash") or "")

    until(plan, what="the plan")
    reader.types(replaced(documented("docs/concepts.md", "What cannot be changed in place"), {"3f9c1a5b7d20": plan()}))

    wait_ready(connected, "qdrantcollection/documents")
    assert qdrant.ask("client.get_collection('documents').config.params.vectors['text'].size") == 8


def test_what_is_shown_of_a_collection_tells_how_it_is(connected: str, reader: Reader) -> None:
    cluster.apply(collection("handbook", [{"name": "text", "size": 4}]), namespace=connected)
    wait_ready(connected, "qdrantcollection/handbook")

    assert "documents" in reader.types(documented("docs/operations.md", "At three in the morning"))
    assert '"size":4' in reader.types(documented("docs/embedders.md", "What is resolved, and from where", 2))


def test_a_collection_of_a_former_installation_is_taken_over(connected: str, reader: Reader, qdrant: Qdrant) -> None:
    """As it is after the cluster was built anew without a name of its own."""
    metadata = qdrant.ask("client.get_collection('documents').config.metadata")
    mark = metadata["vectorops.dev/mark"]
    mark["installation"] = STRANGER
    qdrant.ask("client.update_collection('documents', metadata=metadata)", metadata=metadata)
    kubectl("annotate", "qcol", "documents", "--namespace", connected, "--overwrite", "vectorops.dev/reconcile=anew")
    ready = 'jsonpath={.status.conditions[?(@.type=="Ready")].reason}=OwnedByAnother'
    kubectl("wait", "qcol/documents", "--namespace", connected, f"--for={ready}", "--timeout=1m")

    reader.types(documented("docs/backup.md", "A cluster that is built anew"))

    wait_ready(connected, "qdrantcollection/documents")
    owner = qdrant.ask("client.get_collection('documents').config.metadata['vectorops.dev/mark']['installation']")
    assert owner == "production"


RUNBOOKS = (
    (documented("docs/runbooks/VectorOpsCleanupSkipped.md", "What to look at"), ""),
    (documented("docs/runbooks/VectorOpsDown.md", "What to look at"), "deployment.apps/vectorops"),
    (documented("docs/runbooks/VectorOpsListOverdue.md", "What to look at"), NOTES),
    (documented("docs/runbooks/VectorOpsNoLeader.md", "What to look at"), "vectorops"),
    (documented("docs/runbooks/VectorOpsNotReady.md", "What to look at"), NOTES),
    (documented("docs/runbooks/VectorOpsNothingSynced.md", "What to look at"), NOTES),
    (documented("docs/runbooks/VectorOpsPointsNotWritten.md", "What to look at"), NOTES),
    (documented("docs/runbooks/VectorOpsQdrantFailing.md", "What to look at"), "main"),
    (documented("docs/runbooks/VectorOpsReconcileErrors.md", "What to look at"), NOTES),
    (documented("docs/runbooks/VectorOpsStalled.md", "What to look at"), f"qdrantcollection/{NOTES}"),
    (documented("docs/runbooks/VectorOpsTextsEmbeddedAgain.md", "What to look at"), NOTES),
)
"""What they say to look at, and what is among that."""


@pytest.mark.parametrize("runbook", range(len(RUNBOOKS)))
def test_a_runbook_leads_to_what_is_to_be_seen(quickstart: str, reader: Reader, runbook: int) -> None:
    commands, shown = RUNBOOKS[runbook]

    assert shown in reader.types(commands)


# ---- upgrade ----


def arguments() -> list[str]:
    """Of the operator that is installed."""
    found = get("deployment", "vectorops", "--namespace", cluster.OPERATOR_NAMESPACE)
    return list(found["spec"]["template"]["spec"]["containers"][0]["args"])


def test_an_upgrade_takes_the_values_file_and_a_rollback_what_was_before(reader: Reader) -> None:
    reader.writes("values.yaml", (reader.folder / "values.yaml").read_text() + "log: {level: debug}\n")
    reader.types(documented("docs/upgrade.md", "CRDs"))

    reader.types(documented("docs/upgrade.md", "How"))
    assert "--log-level=debug" in arguments()
    assert "--installation=production" in arguments()

    reader.types(documented("docs/upgrade.md", "Back"))
    assert "--log-level=info" in arguments()


# ---- uninstall ----


def ours() -> list[str]:
    """Names of our resources, in the whole cluster."""
    return cluster.names(",".join(cluster.KINDS), "--all-namespaces")


def crds() -> set[str]:
    return set(cluster.CRDS) & set(cluster.names("customresourcedefinitions"))


def test_what_a_team_deletes_is_cleaned_up(connected: str, quickstart: str, reader: Reader, qdrant: Qdrant) -> None:
    cluster.apply(collection("retained", [{"name": "text", "size": 4}]), namespace=connected)
    wait_ready(connected, "qdrantcollection/retained")

    reader.types(documented("docs/uninstall.md", "A team"))

    assert ours() == []
    assert not qdrant.ask(f"client.collection_exists('{NOTES}')"), "its policy is Delete"
    assert qdrant.ask("client.collection_exists('retained')"), "its policy is Retain"


def test_what_is_let_go_stays_in_qdrant(connected: str, reader: Reader, qdrant: Qdrant) -> None:
    reader.types(QUICKSTART)
    before = qdrant.versions(NOTES, 384, "text")

    reader.types(documented("docs/uninstall.md", "A team", 2))

    assert ours() == []
    assert before
    assert qdrant.versions(NOTES, 384, "text") == before


def test_without_the_operator_resources_stay_and_without_the_crds_the_data_stays(
    connected: str, reader: Reader, qdrant: Qdrant
) -> None:
    reader.types(QUICKSTART)
    there, points = ours(), qdrant.ids(NOTES)

    reader.types(documented("docs/uninstall.md", "The operator"))
    assert ours() == there
    assert crds() == set(cluster.CRDS)

    reader.types(documented("docs/uninstall.md", "The CRDs"))
    assert crds() == set()
    assert qdrant.ids(NOTES) == points


def test_the_chart_takes_the_crds_with_it_and_the_data_stays(connected: str, reader: Reader, qdrant: Qdrant) -> None:
    reader.types(replaced(documented("README.md", "Install"), OUR_IMAGE))
    kubectl("apply", "--namespace", connected, "--filename", str(reader.folder / "connection.yaml"))
    cluster.apply(collection("kept", [{"name": "text", "size": 4}], deletionPolicy="Delete"), namespace=connected)
    wait_ready(connected, "qdrantcollection/kept")

    reader.types(documented("docs/uninstall.md", "The CRDs", 2))

    assert crds() == set()
    assert qdrant.ask("client.collection_exists('kept')")


def test_it_is_installed_and_removed_without_helm_in_the_cluster(connected: str, reader: Reader) -> None:
    kubectl("delete", "namespace", cluster.OPERATOR_NAMESPACE, "--timeout=2m")

    reader.types(documented("docs/install.md", "Without Helm in the cluster"))
    until(lambda: cluster.leader() in cluster.pods(), what="a leader")

    reader.types(documented("docs/uninstall.md", "Without Helm"))
    until(lambda: cluster.pods() == [], what="the operator to be gone")
    assert crds() == set(cluster.CRDS)
