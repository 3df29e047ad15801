"""Finds what a resource depends on, or raises `Waiting` with words that say which one is missing and why."""

from __future__ import annotations

from vectorops.api.meta import Ref, Resource
from vectorops.api.reasons import Reason
from vectorops.errors import Waiting
from vectorops.qdrant.database import Database
from vectorops.reconcilers.base import Cluster, Context
from vectorops.reconcilers.references import target


async def connection_of(cluster: Cluster, resource: Resource) -> Resource | None:
    """The connection that a resource hangs on, through its collection if need be; the resource itself if it is one."""
    current: Resource | None = resource
    while current is not None and current.kind != "QdrantConnection":
        pointed_at = target(current)
        current = await cluster.get(pointed_at) if pointed_at else None
    return current


async def require_database(context: Context, collection: Resource) -> Database:
    """The database of a collection, if its connection is Ready: the connection is the breaker for all that use it."""
    ref = target(collection)
    assert ref is not None, "the API server requires connectionRef"
    connection = await context.cluster.get(ref)
    if connection is None:
        raise Waiting(Reason.CONNECTION_NOT_FOUND, f"there is no QdrantConnection {ref.name!r} in this namespace", on=ref)
    if connection.spec.get("suspend"):
        raise Waiting(Reason.CONNECTION_NOT_READY, f"QdrantConnection {ref.name!r} is suspended", on=ref)
    if not connection.ready:
        raise Waiting(Reason.CONNECTION_NOT_READY, f"QdrantConnection {ref.name!r} is not ready{_why(connection)}", on=ref)
    return await context.databases.of(context.cluster, connection)


async def require_collection(context: Context, point_set: Resource) -> Resource:
    """The QdrantCollection of a PointSet."""
    ref = target(point_set)
    assert ref is not None, "the API server requires collectionRef"
    collection = await context.cluster.get(ref)
    if collection is None:
        raise Waiting(Reason.COLLECTION_NOT_FOUND, f"there is no QdrantCollection {ref.name!r} in this namespace", on=ref)
    return collection


def connection_ref(namespace: str, name: str) -> Ref:
    """The key of a connection."""
    return Ref("QdrantConnection", namespace, name)


def _why(resource: Resource) -> str:
    ready = resource.condition("Ready")
    current = resource.status.get("observedGeneration") == resource.meta.generation
    return f": {ready['message']}" if ready and current and ready.get("message") else ""
