"""Has the collection the replicas that are declared? Asked on a distributed Qdrant, when all else is as declared.

`collections.replicas` decides. Here it is reported, and, with `replicaPolicy: Converge`, done: one operation a
reconciliation. Where Qdrant calls all replicas active, each must answer first. One on a node that died just now is
called active too, until somebody writes; it must be neither the source of a copy, which then stays under way until the
node returns, nor the one that is left.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import Final

from vectorops.api.collection import QdrantCollectionSpec, QdrantCollectionStatus, ReplicasStatus
from vectorops.api.meta import Condition, Resource
from vectorops.api.reasons import Reason
from vectorops.collections.replicas import (
    Factors,
    ReplicaCounts,
    ReplicaOperation,
    ReplicaPlace,
    ReplicaPlacement,
    count_replicas,
    is_behind,
    next_operation,
)
from vectorops.errors import Rejected, Transient
from vectorops.qdrant.database import Database
from vectorops.qdrant.observe import Observed
from vectorops.reconcilers.base import Outcome
from vectorops.reconcilers.status import conditions

logger = logging.getLogger(__name__)

PATIENCE_SECONDS: Final = 600.0
"""For so long a replica that is not active is waited for: it comes back by itself, within seconds of its node."""
DONE_SECONDS: Final = 1.0
"""When the next reconciliation comes after an operation."""
TRANSFER_SECONDS: Final = 5.0
"""How often to reconcile while replicas are being made."""
ABSENT_SECONDS: Final = 60.0
"""The same while some are missing and nobody makes them."""


@dataclass(frozen=True, slots=True)
class Findings:
    """What is known of the replicas of one collection."""

    placement: ReplicaPlacement
    counts: ReplicaCounts
    step: ReplicaOperation | None = None
    """The operation that comes next."""
    silent: bool = False
    """There is one, but a replica that Qdrant calls active does not answer."""

    @property
    def busy(self) -> bool:
        """Is anything being made, or about to be?"""
        return bool(self.step or self.placement.transfers or self.counts.transferring)

    @property
    def passes(self) -> bool:
        """May what is missing come without anybody's help?"""
        return self.busy or self.silent or bool(self.counts.dead)

    @property
    def again_seconds(self) -> float | None:
        """When to reconcile again; None: at the resync."""
        if self.step is not None:
            return DONE_SECONDS
        if self.busy:
            return TRANSFER_SECONDS
        return ABSENT_SECONDS if self.counts.short or self.counts.dead or self.silent else None


class Replicas:
    """Those of all collections, over time. Since when a replica is not active is known by this process only: after a
    restart the waiting begins again.

    clock: in seconds.
    """

    def __init__(
        self, *, patience_seconds: float = PATIENCE_SECONDS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._patience_seconds = patience_seconds
        self._clock = clock
        self._inactive_since: dict[str, dict[ReplicaPlace, float]] = {}

    async def judge(
        self,
        database: Database,
        resource: Resource,
        spec: QdrantCollectionSpec,
        observed: Observed,
        outcome: Outcome,
        *,
        may_pass: bool = True,
    ) -> Outcome:
        """The outcome for a collection that exists, with what is to be reported of its replicas. Does one step.

        may_pass: was nothing else done that must be reported at once?
        """
        assert isinstance(outcome.status, QdrantCollectionStatus), "the collection exists"
        if not database.info.distributed:
            return replace(outcome, status=outcome.status.model_copy(update={"replicas": None}))
        placement = await read_replicas(database, observed.name)
        lost = self._lost(resource.meta.uid, placement)
        is_fine = (ready := outcome.status.ready) is not None and ready.status == "True"
        found = await findings(database, observed, spec, placement, lost=lost, may_act=is_fine)
        counts = found.counts
        shown = ReplicasStatus(
            wanted=counts.wanted, active=counts.active, dead=counts.dead, transferring=counts.transferring
        )
        status = outcome.status.model_copy(update={"replicas": shown})
        if not is_fine:
            return replace(outcome, status=status)
        if found.step is not None:
            await _carry_out(database, resource, observed.name, found.step)
        if found_conditions := _replica_conditions(observed.name, spec, found):
            drifted = [condition for condition in status.conditions if condition.type == "Drifted"]
            status = status.model_copy(update={"conditions": [*found_conditions, *drifted]})
        # A node that is restarted, as each is when Qdrant is upgraded, is nothing to tell.
        passing = bool(counts.short) and found.passes and found.step is None and may_pass
        again = min((each for each in (outcome.requeue_after, found.again_seconds) if each is not None), default=None)
        return replace(outcome, status=status, requeue_after=again, passing=passing)

    def _lost(self, uid: str, placement: ReplicaPlacement) -> set[ReplicaPlace]:
        """Those that are not waited for any longer."""
        now, before = self._clock(), self._inactive_since.pop(uid, {})
        since = {place: before.get(place, now) for place in placement.inactive()}
        if since:
            self._inactive_since[uid] = since
        return {place for place, begin in since.items() if now - begin >= self._patience_seconds}


async def read_replicas(database: Database, name: str) -> ReplicaPlacement:
    """Where the replicas are. Raises Transient if the collection is gone meanwhile."""
    try:
        return ReplicaPlacement.from_answer(await database.collection_cluster(name))
    except Rejected as error:
        raise Transient(Reason.PROGRESSING, f"collection {name!r} changed meanwhile: {error.message}") from error


async def findings(
    database: Database,
    observed: Observed,
    spec: QdrantCollectionSpec,
    placement: ReplicaPlacement,
    *,
    lost: Collection[ReplicaPlace] = (),
    may_act: bool = True,
) -> Findings:
    """What is so, and, if it may be done, what comes next. Raises Transient if the node that answers does not know the
    latest: nothing that is done may rest on old news.
    """
    factors = _factors(spec, observed)
    found = Findings(placement, count_replicas(placement, factors))
    # A collection of its user's is never changed.
    converges = may_act and spec.effective_replica_policy == "Converge" and not spec.is_users
    if not converges or not (found.counts.short or placement.inactive() or found.counts.active > found.counts.wanted):
        return found
    cluster = await database.cluster()
    if is_behind(cluster):
        words = f"{database.endpoint}: this node of Qdrant has not caught up with the others"
        raise Transient(Reason.PROGRESSING, words)
    step = next_operation(placement, cluster, factors, lost=lost)
    all_active = not placement.inactive()
    if step is not None and all_active and not await database.all_replicas_answer(observed.name):
        return replace(found, silent=True)
    return replace(found, step=step)


def shortage(spec: QdrantCollectionSpec, found: Findings) -> str:
    """What is missing, and what to do about it."""
    converges = spec.effective_replica_policy == "Converge"
    if found.busy:
        advice = "more are on the way"
    elif found.silent:
        advice = "none is made or moved while one that Qdrant calls active does not answer; is each node up?"
    elif found.counts.dead:
        advice = "a dead one comes back by itself, with its node"
        advice += f"; after {PATIENCE_SECONDS / 60:.0f} minutes another node gets it" if converges else ""
    elif converges:
        advice = "no other node that is up could take one: add nodes, or lower params.replication_factor"
    else:
        advice = (
            "Qdrant makes none when the factor is raised: set replicaPolicy: Converge, copy the shards by hand, "
            "or lower params.replication_factor"
        )
    return f"{found.counts.described()}; {advice}"


def _factors(spec: QdrantCollectionSpec, observed: Observed) -> Factors:
    """As declared, or, where nothing is, as Qdrant has it."""
    declared = (spec.params or {}).get("replication_factor")
    is_declared = isinstance(declared, int | float)
    factor = declared if is_declared else observed.config.get("params", {}).get("replication_factor")
    of_all = int(factor or 1)
    by_key: dict[str | int, int] = {key.name: key.replication_factor or of_all for key in spec.shard_keys or ()}
    return Factors(of_all, is_declared, by_key)


async def _carry_out(database: Database, resource: Resource, name: str, step: ReplicaOperation) -> None:
    try:
        await database.change_replicas(name, step.body)
    except Rejected as error:
        # Somebody else was at work meanwhile: look again.
        raise Transient(Reason.PROGRESSING, f"not done: {step.line}: {error.message}") from error
    logger.info("replicas changed", extra={"resource": str(resource.ref), "steps": [step.line]})


def _replica_conditions(name: str, spec: QdrantCollectionSpec, found: Findings) -> list[Condition]:
    """The conditions; empty where there is nothing to add."""
    if found.counts.short:
        message = f"collection {name!r}: {shortage(spec, found)}"
        passes = found.passes
        return conditions(False, Reason.REPLICAS_MISSING, message, reconciling=passes, stalled=not passes)
    if found.step is not None:
        message = f"collection {name!r} is as declared; replicas that are too many, or were lost, are dropped"
        return conditions(True, Reason.SUCCEEDED, message, reconciling=True)
    return []
