"""gRPC connects to the addresses that were looked at, and to no others. Real gRPC servers on loopback addresses."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import pytest

from servers.certificates import CertificateAuthority
from servers.process import free_port
from vectorops.api.reasons import Reason
from vectorops.errors import Terminal, Transient
from vectorops.outbound import AllowedHosts
from vectorops.qdrant.checked_channel import CheckedChannel, target_of

CONNECTION = AllowedHosts((), Reason.NOT_ALLOWED, "--allowed-connection-host")


class Names:
    """What the resolver says, until a test changes it."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = addresses
        self.asked = 0

    async def __call__(self, host: str, port: int) -> list[str]:
        self.asked += 1
        if not self.addresses:
            raise OSError("no such name")
        return list(self.addresses)


def channel(port: int, names: Names, **given) -> CheckedChannel:
    return CheckedChannel("qdrant.example", port, CONNECTION, look_up=names, **given)


@asynccontextmanager
async def serving(name: str, *addresses: str, credentials: grpc.ServerCredentials | None = None) -> AsyncIterator[None]:
    """A server that answers with its name."""

    async def answer(request: bytes, context: object) -> bytes:
        return name.encode()

    handler = grpc.unary_unary_rpc_method_handler(answer)
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test", {"Name": handler}),))
    for address in addresses:
        if credentials is None:
            server.add_insecure_port(address)
        else:
            server.add_secure_port(address, credentials)
    await server.start()
    try:
        yield
    finally:
        await server.stop(0)


async def ask(channel: CheckedChannel) -> str:
    answer: bytes = await channel.unary_unary("/test/Name")(b"", timeout=5)
    return answer.decode()


async def wait_for_answer(channel: CheckedChannel, answer: str) -> None:
    """Asks until the server of this name answers: the end of a connection is noticed a moment later."""
    async with asyncio.timeout(30):
        while True:
            try:
                if await ask(channel) == answer:
                    return
            except grpc.aio.AioRpcError:
                await asyncio.sleep(0.02)


@pytest.mark.parametrize("address", ["169.254.169.254", "fe80::1", "::ffff:169.254.169.254", "0.0.0.0"])
async def test_a_name_that_leads_to_a_link_local_address_is_refused_before_anything_is_sent(address):
    port = free_port()
    async with serving("qdrant", f"127.0.0.1:{port}"):
        calling = channel(port, Names("127.0.0.1", address))

        with pytest.raises(Terminal) as refused:
            await ask(calling)
        await calling.close()

    assert refused.value.reason is Reason.NOT_ALLOWED
    assert address in refused.value.message


async def test_a_second_answer_of_the_resolver_does_not_move_an_open_channel():
    port = free_port()
    async with serving("qdrant", f"127.0.0.1:{port}"), serving("other", f"127.0.0.2:{port}"):
        names = Names("127.0.0.1")
        calling = channel(port, names)
        assert await ask(calling) == "qdrant"
        names.addresses = ("169.254.169.254",)

        assert await ask(calling) == "qdrant"
        assert names.asked == 1
        await calling.close()


async def test_a_server_that_moved_to_another_address_is_found_there():
    port = free_port()
    names = Names("127.0.0.1")
    calling = channel(port, names)
    async with serving("old", f"127.0.0.1:{port}"):
        assert await ask(calling) == "old"
    names.addresses = ("127.0.0.2",)

    async with serving("new", f"127.0.0.2:{port}"):
        await wait_for_answer(calling, "new")
    await calling.close()


async def test_a_server_that_moved_to_a_link_local_address_is_refused_there():
    port = free_port()
    names = Names("127.0.0.1")
    calling = channel(port, names)
    async with serving("old", f"127.0.0.1:{port}"):
        assert await ask(calling) == "old"
    names.addresses = ("169.254.169.254",)

    with pytest.raises(Terminal):
        await wait_for_answer(calling, "new")
    await calling.close()


async def test_a_server_that_is_back_at_its_address_is_found_again():
    port = free_port()
    calling = channel(port, Names("127.0.0.1"))
    async with serving("before", f"127.0.0.1:{port}"):
        assert await ask(calling) == "before"

    async with serving("after", f"127.0.0.1:{port}"):
        await wait_for_answer(calling, "after")
    await calling.close()


@pytest.mark.parametrize("served", ["127.0.0.1", "127.0.0.2", "[::1]"])
async def test_of_several_addresses_of_both_families_the_one_that_answers_is_used(served):
    port = free_port()
    async with serving("qdrant", f"{served}:{port}"):
        calling = channel(port, Names("127.0.0.1", "::1", "127.0.0.2"))

        assert await ask(calling) == "qdrant"
        await calling.close()


async def test_a_name_that_does_not_resolve_is_said_and_tried_again():
    port = free_port()
    names = Names()
    calling = channel(port, names)
    with pytest.raises(Transient) as failed:
        await ask(calling)
    assert failed.value.reason is Reason.UNREACHABLE
    assert failed.value.message == f"gRPC qdrant.example:{port}: the host name does not resolve"
    names.addresses = ("127.0.0.1",)

    async with serving("qdrant", f"127.0.0.1:{port}"):
        assert await ask(calling) == "qdrant"
    await calling.close()


@pytest.mark.parametrize(
    ("host", "tls_name", "accepted"),
    [
        ("localhost", None, True),
        ("127.0.0.1", None, True),
        ("qdrant.example", None, False),
        ("qdrant.example", "localhost", True),
        ("localhost", "qdrant.example", False),
    ],
)
async def test_a_certificate_is_held_to_the_name_and_not_to_the_address(tmp_path, host, tls_name, accepted):
    authority = CertificateAuthority(tmp_path)
    made = authority.issue("server")
    serving_with = grpc.ssl_server_credentials([(made.key.read_bytes(), made.certificate.read_bytes())])
    trusting = grpc.ssl_channel_credentials(authority.certificate.read_bytes())
    port = free_port()
    async with serving("qdrant", f"127.0.0.1:{port}", credentials=serving_with):
        calling = CheckedChannel(
            host, port, CONNECTION, look_up=Names("127.0.0.1"), credentials=trusting, tls_name=tls_name
        )
        if accepted:
            assert await ask(calling) == "qdrant"
        else:
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await ask(calling)
            # As grpcio says it today, and as 1.66 did.
            words = ("Hostname Verification Check failed", "is not in peer certificate")
            assert any(some in str(refused.value.details()) for some in words)
        await calling.close()


def test_addresses_of_two_families_are_written_as_one():
    assert target_of(["10.0.0.2", "10.0.0.1"], 6334) == "ipv4:10.0.0.2:6334,10.0.0.1:6334"
    assert target_of(["fd00::1"], 6334) == "ipv6:[fd00::1]:6334"
    assert target_of(["fd00::1", "10.0.0.1"], 6334) == "ipv6:[fd00::1]:6334,[::ffff:10.0.0.1]:6334"
