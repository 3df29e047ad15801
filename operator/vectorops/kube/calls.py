"""One request to the API server, and what its failure means. Called by `cluster` and `listing` only.

The generated models of the client library are not used: ours are custom resources, and decoding a Secret or an Event
into classes costs more than it tells.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import quote

import aiohttp
import orjson
from kubernetes.aio.client import ApiClient

from vectorops import metrics
from vectorops.api.meta import API_VERSION, JsonObject
from vectorops.api.reasons import Reason
from vectorops.errors import Transient

PLURALS: Final = {
    "QdrantConnection": "qdrantconnections",
    "QdrantCollection": "qdrantcollections",
    "PointSet": "pointsets",
}
"""Kind to the name of the resource in paths."""
FIELD_MANAGER: Final = "vectorops"
MERGE_PATCH: Final = "application/merge-patch+json"

FORBIDDEN: Final = 403
NOT_FOUND: Final = 404
CONFLICT: Final = 409
EXPIRED: Final = 410

TIMEOUT: Final = aiohttp.ClientTimeout(total=30, connect=10)


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
    """

    def __init__(self, client: ApiClient, *, admit: Callable[[], None] | None = None) -> None:
        self._client = client
        self._admit = admit

    async def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str | int] | None = None,
        body: JsonObject | None = None,
        content_type: str = "application/json",
    ) -> JsonObject:
        """The JSON of the answer. Raises Refused, or Transient when there is no answer."""
        if self._admit is not None and method != "GET":
            self._admit()
        try:
            request = await self._client.param_serialize(
                method,
                path,
                query_params=list((query or {}).items()),
                header_params={"Accept": "application/json", "Content-Type": content_type},
                body=body,
                auth_settings=["BearerToken"],
            )
            answer = await self._client.call_api(*request, _request_timeout=TIMEOUT)
            content: bytes = await answer.read()  # type: ignore[no-untyped-call]
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            # A timeout has no words of its own.
            words = str(error) or type(error).__name__
            metrics.KUBERNETES_REQUESTS.labels(method, type(error).__name__).inc()
            raise Transient(Reason.KUBERNETES_API, f"no answer of the Kubernetes API server: {words}") from error
        metrics.KUBERNETES_REQUESTS.labels(method, str(answer.status)).inc()
        if not 200 <= answer.status < 300:
            raise _refused(answer.status, content, answer.headers.get("Retry-After"))
        try:
            parsed: JsonObject = orjson.loads(content)
        except ValueError:
            # Not from the API server: something between us answered in its place.
            raise Transient(Reason.KUBERNETES_API, "the answer of the Kubernetes API server is no JSON") from None
        return parsed


def resource_path(
    kind: str, namespace: str | None = None, name: str | None = None, subresource: str | None = None
) -> str:
    """The path of objects of ours: of all namespaces, of one, or one object."""
    scope = ["namespaces", namespace] if namespace is not None else []
    parts = ["apis", API_VERSION, *scope, PLURALS[kind], *filter(None, (name, subresource))]
    return "/" + "/".join(quote(part, safe="/") for part in parts)


def core_path(namespace: str, plural: str, name: str) -> str:
    """The path of a namespaced object of Kubernetes' own."""
    return f"/api/v1/namespaces/{quote(namespace, safe='')}/{plural}/{quote(name, safe='')}"


def _refused(status: int, content: bytes, retry_after: str | None) -> Refused:
    try:
        told: Any = orjson.loads(content)
        message = str(told["message"])
    except (ValueError, KeyError, TypeError):
        message = f"HTTP {status} without an explanation"
    seconds = float(retry_after) if retry_after and retry_after.isdigit() else None
    return Refused(status, f"the Kubernetes API server refused: {message}", retry_after=seconds)
