"""Messages for failed connections: name resolution, refusals, TLS. Part of the boundary in `errors`."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator, Mapping
from typing import Final

import httpx

from vectorops.api.reasons import Reason
from vectorops.errors import Transient

NETWORK_WORDS: Final[tuple[tuple[type[BaseException], str], ...]] = (
    (socket.gaierror, "the host name does not resolve"),
    (ConnectionRefusedError, "connection refused"),
    (ConnectionResetError, "the connection was reset"),
    (httpx.PoolTimeout, "too many requests are waiting"),
    (httpx.ConnectTimeout, "no connection in time"),
    (httpx.TimeoutException, "no answer in time; spec.timeoutSeconds allows more"),
    (TimeoutError, "no answer in time"),
    (OSError, "no connection"),
)

_EXPIRED: Final = "has expired"
_EARLY: Final = "is not valid yet"
_AUTHORITY: Final = "is signed by an unknown authority; set spec.tls.caSecretRef to the right one"
_NAME: Final = "is for another name; set spec.tls.serverName to the name in it"

CERTIFICATE_CODES: Final[Mapping[int, str]] = {
    9: _EARLY,
    10: _EXPIRED,
    18: _AUTHORITY,
    19: _AUTHORITY,
    20: _AUTHORITY,
    21: _AUTHORITY,
    62: _NAME,
    64: _NAME,
}
"""OpenSSL's X509_V_ERR_*. For others, OpenSSL's message is shown."""

CERTIFICATE_PHRASES: Final[Mapping[str, str]] = {
    "certificate has expired": _EXPIRED,
    "not yet valid": _EARLY,
    "local issuer": _AUTHORITY,
    "self signed": _AUTHORITY,
    "self-signed": _AUTHORITY,
    "is not in peer certificate": _NAME,
    "Hostname Verification": _NAME,
}
"""The same in gRPC's messages."""

HANDSHAKE_PHRASES: Final[tuple[tuple[str, Reason, str], ...]] = (
    (
        "certificate required",
        Reason.CERTIFICATE_INVALID,
        "the server demands a client certificate; set spec.tls.clientCertificateSecretRef",
    ),
    ("unknown ca", Reason.CERTIFICATE_INVALID, "the server does not know the authority of the client certificate"),
    (
        "alert",
        Reason.CERTIFICATE_INVALID,
        "the server refuses the TLS handshake, perhaps because of the client certificate",
    ),
    ("wrong version number", Reason.NOT_QDRANT, "the port does not speak TLS; use http:// in spec.url"),
    ("record layer failure", Reason.NOT_QDRANT, "the port does not speak TLS; use http:// in spec.url"),
)
"""Phrases in OpenSSL's reasons, in lower case, with spaces instead of underscores. The first match applies."""


def tls_failure(error: BaseException, endpoint: str) -> Transient | None:
    """The error of a failed TLS handshake, so that the request was not sent; None for any other error."""
    for cause in causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            other = f"is not accepted: {cause.verify_message}"
            return _certificate(endpoint, CERTIFICATE_CODES.get(cause.verify_code, other))
        if isinstance(cause, ssl.SSLError):
            said = f"{cause.reason or cause}".lower().replace("_", " ")
            for phrase, reason, words in HANDSHAKE_PHRASES:
                if phrase in said:
                    return Transient(reason, f"{endpoint}: {words}")
    return None


def unsent_over_grpc(details: str, endpoint: str) -> Transient | None:
    """The error for UNAVAILABLE if the request was certainly not sent, else None."""
    if "CERTIFICATE_VERIFY_FAILED" in details or "is not in peer certificate" in details:
        words = (words for phrase, words in CERTIFICATE_PHRASES.items() if phrase in details)
        return _certificate(endpoint, next(words, "is not accepted"))
    if "handshake" in details or "WRONG_VERSION_NUMBER" in details:
        hint = "no TLS connection; the gRPC port must speak TLS exactly if spec.url is https://"
        return Transient(Reason.NOT_QDRANT, f"{endpoint}: {hint}")
    if "resolution" in details:
        return Transient(Reason.UNREACHABLE, f"{endpoint}: the host name does not resolve")
    if "failed to connect" in details:
        return Transient(Reason.UNREACHABLE, f"{endpoint}: no connection")
    return None


def network_words(error: BaseException) -> str:
    """What went wrong, without anything that differs between tries."""
    chain = list(causes(error))
    return next(
        (words for kind, words in NETWORK_WORDS if any(isinstance(cause, kind) for cause in chain)),
        "the connection broke",
    )


def causes(error: BaseException) -> Iterator[BaseException]:
    """The error and all its causes."""
    yield error
    if isinstance(error, BaseExceptionGroup):
        for one in error.exceptions:
            yield from causes(one)
    below = error.__cause__ or error.__context__
    if below is not None:
        yield from causes(below)


def _certificate(endpoint: str, words: str) -> Transient:
    return Transient(Reason.CERTIFICATE_INVALID, f"{endpoint}: the server's certificate {words}")
