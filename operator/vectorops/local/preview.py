"""`vectorops plan`: what `apply` would do, found out without doing it.

Connections are really tried, since that only reads. What would be done about collections and points is decided by what
the reconcilers carry out (`decide`, `situation`, `points.sync_preview`); here it is only put into words. The
database that is seen here cannot write (`session.read_only`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from vectorops.api.collection import QdrantCollectionSpec
from vectorops.api.kinds import CONNECTION_KINDS
from vectorops.api.meta import POINT_SET, QDRANT_COLLECTION, Ref, Resource
from vectorops.api.pointset import PointSetSpec
from vectorops.api.reasons import Reason
from vectorops.collections import steps
from vectorops.collections.next_move import Abandon, Proceed, Retire, RollBack, Start
from vectorops.collections.plan import Plan
from vectorops.collections.predict import Prediction
from vectorops.collections.room import find_room
from vectorops.errors import VectorOpsError
from vectorops.local import plans
from vectorops.local.manifests import Manifests
from vectorops.local.override import Override
from vectorops.local.plans import PlannedChange, ResourcePlan, planned
from vectorops.local.preview_points import PointsPreview, describe_points, describe_removal, preview_points
from vectorops.local.prune import LeftOver, Places, left_over
from vectorops.local.runner import Runner
from vectorops.local.session import Options, Session, open_session
from vectorops.points.declared import vectors_of_texts
from vectorops.points.stage import Inline
from vectorops.reconcilers.collection import NO_SHARD_KEY
from vectorops.reconcilers.decide import Decision, Inspection, Migrating, decide
from vectorops.reconcilers.driver import Driver
from vectorops.reconcilers.kinds import RECONCILERS
from vectorops.reconcilers.migrator import describe_migration
from vectorops.reconcilers.replicas import findings, read_replicas, shortage
from vectorops.reconcilers.situation import Destination, find_destinations, find_situation
from vectorops.reconcilers.spec import RawSpec, parse
from vectorops.reconcilers.verifying import declare_points
from vectorops.reconciliation import reconciling
from vectorops.sources.installed import require_installed

SIGNS: Final[Mapping[steps.Action, plans.PlanAction]] = {
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


async def preview(manifests: Manifests, options: Options) -> list[ResourcePlan]:
    """What `apply` would do with the same manifests and options. Writes nothing, neither into Qdrant nor beside it."""
    until = asyncio.get_running_loop().time() + options.timeout_seconds
    with _without_traces(options) as careful:
        async with open_session(manifests, careful, read_only=True) as opened:
            await Runner(opened.cluster, Driver(opened.context, RECONCILERS)).run(until, kinds=CONNECTION_KINDS)
            previewed = _Preview(opened, None if options.prune else Places(opened))
            refs = opened.cluster.in_order()
            left = await _left_over(opened, options)
            plans = await previewed.of_all(refs)
            stuck = {ref for ref, plan in zip(refs, plans, strict=True) if not previewed.arrives(ref, plan)}
            for name, moved in left.moved.items():
                if waiting := [one.ref for one in moved if one.ref in stuck]:
                    words = f"collection {name!r} would be left as it is until {waiting[0]} is as declared elsewhere"
                    plans += [planned(one.ref, remarks=[words]) for one in moved]
                else:
                    plans += [await previewed.of_pruned(one) for one in moved]
            return [*plans, *[await previewed.of_pruned(one) for one in left.resources]]


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
    """One preview. It remembers what each collection will be like, and what each set would do to it."""

    def __init__(self, opened: Session, places: Places | None) -> None:
        self._places = places
        self._cluster = opened.cluster
        self._context = opened.context
        self._predictions: dict[Ref, Prediction] = {}
        self._candidates: dict[Ref, Prediction] = {}
        self._points: dict[Ref, PointsPreview] = {}
        self._copies: dict[Ref, PointsPreview] = {}
        self._waiting_for_aliases: set[Ref] = set()

    def arrives(self, ref: Ref, plan: ResourcePlan) -> bool:
        """Would a resource that was elsewhere be as declared, so that nothing of it is needed there any more? See
        `apply._has_arrived`.
        """
        resource = self._cluster.now(ref)
        if resource is not None and RawSpec(resource).is_suspended:
            return False
        return plan.problem is None or ref in self._waiting_for_aliases

    async def of_all(self, refs: list[Ref]) -> list[ResourcePlan]:
        plans = {ref: await self._of(ref) for ref in refs}
        # When all sets are known: a point that leaves one may pass to another.
        plans |= {ref: describe_points(one, self._points, self._copies.get(ref)) for ref, one in self._points.items()}
        return list(plans.values())

    async def of_pruned(self, resource: Resource) -> ResourcePlan:
        try:
            return planned(resource.ref, [PlannedChange("delete", await self._removal(resource))])
        except VectorOpsError as error:
            return planned(resource.ref, problem=_error_words(error))

    async def _of(self, ref: Ref) -> ResourcePlan:
        resource = self._cluster.now(ref)
        assert resource is not None, "refs lists what is there"
        try:
            with reconciling(str(ref)):
                if self._places is not None:
                    await self._places.require(resource)
                if ref.kind in CONNECTION_KINDS:
                    return _describe_connection(resource)
                if ref.kind == QDRANT_COLLECTION:
                    return await self._collection(resource)
                return await self._point_set(resource)
        except VectorOpsError as error:
            return planned(ref, problem=_error_words(error))

    async def _collection(self, resource: Resource) -> ResourcePlan:
        spec = parse(QdrantCollectionSpec, resource)
        if spec.suspend:
            return planned(resource.ref, remarks=["suspended: nothing would be changed"])
        decision = await decide(self._context, resource, spec)
        self._predictions[resource.ref] = decision.prediction
        migration = decision.migration if isinstance(decision, Decision) else None
        if migration is not None and migration.candidate is not None:
            self._candidates[resource.ref] = migration.candidate.prediction
        if isinstance(decision, Decision) and decision.plan.taken and decision.granted == decision.plan.held_back:
            self._waiting_for_aliases.add(resource.ref)
        would_be = (
            _describe_inspection(resource.ref, decision)
            if isinstance(decision, Inspection)
            else _describe_decision(resource.ref, spec, decision)
        )
        database = decision.access.database
        if migration is not None and isinstance(migration.move, Start) and migration.candidate is not None:
            room = await find_room(database, migration.candidate.wanted, decision.found)
            would_be = replace(would_be, remarks=(*would_be.remarks, f"the second copy takes {room.words}"))
            if room.refusal:
                would_be = replace(would_be, problem=room.refusal)
        if would_be.problem or not (decision.found.exists and database.info.distributed):
            return would_be
        # What `apply` would do about replicas, and why the collection would not become Ready if it does nothing.
        seen = await findings(database, decision.found, spec, await read_replicas(database, decision.found.name))
        if seen.step is not None:
            change = PlannedChange("update", f"replicas, one at a time, beginning with: {seen.step.line}")
            return replace(would_be, changes=(*would_be.changes, change))
        return replace(would_be, problem=shortage(spec, seen)) if seen.counts.short else would_be

    async def _point_set(self, resource: Resource) -> ResourcePlan:
        spec = parse(PointSetSpec, resource)
        if spec.suspend:
            return planned(resource.ref, remarks=["suspended: nothing would be changed"])
        predicted = {ref: prediction.observed for ref, prediction in self._predictions.items()}
        active, *_ = await find_destinations(self._context, resource, spec, predicted)
        prediction = self._predictions.get(active.collection.ref) or Prediction(active.observed)
        self._points[resource.ref] = await self._preview_into(resource, spec, active, prediction)
        candidate = self._candidates.get(active.collection.ref)
        if candidate is not None:
            beside = replace(active, observed=candidate.observed, beside=(active.observed,))
            self._copies[resource.ref] = await self._preview_into(resource, spec, beside, candidate)
        return describe_points(self._points[resource.ref], self._points, self._copies.get(resource.ref))

    async def _preview_into(
        self, resource: Resource, spec: PointSetSpec, destination: Destination, prediction: Prediction
    ) -> PointsPreview:
        """What would become of the points in one physical collection. prediction: what it will be like."""
        percent = spec.effective_max_delete_percent
        preview = partial(preview_points, prediction=prediction, shard_key=spec.shard_key, max_delete_percent=percent)
        if spec.source is None:
            texts = vectors_of_texts(spec.inline_points)
            found = await find_situation(self._context, resource, spec, destination, texts)
            return await preview(found, Inline(declare_points(spec, found.target, found.embedding.identities)))
        require_installed()
        # Only now, because it needs the libraries of the extra `sources`.
        from vectorops.reconcilers.source_reading import staged_source, vectors_of_embedded_columns

        texts = vectors_of_embedded_columns(spec.mapping)
        found = await find_situation(self._context, resource, spec, destination, texts)
        async with staged_source(self._context, found, spec, spec.source) as sourced:
            return await preview(found, sourced)

    async def _removal(self, resource: Resource) -> str:
        if resource.kind == POINT_SET:
            return await describe_removal(self._context, resource)
        name = RawSpec(resource).collection_name
        if RawSpec(resource).deletes:
            return f"prune: delete collection {name}"
        return f"prune: let go of collection {name}, which stays (deletionPolicy: Retain)"


def _error_words(error: VectorOpsError) -> str:
    return f"{error.reason.value}: {error.message}"


def _describe_connection(resource: Resource) -> ResourcePlan:
    if resource.ready or RawSpec(resource).is_suspended:
        return planned(resource.ref)
    ready = resource.condition("Ready") or {"reason": Reason.UNREACHABLE.value, "message": "time ran out"}
    return planned(resource.ref, problem=f"{ready['reason']}: {ready['message']}")


def _describe_inspection(ref: Ref, decision: Inspection) -> ResourcePlan:
    words = "release the mark: the collection becomes its user's"
    changes = [PlannedChange("update", words)] if decision.released_mark is not None else []
    try:
        decision.require_as_declared()
    except VectorOpsError as error:
        return planned(ref, changes, problem=_error_words(error))
    return planned(ref, changes)


def _describe_decision(ref: Ref, spec: QdrantCollectionSpec, decision: Decision) -> ResourcePlan:
    todo, approval = decision.plan, decision.approval
    points = decision.found.points
    changes = _of_the_mark(decision)
    if decision.reports_drift:
        remark = f"changed by others; driftPolicy is Report, so {approval.how} to put it right:"
        return planned(ref, changes, remarks=[remark, *todo.describe(points)])
    changes += [PlannedChange(_sign(step, todo), "\n".join(step.described(points))) for step in decision.steps]
    if not approval.given:
        changes += [PlannedChange("hold", "\n".join(step.described(points))) for step in todo.held_back]
    if decision.migration is not None:
        changes += _of_the_migration(spec, decision.migration)
    problems = [decision.aliases.taken_words(alias, holder) for alias, holder in todo.taken]
    problems += [f"{line}: {NO_SHARD_KEY}" for line in todo.premature]
    problems += [f"Qdrant {todo.version} does not keep {path}: {value!r}" for path, value in todo.unsupported]
    if todo.held_back and not approval.given:
        problems.append(f"held back: {approval.how}, or take the change back")
    migration = decision.migration
    if migration is not None and migration.approval is not None and migration.is_held:
        problems.append(f"held back: {migration.approval.how}")
    remembered = replace(decision.mark, last_applied=todo.remembered().to_json())
    if not changes and decision.found.mark != remembered:
        changes.append(PlannedChange("update", "the mark: what was applied last"))
    if decision.mark.embedders != todo.locks() and decision.found.exists:
        changes.append(PlannedChange("update", "the mark: which models make the vectors"))
    return planned(ref, changes, problem="; ".join(problems) or None, remarks=decision.aliases.stay_words)


def _of_the_migration(spec: QdrantCollectionSpec, migrating: Migrating) -> list[PlannedChange]:
    """What would become of the collections beside the active one."""
    match migrating.move:
        case Start() | Proceed():
            sign: plans.PlanAction = "hold" if migrating.is_held else "create"
            return [PlannedChange(sign, "\n".join(["migrate:", *describe_migration(spec, migrating)]))]
        case Abandon(names):
            return [
                PlannedChange("delete", f"collection {name}, which never served and is not needed") for name in names
            ]
        case Retire(name):
            return [PlannedChange("hold" if migrating.is_held else "delete", f"the old collection {name}")]
        case RollBack(to):
            return [PlannedChange("update", f"move readers back from {migrating.standing.active.name} to {to}")]
    return []


def _sign(step: steps.Step, todo: Plan) -> plans.PlanAction:
    if step.action is steps.Action.PUT_INDEX:
        return "update" if step.target in todo.observed.indexes else "create"
    return SIGNS[step.action]


def _of_the_mark(decision: Decision) -> list[PlannedChange]:
    """What changes about the ownership of a collection that is there."""
    before, mark = decision.found.mark, decision.mark
    if not decision.found.exists:
        return []
    if before is None or before.released:
        return [PlannedChange("adopt", f"collection {mark.collection}")]
    if (before.installation, before.namespace, before.name) != (mark.installation, mark.namespace, mark.name):
        return [PlannedChange("update", f"take collection {mark.collection} over from {before.owner}")]
    if before.deletion_policy != mark.deletion_policy:
        return [PlannedChange("update", f"deletionPolicy: {before.deletion_policy} -> {mark.deletion_policy}")]
    return []


async def _left_over(opened: Session, options: Options) -> LeftOver:
    """What would be pruned, made known to the cluster: it gives up what the files may want, such as an alias."""
    if not options.prune:
        return LeftOver()
    found = await left_over(opened, stand_in=options.override is not None)
    for resource in found.resources:
        opened.cluster.add(resource)
    return found
