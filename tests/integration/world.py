"""The words that integration tests are written in: resources as short calls, conditions as predicates, Qdrant as it is.

Nothing here knows how the operator works; it speaks to the API server and, with the plain client, to Qdrant.
"""

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import httpx
from qdrant_client import AsyncQdrantClient, models

from servers.kubeapi import Object, condition
from servers.qdrant import QdrantServer

API_VERSION = "vectorops.dev/v1alpha1"
MARK = "vectorops.dev/mark"


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


def config_of(server: QdrantServer, collection: str) -> Any:
    """The configuration of a collection, as Qdrant tells it."""
    return server.get(f"/collections/{collection}")["config"]


def indexes_of(server: QdrantServer, collection: str) -> Any:
    """The payload indexes of a collection, by field."""
    return server.get(f"/collections/{collection}")["payload_schema"]


def aliases_of(server: QdrantServer, collection: str) -> set[str]:
    """The aliases that lead to a collection."""
    return {alias["alias_name"] for alias in server.get(f"/collections/{collection}/aliases")["aliases"]}


def mark_of(server: QdrantServer, collection: str) -> Object:
    """The ownership mark in the collection's metadata; an empty one if there is none."""
    metadata = config_of(server, collection).get("metadata") or {}
    return dict(metadata.get(MARK) or {})


def change_by_hand(server: QdrantServer, collection: str, body: Object) -> None:
    """Changes a collection behind the operator's back."""
    httpx.patch(f"{server.url}/collections/{collection}", json=body, timeout=30, verify=False).raise_for_status()


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
        """The number of the operation that last wrote each point, by id: the same number means not written again.

        using: the dense vector to search by; it tells of points that have it. (Only a search tells: a scroll says 0.)
        """
        params = (await self.client.get_collection(collection)).config.params.vectors
        vector = params if isinstance(params, models.VectorParams) else (params or {})[using or ""]
        found = await self.client.query_points(collection, query=[1.0] * vector.size, using=using, limit=10_000)
        versions = {point.id: point.version for point in found.points}
        assert not versions or max(versions.values()) > 0, "this search tells no versions"
        return versions


async def make_by_hand(stored: Stored, collection: str, **options: Any) -> None:
    """Makes a collection that nobody declared: one unnamed vector of three components."""
    params = models.VectorParams(size=3, distance=models.Distance.COSINE)
    await stored.client.create_collection(collection, vectors_config=params, **options)


async def put_by_hand(stored: Stored, collection: str, *ids: int) -> dict[Any, Any]:
    """Writes points that nobody declared; returns all that there are in the collection."""
    points = [models.PointStruct(id=id, vector=[1.0, 0.0, 0.0], payload={"by": "hand"}) for id in ids]
    await stored.client.upsert(collection, points, wait=True)
    return await stored.points(collection)
