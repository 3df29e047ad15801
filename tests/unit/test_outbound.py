"""Where requests may go: by name, and by the addresses that the name leads to."""

import asyncio
import ssl
from ipaddress import ip_address

import httpx
import pytest

from servers.certificates import CertificateAuthority
from servers.embeddings import EmbeddingServer
from vectorops.api.reasons import Reason
from vectorops.errors import Terminal
from vectorops.outbound import AllowedHosts, Outbound, refusal

BODY = {"input": ["a"], "model": "m"}


def allow(*patterns: str) -> AllowedHosts:
    return AllowedHosts(patterns, Reason.SOURCE_REFUSED, "--allowed-source-host")


class Recorder(httpx.AsyncBaseTransport):
    """Stands for the network. deaf: addresses where nothing listens."""

    def __init__(self, deaf: tuple[str, ...] = ()) -> None:
        self.deaf = deaf
        self.requests: list[httpx.Request] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        if request.url.host in self.deaf:
            raise httpx.ConnectError("refused")
        return httpx.Response(200)


def client(
    *addresses: str, deaf: tuple[str, ...] = (), allowed: tuple[str, ...] = ()
) -> tuple[httpx.AsyncClient, Recorder]:
    async def look_up(host: str, port: int) -> list[str]:
        return list(addresses)

    recorder = Recorder(deaf)
    return httpx.AsyncClient(transport=Outbound(allow(*allowed), connect=lambda: recorder, look_up=look_up)), recorder


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254",
        "169.254.0.1",
        "fe80::1",
        "fe80::1%eth0",
        "fd00:ec2::254",
        "::ffff:169.254.169.254",
        "::ffff:a9fe:a9fe",
        "64:ff9b::a9fe:a9fe",
        "2002:a9fe:a9fe::1",
        "::a9fe:a9fe",
        "100.100.100.200",
        "0.0.0.0",
        "::",
        "224.0.0.1",
        "ff02::1",
        "255.255.255.255",
    ],
)
async def test_a_name_that_leads_to_metadata_or_to_no_server_is_refused(address):
    calling, recorder = client("10.0.0.1", address)

    async with calling:
        with pytest.raises(Terminal) as told:
            await calling.post("https://models.example/v1/embeddings", json=BODY)

    assert told.value.reason is Reason.SOURCE_REFUSED
    assert "models.example" in told.value.message
    assert recorder.requests == []


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "::1", "10.1.2.3", "192.168.1.1", "fd12::1", "1.1.1.1", "2606:4700::1"]
)
def test_servers_in_the_cluster_and_outside_may_be_called(address):
    assert refusal(ip_address(address)) is None


@pytest.mark.parametrize("host", ["169.254.169.254", "[fe80::1]", "2852039166", "[::ffff:169.254.169.254]"])
async def test_an_address_in_place_of_a_name_is_looked_at_too(host):
    """The third is 169.254.169.254 as one number, which the system understands."""
    async with httpx.AsyncClient(transport=Outbound(allow())) as calling:
        with pytest.raises(Terminal) as told:
            await calling.post(f"http://{host}/latest/meta-data", json=BODY)

    assert told.value.reason is Reason.SOURCE_REFUSED


async def test_the_address_that_was_looked_at_is_the_one_that_is_called():
    calling, recorder = client("10.0.0.7")

    async with calling:
        await calling.post("https://models.example:8443/v1/embeddings", json=BODY)

    (request,) = recorder.requests
    assert str(request.url) == "https://10.0.0.7:8443/v1/embeddings"
    assert request.headers["Host"] == "models.example:8443"
    assert request.extensions["sni_hostname"] == "models.example"


async def test_the_next_address_is_tried_where_nothing_listens():
    calling, recorder = client("fd12::1", "10.0.0.7", deaf=("fd12::1",))

    async with calling:
        answer = await calling.post("http://models.example/v1", json=BODY)

    assert answer.status_code == 200
    assert [request.url.host for request in recorder.requests] == ["fd12::1", "10.0.0.7"]


async def test_where_nothing_listens_anywhere_is_an_error_of_the_connection():
    calling, _ = client("fd12::1", "10.0.0.7", deaf=("fd12::1", "10.0.0.7"))

    async with calling:
        with pytest.raises(httpx.ConnectError):
            await calling.post("http://models.example/v1", json=BODY)


async def test_a_name_without_an_address_is_an_error_of_the_connection():
    calling, _ = client()

    async with calling:
        with pytest.raises(httpx.ConnectError, match=r"models\.example"):
            await calling.post("http://models.example/v1", json=BODY)


@pytest.mark.parametrize("pattern", ["*.openai.com", "API.OPENAI.COM", "api.openai.com"])
@pytest.mark.parametrize("host", ["api.openai.com", "API.OpenAI.com", "api.openai.com."])
def test_patterns_and_hosts_match_in_any_case(pattern, host):
    allow(pattern).check(host)


@pytest.mark.parametrize("host", ["api.openai.com.evil.example", "evil-openai.com", "openai.com", "127.0.0.1"])
def test_other_hosts_are_refused_with_the_flag_to_set(host):
    with pytest.raises(Terminal) as told:
        allow("*.openai.com").check(host)

    assert told.value.reason is Reason.SOURCE_REFUSED
    assert f"--allowed-source-host {host}" in told.value.message


class Resolver:
    """A resolver whose answers change: each look-up takes the next, and the last for ever."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked = 0

    async def __call__(self, host: str, port: int) -> list[str]:
        self.asked += 1
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


async def test_a_client_may_use_the_addresses_that_were_looked_at_for_a_while():
    resolver, recorder = Resolver(["10.0.0.1"], ["169.254.169.254"]), Recorder()
    outbound = Outbound(allow(), connect=lambda: recorder, look_up=resolver, remember_seconds=3600)

    async with httpx.AsyncClient(transport=outbound) as calling:
        await calling.get("http://a.example/")
        await calling.get("http://a.example/")

    assert resolver.asked == 1
    assert [request.url.host for request in recorder.requests] == ["10.0.0.1", "10.0.0.1"]


async def test_addresses_of_which_none_answers_are_looked_up_again():
    resolver, recorder = Resolver(["10.0.0.1", "10.0.0.2"], ["10.0.0.3"]), Recorder(deaf=("10.0.0.1", "10.0.0.2"))
    outbound = Outbound(allow(), connect=lambda: recorder, look_up=resolver, remember_seconds=3600)

    async with httpx.AsyncClient(transport=outbound) as calling:
        with pytest.raises(httpx.ConnectError):
            await calling.get("http://a.example/")
        await calling.get("http://a.example/")

    assert [request.url.host for request in recorder.requests] == ["10.0.0.1", "10.0.0.2", "10.0.0.3"]


async def test_the_address_that_answered_is_tried_first():
    calling, recorder = client("10.0.0.1", "10.0.0.2", deaf=("10.0.0.1",))

    async with calling:
        await calling.get("http://a.example/")
        await calling.get("http://a.example/")

    assert [request.url.host for request in recorder.requests] == ["10.0.0.1", "10.0.0.2", "10.0.0.2"]


async def test_a_resolver_that_hangs_is_given_up_as_a_connection_would_be():
    async def look_up(host: str, port: int) -> list[str]:
        await asyncio.Event().wait()
        raise AssertionError

    async with httpx.AsyncClient(transport=Outbound(allow(), look_up=look_up), timeout=0.01) as calling:
        with pytest.raises(httpx.ConnectTimeout):
            await calling.get("http://a.example/")


async def test_a_client_may_expect_another_name_in_the_certificate():
    calling, recorder = client("10.0.0.1")

    async with calling:
        await calling.get("https://a.example/", extensions={"sni_hostname": "b.example"})
        await calling.get("https://a.example/")

    assert [request.extensions["sni_hostname"] for request in recorder.requests] == ["b.example", "a.example"]


async def test_a_host_that_is_not_allowed_is_not_even_looked_up():
    looked_up = []

    async def look_up(host: str, port: int) -> list[str]:
        looked_up.append(host)
        return ["10.0.0.1"]

    async with httpx.AsyncClient(transport=Outbound(allow("a.example"), connect=Recorder, look_up=look_up)) as calling:
        with pytest.raises(Terminal):
            await calling.post("http://b.example/", json=BODY)

    assert looked_up == []


async def test_proxies_of_the_environment_are_not_used(monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with EmbeddingServer() as server:
        async with httpx.AsyncClient(transport=Outbound(allow()), trust_env=False) as calling:
            answer = await calling.post(f"http://localhost:{server.port}/v1/embeddings", json=BODY)

        assert answer.status_code == 200
        assert server.requests[0].headers["Host"] == f"localhost:{server.port}"


async def test_a_certificate_is_held_to_the_name_and_not_to_the_address(tmp_path):
    authority = CertificateAuthority(tmp_path)
    issued = authority.issue("server", dns_names=("models.example",))
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(issued.certificate, issued.key)
    names = []
    serving.sni_callback = lambda _, name, __: names.append(name)
    trusting = ssl.create_default_context(cafile=str(authority.certificate))

    async def look_up(host: str, port: int) -> list[str]:
        return ["127.0.0.1"]

    outbound = Outbound(allow(), connect=lambda: httpx.AsyncHTTPTransport(verify=trusting), look_up=look_up)
    with EmbeddingServer() as server:
        server._server.socket = serving.wrap_socket(server._server.socket, server_side=True)
        async with httpx.AsyncClient(transport=outbound) as calling:
            answer = await calling.post(f"https://models.example:{server.port}/v1/embeddings", json=BODY)
            with pytest.raises(httpx.ConnectError, match="certificate"):
                await calling.post(f"https://other.example:{server.port}/v1/embeddings", json=BODY)

    assert answer.status_code == 200
    assert names == ["models.example", "other.example"]
    assert len(server.requests) == 1
