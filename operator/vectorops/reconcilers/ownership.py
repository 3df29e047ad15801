"""Whose a collection is, decided without talking to anyone.

A collection carries a mark with its owner's name. One without a mark was there first, or lost its mark: then the
metadata that PointSets left in it, and their ledgers, tell whether it is ours.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from vectorops.api.meta import QDRANT_COLLECTION, Ref
from vectorops.api.reasons import Reason
from vectorops.errors import Terminal
from vectorops.qdrant.marks import Mark
from vectorops.qdrant.observe import Observed


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What a claim depends on beside the collection itself. Each is found out only if it may matter."""

    adopts: bool = True
    """May a collection that nobody owns be adopted (`adoptionPolicy: IfMatching`)?"""
    losses: tuple[str, ...] = ()
    """What would have to be destroyed to make the collection as declared, for people."""
    known_incarnation: str = ""
    """The incarnation in the status of the resource; "" if there is none."""
    ledger_incarnation: str = ""
    """The incarnation that ledgers speak of whose points are in the collection; "" if there are no such ledgers."""
    holds_ledgers: bool = False
    """Does an unmarked collection without vectors hold records of ledgers?"""
    take_over_from: str = ""
    """The installation whose collections may be taken over; "" if a person named none."""
    how_to_take_over: str = ""
    """What a person must do to allow it, for messages."""
    owner_exists: bool = False
    """Is the resource that the mark names still there? Asked if it is of this installation, and may be taken over."""
    is_shared: bool = False
    """Do other namespaces use the same connection, without the key of the database?"""
    holds_foreign_points: bool = False
    """May sets of other namespaces keep points in the collection? Asked if `is_shared` and no live mark is on it."""


def claim(ours: Mark, found: Observed, given: Circumstances) -> Mark:
    """The mark that the collection has, or is to get, if it is ours or may become so.

    ours: the mark of a collection that would be created now. Raises Terminal OwnedByAnother or NotAdopted.
    """
    mark = found.mark
    if not found.exists:
        return ours
    if given.holds_ledgers:
        raise kept_for_ledgers(found.name)
    if incarnation := _unmarked_incarnation(found, given):
        return replace(ours, incarnation=incarnation)
    if mark is not None and _is_owner(mark, ours):
        # The UID only informs: a rebuilt cluster has others, and must find everything as it was.
        return replace(
            mark,
            connection=ours.connection,
            connection_kind=ours.connection_kind,
            deletion_policy=ours.deletion_policy,
        )
    if given.is_shared:
        _require_not_foreign(mark, ours.namespace)
    if given.holds_foreign_points:
        raise Terminal(
            Reason.OWNED_BY_ANOTHER,
            f"collection {found.name!r} holds points of another namespace, so it is not adopted; nothing is changed in "
            "it. Choose another name",
        )
    if mark is not None and not mark.released:
        _require_take_over(mark, ours.installation, given)
        previous = mark.installation if mark.installation != ours.installation else mark.previous
        taken_over = replace(ours, incarnation=mark.incarnation, previous=previous)
        return replace(taken_over, last_applied=mark.last_applied, embedders=mark.embedders)
    if not given.adopts:
        raise Terminal(
            Reason.NOT_ADOPTED,
            f"collection {found.name!r} was there first, and adoptionPolicy is Never: choose another collectionName, "
            "or adoptionPolicy: IfMatching",
        )
    if given.losses:
        raise Terminal(
            Reason.NOT_ADOPTED,
            f"collection {found.name!r} was there first, and cannot be adopted without losing data: "
            + "; ".join(given.losses),
        )
    # Which models made the vectors that are stored is as true as before.
    return replace(ours, incarnation=mark.incarnation, embedders=mark.embedders) if mark is not None else ours


def needs_ledgers(found: Observed) -> bool:
    """Can only ledgers tell whether an unmarked collection is ours?

    The name alone proves nothing: it may be another collection by now. Where PointSets have registered ledgers, the
    metadata tells the incarnation. Where that was removed as well, the collection once had metadata.
    """
    return found.exists and not found.has_mark and found.had_metadata and not found.registered_incarnations


def _unmarked_incarnation(found: Observed, given: Circumstances) -> str:
    """The incarnation of a collection of ours whose mark somebody removed; "" if it is not known to be one."""
    if found.has_mark:
        return ""
    if needs_ledgers(found):
        return given.ledger_incarnation
    return given.known_incarnation if given.known_incarnation in found.registered_incarnations else ""


def _is_owner(mark: Mark, ours: Mark) -> bool:
    return mark.belongs_to(ours.installation, Ref(ours.kind, ours.namespace, ours.name))


def may_take_over(mark: Mark, take_over_from: str) -> bool:
    """Did a person allow to take a collection from the owner that its mark names?"""
    return mark.installation == take_over_from


def _require_take_over(mark: Mark, installation: str, given: Circumstances) -> None:
    is_allowed = may_take_over(mark, given.take_over_from)
    if is_allowed and not (mark.installation == installation and given.owner_exists):
        return
    raise Terminal(
        Reason.OWNED_BY_ANOTHER,
        f"collection {mark.collection!r} belongs to {mark.owner}; nothing is changed. To move it here, stop that one "
        f"and {given.how_to_take_over}",
        on=owner_of(mark, installation),
    )


def owner_of(mark: Mark, installation: str) -> Ref | None:
    """The resource of this installation that a collection belongs to; None if there is none."""
    ours = mark.installation == installation and not mark.released
    return Ref(QDRANT_COLLECTION, mark.namespace, mark.name) if ours and mark.kind == QDRANT_COLLECTION else None


def require_no_owner(mark: Mark | None, installation: str, collection: Ref, *, is_shared: bool) -> None:
    """A collection that is declared as its user's must not be anybody else's.

    The mark of the resource itself is none of another's: it is about to be released. is_shared: see `Circumstances`.
    Raises Terminal OwnedByAnother.
    """
    if is_shared:
        _require_not_foreign(mark, collection.namespace)
    if mark is not None and not mark.released and not mark.belongs_to(installation, collection):
        raise Terminal(
            Reason.OWNED_BY_ANOTHER,
            f"collection {mark.collection!r} belongs to {mark.owner}, so it is not its user's; nothing is changed in "
            "it. Choose another collection, or have that one give it up",
        )


def _require_not_foreign(mark: Mark | None, namespace: str) -> None:
    """What another namespace made through a shared connection, or left behind, is never taken over, and not named.

    Patterns of names may overlap, and take-over and adoption ask nobody of that namespace. Raises Terminal
    OwnedByAnother.
    """
    if mark is not None and mark.namespace != namespace:
        raise Terminal(
            Reason.OWNED_BY_ANOTHER,
            f"collection {mark.collection!r} belongs to a resource of another namespace, or was left behind by one; "
            "nothing is changed in it. Choose another name",
        )


def kept_for_ledgers(name: str) -> Terminal:
    """OwnedByAnother: an unmarked collection holds ledgers, from before their collections were marked."""
    return Terminal(
        Reason.OWNED_BY_ANOTHER,
        f"VectorOps keeps ledgers in collection {name!r}, so nothing else may be in it: choose another collection",
    )
