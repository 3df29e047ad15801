"""A connection: what it says when it cannot connect, how it finds back, and that it serves to the end those who need
it.
"""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from integration.conftest import StartOperator, StartQdrant
from integration.team import RECONCILE, Team, message
from integration.world import Stored, collection, connection, point, point_set, secret
from servers.certificates import CertificateAuthority
from servers.kubeapi import KubeApi, Object, is_ready
from servers.process import free_port
from servers.qdrant import QdrantServer, QdrantTls

KEY, NEXT_KEY = "the-first-key-of-this-test", "the-second-key-of-this-test"
KEY_REF = {"name": "qdrant", "key": "api-key"}


@contextmanager
def http_server(answer: Any) -> Iterator[str]:
    """Something that speaks HTTP and answers everything with one JSON value; yields its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Not to standard error."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def team(api: KubeApi, namespace: str) -> Team:
    """The team of a test's own namespace: each connects it in another way, or fails to."""
    return Team(api, namespace)


async def store(team: Team, name: str, **data: str) -> None:
    """Writes a Secret, or over it."""
    await team.api.apply(secret(team.namespace, name, **data))


# ---- TLS ----


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> CertificateAuthority:
    return CertificateAuthority(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="module")
def strangers(tmp_path_factory: pytest.TempPathFactory) -> CertificateAuthority:
    """An authority that nobody here knows."""
    return CertificateAuthority(tmp_path_factory.mktemp("strangers-pki"))


async def trust(team: Team, authority: CertificateAuthority, client: str | None = None) -> Object:
    """Puts the authority, and the certificate of a client of it, into Secrets; returns `spec.tls`."""
    await store(team, "ca", ca__crt=authority.certificate.read_text())
    tls: Object = {"caSecretRef": {"name": "ca", "key": "ca.crt"}}
    if client is not None:
        issued = authority.issue(client)
        await store(team, "client", tls__crt=issued.certificate.read_text(), tls__key=issued.key.read_text())
        tls["clientCertificateSecretRef"] = {"name": "client"}
    return tls


async def test_points_go_through_tls_with_an_own_authority_and_a_client_certificate(
    team: Team, authority: CertificateAuthority, start_qdrant: StartQdrant, start_operator: StartOperator
) -> None:
    server = start_qdrant(api_key=KEY, tls=QdrantTls(authority, authority.issue("server"), True))
    operator = start_operator()
    tls = await trust(team, authority, client="operator")
    await store(team, "qdrant", api_key=KEY)
    await team.connection(server, tls=tls, apiKeySecretRef=KEY_REF)
    await team.collection("zoo")

    await team.points("cats", "zoo", [point(1, 1, 0, 0)], until=is_ready)

    async with Stored(server) as stored:
        assert await stored.vectors("zoo") == {1: [1.0, 0.0, 0.0]}
    written = server.telemetry_writes_by_endpoint()
    assert written.get("/qdrant.Points/Upsert"), "the points went over gRPC, through TLS as well"
    assert "PRIVATE KEY" not in operator.log_text()


async def test_a_certificate_that_is_not_to_be_trusted_is_told_and_the_right_authority_repairs_it(
    team: Team,
    authority: CertificateAuthority,
    strangers: CertificateAuthority,
    start_qdrant: StartQdrant,
    start_operator: StartOperator,
) -> None:
    server = start_qdrant(tls=QdrantTls(authority, authority.issue("server")))
    start_operator()
    told = await team.connection(server, tls=await trust(team, strangers), until="CertificateInvalid")
    assert "caSecretRef" in message(told)

    await trust(team, authority)
    await team.annotate("QdrantConnection", "main", {RECONCILE: "now"})

    await team.wait("QdrantConnection", "main", is_ready)


async def test_a_server_that_demands_a_client_certificate_says_so(
    team: Team, authority: CertificateAuthority, start_qdrant: StartQdrant, start_operator: StartOperator
) -> None:
    server = start_qdrant(tls=QdrantTls(authority, authority.issue("server"), True))
    start_operator()

    told = await team.connection(server, tls=await trust(team, authority), until="CertificateInvalid")

    assert "clientCertificateSecretRef" in message(told)


# ---- keys ----


async def test_a_wrong_key_is_told_and_the_right_one_in_the_secret_repairs_it(
    team: Team, start_qdrant: StartQdrant, start_operator: StartOperator
) -> None:
    server = start_qdrant(api_key=KEY)
    operator = start_operator()
    missing = await team.connection(server, apiKeySecretRef=KEY_REF, until="SecretNotFound")
    assert "'qdrant'" in message(missing)

    await store(team, "qdrant", api_key="not-" + KEY)
    await team.annotate("QdrantConnection", "main", {RECONCILE: "1"})
    refused = await team.wait("QdrantConnection", "main", "Unauthorized")
    assert message(refused).endswith("the API key is refused (401): Invalid API key or JWT")

    await store(team, "qdrant", api_key=KEY)
    await team.wait("QdrantConnection", "main", is_ready)

    await no_trace_of(KEY, team, operator.log_text())


async def test_a_key_is_rotated_and_the_old_one_revoked_without_a_restart_of_the_operator(
    team: Team, start_qdrant: StartQdrant, start_operator: StartOperator
) -> None:
    server = start_qdrant(api_key=KEY)
    operator = start_operator()
    await store(team, "qdrant", api_key=KEY)
    await team.connection(server, apiKeySecretRef=KEY_REF)
    await team.collection("zoo")
    await team.points("cats", "zoo", [point(1, 1, 0, 0)], until=is_ready)

    server.set_api_key(NEXT_KEY)
    await store(team, "qdrant", api_key=NEXT_KEY)
    await team.points("cats", "zoo", [point(1, 0, 1, 0)], until=is_ready)

    async with Stored(server) as stored:
        assert await stored.vectors("zoo") == {1: [0.0, 1.0, 0.0]}
    for kind, name in (("QdrantConnection", "main"), ("QdrantCollection", "zoo"), ("PointSet", "cats")):
        assert is_ready(await team.look_again(kind, name))
    for key in (KEY, NEXT_KEY):
        await no_trace_of(key, team, operator.log_text())


async def no_trace_of(key: str, team: Team, log: str) -> None:
    """Neither in the log nor in anything that can be read without a right to read Secrets."""
    kinds = ("QdrantConnection", "QdrantCollection", "PointSet", "Event")
    shown = [json.dumps(item) for kind in kinds for item in await team.api.list(kind, team.namespace)]
    assert log
    assert shown
    assert not [text for text in (log, *shown) if key in text]


# ---- addresses ----


async def test_nothing_at_the_address_is_told_and_found_when_it_comes(
    team: Team, api: KubeApi, namespace: str, start_qdrant: StartQdrant, start_operator: StartOperator
) -> None:
    server = start_qdrant()
    server.kill()
    start_operator()
    # Both at once: the collection looks before there is an answer about the connection.
    await api.apply(connection(namespace, server))
    await api.apply(collection(namespace, "zoo"))
    told = await team.wait("QdrantConnection", "main", "Unreachable")
    assert "connection refused" in message(told)
    # It repeats why, so that nobody needs to look any further.
    await team.wait("QdrantCollection", "zoo", lambda found: message(told) in message(found))

    server.start()

    await team.wait("QdrantConnection", "main", is_ready)
    await team.wait("QdrantCollection", "zoo", is_ready)


@pytest.mark.parametrize(
    ("answer", "reason", "words"),
    [
        ({"hello": "world"}, "NotQdrant", "not Qdrant's"),
        ([1, 2], "NotQdrant", "not Qdrant's"),
        # Stands for an old server: no such program is at hand here, and the version is all that is looked at.
        ({"title": "qdrant - vector search engine", "version": "1.15.5", "result": {}}, "UnsupportedVersion", "1.15.5"),
    ],
)
async def test_what_is_no_qdrant_or_an_old_one_is_refused(
    team: Team, start_operator: StartOperator, answer: Any, reason: str, words: str
) -> None:
    start_operator()
    with http_server(answer) as url:
        told = await team.connection(url, until=reason)

    assert words in message(told)


async def test_hosts_that_the_operator_does_not_allow_are_refused_and_link_local_ones_always(
    team: Team, qdrant: QdrantServer, start_operator: StartOperator
) -> None:
    # The number is an address for the resolver only, as a name would be.
    start_operator(flags=["--allowed-connection-host=127.0.0.*", "--allowed-connection-host=2852039166"])

    await team.connection(qdrant)
    await team.api.apply(connection(team.namespace, f"http://localhost:{qdrant.port}", name="other"))
    await team.api.apply(connection(team.namespace, "http://2852039166:6333", name="metadata"))
    other = await team.wait("QdrantConnection", "other", "NotAllowed")
    metadata = await team.wait("QdrantConnection", "metadata", "NotAllowed")

    assert "--allowed-connection-host localhost" in message(other)
    assert "resolves to 169.254.169.254 (link-local" in message(metadata)
    assert {"Stalled"} <= {each["type"] for each in metadata["status"]["conditions"]}


async def test_a_grpc_port_that_leads_nowhere_is_told_by_the_connection_and_not_by_every_set(
    team: Team, qdrant: QdrantServer, start_operator: StartOperator
) -> None:
    start_operator()

    told = await team.connection(qdrant, grpcPort=free_port(), until="Unreachable")

    assert "no connection" in message(told)


# ---- the breaker, and the end ----


async def test_a_suspended_connection_holds_everything_behind_it_and_lets_it_go_on_later(
    team: Team, start_qdrant: StartQdrant, start_operator: StartOperator
) -> None:
    server = start_qdrant()
    start_operator()
    await team.connection(server)
    await team.collection("old", deletionPolicy="Delete", until=is_ready)

    await team.connection(server, suspend=True, until="Suspended")
    writes = server.telemetry_writes()
    await team.collection("new", until="ConnectionNotReady")
    await team.ask_to_delete("QdrantCollection", "old")
    await team.wait("QdrantCollection", "old", "ConnectionNotReady")
    assert server.telemetry_writes() == writes

    await team.connection(server, suspend=False)
    await team.wait("QdrantCollection", "new", is_ready)
    await team.gone("QdrantCollection", "old")


async def test_a_connection_that_is_needed_serves_until_the_last_one_is_gone(
    team: Team, start_qdrant: StartQdrant, start_operator: StartOperator
) -> None:
    server = start_qdrant()
    start_operator()
    await team.connection(server)
    await team.collection("zoo", deletionPolicy="Delete")
    await team.points("cats", "zoo", [point(1, 1, 0, 0)], until=is_ready)

    await team.ask_to_delete("QdrantConnection", "main")
    told = await team.wait("QdrantConnection", "main", "DeletionBlocked")
    await team.points("cats", "zoo", [point(1, 0, 0, 1), point(2, 0, 1, 0)], until=is_ready)

    assert "QdrantCollection" in message(told)
    async with Stored(server) as stored:
        assert await stored.vectors("zoo") == {1: [0.0, 0.0, 1.0], 2: [0.0, 1.0, 0.0]}
    await team.delete("PointSet", "cats")
    await team.look_again("QdrantConnection", "main")
    await team.ask_to_delete("QdrantCollection", "zoo")
    await team.gone("QdrantConnection", "main")
    async with Stored(server) as stored:
        assert not await stored.exists("zoo")


async def test_a_connection_that_waits_for_its_deletion_can_still_be_mended(
    team: Team, api: KubeApi, namespace: str, start_qdrant: StartQdrant, start_operator: StartOperator
) -> None:
    """The server moved while a collection that must be deleted there still needs the connection."""
    server = start_qdrant()
    start_operator()
    await team.connection(server)
    await team.collection("zoo", deletionPolicy="Delete", until=is_ready)
    await team.ask_to_delete("QdrantConnection", "main")
    await team.wait("QdrantConnection", "main", "DeletionBlocked")

    moved = start_qdrant()
    server.kill()
    async with Stored(moved) as stored:
        await api.apply(connection(namespace, moved))
        await team.collection("zoo", deletionPolicy="Delete", aliases=["menagerie"], until=is_ready)
        assert await stored.exists("zoo")

        await team.delete("QdrantCollection", "zoo")
        await team.gone("QdrantConnection", "main")
        assert not await stored.exists("zoo")


async def test_two_connections_to_one_server_serve_a_collection_each(
    team: Team, api: KubeApi, namespace: str, start_qdrant: StartQdrant, start_operator: StartOperator
) -> None:
    server = start_qdrant()
    start_operator()
    for name in ("left", "right"):
        await api.apply(connection(namespace, server, name=name))
        await api.apply(collection(namespace, f"zoo-{name}", connectionRef={"name": name}, deletionPolicy="Delete"))
        await api.apply(point_set(namespace, name, f"zoo-{name}", [point(1, 1, 0, 0)]))
    for name in ("left", "right"):
        await team.wait("PointSet", name, is_ready)

    await team.ask_to_delete("PointSet", "left")
    await team.ask_to_delete("QdrantCollection", "zoo-left")
    await team.ask_to_delete("QdrantConnection", "left")
    await team.gone("QdrantConnection", "left")

    await team.points("right", "zoo-right", [point(2, 1, 0, 0)], until=is_ready)
    async with Stored(server) as stored:
        assert not await stored.exists("zoo-left")
        assert sorted(await stored.points("zoo-right")) == [2]
