"""One request to the API server, and what its failure means.

The generated models of the client library are not used: ours are custom resources, and decoding a Secret or an Event
into classes costs more than it tells.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import quote

import aiohttp
import orjson
from kubernetes.aio.client import ApiClient
from kubernetes.aio.client.rest import RESTResponse

from vectorops import metrics
from vectorops.api import nesting
from vectorops.api.kinds import BY_NAME
from vectorops.api.meta import API_VERSION, JsonObject
from vectorops.api.reasons import Reason
from vectorops.errors import Transient

FIELD_MANAGER: Final = "vectorops"
MERGE_PATCH: Final = "application/merge-patch+json"
JSON: Final = "application/json"
METADATA: Final = f"{JSON};as=PartialObjectMetadata;v=v1;g=meta.k8s.io"
"""Accept: of one object, its metadata alone."""
METADATA_LIST: Final = f"{JSON};as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"
"""Accept: of each object of a list, its metadata alone; METADATA says so of a watch."""
TABLE: Final = f"{JSON};as=Table;v=v1;g=meta.k8s.io"
"""Accept: of each object its metadata and the columns of `kubectl get`; for lists and for watches."""

BAD_REQUEST: Final = 400
UNAUTHORIZED: Final = 401
FORBIDDEN: Final = 403
NOT_FOUND: Final = 404
CONFLICT: Final = 409
EXPIRED: Final = 410

TIMEOUT: Final = aiohttp.ClientTimeout(total=30, connect=10)
STREAM_TIMEOUT: Final = aiohttp.ClientTimeout(total=None, connect=10, sock_read=120)
"""In a watch something comes at least once a minute: a bookmark."""


class Refused(Transient):
    """The API server answered with an error. status: the HTTP code.

    Transient, because what Kubernetes refuses (permissions, quotas, an admission webhook that is down) others repair.
    """

    def __init__(self, status: int, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(Reason.KUBERNETES_API, message, retry_after=retry_after)
        self.status = status


class Calls:
    """Requests with a bearer token, a timeout, and errors of the one tree.

    admit: asked before each request that changes something; raises Transient if we may not any more.
    renew: called when the token is refused, to read it again; the request is then sent once more.
    """

    def __init__(
        self,
        client: ApiClient,
        *,
        admit: Callable[[], None] | None = None,
        renew: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._client = client
        self._admit = admit
        self._renew = renew

    async def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str | int] | None = None,
        body: JsonObject | None = None,
        content_type: str = JSON,
        accept: str = JSON,
    ) -> JsonObject:
        """The JSON of the answer; what is nested too deeply to be read is `null` in it (`nesting.cut_deep`).

        Raises Refused, or Transient when there is no answer.
        """
        if self._admit is not None and method != "GET":
            self._admit()
        headers = {"Accept": accept, "Content-Type": content_type}
        with _mapped(method):
            answer = await self._send(method, path, query, headers, body, TIMEOUT)
            content: bytes = await answer.read()  # type: ignore[no-untyped-call]
        metrics.KUBERNETES_REQUESTS.labels(method, str(answer.status)).inc()
        if not 200 <= answer.status < 300:
            raise _refused(answer.status, content, answer.headers.get("Retry-After"))
        parsed: JsonObject = parse_json(content)
        return parsed

    async def lines(self, path: str, *, query: Mapping[str, str | int], accept: str) -> AsyncIterator[bytes]:
        """The lines of an answer that goes on until the server ends it, or has been silent for two minutes: a watch.

        Raises as `call` does. Counted once, as the method WATCH.
        """
        with _mapped("WATCH"):
            answer = await self._send("GET", path, query, {"Accept": accept}, None, STREAM_TIMEOUT)
        metrics.KUBERNETES_REQUESTS.labels("WATCH", str(answer.status)).inc()
        response: aiohttp.ClientResponse = answer.response
        try:
            if not 200 <= answer.status < 300:
                with _mapped("WATCH"):
                    content = await response.read()
                raise _refused(answer.status, content, answer.headers.get("Retry-After"))
            rest = b""
            while True:
                with _mapped("WATCH"):
                    try:
                        chunk = await response.content.readany()
                    except TimeoutError:
                        return
                if not chunk:
                    return
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    yield line
        finally:
            response.close()

    async def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str | int] | None,
        headers: dict[str, str],
        body: JsonObject | None,
        limits: aiohttp.ClientTimeout,
    ) -> RESTResponse:
        renewed = False
        while True:
            request = await self._client.param_serialize(
                method,
                path,
                query_params=list((query or {}).items()),
                header_params=dict(headers),
                body=body,
                auth_settings=["BearerToken"],
            )
            answer = await self._client.call_api(*request, _request_timeout=limits)
            if answer.status != UNAUTHORIZED or renewed or self._renew is None:
                return answer
            answer.response.close()
            await self._renew()
            renewed = True


@contextmanager
def _mapped(method: str) -> Iterator[None]:
    """Maps what aiohttp raises."""
    try:
        yield
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        # A timeout has no words of its own.
        words = str(error) or type(error).__name__
        metrics.KUBERNETES_REQUESTS.labels(method, type(error).__name__).inc()
        raise Transient(Reason.KUBERNETES_API, f"no answer of the Kubernetes API server: {words}") from error


def parse_json(content: bytes) -> Any:
    """The value of a JSON text; what is nested too deeply is `null` in it. Raises Transient."""
    try:
        return orjson.loads(content)
    except ValueError:
        pass
    try:
        return orjson.loads(nesting.cut_deep(content))
    except ValueError:
        # Not from the API server: something between us answered in its place.
        raise Transient(Reason.KUBERNETES_API, "the answer of the Kubernetes API server is no JSON") from None


def resource_path(
    kind: str, namespace: str | None = None, name: str | None = None, subresource: str | None = None
) -> str:
    """The path of objects of ours: of all namespaces (None), of one, or one object.

    namespace: empty, as in a `Ref`, for a kind that is cluster-scoped.
    """
    scope = ["namespaces", namespace] if namespace else []
    parts = ["apis", API_VERSION, *scope, BY_NAME[kind].plural, *filter(None, (name, subresource))]
    return "/" + "/".join(quote(part, safe="/") for part in parts)


def core_path(namespace: str | None, plural: str, name: str = "") -> str:
    """The path of namespaced objects of Kubernetes' own: of all namespaces (None), of one, or one object."""
    scope = ["namespaces", quote(namespace, safe="")] if namespace is not None else []
    return "/".join(["/api/v1", *scope, plural, *([quote(name, safe="")] if name else [])])


def _refused(status: int, content: bytes, retry_after: str | None) -> Refused:
    try:
        answer: Any = orjson.loads(content)
        message = str(answer["message"])
    except (ValueError, KeyError, TypeError):
        message = f"HTTP {status} without an explanation"
    seconds = float(retry_after) if retry_after and retry_after.isdigit() else None
    return Refused(status, f"the Kubernetes API server refused: {message}", retry_after=seconds)
