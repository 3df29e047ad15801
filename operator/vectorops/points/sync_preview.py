"""What a pass over a set would do, counted: of a set with a source no more than one part is in memory at a time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from vectorops.ledger.records import Part
from vectorops.ledger.store import LedgerStore
from vectorops.points.declared import Declared, Failure
from vectorops.points.part import View
from vectorops.points.replaced import Replaced
from vectorops.points.reuse import Reuse
from vectorops.points.stage import Staged
from vectorops.points.sync import preview_views
from vectorops.points.synced import HeldDeletions, SyncTally
from vectorops.points.target import GivenUp, Target
from vectorops.qdrant.database import PointId


@dataclass(slots=True)
class FewPoints:
    """Points that fare alike: how many, and the first of them."""

    most: int | None
    """So many are kept; None: all."""
    count: int = 0
    first: dict[PointId, str] = field(default_factory=dict)
    """The id of each as people know it."""

    def add(self, points: Iterable[tuple[PointId, str]]) -> None:
        """Some more points."""
        for id, shown in points:
            self.count += 1
            if self.most is None or len(self.first) < self.most:
                self.first[id] = shown


@dataclass(slots=True)
class SyncPreview:
    """What a pass would do."""

    most: int | None
    """Of each fate, the ids of so many points are kept; None: of all."""
    complete: bool = True
    """See `Staged`."""
    failed: int = 0
    failures: Sequence[Failure] = ()
    """The first `SHOWN` of them."""
    new: FewPoints = field(init=False)
    changed: FewPoints = field(init=False)
    deleted: FewPoints = field(init=False)
    adopted: FewPoints = field(init=False)
    conflicts: FewPoints = field(init=False)
    taken: FewPoints = field(init=False)
    """Points that pass to this set from one that no longer declares them. They are also among the changed ones."""
    unchanged: int = 0
    """Without the adopted ones."""
    forgotten: int = 0
    """Owned, no longer declared, and gone already."""
    texts: int = 0
    """Texts that would be embedded."""
    reused: int = 0
    """Texts that would not be embedded, because their vector is stored elsewhere. No vector was read to find it out."""
    touches_ledger: bool = False
    """Would something be written into a ledger that is there?"""
    rebuilt: bool = False
    """Is the ledger lost?"""
    hidden: bool = False
    """Does Qdrant hide some points for now?"""
    withheld: str = ""
    """See `Synced`."""
    replaced: Replaced | None = None
    """See `View`."""
    bound: bool = False
    """See `View`."""
    steps: Sequence[str] = ()
    """What an approval does if the collection seems to be another one."""
    held_deletions: HeldDeletions | None = None
    """More deletions than the set allows, approved or not."""

    def __post_init__(self) -> None:
        for name in ("new", "changed", "deleted", "adopted", "conflicts", "taken"):
            setattr(self, name, FewPoints(self.most))

    @property
    def held_back(self) -> bool:
        """Would nothing be written, because the collection seems to be another one?"""
        return self.replaced is not None and not self.bound

    @property
    def touches_points(self) -> bool:
        """Would a point be written or deleted?"""
        return bool(self.new.count or self.changed.count or self.deleted.count)

    def add_new(self, points: Iterable[Declared]) -> None:
        """Points that would be inserted."""
        for point in points:
            self.new.add([(point.data.id, point.shown_id)])
            self.texts += len(point.pending)

    def add_reused(self, known: int) -> None:
        """So many of the texts have a vector elsewhere."""
        self.texts -= known
        self.reused += known

    def add(self, view: View) -> None:
        """What was found of one part."""
        declared, found = view.declaration.points, view.diff

        def shown(ids: Iterable[PointId]) -> Iterable[tuple[PointId, str]]:
            return ((id, declared[id].shown_id if id in declared else str(id)) for id in ids)

        self.add_new(found.insert)
        self.changed.add((change.declared.data.id, change.declared.shown_id) for change in found.change)
        self.texts += sum(len(change.pending) for change in found.change)
        self.deleted.add(shown(found.delete))
        self.conflicts.add(shown(found.conflicts))
        self.adopted.add(shown(id for id in declared if id in view.adopted))
        self.taken.add(shown(view.taken))
        self.unchanged += found.unchanged - len(view.adopted)
        self.forgotten += len(found.forget)
        self.touches_ledger |= view.ledger is not None and not view.nothing_to_write
        self.rebuilt |= view.ledger is None and view.ours.rebuilt
        self.hidden |= bool(view.hidden)
        self.withheld = self.withheld or view.withheld
        self.replaced, self.bound = view.replaced, view.bound


async def preview_sync(
    store: LedgerStore,
    target: Target,
    staged: Staged,
    given_up: GivenUp,
    *,
    max_delete_percent: int = 100,
    most: int | None = None,
) -> SyncPreview:
    """What `sync` would do with the same arguments; writes nothing. most: see `SyncPreview`.

    Raises Terminal InvalidSpec if the ledger is in another collection, LedgerDamaged, LedgerUnreadable.
    """
    found, tally = SyncPreview(most, staged.complete, staged.failed, staged.failures), SyncTally(staged)
    reuse = Reuse(target.vectors_from, target.schema)
    async for view in preview_views(store, target, staged, given_up):
        await tally.add(store, view)
        found.add(view)
        found.add_reused(len(await reuse.known([*view.diff.insert, *view.diff.change])))
    found.held_deletions = tally.too_many(max_delete_percent)
    if found.replaced is not None:
        found.steps = found.replaced.steps(staged.shown_ids(found.replaced.ids))
    return found


async def preview_new(target: Target, staged: Staged, *, most: int | None = None) -> SyncPreview:
    """What `sync` would do in a place that is made first: nothing is there, and nothing is read but `vectors_from`.

    most: see `SyncPreview`.
    """
    found = SyncPreview(most, staged.complete, staged.failed, staged.failures)
    reuse = Reuse(target.vectors_from, target.schema)
    for part in Part(staged.bits).siblings:
        points = list(staged.declaration(part).points.values())
        found.add_new(points)
        found.add_reused(len(await reuse.known(points)))
    return found
