"""Files behind URLs: what a server says about a file tells whether it changed, and one request fetches it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import httpx

from vectorops.api.reasons import Reason
from vectorops.errors import Terminal, Transient
from vectorops.outbound import AllowedHosts
from vectorops.sources.base import Fetched, FetchLimits, SourceFile
from vectorops.sources.web import Facts, Web, has_file, parse_server_url

MAX_REDIRECTS: Final = 5
AT_ONCE: Final = 4
"""Requests in flight while files are listed."""
OUR_HEADERS: Final = re.compile(
    r"host|connection|content-.*|transfer-encoding|te|trailer|upgrade|expect|keep-alive|proxy-.*|accept-encoding|range"
    r"|if-.*",
    re.IGNORECASE,
)
"""Headers that no Secret may set: they say where the request goes, how it is sent, or which bytes are wanted."""


class UrlFiles:
    """See `base.OpenedSource`.

    headers: sent to the hosts of the URLs, and to no host that one of them redirects to. trusted: certificates (PEM) to
    trust instead of the system's. Raises Terminal SourceInvalid, SecretInvalid.
    """

    def __init__(
        self,
        urls: Sequence[str],
        allowed: AllowedHosts,
        *,
        headers: Mapping[str, bytes] | None = None,
        trusted: bytes | None = None,
        limits: FetchLimits | None = None,
    ) -> None:
        self._headers = {name: _header_value(name, value) for name, value in (headers or {}).items()}
        parsed = [parse_server_url(url, f"source.http.urls[{place}]") for place, url in enumerate(urls)]
        # People are shown all but the query, which may hold a signature.
        shown = [str(url.copy_with(query=None, fragment=None)) for url in parsed]
        self._urls = {}
        for place, (name, url) in enumerate(zip(shown, parsed, strict=True)):
            is_clear = all(url == other for other, same in zip(parsed, shown, strict=True) if same == name)
            self._urls[name if is_clear else f"urls[{place}] {name}"] = url
        self._web = Web(allowed, limits or FetchLimits(), trusted=trusted, has_credentials=bool(headers))

    async def list(self) -> Sequence[SourceFile]:
        free = asyncio.Semaphore(AT_ONCE)

        async def look(name: str) -> SourceFile:
            async with free:
                facts = await self._web.try_often(lambda: self._look(name))
                return SourceFile(name, _url_version(facts), facts.size)

        try:
            async with asyncio.TaskGroup() as group:
                looking = [group.create_task(look(name)) for name in sorted(self._urls)]
        except BaseExceptionGroup as failed:
            # The first one: the others were cancelled.
            raise failed.exceptions[0] from None
        return [task.result() for task in looking]

    async def fetch(self, file: SourceFile, folder: Path) -> Fetched:
        @asynccontextmanager
        async def request(headers: Mapping[str, str]) -> AsyncIterator[httpx.Response]:
            async with self._open("GET", file.name, headers) as response:
                if not has_file(response):
                    raise self._web.refused(response, file.name)
                yield response

        async def confirm() -> None:
            if file.version and _url_version(await self._look(file.name)) != file.version:
                raise Transient(Reason.SOURCE_CHANGED, f"{file.name}: the file changed while it was read")

        # Only a strong ETag can be demanded.
        etag = file.version if re.fullmatch(r'"[!#-~]*"', file.version) else ""
        return await self._web.fetch(request, folder, file.name, etag=etag, confirm=confirm)

    async def close(self) -> None:
        await self._web.close()

    async def _look(self, name: str) -> Facts:
        """What the server says about the file."""
        async with self._open("HEAD", name, {}) as response:
            if response.is_success:
                return Facts.of_headers(response.headers)
        # Many servers have no HEAD, as those of signed URLs. Of this body nothing is read.
        async with self._open("GET", name, {}) as response:
            if response.is_success:
                return Facts.of_headers(response.headers)
            raise self._web.refused(response, name)

    @asynccontextmanager
    async def _open(self, method: str, name: str, headers: Mapping[str, str]) -> AsyncIterator[httpx.Response]:
        """The answer that is no redirect. Each redirect passes the guard like the first request."""
        start = url = self._urls[name]
        for _ in range(MAX_REDIRECTS + 1):
            # Those of the user last: what they say of Accept or User-Agent is obeyed.
            secret = self._headers if _origin(url) == _origin(start) else {}
            async with self._web.send(method, url, {**headers, **secret}, shown=name) as response:
                if not response.has_redirect_location:
                    yield response
                    return
                target = url.join(response.headers["Location"]).copy_with(userinfo=b"", fragment=None)
            parse_server_url(str(target), f"{name}: the target of its redirect")
            if url.scheme == "https" and target.scheme == "http":
                raise Terminal(Reason.SOURCE_REFUSED, f"{name}: it redirects from https to http, which is forbidden")
            url = target
        raise Terminal(Reason.SOURCE_INVALID, f"{name}: it redirects more than {MAX_REDIRECTS} times")


def _url_version(facts: Facts) -> str:
    if facts.etag or facts.modified is None:
        return facts.etag
    return f"{facts.modified} {'' if facts.size is None else facts.size}"


def _header_value(name: str, value: bytes) -> str:
    """Raises Terminal SecretInvalid, without the value."""
    place = f"source.http.headersSecretRef: the key {name!r}"
    if OUR_HEADERS.fullmatch(name):
        raise Terminal(Reason.SECRET_INVALID, f"{place} is a header that a source must not set")
    # What was put into the Secret with `echo` ends in a line break.
    stripped = value.strip()
    if not re.fullmatch(rb"[ -~\t]+", stripped) or not re.fullmatch(r"[A-Za-z0-9._-]+", name):
        raise Terminal(Reason.SECRET_INVALID, f"{place} is no header: its value must be printable ASCII text")
    return stripped.decode("ascii")


def _origin(url: httpx.URL) -> tuple[str, str, int]:
    return url.scheme, url.host, url.port or (443 if url.scheme == "https" else 80)
