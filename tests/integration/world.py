"""The words that integration tests are written in: resources as short calls, conditions as predicates, Qdrant as it is.

Nothing here knows how the operator works; it speaks to the API server and, with the plain client, to Qdrant.
"""

import uuid
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from qdrant_client import AsyncQdrantClient

from servers.kubeapi import KubeApi, Object, condition
from servers.qdrant import QdrantServer

API_VERSION = "vectorops.dev/v1alpha1"


def resource(
    kind: str, namespace: str, name: str, spec: Object, annotations: Mapping[str, str] | None = None
) -> Object:
    """Any resource of ours."""
    metadata: Object = {"name": name, "namespace": namespace}
    if annotations:
        metadata["annotations"] = dict(annotations)
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": metadata, "spec": spec}


def connection(namespace: str, server: QdrantServer | str, name: str = "main", **spec: Any) -> Object:
    """A QdrantConnection to a test server (over gRPC where it writes points) or to a URL (REST only)."""
    if isinstance(server, str):
        spec = {"url": server, "preferGrpc": False} | spec
    else:
        spec = {"url": server.url, "grpcPort": server.grpc_port} | spec
    return resource("QdrantConnection", namespace, name, spec)


def secret(namespace: str, name: str, **data: str) -> Object:
    """A Secret; `_` in a key stands for `-` (`api_key="..."`), `__` for `.` (`ca__crt="..."`)."""
    named = {key.replace("__", ".").replace("_", "-"): value for key, value in data.items()}
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": named}


def collection(namespace: str, name: str, *, annotations: Mapping[str, str] | None = None, **spec: Any) -> Object:
    """A QdrantCollection on the connection `main`; one unnamed vector of three components unless `spec` says
    otherwise.
    """
    if not spec.keys() & {"vector", "vectors", "sparseVectors"}:
        spec["vector"] = {"size": 3}
    return resource("QdrantCollection", namespace, name, {"connectionRef": {"name": "main"}} | spec, annotations)


def point_set(
    namespace: str,
    name: str,
    collection: str,
    points: list[Object],
    *,
    annotations: Mapping[str, str] | None = None,
    **spec: Any,
) -> Object:
    """A PointSet."""
    return resource(
        "PointSet", namespace, name, {"collectionRef": {"name": collection}, "points": points} | spec, annotations
    )


def point(id: Any, *unnamed: float, payload: Object | None = None, **named: list[float]) -> Object:
    """A point: `point(1, 0.1, 0.2, 0.3)` with the unnamed vector, `point("a", text=[...])` with named ones."""
    declared: Object = {"id": id}
    if unnamed:
        declared["vector"] = {"values": list(map(float, unnamed))}
    if named:
        declared["vectors"] = {name: {"values": list(map(float, values))} for name, values in named.items()}
    if payload is not None:
        declared["payload"] = payload
    return declared


def is_current(obj: Object) -> bool:
    """Does the status speak of the spec as it is?"""
    return bool(obj.get("status", {}).get("observedGeneration") == obj["metadata"]["generation"])


def has_reason(reason: str) -> Any:
    """A predicate: Ready carries this reason, for the spec as it is."""
    return lambda obj: is_current(obj) and condition(obj, "Ready").get("reason") == reason


async def look_again(api: KubeApi, kind: str, namespace: str, name: str) -> Object:
    """Asks for a reconciliation by annotation, and waits until one came to an end (Ready, or without hope)."""
    token = uuid.uuid4().hex
    await api.annotate(kind, namespace, name, {"vectorops.dev/reconcile": token})
    return await api.wait_for(
        kind, namespace, name, lambda found: found.get("status", {}).get("lastHandledReconcileAt") == token
    )


def mark_of(server: QdrantServer, collection: str) -> Object:
    """The ownership mark in the collection's metadata; an empty one if there is none."""
    metadata = server.get(f"/collections/{collection}")["config"].get("metadata") or {}
    return dict(metadata.get("vectorops.dev/mark") or {})


class Stored:
    """What a server holds, seen through the plain client: the fixture `stored`, or `async with Stored(server) as
    stored:`.
    """

    def __init__(self, server: QdrantServer) -> None:
        self.client: AsyncQdrantClient = server.client()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.client.close()

    async def exists(self, collection: str) -> bool:
        return await self.client.collection_exists(collection)

    async def count(self, collection: str) -> int:
        return (await self.client.count(collection, exact=True)).count

    async def points(self, collection: str) -> dict[Any, Any]:
        """All points with everything, by id."""
        found, _ = await self.client.scroll(collection, limit=10_000, with_payload=True, with_vectors=True)
        return {point.id: point for point in found}

    async def vectors(self, collection: str) -> dict[Any, Any]:
        """All vectors, by id."""
        return {id: point.vector for id, point in (await self.points(collection)).items()}

    async def payloads(self, collection: str) -> dict[Any, Any]:
        """All payloads, by id."""
        return {id: point.payload for id, point in (await self.points(collection)).items()}

    async def versions(self, collection: str, using: str | None = None) -> dict[Any, int]:
        """The number of the operation that last changed each point, by id: the same number means not written again."""
        found = await self.client.query_points(collection, limit=10_000, using=using)
        return {point.id: point.version for point in found.points}
