"""What this owner has in Qdrant and no longer declares, or declares in another place: found by marks and ledgers alone,
there is no local state.

What is to go becomes resources that are being deleted, so that the finalizers of the
reconcilers do the rest, with the same care and by the policies that were recorded when the resources were still
declared.

In a cluster neither the name of a collection nor the collection of a set can be changed: the API server knows what was
declared before. Here mark and ledger know it.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Final

from vectorops.api.kinds import CONNECTION_KINDS, ref_to
from vectorops.api.meta import FINALIZER, POINT_SET, QDRANT_COLLECTION, JsonObject, Ref, Resource
from vectorops.api.pointset import PointSetTarget
from vectorops.api.reasons import Reason
from vectorops.errors import Rejected, Terminal
from vectorops.ledger.collection import require_ledger_collection
from vectorops.ledger.records import part_of
from vectorops.local.cluster import LocalCluster, first_day
from vectorops.local.session import Session
from vectorops.qdrant.database import Database
from vectorops.qdrant.marks import Mark
from vectorops.qdrant.observe import read_mark
from vectorops.reconcilers.dependencies import (
    UNMANAGED,
    Access,
    cleanup_access,
    require_access,
    require_collection,
)
from vectorops.reconcilers.placement import Placement, find_placement
from vectorops.reconcilers.references import target
from vectorops.reconcilers.spec import RawSpec

DELETED_AT: Final = "1970-01-01T00:00:00Z"
"""A time of deletion; only that there is one counts."""

Place = tuple[str, str]
"""A collection in Qdrant: endpoint of the database, name."""


@dataclass(slots=True)
class LeftOver:
    """resources: to delete, as if they had been declared and deleted.
    moved: to delete in the place where they were, by the collection's name; they are declared in another.
    notices: what cannot be deleted, and why.
    """

    resources: list[Resource] = field(default_factory=list)
    moved: dict[str, list[Resource]] = field(default_factory=dict)
    notices: list[str] = field(default_factory=list)


async def left_over(session: Session, *, stand_in: bool) -> LeftOver:
    """Looks into every database that a Ready connection leads to.

    stand_in: are connections that the files lack made, for `--qdrant`?
    """
    found = LeftOver()
    cluster, installation = session.cluster, session.context.installation
    left: dict[Ref, _Left] = {}
    seen: set[tuple[Ref, str, str]] = set()
    for access, through in await _accesses(session):
        for one in await _owned(access, installation, through=through):
            ref = one.resource.ref
            declared = cluster.now(ref)
            known = (ref, one.place[1], one.incarnation)
            if known in seen or (declared is not None and (not one.current or await _is_its_place(session, one))):
                continue
            if one.incarnation != UNMANAGED:
                seen.add(known)
            if not stand_in and cluster.now(one.connection) is None:
                found.notices.append(f"{ref} is left alone: the files hold no {one.connection} to reach it by")
            elif declared is not None or (one.current and ref in left and left[ref].current):
                found.moved.setdefault(one.place[1], []).append(one.resource)
            elif ref not in left or one.current:
                # Of a set that moved, the ledger of the collection that still is there counts most.
                left[ref] = one
    found.resources = [one.resource for one in left.values()]
    return found


def beside(cluster: LocalCluster, doomed: list[Resource]) -> LocalCluster:
    """A cluster for resources that are being deleted while others of their names are declared."""
    connections = [one for ref in cluster.refs if ref.kind in CONNECTION_KINDS and (one := cluster.now(ref))]
    return cluster.with_others([*connections, *doomed])


class Places:
    """Sees to it that nothing is declared in another place than the one where the owner has it already.

    One for each run. The marks of a database are read only if a declared resource is not where it should be.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._heads: dict[tuple[str, str], list[JsonObject]] = {}
        self._owned: dict[tuple[str, str], list[_Left]] = {}
        self._lock = asyncio.Lock()

    async def require(self, resource: Resource) -> None:
        """Raises Terminal InvalidSpec if the owner has it elsewhere; Waiting if what it needs is not ready."""
        if RawSpec(resource).is_suspended or resource.kind in CONNECTION_KINDS:
            return
        context = self._session.context
        is_set = resource.kind == POINT_SET
        collection = await require_collection(context, resource) if is_set else resource
        access = await require_access(context, collection)
        placement = await find_placement(access.database, collection, context.installation)
        here = (access.database.endpoint, placement.name)
        mark = placement.active.mark
        async with self._lock:
            known = (
                await self._is_here(resource.ref, access, placement)
                if is_set
                else mark is not None and mark.belongs_to(context.installation, resource.ref)
            )
            elsewhere = [] if known else await self._elsewhere(resource.ref, here)
        if elsewhere:
            raise Terminal(Reason.INVALID_SPEC, _moved(resource, elsewhere[0], here))

    async def _is_here(self, ref: Ref, here: Access, placement: Placement) -> bool:
        """Has the set a ledger for this collection, or none at all?"""
        owner = f"{self._session.context.installation}/{ref.namespace}/{ref.name}"
        places = set()
        for access, _ in await _accesses(self._session):
            key = (access.database.endpoint, access.ledger_collection)
            if key not in self._heads:
                self._heads[key] = await _ledger_heads(access)
            places |= {(key[0], head["collection"]) for head in self._heads[key] if head["owner"] == owner}
        names = {placement.name, *(one.name for one in placement.all)}
        return not places or any((here.database.endpoint, name) in places for name in names)

    async def _elsewhere(self, ref: Ref, here: Place) -> list[_Left]:
        found = []
        for access, through in await _accesses(self._session):
            key = (access.database.endpoint, access.ledger_collection)
            if key not in self._owned:
                self._owned[key] = await _owned(access, self._session.context.installation, through=through)
            found += [one for one in self._owned[key] if one.resource.ref == ref and one.current and one.place != here]
        return found


def _moved(resource: Resource, had: _Left, here: Place) -> str:
    """What the API server says in fewer words: the field is immutable."""
    endpoint, name = had.place
    away = endpoint != here[0]
    if resource.kind == POINT_SET:
        changed, what, it = "collectionRef", f"the points of this set are in collection {name!r}", "them"
    else:
        changed = "connectionRef" if away else "collectionName"
        what, it = f"this resource has collection {name!r}", "it"
    fate = (
        f"deletes {it}"
        if RawSpec(had.resource).deletes
        else f"lets go of {it} and leaves {it} there (deletionPolicy: Retain)"
    )
    return (
        f"spec.{changed} must not lead to another collection, {here[1]!r}: {what}{f' at {endpoint}' if away else ''}. "
        f"Change it back; or run with --prune, which {fate}; or, if this is another resource of the same name, give it "
        "an --owner of its own"
    )


async def _is_its_place(session: Session, one: _Left) -> bool:
    """Is it what the declared resource of its name is to have, or is that unknown?

    Several addresses may lead to one server, so that another one proves nothing: another incarnation does.
    """
    found = await _place(session, one.resource.ref)
    if found is None:
        return True
    access, placement = found
    endpoint, had = one.place
    if placement.name != had or access.database.endpoint == endpoint:
        return placement.name == had
    return one.incarnation in {found.mark.incarnation if found.mark else UNMANAGED for found in placement.all}


async def _place(session: Session, ref: Ref) -> tuple[Access, Placement] | None:
    """Where a declared resource is to be, as access and collections; None if what it names is not there, or not
    ready.
    """
    resource = collection = session.cluster.now(ref)
    if resource is not None and resource.kind == POINT_SET:
        into = target(resource)
        collection = session.cluster.now(into) if into else None
    through = target(collection) if collection else None
    connection = session.cluster.now(through) if through else None
    if collection is None or connection is None or not connection.ready:
        return None
    access = await cleanup_access(session.context, connection.ref)
    try:
        return access, await find_placement(access.database, collection, session.context.installation)
    except Terminal:
        # A mark of a newer version: whoever owns the collection, this one must not touch it.
        return None


async def _accesses(session: Session) -> list[tuple[Access, Ref]]:
    """Every database that a Ready connection leads to, once, and that connection."""
    found: dict[tuple[str, str], tuple[Access, Ref]] = {}
    for ref in session.cluster.refs:
        connection = session.cluster.now(ref)
        if ref.kind in CONNECTION_KINDS and connection is not None and connection.ready:
            access = await cleanup_access(session.context, ref)
            found.setdefault((access.database.endpoint, access.ledger_collection), (access, ref))
    return list(found.values())


@dataclass(frozen=True, slots=True)
class _Left:
    """One resource as it was, and the connection that leads to what it owns.

    incarnation: of the collection. current: is it there still? (Else only a ledger is left of it.)
    """

    resource: Resource
    connection: Ref
    place: Place
    incarnation: str
    current: bool = True


async def _owned(access: Access, installation: str, through: Ref) -> list[_Left]:
    """All that this installation has in one database, points before collections."""
    names = await access.database.collection_names()
    marks = {name: mark for name in names if (mark := await _mark(access.database, name)) is not None}
    # Of those behind one alias, the one that served last stands for all: whoever deletes it deletes all.
    served = {mark.alias: mark for mark in sorted(marks.values(), key=lambda mark: mark.switched_at) if mark.alias}
    marks_of_copies = {name for name, mark in marks.items() if mark.alias and served[mark.alias] != mark}
    found = []
    for head in await _ledger_heads(access):
        owner, namespace, name = str(head["owner"]).rsplit("/", 2)
        if owner == installation and head["collection"] not in marks_of_copies:
            mark = marks.get(head["collection"])
            current = head["collection"] in names and (mark is None or mark.incarnation == head["incarnation"])
            place = (access.database.endpoint, _declared_name(mark) if mark else head["collection"])
            ref = Ref(POINT_SET, namespace, name)
            found.append(
                _point_set(ref, head, mark if mark and _is_ours(mark, installation) else None, through, place, current)
            )
    ours = [mark for name, mark in marks.items() if _is_ours(mark, installation) and name not in marks_of_copies]
    return [*found, *(_collection(mark, access) for mark in ours)]


def _declared_name(mark: Mark) -> str:
    return mark.alias or mark.collection


def _is_ours(mark: Mark, installation: str) -> bool:
    return mark.installation == installation and mark.kind == QDRANT_COLLECTION and not mark.released


async def _mark(database: Database, name: str) -> Mark | None:
    try:
        return await read_mark(database, name)
    except Rejected as error:
        if error.reason != Reason.INVALID_SPEC:
            raise
        # Somebody else's name that cannot be asked for, as `..`: nothing of ours can be called that.
        return None
    except Terminal:
        # Of a newer version: whoever owns it, this one must not touch it.
        return None


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
        part_of(head) is not None and all(isinstance(text, str) for text in texts) and str(head["owner"]).count("/") > 1
    )


def _point_set(ref: Ref, head: JsonObject, mark: Mark | None, through: Ref, place: Place, current: bool) -> _Left:
    # A collection that its user manages has no mark; its connection is the one that led here, if it is of the same
    # namespace.
    connection = _connection(mark) if mark else ref_to(through.kind, ref.namespace, through.name)
    spec: JsonObject = {
        "collectionRef": {"name": mark.name if mark else head["collection"]},
        "points": [],
        "deletionPolicy": head.get("deletion_policy", "Retain"),
    }
    where = PointSetTarget.through(connection, head["collection"], head["incarnation"])
    return _Left(_as_deleted(ref, spec, {"target": where.dump()}), connection, place, head["incarnation"], current)


def _collection(mark: Mark, access: Access) -> _Left:
    spec = {
        "connectionRef": {"name": mark.connection, "kind": mark.connection_kind},
        "collectionName": _declared_name(mark),
        "layout": "Aliased" if mark.alias else "Direct",
        "deletionPolicy": mark.deletion_policy,
    }
    ref = Ref(mark.kind, mark.namespace, mark.name)
    where = {"name": mark.collection, "incarnation": mark.incarnation}
    connection = _connection(mark)
    place = (access.database.endpoint, _declared_name(mark))
    return _Left(_as_deleted(ref, spec, {"collection": where}), connection, place, mark.incarnation)


def _connection(mark: Mark) -> Ref:
    return ref_to(mark.connection_kind, mark.namespace, mark.connection)


def _as_deleted(ref: Ref, spec: JsonObject, status: JsonObject) -> Resource:
    meta = first_day(ref, deletion_timestamp=DELETED_AT, finalizers=[FINALIZER])
    return Resource(ref.kind, meta, spec, status)
