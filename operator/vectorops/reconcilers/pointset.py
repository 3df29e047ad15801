"""PointSet: are the declared points in the collection, and nothing else of ours? `points.sync` does the work; this
module finds the way there and tells how it went.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence, Set
from dataclasses import replace
from typing import Final

from vectorops.api.collection import PlanStatus, QdrantCollectionSpec
from vectorops.api.connection import LEDGER_COLLECTION
from vectorops.api.kinds import ref_to
from vectorops.api.meta import APPROVE_PLAN, QDRANT_CONNECTION, SKIP_CLEANUP, JsonObject, Ref, Resource
from vectorops.api.pointset import PointCounts, PointFailure, PointSetSpec, PointSetTarget
from vectorops.api.reasons import Reason
from vectorops.collections.locks import locks_of
from vectorops.embedders.base import Embedded
from vectorops.errors import Terminal, Waiting
from vectorops.points.declared import Declaration, declare, vectors_of_texts
from vectorops.points.identity import UnusableId, point_id
from vectorops.points.replaced import Replaced, created_at
from vectorops.points.schema import schema_of
from vectorops.points.sync import GivenUp, Synced, Target, remove_points, sync
from vectorops.qdrant.collections import is_sharded_by_key, require_no_alias
from vectorops.qdrant.database import PointId, ShardKeyName
from vectorops.qdrant.ledger import LedgerKey, LedgerStore, require_ledger_collection
from vectorops.qdrant.marks import LEDGER_KEY, Mark, ledger_collection_of, mark_of, registration_key, registrations
from vectorops.qdrant.visibility import hides_points
from vectorops.reconcilers import approvals
from vectorops.reconcilers.approvals import Approval
from vectorops.reconcilers.base import Context, Outcome, conditions
from vectorops.reconcilers.cleanup import finalize, has_left
from vectorops.reconcilers.dependencies import (
    UNMANAGED,
    Access,
    cleanup_access,
    physical_name,
    require_access,
    require_collection,
    require_no_ledger,
    require_no_owner,
)
from vectorops.reconcilers.embedding import Embedding, place, resolved
from vectorops.reconcilers.embedding import declared as declared_embedders
from vectorops.reconcilers.interruption import while_unchanged
from vectorops.reconcilers.references import target
from vectorops.reconcilers.spec import parse
from vectorops.reconcilers.status import suspended, without_conditions
from vectorops.words import counted

logger = logging.getLogger(__name__)

SHOWN_FAILURES: Final = 10
CONFLICT_SECONDS: Final = 60.0


class PointSetReconciler:
    """See `driver.Reconciler`."""

    async def reconcile(self, context: Context, resource: Resource) -> Outcome:
        spec = parse(PointSetSpec, resource)
        if spec.suspend:
            return Outcome(suspended(resource))
        collection = await require_collection(context, resource)
        if (collection.status.get("plan") or {}).get("approved") and not collection.spec.get("suspend"):
            raise _not_ready(
                collection, "an approved plan takes something from its points; then they are looked at again"
            )
        access = await require_access(context, collection)
        name = physical_name(collection)
        found = await access.database.collection(name)
        if found is None:
            raise _not_ready(collection, "there is no such collection in Qdrant yet")
        if _is_users(collection):
            # Qdrant would lead us through an alias, into one collection today and into another one tomorrow.
            require_no_alias(name, await access.database.aliases())
        mark = await _owned(context, collection, access, found)
        incarnation = mark.incarnation if mark else UNMANAGED
        is_sharded = is_sharded_by_key(found["config"]["params"])
        shard_keys = await access.database.shard_keys(name) if is_sharded else {}
        check_shard_key(spec, collection, shard_keys if is_sharded else None)

        resource = await context.cluster.set_finalizer(resource, True)
        where = PointSetTarget.through(access.connection, name, incarnation).dump()
        if resource.status.get("target") != where:
            # Written down before the first point is, so that whoever deletes this set later knows where they are.
            return _progressing(resource, where)
        schema = schema_of(found)
        embedding = await embedding_of(context, collection, spec, mark)
        declaration = declare(
            spec.points,
            schema,
            embedders=embedding.identities,
            id_format=spec.id_format or "Auto",
            store_id_as=spec.store_id_as,
        )

        async def embed(vector: str, texts: Sequence[str]) -> Embedded:
            return await while_unchanged(context.cluster, resource, embedding.embed(vector, texts))

        async def approval(digest: str) -> Approval:
            return await approvals.approval(context, resource, digest, access.database, name)

        async def approves(digest: str) -> bool:
            return (await approval(digest)).given

        store = ledger_store(context, access, resource, name, incarnation, found).for_shard_key(spec.shard_key or "")
        await require_ledger_collection(access.database, access.ledger_collection)
        to = replace(sync_target(store, found, collection, mark), approves=approves)
        synced = await sync(store, to, declaration, embed, given_up_by(context, resource))
        if synced.replaced is not None:
            held_back = await approval(synced.replaced.digest)
            return Outcome(_replaced(resource, where, declaration, synced.replaced, held_back), resource=resource)
        # Of a pass that changed nothing nobody wants to read each ten minutes.
        logger.log(
            logging.INFO if synced.written or synced.deleted else logging.DEBUG,
            "points synced",
            extra={"resource": str(resource.ref), "written": synced.written, "deleted": synced.deleted},
        )
        # A sibling that gives a contested id up wakes us; anybody else may do so and cannot tell us.
        again = CONFLICT_SECONDS if synced.conflicts else None
        status = _status(resource, where, declaration, synced)
        return Outcome(status, requeue_after=again, resource=resource, gave_up=synced.gave_up)

    async def finalize(self, context: Context, resource: Resource) -> Outcome:
        async def clean_up() -> Outcome | None:
            where = await _remembered(context, resource)
            if where is not None:
                await _clean_up(context, resource, where)
            return None

        return await finalize(context, resource, clean_up)


def check_shard_key(spec: PointSetSpec, collection: Resource, shard_keys: Collection[ShardKeyName] | None) -> None:
    """Can points be kept under the declared shard key, or without one?

    shard_keys: those that the collection has; None if it is not sharded by key. Raises Terminal InvalidSpec, Waiting
    CollectionNotReady.
    """
    key, of = spec.shard_key, f"QdrantCollection {collection.meta.name!r}"
    # It is immutable, but nothing of such a set was ever written.
    again = "delete this set and create it again"
    if shard_keys is None and key is not None:
        raise Terminal(Reason.INVALID_SPEC, f"spec.shardKey: {of} has no shard keys; {again} without shardKey")
    if shard_keys is None:
        return
    if key is None:
        raise Terminal(
            Reason.INVALID_SPEC,
            f"spec.shardKey is required: {of} has sharding_method: custom, so Qdrant takes no point without a shard "
            f"key; {again} with one",
        )
    if key not in shard_keys:
        raise _not_ready(collection, f"it has no shard key {key!r}; declare it in spec.shardKeys there")


async def _owned(context: Context, collection: Resource, access: Access, found: JsonObject) -> Mark | None:
    """The mark of a collection that the operator owns; for one that its user manages, what it may have from before.

    Raises Terminal OwnedByAnother, as the collection's own resource says, or UnknownMark; Waiting CollectionNotReady.
    """
    name = physical_name(collection)
    mark = mark_of(found, name)
    if _is_users(collection):
        require_no_owner(context, collection, mark)
        if mark is None:
            await require_no_ledger(access.database, name, has_vectors=bool(schema_of(found)))
        # One that was ours once still tells its incarnation.
        return mark
    if mark is None or not mark.belongs_to(context.installation, collection.ref):
        raise _not_ready(collection, "it does not own the collection in Qdrant")
    return mark


async def embedding_of(context: Context, collection: Resource, spec: PointSetSpec, mark: Mark | None) -> Embedding:
    """What makes vectors of the texts of a set, by the locks; without any embedder if it has no text.

    mark: what `_owned` gives. While a change of an embedder is held back, the lock still names the one that made the
    vectors that are stored. Raises Waiting CollectionNotReady, and what `resolved` raises.
    """
    names = vectors_of_texts(spec.points)
    if not names:
        return Embedding(context, collection, {})
    try:
        declared = parse(QdrantCollectionSpec, collection)
    except Terminal as error:
        raise _not_ready(collection, error.message) from error
    locked = await resolved(context, collection, declared, None) if _is_users(collection) else locks_of(mark)
    with_embedder = sorted(names & declared_embedders(declared).keys())
    for name in with_embedder:
        if name not in locked:
            raise _not_ready(collection, f"the embedder of {place(name)} is not resolved yet")
    return Embedding(context, collection, {name: locked[name] for name in with_embedder})


def _is_users(collection: Resource) -> bool:
    return collection.spec.get("managedBy") == "User"


def _not_ready(collection: Resource, why: str) -> Waiting:
    message = f"QdrantCollection {collection.meta.name!r} is not ready: {why}"
    return Waiting(Reason.COLLECTION_NOT_READY, message, on=collection.ref)


def sync_target(store: LedgerStore, found: JsonObject, collection: Resource, mark: Mark | None) -> Target:
    """Where the points of a set go. found: the collection as Qdrant describes it; mark: what `_owned` gives."""
    key = registration_key(store.key.installation, store.key.point_set)
    named = {} if store.ledger_collection == LEDGER_COLLECTION else {LEDGER_KEY: store.ledger_collection}
    return Target(
        collection=store.key.collection,
        schema=schema_of(found),
        # A collection of the user's gets nothing written into it, so nobody can tell whether a ledger was lost.
        registered=None if _is_users(collection) else key in registrations(found, store.key.incarnation),
        registration={key: store.key.incarnation, **named},
        previous=former_keys(store.key, mark),
        elsewhere=tuple(sorted({ledger_collection_of(found), LEDGER_COLLECTION} - {"", store.ledger_collection})),
        replication_factor=found["config"]["params"].get("replication_factor") or 1,
        marked=store.key.incarnation != UNMANAGED,
        hides=hides_points(found),
    )


def given_up_by(context: Context, resource: Resource) -> GivenUp:
    """Asks siblings, sets of the same collection and namespace, which points of theirs they no longer declare.

    One that is being deleted declares nothing, if it deletes its points. One that is suspended keeps what it has, and
    so does one that does not say all its ids.
    """

    async def given_up(owner: str, ids: Collection[PointId]) -> Set[PointId]:
        installation, namespace, name = owner.rsplit("/", 2)
        if (installation, namespace) != (context.installation, resource.meta.namespace):
            return frozenset()
        holder = await context.cluster.get(Ref("PointSet", namespace, name))
        if holder is None or target(holder) != target(resource) or holder.spec.get("suspend"):
            return frozenset()
        if holder.deleting:
            leaves = has_left(holder) or holder.meta.annotations.get(SKIP_CLEANUP) == "true"
            return frozenset() if leaves or _deletion_policy(holder) != "Delete" else frozenset(ids)
        try:
            spec = parse(PointSetSpec, holder)
            declared = {point_id(point.id, spec.id_format or "Auto") for point in spec.points}
        except (Terminal, UnusableId):
            return frozenset()
        return frozenset(ids) - declared

    return given_up


def former_keys(key: LedgerKey, mark: Mark | None) -> tuple[LedgerKey, ...]:
    """Under which keys the same set may have kept its ledger of this collection before: that of the installation that
    the collection was taken over from, and that of the time when its user managed it.
    """
    taken_over = (replace(key, installation=mark.previous),) if mark and mark.previous else ()
    users = (replace(key, incarnation=UNMANAGED),) if key.incarnation != UNMANAGED else ()
    return taken_over + users


def ledger_store(
    context: Context, access: Access, resource: Resource, collection: str, incarnation: str, found: JsonObject | None
) -> LedgerStore:
    """The ledger of a set in one physical collection. found: the collection as Qdrant describes it, if it is there."""
    return LedgerStore(
        access.database,
        access.ledger_collection,
        LedgerKey(context.installation, resource.ref, collection, incarnation),
        context.writer,
        deletion_policy=_deletion_policy(resource),
        created_at=created_at(found) if found is not None and incarnation == UNMANAGED else "",
    )


async def _remembered(context: Context, resource: Resource) -> PointSetTarget | None:
    """Where the points of a set are that is being deleted: as its status says, else as its collection would say."""
    if stored := resource.status.get("target"):
        return PointSetTarget.model_validate(stored)
    ref = target(resource)
    collection = await context.cluster.get(ref) if ref else None
    connection = target(collection) if collection else None
    if collection is None or connection is None:
        return None
    name = physical_name(collection)
    access = await cleanup_access(context, connection)
    found = await access.database.collection(name)
    mark = mark_of(found, name) if found else None
    incarnation = mark.incarnation if mark else UNMANAGED
    return PointSetTarget.through(connection, name, incarnation)


async def _clean_up(context: Context, resource: Resource, where: PointSetTarget) -> None:
    connection = ref_to(where.connection_kind or QDRANT_CONNECTION, resource.meta.namespace, where.connection)
    access = await cleanup_access(context, connection)
    # What else there is under that name may say anything of anybody's points.
    await require_ledger_collection(access.database, access.ledger_collection)
    # A name that is an alias by now leads to another collection; the one that held the points is gone.
    is_alias = where.collection in await access.database.aliases()
    found = None if is_alias else await access.database.collection(where.collection)
    store = ledger_store(context, access, resource, where.collection, where.incarnation, found)
    mark = mark_of(found, where.collection) if found else None
    # Killed, or deleted, before the first pass after the collection changed hands, it has its former ledger still.
    stores = [store, *(replace(store, key=key) for key in former_keys(store.key, mark))]
    key = registration_key(context.installation, resource.ref)
    entered = found is not None and key in registrations(found, where.incarnation)
    # What the set entered tells the incarnation, too, where somebody wiped the mark.
    current = mark.incarnation if mark else where.incarnation if entered else UNMANAGED
    if found is None or where.incarnation not in {current, UNMANAGED}:
        # The physical collection that held the points is gone, and they with it.
        for each in stores:
            await each.remove()
        return
    if _deletion_policy(resource) == "Delete":
        deleted = sum(
            [await remove_points(each, where.collection, marked=each.key.incarnation != UNMANAGED) for each in stores]
        )
        logger.info("points deleted", extra={"resource": str(resource.ref), "deleted": deleted})
    # Before the ledger goes: one that is registered and gone counts as lost, and a set of the same name that is made
    # later would take back whatever then stands under its ids.
    if entered:
        await access.database.update_collection(where.collection, {"metadata": {key: None}})
    for each in stores:
        await each.remove()


def _deletion_policy(resource: Resource) -> str:
    # From the raw spec: an object that no longer passes validation must still be deletable.
    return str(resource.spec.get("deletionPolicy") or "Delete")


def _progressing(resource: Resource, where: JsonObject) -> Outcome:
    told = conditions(False, Reason.PROGRESSING, "points are about to be written", reconciling=True)
    status = {**without_conditions(resource.status), "target": where, "conditions": told}
    return Outcome(status, requeue_after=0.0, resource=resource)


def _replaced(
    resource: Resource, where: JsonObject, declaration: Declaration, found: Replaced, held_back: Approval
) -> JsonObject:
    """The status while nobody has said that the collection is to be written into."""
    message = (
        f"{found.found}: it seems to be another collection by now, so nothing is written or deleted. Put back what "
        f"was there, or, to begin again in it as status.plan says, {held_back.how}"
    )
    steps = found.steps(declaration)
    return {
        **without_conditions(resource.status),
        "target": where,
        "plan": PlanStatus(hash=held_back.hash, nonce=held_back.nonce, steps=steps, destructive=False).dump(),
        "lastHandledApprovePlan": _handled(resource),
        "conditions": conditions(False, Reason.COLLECTION_REPLACED, message, stalled=True),
    }


def _handled(resource: Resource, *, now: bool = False) -> str | None:
    """The approval that was carried out, for as long as its annotation is there. now: it has just been."""
    asked = resource.meta.annotations.get(APPROVE_PLAN)
    return asked if now or resource.status.get("lastHandledApprovePlan") == asked else None


def _status(resource: Resource, where: JsonObject, declaration: Declaration, synced: Synced) -> JsonObject:
    conflicts = [
        PointFailure(id=declaration.points[id].shown_id, reason=_held_by(owner))
        for id, owner in synced.conflicts.items()
    ]
    failures = [PointFailure(id=failure.shown_id, reason=failure.reason) for failure in synced.failures]
    counts = PointCounts(
        desired=declaration.total,
        synced=declaration.total - len(failures) - len(conflicts),
        failed=len(failures),
        conflicts=len(conflicts),
    )
    shown = [failure.dump() for failure in [*failures, *conflicts][:SHOWN_FAILURES]]
    return {
        **without_conditions(resource.status),
        "target": where,
        "points": counts.dump(),
        "failures": shown or None,
        "plan": None,
        "lastHandledApprovePlan": _handled(resource, now=synced.bound),
        "conditions": _told(counts, shown, declaration.complete, synced),
    }


def _told(counts: PointCounts, shown: list[JsonObject], complete: bool, synced: Synced) -> list[JsonObject]:
    rebuilt = synced.rebuilt
    if synced.withheld:
        return conditions(False, Reason.LEDGER_UNREADABLE, synced.withheld, stalled=True)
    if not shown:
        message = f"{counted(counts.synced, 'point')} as declared"
        if rebuilt:
            message += "; the ledger was lost once: points that left the set before that may still be stored"
        return conditions(True, Reason.LEDGER_LOST if rebuilt else Reason.SUCCEEDED, message)
    first = shown[0]
    parts = [f"{counts.failed} of {counted(counts.desired, 'point')} failed"] if counts.failed else []
    parts += [f"{counts.conflicts} of {counted(counts.desired, 'point')} held by others"] if counts.conflicts else []
    message = f"{', '.join(parts)}; first: point {first['id']!r}: {first['reason']}"
    if not complete:
        message += "; nothing is deleted while an id cannot be told"
    reason = Reason.POINTS_FAILED if counts.failed else Reason.POINT_CONFLICTS
    return conditions(False, reason, message, stalled=True)


def _held_by(owner: str) -> str:
    if not owner:
        return "another writer made this point; it is left alone. Delete it, or declare another id"
    installation, namespace, name = owner.rsplit("/", 2)
    return f"PointSet {namespace}/{name} of installation {installation!r} holds this id; declare it in one set only"
