"""`vectorops apply`: the reconcilers over the manifests, and how each resource came out. Called by `cli`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from vectorops.api.meta import JsonObject, Ref
from vectorops.api.reasons import Reason
from vectorops.local.cluster import LocalCluster, Tell
from vectorops.local.manifests import Manifests
from vectorops.local.prune import left_over
from vectorops.local.runner import Runner
from vectorops.local.session import Options, session
from vectorops.reconcilers.driver import Driver
from vectorops.reconcilers.kinds import RECONCILERS

NOT_LOOKED_AT: Final = {"reason": Reason.PROGRESSING.value, "message": "not looked at before time ran out"}


@dataclass(frozen=True, slots=True)
class Result:
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
    """results: of all resources of the files, and of those that should have been pruned and are still there.
    pruned: what is gone.

    notices: what was left alone, and why. timed_out: time ran out before all had settled.
    """

    results: tuple[Result, ...]
    pruned: tuple[Ref, ...] = ()
    notices: tuple[str, ...] = ()
    timed_out: bool = False

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

    tell: told of events. settled: told of each resource that cannot get further.
    """
    async with session(manifests, options, read_only=False, tell=tell) as opened:
        cluster = opened.cluster
        driver = Driver(opened.context, RECONCILERS)
        runner = Runner(cluster, driver, settled)
        until = asyncio.get_running_loop().time() + options.timeout_seconds
        in_time = await runner.run(until)
        doomed: list[Ref] = []
        notices: list[str] = []
        if options.prune and in_time:
            found = await left_over(opened, stand_in=options.override is not None)
            notices = found.notices
            doomed = [resource.ref for resource in found.resources]
            for resource in found.resources:
                cluster.add(resource)
            if options.override is not None:
                await options.override.rewrite(cluster)
            # Everything once more: what is removed may have held an id or an alias that a resource of the files
            # waits for.
            in_time = not doomed or await runner.run(until)
        if in_time:
            # The hash counts the points, and sets may have written some meanwhile: the next run must take what we tell.
            for ref in cluster.in_order():
                if (held := cluster.now(ref)) is not None and held.status.get("plan"):
                    await driver.run(ref)
        return Report(
            results=tuple(_result(cluster, ref) for ref in cluster.in_order()),
            pruned=tuple(ref for ref in doomed if cluster.now(ref) is None),
            notices=tuple(notices),
            timed_out=not in_time,
        )


def _result(cluster: LocalCluster, ref: Ref) -> Result:
    resource = cluster.now(ref)
    assert resource is not None, "refs lists what is there"
    told = resource.condition("Ready") or NOT_LOOKED_AT
    return Result(
        kind=ref.kind,
        namespace=ref.namespace,
        name=ref.name,
        ready=resource.ready,
        reason=told["reason"],
        message=told["message"],
        status=resource.status,
    )
