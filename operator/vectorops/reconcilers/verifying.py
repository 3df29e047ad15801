"""What is parsed, declared and compared when a PointSet is reconciled; `points.verification` has the reasons.

A set that this process found as declared before is not even parsed whole again: the points of one share are. One that
only its status says is as declared (the operator was started since) is declared whole, and compared in a share.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace

from vectorops.api.meta import VERIFY, JsonObject, Resource
from vectorops.api.pointset import PointSetSpec
from vectorops.ledger.entries import EntriesById
from vectorops.ledger.store import LedgerStore
from vectorops.points import verification
from vectorops.points.declared import Declaration, declare, vectors_of_texts
from vectorops.points.target import Target
from vectorops.points.verification import Remembered, Verification
from vectorops.reconcilers.base import Context
from vectorops.reconcilers.spec import parse


async def parse_needed(context: Context, resource: Resource) -> tuple[Remembered | None, PointSetSpec, frozenset[str]]:
    """What an earlier reconciliation found, if this one need only find out whether it still is so; the spec, then
    without its points; and the names of the vectors that some point gives as text. Raises as `parse` does.
    """
    if context.verification is not None and _may_be_unchanged(resource):
        known = context.verification.known(resource.ref, resource.meta.uid, resource.meta.generation)
        if known is not None:
            return known, parse_some(resource, []), known.texts
    spec = await _parse_whole(resource)
    return None, spec, vectors_of_texts(spec.inline_points)


def _may_be_unchanged(resource: Resource) -> bool:
    asked = resource.meta.annotations.get(VERIFY)
    is_answered = asked is None or resource.status.get("lastHandledVerifyAt") == asked
    return bool(resource.meta.uid) and resource.ready and is_answered and not resource.status.get("plan")


def parse_some(resource: Resource, points: list[JsonObject]) -> PointSetSpec:
    """The spec with these points alone, where it has any. Raises as `parse` does."""
    if "source" in resource.spec:
        return parse(PointSetSpec, resource)
    return parse(PointSetSpec, replace(resource, spec={**resource.spec, "points": points}))


async def _parse_whole(resource: Resource) -> PointSetSpec:
    """The spec, parsed beside the event loop: it may have thousands of points. Raises as `parse` does."""
    return await asyncio.to_thread(parse, PointSetSpec, resource)


@dataclass(frozen=True, slots=True)
class Verifier:
    """One reconciliation of one set."""

    context: Context
    resource: Resource
    store: LedgerStore
    target: Target
    texts: frozenset[str]
    """Names of the vectors that some point gives as text."""
    identities: Mapping[str, str]
    """Of the embedders, by the vector's name."""

    async def declaration(self, known: Remembered | None, spec: PointSetSpec) -> Declaration | None:
        """What is to be compared with all that is stored. None: the set is as its status says, and that is all.

        known: see `parse_needed`; then `spec` needs no points. Raises as `parse` does.
        """
        if known is not None:
            if await self._is_as_remembered(known):
                return None
            spec = await _parse_whole(self.resource)
        declaration = await self._declare(spec)
        if known is None and await self._is_as_status_says(declaration):
            return None
        if self.context.verification is not None and len(declaration.points) > verification.SHARE_POINTS:
            self.context.verification.suspect(self.resource.ref)
        return declaration

    def remember(self, declaration: Declaration, entries: EntriesById | None = None) -> None:
        """The next reconciliation need not compare everything.

        entries: what the ledger says of the declaration; None: what it should say.
        """
        memory, meta, count = self.context.verification, self.resource.meta, len(declaration.points)
        if memory is None or not meta.uid or count <= verification.SHARE_POINTS or declaration.failures:
            return
        names = self.target.names
        if entries is None:
            entries = verification.entries_of(declaration, names)
        to_know = Remembered(
            uid=meta.uid,
            generation=meta.generation,
            schema=self.target.schema,
            identities=self.identities,
            texts=self.texts,
            entries=verification.digest(entries, names),
            following=verification.first_position(count),
        )
        memory.remember(self.resource.ref, to_know)

    async def _is_as_remembered(self, known: Remembered) -> bool:
        memory = _required(self.context)
        if (known.schema, known.identities) != (self.target.schema, self.identities):
            return False
        ledger = await verification.settled_ledger(self.store, self.target)
        if ledger is None or verification.digest(ledger.entries, ledger.names) != known.entries:
            return False
        points = self.resource.spec["points"]
        positions, following = verification.share(known.following, len(points))
        compared = await self._declare(parse_some(self.resource, [points[at] for at in positions]))
        if not await verification.is_as_written(self.store, self.target, ledger, compared):
            return False
        memory.remember(self.resource.ref, replace(known, following=following))
        return True

    async def _is_as_status_says(self, declaration: Declaration) -> bool:
        count = len(declaration.points)
        is_small = count <= verification.SHARE_POINTS
        if (
            self.context.verification is None
            or is_small
            or declaration.failures
            or not _may_be_unchanged(self.resource)
            or self.context.verification.is_suspected(self.resource.ref)
        ):
            return False
        ledger = await verification.settled_ledger(self.store, self.target)
        if ledger is None:
            return False
        entries = verification.entries_of(declaration, ledger.names)
        if not verification.agrees(ledger, entries):
            return False
        ids = list(declaration.points)
        positions, _ = verification.share(verification.first_position(count), count)
        compared = Declaration({ids[at]: declaration.points[ids[at]] for at in positions})
        if not await verification.is_as_written(self.store, self.target, ledger, compared):
            return False
        self.remember(declaration, ledger.entries)
        return True

    async def _declare(self, spec: PointSetSpec) -> Declaration:
        return await asyncio.to_thread(declare_points, spec, self.target, self.identities)


def declare_points(spec: PointSetSpec, target: Target, identities: Mapping[str, str]) -> Declaration:
    """The points of a spec. identities: of the embedders, by the vector's name."""
    return declare(
        spec.inline_points,
        target.schema,
        embedders=identities,
        left_out=target.left_out,
        id_format=spec.effective_id_format,
        store_id_as=spec.store_id_as,
    )


def _required(context: Context) -> Verification:
    assert context.verification is not None, "only what was remembered is compared with it"
    return context.verification
