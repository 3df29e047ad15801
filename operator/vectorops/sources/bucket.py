"""Objects of a bucket that speaks S3's protocol: a listing tells which changed, and one request fetches an object.

Requests are signed with the credentials that are given, and with no others; without any they are not signed. They go
through the guard of `outbound`, like all requests to servers that resources name; see docs/decisions/sources.md.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import unquote_plus
from xml.etree import ElementTree as ET

import httpx

from vectorops.api.reasons import Reason
from vectorops.api.source import S3Source
from vectorops.errors import Terminal, Transient, VectorOpsError
from vectorops.outbound import AllowedHosts
from vectorops.sources.base import Fetched, FetchLimits, SourceFile, check_count
from vectorops.sources.signing import S3Credentials, quote_key, quote_query, sign
from vectorops.sources.web import Facts, Web, has_file, parse_server_url
from vectorops.sources.wildcards import Wildcards

DEFAULT_REGION: Final = "us-east-1"
PAGE_OBJECTS: Final = 1_000
"""On one page of a listing; servers give no more."""
MAX_PAGES: Final = 1_000
MAX_PAGE_BYTES: Final = 16_000_000
MAX_ERROR_BYTES: Final = 100_000


class BucketFiles:
    """See `base.OpenedSource`.

    credentials: None: requests are not signed. trusted: certificates (PEM) to trust instead of the system's. Raises
    Terminal SourceInvalid, SecretInvalid.
    """

    def __init__(
        self,
        declared: S3Source,
        allowed: AllowedHosts,
        *,
        credentials: S3Credentials | None = None,
        trusted: bytes | None = None,
        limits: FetchLimits | None = None,
    ) -> None:
        bucket, _, key = declared.url.removeprefix("s3://").partition("/")
        self._region = declared.region or DEFAULT_REGION
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", bucket):
            raise Terminal(Reason.SOURCE_INVALID, f"source.s3.url: {bucket!r} is no name of a bucket")
        if not re.fullmatch(r"[A-Za-z0-9-]+", self._region):
            raise Terminal(Reason.SOURCE_INVALID, f"source.s3.region: {self._region!r} is no name of a region")
        self._root = f"s3://{bucket}/"
        self._is_folder = key.endswith("/")
        self._wildcards = Wildcards(f"{key}**" if self._is_folder else key)
        is_in_host = declared.virtual_hosted_style
        if is_in_host is None:
            # The certificate of AWS holds for one more name before its own, without dots.
            is_in_host = declared.endpoint is None and "." not in bucket
        end = ".cn" if self._region.startswith("cn-") else ""
        endpoint = parse_server_url(
            declared.endpoint or f"https://s3.{self._region}.amazonaws.com{end}", "source.s3.endpoint"
        )
        if endpoint.query:
            raise Terminal(Reason.SOURCE_INVALID, "source.s3.endpoint must not have a query")
        base = endpoint.path.rstrip("/")
        self._url = endpoint.copy_with(host=f"{bucket}.{endpoint.host}") if is_in_host else endpoint
        self._path = f"{quote_key(base)}/" if is_in_host else f"{quote_key(base)}/{bucket}/"
        self._page_objects = PAGE_OBJECTS
        self._credentials = credentials
        self._web = Web(allowed, limits or FetchLimits(), trusted=trusted, has_credentials=credentials is not None)

    async def list(self) -> Sequence[SourceFile]:
        if self._wildcards.is_literal:
            # Needs no right to list the bucket.
            name = f"{self._root}{self._wildcards.prefix}"
            facts = await self._web.try_often(lambda: self._look(name))
            return [SourceFile(name, _object_version(facts), facts.size)]
        files: list[SourceFile] = []
        token: str | None = None
        for _ in range(MAX_PAGES):
            page = await self._web.try_often(partial(self._read_page, token))
            files += [
                SourceFile(f"{self._root}{key}", _object_version(facts), facts.size)
                for key, facts in page.objects.items()
                if self._is_wanted(key)
            ]
            check_count(len(files), f"{self._root}{self._wildcards.prefix}")
            token = page.next
            if token is None:
                return sorted(files, key=lambda file: file.name)
        words = f"{self._root}{self._wildcards.prefix}: there are too many objects to look through; choose a longer key"
        raise Terminal(Reason.SOURCE_INVALID, words)

    async def fetch(self, file: SourceFile, folder: Path) -> Fetched:
        key = file.name.removeprefix(self._root)

        async def confirm() -> None:
            # Servers that keep objects as files may let them change while they are read.
            now = await self._look(file.name)
            # Lists and answers about one object may round the date differently.
            dates = [None] if now.modified is None else [now.modified + seconds for seconds in (0, -1, 1)]
            if file.version not in [_object_version(replace(now, modified=date)) for date in dates]:
                raise Transient(Reason.SOURCE_CHANGED, f"{file.name}: the object changed while it was read")

        # Without an ETag, or with a weak one, there is nothing to demand.
        etag = re.match(r'"[!#-~]+"(?= )', file.version)
        return await self._web.fetch(
            lambda headers: self._send("GET", key, headers=headers, shown=file.name),
            folder,
            file.name,
            etag=etag[0] if etag else "",
            confirm=confirm,
        )

    async def close(self) -> None:
        await self._web.close()

    def _is_wanted(self, key: str) -> bool:
        # Consoles make empty objects that stand for folders.
        if key.endswith("/") or not self._wildcards.matches(key):
            return False
        # Writers such as Spark mark their folders with _SUCCESS and _delta_log.
        below = key[len(self._wildcards.prefix) :].split("/")
        return not (self._is_folder and any(part.startswith("_") for part in below))

    async def _look(self, name: str) -> Facts:
        """What the server says about an object."""
        key = name.removeprefix(self._root)
        try:
            async with self._send("HEAD", key, shown=name) as response:
                return Facts.of_headers(response.headers)
        except VectorOpsError as error:
            if error.reason is not Reason.SOURCE_INVALID:
                raise
        # An answer to HEAD has no body that says what is wrong. Should this one be an object, it is not read.
        async with self._send("GET", key, shown=name) as response:
            return Facts.of_headers(response.headers)

    async def _read_page(self, token: str | None) -> _Page:
        query = {
            "list-type": "2",
            "prefix": self._wildcards.prefix,
            "encoding-type": "url",
            "max-keys": str(self._page_objects),
        }
        if token is not None:
            query["continuation-token"] = token
        shown = f"{self._root}{self._wildcards.prefix}"
        async with self._send("GET", "", query=query, shown=shown) as response:
            body = await self._web.read(response, shown, MAX_PAGE_BYTES)
        try:
            page = _parse_page(body)
        except (ET.ParseError, ValueError, KeyError) as error:
            words = f"{shown}: {self._url.host} answers a request for a list with something else"
            raise Transient(Reason.SOURCE_UNAVAILABLE, words) from error
        if token is not None and page.next == token:
            raise Transient(Reason.SOURCE_UNAVAILABLE, f"{shown}: {self._url.host} repeats a page of the list")
        return page

    @asynccontextmanager
    async def _send(
        self,
        method: str,
        key: str,
        *,
        shown: str,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> AsyncIterator[httpx.Response]:
        """The answer with success. Raises the error that another one is."""
        path, asked = f"{self._path}{quote_key(key)}", quote_query(query or {})
        netloc = self._url.netloc.decode("ascii")
        sent = {**(headers or {})}
        if self._credentials is not None:
            now = datetime.now(UTC)
            sent |= sign(
                self._credentials,
                self._region,
                now,
                method=method,
                host=netloc,
                path=path,
                query=asked,
                headers=headers,
            )
        # What is signed is what is sent: a client of HTTP would resolve `..` in a key, and encode less.
        target = (f"{path}?{asked}" if asked else path).encode("ascii")
        url = self._url.copy_with(raw_path=target, fragment=None)
        async with self._web.send(method, url, sent, shown=shown, extensions={"target": target}) as response:
            if not has_file(response):
                raise await self._refused(response, shown)
            yield response

    async def _refused(self, response: httpx.Response, shown: str) -> Transient | Terminal:
        body = await self._web.read(response, shown, MAX_ERROR_BYTES) if response.request.method == "GET" else b""
        # Only the code: the message may repeat what was signed.
        found = re.search(rb"<Code>([A-Za-z0-9._-]{1,64})</Code>", body)
        code = found[1].decode("ascii") if found else ""
        region = response.headers.get("x-amz-bucket-region", "")
        if region not in ("", self._region) and re.fullmatch(r"[a-z0-9-]{1,40}", region):
            words = f"{shown}: the bucket is in the region {region}: set source.s3.region to it"
            return Terminal(Reason.SOURCE_INVALID, words)
        return self._web.refused(response, shown, code)


@dataclass(frozen=True, slots=True)
class _Page:
    """One page of a listing."""

    objects: Mapping[str, Facts]
    """By key."""
    next: str | None
    """The token of the next page; None: this is the last."""


def _parse_page(body: bytes) -> _Page:
    """Raises ParseError, ValueError, KeyError."""
    if b"<!" in body:
        raise ValueError("a list has no document type")
    root = ET.fromstring(body)  # noqa: S314  # without entities, and of limited length
    if _plain(root.tag) != "ListBucketResult":
        raise ValueError("no list")
    fields = {_plain(child.tag): child.text or "" for child in root}
    objects = {}
    for child in root:
        if _plain(child.tag) == "Contents":
            entry = {_plain(field.tag): field.text or "" for field in child}
            key = unquote_plus(entry["Key"]) if fields.get("EncodingType") == "url" else entry["Key"]
            modified = entry.get("LastModified")
            objects[key] = Facts(
                entry.get("ETag", ""),
                int(datetime.fromisoformat(modified).timestamp()) if modified else None,
                int(entry["Size"]),
            )
    if fields["IsTruncated"] == "false":
        return _Page(objects, None)
    # Without a token the rest cannot be had: half a list must not count as a whole one.
    if not fields.get("NextContinuationToken"):
        raise ValueError("no next page")
    return _Page(objects, fields["NextContinuationToken"])


def _plain(tag: str) -> str:
    """The name of an element without its namespace, which servers differ in."""
    return tag.rpartition("}")[2]


def _object_version(facts: Facts) -> str:
    """The ETag is not enough: a server that keeps it beside a file does not notice when the file is written to."""
    etag = facts.etag.strip('"')
    return f'"{etag}" {facts.modified} {facts.size}'
