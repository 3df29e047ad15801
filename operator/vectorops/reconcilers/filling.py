"""Are all points of a collection's sets in another physical collection?

A PointSet that has brought all its points into a collection beside the active one says so in that collection's
metadata, with a digest of its spec: a set that was edited since has to say so again.
"""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass
from typing import Final

import orjson

from vectorops.api.meta import GROUP, POINT_SET, JsonObject, Ref, Resource
from vectorops.qdrant.marks import REGISTRATION_PREFIX
from vectorops.qdrant.observe import Observed
from vectorops.reconcilers.base import Context
from vectorops.reconcilers.cleanup import has_left
from vectorops.reconcilers.references import target
from vectorops.reconcilers.spec import RawSpec

FILLED_PREFIX: Final = f"{GROUP}/filled/"
FIRST_SETS: Final = 3
"""Sets that a message names."""


@dataclass(frozen=True, slots=True)
class Filling:
    """How far a collection is filled."""

    point_sets: int
    """PointSets that are to fill it."""
    missing: tuple[str, ...] = ()
    """Those that have not yet, each in words."""
    blocked: tuple[str, ...] = ()
    """Those that will not by themselves, each in words with what to do."""
    rests_on: frozenset[Ref] = frozenset()
    """All of them."""
    has_conflicts: bool = False
    """Did one of the missing find an id taken in the collection?"""

    @property
    def is_whole(self) -> bool:
        return not self.missing and not self.blocked

    @property
    def done(self) -> int:
        """How many of the sets have brought their points."""
        return max(self.point_sets - len(self.missing) - len(self.blocked), 0)

    def describe(self) -> str:
        """The first of those that are missing, and why."""
        left = [*self.blocked, *self.missing]
        more = [f"and {len(left) - FIRST_SETS} more"] if len(left) > FIRST_SETS else []
        return "; ".join(left[:FIRST_SETS] + more)


def filled_key(installation: str, point_set: Ref) -> str:
    """Key in the metadata of a collection: this set has brought all its points."""
    return f"{FILLED_PREFIX}{installation}/{point_set.namespace}/{point_set.name}"


async def digest_of_spec(point_set: Resource) -> str:
    """Identifies what a PointSet declares: 16 hexadecimal digits. Computed in a thread: it may have many points."""

    def digest(spec: JsonObject) -> str:
        return hashlib.sha256(orjson.dumps(spec, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]

    return await asyncio.to_thread(digest, point_set.spec)


async def find_filling(
    context: Context, resource: Resource, active: Observed, candidate: Observed, *, leaves: bool
) -> Filling:
    """Which sets have brought their points into the candidate.

    leaves: need points of sets that are not here not be in the candidate?
    """
    listed = await context.cluster.list(POINT_SET, refers_to=resource.ref)
    found = [await context.cluster.get(one.ref) for one in listed]
    sets = {one.ref: one for one in found if one is not None and target(one) == resource.ref and not has_left(one)}
    missing, blocked, has_conflicts = [], [], False
    for ref, point_set in sorted(sets.items(), key=lambda item: item[0].name):
        if point_set.deleting:
            missing.append(f"PointSet {ref.name!r} is being deleted")
        elif RawSpec(point_set).is_suspended:
            blocked.append(f"PointSet {ref.name!r} is suspended: resume or delete it")
        elif candidate.metadata.get(filled_key(context.installation, ref)) != await digest_of_spec(point_set):
            copies = [one for one in point_set.status.get("copies") or () if one.get("collection") == candidate.name]
            has_conflicts |= any((copy.get("points") or {}).get("conflicts") for copy in copies)
            messages = (copy.get("message") for copy in copies)
            ready = point_set.condition("Ready") or {}
            # A set that is not as declared in the active collection says why there.
            said = [*filter(None, messages)] or ([ready["message"]] if ready.get("status") == "False" else [])
            missing.append(": ".join([f"PointSet {ref.name!r}", *said]))
    if active.mark is not None and not leaves:
        known = {filled_key(context.installation, ref).removeprefix(FILLED_PREFIX) for ref in sets}
        registered = {key.removeprefix(REGISTRATION_PREFIX) for key in active.registrations(active.mark.incarnation)}
        for owner in sorted(registered - known):
            name = owner.rsplit("/", 1)[-1]
            blocked.append(
                f"PointSet {name!r} keeps points in collection {active.name!r} and is not here: apply it as well, or "
                "set migration.othersPoints: Leave"
            )
    return Filling(len(sets), tuple(missing), tuple(blocked), frozenset(sets), has_conflicts)
