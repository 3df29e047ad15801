"""What would become of the points of one set: the reading half of `points.sync`. Called by `preview`."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from vectorops.api.meta import JsonObject, Ref
from vectorops.local.plans import Change, ResourcePlan, planned
from vectorops.points.declared import Declaration
from vectorops.points.diff import Diff, diff, recover
from vectorops.points.ledgers import aligned, held_by_others, inheritance
from vectorops.points.schema import PointSchema
from vectorops.qdrant.database import PointId
from vectorops.qdrant.ledger import UNKNOWN, Entry, Ledger, LedgerStore
from vectorops.qdrant.marks import Mark, registration_key, registrations
from vectorops.reconcilers.pointset import former_keys

SHOWN_IDS: Final = 5


@dataclass(frozen=True, slots=True)
class Place:
    """The collection that the points go to, as Qdrant describes it. mark: as it would be; None if it is its user's."""

    store: LedgerStore
    schema: PointSchema
    described: JsonObject
    mark: Mark | None


def all_new(ref: Ref, declaration: Declaration) -> ResourcePlan:
    """For a collection that is yet to be made."""
    return _planned(ref, declaration, Diff(insert=tuple(declaration.points.values())))


async def compared(ref: Ref, declaration: Declaration, place: Place) -> ResourcePlan:
    """For a collection that is there: declared points against what is remembered and what is stored."""
    store, names = place.store, tuple(sorted(place.schema))
    own = await store.read()
    remarks = []
    if own is None and _was_registered(ref, place):
        remarks.append("the ledger is lost: declared points would be taken back, points that left the set before stay")
    known = aligned(own or await _first_ledger(ref, declaration, place, names), names)
    pending = known.pending.entries if known.pending else {}
    ids = sorted({*declaration.points, *known.entries, *pending}, key=str)
    stored = await store.database.points(store.key.collection, ids, payload=True, vectors=True)
    found = diff(declaration, recover(known, declaration, stored, place.schema), stored, place.schema)
    # A window left open, other vectors, a set that its collection does not know of: nothing that people would see.
    unfinished = own is not None and (own.pending is not None or own.names != names or not _is_registered(ref, place))
    return _planned(ref, declaration, found, ledger_only=found.empty and unfinished, remarks=remarks)


async def _first_ledger(ref: Ref, declaration: Declaration, place: Place, names: tuple[str, ...]) -> Ledger:
    """What `points.ledgers.begin` would begin with, for a set that has no ledger."""
    store = place.store
    if _was_registered(ref, place):
        stored = await store.database.points(store.key.collection, sorted(declaration.points, key=str))
        unknown = Entry(UNKNOWN, (UNKNOWN,) * len(names))
        return Ledger(names, dict.fromkeys(stored.keys() - await held_by_others(store), unknown))
    return await inheritance(store, former_keys(store.key, place.mark)) or Ledger(names, {})


def _was_registered(ref: Ref, place: Place) -> bool:
    """Does the collection say that this set has a ledger? One of its user's never does."""
    return place.mark is not None and _is_registered(ref, place)


def _is_registered(ref: Ref, place: Place) -> bool:
    if place.mark is None:
        return True
    key = registration_key(place.store.key.installation, ref)
    return key in registrations(place.described, place.mark.incarnation)


def _planned(
    ref: Ref, declaration: Declaration, found: Diff, *, ledger_only: bool = False, remarks: Sequence[str] = ()
) -> ResourcePlan:
    def shown(ids: Collection[PointId]) -> list[str]:
        return [declaration.points[id].shown_id if id in declaration.points else str(id) for id in ids]

    new = [point.shown_id for point in found.insert]
    changed = [change.declared.shown_id for change in found.change]
    deleted, conflicts = shown(found.delete), shown(found.conflicts)
    failed = [failure.shown_id for failure in declaration.failures]
    changes = [Change("create", _counted(new, "to insert"))] if new else []
    changes += [Change("update", _counted(changed, "to change"))] if changed else []
    changes += [Change("delete", _counted(deleted, "to delete"))] if deleted else []
    if ledger_only or (found.forget and not changes):
        changes.append(Change("update", "the ledger of this set"))
    return planned(
        ref,
        changes,
        remarks=[*remarks, *([_counted([], "as declared", found.unchanged)] if found.unchanged else [])],
        problem=_problem(declaration, conflicts),
        points={
            "new": new,
            "changed": changed,
            "deleted": deleted,
            "conflicts": conflicts,
            "failed": failed,
            "unchanged": found.unchanged,
        },
    )


def _problem(declaration: Declaration, conflicts: Sequence[str]) -> str | None:
    words = []
    if declaration.failures:
        first = declaration.failures[0]
        words.append(
            f"{_counted([], 'cannot be written', len(declaration.failures))}; first: {first.shown_id!r}: {first.reason}"
        )
    if conflicts:
        words.append(f"{_counted(conflicts, 'held by another writer')}, left alone")
    if not declaration.complete:
        words.append("nothing is deleted while an id cannot be told")
    return "; ".join(words) or None


def _counted(ids: Sequence[str], what: str, count: int | None = None) -> str:
    """`3 points to insert: a, b, c`."""
    total = len(ids) if count is None else count
    words = f"{total:,} point{'' if total == 1 else 's'} {what}"
    if not ids:
        return words
    return f"{words}: {', '.join(ids[:SHOWN_IDS])}{', ...' if len(ids) > SHOWN_IDS else ''}"
