"""What would become of the points of each set, in words."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import Any, Final

from vectorops.api.meta import Ref, Resource
from vectorops.api.pointset import MAX_POINTS
from vectorops.api.reasons import Reason
from vectorops.collections.predict import Prediction
from vectorops.ledger.collection import require_ledger_collection
from vectorops.local.plans import PlannedChange, ResourcePlan, planned
from vectorops.points.removal import kept_by_removal
from vectorops.points.stage import SHOWN, Inline, Staged
from vectorops.points.sync_preview import FewPoints, SyncPreview, preview_new, preview_sync
from vectorops.qdrant.database import Database, PointId, StoredPoint
from vectorops.reconcilers.base import Context
from vectorops.reconcilers.dependencies import UNMANAGED
from vectorops.reconcilers.pointset_status import describe_point_failure
from vectorops.reconcilers.situation import Situation, find_removals
from vectorops.words import counted

SHOWN_IDS: Final = 5

IdScope = tuple[str, str, str]
"""Where an id names one point: endpoint of the database, collection, shard key ("" for none)."""


@dataclass(frozen=True, slots=True)
class PointsPreview:
    """What would become of the points of one set."""

    found: Situation
    preview: SyncPreview
    held_back: str = ""
    """Why nothing is written or deleted in a collection that seems to be another one by now, and what to do."""
    deletions_held_back: str = ""
    """Why nothing is deleted, and what to do."""

    @property
    def scope(self) -> IdScope:
        store = self.found.store
        return self.found.destination.access.database.endpoint, store.key.collection, store.shard_key

    @property
    def taken(self) -> Collection[PointId]:
        """Points that pass to this set from one that no longer declares them."""
        return self.preview.taken.first if not self.held_back else ()


async def preview_points(
    found: Situation, staged: Staged, prediction: Prediction, *, shard_key: str | None, max_delete_percent: int
) -> PointsPreview:
    """prediction: what the collection will be like. The other arguments: of the spec."""
    # All ids of a manifest, in which another set may have some of them; of a source as many as a manifest may have.
    most = None if isinstance(staged, Inline) else MAX_POINTS
    if prediction.is_new or shard_key in prediction.empty_shard_keys:
        return PointsPreview(found, await preview_new(found.target, staged, most=most))
    access = found.destination.access
    await require_ledger_collection(access.database, access.ledger_collection, change=False)
    store = found.store
    if prediction.lost_vectors:
        without = _without_vectors(store.database, found.target.collection, prediction.lost_vectors)
        store = replace(store, database=without)
    preview = await preview_sync(
        store, found.target, staged, found.given_up, max_delete_percent=max_delete_percent, most=most
    )
    if preview.replaced is not None and preview.held_back:
        how = (await found.approval(preview.replaced.digest)).how
        reason = Reason.COLLECTION_REPLACED.value
        words = f"{reason}: {preview.replaced.found}; held back: {how}, or put back what was there"
        return PointsPreview(found, preview, held_back=words)
    held = preview.held_deletions
    if held is None:
        return PointsPreview(found, preview)
    # The points that are new are there when it is asked for.
    approval = await found.approval(held.digest, more_points=preview.new.count)
    if approval.given:
        return PointsPreview(found, preview)
    words = (
        f"{Reason.DELETIONS_HELD_BACK.value}: {counted(held.count, 'point')} of {held.owned:,} would be deleted, more "
        f"than spec.maxDeletePercent allows; held back: {approval.how}"
    )
    return PointsPreview(found, preview, deletions_held_back=words)


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


def describe_points(
    one: PointsPreview, all_sets: Mapping[Ref, PointsPreview], copy: PointsPreview | None = None
) -> ResourcePlan:
    """What would become of the points of one set. all_sets: those of all that are declared: points may pass from one
    to another. copy: what would become of them in a collection that is filled to replace theirs.
    """
    ref, preview = one.found.resource.ref, one.preview
    if one.held_back:
        return planned(ref, [PlannedChange("hold", step) for step in preview.steps], problem=one.held_back)
    takers = {id: taker for taker, other in all_sets.items() if other.scope == one.scope for id in other.taken}
    passing: dict[Ref, list[str]] = {}
    deleted = FewPoints(None)
    for id, shown in preview.deleted.first.items():
        if id in takers:
            passing.setdefault(takers[id], []).append(shown)
        else:
            deleted.add([(id, shown)])
    deleted.count = preview.deleted.count - sum(map(len, passing.values()))
    changes = []
    if preview.new.count:
        changes.append(PlannedChange("create", _few(preview.new, "to insert")))
    if preview.changed.count:
        changes.append(PlannedChange("update", _few(preview.changed, "to change")))
    changes += [
        PlannedChange("update", _counted(passing[taker], f"to leave to {taker}")) for taker in sorted(passing, key=str)
    ]
    if deleted.count:
        changes.append(PlannedChange("hold" if one.deletions_held_back else "delete", _few(deleted, "to delete")))
    if preview.adopted.count:
        changes.append(PlannedChange("adopt", _few(preview.adopted, "to adopt")))
    # A window left open, other vectors, a set that its collection does not know of: nothing that people would see.
    ledger_only = preview.touches_ledger and not preview.touches_points and not preview.forgotten
    if (ledger_only and not preview.adopted.count) or (preview.forgotten and not changes):
        changes.append(PlannedChange("update", "the ledger of this set"))
    fates = {
        "new": preview.new,
        "changed": preview.changed,
        "deleted": deleted,
        "adopted": preview.adopted,
        "conflicts": preview.conflicts,
    }
    return planned(
        ref,
        changes,
        remarks=[*_remarks(preview), *(_describe_copy(copy) if copy is not None else ())],
        problem=_problem(preview, one.deletions_held_back),
        points={
            **{
                name: list(few.first.values())[: None if one.preview.most is None else SHOWN]
                for name, few in fates.items()
            },
            "failed": [failure.shown_id for failure in preview.failures],
            "unchanged": preview.unchanged,
            "counts": {
                **{name: few.count for name, few in fates.items()},
                "failed": preview.failed,
                "unchanged": preview.unchanged,
                "texts": preview.texts,
                "reused": preview.reused,
            },
            "failures": [{"id": failure.shown_id, "reason": failure.reason} for failure in preview.failures],
        },
    )


def _describe_copy(copy: PointsPreview) -> list[str]:
    preview = copy.preview
    parts = [_counted([], "to insert", preview.new.count)] if preview.new.count else []
    parts += [_counted([], "to change", preview.changed.count)] if preview.changed.count else []
    parts += [f"{counted(preview.texts, 'text')} to embed"] if preview.texts else []
    parts += [f"{counted(preview.reused, 'text')} whose vector is stored already"] if preview.reused else []
    if preview.failed:
        first = preview.failures[0]
        failed = _counted([], "that it cannot take", preview.failed)
        parts.append(f"{failed}; first: {describe_point_failure(first.shown_id, first.reason)}")
    return [f"for the new collection: {', '.join(parts)}"] if parts else []


def _remarks(preview: SyncPreview) -> list[str]:
    found = []
    if preview.rebuilt:
        found.append("the ledger is lost: declared points would be taken back, points that left the set before stay")
    if preview.hidden:
        found.append("Qdrant hides points until it has optimized them: which of them are missing cannot be told yet")
    if preview.texts:
        found.append(f"{counted(preview.texts, 'text')} to embed")
    if preview.reused:
        found.append(f"{counted(preview.reused, 'text')} whose vector is stored already")
    if preview.unchanged:
        found.append(_counted([], "as declared", preview.unchanged))
    return found


async def describe_removal(context: Context, resource: Resource) -> str:
    """What `--prune` would do about the points of a set that is no longer declared."""
    removals = await find_removals(context, resource)
    if not removals:
        return "prune: nothing of it is in Qdrant"
    # What becomes of copies beside it is the same.
    removal = removals[-1]
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


def _problem(preview: SyncPreview, deletions_held_back: str) -> str | None:
    words = []
    if preview.failed:
        first = preview.failures[0]
        described = describe_point_failure(first.shown_id, first.reason)
        words.append(f"{_counted([], 'cannot be written', preview.failed)}; first: {described}")
    if preview.conflicts.count:
        words.append(f"{_few(preview.conflicts, 'held by another writer')}, left alone")
    if not preview.complete:
        words.append("nothing is deleted while an id cannot be told")
    words += [one for one in (preview.withheld, deletions_held_back) if one]
    return "; ".join(words) or None


def _few(points: FewPoints, what: str) -> str:
    return _counted(list(points.first.values()), what, points.count)


def _counted(ids: Sequence[str], what: str, count: int | None = None) -> str:
    """`3 points to insert: a, b, c`."""
    total = len(ids) if count is None else count
    words = f"{counted(total, 'point')} {what}"
    if not ids:
        return words
    return f"{words}: {', '.join(ids[:SHOWN_IDS])}{', ...' if total > SHOWN_IDS else ''}"
