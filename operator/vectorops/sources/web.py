"""HTTP for sources: requests go through the guard of `outbound`, and every failure becomes an error of ours.

Messages name the file without its query and the HTTP status, and quote of an answer at most its error code: an answer
may repeat what was sent, credentials included.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Final, TypeVar

import httpx

from vectorops import __version__
from vectorops.api.reasons import Reason
from vectorops.errors import RateLimited, Terminal, Transient
from vectorops.outbound import AllowedHosts, Outbound
from vectorops.sources.base import BLOCK_BYTES, Fetched, FetchLimits
from vectorops.sources.new_file import NewFile

T = TypeVar("T")

GetFile = Callable[[Mapping[str, str]], AbstractAsyncContextManager[httpx.Response]]
"""Sends a GET with these headers. The answer has the file, or the rest of it (206)."""

TIMEOUT: Final = httpx.Timeout(60.0, connect=10.0)
"""For each step of a request: to connect, and between two pieces of an answer."""
MAX_PAUSE_SECONDS: Final = 600.0
"""Longest wait that a server may ask for."""
ENCODED_NAMES: Final[Mapping[str, tuple[str, ...]]] = {"gzip": (".gz",), "x-gzip": (".gz",), "zstd": (".zst",)}
"""Values of Content-Encoding, and the ends of names that say the same: the bytes are those of the file."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What a server says about the version of a file."""

    etag: str
    """As the server writes it, "" without one."""
    modified: int | None
    """Seconds since 1970."""
    size: int | None

    @classmethod
    def of_headers(cls, headers: httpx.Headers) -> Facts:
        """What an answer says about the file that it holds."""
        modified = None
        try:
            date = parsedate_to_datetime(headers.get("Last-Modified", ""))
            modified = int(date.replace(tzinfo=date.tzinfo or UTC).timestamp())
        except (ValueError, OverflowError):
            pass
        size = headers.get("Content-Length", "")
        return cls(headers.get("ETag", ""), modified, int(size) if size.isdecimal() else None)


class Web:
    """A client of HTTP servers. Redirects are answers like others.

    trusted: certificates (PEM) to trust instead of the system's. has_credentials: are requests sent with some?
    Raises Terminal SecretInvalid if there is no certificate in `trusted`.
    """

    def __init__(
        self, allowed: AllowedHosts, limits: FetchLimits, *, trusted: bytes | None, has_credentials: bool
    ) -> None:
        self._limits = limits
        self._has_credentials = has_credentials
        connect = None
        if trusted is not None:
            try:
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
                # `ssl.create_default_context` would trust the system's if the value is empty.
                context.load_verify_locations(cadata=trusted.decode("ascii"))
            except (ssl.SSLError, ValueError) as error:
                raise Terminal(Reason.SECRET_INVALID, "caSecretRef: the value is no certificate in PEM") from error

            def connect() -> httpx.AsyncBaseTransport:
                return httpx.AsyncHTTPTransport(verify=context, trust_env=False)

        self._client = httpx.AsyncClient(
            transport=Outbound(allowed, connect=connect),
            timeout=TIMEOUT,
            # Without `identity`, servers may pack the body on the way: its bytes and its size would be other ones.
            headers={"Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": f"vectorops/{__version__}"},
            trust_env=False,
        )

    async def close(self) -> None:
        """Closes all connections."""
        await self._client.aclose()

    @asynccontextmanager
    async def send(
        self,
        method: str,
        url: httpx.URL,
        headers: Mapping[str, str],
        *,
        shown: str,
        extensions: Mapping[str, Any] | None = None,
    ) -> AsyncIterator[httpx.Response]:
        """Sends a request; its answer can be read inside the context. shown: how messages name the file.

        Raises Transient SourceUnavailable; what `outbound` raises.
        """
        request = self._client.build_request(method, url, headers=headers)
        request.extensions |= extensions or {}
        try:
            response = await self._client.send(request, stream=True)
            try:
                yield response
            finally:
                await response.aclose()
        except httpx.TransportError as error:
            words = f"{shown}: {url.host} {_network_words(error)}"
            raise Transient(Reason.SOURCE_UNAVAILABLE, words) from error

    def refused(self, response: httpx.Response, shown: str, code: str = "") -> Transient | Terminal:
        """The error that an answer without success is. code: what its body gives as the error code."""
        status = response.status_code
        said = f"{shown}: {response.request.url.host} answers HTTP {status}" + (f" ({code})" if code else "")
        if status == 412:
            return Transient(Reason.SOURCE_CHANGED, f"{shown}: the file changed since it was listed")
        if status == 429 or code == "SlowDown":
            return RateLimited(Reason.SOURCE_UNAVAILABLE, said, retry_after=_asked_pause(response.headers))
        # 416: a range beyond the end, as of a file that broke after its last byte.
        if status >= 500 or status in (408, 416, 425):
            return Transient(Reason.SOURCE_UNAVAILABLE, said, retry_after=_asked_pause(response.headers))
        if status in (401, 403) and self._has_credentials:
            return Transient(Reason.SOURCE_INVALID, f"{said}: the credentials are refused, or do not suffice")
        words, reason = {
            401: (": it wants credentials, and the source names no Secret", Reason.SOURCE_INVALID),
            403: (
                ": it wants credentials, and the source names no Secret, or a signed URL has expired",
                Reason.SOURCE_INVALID,
            ),
            404: (": there is no such file", Reason.SOURCE_MISSING),
            410: (": there is no such file any more", Reason.SOURCE_MISSING),
        }.get(status, ("", Reason.SOURCE_INVALID))
        return Terminal(reason, f"{said}{words}")

    async def fetch(
        self, request: GetFile, folder: Path, shown: str, *, etag: str, confirm: Callable[[], Awaitable[None]]
    ) -> Fetched:
        """Brings a file to the folder. An answer that was cut short goes on where it broke, if the server can do that.

        request: sends a GET with these headers; its answer can be read inside the context. etag: a strong one, which is
        demanded; "" without one, and then each try begins at the start. confirm: raises if the file is not the one
        that was listed. Raises what `send`, `confirm` and `NewFile` raise; Transient SourceUnavailable if an answer is
        cut short again or takes too long; Terminal SourceInvalid if it is packed in another way than its name says.
        """
        with NewFile(folder, shown, self._limits.file_bytes) as written:

            async def go_on() -> None:
                pin = {"If-Match": etag} if etag else {}
                rest = {"Range": f"bytes={written.bytes}-", "If-Range": etag} if etag and written.bytes else {}
                async with request({**pin, **rest}) as response:
                    await self.save(response, written, shown)

            await self.try_often(go_on)
            await self.try_often(confirm)
            return written.finish()

    async def save(self, response: httpx.Response, written: NewFile, shown: str) -> None:
        """Writes the body of an answer: the whole file, or what follows what is written already. Raises what `fetch`
        raises.
        """
        encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
        if encoding != "identity" and not shown.endswith(ENCODED_NAMES.get(encoding, ())):
            raise Terminal(
                Reason.SOURCE_INVALID,
                f"{shown}: the server sends it with Content-Encoding {encoding[:20]!a}; let it send the file itself",
            )
        is_rest = response.status_code == 206
        if is_rest and not _begins_at(response.headers.get("Content-Range", ""), written.bytes):
            written.restart()
            words = f"{shown}: {response.request.url.host} answers with another part of the file than was asked for"
            raise Transient(Reason.SOURCE_UNAVAILABLE, words)
        if not is_rest:
            written.restart()
        size = Facts.of_headers(response.headers).size
        if size is not None:
            written.check_size(written.bytes + size)
        try:
            async with asyncio.timeout(self._limits.file_seconds):
                async for block in response.aiter_raw(BLOCK_BYTES):
                    appending = asyncio.ensure_future(asyncio.to_thread(written.append, block))
                    try:
                        await asyncio.shield(appending)
                    except asyncio.CancelledError:
                        # The thread goes on: it must be done before the file is closed.
                        await asyncio.wait([appending])
                        raise
        except TimeoutError as error:
            words = f"{shown}: it did not arrive within {self._limits.file_seconds:g} s"
            raise Transient(Reason.SOURCE_UNAVAILABLE, words) from error

    async def read(self, response: httpx.Response, shown: str, max_bytes: int) -> bytes:
        """A short body. Raises Transient SourceUnavailable if it is not short."""
        body = bytearray()
        async for piece in response.aiter_raw():
            body += piece
            if len(body) > max_bytes:
                raise Transient(Reason.SOURCE_UNAVAILABLE, f"{shown}: the answer is longer than {max_bytes:,} bytes")
        return bytes(body)

    async def try_often(self, act: Callable[[], Awaitable[T]]) -> T:
        """Does something, again after each of the pauses of the limits while the server is not available."""
        for pause in self._limits.pauses:
            try:
                return await act()
            except Transient as error:
                if type(error) is not Transient or error.reason is not Reason.SOURCE_UNAVAILABLE or error.retry_after:
                    raise
            await asyncio.sleep(pause)
        return await act()


def parse_server_url(text: str, place: str) -> httpx.URL:
    """A URL that can be called. Raises Terminal SourceInvalid, without quoting what may be a password."""
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL as error:
        raise Terminal(Reason.SOURCE_INVALID, f"{place} is not a URL") from error
    if url.scheme not in ("http", "https") or not url.host:
        raise Terminal(Reason.SOURCE_INVALID, f"{place} must begin with https:// or http://, and a host")
    if not 0 < (url.port or 80) < 65536:
        raise Terminal(Reason.SOURCE_INVALID, f"{place}: the port does not exist")
    if url.userinfo:
        raise Terminal(Reason.SOURCE_INVALID, f"{place} holds a user or password: put them into a Secret")
    return url


def has_file(response: httpx.Response) -> bool:
    """Does the answer hold the file, or the part of it that was asked for?"""
    return response.status_code == 200 or (response.status_code == 206 and "Range" in response.request.headers)


def _begins_at(content_range: str, begin: int) -> bool:
    """Is it all of a file from this byte on?"""
    found = re.fullmatch(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})", content_range.strip())
    return found is not None and int(found[1]) == begin and int(found[2]) + 1 == int(found[3])


def _network_words(error: httpx.TransportError) -> str:
    """What went wrong. Only our own words, and those of OpenSSL about a certificate."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"has a certificate that is not accepted ({cause.verify_message}); caSecretRef names other ones"
        if isinstance(cause, ssl.SSLError):
            return "does not speak TLS as it should"
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, httpx.ConnectError):
        return "does not resolve" if "resolve" in str(error) else "accepts no connection"
    if isinstance(error, httpx.TimeoutException):
        return "does not answer in time"
    if isinstance(error, httpx.RemoteProtocolError):
        return "ended the answer before its end, or does not speak HTTP"
    return "broke the connection"


def _asked_pause(headers: httpx.Headers) -> float | None:
    """Seconds that `Retry-After` asks to wait; None without one."""
    asked = headers.get("Retry-After", "").strip()
    return min(float(asked), MAX_PAUSE_SECONDS) if re.fullmatch(r"\d{1,9}", asked) else None
