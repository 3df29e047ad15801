"""The points of a set in the collections beside the active one: candidates that are to replace it, and retired ones,
kept for the way back.

Each is synced like the active one, after it, with a ledger of its own. The reconcilers of a set know one status; what
is so in another collection is an entry of `status.copies`, and they are given a resource whose status says just that.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final

from vectorops.api.meta import Condition, JsonObject, Ref, Resource
from vectorops.api.pointset import PointsCopy, PointSetSpec, PointSetStatus, PointSetTarget, SourceStatus
from vectorops.api.reasons import Reason
from vectorops.errors import GaveWay, Unauthorized, VectorOpsError
from vectorops.ledger.lifecycle import read_all_parts
from vectorops.points.source_memory import SourceMemory
from vectorops.points.verification import Verification
from vectorops.reconcilers.base import Context, Outcome
from vectorops.reconcilers.cluster import Cluster, Namespace, Secret
from vectorops.reconcilers.filling import digest_of_spec, filled_key
from vectorops.reconcilers.pointset_status import whole_conditions
from vectorops.reconcilers.situation import Destination, ledger_store
from vectorops.reconcilers.status import conditions

RETRY_SECONDS: Final = 30.0
"""When a copy is tried again that could not be brought up to date."""
HELD_BACK: Final = MappingProxyType(
    {
        Reason.DELETIONS_HELD_BACK.value: (
            "more points would be deleted than spec.maxDeletePercent allows: none is, until the plan in status is "
            "approved"
        ),
        Reason.COLLECTION_REPLACED.value: (
            "it seems to be another collection by now, so nothing is written or deleted: put back what was there, or "
            "delete this collection, which serves nobody"
        ),
    }
)
"""What is said of a copy that waits for a person, in words that need no hash."""
ENDED: Final = frozenset({Reason.SUCCEEDED, Reason.LEDGER_LOST, Reason.POINTS_FAILED, Reason.POINT_CONFLICTS})
"""Reasons of a pass that came to its end, whatever failed in it."""

SyncInto = Callable[[Context, Resource, PointSetSpec, Destination], Awaitable[Outcome]]


def copy_of(resource: Resource, where: PointSetTarget) -> PointsCopy | None:
    """What the status of a set says of its points in a collection beside the active one."""
    for stored in resource.status.get("copies") or ():
        if (stored.get("collection"), stored.get("incarnation")) == (where.collection, where.incarnation):
            return PointsCopy.model_validate(stored)
    return None


def as_of(resource: Resource, where: PointSetTarget) -> Resource:
    """The set with a status that speaks of one physical collection: the one of `status.target`, or a copy."""
    if resource.status.get("target") == where.dump():
        return resource
    copy = copy_of(resource, where)
    if copy is not None and copy.message is None and copy.points is not None:
        ready = whole_conditions(copy.points.synced)
    else:
        message = (copy.message if copy is not None else None) or "points are about to be written"
        ready = conditions(False, Reason.PROGRESSING, message)
    kept = {key: value for key, value in resource.status.items() if key.startswith("lastHandled")}
    status: JsonObject = {
        **kept,
        "target": where.dump(),
        "conditions": [condition.dump() for condition in ready],
        "observedGeneration": copy.observed_generation if copy is not None else None,
    }
    if copy is not None and copy.points is not None:
        status["points"] = copy.points.dump()
    if copy is not None and copy.revision is not None:
        status["source"] = {"revision": copy.revision}
    return replace(resource, status=status)


@dataclass(slots=True)
class CopyMemory:
    """What this process remembers of sets in collections beside the active ones."""

    known: dict[tuple[Ref, str], tuple[SourceMemory, Verification]] = field(default_factory=dict)
    """By set and incarnation."""

    def forget_set(self, ref: Ref) -> None:
        """The set is gone: nothing is remembered, whatever takes its name."""
        for key in [key for key in self.known if key[0] == ref]:
            del self.known[key]

    async def keep(
        self,
        context: Context,
        resource: Resource,
        spec: PointSetSpec,
        active: Destination,
        beside: Sequence[Destination],
        outcome: Outcome,
        sync_into: SyncInto,
    ) -> Outcome:
        """Brings the points into the collections beside the active one.

        outcome: of the active one. Returns it with `status.copies`. What fails in a copy is told there: readers do not
        depend on it.
        """
        incarnations = {destination.incarnation for destination in beside}
        for key in [key for key in self.known if key[0] == resource.ref and key[1] not in incarnations]:
            del self.known[key]
        status = outcome.status
        assert isinstance(status, PointSetStatus)
        cluster = _Beside(context.cluster, outcome.resource or resource)
        copies: list[PointsCopy] = []
        again: list[float] = []
        unfinished = ""
        for number, destination in enumerate(beside):
            where = destination.remembered
            view = as_of(cluster.resource, where)
            memories = self.known.setdefault((resource.ref, where.incarnation), (SourceMemory(), Verification()))
            careful = replace(
                context,
                cluster=cluster,
                source_memory=memories[0],
                verification=memories[1] if context.verification is not None else None,
            )
            known = copy_of(cluster.resource, where)
            try:
                synced = await sync_into(careful, view, spec, destination)
                read = status.source or as_of(resource, active.remembered).status.get("source")
                if (
                    not status.plan
                    and _holds_deletions(synced)
                    and _revision(read) == _revision(_status(synced).source)
                ):
                    # The active collection has less by now than the copy, and with it whoever reads.
                    again_from = replace(careful, source_memory=SourceMemory())
                    synced = await sync_into(again_from, *_may_delete_all(view, spec), destination)
            except GaveWay as error:
                # What is known of the rest is as true as before.
                rest = [copy_of(cluster.resource, one.remembered) for one in beside[number:]]
                copies += [one for one in rest if one is not None]
                again.append(0.0)
                unfinished = error.message
                break
            except Unauthorized:
                raise
            except VectorOpsError as error:
                copies.append(_failed_copy(where, known, error.message))
                again.append(RETRY_SECONDS)
                unfinished = f"collection {where.collection!r}: {error.message}"
                continue
            copy = _copy_after(where, known, synced, resource.meta.generation)
            copies.append(copy)
            if synced.requeue_after is not None:
                again.append(synced.requeue_after)
            # While the active collection keeps what its declaration lacks, one without it must not serve.
            if not status.plan and await _is_no_worse(context, resource, active, destination, synced):
                await _declare_filled(context, resource, destination)
        found = list(status.conditions)
        if unfinished:
            words = f"points are brought into the collections beside the active one: {unfinished}"
            found = [one for one in found if one.type != "Reconciling"]
            found.append(Condition(type="Reconciling", status="True", reason=Reason.MIGRATING.value, message=words))
        # A set whose points are as they were says nothing of where they are; the active collection may be another one.
        update: dict[str, object] = {"target": active.remembered, "copies": copies, "conditions": found}
        if "progress" in cluster.resource.status and not again.count(0.0):
            # The pass that it speaks of has ended.
            update["progress"] = None
        times = [seconds for seconds in (outcome.requeue_after, *again) if seconds is not None]
        return replace(
            outcome,
            status=status.model_copy(update=update),
            resource=cluster.resource,
            requeue_after=min(times, default=None),
        )


@dataclass(slots=True)
class _Beside(Cluster):
    """The cluster, for a set whose status speaks of a copy: of such a status only the progress is written."""

    inner: Cluster
    resource: Resource
    """With the status as it is in the cluster."""

    async def get(self, ref: Ref) -> Resource | None:
        return await self.inner.get(ref)

    async def list(self, kind: str, *, refers_to: Ref) -> list[Resource]:
        return await self.inner.list(kind, refers_to=refers_to)

    async def secret(self, namespace: str, name: str) -> Secret | None:
        return await self.inner.secret(namespace, name)

    async def config_maps(self, namespace: str, labels: Mapping[str, str]) -> Sequence[JsonObject]:
        return await self.inner.config_maps(namespace, labels)

    async def keep_config_map(self, resource: Resource, name: str, data: Mapping[str, str]) -> bool:
        return await self.inner.keep_config_map(resource, name, data)

    async def delete_config_map(self, resource: Resource, name: str) -> None:
        await self.inner.delete_config_map(resource, name)

    async def namespace(self, name: str) -> Namespace | None:
        return await self.inner.namespace(name)

    async def set_finalizer(self, resource: Resource, present: bool) -> Resource:
        return await self.inner.set_finalizer(resource, present)

    async def write_status(self, resource: Resource, status: JsonObject) -> None:
        assert resource.ref == self.resource.ref, "a set writes its own status"
        written = {key: value for key, value in self.resource.status.items() if key != "progress"}
        if "progress" in status:
            written["progress"] = status["progress"]
        await self.inner.write_status(self.resource, written)
        self.resource = replace(self.resource, status=written)

    async def event(self, resource: Resource, reason: str, message: str, *, warning: bool) -> None:
        await self.inner.event(resource, reason, message, warning=warning)


def _status(synced: Outcome) -> PointSetStatus:
    assert isinstance(synced.status, PointSetStatus)
    return synced.status


def _holds_deletions(synced: Outcome) -> bool:
    ready = _status(synced).ready
    return ready is not None and ready.reason == Reason.DELETIONS_HELD_BACK.value


def _may_delete_all(resource: Resource, spec: PointSetSpec) -> tuple[Resource, PointSetSpec]:
    """The same set, without a limit of deletions. The points of some sets are parsed later, from the resource."""
    limitless = replace(resource, spec={**resource.spec, "maxDeletePercent": 100})
    return limitless, spec.model_copy(update={"max_delete_percent": 100})


def _revision(source: SourceStatus | JsonObject | None) -> str | None:
    """Of the files that were read; None if there are none."""
    return source.revision if isinstance(source, SourceStatus) else (source or {}).get("revision")


def _failed_copy(where: PointSetTarget, known: PointsCopy | None, message: str) -> PointsCopy:
    before = known or PointsCopy(collection=where.collection, incarnation=where.incarnation)
    return before.model_copy(update={"message": message})


def _copy_after(where: PointSetTarget, known: PointsCopy | None, synced: Outcome, generation: int) -> PointsCopy:
    status = _status(synced)
    ready = status.ready
    source = status.source
    message = ready.message if ready is not None and ready.status != "True" else None
    if status.plan is not None:
        # Its hash approves nothing: the status of a set has one plan, that of the active collection.
        message = HELD_BACK[ready.reason] if ready is not None else None
    return PointsCopy(
        collection=where.collection,
        incarnation=where.incarnation,
        observed_generation=generation,
        points=status.points or (known.points if known is not None else None),
        revision=source.revision if source is not None else (known.revision if known is not None else None),
        message=message,
    )


async def _is_no_worse(
    context: Context, resource: Resource, active: Destination, copy: Destination, synced: Outcome
) -> bool:
    """Have readers no point less in the copy? Points that failed in both may be stored in the active collection as they
    were declared before.
    """
    status = _status(synced)
    ready = status.ready
    if ready is None or ready.reason not in ENDED or status.plan is not None:
        return False
    if ready.status == "True":
        return True
    owned = []
    for one in (active, copy):
        store = ledger_store(context, one.access, resource, one.remembered, one.observed)
        owned.append(sum(len(part.entries) for part in await read_all_parts(store)))
    return owned[0] <= owned[1]


async def _declare_filled(context: Context, resource: Resource, destination: Destination) -> None:
    """Writes down that all points of the set are there; nothing if that is known."""
    key, digest = filled_key(context.installation, resource.ref), await digest_of_spec(resource)
    if destination.observed.metadata.get(key) != digest:
        await destination.access.database.update_collection(destination.observed.name, {"metadata": {key: digest}})
