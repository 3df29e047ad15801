"""Which aliases pass from one collection to another, so that readers find one of the two all the while.

Blue and green by hand: one QdrantCollection gives an alias up, another one declares it, and nobody says in which order
the two are reconciled. So the one that declares it takes it, in one request, from a collection whose owner gave it up;
and the one that gave it up leaves it where it is as long as another one declares it. Only aliases that we made pass,
and only between collections of one installation.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final

from vectorops.api.meta import QDRANT_COLLECTION, Ref, Resource
from vectorops.collections.handover import NO_HANDOVER, AliasHandover, aliases_elsewhere
from vectorops.collections.last_applied import LastApplied
from vectorops.collections.resolve import Desired
from vectorops.errors import Terminal
from vectorops.qdrant.database import Database
from vectorops.qdrant.marks import Mark
from vectorops.qdrant.observe import Observed, read_mark
from vectorops.reconcilers.base import Context
from vectorops.reconcilers.ownership import owner_of
from vectorops.reconcilers.placement import find_placement
from vectorops.reconcilers.references import target
from vectorops.reconcilers.spec import RawSpec
from vectorops.reconcilers.tenancy import is_hidden, is_shared

PATIENCE_SECONDS: Final = 5.0
"""For so long an operator keeps an alias that nobody declares any more: the files of one change arrive one by one."""
OF_OTHERS: Final = "aliases of others are not moved"


@dataclass(frozen=True, slots=True)
class Aliases:
    """What becomes of the aliases of one collection."""

    passing: AliasHandover = NO_HANDOVER
    """For the plan."""
    why: Mapping[str, str] = field(default_factory=dict)
    """Of aliases that are taken: why they do not pass, for people."""
    stay: Mapping[str, str] = field(default_factory=dict)
    """Of aliases that were given up: why they are still there, for people."""
    rests_on: frozenset[Ref] = frozenset()
    """Resources whose change may change that."""
    again: float | None = None
    """Seconds until the next reconciliation, if some are only kept for a moment: somebody may be about to declare
    them.
    """
    hides_others: bool = False
    """Do other namespaces share the connection, so that their collections are not named?"""

    def taken_words(self, alias: str, holder: str) -> str:
        """For people: where an alias leads, and why it does not pass."""
        if alias == holder:
            return f"alias {alias!r} is the name of a collection"
        why = self.why.get(alias, OF_OTHERS)
        if self.hides_others and why == OF_OTHERS:
            return f"alias {alias!r} leads to a collection of another owner; {why}"
        return f"alias {alias!r} leads to collection {holder!r}; {why}"

    @property
    def stay_words(self) -> list[str]:
        """For people: each alias that was given up and is still there."""
        return [f"alias {alias!r} is no longer declared: {words}" for alias, words in sorted(self.stay.items())]


async def aliases_of(
    context: Context, resource: Resource, database: Database, wanted: Desired, found: Observed, mark: Mark
) -> Aliases:
    """What becomes of the aliases that lead elsewhere, and of those that are no longer declared.

    mark: as `ownership.claim` gives it. Asks Kubernetes only if there are any.
    """
    free: dict[str, str] = {}
    why: dict[str, str] = {}
    rests_on: set[Ref] = set()
    for alias, holder in aliases_elsewhere(wanted, found).items():
        theirs = await readable_mark(database, holder) if holder != alias else None
        ref = owner_of(theirs, context.installation) if theirs is not None else None
        if theirs is None or ref is None or is_hidden(theirs.namespace, resource):
            why[alias] = OF_OTHERS
            continue
        rests_on.add(ref)
        if refusal := await _refusal(context, ref, theirs, alias):
            why[alias] = refusal
        else:
            free[alias] = holder
    given_up = (LastApplied.from_json(mark.last_applied).aliases & found.aliases) - wanted.aliases
    takers = await _takers(context, resource, given_up) if given_up else {}
    stay = {
        alias: f"it stays until {', '.join(sorted(ref.name for ref in refs))}, which declares it now, takes it"
        for alias, refs in takers.items()
    }
    # Two files of one change arrive one after the other: whoever is to have the alias may be declared in a moment.
    is_new = resource.status.get("observedGeneration") != resource.meta.generation
    soon = frozenset(given_up - takers.keys()) if is_new and context.alias_patience_seconds else frozenset()
    stay |= dict.fromkeys(soon, "it is deleted in a few seconds, unless another collection declares it")
    left = frozenset(takers) | soon
    again = context.alias_patience_seconds if soon else None
    resting_on = frozenset(rests_on.union(*takers.values()))
    return Aliases(AliasHandover(free, left), why, stay, resting_on, again, is_shared(resource))


async def hand_over(context: Context, resource: Resource, database: Database, name: str, mark: Mark) -> None:
    """Before a collection is deleted or left behind: aliases of it that other collections declare pass to those."""
    holders = await database.aliases()
    ours = {alias for alias in LastApplied.from_json(mark.last_applied).aliases if holders.get(alias) == name}
    for alias, refs in (await _takers(context, resource, ours) if ours else {}).items():
        for ref in sorted(refs, key=str):
            taker = await context.cluster.get(ref)
            if taker is None or RawSpec(taker).is_suspended:
                continue
            theirs = await _active_mark(context, database, taker)
            if theirs is not None and theirs.belongs_to(context.installation, ref):
                await database.move_aliases([alias], theirs.collection)
                break


async def _active_mark(context: Context, database: Database, collection: Resource) -> Mark | None:
    """The mark of the collection that serves the readers of a resource, as `readable_mark` gives it."""
    try:
        return (await find_placement(database, collection, context.installation)).active.mark
    except Terminal:
        return None


async def _refusal(context: Context, ref: Ref, mark: Mark, alias: str) -> str:
    """Why an alias may not be taken from the collection of `ref`; "" if it may."""
    words = f"its owner {ref.namespace}/{ref.name}"
    holder = await context.cluster.get(ref)
    if alias not in LastApplied.from_json(mark.last_applied).aliases:
        return OF_OTHERS
    if holder is None:
        return f"{words} is not here to say whether it gives it up: apply both, or delete the alias"
    if RawSpec(holder).is_suspended or RawSpec(holder).is_users:
        return f"{words} is suspended, or its user's"
    if alias in RawSpec(holder).aliases and not holder.deleting:
        return f"{words} declares it too: remove it from one of the two"
    return ""


async def _takers(context: Context, resource: Resource, aliases: Collection[str]) -> dict[str, set[Ref]]:
    """Who declares each of these: other collections on the same connection that may take it now or later."""
    connection = target(resource)
    if connection is None or not aliases:
        return {}
    found: dict[str, set[Ref]] = {}
    for listed in await context.cluster.list(QDRANT_COLLECTION, refers_to=connection):
        if listed.ref == resource.ref or is_hidden(listed.meta.namespace, resource):
            continue
        # A list need not hold whole specs.
        other = await context.cluster.get(listed.ref)
        if other is None or other.deleting or RawSpec(other).is_users:
            continue
        for alias in RawSpec(other).aliases.intersection(aliases):
            found.setdefault(alias, set()).add(other.ref)
    return found


async def readable_mark(database: Database, name: str) -> Mark | None:
    """The mark of a collection, None if it has none that this version can read: whoever owns the collection then,
    nothing is taken from it.
    """
    try:
        return await read_mark(database, name)
    except Terminal:
        return None
