"""What only a server can do wrong: names, ports, keys, certificates, silence, and answers that never come."""

import asyncio
import base64
import hashlib
import hmac
import json
import re
import sys
import threading
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from servers.certificates import CertificateAuthority
from servers.process import free_port
from servers.proxy import Call
from servers.qdrant import QdrantServer, QdrantTls
from vectorops.api.connection import QdrantConnectionSpec
from vectorops.api.reasons import Reason
from vectorops.errors import NotFound, OutcomeUnknown, RateLimited, Rejected, Transient, Unauthorized
from vectorops.qdrant.connect import Credentials, connect
from vectorops.qdrant.database import Database, PointData
from vectorops.qdrant.marks import NAME_BYTES
from vectorops.reconciliation import reconciling

POINT = PointData(1, {"": np.array([1, 2], dtype=np.float32)})
COLLECTION = {"vectors": {"size": 2, "distance": "Dot"}}

Open = Callable[..., Database]


@pytest.fixture
async def open_database() -> AsyncIterator[Open]:
    """Opens a door to a server, or to anything that stands in a spec; closed after the test."""
    opened: list[Database] = []

    def open_one(server: QdrantServer | None = None, credentials: Credentials | None = None, **spec: Any) -> Database:
        if server is not None:
            spec = {"url": server.url, "grpc_port": server.grpc_port} | spec
        database = connect(QdrantConnectionSpec(**spec), credentials or Credentials())
        opened.append(database)
        return database

    yield open_one
    for database in opened:
        await database.close()


@pytest.fixture
def authority(tmp_path: Path) -> CertificateAuthority:
    return CertificateAuthority(tmp_path / "authority")


async def test_a_request_searches_for_no_module(qdrant, open_database, monkeypatch):
    """A failing import inside a library costs a twentieth of a request, and Python remembers none."""
    database, searched = open_database(qdrant), list[str]()

    class Searched:
        @staticmethod
        def find_spec(name, *_where):
            searched.append(name)

    await database.check()
    monkeypatch.setattr(sys, "meta_path", [Searched, *sys.meta_path])
    await database.check()

    assert searched == []


async def test_readers_find_one_of_the_two_collections_while_aliases_move(qdrant, open_database):
    database, reader = open_database(qdrant), open_database(qdrant)
    colors = ("blue", "green")
    collections = {color: f"moved-{color}-{uuid.uuid4().hex[:8]}" for color in colors}
    aliases = [f"{collections['blue']}-{letter}" for letter in "abc"]
    for color, name in collections.items():
        await database.create_collection(name, COLLECTION | {"metadata": {"color": color}})
    await database.move_aliases(aliases, collections["blue"])
    seen: set[str] = set()
    moving = True

    async def read(alias: str) -> None:
        while moving:
            found = await reader.collection(alias)
            assert found is not None
            seen.add(found["config"]["metadata"]["color"])

    readers = [asyncio.create_task(read(alias)) for alias in aliases]
    for _ in range(20):
        for color in ("green", "blue"):
            await database.move_aliases(aliases, collections[color])
            assert {(await database.aliases())[alias] for alias in aliases} == {collections[color]}
    moving = False
    await asyncio.gather(*readers)

    assert seen == set(colors)


async def test_a_snapshot_stays_when_its_collection_is_deleted(qdrant, open_database):
    database, name = open_database(qdrant), f"snapped-{uuid.uuid4().hex[:8]}"
    await database.create_collection(name, COLLECTION)
    assert (await database.snapshots(name), await database.snapshots_under_way(name)) == ({}, 0)

    snapshot = await database.create_snapshot(name)
    listed = await database.snapshots(name)
    await database.delete_collection(name)

    assert listed.keys() == {snapshot}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", listed[snapshot])
    assert (qdrant.folder / "snapshots" / name / snapshot).exists()
    with pytest.raises(NotFound):
        await database.snapshots(name)
    # A new collection of that name has them.
    await database.create_collection(name, COLLECTION)
    assert (await database.snapshots(name)).keys() == {snapshot}


async def test_a_collection_has_a_name_of_at_most_255_bytes(qdrant, open_database):
    """And of 255 characters, but a file name ends before."""
    database, mine = open_database(qdrant, prefer_grpc=False), uuid.uuid4().hex
    longest = [mine + "n" * (NAME_BYTES - len(mine)), mine + "ä" * ((NAME_BYTES - len(mine)) // 2)]
    for name in longest:
        await database.create_collection(name, COLLECTION)

    for name in longest:
        assert name in await database.collection_names()
        with pytest.raises((Rejected, Transient)):
            await database.create_collection(name + name[-1], COLLECTION)
        await database.delete_collection(name)


def tls_of(**fields: Any) -> dict[str, Any]:
    return {"tls": fields}


def token(key: str, **claims: Any) -> str:
    """A JWT as Qdrant takes it, signed with the API key."""

    def encoded(part: bytes) -> str:
        return base64.urlsafe_b64encode(part).rstrip(b"=").decode()

    header = {"alg": "HS256", "typ": "JWT"}
    head = ".".join(encoded(json.dumps(part).encode()) for part in (header, claims))
    return f"{head}.{encoded(hmac.new(key.encode(), head.encode(), hashlib.sha256).digest())}"


async def reason_of(database: Database) -> tuple[type[Transient], Reason, str]:
    with pytest.raises(Transient) as failed:
        await database.check()
    return type(failed.value), failed.value.reason, failed.value.message


@contextmanager
def web_server(status: int, body: bytes, **headers: str) -> Iterator[str]:
    """Something that speaks HTTP and gives one answer to everything."""

    class Answer(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", 0)))
            self.send_response(status)
            for header, value in headers.items():
                self.send_header(header.replace("_", "-"), value)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_PUT = do_POST = do_PATCH = do_DELETE = _answer  # noqa: N815 -- as the standard library calls them

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class TestReaching:
    async def test_a_server_tells_its_version(self, qdrant, open_database):
        database = open_database(qdrant)

        info = await database.check()

        assert info.version == "1.16.3"
        assert info.distributed is False
        assert database.info == info
        assert database.endpoint == qdrant.url

    async def test_a_refused_port(self, open_database):
        url = f"http://127.0.0.1:{free_port()}"

        failed = await reason_of(open_database(url=url))

        assert failed == (Transient, Reason.UNREACHABLE, f"{url}: connection refused")

    async def test_a_name_that_does_not_resolve(self, open_database):
        failed = await reason_of(open_database(url="http://nowhere.invalid:6333"))

        assert failed == (Transient, Reason.UNREACHABLE, "http://nowhere.invalid:6333: the host name does not resolve")

    async def test_a_grpc_port_that_is_not_reachable_is_found_at_the_check_and_said(self, qdrant, open_database):
        kind, reason, message = await reason_of(open_database(qdrant, grpc_port=free_port()))

        assert (kind, reason) == (Transient, Reason.UNREACHABLE)
        assert "spec.preferGrpc to false" in message
        await open_database(qdrant, grpc_port=free_port(), prefer_grpc=False).check()

    async def test_a_grpc_port_that_speaks_something_else(self, qdrant, open_database):
        kind, reason, message = await reason_of(open_database(qdrant, grpc_port=qdrant.port))

        assert issubclass(kind, Transient)
        assert reason in (Reason.NOT_QDRANT, Reason.UNREACHABLE, Reason.SERVER_ERROR)
        assert str(qdrant.port) in message

    async def test_a_server_that_comes_back_is_found_by_the_same_door(self, start_qdrant, open_database):
        server = start_qdrant()
        database = open_database(server)
        await database.check()
        await database.create_collection("zoo", COLLECTION)
        server.restart()
        await eventually(database.check)

        await eventually(lambda: database.upsert("zoo", [POINT]))

        assert await database.points("zoo", [1])

    @pytest.mark.parametrize(
        ("status", "body", "words"),
        [
            (200, b"<html>Welcome to nginx!</html>", "check host, port and path of spec.url"),
            (404, b"<html>Not found</html>", "check host, port and path of spec.url"),
            (404, b"", "check host, port and path of spec.url"),
            (200, b'{"name": "es01", "version": {"number": "8.1"}}', "check host, port and path of spec.url"),
            (301, b"", "redirect to another address"),
            (400, b"<html>The plain HTTP request was sent to HTTPS port</html>", "use https://"),
        ],
    )
    async def test_something_else_than_qdrant(self, open_database, status, body, words):
        with web_server(status, body, content_type="text/html") as url:
            kind, reason, message = await reason_of(open_database(url=url))

        assert (kind, reason) == (Transient, Reason.NOT_QDRANT)
        assert words in message

    async def test_a_page_that_is_not_found_is_no_missing_collection(self, open_database):
        """Or else the operator would create what is there already behind a broken proxy."""
        page = b"<html>default backend - 404</html>"
        with web_server(404, page, content_type="text/html") as url, pytest.raises(Transient) as failed:
            await open_database(url=url).collection("zoo")

        assert failed.value.reason is Reason.NOT_QDRANT


class TestAnswers:
    async def test_too_many_requests(self, open_database):
        error = b'{"status":{"error":"Rate limiting exceeded"}}'
        with web_server(429, error, retry_after="30") as url, pytest.raises(RateLimited) as failed:
            await open_database(url=url).delete_collection("zoo")

        assert failed.value.retry_after == 30

    async def test_a_broken_server_leaves_a_write_open_but_not_a_read(self, open_database):
        error = b'{"status":{"error":"Waiting for consensus operation commit failed. Timeout set at: 10 seconds"}}'
        with web_server(500, error) as url:
            database = open_database(url=url)
            with pytest.raises(OutcomeUnknown, match="Waiting for consensus"):
                await database.create_collection("zoo", COLLECTION)
            with pytest.raises(Transient) as failed:
                await database.collection("zoo")

        assert type(failed.value) is Transient
        assert failed.value.reason is Reason.SERVER_ERROR

    async def test_a_write_that_is_only_acknowledged_is_not_done(self, open_database):
        answer = b'{"result":{"operation_id":1,"status":"acknowledged"},"status":"ok"}'
        with web_server(200, answer) as url, pytest.raises(OutcomeUnknown, match="acknowledged"):
            await open_database(url=url, prefer_grpc=False).upsert("zoo", [POINT])

    async def test_a_server_that_is_silent(self, start_qdrant, open_database):
        server = start_qdrant()
        rest = open_database(server, prefer_grpc=False, timeout_seconds=1)
        grpc = open_database(server, timeout_seconds=1)
        await rest.create_collection("zoo", COLLECTION)
        await grpc.check()
        server.pause()

        for database in (rest, grpc):
            with pytest.raises(OutcomeUnknown) as open_outcome:
                await database.upsert("zoo", [POINT])
            assert open_outcome.value.reason is Reason.UNREACHABLE
        with pytest.raises(Transient) as failed:
            await rest.collection("zoo")

        assert type(failed.value) is Transient
        server.resume()

    @pytest.mark.parametrize("prefer_grpc", [False, True], ids=["rest", "grpc"])
    async def test_a_lost_answer_leaves_the_outcome_open(self, qdrant, start_proxy, open_database, prefer_grpc):
        name = f"lost-{prefer_grpc}"
        rest, grpc = start_proxy(qdrant.url), start_proxy(f"127.0.0.1:{qdrant.grpc_port}")
        database = open_database(url=rest.url, grpc_port=grpc.port, prefer_grpc=prefer_grpc)
        await database.create_collection(name, COLLECTION)
        for proxy in (rest, grpc):
            proxy.lose_answer(lambda call: "points" in call.path.lower())

        with pytest.raises(OutcomeUnknown):
            await database.upsert(name, [POINT])

        lost = rest if prefer_grpc else grpc
        lost.restore()
        assert await open_database(qdrant).points(name, [1]), "and it was carried out"

    async def test_closing_waits_for_a_write_under_way_and_lets_no_other_in(self, qdrant, start_proxy, open_database):
        reached, released = threading.Event(), threading.Event()
        proxy = start_proxy(qdrant.url)
        database = open_database(url=proxy.url, prefer_grpc=False)
        await database.create_collection("closing", COLLECTION)

        def hold(_: Call) -> None:
            reached.set()
            released.wait(10)

        proxy.before = hold
        writing = asyncio.create_task(database.upsert("closing", [POINT]))
        await asyncio.to_thread(reached.wait, 10)

        closing = asyncio.create_task(database.close())
        await asyncio.sleep(0)
        with pytest.raises(Transient, match="was replaced"):
            await database.collection_names()
        released.set()

        await asyncio.gather(writing, closing)
        assert await open_database(qdrant).points("closing", [1])

    async def test_every_request_is_observed(self, qdrant):
        seen = Seen()
        spec = QdrantConnectionSpec(url=qdrant.url, grpc_port=qdrant.grpc_port)
        database = connect(spec, Credentials(), observer=seen)

        await database.check()
        await database.create_collection("observed", COLLECTION)
        await database.upsert("observed", [POINT])
        with pytest.raises(Rejected):
            await database.upsert("nowhere", [POINT])
        assert await database.collection("nowhere") is None
        await database.close()

        assert seen.servers == {qdrant.url.removeprefix("http://")}
        assert seen.requests == [
            ("opened", ""),
            ("greeting", "200"),
            ("cluster", "200"),
            ("grpc_check", "OK"),
            ("create_collection", "200"),
            ("upsert", "OK"),
            ("upsert", "NOT_FOUND"),
            ("get_collection", "404"),
            ("closed", ""),
        ]


class TestRequestIds:
    async def test_every_request_names_the_resource_and_the_look(self, qdrant, start_proxy, open_database):
        rest, grpc = start_proxy(qdrant.url), start_proxy(f"127.0.0.1:{qdrant.grpc_port}")
        database = open_database(url=rest.url, grpc_port=grpc.port)
        with reconciling("PointSet team/traced"):
            await database.check()
            await database.create_collection("traced", COLLECTION)
            await database.upsert("traced", [POINT])
        with reconciling("PointSet team/" + "long\r\napi-key: é" * 100):
            await database.upsert("traced", [POINT])
        await database.collection_names()

        sent = [call.headers["x-request-id"] for call in (*rest.calls, *grpc.calls)]
        first = [named for named in sent if "/team/traced/" in named]
        second = [named for named in sent if "/team/long" in named]
        outside = [named for named in sent if named not in (*first, *second)]
        assert len(first) == 5, "two checks over REST, one over gRPC, and a write over each"
        assert len(set(first)) == 1
        assert re.fullmatch(r"PointSet/team/traced/[0-9a-f]{8}", first[0])
        assert len(second) == 1
        assert re.fullmatch(r"PointSet/team/[-./\w]{,200}/[0-9a-f]{8}", second[0], re.ASCII)
        assert re.fullmatch(r"vectorops/[0-9a-f]{8}", *outside)


class Seen:
    """See `traffic.Observer`."""

    def __init__(self) -> None:
        self.servers: set[str] = set()
        self.requests: list[tuple[str, str]] = []

    def opened(self, server: str) -> None:
        self.ended(server, "opened", "", 0.0)

    def ended(self, server: str, operation: str, code: str, seconds: float) -> None:
        assert seconds >= 0
        self.servers.add(server)
        self.requests.append((operation, code))

    def closed(self, server: str) -> None:
        self.ended(server, "closed", "", 0.0)


class TestKeys:
    @pytest.fixture
    def server(self, start_qdrant: Callable[..., QdrantServer]) -> QdrantServer:
        settings = {"QDRANT__SERVICE__JWT_RBAC": "true"}
        return start_qdrant(api_key="the-key", read_only_api_key="the-other-key", settings=settings)

    async def test_the_right_key(self, server, open_database):
        database = open_database(server, Credentials(api_key="the-key"))

        await database.check()
        await database.create_collection("zoo", COLLECTION)
        await database.upsert("zoo", [POINT])

        assert await database.points("zoo", [1])

    async def test_why_a_key_is_refused_is_told_in_qdrants_words(self, server, open_database):
        """Which come without a content type."""
        for key, words in (
            (None, "(401): Must provide an API key or an Authorization bearer token"),
            ("the-wrong-key", "(401): Invalid API key or JWT"),
            (token("the-key", access="m", exp=1), "(403): ExpiredSignature"),
            (token("the-wrong-key", access="m"), "(403): InvalidSignature"),
        ):
            kind, reason, message = await reason_of(open_database(server, Credentials(api_key=key)))

            assert (kind, reason) == (Unauthorized, Reason.UNAUTHORIZED)
            assert message == f"{server.url}: the API key is refused {words}"

    async def test_a_key_that_expires_is_told_over_grpc_too(self, server, open_database):
        await open_database(server, Credentials(api_key="the-key")).create_collection("zoo", COLLECTION)
        expired = open_database(server, Credentials(api_key=token("the-key", access="m", exp=1)))

        with pytest.raises(Unauthorized, match=r"\(PERMISSION_DENIED\): ExpiredSignature$"):
            await expired.upsert("zoo", [POINT])

    @pytest.mark.parametrize("prefer_grpc", [False, True], ids=["rest", "grpc"])
    async def test_a_read_only_key_cannot_write(self, server, open_database, prefer_grpc):
        await open_database(server, Credentials(api_key="the-key")).create_collection("zoo", COLLECTION)
        database = open_database(server, Credentials(api_key="the-other-key"), prefer_grpc=prefer_grpc)
        await database.check()

        for write in (database.create_collection("another", COLLECTION), database.upsert("zoo", [POINT])):
            with pytest.raises(Unauthorized) as failed:
                await write
            assert failed.value.reason is Reason.UNAUTHORIZED

        assert await database.collection_names() == ["zoo"]
        assert await database.scroll("zoo") == []


class TestTls:
    @pytest.fixture
    def credentials(self, authority: CertificateAuthority) -> Credentials:
        return Credentials(ca=authority.certificate.read_bytes())

    @pytest.mark.parametrize("prefer_grpc", [False, True], ids=["rest", "grpc"])
    async def test_an_own_authority(self, start_qdrant, open_database, authority, credentials, prefer_grpc):
        server = start_qdrant(tls=QdrantTls(authority, authority.issue("server")), api_key="the-key")
        credentials = Credentials(ca=credentials.ca, api_key="the-key")
        database = open_database(server, credentials, prefer_grpc=prefer_grpc)

        await database.check()
        await database.create_collection("zoo", COLLECTION)
        await database.upsert("zoo", [POINT])

        assert await database.points("zoo", [1])

    async def test_certificates_that_do_not_fit(self, start_qdrant, open_database, authority, credentials, tmp_path):
        server = start_qdrant(tls=QdrantTls(authority, authority.issue("server")))
        other = Credentials(ca=CertificateAuthority(tmp_path / "other").certificate.read_bytes())

        with_other = await reason_of(open_database(server, other))
        with_none = await reason_of(open_database(server))
        with_name = await reason_of(open_database(server, credentials, **tls_of(server_name="elsewhere.example")))

        for kind, reason, message in (with_other, with_none):
            assert (kind, reason) == (Transient, Reason.CERTIFICATE_INVALID)
            assert "unknown authority" in message
        assert with_name[:2] == (Transient, Reason.CERTIFICATE_INVALID)
        assert "is for another name" in with_name[2]

    @pytest.mark.parametrize("prefer_grpc", [False, True], ids=["rest", "grpc"])
    async def test_another_name_in_the_certificate(
        self, start_qdrant, open_database, authority, credentials, prefer_grpc
    ):
        certificate = authority.issue("server", dns_names=("qdrant.example",))
        server = start_qdrant(tls=QdrantTls(authority, certificate))

        database = open_database(server, credentials, **tls_of(server_name="qdrant.example"), prefer_grpc=prefer_grpc)

        await database.check()
        await database.create_collection("zoo", COLLECTION)
        await database.upsert("zoo", [POINT])

    async def test_verification_can_be_skipped_and_writes_go_over_rest_then(
        self, start_qdrant, open_database, authority
    ):
        server = start_qdrant(tls=QdrantTls(authority, authority.issue("server")))
        database = open_database(server, **tls_of(insecure_skip_verify=True), prefer_grpc=True)

        await database.check()
        await database.create_collection("zoo", COLLECTION)
        await database.upsert("zoo", [POINT])

        assert server.telemetry_writes_by_endpoint().keys() == {
            "PUT /collections/{name}",
            "PUT /collections/{name}/points",
        }

    @pytest.mark.parametrize("prefer_grpc", [False, True], ids=["rest", "grpc"])
    async def test_a_client_certificate(self, start_qdrant, open_database, authority, credentials, prefer_grpc):
        tls = QdrantTls(authority, authority.issue("server"), clients_need_a_certificate=True)
        server = start_qdrant(tls=tls)
        own = authority.issue("operator")
        pair = (own.certificate.read_bytes(), own.key.read_bytes())

        database = open_database(
            server, Credentials(ca=credentials.ca, client_certificate=pair), prefer_grpc=prefer_grpc
        )
        await database.check()
        await database.create_collection("zoo", COLLECTION)
        await database.upsert("zoo", [POINT])
        without = open_database(server, credentials, prefer_grpc=prefer_grpc)
        kind, reason, message = await reason_of(without)

        assert (kind, reason) == (Transient, Reason.CERTIFICATE_INVALID)
        assert "spec.tls.clientCertificateSecretRef" in message

    async def test_http_to_a_tls_port_and_https_to_a_plain_one(
        self, start_qdrant, open_database, authority, credentials
    ):
        plain = start_qdrant()
        secure = start_qdrant(tls=QdrantTls(authority, authority.issue("server")))

        plainly = await reason_of(open_database(url=secure.url.replace("https", "http")))
        securely = await reason_of(open_database(plain, credentials, url=plain.url.replace("http", "https")))

        assert plainly[:2] == securely[:2] == (Transient, Reason.NOT_QDRANT)
        assert "use https://" in plainly[2]
        assert "use http://" in securely[2]


async def eventually(action: Callable[[], Any]) -> Any:
    """Until it does not raise Transient; the test's own time limit ends it."""
    while True:
        try:
            return await action()
        except Transient:
            await asyncio.sleep(0.05)
