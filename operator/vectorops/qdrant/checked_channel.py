"""A gRPC channel that connects to checked addresses only.

gRPC resolves names itself, whenever it reconnects, and nobody could look at the answer. So the name is resolved here,
through the guard of `outbound`, and gRPC gets the addresses. It would then never learn of others: before each call on
a channel that is not connected the name is resolved again, and other addresses make another channel.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from ipaddress import IPv6Address, ip_address
from typing import Any, Final

import grpc

from vectorops.api.reasons import Reason
from vectorops.errors import Transient
from vectorops.outbound import AllowedHosts, LookUp

LOOK_UP_SECONDS: Final = 10.0
GRACE_SECONDS: Final = 60.0
"""How long calls on a channel that was replaced may go on."""


class CheckedChannel:
    """As much of `grpc.aio.Channel` as the stubs of Qdrant use. Opened at the first call, inside the running loop.

    credentials: of TLS; None for plain text. tls_name: to expect in the certificate, if not the host.
    """

    def __init__(
        self,
        host: str,
        port: int,
        allowed: AllowedHosts,
        *,
        options: Sequence[tuple[str, Any]] = (),
        credentials: grpc.ChannelCredentials | None = None,
        tls_name: str | None = None,
        look_up: LookUp | None = None,
    ) -> None:
        self._host = host
        self._port = port
        self._allowed = allowed
        self._options = (*options, ("grpc.default_authority", tls_name or authority(host, port)))
        self._credentials = credentials
        self._tls_name = tls_name or host
        self._look_up = look_up
        self._open: grpc.aio.Channel | None = None
        self._addresses: frozenset[str] = frozenset()
        self._replacing = asyncio.Lock()
        self._ending: set[asyncio.Task[None]] = set()

    def unary_unary(
        self,
        method: str,
        request_serializer: Callable[[Any], bytes] | None = None,
        response_deserializer: Callable[[bytes], Any] | None = None,
        **registered: Any,
    ) -> Callable[..., Any]:
        """The method as a coroutine function. It raises what the call raises, Terminal for a forbidden address, and
        Transient Unreachable if the name does not resolve.
        """

        async def call(request: Any, **options: Any) -> Any:
            channel = await self._connectable()
            return await channel.unary_unary(method, request_serializer, response_deserializer, **registered)(
                request, **options
            )

        return call

    async def close(self) -> None:
        """Closes the channel, and those before it when their calls have ended."""
        await asyncio.gather(*self._ending)
        if self._open is not None:
            await self._open.close()

    async def _connectable(self) -> grpc.aio.Channel:
        """A channel that is connected, or that leads to the addresses that the host has now."""
        if self._open is not None and self._is_connected(self._open):
            return self._open
        async with self._replacing:
            if self._open is not None and self._is_connected(self._open):
                return self._open
            addresses = await self._resolve()
            if self._open is not None and self._addresses == frozenset(addresses):
                return self._open
            if self._open is not None:
                # Others may be waiting for answers.
                ending = asyncio.create_task(self._open.close(GRACE_SECONDS))
                self._ending.add(ending)
                ending.add_done_callback(self._ending.discard)
            self._addresses = frozenset(addresses)
            self._open = self._channel_to(target_of(addresses, self._port))
            return self._open

    @staticmethod
    def _is_connected(channel: grpc.aio.Channel) -> bool:
        return channel.get_state() is grpc.ChannelConnectivity.READY

    async def _resolve(self) -> list[str]:
        try:
            async with asyncio.timeout(LOOK_UP_SECONDS):
                return await self._allowed.resolve(self._host, self._port, self._look_up)
        except OSError as error:
            where = f"gRPC {authority(self._host, self._port)}"
            raise Transient(Reason.UNREACHABLE, f"{where}: the host name does not resolve") from error

    def _channel_to(self, target: str) -> grpc.aio.Channel:
        if self._credentials is None:
            return grpc.aio.insecure_channel(target, options=self._options)
        options = (*self._options, ("grpc.ssl_target_name_override", self._tls_name))
        return grpc.aio.secure_channel(target, self._credentials, options=options)


def authority(host: str, port: int) -> str:
    """`host:port`, as in a URL."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def target_of(addresses: Sequence[str], port: int) -> str:
    """Addresses as gRPC takes them, to be tried in this order: `ipv4:10.0.0.1:6334,10.0.0.2:6334`."""
    parsed = [ip_address(address) for address in addresses]
    if all(address.version == 4 for address in parsed):
        return "ipv4:" + ",".join(f"{address}:{port}" for address in parsed)
    # One target has one family: of two, those of IPv4 are written in their IPv6 form.
    as_ipv6 = (address if isinstance(address, IPv6Address) else f"::ffff:{address}" for address in parsed)
    return "ipv6:" + ",".join(f"[{address}]:{port}" for address in as_ipv6)
