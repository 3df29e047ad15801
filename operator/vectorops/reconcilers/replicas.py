"""Has the collection the replicas that are declared? Asked on a distributed Qdrant, when all else is as declared.

`collections.replicas` decides. Here it is told, and, with `replicaPolicy: Converge`, done: one operation a look.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from vectorops.api.collection import QdrantCollectionSpec, ReplicasStatus
from vectorops.api.meta import JsonObject, Resource
from vectorops.api.reasons import Reason
from vectorops.collections.replicas import (
    Counts,
    Factors,
    Operation,
    Place,
    Placement,
    counts,
    is_behind,
    next_operation,
)
from vectorops.errors import Rejected, Transient
from vectorops.qdrant.collections import Observed
from vectorops.qdrant.database import Database
from vectorops.reconcilers.base import Outcome, conditions
from vectorops.reconcilers.status import ready_reason

logger = logging.getLogger(__name__)

PATIENCE_SECONDS: Final = 600.0
"""For so long a replica that is not active is waited for: it comes back by itself, within seconds of its node."""
DONE_SECONDS: Final = 1.0
"""When the next look comes after an operation."""
TRANSFER_SECONDS: Final = 5.0
"""How often is looked while replicas are being made."""
ABSENT_SECONDS: Final = 60.0
"""The same while dead ones are waited for."""


class Replicas:
    """Those of all collections, over time. Since when a replica is not active is known by this process only: after a
    restart it is waited for anew.

    clock: in seconds.
    """

    def __init__(
        self, *, patience_seconds: float = PATIENCE_SECONDS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._patience_seconds = patience_seconds
        self._clock = clock
        self._inactive_since: dict[str, dict[Place, float]] = {}

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
        """The outcome of a look at a collection that exists, with what is to be told of its replicas.

        may_pass: was nothing else done that must be told at once?
        """
        assert outcome.status is not None, "the collection exists"
        if not database.info.distributed:
            return replace(outcome, status={**outcome.status, "replicas": None})
        placement, factors = (
            Placement.from_answer(await placement_of(database, observed.name)),
            factors_of(spec, observed),
        )
        found = counts(placement, factors)
        shown = ReplicasStatus(
            wanted=found.wanted, active=found.active, dead=found.dead, transferring=found.transferring
        ).dump()
        status = {**outcome.status, "replicas": shown}
        lost = self._lost(resource.meta.uid, placement)
        if ready_reason(status)[0] != "True":
            return replace(outcome, status=status)
        operation = None
        if converges(spec) and (found.short or placement.inactive() or found.active > found.wanted):
            operation = next_operation(placement, await nodes_of(database), factors, lost=lost)
        if operation is not None:
            await _carry_out(database, resource, observed.name, operation)
        return _told(outcome, status, spec, observed.name, found, placement, operation, may_pass=may_pass)

    def _lost(self, uid: str, placement: Placement) -> set[Place]:
        """Those that are not waited for any longer."""
        now, before = self._clock(), self._inactive_since.pop(uid, {})
        since = {place: before.get(place, now) for place in placement.inactive()}
        if since:
            self._inactive_since[uid] = since
        return {place for place, begin in since.items() if now - begin >= self._patience_seconds}


async def placement_of(database: Database, name: str) -> JsonObject:
    """`result` of GET /collections/{name}/cluster. Raises Transient if the collection is gone meanwhile."""
    try:
        return await database.collection_cluster(name)
    except Rejected as error:
        raise Transient(Reason.PROGRESSING, f"collection {name!r} changed meanwhile: {error.message}") from error


async def nodes_of(database: Database) -> JsonObject:
    """`result` of GET /cluster. Raises Transient if this node does not know the latest: what is done must not rest on
    old news.
    """
    cluster = await database.cluster()
    if is_behind(cluster):
        raise Transient(
            Reason.PROGRESSING, f"{database.endpoint}: this node of Qdrant has not caught up with the others"
        )
    return cluster


def factors_of(spec: QdrantCollectionSpec, observed: Observed) -> Factors:
    """As declared, or, where nothing is, as Qdrant has it."""
    declared = (spec.params or {}).get("replication_factor")
    if isinstance(declared, int | float):
        return Factors(int(declared))
    return Factors(observed.config.get("params", {}).get("replication_factor") or 1, declared=False)


def converges(spec: QdrantCollectionSpec) -> bool:
    """May replicas be made and dropped? Never those of a collection that its user manages."""
    return spec.replica_policy == "Converge" and spec.managed_by != "User"


async def _carry_out(database: Database, resource: Resource, name: str, operation: Operation) -> None:
    try:
        await database.change_replicas(name, operation.body)
    except Rejected as error:
        # Somebody else was at work meanwhile, or this node did not know the latest: look again.
        raise Transient(Reason.PROGRESSING, f"not done: {operation.line}: {error.message}") from error
    logger.info("replicas changed", extra={"resource": str(resource.ref), "steps": [operation.line]})


def _told(
    outcome: Outcome,
    status: JsonObject,
    spec: QdrantCollectionSpec,
    name: str,
    found: Counts,
    placement: Placement,
    operation: Operation | None,
    *,
    may_pass: bool,
) -> Outcome:
    at_work = operation is not None or bool(placement.transfers or found.transferring)
    again = TRANSFER_SECONDS if at_work else ABSENT_SECONDS if found.dead or found.short else None
    again = DONE_SECONDS if operation is not None else again
    if not found.short and operation is None:
        return replace(outcome, status=status, requeue_after=again)
    if not found.short:
        message = f"collection {name!r} is as declared; replicas that are too many, or were lost, are dropped"
        told = conditions(True, Reason.SUCCEEDED, message, reconciling=True)
    else:
        message = f"collection {name!r}: {shortage(spec, found, at_work=at_work)}"
        passes = at_work or bool(found.dead)
        told = conditions(False, Reason.REPLICAS_MISSING, message, reconciling=passes, stalled=not passes)
    told += [condition for condition in status["conditions"] if condition["type"] == "Drifted"]
    # A node that is restarted, as each is when Qdrant is upgraded, is nothing to tell.
    passing = bool(found.short) and (at_work or bool(found.dead)) and operation is None and may_pass
    return replace(outcome, status={**status, "conditions": told}, requeue_after=again, passing=passing)


def shortage(spec: QdrantCollectionSpec, found: Counts, *, at_work: bool) -> str:
    """What is missing, and what to do about it. at_work: is anything being made?"""
    if at_work:
        advice = "more are on the way"
    elif found.dead:
        advice = "a dead one comes back by itself, with its node"
        advice += f"; after {PATIENCE_SECONDS / 60:.0f} minutes another node gets it" if converges(spec) else ""
    elif converges(spec):
        advice = "no other node that is up could take one: add nodes, or lower params.replication_factor"
    else:
        advice = (
            "Qdrant makes none when the factor is raised: set replicaPolicy: Converge, copy the shards by hand, "
            "or lower params.replication_factor"
        )
    return f"{found.described()}; {advice}"
