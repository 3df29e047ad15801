"""From a connection's spec and its secrets to an open door: URL, time limits, key and TLS, for REST and gRPC alike.

Called by `reconcilers.databases`. Nothing is sent here: a wrong address shows in `Database.check`, a wrong PEM here.
No proxy, no .netrc and no other credentials of the process are used: who names a server in a namespace gets only the
key that is named with it.
"""

from __future__ import annotations

import os
import ssl
import tempfile
from dataclasses import dataclass, field
from typing import IO, Final, NamedTuple
from urllib.parse import SplitResult, urlsplit

import httpx

from vectorops.api.connection import ConnectionTLS, QdrantConnectionSpec
from vectorops.api.reasons import Reason
from vectorops.errors import Terminal
from vectorops.qdrant.database import Database, ServerInfo
from vectorops.qdrant.rest import Rest
from vectorops.qdrant.server import Server
from vectorops.qdrant.traffic import Admit, Observer, Traffic

MINIMUM_VERSION: Final = (1, 16)
"""The first with metadata of collections, where the marks are, and with `update_filter`."""

DEFAULT_PORT: Final = 6333
"""Also for https, as in Qdrant's own clients."""
CONNECT_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class Credentials:
    """What the connection's Secrets hold. Its repr shows none of it.

    ca: PEM. client_certificate: certificate and key, each PEM.
    """

    api_key: str | None = field(default=None, repr=False)
    ca: bytes | None = field(default=None, repr=False)
    client_certificate: tuple[bytes, bytes] | None = field(default=None, repr=False)


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
) -> Database:
    """A door to this server. Raises Terminal (InvalidURL, SecretInvalid)."""
    address = _address(spec.url)
    tls = spec.tls or ConnectionTLS()
    context = _tls_context(tls, credentials) if address.scheme == "https" else None
    key = _api_key(credentials)
    timeout = float(spec.effective_timeout_seconds)
    client = httpx.AsyncClient(
        base_url=f"{address.endpoint}{address.path}",
        headers={"accept-encoding": "identity", "content-type": "application/json"} | ({"api-key": key} if key else {}),
        timeout=httpx.Timeout(timeout, connect=min(CONNECT_SECONDS, timeout)),
        # Qdrant closes what was idle for 5 s: a request that crosses this would be one with an unknown outcome.
        limits=httpx.Limits(max_connections=20, keepalive_expiry=3),
        verify=context if context is not None else False,
        trust_env=False,
    )
    traffic = Traffic(f"{_bracketed(address.host)}:{address.port}", observer, admit)
    rest = Rest(client, address.endpoint, traffic, sni=tls.server_name)
    # grpc for Python cannot skip the verification, so that all is written over REST then.
    if not spec.effective_prefer_grpc or (context is not None and tls.insecure_skip_verify):
        return Server(rest, address.endpoint, traffic)
    # Loaded here because it brings the whole of qdrant-client along.
    from vectorops.qdrant.grpc_points import GrpcPoints, Tls

    grpc = GrpcPoints(
        f"{_bracketed(address.host)}:{spec.effective_grpc_port}",
        traffic,
        api_key=key,
        timeout_seconds=timeout,
        tls=None
        if context is None
        else Tls(_roots(context, credentials), credentials.client_certificate, tls.server_name),
    )
    return Server(rest, address.endpoint, traffic, grpc=grpc)


def require_supported(info: ServerInfo) -> None:
    """Raises Terminal UnsupportedVersion."""
    numbers = info.version.split("-")[0].split(".")[:2]
    if not all(number.isdecimal() for number in numbers):
        # A build of someone's own; its features are seen by what they answer.
        return
    if tuple(int(number) for number in numbers) < MINIMUM_VERSION:
        oldest = ".".join(str(number) for number in MINIMUM_VERSION)
        raise Terminal(
            Reason.UNSUPPORTED_VERSION, f"Qdrant {info.version} is older than {oldest}, the oldest supported"
        )


def _address(url: str) -> _Address:
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


def _api_key(credentials: Credentials) -> str | None:
    key = credentials.api_key
    if key is not None and not (key.isascii() and key.isprintable() and key):
        # Also because the libraries would quote it in their refusal.
        raise Terminal(Reason.SECRET_INVALID, "spec.apiKeySecretRef: the key is not printable ASCII text")
    return key


def _tls_context(tls: ConnectionTLS, credentials: Credentials) -> ssl.SSLContext:
    context = ssl.create_default_context() if credentials.ca is None else _own_authorities(credentials.ca)
    if credentials.client_certificate is not None:
        _load_client_certificate(context, *credentials.client_certificate)
    if tls.insecure_skip_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _own_authorities(ca: bytes) -> ssl.SSLContext:
    try:
        # Without any certificate in it, the system's authorities would be taken.
        return ssl.create_default_context(cadata=ca.decode("ascii").strip() or "none")
    except (ssl.SSLError, ValueError):
        raise Terminal(
            Reason.SECRET_INVALID, "spec.tls.caSecretRef: the value is not one or more certificates in PEM form"
        ) from None


def _load_client_certificate(context: ssl.SSLContext, certificate: bytes, key: bytes) -> None:
    try:
        # Python's ssl reads them from files only. These have no name, and on Linux they lie in memory.
        with _nameless(certificate) as certificate_file, _nameless(key) as key_file:
            # A password is never asked for: an encrypted key is refused like one that does not fit.
            context.load_cert_chain(_path(certificate_file), _path(key_file), password="")
    except (ssl.SSLError, ValueError):
        raise Terminal(
            Reason.SECRET_INVALID,
            "spec.tls.clientCertificateSecretRef: not a certificate and its unencrypted key, in PEM form",
        ) from None


def _nameless(content: bytes) -> IO[bytes]:
    file = tempfile.TemporaryFile(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None)  # noqa: S108, SIM115
    file.write(content)
    file.seek(0)
    return file


def _path(file: IO[bytes]) -> str:
    return f"/dev/fd/{file.fileno()}"


def _roots(context: ssl.SSLContext, credentials: Credentials) -> bytes | None:
    """The same authorities for gRPC, which else brings its own list; None if the system's are kept one file each."""
    if credentials.ca is not None:
        return credentials.ca
    return "".join(map(ssl.DER_cert_to_PEM_cert, context.get_ca_certs(binary_form=True))).encode() or None
