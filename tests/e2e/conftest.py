"""The cluster, the Qdrant in it, and a namespace of a team, as fixtures. Operators are installed by the tests.

The tests of a file share what it installs, and run in the order in which they stand there: a story. Each file finds a
cluster without CRDs and a Qdrant without collections.
"""

import shutil
import uuid
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from e2e import cluster, embeddings
from e2e.database import Qdrant, deployment, secret
from servers.certificates import CertificateAuthority

TOOLS = ("kubectl", "helm")


@pytest.fixture(scope="session", autouse=True)
def clean_cluster() -> Iterator[None]:
    """Without anything of ours, before and after."""
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        pytest.exit(f"not installed: {', '.join(missing)}", returncode=2)
    try:
        cluster.kubectl("get", "--raw", "/readyz")
    except cluster.CommandFailed as error:
        pytest.exit(f"no cluster: {error}; `make e2e` makes one, or set KUBECONFIG", returncode=2)
    cluster.clean()
    yield
    cluster.clean()


@pytest.fixture(scope="session")
def qdrant_server(clean_cluster: None, tmp_path_factory: pytest.TempPathFactory) -> Qdrant:
    """With an API key and TLS, in a namespace of its own."""
    server = Qdrant(tmp_path_factory.mktemp("certificates"))
    server.start()
    return server


@pytest.fixture(scope="module")
def qdrant(qdrant_server: Qdrant) -> Qdrant:
    """Empty: what the operator of another file left there is owned by another installation."""
    qdrant_server.empty()
    return qdrant_server


@pytest.fixture(scope="session")
def embedding_server(clean_cluster: None, tmp_path_factory: pytest.TempPathFactory) -> CertificateAuthority:
    """Returns the authority that vouches for it."""
    authority = CertificateAuthority(tmp_path_factory.mktemp("embeddings"))
    issued = authority.issue("embeddings", dns_names=(embeddings.HOST,))
    cluster.make_namespace(embeddings.NAMESPACE)
    container = {
        "name": "server",
        "image": cluster.IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python", "-c", Path(embeddings.__file__).read_text()],
        "readinessProbe": {"tcpSocket": {"port": 8443}, "periodSeconds": 1},
    }
    cluster.apply(
        secret("tls", {"tls.crt": issued.certificate.read_text(), "tls.key": issued.key.read_text()}),
        deployment("embeddings", container),
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "embeddings"},
            "spec": {"selector": {"app": "embeddings"}, "ports": [{"port": 443, "targetPort": 8443}]},
        },
        namespace=embeddings.NAMESPACE,
    )
    cluster.kubectl("rollout", "status", "deployment/embeddings", "--namespace", embeddings.NAMESPACE, "--timeout=2m")
    return authority


@pytest.fixture(scope="module")
def operator_namespace(clean_cluster: None) -> Iterator[str]:
    """Where the operator is installed, without one; only pods of the restricted profile get in."""
    restricted = {"pod-security.kubernetes.io/enforce": "restricted"}
    cluster.make_namespace(cluster.OPERATOR_NAMESPACE, **restricted)
    yield cluster.OPERATOR_NAMESPACE
    cluster.remove_operator()
    cluster.kubectl("delete", "namespace", cluster.OPERATOR_NAMESPACE, "--timeout=2m")


@pytest.fixture
def team() -> str:
    """A namespace of a team."""
    return cluster.make_namespace(f"e2e-{uuid.uuid4().hex[:8]}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Beside a failure: what one would look at."""
    report = yield
    if report.when in {"setup", "call"} and report.failed:
        report.sections.append(("the cluster", cluster.state()))
    return report
