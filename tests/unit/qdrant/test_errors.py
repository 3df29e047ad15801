"""Nothing foreign gets past the boundary, and nothing private goes into a message."""

import ast
import builtins
import inspect
import ssl
from pathlib import Path

import grpc
import httpx
import orjson
import pydantic
import pytest
import qdrant_client.local
from qdrant_client import models

from vectorops.api.reasons import Reason
from vectorops.errors import (
    Conflict,
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
from vectorops.qdrant import errors

HERE = "https://qdrant.example:6333"
REQUEST = httpx.Request("GET", HERE)

HTTPX_CLASSES = [kind for kind in vars(httpx).values() if inspect.isclass(kind) and issubclass(kind, Exception)]
CODES = [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK]


def raised_by_local_mode() -> set[str]:
    """Names of the classes in all `raise` statements of qdrant-client's local mode."""
    folder = Path(qdrant_client.local.__path__[0])
    calls = [
        node.exc.func if isinstance(node.exc, ast.Call) else node.exc
        for file in folder.glob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Raise) and node.exc is not None
    ]
    return {call.id for call in calls if isinstance(call, ast.Name) and call.id[0].isupper()}


@pytest.mark.parametrize("kind", HTTPX_CLASSES)
def test_every_exception_of_httpx_has_a_meaning(kind):
    assert issubclass(kind, errors.HTTPX_ERRORS)


@pytest.mark.parametrize("code", CODES)
def test_every_code_of_grpc_has_a_meaning(code):
    assert isinstance(errors.from_grpc(code, "details", HERE), VectorOpsError)


def test_every_exception_that_local_mode_raises_has_a_meaning():
    raised = raised_by_local_mode()

    assert len(raised) > 3, "or else this test looks in the wrong place"
    assert [name for name in raised if not issubclass(getattr(builtins, name), errors.LOCAL_ERRORS)] == []


@pytest.mark.parametrize(
    ("error", "kind", "reason"),
    [
        (httpx.ConnectTimeout("", request=REQUEST), Transient, Reason.UNREACHABLE),
        (httpx.ConnectError("", request=REQUEST), Transient, Reason.UNREACHABLE),
        (httpx.PoolTimeout("", request=REQUEST), Transient, Reason.UNREACHABLE),
        (httpx.ReadTimeout("", request=REQUEST), OutcomeUnknown, Reason.UNREACHABLE),
        (httpx.WriteTimeout("", request=REQUEST), OutcomeUnknown, Reason.UNREACHABLE),
        (httpx.ReadError("", request=REQUEST), OutcomeUnknown, Reason.UNREACHABLE),
        (httpx.RemoteProtocolError("Server disconnected", request=REQUEST), OutcomeUnknown, Reason.UNREACHABLE),
        (httpx.RemoteProtocolError("illegal request line", request=REQUEST), Transient, Reason.NOT_QDRANT),
        (httpx.InvalidURL("bad"), Terminal, Reason.INVALID_URL),
        (httpx.LocalProtocolError("Illegal header value b's3cret'", request=REQUEST), Transient, Reason.INTERNAL_ERROR),
    ],
)
def test_a_write_that_certainly_was_not_sent_is_told_from_one_that_perhaps_was(error, kind, reason):
    ours = errors.from_httpx(error, HERE, writes=True)

    assert (type(ours), ours.reason) == (kind, reason)
    assert "s3cret" not in ours.message


@pytest.mark.parametrize("error", [httpx.ReadTimeout("", request=REQUEST), httpx.ReadError("", request=REQUEST)])
def test_a_read_without_an_answer_is_merely_transient(error):
    assert type(errors.from_httpx(error, HERE, writes=False)) is Transient


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (9, "is not valid yet"),
        (10, "has expired"),
        (18, "unknown authority"),
        (19, "unknown authority"),
        (20, "unknown authority"),
        (62, "another name"),
        (64, "another name"),
        (28, "is not accepted: application verification failure"),
    ],
)
def test_a_bad_certificate_is_told_in_words(code, words):
    cause = ssl.SSLCertVerificationError(1, "certificate verify failed")
    cause.verify_code = code
    cause.verify_message = "application verification failure"
    error = httpx.ConnectError("", request=REQUEST)
    error.__cause__ = cause

    ours = errors.from_httpx(error, HERE, writes=True)

    assert (type(ours), ours.reason) == (Transient, Reason.CERTIFICATE_INVALID)
    assert ours.message.startswith(f"{HERE}: the server's certificate {words}" if code in (9, 10) else HERE)
    assert words in ours.message


@pytest.mark.parametrize(
    ("status", "kind", "reason"),
    [
        (400, Rejected, Reason.REQUEST_REJECTED),
        (404, NotFound, Reason.REQUEST_REJECTED),
        (409, Conflict, Reason.REQUEST_REJECTED),
        (413, Rejected, Reason.REQUEST_REJECTED),
        (422, Rejected, Reason.REQUEST_REJECTED),
        (401, Unauthorized, Reason.UNAUTHORIZED),
        (403, Unauthorized, Reason.UNAUTHORIZED),
        (408, OutcomeUnknown, Reason.SERVER_ERROR),
        (429, RateLimited, Reason.RATE_LIMITED),
        (507, OutOfSpace, Reason.OUT_OF_SPACE),
        (500, OutcomeUnknown, Reason.SERVER_ERROR),
        (503, OutcomeUnknown, Reason.SERVER_ERROR),
    ],
)
def test_what_an_answer_means_for_a_write(status, kind, reason):
    body = orjson.dumps({"status": {"error": "this is wrong"}})

    ours = errors.from_answer(status, {}, body, HERE, writes=True)

    assert (type(ours), ours.reason) == (kind, reason)
    if isinstance(ours, Rejected):
        assert ours.status == status


FULL = "Service internal error: No space left on device: WAL buffer size exceeds available disk space"
"""Qdrant 1.16.3's words."""


def test_a_full_server_is_no_other_trouble_over_any_transport():
    answered = errors.from_answer(500, {}, b'{"status":{"error":"%s"}}' % FULL.encode(), HERE, writes=True)
    internal = errors.from_grpc(grpc.StatusCode.INTERNAL, FULL, HERE)
    # As Qdrant 1.19 says it.
    marker = {"qdrant-insufficient-storage": "true"}
    quota = errors.from_grpc(grpc.StatusCode.RESOURCE_EXHAUSTED, "quota", HERE, trailers=marker)
    folder = errors.from_local(OSError(28, "No space left on device"), "/folder", writes=True)

    for error in (answered, internal, quota, folder):
        assert (type(error), error.reason) == (OutOfSpace, Reason.OUT_OF_SPACE)
    assert type(errors.from_grpc(grpc.StatusCode.RESOURCE_EXHAUSTED, "slow down", HERE)) is RateLimited


def test_a_request_that_no_minute_has_room_for_is_told_from_one_too_many():
    larger = (
        "Rate limiting exceeded: Write rate limit exceeded, request larger than rate limiter capacity, please split"
    )
    too_many = (
        "Rate limiting exceeded: Write rate limit exceeded: Operation requires 6 tokens but only 4.0 were available"
    )

    for said, kind in ((larger, TooManyAtOnce), (too_many, RateLimited)):
        body = orjson.dumps({"status": {"error": said}})
        assert type(errors.from_answer(429, {}, body, HERE, writes=True)) is kind
        assert type(errors.from_grpc(grpc.StatusCode.RESOURCE_EXHAUSTED, said, HERE)) is kind


def test_a_retry_after_that_is_a_date_is_left_to_the_backoff():
    headers = {"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}

    ours = errors.from_answer(429, headers, b"", HERE, writes=True)

    assert isinstance(ours, RateLimited)
    assert ours.retry_after is None


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ('Format error in JSON body: invalid type: string "s3cret \\" s3cret", expected a map', "expected a map"),
        ("invalid value: integer `5310`, expected a number in range", "expected a number in range"),
        ("invalid type: floating point `0.5310`, expected usize", "expected usize"),
    ],
)
def test_a_value_that_qdrant_quotes_is_cut_out(said, kept):
    ours = errors.from_answer(400, {}, orjson.dumps({"status": {"error": said}}), HERE, writes=True)

    assert kept in ours.message
    assert "s3cret" not in ours.message
    assert "5310" not in ours.message


def test_a_long_message_is_shortened_to_one_line():
    ours = errors.from_answer(400, {}, orjson.dumps({"status": {"error": "a\nb " * 1000}}), HERE, writes=True)

    assert len(ours.message) == errors.MESSAGE_LENGTH
    assert "\n" not in ours.message


def test_what_local_mode_cannot_read_is_told_without_the_input():
    with pytest.raises(pydantic.ValidationError) as failed:
        models.VectorParams.model_validate({"size": "s3cret", "distance": "Dot"})

    ours = errors.from_local(failed.value, "folder", writes=True)

    assert isinstance(ours, Rejected)
    assert ours.message.startswith("size: ")
    assert "s3cret" not in ours.message


@pytest.mark.parametrize(
    ("details", "reason"),
    [
        ("failed to connect to all addresses; last error: Connection refused", Reason.UNREACHABLE),
        ("DNS resolution failed for nowhere.invalid:6334", Reason.UNREACHABLE),
        (
            "failed to connect: Ssl handshake failed: CERTIFICATE_VERIFY_FAILED: certificate has expired",
            Reason.CERTIFICATE_INVALID,
        ),
        ("failed to connect: tls handshake failed: WRONG_VERSION_NUMBER", Reason.NOT_QDRANT),
    ],
)
def test_grpc_says_whether_the_request_got_through(details, reason):
    ours = errors.from_grpc(grpc.StatusCode.UNAVAILABLE, details, HERE)

    assert (type(ours), ours.reason) == (Transient, reason)
    assert type(errors.from_grpc(grpc.StatusCode.UNAVAILABLE, "Socket closed", HERE)) is OutcomeUnknown


@pytest.mark.parametrize(
    ("status", "headers"),
    [(401, {}), (403, {}), (401, {"content-type": "text/plain; charset=utf-8"}), (403, {"content-type": "Text/Plain"})],
)
def test_why_a_key_is_refused_is_told_with_or_without_a_content_type(status, headers):
    """Qdrant 1.16.3 sends none with `Invalid API key or JWT` (401) and `ExpiredSignature` (403)."""
    ours = errors.from_answer(status, headers, b"ExpiredSignature", HERE, writes=False)

    assert ours.message == f"{HERE}: the API key is refused ({status}): ExpiredSignature"


@pytest.mark.parametrize(
    ("headers", "body"),
    [({}, b"<html>Log in</html>"), ({}, b""), ({"content-type": "text/html"}, b"Log in")],
)
def test_a_page_in_front_of_qdrant_is_not_told(headers, body):
    ours = errors.from_answer(403, headers, body, HERE, writes=False)

    assert ours.message == f"{HERE}: the API key is refused (403)"


@pytest.mark.parametrize(
    "refuse",
    [
        lambda said: errors.from_answer(401, {}, said.encode(), HERE, writes=False, secret='s3"cret'),
        lambda said: errors.from_answer(
            400, {}, orjson.dumps({"status": {"error": said}}), HERE, writes=True, secret='s3"cret'
        ),
        lambda said: errors.from_grpc(grpc.StatusCode.UNAUTHENTICATED, said, HERE, secret='s3"cret'),
    ],
    ids=["plain", "json", "grpc"],
)
def test_what_sends_the_key_back_does_not_get_it_into_a_message(refuse):
    for before in ("", "x" * (errors.MESSAGE_LENGTH - 4)):
        ours = refuse(f'{before}no such key: s3"cret')

        assert "s3" not in ours.message
        assert len(ours.message) < errors.MESSAGE_LENGTH + 100


def test_what_would_steer_a_terminal_is_left_out():
    ours = errors.from_answer(401, {}, "\x1b[2Jno\x00 key\u202e at\r\nall".encode(), HERE, writes=False)

    assert ours.message.endswith(": [2Jno key at all")


def test_how_long_a_request_may_be_is_told():
    said = "JSON payload (3000002 bytes) is larger than allowed (limit: 1048576 bytes)."
    ours = errors.from_answer(413, {}, orjson.dumps({"status": {"error": said}}), HERE, writes=True)

    assert said in ours.message


def test_the_content_type_of_something_else_is_bounded_too():
    ours = errors.unreadable_answer(200, {"content-type": "a\x1b" * 10_000}, HERE)

    assert len(ours.message) < 2 * errors.MESSAGE_LENGTH
    assert "\x1b" not in ours.message
