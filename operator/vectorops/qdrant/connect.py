"""From a connection's spec and its Secrets to a client: URL, timeouts, API key and TLS, for REST and gRPC.

No request is sent here: `Database.check` reports a wrong address. A wrong PEM is reported here. No proxy, no .netrc and
no other credentials of the process are used: a server that a tenant names gets only the key that the tenant names.
Both clients resolve names through the guard of `outbound`, and connect to the addresses that it has checked.
"""

from __future__ import annotations

import os
import ssl
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import IO, Final, NamedTuple
from urllib.parse import SplitResult, urlsplit

import httpx

from vectorops.api.connection import ConnectionTLS, QdrantConnectionSpec
from vectorops.api.reasons import Reason
from vectorops.errors import Terminal
from vectorops.outbound import AllowedHosts, Outbound
from vectorops.qdrant.database import Database, ServerInfo
from vectorops.qdrant.rest import Rest
from vectorops.qdrant.server import Server
from vectorops.qdrant.traffic import Admit, Observer, Traffic

MINIMUM_VERSION: Final = (1, 16)
"""The first version with metadata of collections, where the marks are, and with `update_filter`."""

DEFAULT_PORT: Final = 6333
"""Also for https, as in Qdrant's own clients."""
CONNECT_SECONDS: Final = 10.0
KEEPALIVE_SECONDS: Final = 3.0
"""Qdrant closes connections that were idle for 5 s: a request at that moment would have an unknown outcome."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """The content of the connection's Secrets. Its repr shows none of it."""

    api_key: str | None = field(default=None, repr=False)
    ca: bytes | None = field(default=None, repr=False)
    """PEM."""
    client_certificate: tuple[bytes, bytes] | None = field(default=None, repr=False)
    """Certificate and key, each PEM."""


class _Address(NamedTuple):
    scheme: str
    host: str
    port: int
    path: str

    @property
    def endpoint(self) -> str:
        return f"{self.scheme}://{_bracketed(self.host)}:{self.port}"


def connect(
    spec: QdrantConnectionSpec,
    credentials: Credentials,
    *,
    observer: Observer | None = None,
    admit: Admit | None = None,
    allowed_hosts: Sequence[str] = (),
) -> Database:
    """A client of this server. Raises Terminal (InvalidURL, SecretInvalid, NotAllowed).

    allowed_hosts: patterns of `--allowed-connection-host`; none allows every host. Link-local addresses are refused in
    any case, when the client connects.
    """
    address = _parse_url(spec.url)
    allowed = AllowedHosts(tuple(allowed_hosts), Reason.NOT_ALLOWED, "--allowed-connection-host")
    allowed.check(address.host)
    tls = spec.tls or ConnectionTLS()
    context = _tls_context(tls, credentials) if address.scheme == "https" else None
    key = credentials.api_key
    if key is not None and not (key.isascii() and key.isprintable() and key):
        # The libraries would quote it in their error.
        raise Terminal(Reason.SECRET_INVALID, "spec.apiKeySecretRef: the key is not printable ASCII text")
    timeout = float(spec.effective_timeout_seconds)

    def new_transport() -> httpx.AsyncHTTPTransport:
        return httpx.AsyncHTTPTransport(
            verify=context if context is not None else False,
            limits=httpx.Limits(max_connections=20, keepalive_expiry=KEEPALIVE_SECONDS),
            trust_env=False,
        )

    client = httpx.AsyncClient(
        base_url=f"{address.endpoint}{address.path}",
        headers={"accept-encoding": "identity", "content-type": "application/json"} | ({"api-key": key} if key else {}),
        timeout=httpx.Timeout(timeout, connect=min(CONNECT_SECONDS, timeout)),
        # A name is resolved as often as a connection is made, not for each request.
        transport=Outbound(allowed, connect=new_transport, remember_seconds=KEEPALIVE_SECONDS),
        trust_env=False,
    )
    traffic = Traffic(f"{_bracketed(address.host)}:{address.port}", observer, admit)
    rest = Rest(client, address.endpoint, traffic, sni=tls.server_name)
    # grpc for Python cannot skip the verification, so everything is then written over REST.
    if not spec.effective_prefer_grpc or (context is not None and tls.insecure_skip_verify):
        return Server(rest, address.endpoint, traffic)
    # Imported here because it imports all of qdrant-client.
    from vectorops.qdrant.grpc_points import GrpcPoints, Tls

    grpc = GrpcPoints(
        address.host,
        spec.effective_grpc_port,
        traffic,
        allowed=allowed,
        api_key=key,
        timeout_seconds=timeout,
        tls=None
        if context is None
        else Tls(_root_certificates(context, credentials), credentials.client_certificate, tls.server_name),
    )
    return Server(rest, address.endpoint, traffic, grpc=grpc)


def require_supported(info: ServerInfo) -> None:
    """Raises Terminal UnsupportedVersion."""
    numbers = info.version.split("-")[0].split(".")[:2]
    if not all(number.isdecimal() for number in numbers):
        # A custom build; its requests show which features it has.
        return
    if tuple(int(number) for number in numbers) < MINIMUM_VERSION:
        oldest = ".".join(str(number) for number in MINIMUM_VERSION)
        raise Terminal(
            Reason.UNSUPPORTED_VERSION, f"Qdrant {info.version} is older than {oldest}, the oldest supported"
        )


def _parse_url(url: str) -> _Address:
    try:
        parts: SplitResult = urlsplit(url)
        port = parts.port
    except ValueError:
        raise Terminal(Reason.INVALID_URL, "spec.url: the port is not a number from 1 to 65535") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
        raise Terminal(Reason.INVALID_URL, "spec.url: not of the form https://host:port/path")
    return _Address(parts.scheme, parts.hostname, port or DEFAULT_PORT, parts.path.rstrip("/"))


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _tls_context(tls: ConnectionTLS, credentials: Credentials) -> ssl.SSLContext:
    context = ssl.create_default_context() if credentials.ca is None else _context_with_ca(credentials.ca)
    if credentials.client_certificate is not None:
        _load_client_certificate(context, *credentials.client_certificate)
    if tls.insecure_skip_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _context_with_ca(ca: bytes) -> ssl.SSLContext:
    try:
        # An empty text would select the system's authorities.
        return ssl.create_default_context(cadata=ca.decode("ascii").strip() or "none")
    except (ssl.SSLError, ValueError):
        raise Terminal(
            Reason.SECRET_INVALID, "spec.tls.caSecretRef: the value is not one or more certificates in PEM form"
        ) from None


def _load_client_certificate(context: ssl.SSLContext, certificate: bytes, key: bytes) -> None:
    try:
        # Python's ssl reads them from files only. These have no name, and on Linux they are in memory.
        with _open_unnamed(certificate) as certificate_file, _open_unnamed(key) as key_file:
            # The empty password prevents a prompt: an encrypted key is refused like one that does not match.
            context.load_cert_chain(_path_of(certificate_file), _path_of(key_file), password="")
    except (ssl.SSLError, ValueError):
        raise Terminal(
            Reason.SECRET_INVALID,
            "spec.tls.clientCertificateSecretRef: not a certificate and its unencrypted key, in PEM form",
        ) from None


def _open_unnamed(content: bytes) -> IO[bytes]:
    file = tempfile.TemporaryFile(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None)  # noqa: S108, SIM115
    file.write(content)
    file.seek(0)
    return file


def _path_of(file: IO[bytes]) -> str:
    return f"/dev/fd/{file.fileno()}"


def _root_certificates(context: ssl.SSLContext, credentials: Credentials) -> bytes | None:
    """The same authorities for gRPC, which would use its own list; None if the system has one file for each."""
    if credentials.ca is not None:
        return credentials.ca
    return "".join(map(ssl.DER_cert_to_PEM_cert, context.get_ca_certs(binary_form=True))).encode() or None
