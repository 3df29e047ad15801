"""Which collections in Qdrant hold what one QdrantCollection declares.

Everything that needs a collection's name in Qdrant asks here: where points go, where aliases lead, which ledgers count,
what is cleaned up. With `layout: Direct` there is one collection, under the declared name. With `layout: Aliased` the
declared name is an alias: the collection behind it is *active*, and beside it there may be *candidates*, which are
filled to replace it, and *retired* ones, which served before and are kept for the way back. What is what follows from
aliases and marks alone.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from vectorops.api.meta import Ref, Resource
from vectorops.qdrant.database import Database
from vectorops.qdrant.marks import SUFFIX_DIGITS
from vectorops.qdrant.observe import Observed, read_collection
from vectorops.reconcilers.spec import RawSpec


@dataclass(frozen=True, slots=True)
class Placement:
    """The physical collections of one QdrantCollection."""

    name: str
    """As declared: the name of the collection, or its alias."""
    active: Observed
    """The collection that serves readers; with `exists` False where there is none yet."""
    others: tuple[Observed, ...] = ()
    """Candidates and retired ones, all ours: the one that served last comes first."""
    former: tuple[Observed, ...] = ()
    """Candidates and retired ones of another owner of the active collection."""

    @property
    def all(self) -> tuple[Observed, ...]:
        """All that exist, the active one first."""
        return tuple(one for one in (self.active, *self.others) if one.exists)


def declared_names(collection: Resource) -> frozenset[str]:
    """The names in Qdrant that are declared, without the aliases: what nobody else may be called."""
    name = RawSpec(collection).collection_name
    # The collections behind the alias have names that begin with it; this one stands for them.
    return frozenset({name, f"{name}-{'0' * SUFFIX_DIGITS}"} if RawSpec(collection).is_aliased else {name})


async def find_placement(database: Database, collection: Resource, installation: str) -> Placement:
    """Asks Qdrant for the collections of a QdrantCollection: one request for a Direct one.

    Raises Terminal UnknownMark, OwnedByAnother.
    """
    name, raw = RawSpec(collection).collection_name, RawSpec(collection)
    if not raw.is_aliased:
        return Placement(name, await read_collection(database, name))
    holders, names = await database.aliases(), frozenset(await database.collection_names())
    behind = re.compile(re.escape(name) + f"-[0-9a-f]{{{SUFFIX_DIGITS}}}")
    found = {other: await read_collection(database, other) for other in sorted(names) if behind.fullmatch(other)}
    active = holders.get(name) or (name if name in names else None)
    if active is not None and active not in found:
        found[active] = await read_collection(database, active)

    def is_ours(one: Observed) -> bool:
        return one.mark is not None and one.mark.belongs_to(installation, collection.ref)

    for one in [*found.values()]:
        # One that was there first has a name of its own.
        former = one.mark.predecessor if one.mark is not None and is_ours(one) else ""
        if former in names and former not in found:
            found[former] = await read_collection(database, former)
    ours = sorted(filter(is_ours, found.values()), key=_last_served, reverse=True)
    if active is None or not found[active].exists:
        # Somebody deleted the alias or the collection, or it is not there yet.
        active = ours[0].name if ours else ""
    return Placement(
        name,
        found.get(active) or Observed(name, exists=False, distributed=database.info.distributed),
        tuple(one for one in ours if one.name != active),
        tuple(
            one
            for one in found.values()
            if one not in ours and one.name != active and _have_one_owner(one, found.get(active))
        ),
    )


def _have_one_owner(one: Observed, active: Observed | None) -> bool:
    """Belong two collections to one resource, whoever it is?"""
    if one.mark is None or active is None or active.mark is None or not one.mark.alias:
        return False
    mark = active.mark
    return one.mark.belongs_to(mark.installation, Ref(mark.kind, mark.namespace, mark.name))


def _last_served(one: Observed) -> tuple[str, str]:
    return (one.mark.switched_at if one.mark else "", one.name)
