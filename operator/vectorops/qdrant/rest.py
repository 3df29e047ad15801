"""Qdrant's REST API as raw JSON.

Not through qdrant-client's generated models: the options of a collection are the user's, verbatim, and the models of
one version drop or refuse what another brings. Answers are asked for uncompressed: gzip makes reading several times
slower. No request carries `timeout=`: Qdrant 1.16 answers 400 to it on the endpoints of points and indexes.

Used by `server` only.
"""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import quote

import httpx
import orjson

from vectorops.api.reasons import Reason
from vectorops.errors import OutcomeUnknown, Rejected
from vectorops.qdrant import errors
from vectorops.qdrant.traffic import Traffic
from vectorops.reconciliation import REQUEST_ID_HEADER, request_id

USUAL_BODY_BYTES: Final = 32 * 2**20
"""As long as a body may be, unless the server's `max_request_size_mb` says otherwise."""
HANGS_UP: Final = (httpx.ReadError, httpx.WriteError, httpx.CloseError, httpx.RemoteProtocolError)


class Rest:
    """One server's REST API.

    client: with base URL, key, TLS and time limits. sni: the name to expect in the certificate, if not the host.
    """

    def __init__(self, client: httpx.AsyncClient, endpoint: str, traffic: Traffic, *, sni: str | None = None) -> None:
        self._client = client
        self._endpoint = endpoint
        self._traffic = traffic
        self._extensions = {} if sni is None else {"sni_hostname": sni}

    async def read(self, operation: str, method: str, path: str, body: bytes | None = None) -> Any:
        """`result` of a request that changes nothing."""
        return _result(await self._send(operation, method, path, body, writes=False), self._endpoint)

    async def write(self, operation: str, method: str, path: str, body: bytes | None = None) -> Any:
        """`result` of a request that changes something."""
        try:
            answer = await self._send(operation, method, path, body, writes=True)
        except OutcomeUnknown as error:
            if not _is_too_long(body, error):
                raise
            # Qdrant answers 413 and hangs up before it has read such a body, and the answer is lost. But it may have
            # been the network: only if it happens again, the length is to blame.
            try:
                answer = await self._send(operation, method, path, body, writes=True)
            except OutcomeUnknown as repeated:
                if not _is_too_long(body, repeated):
                    raise
                raise errors.too_long(len(body or b""), self._endpoint) from repeated
        return _result(answer, self._endpoint)

    async def greeting(self) -> Any:
        """What the server says of itself, without a key."""
        answer = await self._send("greeting", "GET", "/", None, writes=False)
        return _json(answer, self._endpoint)

    async def telemetry(self, details_level: int = 0) -> tuple[Any, str | None]:
        """What the server tells of itself and its requests, and its date."""
        path = f"/telemetry?details_level={details_level}"
        answer = await self._send("telemetry", "GET", path, None, writes=False)
        return _result(answer, self._endpoint), answer.headers.get("date")

    async def close(self) -> None:
        await self._client.aclose()

    async def _send(
        self, operation: str, method: str, path: str, body: bytes | None, *, writes: bool
    ) -> httpx.Response:
        async with self._traffic.one(operation) as request:
            named = {REQUEST_ID_HEADER: request_id()}
            try:
                answer = await self._client.request(
                    method, path, content=body, headers=named, extensions=self._extensions
                )
            except errors.HTTPX_ERRORS as error:
                request.code = type(error).__name__
                raise errors.from_httpx(error, self._endpoint, writes=writes) from error
            request.code = str(answer.status_code)
            if not answer.is_success:
                raise errors.from_answer(
                    answer.status_code,
                    answer.headers,
                    answer.content,
                    self._endpoint,
                    writes=writes,
                    secret=self._client.headers.get("api-key", ""),
                )
            return answer


def segment(name: str) -> str:
    """A name as one segment of a path. Raises Rejected for those that lead elsewhere: the path of a vector `..` is
    that of its collection, for the client and for every proxy, and a DELETE there would take all of it.
    """
    if name in {".", ".."}:
        raise Rejected(Reason.INVALID_SPEC, f"the name {name!r} cannot be part of a URL; choose another", status=400)
    return quote(name, safe="")


def _is_too_long(body: bytes | None, error: OutcomeUnknown) -> bool:
    """Did the server hang up on a request that is perhaps longer than it takes?"""
    return body is not None and len(body) > USUAL_BODY_BYTES and isinstance(error.__cause__, HANGS_UP)


def _json(answer: httpx.Response, endpoint: str) -> Any:
    try:
        return orjson.loads(answer.content)
    except ValueError:
        raise errors.unreadable_answer(answer.status_code, answer.headers, endpoint) from None


def _result(answer: httpx.Response, endpoint: str) -> Any:
    content = _json(answer, endpoint)
    if not isinstance(content, dict) or "result" not in content:
        raise errors.unreadable_answer(answer.status_code, answer.headers, endpoint)
    return content["result"]
