"""Requests to servers that resources name: they go to allowed addresses only.

Everyone who may write a resource may choose the servers in it (`baseURL` of an embedder, the URLs of a source, the URL
of a connection), and the operator calls them from inside the cluster.
`Outbound` is the transport below every client of such a server. It resolves the host name itself, refuses forbidden
addresses, and connects to the address that it has checked, so that a second DNS answer cannot change the target.

Loopback and private addresses are allowed: servers in the cluster have no others.

Proxies (`HTTPS_PROXY`) and `.netrc` of the environment are not used. A proxy would resolve the name again, without our
check, and a `.netrc` holds credentials that the resource's author does not have. If a proxy is the only way out, run a
gateway in the cluster and name that in the resource. `SSL_CERT_FILE` and `SSL_CERT_DIR` are used.
"""

from __future__ import annotations

import asyncio
import functools
import ipaddress
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final

import httpx

from vectorops.api.reasons import Reason
from vectorops.errors import Terminal

Address = IPv4Address | IPv6Address
LookUp = Callable[[str, int], Awaitable[Sequence[str]]]
"""Resolves a host name, with the port, to addresses. Raises OSError."""

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
"""IPv6 networks whose addresses end in the IPv4 address that is meant (NAT64, and the old compatible form)."""


@dataclass(frozen=True, slots=True)
class AllowedHosts:
    """The hosts that resources may name for one purpose, and what a refusal says."""

    patterns: tuple[str, ...]
    """As of `fnmatch`, in any case. None of them: every host is allowed."""
    reason: Reason
    """Of a refusal."""
    flag: str
    """The flag of the operator that adds a pattern, such as `--allowed-host`."""

    def check(self, host: str) -> None:
        """Raises Terminal for a host that none of the patterns matches."""
        name = host.lower().rstrip(".")
        if self.patterns and not any(fnmatchcase(name, pattern.lower()) for pattern in self.patterns):
            raise Terminal(
                self.reason,
                f"the host {name} is not allowed by this operator: use an allowed one, or start the operator with "
                f"{self.flag} {name}",
            )

    async def resolve(self, host: str, port: int, look_up: LookUp | None = None) -> list[str]:
        """The addresses of a host, each once, in the order in which they are to be tried; at least one.

        look_up: replaces the system's resolver. Raises Terminal for a host that is not allowed, or that has a forbidden
        address; OSError if the name does not resolve.
        """
        self.check(host)
        try:
            found = list(dict.fromkeys(await (look_up or _resolve_host)(host, port)))
        except UnicodeError as error:
            raise OSError(f"the name {host} is no host name") from error
        if not found:
            raise OSError(f"the name {host} has no address")
        for address in found:
            if why := refusal(ipaddress.ip_address(address)):
                raise Terminal(
                    self.reason,
                    f"the host {host} resolves to {address} ({why}), which is forbidden: use another server",
                )
        return found


def refusal(address: Address) -> str | None:
    """Why an address is forbidden; None if it is allowed."""
    for form in _meant_addresses(address):
        for network, what in REFUSED:
            if form.version == network.version and form in network:
                return what
    return None


class Outbound(httpx.AsyncBaseTransport):
    """See the module.

    connect: makes the transport to an address. look_up: replaces the system's resolver. remember_seconds: how long the
    checked addresses of a host are used without another look-up, unless none of them can be connected to.
    Raises Terminal with the reason of `allowed`; else what httpx raises.
    """

    def __init__(
        self,
        allowed: AllowedHosts,
        *,
        connect: Callable[[], httpx.AsyncBaseTransport] | None = None,
        look_up: LookUp | None = None,
        remember_seconds: float = 0.0,
    ) -> None:
        self._allowed = allowed
        self._connect = connect or _connect
        # One for each host: connections are pooled by address, and their certificates were checked for one name.
        self._transports: dict[str, httpx.AsyncBaseTransport] = {}
        self._look_up = look_up
        self._remember_seconds = remember_seconds
        self._resolved: dict[tuple[str, int], tuple[list[str], float]] = {}
        self._answering: dict[tuple[str, int], str] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        host = request.url.host
        port = request.url.port or (443 if request.url.scheme == "https" else 80)
        addresses = await self._addresses(host, port, request.extensions.get("timeout", {}).get("connect"))
        if host not in self._transports:
            self._transports[host] = self._connect()
        transport = self._transports[host]
        # The one that answered last comes first: one that never answers would cost each request its time to connect.
        *others, last = sorted(addresses, key=lambda address: address != self._answering.get((host, port)))
        for address in others:
            try:
                answer = await transport.handle_async_request(_readdressed(request, address))
            except (httpx.ConnectError, httpx.ConnectTimeout):
                continue
            self._answering[host, port] = address
            return answer
        try:
            answer = await transport.handle_async_request(_readdressed(request, last))
        except (httpx.ConnectError, httpx.ConnectTimeout):
            self._resolved.pop((host, port), None)
            raise
        self._answering[host, port] = last
        return answer

    async def aclose(self) -> None:
        for transport in self._transports.values():
            await transport.aclose()

    async def _addresses(self, host: str, port: int, timeout_seconds: float | None) -> list[str]:
        now = asyncio.get_running_loop().time()
        addresses, until = self._resolved.get((host, port), ([], 0.0))
        if now < until:
            return addresses
        try:
            async with asyncio.timeout(timeout_seconds):
                addresses = await self._allowed.resolve(host, port, self._look_up)
        except TimeoutError as error:
            raise httpx.ConnectTimeout(f"the name {host} was not resolved in time") from error
        except OSError as error:
            raise httpx.ConnectError(f"the name {host} does not resolve") from error
        self._resolved[host, port] = addresses, now + self._remember_seconds
        return addresses


def _readdressed(request: httpx.Request, address: str) -> httpx.Request:
    """The same request, to an address. Its header Host and the expected name in the certificate stay the same."""
    # A client that expects another name in the certificate has said so.
    return httpx.Request(
        request.method,
        request.url.copy_with(host=address),
        headers=request.headers,
        stream=request.stream,
        extensions={"sni_hostname": request.url.host} | request.extensions,
    )


def _connect() -> httpx.AsyncBaseTransport:
    return httpx.AsyncHTTPTransport(verify=_trusted_certificates(), trust_env=False)


async def _resolve_host(host: str, port: int) -> Sequence[str]:
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]


def _meant_addresses(address: Address) -> Iterator[Address]:
    """The address itself, and the IPv4 address that an IPv6 address stands for."""
    yield address
    if isinstance(address, IPv6Address):
        for meant in (address.ipv4_mapped, address.sixtofour):
            if meant is not None:
                yield meant
        # ::1 is the loopback, not 0.0.0.1.
        if not address.is_loopback and any(address in network for network in TRANSLATED):
            yield IPv4Address(int(address) & 0xFFFFFFFF)


@functools.cache
def _trusted_certificates() -> ssl.SSLContext:
    """Read once: reading them takes longer than a request."""
    return httpx.create_ssl_context(trust_env=True)
