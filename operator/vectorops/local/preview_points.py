"""What would become of the points of each set, in words."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import Any, Final

from vectorops.api.meta import Ref, Resource
from vectorops.api.reasons import Reason
from vectorops.ledger.collection import require_ledger_collection
from vectorops.local.plans import PlannedChange, ResourcePlan, planned
from vectorops.points.declared import Declaration
from vectorops.points.diff import Diff
from vectorops.points.part import View
from vectorops.points.stage import Inline
from vectorops.points.sync import kept_by_removal, preview_sync
from vectorops.qdrant.database import Database, PointId, StoredPoint
from vectorops.reconcilers.base import Context
from vectorops.reconcilers.dependencies import UNMANAGED
from vectorops.reconcilers.situation import Situation, find_removal
from vectorops.words import counted

SHOWN_IDS: Final = 5

IdScope = tuple[str, str, str]
"""Where an id names one point: endpoint of the database, collection, shard key ("" for none)."""


@dataclass(frozen=True, slots=True)
class PointsPreview:
    """What would become of the points of one set."""

    found: Situation
    declaration: Declaration
    view: View | None
    """What a pass would find; None: its points go to a place that will be made first, so all of them are new."""
    held_back: str = ""
    """Why nothing is written or deleted in a collection that seems to be another one by now, and what to do."""

    @property
    def scope(self) -> IdScope:
        store = self.found.store
        return self.found.destination.access.database.endpoint, store.key.collection, store.shard_key

    @property
    def diff(self) -> Diff:
        if self.view is None:
            return Diff(insert=tuple(self.declaration.points.values()))
        return self.view.diff

    @property
    def taken(self) -> frozenset[PointId]:
        """Points that pass to this set from one that no longer declares them."""
        return self.view.taken if self.view is not None and not self.held_back else frozenset()


async def preview_points(found: Situation, declaration: Declaration, lost_vectors: Collection[str]) -> PointsPreview:
    """For a collection that is there. lost_vectors: those that all stored points lose before the set is looked at."""
    access = found.destination.access
    await require_ledger_collection(access.database, access.ledger_collection, change=False)
    store = found.store
    if lost_vectors:
        store = replace(store, database=_without_vectors(store.database, found.target.collection, lost_vectors))
    view = await preview_sync(store, found.target, Inline(declaration), found.given_up)
    if view.replaced is None or view.bound:
        return PointsPreview(found, declaration, view)
    how = (await found.approval(view.replaced.digest)).how
    words = f"{Reason.COLLECTION_REPLACED.value}: {view.replaced.found}; held back: {how}, or put back what was there"
    return PointsPreview(found, declaration, view, held_back=words)


def _without_vectors(database: Database, collection: str, names: Collection[str]) -> Database:
    """The same database, in which the points of one collection no longer have these vectors."""
    narrowed = copy(database)

    async def points(of: str, *arguments: Any, **options: Any) -> dict[PointId, StoredPoint]:
        stored = await database.points(of, *arguments, **options)
        if of != collection:
            return stored
        return {
            id: replace(point, vectors={name: vector for name, vector in point.vectors.items() if name not in names})
            for id, point in stored.items()
        }

    setattr(narrowed, "points", points)  # noqa: B010 -- of this copy only: no method of its class changes
    return narrowed


def describe_points(one: PointsPreview, all_sets: Mapping[Ref, PointsPreview]) -> ResourcePlan:
    """What would become of the points of one set. all_sets: those of all that are declared: points may pass from one
    to another.
    """
    ref, declaration, view, diff = one.found.resource.ref, one.declaration, one.view, one.diff
    if view is not None and view.replaced is not None and one.held_back:
        steps = view.replaced.steps({id: point.shown_id for id, point in declaration.points.items()})
        return planned(ref, [PlannedChange("hold", step) for step in steps], problem=one.held_back)

    def shown(ids: Collection[PointId]) -> list[str]:
        return [declaration.points[id].shown_id if id in declaration.points else str(id) for id in ids]

    takers = {id: taker for taker, other in all_sets.items() if other.scope == one.scope for id in other.taken}
    new = [point.shown_id for point in diff.insert]
    changed = [change.declared.shown_id for change in diff.change]
    deleted, conflicts = shown([id for id in diff.delete if id not in takers]), shown(diff.conflicts)
    adopted = view.adopted if view is not None else frozenset()
    to_adopt = [declaration.points[id].shown_id for id in declaration.points if id in adopted]
    unchanged = diff.unchanged - len(to_adopt)
    failed = [failure.shown_id for failure in declaration.failures]
    changes = [PlannedChange("create", _counted(new, "to insert"))] if new else []
    changes += [PlannedChange("update", _counted(changed, "to change"))] if changed else []
    for taker in sorted({takers[id] for id in diff.delete if id in takers}, key=str):
        passing = shown([id for id in diff.delete if takers.get(id) == taker])
        changes.append(PlannedChange("update", _counted(passing, f"to leave to {taker}")))
    changes += [PlannedChange("delete", _counted(deleted, "to delete"))] if deleted else []
    changes += [PlannedChange("adopt", _counted(to_adopt, "to adopt"))] if to_adopt else []
    # A window left open, other vectors, a set that its collection does not know of: nothing that people would see.
    ledger_only = view is not None and view.ledger is not None and diff.empty and not view.nothing_to_write
    if (ledger_only and not to_adopt) or (diff.forget and not changes):
        changes.append(PlannedChange("update", "the ledger of this set"))
    remarks = []
    if view is not None and view.ledger is None and view.ours.rebuilt:
        remarks.append("the ledger is lost: declared points would be taken back, points that left the set before stay")
    if view is not None and view.hidden:
        remarks.append("Qdrant hides points until it has optimized them: which of them are missing cannot be told yet")
    if unchanged:
        remarks.append(_counted([], "as declared", unchanged))
    return planned(
        ref,
        changes,
        remarks=remarks,
        problem=_problem(declaration, conflicts, view.withheld if view is not None else ""),
        points={
            "new": new,
            "changed": changed,
            "deleted": deleted,
            "adopted": to_adopt,
            "conflicts": conflicts,
            "failed": failed,
            "unchanged": unchanged,
        },
    )


async def describe_removal(context: Context, resource: Resource) -> str:
    """What `--prune` would do about the points of a set that is no longer declared."""
    removal = await find_removal(context, resource)
    if removal is None:
        return "prune: nothing of it is in Qdrant"
    name = removal.where.collection
    if removal.is_gone:
        return f"prune: forget its points, which went with collection {name}"
    if not removal.deletes:
        return f"prune: let go of its points in collection {name}, which stay (deletionPolicy: Retain)"
    kept = [
        str(id)
        for store in removal.stores
        for id in await kept_by_removal(store, name, marked=store.key.incarnation != UNMANAGED)
    ]
    left = f"; {_counted(kept, 'that others changed stay')}" if kept else ""
    return f"prune: delete its points in collection {name}{left}"


def _problem(declaration: Declaration, conflicts: Sequence[str], withheld: str) -> str | None:
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
    if withheld:
        words.append(withheld)
    return "; ".join(words) or None


def _counted(ids: Sequence[str], what: str, count: int | None = None) -> str:
    """`3 points to insert: a, b, c`."""
    total = len(ids) if count is None else count
    words = f"{counted(total, 'point')} {what}"
    if not ids:
        return words
    return f"{words}: {', '.join(ids[:SHOWN_IDS])}{', ...' if len(ids) > SHOWN_IDS else ''}"
