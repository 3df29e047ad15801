"""`vectorops apply`: the reconcilers over the manifests, and how each resource came out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from vectorops.api.kinds import REFERRING_KINDS
from vectorops.api.meta import JsonObject, Ref, Resource
from vectorops.api.reasons import Reason
from vectorops.local.cluster import LocalCluster, Tell
from vectorops.local.manifests import Manifests
from vectorops.local.prune import LeftOver, Places, beside, left_over
from vectorops.local.runner import Runner
from vectorops.local.session import Options, open_session
from vectorops.reconcilers.base import Context, Outcome
from vectorops.reconcilers.driver import Driver, Reconciler
from vectorops.reconcilers.kinds import RECONCILERS
from vectorops.reconcilers.spec import RawSpec

NOT_LOOKED_AT: Final = {"reason": Reason.PROGRESSING.value, "message": "not looked at before time ran out"}


@dataclass(frozen=True, slots=True)
class ApplyResult:
    """How one resource came out. `-o json` prints these."""

    kind: str
    namespace: str
    name: str
    ready: bool
    reason: str
    message: str
    status: JsonObject


@dataclass(frozen=True, slots=True)
class Report:
    """How `apply` came out."""

    results: tuple[ApplyResult, ...]
    """Of all resources of the files, and of those that should have been pruned and are still there."""
    pruned: tuple[str, ...] = ()
    """What is gone, in words."""
    notices: tuple[str, ...] = ()
    """What was left alone, and why."""
    timed_out: bool = False
    """Time ran out before all had settled."""

    @property
    def ready(self) -> bool:
        """Is everything as the files say?"""
        return not self.timed_out and all(result.ready for result in self.results)


async def apply(
    manifests: Manifests,
    options: Options,
    *,
    tell: Tell = lambda *_: None,
    settled: Callable[[Ref], None] = lambda _: None,
) -> Report:
    """Makes Qdrant as the manifests say, and waits for it.

    tell: called with events. settled: called with each resource that cannot get further.
    """
    async with open_session(manifests, options, read_only=False, tell=tell) as opened:
        cluster = opened.cluster
        reconcilers = RECONCILERS if options.prune else _in_their_places(Places(opened))
        driver = Driver(opened.context, reconcilers)
        runner = Runner(cluster, driver, settled, waits_for_migrations=options.waits_for_migrations)
        until = asyncio.get_running_loop().time() + options.timeout_seconds
        in_time = await runner.run(until)
        found = LeftOver()
        pruned: list[str] = []
        blocked: list[ApplyResult] = []
        if options.prune and in_time:
            found = await left_over(opened, stand_in=options.override is not None)
            for name, resources in found.moved.items():
                if waiting := [one.ref for one in resources if not _has_arrived(cluster.now(one.ref))]:
                    found.notices.append(
                        f"collection {name!r} is left as it is until {waiting[0]} is as declared elsewhere"
                    )
                    continue
                former = beside(cluster, resources)
                context = replace(opened.context, cluster=former)
                await Runner(former, Driver(context, RECONCILERS)).run(until, kinds=REFERRING_KINDS)
                left = [resource.ref for resource in resources if former.now(resource.ref) is not None]
                blocked += [_describe_outcome(former, ref) for ref in left]
                gone = [resource.ref for resource in resources if resource.ref not in left]
                pruned += [f"{ref}, as it was in collection {name!r}" for ref in gone]
            for resource in found.resources:
                cluster.add(resource)
            if options.override is not None:
                await options.override.rewrite(cluster)
            # Everything once more: what is removed may have held an id or an alias that a resource of the files
            # waits for.
            in_time = not (found.resources or found.moved) or await runner.run(until)
            pruned += [str(resource.ref) for resource in found.resources if cluster.now(resource.ref) is None]
        if in_time:
            # The hash counts the points, and sets may have written some meanwhile: the next run must take what we tell.
            for ref in cluster.in_order():
                if (held := cluster.now(ref)) is not None and held.status.get("plan"):
                    await driver.run(ref)
        return Report(
            results=(*(_describe_outcome(cluster, ref) for ref in cluster.in_order()), *blocked),
            pruned=tuple(pruned),
            notices=tuple(found.notices),
            timed_out=not in_time,
        )


def _has_arrived(resource: Resource | None) -> bool:
    """Is a resource that was elsewhere as declared, so that nothing of it is needed there any more?

    All but its aliases: one may have the name of the collection that it was.
    """
    if resource is None or RawSpec(resource).is_suspended:
        return False
    ready = resource.condition("Ready") or NOT_LOOKED_AT
    return resource.ready or ready["reason"] == Reason.ALIAS_TAKEN


class _InItsPlace:
    """A reconciler that first sees to it that nothing is left behind elsewhere."""

    def __init__(self, places: Places, inner: Reconciler) -> None:
        self._places = places
        self._inner = inner
        self.finalize = inner.finalize

    async def reconcile(self, context: Context, resource: Resource) -> Outcome:
        await self._places.require(resource)
        return await self._inner.reconcile(context, resource)


def _in_their_places(places: Places) -> dict[str, Reconciler]:
    return {kind: _InItsPlace(places, reconciler) for kind, reconciler in RECONCILERS.items()}


def _describe_outcome(cluster: LocalCluster, ref: Ref) -> ApplyResult:
    resource = cluster.now(ref)
    assert resource is not None, "refs lists what is there"
    ready = resource.condition("Ready") or NOT_LOOKED_AT
    return ApplyResult(
        kind=ref.kind,
        namespace=ref.namespace,
        name=ref.name,
        ready=resource.ready,
        reason=ready["reason"],
        message=ready["message"],
        status=resource.status,
    )
