"""Requests to the servers that resources name: where they may go, and that they go nowhere else.

Whoever may write a collection chooses a `baseURL`, and the operator calls it from inside the cluster. `Outbound` is the
transport under every client of a hosted embedder: it looks a name up itself, refuses what must not be called, and
connects to the very address that it has looked at, so that a second answer of the name server changes nothing.

Loopback and private addresses are allowed: embedding servers in the cluster have no others.

Proxies (`HTTPS_PROXY`) and `.netrc` of the environment are not used. A proxy would look the name up anew, behind our
back, and a `.netrc` holds credentials that the resource's author was not given. Where the only way out is a proxy, run
a gateway in the cluster and name it as `baseURL`. `SSL_CERT_FILE` and `SSL_CERT_DIR` do count.
"""

from __future__ import annotations

import asyncio
import functools
import ipaddress
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterator, Sequence
from fnmatch import fnmatchcase
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final

import httpx

from vectorops.api.reasons import Reason
from vectorops.errors import Terminal

Address = IPv4Address | IPv6Address
LookUp = Callable[[str, int], Awaitable[Sequence[str]]]
"""The addresses of a host, given its name and the port. Raises OSError."""

REFUSED: Final[tuple[tuple[IPv4Network | IPv6Network, str], ...]] = tuple(
    (ipaddress.ip_network(network), what)
    for network, what in (
        ("169.254.0.0/16", "link-local, as the metadata of clouds"),
        ("fe80::/10", "link-local"),
        ("fd00:ec2::254/128", "the metadata of a cloud"),
        ("fd20:ce::254/128", "the metadata of a cloud"),
        ("100.100.100.200/32", "the metadata of a cloud"),
        ("192.0.0.192/32", "the metadata of a cloud"),
        ("0.0.0.0/8", "no address of a server"),
        ("::/128", "no address of a server"),
        ("224.0.0.0/4", "multicast"),
        ("ff00::/8", "multicast"),
        ("255.255.255.255/32", "broadcast"),
    )
)

TRANSLATED: Final = (IPv6Network("64:ff9b::/96"), IPv6Network("::/96"))
"""IPv6 addresses whose last 32 bits are the IPv4 address that is meant (NAT64, and the old compatible form)."""


def check_allowed(host: str, allowed_hosts: Sequence[str]) -> None:
    """Raises Terminal ModelRefused for a host that none of the patterns matches. No pattern: every host is allowed."""
    name = host.lower().rstrip(".")
    if allowed_hosts and not any(fnmatchcase(name, pattern.lower()) for pattern in allowed_hosts):
        raise Terminal(
            Reason.MODEL_REFUSED,
            f"the host {name} is none of those that this operator may call: use one that is, or start it with "
            f"--allowed-host {name}",
        )


def refusal(address: Address) -> str | None:
    """Why an address is never called; None if it may be."""
    for form in _forms(address):
        for network, what in REFUSED:
            if form.version == network.version and form in network:
                return what
    return None


class Outbound(httpx.AsyncBaseTransport):
    """See the module.

    connect: makes what talks to addresses. look_up: in place of the system's.
    Raises Terminal ModelRefused; else what httpx raises.
    """

    def __init__(
        self,
        allowed_hosts: Sequence[str] = (),
        *,
        connect: Callable[[], httpx.AsyncBaseTransport] | None = None,
        look_up: LookUp | None = None,
    ) -> None:
        self._allowed_hosts = tuple(allowed_hosts)
        self._connect = connect or _connect
        # One for each host: a connection is kept open under its address, and its certificate was checked for one name.
        self._transports: dict[str, httpx.AsyncBaseTransport] = {}
        self._look_up = look_up or _system_look_up

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        host = request.url.host
        check_allowed(host, self._allowed_hosts)
        port = request.url.port or (443 if request.url.scheme == "https" else 80)
        *others, last = await self._addresses(host, port)
        if host not in self._transports:
            self._transports[host] = self._connect()
        transport = self._transports[host]
        for address in others:
            try:
                return await transport.handle_async_request(_sent_to(request, address))
            except (httpx.ConnectError, httpx.ConnectTimeout):
                continue
        return await transport.handle_async_request(_sent_to(request, last))

    async def aclose(self) -> None:
        for transport in self._transports.values():
            await transport.aclose()

    async def _addresses(self, host: str, port: int) -> list[str]:
        try:
            found = list(dict.fromkeys(await self._look_up(host, port)))
        except (OSError, UnicodeError) as error:
            raise httpx.ConnectError(f"the name {host} does not resolve") from error
        if not found:
            raise httpx.ConnectError(f"the name {host} has no address")
        for address in found:
            if why := refusal(ipaddress.ip_address(address)):
                raise Terminal(
                    Reason.MODEL_REFUSED,
                    f"the host {host} leads to {address} ({why}), which is never called: name another server",
                )
        return found


def _sent_to(request: httpx.Request, address: str) -> httpx.Request:
    """The same request, to an address. Its header Host, and what the certificate must say, stay the name's."""
    return httpx.Request(
        request.method,
        request.url.copy_with(host=address),
        headers=request.headers,
        stream=request.stream,
        extensions=request.extensions | {"sni_hostname": request.url.host},
    )


def _connect() -> httpx.AsyncBaseTransport:
    return httpx.AsyncHTTPTransport(verify=_trusted(), trust_env=False)


async def _system_look_up(host: str, port: int) -> Sequence[str]:
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]


def _forms(address: Address) -> Iterator[Address]:
    """An address, and the IPv4 address that an IPv6 one stands for."""
    yield address
    if isinstance(address, IPv6Address):
        for meant in (address.ipv4_mapped, address.sixtofour):
            if meant is not None:
                yield meant
        # ::1 is the loopback, and no 0.0.0.1.
        if not address.is_loopback and any(address in network for network in TRANSLATED):
            yield IPv4Address(int(address) & 0xFFFFFFFF)


@functools.cache
def _trusted() -> ssl.SSLContext:
    """Certificates that are trusted; read once, which takes longer than a request."""
    return httpx.create_ssl_context(trust_env=True)
