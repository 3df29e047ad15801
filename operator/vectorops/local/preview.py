"""`vectorops plan`: what `apply` would do, found out without doing it. Called by `cli`.

Connections are really tried, since that only reads. Collections and points are decided by the very functions that
the reconcilers decide by; the database that they see here cannot write (`session.read_only`), so that nothing can
happen but printing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from vectorops.api.collection import QdrantCollectionSpec
from vectorops.api.kinds import CONNECTION_KINDS
from vectorops.api.meta import QDRANT_COLLECTION, JsonObject, Ref, Resource
from vectorops.api.pointset import PointSetSpec
from vectorops.api.reasons import Reason
from vectorops.collections import steps
from vectorops.collections.locks import locks_of
from vectorops.collections.plan import Plan, differences, make_plan, mismatches
from vectorops.collections.resolve import Desired
from vectorops.errors import Terminal, VectorOpsError, Waiting
from vectorops.local import plans, preview_points
from vectorops.local.manifests import Manifests
from vectorops.local.override import Override
from vectorops.local.plans import Change, ResourcePlan, planned
from vectorops.local.prune import LeftOver, Places, left_over
from vectorops.local.runner import Runner
from vectorops.local.session import Options, Session, session
from vectorops.looks import look_at
from vectorops.points.declared import declare, vectors_of_texts
from vectorops.points.schema import PointSchema, schema_of
from vectorops.qdrant.collections import Observed, is_sharded_by_key, observe
from vectorops.qdrant.database import ShardKeyName
from vectorops.qdrant.ledger import require_ledger_collection
from vectorops.qdrant.marks import Mark
from vectorops.reconcilers import approvals
from vectorops.reconcilers.aliases import Aliases, aliases_of
from vectorops.reconcilers.approvals import Approval
from vectorops.reconcilers.collection import (
    NO_SHARD_KEY,
    approval_of,
    claim,
    is_reported,
    require_users_own,
    wanted_of,
)
from vectorops.reconcilers.dependencies import UNMANAGED, Access, physical_name, require_access, require_collection
from vectorops.reconcilers.driver import Driver
from vectorops.reconcilers.embedding import resolved
from vectorops.reconcilers.kinds import RECONCILERS
from vectorops.reconcilers.pointset import check_shard_key, given_up_by, ledger_store, sync_target
from vectorops.reconcilers.replicas import findings, placement_of, shortage
from vectorops.reconcilers.spec import parse

SIGNS: Final[Mapping[steps.Action, plans.Action]] = {
    steps.Action.CREATE_COLLECTION: "create",
    steps.Action.CREATE_SHARD_KEY: "create",
    steps.Action.CREATE_VECTOR: "create",
    steps.Action.CREATE_ALIAS: "create",
    steps.Action.MOVE_ALIAS: "update",
    steps.Action.UPDATE_COLLECTION: "update",
    steps.Action.DELETE_ALIAS: "delete",
    steps.Action.DELETE_INDEX: "delete",
    steps.Action.DELETE_SHARD_KEY: "delete",
    steps.Action.REPLACE_SHARD_KEY: "delete",
    steps.Action.DELETE_VECTOR: "delete",
    steps.Action.REPLACE_VECTOR: "delete",
    steps.Action.RECREATE_COLLECTION: "delete",
    steps.Action.REEMBED: "update",
}


@dataclass(frozen=True, slots=True)
class _Collection:
    """A collection as it would be when the turn comes to its points. described: by Qdrant, as it is now; None if it
    would be made first. shard_keys: None if it is not sharded by key. empty_keys: those that would be made first.
    """

    access: Access
    name: str
    schema: PointSchema
    described: JsonObject | None = None
    mark: Mark | None = None
    shard_keys: frozenset[ShardKeyName] | None = None
    empty_keys: frozenset[ShardKeyName] = frozenset()


async def preview(manifests: Manifests, options: Options) -> list[ResourcePlan]:
    """What `apply` would do with the same manifests and options. Writes nothing, neither into Qdrant nor beside it."""
    until = asyncio.get_running_loop().time() + options.timeout_seconds
    with _without_traces(options) as careful:
        async with session(manifests, careful, read_only=True) as opened:
            await Runner(opened.cluster, Driver(opened.context, RECONCILERS)).run(until, kinds=CONNECTION_KINDS)
            previewed = _Preview(opened, None if options.prune else Places(opened))
            refs = opened.cluster.in_order()
            left = await _left_over(opened, options)
            plans = [await previewed.of(ref) for ref in refs]
            stuck = {ref for ref, plan in zip(refs, plans, strict=True) if _is_stuck(plan, opened.cluster.now(ref))}
            for name, moved in left.moved.items():
                if waiting := [one.ref for one in moved if one.ref in stuck]:
                    words = f"collection {name!r} would be left as it is until {waiting[0]} is as declared elsewhere"
                    plans += [planned(one.ref, remarks=[words]) for one in moved]
                else:
                    plans += map(_pruned, moved)
            return [*plans, *map(_pruned, left.resources)]


def _is_stuck(plan: ResourcePlan, resource: Resource | None) -> bool:
    """Would a resource that was elsewhere not be as declared after all, so that it is left there? See
    `apply._has_arrived`.
    """
    if resource is not None and resource.spec.get("suspend"):
        return True
    return plan.problem is not None and not (plan.kind == "QdrantCollection" and plan.changes)


@contextmanager
def _without_traces(options: Options) -> Iterator[Options]:
    """To open a folder is to make it: one that holds no Qdrant yet is planned for in a temporary place."""
    folder = options.override.folder if options.override else None
    if folder is None or (folder / "meta.json").exists():
        yield options
        return
    with TemporaryDirectory() as empty:
        yield replace(options, override=Override(folder=Path(empty)))


class _Preview:
    """One preview. It remembers the collections that point sets are then compared with."""

    def __init__(self, opened: Session, places: Places | None) -> None:
        self._places = places
        self._cluster = opened.cluster
        self._context = opened.context
        self._collections: dict[Ref, _Collection] = {}

    async def of(self, ref: Ref) -> ResourcePlan:
        resource = self._cluster.now(ref)
        assert resource is not None, "refs lists what is there"
        try:
            with look_at(str(ref)):
                if self._places is not None:
                    await self._places.require(resource)
                if ref.kind in CONNECTION_KINDS:
                    return _connection(resource)
                if ref.kind == QDRANT_COLLECTION:
                    return await self._collection(resource)
                return await self._point_set(resource)
        except VectorOpsError as error:
            return planned(ref, problem=f"{error.reason.value}: {error.message}")

    async def _collection(self, resource: Resource) -> ResourcePlan:
        spec = parse(QdrantCollectionSpec, resource)
        if spec.suspend:
            return planned(resource.ref, remarks=["suspended: nothing would be changed"])
        access = await require_access(self._context, resource)
        found = await observe(access.database, physical_name(resource), spec.aliases or ())
        version = access.database.info.version
        wanted = await wanted_of(self._context, resource, spec, found, version)
        if spec.managed_by == "User":
            return await _with_replicas(await self._users_own(resource, access, wanted, found), access, spec, found)
        mark = await claim(self._context, resource, spec, access, found, mismatches(wanted, found, version=version))
        aliases = await aliases_of(self._context, resource, access.database, wanted, found, mark)
        todo = make_plan(wanted, found, version=version, last_applied=mark.last_applied, handover=aliases.passing)
        approval = await approval_of(self._context, resource, spec, todo, access.database)
        await self._keep(resource.ref, access, todo, mark, approved=approval.given)
        if is_reported(spec, todo) and not approval.given:
            remark = f"changed by others; driftPolicy is Report, so {approval.how} to put it right:"
            would_be = planned(resource.ref, _of_the_mark(todo, mark), remarks=[remark, *todo.describe(found.points)])
        else:
            would_be = _collection_planned(resource.ref, todo, mark, approval, aliases)
        return await _with_replicas(would_be, access, spec, found)

    async def _users_own(self, resource: Resource, access: Access, wanted: Desired, found: Observed) -> ResourcePlan:
        """A collection that its user manages: nothing is ever changed, but for a mark from before."""
        await require_users_own(self._context, resource, access.database, found)
        if not found.exists:
            raise Waiting(Reason.COLLECTION_NOT_FOUND, f"there is no collection {wanted.name!r}, and managedBy is User")
        differing = differences(wanted, found, version=access.database.info.version)
        if differing:
            raise Terminal(Reason.SCHEMA_MISMATCH, f"collection {wanted.name!r} differs: {'; '.join(differing)}")
        described = await access.database.collection(wanted.name) or {}
        keys = frozenset(found.shard_keys) if found.is_sharded_by_key else None
        # A mark from before still tells the incarnation, and so where the ledgers of its sets are.
        self._collections[resource.ref] = _Collection(
            access, wanted.name, schema_of(described), described, found.mark, shard_keys=keys
        )
        ours = found.mark is not None and found.mark.belongs_to(self._context.installation, resource.ref)
        return planned(
            resource.ref, [Change("update", "release the mark: the collection becomes its user's")] if ours else []
        )

    async def _keep(self, ref: Ref, access: Access, todo: Plan, mark: Mark, *, approved: bool) -> None:
        name = todo.desired.name
        to_be = schema_of({"config": {"params": steps.create_body(todo.desired.tree())}})
        recreated = approved and any(step.action is steps.Action.RECREATE_COLLECTION for step in todo.held_back)
        described = None if recreated or not todo.observed.exists else await access.database.collection(name)
        granted = todo.held_back if approved else ()
        if described is None:
            params = todo.desired.config.get("params") or {}
            keys: frozenset[ShardKeyName] = frozenset(todo.desired.shard_keys)
            if todo.observed.exists:
                (recreate,) = granted
                params, keys = recreate.body["collection"], frozenset(recreate.body["shard_keys"])
            to_have = keys if is_sharded_by_key(params) else None
            self._collections[ref] = _Collection(access, name, to_be, shard_keys=to_have)
            return
        made = (steps.Action.CREATE_VECTOR, steps.Action.REPLACE_VECTOR)
        added = {step.target for step in (*todo.doable, *granted) if step.action in made}
        schema = {**schema_of(described), **{vector: to_be[vector] for vector in added}}
        locks = todo.locks(approved=granted)
        shard_keys, empty_keys = _shard_keys(todo, granted)
        self._collections[ref] = _Collection(
            access, name, schema, described, replace(mark, embedders=locks), shard_keys, empty_keys
        )

    async def _point_set(self, resource: Resource) -> ResourcePlan:
        spec = parse(PointSetSpec, resource)
        if spec.suspend:
            return planned(resource.ref, remarks=["suspended: nothing would be changed"])
        collection = await require_collection(self._context, resource)
        into = self._collections.get(collection.ref)
        if into is None:
            raise Waiting(
                Reason.COLLECTION_NOT_READY, f"QdrantCollection {collection.meta.name!r} is suspended or has a problem"
            )
        check_shard_key(spec, collection, into.shard_keys)
        declaration = declare(
            spec.points,
            into.schema,
            embedders=await self._embedders(collection, spec, into),
            id_format=spec.id_format or "Auto",
            store_id_as=spec.store_id_as,
        )
        if into.described is None or spec.shard_key in into.empty_keys:
            return preview_points.all_new(resource.ref, declaration)
        incarnation = into.mark.incarnation if into.mark else UNMANAGED
        store = ledger_store(self._context, into.access, resource, into.name, incarnation, into.described)
        store = store.for_shard_key(spec.shard_key or "")
        await require_ledger_collection(into.access.database, into.access.ledger_collection, change=False)

        async def approval(digest: str) -> Approval:
            return await approvals.approval(self._context, resource, digest, into.access.database, into.name)

        to = replace(sync_target(store, into.described, collection, into.mark), schema=into.schema)
        given_up = given_up_by(self._context, resource)
        return await preview_points.compared(resource.ref, declaration, store, to, given_up, approval)

    async def _embedders(self, collection: Resource, spec: PointSetSpec, into: _Collection) -> dict[str, str]:
        """The identity of each vector's embedder: the locked one, or the one that would be locked first."""
        if not vectors_of_texts(spec.points):
            return {}
        declared = parse(QdrantCollectionSpec, collection)
        # Which models made the vectors of a collection of its user's, no mark says.
        mark = into.mark if declared.managed_by != "User" else None
        locks = locks_of(mark)
        found = await resolved(self._context, collection, declared, mark)
        return {name: locks.get(name, embedder).identity for name, embedder in found.items()}


def _shard_keys(
    todo: Plan, granted: Sequence[steps.Step]
) -> tuple[frozenset[ShardKeyName] | None, frozenset[ShardKeyName]]:
    """`_Collection.shard_keys` and `empty_keys` of a collection that is there."""
    if not todo.observed.is_sharded_by_key:
        return None, frozenset()
    made = {step.target for step in todo.doable if step.action is steps.Action.CREATE_SHARD_KEY}
    made |= {step.target for step in granted if step.action is steps.Action.REPLACE_SHARD_KEY}
    gone = {step.target for step in granted if step.action is steps.Action.DELETE_SHARD_KEY}
    return frozenset((todo.observed.shard_keys.keys() | made) - gone), frozenset(made)


def _connection(resource: Resource) -> ResourcePlan:
    if resource.ready or resource.spec.get("suspend"):
        return planned(resource.ref)
    told = resource.condition("Ready") or {"reason": Reason.UNREACHABLE.value, "message": "time ran out"}
    return planned(resource.ref, problem=f"{told['reason']}: {told['message']}")


def _collection_planned(ref: Ref, todo: Plan, mark: Mark, approval: Approval, aliases: Aliases) -> ResourcePlan:
    points = todo.observed.points
    changes = _of_the_mark(todo, mark)
    changes += [Change(_sign(step, todo), "\n".join(step.described(points))) for step in todo.doable]
    for step in todo.held_back:
        words = "\n".join(step.described(points))
        changes.append(Change(_sign(step, todo), words) if approval.given else Change("hold", words))
    problems = [aliases.taken_words(alias, holder) for alias, holder in todo.taken]
    problems += [f"{line}: {NO_SHARD_KEY}" for line in todo.premature]
    problems += [f"Qdrant {todo.version} does not keep {path}: {value!r}" for path, value in todo.unsupported]
    if todo.held_back and not approval.given:
        problems.append(f"held back: {approval.how}, or take the change back")
    told = replace(mark, last_applied=todo.remembered().to_json())
    if not changes and todo.observed.mark != told:
        changes.append(Change("update", "the mark: what was applied last"))
    if mark.embedders != todo.locks() and todo.observed.exists:
        changes.append(Change("update", "the mark: which models make the vectors"))
    return planned(ref, changes, problem="; ".join(problems) or None, remarks=aliases.stay_words)


async def _with_replicas(
    would_be: ResourcePlan, access: Access, spec: QdrantCollectionSpec, found: Observed
) -> ResourcePlan:
    """What `apply` would do about replicas, and why the collection would not become Ready if it does nothing."""
    database = access.database
    if would_be.problem or not (found.exists and database.info.distributed):
        return would_be
    seen = await findings(database, found, spec, await placement_of(database, found.name))
    if seen.step is not None:
        change = Change("update", f"replicas, one at a time, beginning with: {seen.step.line}")
        return replace(would_be, changes=(*would_be.changes, change))
    return replace(would_be, problem=shortage(spec, seen)) if seen.counts.short else would_be


def _sign(step: steps.Step, todo: Plan) -> plans.Action:
    if step.action is steps.Action.PUT_INDEX:
        return "update" if step.target in todo.observed.indexes else "create"
    return SIGNS[step.action]


def _of_the_mark(todo: Plan, mark: Mark) -> list[Change]:
    """What changes about the ownership of a collection that is there."""
    before = todo.observed.mark
    if not todo.observed.exists:
        return []
    if before is None or before.released:
        return [Change("update", f"adopt collection {mark.collection}")]
    if (before.installation, before.namespace, before.name) != (mark.installation, mark.namespace, mark.name):
        return [Change("update", f"take collection {mark.collection} over from {before.owner}")]
    if before.deletion_policy != mark.deletion_policy:
        return [Change("update", f"deletionPolicy: {before.deletion_policy} -> {mark.deletion_policy}")]
    return []


async def _left_over(opened: Session, options: Options) -> LeftOver:
    """What would be pruned, made known to the cluster: it gives up what the files may want, such as an alias."""
    if not options.prune:
        return LeftOver()
    found = await left_over(opened, stand_in=options.override is not None)
    for resource in found.resources:
        opened.cluster.add(resource)
    return found


def _pruned(resource: Resource) -> ResourcePlan:
    return planned(resource.ref, [Change("delete", _removal(resource))])


def _removal(resource: Resource) -> str:
    is_set = resource.kind == "PointSet"
    name = resource.status["target"]["collection"] if is_set else resource.spec["collectionName"]
    what = f"its points in collection {name}" if is_set else f"collection {name}"
    if resource.spec["deletionPolicy"] == "Delete":
        return f"prune: delete {what}"
    return f"prune: let go of {what}, which stay{'' if is_set else 's'} (deletionPolicy: Retain)"
