"""What this owner has in Qdrant and no longer declares: found by marks and ledgers alone, there is no local state.

Called by `apply` and `plan`. What is found becomes resources that are being deleted, so that the finalizers of the
reconcilers do the rest, with the same care and by the policies that were recorded when the resources were still
declared.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from vectorops.api.meta import FINALIZER, JsonObject, Ref, Resource
from vectorops.api.reasons import Reason
from vectorops.errors import Rejected, Terminal
from vectorops.local.cluster import first_day
from vectorops.local.session import Session
from vectorops.qdrant.database import Database
from vectorops.qdrant.ledger import FORMAT, require_ledger_collection
from vectorops.qdrant.marks import Mark, mark_of
from vectorops.reconcilers.dependencies import Access, cleanup_access

DELETED_AT: Final = "1970-01-01T00:00:00Z"
"""A time of deletion; only that there is one counts."""


@dataclass(slots=True)
class LeftOver:
    """resources: to delete, as if they had been declared and deleted. notices: what cannot be, and why."""

    resources: list[Resource] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)


async def left_over(session: Session, *, stand_in: bool) -> LeftOver:
    """Looks into every database that a Ready connection leads to.

    stand_in: are connections that the files lack made, for `--qdrant`?
    """
    found = LeftOver()
    seen: set[tuple[str, str]] = set()
    for ref in session.cluster.refs:
        connection = session.cluster.now(ref)
        if ref.kind != "QdrantConnection" or connection is None or not connection.ready:
            continue
        access = await cleanup_access(session.context, ref.namespace, ref.name)
        place = (access.database.endpoint, access.ledger_collection)
        if place in seen:
            continue
        seen.add(place)
        for left in await _owned(access, session.context.installation, through=ref):
            if session.cluster.now(left.resource.ref) is not None:
                continue
            if stand_in or session.cluster.now(left.connection) is not None:
                found.resources.append(left.resource)
            else:
                found.notices.append(
                    f"{left.resource.ref} is left alone: the files hold no {left.connection} to reach it by"
                )
    return found


@dataclass(frozen=True, slots=True)
class _Left:
    """One resource as it was, and the connection that leads to what it owns."""

    resource: Resource
    connection: Ref


async def _owned(access: Access, installation: str, through: Ref) -> list[_Left]:
    """All that this installation has in one database, points before collections."""
    marks = [mark for mark in await _marks(access.database) if _is_ours(mark, installation)]
    by_collection = {mark.collection: mark for mark in marks}
    sets: dict[Ref, _Left] = {}
    for head in await _ledger_heads(access):
        owner, namespace, name = str(head["owner"]).rsplit("/", 2)
        mark = by_collection.get(head["collection"])
        current = mark is not None and mark.incarnation == head["incarnation"]
        ref = Ref("PointSet", namespace, name)
        # Of a set that moved, the ledger of the collection that still is there counts most.
        if owner == installation and (ref not in sets or current):
            sets[ref] = _point_set(ref, head, mark, through)
    return [*sets.values(), *(_collection(mark) for mark in marks)]


def _is_ours(mark: Mark, installation: str) -> bool:
    return mark.installation == installation and mark.kind == "QdrantCollection" and not mark.released


async def _marks(database: Database) -> list[Mark]:
    found = []
    for name in await database.collection_names():
        try:
            collection = await database.collection(name)
        except Rejected as error:
            if error.reason != Reason.INVALID_SPEC:
                raise
            # Somebody else's name that cannot be asked for, as `..`: nothing of ours can be called that.
            continue
        try:
            mark = mark_of(collection or {}, name)
        except Terminal:
            # Of a newer version: whoever owns it, this one must not touch it.
            continue
        if mark is not None:
            found.append(mark)
    return found


async def _ledger_heads(access: Access) -> list[JsonObject]:
    where = {"must": [{"key": "kind", "match": {"value": "head"}}]}
    try:
        if not await require_ledger_collection(access.database, access.ledger_collection, change=False):
            return []
    except Terminal:
        # What somebody else keeps under that name says nothing of ours.
        return []
    records = await access.database.scroll(access.ledger_collection, where, payload=True)
    # Of a newer format, or damaged: whoever wrote it, this version cannot tell what it says.
    return [record.payload for record in records if _is_head(record.payload)]


def _is_head(head: JsonObject) -> bool:
    texts = [head.get(key) for key in ("owner", "collection", "incarnation")]
    return (
        (head.get("format"), head.get("bits")) == (FORMAT, 0)
        and all(isinstance(text, str) for text in texts)
        and str(head["owner"]).count("/") > 1
    )


def _point_set(ref: Ref, head: JsonObject, mark: Mark | None, through: Ref) -> _Left:
    # A collection that its user manages has no mark; its connection is the one that led here, if it is of the same
    # namespace.
    connection = Ref("QdrantConnection", ref.namespace, mark.connection if mark else through.name)
    spec: JsonObject = {
        "collectionRef": {"name": mark.name if mark else head["collection"]},
        "points": [],
        "deletionPolicy": head.get("deletion_policy", "Retain"),
    }
    where = {"connection": connection.name, "collection": head["collection"], "incarnation": head["incarnation"]}
    return _Left(_deleted(ref, spec, {"target": where}), connection)


def _collection(mark: Mark) -> _Left:
    spec = {
        "connectionRef": {"name": mark.connection},
        "collectionName": mark.collection,
        "deletionPolicy": mark.deletion_policy,
    }
    ref = Ref(mark.kind, mark.namespace, mark.name)
    where = {"name": mark.collection, "incarnation": mark.incarnation}
    return _Left(_deleted(ref, spec, {"collection": where}), Ref("QdrantConnection", mark.namespace, mark.connection))


def _deleted(ref: Ref, spec: JsonObject, status: JsonObject) -> Resource:
    meta = first_day(ref, deletion_timestamp=DELETED_AT, finalizers=[FINALIZER])
    return Resource(ref.kind, meta, spec, status)
