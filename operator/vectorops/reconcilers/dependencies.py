"""Finds what a resource depends on, or raises `Waiting` with words that say which one is missing and why."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Final

from vectorops.api.connection import LEDGER_COLLECTION
from vectorops.api.kinds import BY_NAME, CONNECTION_KINDS
from vectorops.api.meta import Ref, Resource
from vectorops.api.reasons import Reason
from vectorops.errors import Terminal, Transient, VectorOpsError, Waiting
from vectorops.ledger.collection import holds_records
from vectorops.qdrant.database import Database
from vectorops.qdrant.observe import Observed
from vectorops.reconcilers.base import Context
from vectorops.reconcilers.cluster import Cluster
from vectorops.reconcilers.placement import declared_names
from vectorops.reconcilers.references import target
from vectorops.reconcilers.spec import RawSpec
from vectorops.reconcilers.tenancy import require_allowed

UNMANAGED: Final = "unmanaged"
"""Incarnation of a collection that its user manages: it carries no mark of ours, so one cannot be told from the
next.
"""


@dataclass(frozen=True, slots=True)
class Access:
    """A database to work in."""

    connection: Ref
    """The connection that leads there."""
    database: Database
    ledger_collection: str
    """Where its ledgers are kept."""


async def connection_of(cluster: Cluster, resource: Resource) -> Resource | None:
    """The connection that a resource hangs on, through its collection if need be; the resource itself if it is one."""
    current: Resource | None = resource
    while current is not None and current.kind not in CONNECTION_KINDS:
        pointed_at = target(current)
        current = await cluster.get(pointed_at) if pointed_at else None
    return current


def connection_ref(collection: Resource) -> Ref:
    """The connection that a QdrantCollection names, from its raw spec. Raises Terminal InvalidSpec."""
    ref = target(collection)
    if ref is None:
        # The API server requires the reference; its kind may be one of a later release.
        kind = (collection.spec.get("connectionRef") or {}).get("kind")
        raise Terminal(Reason.INVALID_SPEC, f"spec.connectionRef.kind: this version knows no {kind!r}; upgrade it")
    return ref


async def require_access(context: Context, collection: Resource) -> Access:
    """The database of a collection, if its connection is Ready: the connection is the breaker for all that use it.

    Raises Waiting (ConnectionNotFound, ConnectionNotReady, Progressing, NotAllowed) or Terminal (InvalidSpec,
    NotAllowed).
    """
    ref = connection_ref(collection)
    named, is_namespaced = f"{ref.kind} {ref.name!r}", BY_NAME[ref.kind].is_namespaced
    if not is_namespaced and not context.sees_cluster:
        raise Terminal(Reason.NOT_ALLOWED, f"{_without_cluster(ref)}; name a QdrantConnection")
    connection = await context.cluster.get(ref)
    if connection is None:
        where = " in this namespace" if is_namespaced else ""
        raise Waiting(Reason.CONNECTION_NOT_FOUND, f"there is no {named}{where}", on=ref)
    if not is_namespaced:
        await require_allowed(context, connection, collection)
    if RawSpec(connection).is_suspended:
        raise Waiting(Reason.CONNECTION_NOT_READY, f"{named} is suspended", on=ref)
    if _is_checked_again(connection):
        raise Waiting(Reason.PROGRESSING, f"{named} was changed and is checked again", on=ref)
    if not connection.ready:
        raise Waiting(Reason.CONNECTION_NOT_READY, f"{named} is not ready{_why(connection)}", on=ref)
    with _without_details(connection):
        database = await context.databases.of(context.cluster, connection)
    if not database.info.version:
        # Opened just now, as after a restart of ours: what can be changed in place depends on the server's version.
        await database.check()
    access = _access(connection, database)
    # The default name is nobody's in any case: other connections to the same Qdrant keep theirs there.
    kept = {access.ledger_collection, LEDGER_COLLECTION}
    if taken := kept & (declared_names(collection) | RawSpec(collection).aliases):
        raise Terminal(
            Reason.INVALID_SPEC,
            f"{min(taken)!r} is where VectorOps keeps ledgers: choose another name for the collection or the alias",
        )
    return access


async def cleanup_access(context: Context, ref: Ref) -> Access:
    """The database of a connection, for cleaning up: with the client that worked last, should the connection or its
    Secret be gone already.
    """
    if not (BY_NAME[ref.kind].is_namespaced or context.sees_cluster):
        raise Transient(Reason.NOT_ALLOWED, f"{_without_cluster(ref)}, so nothing can be cleaned up: {_GIVE_UP}")
    connection = await context.cluster.get(ref)
    if connection is None:
        # No resource means no settings either; the default is right unless somebody chose otherwise.
        last_good = context.databases.last_good(ref)
        if last_good is None:
            raise Transient(
                Reason.CONNECTION_NOT_FOUND,
                f"there is no {ref.kind} {ref.name!r} any more, so nothing can be cleaned up: create it again, or "
                f"{_GIVE_UP}",
            )
        return Access(ref, last_good, LEDGER_COLLECTION)
    if RawSpec(connection).is_suspended:
        raise Waiting(Reason.CONNECTION_NOT_READY, f"{ref.kind} {ref.name!r} is suspended", on=ref)
    with _without_details(connection):
        database = await context.databases.to_the_end(context.cluster, connection)
    return _access(connection, database)


async def reopen(context: Context, resource: Resource) -> bool:
    """Opens the database of a resource with fresh credentials. False: there is no connection to open."""
    connection = await connection_of(context.cluster, resource)
    if connection is None:
        return False
    with nullcontext() if connection.ref == resource.ref else _without_details(connection):
        await context.databases.of(context.cluster, connection, fresh=True)
    return True


@contextmanager
def _without_details(connection: Resource) -> Iterator[None]:
    """Whoever uses a cluster-wide connection learns that it cannot be opened, and nothing of its Secrets."""
    try:
        yield
    except VectorOpsError as error:
        if BY_NAME[connection.kind].is_namespaced:
            raise
        message = f"{connection.kind} {connection.meta.name!r} cannot be opened: {error.reason.value}"
        raise Waiting(Reason.CONNECTION_NOT_READY, message, on=connection.ref) from error


_GIVE_UP: Final = "set the annotation vectorops.dev/skip-cleanup to let this resource go and leave the data"


def _without_cluster(ref: Ref) -> str:
    return f"{ref.kind} {ref.name!r} cannot be used: this operator watches some namespaces only"


async def require_collection(context: Context, point_set: Resource) -> Resource:
    """The QdrantCollection of a PointSet."""
    ref = target(point_set)
    assert ref is not None, "the API server requires the reference"
    collection = await context.cluster.get(ref)
    if collection is None:
        raise Waiting(
            Reason.COLLECTION_NOT_FOUND, f"there is no QdrantCollection {ref.name!r} in this namespace", on=ref
        )
    if collection.deleting:
        raise Waiting(Reason.COLLECTION_NOT_READY, f"QdrantCollection {ref.name!r} is being deleted", on=ref)
    return collection


async def holds_ledgers(database: Database, found: Observed) -> bool:
    """Does an unmarked collection look like one of ledgers, from before these were marked?"""
    return found.exists and found.mark is None and not found.has_vectors and await holds_records(database, found.name)


def _access(connection: Resource, database: Database) -> Access:
    return Access(connection.ref, database, RawSpec(connection).ledger_collection)


def _is_checked_again(connection: Resource) -> bool:
    """Was it Ready before its spec changed?"""
    ready = connection.condition("Ready")
    return ready is not None and ready.get("status") == "True" and not connection.ready


def _why(resource: Resource) -> str:
    ready = resource.condition("Ready")
    if ready and not BY_NAME[resource.kind].is_namespaced:
        # The message is for whoever may read the connection: it may name Secrets, and objects of other namespaces.
        return f": {ready['reason']}"
    current = resource.status.get("observedGeneration") == resource.meta.generation
    return f": {ready['message']}" if ready and current and ready.get("message") else ""
