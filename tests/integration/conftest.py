"""The servers as fixtures.

One API server and one Qdrant for each test process, started by the first test that asks for them; a namespace, an
operator and proxies for each test.

    async def test_a_collection_is_made(api, namespace, qdrant, start_operator):
        start_operator()
        await api.apply({...})
        await api.wait_for("QdrantCollection", namespace, "zoo", is_ready)

A test that stops, freezes or counts the writes of a server takes one of its own: `start_qdrant()`, `start_kube()`.
"""

import asyncio
import ssl
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

import pytest
import yaml

from integration.team import Team, unique
from integration.world import Stored, connection
from servers.kube import KubeServer
from servers.kubeapi import KubeApi, Object
from servers.operator import ForkedOperator, OperatorProcess
from servers.proxy import Proxy
from servers.qdrant import QdrantCluster, QdrantServer, QdrantTls, cluster_settings

CRDS = Path(__file__).parents[2] / "crds"


class StartQdrant(Protocol):
    """Starts a Qdrant that the test owns; stopped after the test."""

    def __call__(
        self,
        *,
        api_key: str | None = None,
        read_only_api_key: str | None = None,
        tls: QdrantTls | None = None,
        settings: dict[str, str] | None = None,
    ) -> QdrantServer: ...


class StartOperator(Protocol):
    """Starts an operator; stopped after the test.

    installation: a new name by default. namespaces: the test's `namespace` by default; empty means all. kubeconfig: of
    the session's `kube` by default; see `KubeServer.kubeconfig(url)` for one that leads through a proxy. forked: from a
    process that has imported the program (`servers.forks`), instead of a new interpreter.
    """

    def __call__(
        self,
        *,
        installation: str | None = None,
        namespaces: Iterable[str] | None = None,
        kubeconfig: Path | None = None,
        flags: Iterable[str] = (),
        environment: dict[str, str] | None = None,
        forked: bool = True,
    ) -> OperatorProcess: ...


class StartProxy(Protocol):
    """Starts a proxy in front of a server; stopped after the test.

    `start_proxy(qdrant.url)`, `start_proxy(f"127.0.0.1:{qdrant.grpc_port}")`, `start_proxy(kube.url, tls=kube.tls)`.
    """

    def __call__(self, upstream: str, *, tls: ssl.SSLContext | None = None) -> Proxy: ...


def crds() -> list[Object]:
    """The CRDs as shipped."""
    return [yaml.safe_load(file.read_text()) for file in sorted(CRDS.glob("*.yaml"))]


@pytest.fixture(scope="session")
def kube(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KubeServer]:
    """The API server that the tests of this process share."""
    server = KubeServer(tmp_path_factory.mktemp("kube"), crds())
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture
def start_kube(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], KubeServer]]:
    """Starts an API server that the test owns, for instance to empty it."""
    with ExitStack() as stack:

        def start() -> KubeServer:
            server = KubeServer(tmp_path_factory.mktemp("own-kube"), crds())
            stack.callback(server.stop)
            server.start()
            return server

        yield start


@pytest.fixture
async def api(kube: KubeServer) -> AsyncIterator[KubeApi]:
    """A client of `kube` with all rights."""
    async with kube.api() as api:
        yield api


@pytest.fixture
async def namespace(api: KubeApi) -> str:
    """A fresh namespace, left behind after the test: the next has its own, and this one's operator was stopped."""
    return await api.create_namespace()


@pytest.fixture(scope="session")
def qdrant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[QdrantServer]:
    """The Qdrant that the tests of this process share, without key and TLS. Name collections after the test."""
    server = QdrantServer(tmp_path_factory.mktemp("qdrant"))
    try:
        server.start()
        yield server
    finally:
        server.kill()


@pytest.fixture(scope="session")
def cluster_qdrant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[QdrantServer]:
    """A distributed Qdrant of one node, shared likewise."""
    server = QdrantServer(tmp_path_factory.mktemp("cluster-qdrant"), settings=cluster_settings())
    try:
        server.start()
        yield server
    finally:
        server.kill()


@pytest.fixture
async def stored(qdrant: QdrantServer) -> AsyncIterator[Stored]:
    """What `qdrant` holds."""
    async with Stored(qdrant) as stored:
        yield stored


@pytest.fixture
def start_qdrant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartQdrant]:
    """See StartQdrant."""
    with ExitStack() as stack:

        def start(
            *,
            api_key: str | None = None,
            read_only_api_key: str | None = None,
            tls: QdrantTls | None = None,
            settings: dict[str, str] | None = None,
        ) -> QdrantServer:
            server = QdrantServer(
                tmp_path_factory.mktemp("own-qdrant"),
                api_key=api_key,
                read_only_api_key=read_only_api_key,
                tls=tls,
                settings=settings,
            )
            stack.callback(server.kill)
            server.start()
            return server

        yield start


@pytest.fixture(scope="session")
def three_nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[QdrantCluster]:
    """A distributed Qdrant. A test that kills a node starts it again."""
    cluster = QdrantCluster(tmp_path_factory.mktemp("three-nodes"))
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.kill()


@pytest.fixture
def start_operator(kube: KubeServer, namespace: str, tmp_path: Path) -> Iterator[StartOperator]:
    """See StartOperator."""
    with ExitStack() as stack:

        def start(
            *,
            installation: str | None = None,
            namespaces: Iterable[str] | None = None,
            kubeconfig: Path | None = None,
            flags: Iterable[str] = (),
            environment: dict[str, str] | None = None,
            forked: bool = True,
        ) -> OperatorProcess:
            operator = (ForkedOperator if forked else OperatorProcess)(
                tmp_path,
                kubeconfig=kubeconfig or kube.kubeconfig(),
                installation=installation or f"test-{uuid.uuid4().hex[:8]}",
                namespaces=[namespace] if namespaces is None else namespaces,
                flags=flags,
                environment=environment,
            )
            stack.callback(operator.discard)
            operator.start()
            return operator

        yield start


@pytest.fixture
def start_proxy() -> Iterator[StartProxy]:
    """See StartProxy."""
    with ExitStack() as stack:

        def start(upstream: str, *, tls: ssl.SSLContext | None = None) -> Proxy:
            return stack.enter_context(Proxy(upstream, tls=tls))

        yield start


@pytest.fixture(scope="module")
def team_namespace(kube: KubeServer, qdrant: QdrantServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A namespace with a connection to the shared Qdrant, and an operator that watches it."""

    async def prepare() -> str:
        async with kube.api() as api:
            namespace = await api.create_namespace("team")
            await api.apply(connection(namespace, qdrant))
            return namespace

    namespace = asyncio.run(prepare())
    operator = ForkedOperator(
        tmp_path_factory.mktemp("team"),
        kubeconfig=kube.kubeconfig(),
        installation=unique("team"),
        namespaces=[namespace],
        # Some tests leave a migration that cannot go on.
        flags=["--max-migrations=50"],
    )
    operator.start()
    yield namespace
    operator.discard()


@pytest.fixture
def team(api: KubeApi, team_namespace: str) -> Team:
    """The team of this module: see `Team`."""
    return Team(api, team_namespace)
