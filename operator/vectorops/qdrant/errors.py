"""The boundary where errors of httpx, grpc, Qdrant's answers and qdrant-client's local mode become ours.

Each foreign error is a row of a table; a test fails if one of their public classes or codes has no row. Messages say
what, where and what to do. They hold nothing that differs between tries, and no key, payload or vector: Qdrant quotes
values that it cannot parse, so these quotations are removed.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Mapping
from enum import Enum, auto
from types import MappingProxyType
from typing import Final

import grpc
import httpx
import orjson
import pydantic

from vectorops.api.reasons import Reason
from vectorops.errors import (
    NotFound,
    OutcomeUnknown,
    OutOfSpace,
    RateLimited,
    Rejected,
    Terminal,
    TooManyAtOnce,
    Transient,
    Unauthorized,
    VectorOpsError,
)
from vectorops.qdrant.network import network_words, tls_failure, unsent_over_grpc

MESSAGE_LENGTH: Final = 300


class Means(Enum):
    """What a foreign error means for the request."""

    UNSENT = auto()
    LOST = auto()
    SERVER_FAILED = auto()
    BAD_CONTENT = auto()
    MISSING = auto()
    EXISTS = auto()
    REFUSED_KEY = auto()
    TOO_MANY = auto()
    NOT_QDRANT = auto()
    BAD_URL = auto()
    OUR_MISTAKE = auto()


STATUS_OF: Final = {Means.BAD_CONTENT: 400, Means.MISSING: 404, Means.EXISTS: 409}

HTTPX: Final[tuple[tuple[type[Exception], Means], ...]] = (
    # The first row that matches applies: special before general.
    (httpx.ConnectError, Means.UNSENT),
    (httpx.ConnectTimeout, Means.UNSENT),
    (httpx.PoolTimeout, Means.UNSENT),
    (httpx.ProxyError, Means.UNSENT),
    (httpx.UnsupportedProtocol, Means.BAD_URL),
    (httpx.InvalidURL, Means.BAD_URL),
    (httpx.LocalProtocolError, Means.OUR_MISTAKE),
    (httpx.DecodingError, Means.NOT_QDRANT),
    (httpx.TooManyRedirects, Means.NOT_QDRANT),
    (httpx.HTTPStatusError, Means.NOT_QDRANT),
    # Errors and timeouts of reading, writing and closing, and an answer that is not HTTP.
    (httpx.HTTPError, Means.LOST),
    (httpx.StreamError, Means.OUR_MISTAKE),
    (httpx.CookieConflict, Means.OUR_MISTAKE),
    # httpx does not map a TLS alert that comes instead of an answer.
    (OSError, Means.LOST),
)
HTTPX_ERRORS: Final = tuple(kind for kind, _ in HTTPX)

GRPC: Final[Mapping[grpc.StatusCode, Means]] = {
    grpc.StatusCode.CANCELLED: Means.LOST,
    grpc.StatusCode.UNKNOWN: Means.SERVER_FAILED,
    grpc.StatusCode.INVALID_ARGUMENT: Means.BAD_CONTENT,
    grpc.StatusCode.DEADLINE_EXCEEDED: Means.LOST,
    grpc.StatusCode.NOT_FOUND: Means.MISSING,
    grpc.StatusCode.ALREADY_EXISTS: Means.EXISTS,
    grpc.StatusCode.PERMISSION_DENIED: Means.REFUSED_KEY,
    grpc.StatusCode.UNAUTHENTICATED: Means.REFUSED_KEY,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Means.TOO_MANY,
    # "Not enough replicas are active" and the like, which REST answers with 500.
    grpc.StatusCode.FAILED_PRECONDITION: Means.SERVER_FAILED,
    grpc.StatusCode.ABORTED: Means.SERVER_FAILED,
    # A message longer than the server takes.
    grpc.StatusCode.OUT_OF_RANGE: Means.BAD_CONTENT,
    grpc.StatusCode.UNIMPLEMENTED: Means.NOT_QDRANT,
    grpc.StatusCode.INTERNAL: Means.SERVER_FAILED,
    # A connection that broke, unless the details say that none was made.
    grpc.StatusCode.UNAVAILABLE: Means.LOST,
    grpc.StatusCode.DATA_LOSS: Means.SERVER_FAILED,
}

LOCAL: Final[tuple[tuple[type[Exception], Means], ...]] = (
    (pydantic.ValidationError, Means.BAD_CONTENT),
    # The id of a missing point.
    (KeyError, Means.MISSING),
    (ValueError, Means.BAD_CONTENT),
    (TypeError, Means.BAD_CONTENT),
    (NotImplementedError, Means.BAD_CONTENT),
    # The folder is locked, or was closed.
    (RuntimeError, Means.UNSENT),
    (OSError, Means.SERVER_FAILED),
    (sqlite3.Error, Means.SERVER_FAILED),
)
LOCAL_ERRORS: Final = tuple(kind for kind, _ in LOCAL)

LOCAL_STATUS: Final = (("not found", 404), ("already exists", 409))
"""Words in ValueErrors of local mode, to the status with which a server answers."""

NO_SPACE: Final = ("No space left on device", "database or disk is full")
"""Words of a full disk: of Qdrant 1.16, which answers with 500 and INTERNAL, and of a folder."""

STORAGE_FULL: Final = "qdrant-insufficient-storage"
"""gRPC metadata of Qdrant from 1.19 on for a used-up quota, as opposed to a rate limit; over REST the status is 507."""

LARGER_THAN_LIMIT: Final = "larger than rate limiter capacity"
"""Words of strict mode about a request that needs more than its read or write rate limit for one minute."""

_QUOTED: Final = re.compile(
    r"(?P<kind>invalid (?:type|value): (?:string|integer|floating point|boolean|character)) "
    r'(?:"(?:[^"\\]|\\.)*"|`[^`]*`)'
)
"""A value in a message of Qdrant's parser: `invalid type: string "secret", expected a map`."""


def from_httpx(error: Exception, endpoint: str, *, writes: bool) -> VectorOpsError:
    """Maps an error of a class in HTTPX. writes: does the request change something?"""
    if (tls := tls_failure(error, endpoint)) is not None:
        return tls
    means = _meaning(HTTPX, error)
    if isinstance(error, httpx.RemoteProtocolError) and "illegal" in str(error):
        # The answer of a TLS server to plain text is not HTTP.
        means = Means.NOT_QDRANT
    match means:
        case Means.UNSENT:
            return Transient(Reason.UNREACHABLE, f"{endpoint}: {network_words(error)}")
        case Means.BAD_URL:
            return Terminal(Reason.INVALID_URL, f"{endpoint} is not an http or https URL")
        case Means.NOT_QDRANT:
            return _not_qdrant(endpoint, "the answer is not HTTP; if the port speaks TLS, use https:// in spec.url")
        case Means.OUR_MISTAKE:
            what = f"the request could not be made ({type(error).__name__})"
            return Transient(Reason.INTERNAL_ERROR, f"{endpoint}: {what}")
    return _unknown(Reason.UNREACHABLE, f"{endpoint}: {network_words(error)}", writes=writes)


def from_answer(
    status: int, headers: Mapping[str, str], body: bytes, endpoint: str, *, writes: bool, secret: str = ""
) -> VectorOpsError:
    """Maps an answer with a status other than 2xx. secret: the API key, which is removed if the answer quotes it."""
    said = server_message(body, secret)
    if status in (401, 403):
        return _refused_key(endpoint, str(status), said or _plain_text(headers, body, secret))
    if status == 429:
        return _too_many(endpoint, said, headers.get("retry-after", ""))
    if status in (408, 425) or status >= 500:
        return _failed(status, said, endpoint, writes=writes)
    if status == 413:
        too_long = _saying(endpoint, "the request is too long for the server", said)
        return Rejected(Reason.REQUEST_REJECTED, too_long, status=413)
    if said is None:
        return unreadable_answer(status, headers, endpoint)
    return Rejected.of_status(Reason.REQUEST_REJECTED, said, status=status)


def too_long(size: int, endpoint: str) -> Rejected:
    """The error of a request on which the server hangs up. size: bytes of its body."""
    words = f"the server hangs up on a request of {size:,} bytes; see its max_request_size_mb"
    return Rejected(Reason.REQUEST_REJECTED, f"{endpoint}: {words}", status=413)


def unreadable_answer(status: int, headers: Mapping[str, str], endpoint: str) -> Transient:
    """The error for an answer that cannot be Qdrant's."""
    kind = shorten(headers.get("content-type", "").partition(";")[0]) or "no content type"
    if 300 <= status < 400:
        return _not_qdrant(endpoint, "the answer is a redirect to another address; use that one in spec.url")
    if status == 400:
        return _not_qdrant(endpoint, "the answer is not Qdrant's; if the port speaks TLS, use https:// in spec.url")
    return _not_qdrant(
        endpoint, f"the answer is not Qdrant's (status {status}, {kind}); check host, port and path of spec.url"
    )


def from_grpc(  # noqa: PLR0911 - one for each meaning
    code: grpc.StatusCode,
    details: str | None,
    endpoint: str,
    *,
    trailers: Mapping[str, str] = MappingProxyType({}),
    secret: str = "",
) -> VectorOpsError:
    """Maps the failure of a write, or of the check of the gRPC port.

    trailers: the metadata after the answer, names in lower case. secret: see `from_answer`.
    """
    if code is grpc.StatusCode.UNAVAILABLE and (unsent := unsent_over_grpc(details or "", endpoint)) is not None:
        return unsent
    said = shorten(details or "", secret)
    means = GRPC[code]
    if (status := STATUS_OF.get(means)) is not None:
        return Rejected.of_status(Reason.REQUEST_REJECTED, said, status=status)
    if means is Means.REFUSED_KEY:
        return _refused_key(endpoint, code.name, said)
    if means is Means.NOT_QDRANT:
        return _not_qdrant(endpoint, "the gRPC service there is not Qdrant's; see spec.grpcPort")
    if means is Means.TOO_MANY and STORAGE_FULL not in trailers:
        return _too_many(endpoint, said, trailers.get("retry-after", ""))
    if means is Means.TOO_MANY or _is_full(said):
        return _full(endpoint, said)
    # The details of a lost answer name sockets, which differ between tries.
    reason, words = (
        (Reason.UNREACHABLE, f"{endpoint}: no answer ({code.name})")
        if means is Means.LOST
        else (Reason.SERVER_ERROR, _saying(endpoint, code.name, said))
    )
    return OutcomeUnknown(reason, words)


def from_local(error: Exception, folder: str, *, writes: bool) -> VectorOpsError:
    """Maps an error of a class in LOCAL."""
    said = _local_message(error)
    match _meaning(LOCAL, error):
        case Means.UNSENT:
            state = "in use by another process" if "already accessed" in said else "closed"
            return Transient(Reason.UNREACHABLE, f"the folder {folder} is {state}")
        case Means.MISSING:
            return NotFound(Reason.REQUEST_REJECTED, f"Not found: No point with id {said} found", status=404)
        case Means.BAD_CONTENT:
            status = next((status for words, status in LOCAL_STATUS if words in said), 400)
            return Rejected.of_status(Reason.REQUEST_REJECTED, said, status=status)
    if _is_full(str(error)):
        return _full(f"the folder {folder}", said)
    return _unknown(Reason.SERVER_ERROR, f"the folder {folder}: {said}", writes=writes)


def incomplete(status: object, endpoint: str) -> OutcomeUnknown:
    """The error for a write whose status is not `completed`."""
    return OutcomeUnknown(Reason.SERVER_ERROR, f"{endpoint}: a write is {status}, not completed")


def server_message(body: bytes, secret: str = "") -> str | None:
    """Qdrant's error message; None if the body is not Qdrant's. secret: see `from_answer`."""
    try:
        said = orjson.loads(body)["status"]["error"]
    except (ValueError, TypeError, KeyError):
        return None
    return shorten(said, secret) if isinstance(said, str) else None


def shorten(message: str, secret: str = "") -> str:
    """Removes quoted values, the secret and control characters, and cuts at MESSAGE_LENGTH characters."""
    if secret:
        message = message.replace(secret, "***")
    message = _QUOTED.sub(r"\g<kind>", message)
    # Control characters could change the reader's terminal, and some reverse the direction of the text.
    message = " ".join("".join(char if char.isprintable() else " " for char in message).split())
    return message if len(message) <= MESSAGE_LENGTH else message[: MESSAGE_LENGTH - 1] + "…"


def _plain_text(headers: Mapping[str, str], body: bytes, secret: str) -> str:
    """The plain text of an answer to a refused key; "" for an HTML page, which a proxy before Qdrant answers.

    Qdrant 1.16.3 sends `Invalid API key or JWT`, `ExpiredSignature` and the like without a content type.
    """
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    text = body.decode("utf-8", "replace").strip()
    is_page = kind not in ("", "text/plain") or text.startswith("<")
    return "" if is_page else shorten(text, secret)


def _meaning(table: tuple[tuple[type[Exception], Means], ...], error: Exception) -> Means:
    return next((means for kind, means in table if isinstance(error, kind)), Means.LOST)


def _local_message(error: Exception) -> str:
    if isinstance(error, pydantic.ValidationError):
        # Its own text would quote the input.
        first = error.errors(include_input=False, include_url=False)[0]
        return shorten(f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}")
    return shorten(str(error.args[0]) if error.args else type(error).__name__)


def _failed(status: int, said: str | None, endpoint: str, *, writes: bool) -> Transient:
    if status == 507 or _is_full(said):
        return _full(endpoint, said)
    # One of them is 500 "Waiting for consensus operation commit failed": a cluster may carry it out later.
    return _unknown(Reason.SERVER_ERROR, _saying(endpoint, f"status {status}", said), writes=writes)


def _unknown(reason: Reason, message: str, *, writes: bool) -> Transient:
    return OutcomeUnknown(reason, message) if writes else Transient(reason, message)


def _refused_key(endpoint: str, code: str, said: str) -> Unauthorized:
    return Unauthorized(Reason.UNAUTHORIZED, _saying(endpoint, f"the API key is refused ({code})", said))


def _too_many(endpoint: str, said: str | None, retry_after: str) -> RateLimited:
    if said is not None and LARGER_THAN_LIMIT in said:
        limits = "raise read_rate_limit and write_rate_limit in strict_mode_config of the collection"
        return TooManyAtOnce(Reason.RATE_LIMITED, f"{_saying(endpoint, 'too many requests', said)}; {limits}")
    # If the header is a date, the backoff applies.
    seconds = float(retry_after) if retry_after.isdecimal() else None
    return RateLimited(Reason.RATE_LIMITED, _saying(endpoint, "too many requests", said), retry_after=seconds)


def _is_full(said: str | None) -> bool:
    return said is not None and any(words in said for words in NO_SPACE)


def _full(endpoint: str, said: str | None) -> OutOfSpace:
    words = _saying(endpoint, "the server has no space for more data", said)
    return OutOfSpace(Reason.OUT_OF_SPACE, f"{words}; delete data, or add space")


def _not_qdrant(endpoint: str, hint: str) -> Transient:
    return Transient(Reason.NOT_QDRANT, f"{endpoint}: {hint}")


def _saying(endpoint: str, what: str, said: str | None) -> str:
    return f"{endpoint}: {what}: {said}" if said else f"{endpoint}: {what}"
