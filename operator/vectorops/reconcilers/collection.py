"""QdrantCollection: is the collection as declared? `collections` works out and does what is between; this module
decides whose it is, how much of that may be done, and tells.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Final

from vectorops.api.collection import PhysicalCollection, PlanStatus, QdrantCollectionSpec
from vectorops.api.meta import APPROVE_PLAN, POINT_SET, TAKE_OVER_FROM, JsonObject, Ref, Resource
from vectorops.api.reasons import Reason
from vectorops.collections.apply import apply_plan
from vectorops.collections.plan import Plan, differences, make_plan, mismatches, require_known
from vectorops.collections.resolve import Desired, resolve_collection, schema_status
from vectorops.errors import Terminal, Transient, VectorOpsError, Waiting
from vectorops.points.ledgers import holds_what_ledgers_say
from vectorops.qdrant.collections import Observed
from vectorops.qdrant.database import Database
from vectorops.qdrant.ledger import LedgerStore, ledgers_of
from vectorops.qdrant.marks import MARK_KEY, REGISTRATION_PREFIX, Mark, mark_of, new_incarnation
from vectorops.reconcilers import approvals
from vectorops.reconcilers.aliases import Aliases, aliases_of, hand_over, look, owner
from vectorops.reconcilers.approvals import Approval
from vectorops.reconcilers.base import Context, Outcome, conditions
from vectorops.reconcilers.cleanup import finalize, has_left
from vectorops.reconcilers.dependencies import (
    UNMANAGED,
    Access,
    cleanup_access,
    connection_ref,
    physical_name,
    require_access,
    require_no_ledger,
    require_no_owner,
)
from vectorops.reconcilers.embedding import resolved
from vectorops.reconcilers.health import with_health
from vectorops.reconcilers.references import target
from vectorops.reconcilers.replicas import Replicas
from vectorops.reconcilers.spec import parse
from vectorops.reconcilers.status import suspended, without_conditions

logger = logging.getLogger(__name__)

NO_SHARD_KEY: Final = (
    "Qdrant changes no payload index of a collection with sharding_method: custom before it has a shard key; "
    "declare shardKeys"
)

SETS_SECONDS: Final = 1.0
"""How often to look whether the sets of a collection know of a plan that takes something from their points."""


class CollectionReconciler:
    """See `driver.Reconciler`. replicas: of all collections, over time."""

    def __init__(self, replicas: Replicas | None = None) -> None:
        self._replicas = replicas or Replicas()

    async def reconcile(self, context: Context, resource: Resource) -> Outcome:
        spec = parse(QdrantCollectionSpec, resource)
        if spec.suspend:
            return Outcome(suspended(resource))
        access = await require_access(context, resource)
        database = access.database
        found = await look(context, database, physical_name(resource), spec.aliases or ())
        version = database.info.version
        wanted = await wanted_of(context, resource, spec, found, version)
        if spec.managed_by == "User":
            await require_users_own(context, resource, database, found)
            await _disown(context, resource, database, found)
            compared = _compared(resource, wanted, found, version)
            compared = await self._replicas.judge(database, resource, spec, found, compared)
            return with_health(compared, resource, found.health)

        mark = await claim(context, resource, spec, access, found, mismatches(wanted, found, version=version))
        resource = await context.cluster.set_finalizer(resource, True)
        aliases = await aliases_of(context, resource, database, wanted, found, mark)
        todo = make_plan(wanted, found, version=version, last_applied=mark.last_applied, handover=aliases.passing)
        approval = await approval_of(context, resource, spec, todo, database)
        approved = approval.given
        if is_reported(spec, todo) and not approved:
            # Whose it is, what becomes of it when its owner goes, and what its vectors are made by are no drift.
            mark = replace(mark, last_applied=todo.last.to_json(), embedders=todo.locks())
            if mark != found.mark:
                await database.update_collection(found.name, {"metadata": mark.metadata()})
            answer = _answer(resource, wanted, todo, mark, approval, aliases, drifted=True)
            answer = await self._replicas.judge(database, resource, spec, found, answer)
            return with_health(answer, resource, found.health)
        if approved and todo.held_back and (sets := await _ready_sets(context, resource)):
            return _announced(resource, sets)
        applied = await apply_plan(database, todo, mark, approved=approved)
        if todo.is_drift:
            await _tell_correction(context, resource, todo)
        elif done := [*todo.doable, *(todo.held_back if approved else ())]:
            lines = [line for step in done for line in step.described()]
            logger.info("collection changed", extra={"resource": str(resource.ref), "steps": lines})
        if applied.plan.doable:
            # Qdrant may show a deleted index for a moment. Or somebody else undoes what we do: the backoff keeps us
            # from fighting over it.
            left = "; ".join(line for step in applied.plan.doable for line in step.lines)
            raise Transient(Reason.PROGRESSING, f"not yet to be seen in collection {wanted.name!r}: {left}")
        digest = applied.plan.hash
        approval = await approvals.approval(context, resource, digest, database, found.name, used=approved)
        answer = _answer(resource, wanted, applied.plan, applied.mark, approval, aliases, approved=approved)
        may_pass = not todo.doable and not approved
        answer = await self._replicas.judge(database, resource, spec, applied.observed, answer, may_pass=may_pass)
        return with_health(answer, resource, applied.observed.health)

    async def finalize(self, context: Context, resource: Resource) -> Outcome:
        async def clean_up() -> Outcome | None:
            if resource.spec.get("managedBy") == "User" or resource.spec.get("deletionPolicy") != "Delete":
                await _release(context, resource)
                return None
            return await _delete(context, resource)

        return await finalize(context, resource, clean_up)


async def approval_of(
    context: Context, resource: Resource, spec: QdrantCollectionSpec, todo: Plan, database: Database
) -> Approval:
    """Whether what is held back may be carried out, or, where drift is only reported, all."""
    digest = todo.drift_hash if is_reported(spec, todo) else todo.hash
    return await approvals.approval(context, resource, digest, database, todo.desired.name)


def is_reported(spec: QdrantCollectionSpec, todo: Plan) -> bool:
    """Is it drift, which is only reported?"""
    return spec.drift_policy == "Report" and todo.is_drift


async def wanted_of(
    context: Context, resource: Resource, spec: QdrantCollectionSpec, found: Observed, version: str
) -> Desired:
    """The declared collection, its embedders resolved: by the locks in the mark, or, as nothing is ever kept in a
    collection of the user's, anew. Raises Terminal InvalidSpec or UnsupportedByServer, and what `resolved` raises.
    """
    mark = found.mark if spec.managed_by != "User" else None
    wanted = resolve_collection(spec, resource.meta.name, await resolved(context, resource, spec, mark))
    require_known(wanted, version)
    if wanted.shard_keys and not found.distributed:
        raise Terminal(
            Reason.UNSUPPORTED_BY_SERVER,
            "spec.shardKeys: only a distributed Qdrant (cluster.enabled) has shard keys, and this one is not: remove "
            "shardKeys and params.sharding_method, or name another connection",
        )
    return wanted


async def require_users_own(context: Context, resource: Resource, database: Database, found: Observed) -> None:
    """A collection with managedBy User must be nobody else's. Raises Terminal OwnedByAnother."""
    require_no_owner(context, resource, found.mark)
    if found.exists and found.mark is None:
        await require_no_ledger(database, found.name, has_vectors=bool(found.vectors or found.sparse_vectors))


async def claim(
    context: Context,
    resource: Resource,
    spec: QdrantCollectionSpec,
    access: Access,
    found: Observed,
    in_the_way: list[str],
) -> Mark:
    """The mark that the collection has, or is to get, if it is ours or may become so.

    in_the_way: what would have to be destroyed to make it as declared.
    Raises Terminal OwnedByAnother or NotAdopted.
    """
    ours = Mark(
        installation=context.installation,
        namespace=resource.meta.namespace,
        name=resource.meta.name,
        uid=resource.meta.uid,
        collection=found.name,
        incarnation=new_incarnation(),
        connection=access.connection.name,
        connection_kind=access.connection.kind,
        deletion_policy=spec.deletion_policy or "Retain",
    )
    mark = found.mark
    if not found.exists:
        return ours
    if found.mark is None:
        has_vectors = bool(found.vectors or found.sparse_vectors)
        await require_no_ledger(access.database, found.name, has_vectors=has_vectors)
    if incarnation := await _wiped(context, resource, access, found):
        return replace(ours, incarnation=incarnation)
    if mark is not None and mark.belongs_to(context.installation, resource.ref):
        # The UID only informs: a rebuilt cluster has others, and must find everything as it was.
        return replace(
            mark,
            connection=ours.connection,
            connection_kind=ours.connection_kind,
            deletion_policy=ours.deletion_policy,
        )
    if mark is not None and not mark.released:
        await _require_take_over(context, resource, mark)
        previous = mark.installation if mark.installation != context.installation else mark.previous
        taken_over = replace(ours, incarnation=mark.incarnation, previous=previous)
        return replace(taken_over, last_applied=mark.last_applied, embedders=mark.embedders)
    if spec.adoption_policy == "Never":
        raise Terminal(
            Reason.NOT_ADOPTED,
            f"collection {found.name!r} was there first, and adoptionPolicy is Never: choose another collectionName, "
            "or adoptionPolicy: IfMatching",
        )
    if in_the_way:
        raise Terminal(
            Reason.NOT_ADOPTED,
            f"collection {found.name!r} was there first, and cannot be adopted without losing data: "
            + "; ".join(in_the_way),
        )
    # Which models made the vectors that are stored is as true as before.
    return replace(ours, incarnation=mark.incarnation, embedders=mark.embedders) if mark is not None else ours


async def _wiped(context: Context, resource: Resource, access: Access, found: Observed) -> str:
    """The incarnation of a collection of ours whose mark somebody removed; "" if it is not known to be one.

    The name alone proves nothing: it may be another collection by now. What the sets entered in the metadata tells the
    incarnation that our status tells. Where that was removed as well, the collection once had metadata, and holds what
    the ledger of its sets says.
    """
    if MARK_KEY in found.metadata:
        return ""
    incarnation: str = (resource.status.get("collection") or {}).get("incarnation") or ""
    entered = [value for key, value in found.metadata.items() if key.startswith(REGISTRATION_PREFIX)]
    if entered or not found.had_metadata:
        return incarnation if incarnation in entered else ""
    owners = f"{context.installation}/{resource.meta.namespace}/"
    keys = await ledgers_of(access.database, access.ledger_collection, found.name, owners)
    remembered = [key for key in keys if key.incarnation == (incarnation or key.incarnation) != UNMANAGED]
    if len({key.incarnation for key in remembered}) != 1:
        return ""
    stores = [LedgerStore(access.database, access.ledger_collection, key, context.writer) for key in remembered]
    return remembered[0].incarnation if await holds_what_ledgers_say(stores) else ""


async def _require_take_over(context: Context, resource: Resource, mark: Mark) -> None:
    """May we take the collection from the owner that its mark names? Raises Terminal OwnedByAnother."""
    asked = approvals.take_over(context, resource)
    if asked == mark.installation:
        within = mark.installation == context.installation
        if not within or await context.cluster.get(Ref(mark.kind, mark.namespace, mark.name)) is None:
            return
    raise Terminal(
        Reason.OWNED_BY_ANOTHER,
        f"collection {mark.collection!r} belongs to {mark.owner}; nothing is changed. To move it here, stop that one "
        f"and {approvals.how_to_take_over(context, resource, mark.installation)}",
        on=owner(context, mark),
    )


async def _disown(context: Context, resource: Resource, database: Database, found: Observed) -> None:
    """The resource was changed to managedBy User: what is ours becomes nobody's. Its incarnation stays, for the
    sets' ledgers.
    """
    if found.mark is not None and found.mark.belongs_to(context.installation, resource.ref):
        await database.update_collection(found.name, {"metadata": found.mark.release().metadata()})


def _compared(resource: Resource, wanted: Desired, found: Observed, version: str) -> Outcome:
    """The answer for a collection that is only looked at."""
    if not found.exists:
        message = (
            f"there is no collection {wanted.name!r}, and managedBy is User: it must be created by whoever manages it"
        )
        raise Waiting(Reason.COLLECTION_NOT_FOUND, message)
    differing = differences(wanted, found, version=version)
    if differing:
        raise Terminal(
            Reason.SCHEMA_MISMATCH, f"collection {wanted.name!r} differs, and is its user's: {'; '.join(differing)}"
        )
    told = conditions(True, Reason.SUCCEEDED, f"collection {wanted.name!r} is as declared")
    return Outcome(_base(resource, wanted, None) | {"conditions": told})


async def _ready_sets(context: Context, resource: Resource) -> frozenset[Ref]:
    """The sets that still say that their points are as declared."""
    listed = await context.cluster.list(POINT_SET, refers_to=resource.ref)
    found = [await context.cluster.get(one.ref) for one in listed]
    sets = [one for one in found if one is not None and target(one) == resource.ref]
    return frozenset(one.ref for one in sets if one.ready and not one.deleting and not one.spec.get("suspend"))


def _announced(resource: Resource, sets: frozenset[Ref]) -> Outcome:
    """An approved plan takes something from the points: their sets say so first, and wake us."""
    waiting = ", ".join(sorted(ref.name for ref in sets))
    message = f"the approved plan is carried out as soon as its PointSets say that they are not ready: {waiting}"
    status = {
        **without_conditions(resource.status),
        "plan": {**(resource.status.get("plan") or {}), "approved": True},
        "conditions": conditions(False, Reason.PROGRESSING, message, reconciling=True),
    }
    return Outcome(status, requeue_after=SETS_SECONDS, resource=resource, rests_on=sets)


async def _tell_correction(context: Context, resource: Resource, todo: Plan) -> None:
    message = f"changed by others, and put right: {'; '.join(line for step in todo.doable for line in step.lines)}"
    logger.info(message, extra={"resource": str(resource.ref), "reason": Reason.DRIFTED.value})
    await context.cluster.event(resource, "DriftCorrected", message, warning=False)


def _base(resource: Resource, schema: Desired, mark: Mark | None) -> JsonObject:
    physical = PhysicalCollection(name=schema.name, incarnation=mark.incarnation if mark else None)
    return {
        **without_conditions(resource.status),
        "collection": physical.dump(),
        "schema": schema_status(schema).dump(),
        "plan": None,
        "lastHandledTakeOverFrom": resource.meta.annotations.get(TAKE_OVER_FROM) if mark else None,
        "lastHandledApprovePlan": None,
    }


def _answer(
    resource: Resource,
    wanted: Desired,
    left: Plan,
    mark: Mark,
    approval: Approval,
    aliases: Aliases,
    *,
    drifted: bool = False,
    approved: bool = False,
) -> Outcome:
    """left: what is not done. approval: what that needs. approved: the plan that was approved has just been done."""
    asked, handled = resource.meta.annotations.get(APPROVE_PLAN), resource.status.get("lastHandledApprovePlan")
    held_back = (*left.doable, *left.held_back) if drifted else left.held_back
    lines = [line for step in held_back for line in step.described()]
    shown = PlanStatus(hash=approval.hash, nonce=approval.nonce, steps=lines, destructive=left.is_destructive)
    told = _told(wanted, left, approval, aliases, lines if drifted else [])
    if aliases.again is not None:
        told.append({"type": "Reconciling", "status": "True", **{key: told[0][key] for key in ("reason", "message")}})
    status = {
        **_base(resource, left.in_force, mark),
        "plan": shown.dump() if lines else None,
        "lastHandledApprovePlan": asked if approved or handled == asked else None,
        "conditions": told,
    }
    return Outcome(status, requeue_after=aliases.again, resource=resource, rests_on=aliases.rests_on)


def _told(wanted: Desired, left: Plan, approval: Approval, aliases: Aliases, drift: list[str]) -> list[JsonObject]:
    drifted = f"changed by others: {'; '.join(drift)}; {approval.how} to put it right" if drift else ""
    if left.held_back:
        first = left.held_back[0].described()[0]
        message = f"{first}; {approval.how}, or take the change back"
        return conditions(False, Reason.PLAN_HELD_BACK, message, stalled=True, drifted=drifted)
    if left.taken:
        message = "; ".join(aliases.taken_words(alias, holder) for alias, holder in left.taken)
        return conditions(False, Reason.ALIAS_TAKEN, message, stalled=True, drifted=drifted)
    if left.premature:
        message = f"{'; '.join(left.premature)}: {NO_SHARD_KEY}"
        return conditions(False, Reason.REQUEST_REJECTED, message, stalled=True, drifted=drifted)
    if left.unsupported:
        message = "; ".join(f"{path}: {value!r}" for path, value in left.unsupported)
        told = f"Qdrant {left.version} accepts this and does not keep it: {message}"
        return conditions(False, Reason.UNSUPPORTED_BY_SERVER, told, stalled=True, drifted=drifted)
    stay = "".join(f"; {words}" for words in aliases.stay_words)
    return conditions(True, Reason.SUCCEEDED, f"collection {wanted.name!r} is as declared{stay}", drifted=drifted)


async def _release(context: Context, resource: Resource) -> None:
    """The collection stays behind. Tried once: a resource that keeps its data must never hang in deletion."""
    name = physical_name(resource)
    try:
        access = await cleanup_access(context, connection_ref(resource))
        found = await access.database.collection(name)
        mark = mark_of(found, name) if found is not None else None
        if mark is not None and mark.belongs_to(context.installation, resource.ref):
            await hand_over(context, resource, access.database, name, mark)
            await access.database.update_collection(name, {"metadata": mark.release().metadata()})
    except VectorOpsError as error:
        words = {"resource": str(resource.ref), "reason": error.reason.value}
        logger.warning("the mark of the retained collection stays: %s", error.message, extra=words)


async def _delete(context: Context, resource: Resource) -> Outcome | None:
    """Deletes the collection if it is ours, after the PointSets that fill it. Returns what it waits for, if
    anything.
    """
    referring = await context.cluster.list(POINT_SET, refers_to=resource.ref)
    point_sets = [point_set for point_set in referring if not has_left(point_set)]
    if point_sets:
        return _blocked(resource, point_sets)
    name = physical_name(resource)
    access = await cleanup_access(context, connection_ref(resource))
    mark = await _our_mark(context, resource, access.database, name)
    if mark is None:
        return None
    await hand_over(context, resource, access.database, name, mark)
    await access.database.delete_collection(name)
    if await _our_mark(context, resource, access.database, name):
        raise Transient(Reason.DELETING, f"collection {name!r} is still there after it was deleted")
    logger.info("collection deleted", extra={"resource": str(resource.ref), "collection": name})
    return None


async def _our_mark(context: Context, resource: Resource, database: Database, name: str) -> Mark | None:
    """The mark of the collection, if it is ours."""
    if name in await database.aliases():
        # The name leads to a collection of somebody else's; ours is gone.
        return None
    found = await database.collection(name)
    mark = mark_of(found, name) if found is not None else None
    return mark if mark is not None and mark.belongs_to(context.installation, resource.ref) else None


def _blocked(resource: Resource, point_sets: list[Resource]) -> Outcome:
    live = sorted(point_set.meta.name for point_set in point_sets if not point_set.deleting)
    if live:
        reason = Reason.DELETION_BLOCKED
        message = f"PointSets still refer to it: {', '.join(live)}; delete them first, or set deletionPolicy: Retain"
    else:
        reason = Reason.DELETING
        message = f"waiting for PointSets to delete their points: {', '.join(sorted(p.meta.name for p in point_sets))}"
    told = conditions(False, reason, message, reconciling=True)
    return Outcome({**without_conditions(resource.status), "conditions": told}, requeue_after=60.0)
