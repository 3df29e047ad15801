"""How a pass went: what is counted part by part, and what comes of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vectorops import metrics
from vectorops.api.reasons import Reason
from vectorops.errors import Transient
from vectorops.ledger.entries import hash_ids
from vectorops.ledger.holders import find_holders
from vectorops.ledger.store import LedgerStore
from vectorops.points.declared import Failure
from vectorops.points.part import HIDDEN_SECONDS, View
from vectorops.points.replaced import Replaced
from vectorops.points.stage import SHOWN, Staged
from vectorops.qdrant.database import PointId


@dataclass(frozen=True, slots=True)
class ConflictingPoint:
    """A declared point whose id is taken."""

    id: PointId
    shown_id: str
    owner: str
    """The set that holds it, as `installation/namespace/name`; "" if it is no set's."""


@dataclass(frozen=True, slots=True)
class HeldDeletions:
    """More deletions at once than the set allows."""

    count: int
    owned: int
    """Of so many points that the set owns."""
    digest: str
    """Identifies them, for an approval."""


@dataclass(frozen=True, slots=True)
class Synced:
    """How the points fared: counts, and the first few of what is to be shown."""

    total: int = 0
    """Declared points."""
    complete: bool = True
    """Is the id of every declared point known? If not, nothing was deleted."""
    written: int = 0
    deleted: int = 0
    unchanged: int = 0
    failed: int = 0
    failures: tuple[Failure, ...] = ()
    """The first `SHOWN` of those that failed."""
    conflicting: int = 0
    shown_conflicts: tuple[ConflictingPoint, ...] = ()
    """The first `SHOWN` of those whose id is taken."""
    rebuilt: bool = False
    """The ledger was lost once; points that left the set before that may still be stored."""
    replaced: Replaced | None = None
    """The collection seems to be another one by now: nothing was written or deleted."""
    steps: tuple[str, ...] = ()
    """What an approval does then."""
    bound: bool = False
    """It was another one, and with a person's approval the set has begun again in it."""
    gave_up: bool = False
    """Are there ids that the set held before, and no longer does? Another set may wait for them."""
    withheld: str = ""
    """Why points that left the set are not deleted; "" if nothing is in the way."""
    held_deletions: HeldDeletions | None = None
    """More points left the set than may be deleted without a person's approval: none was deleted."""
    deletions_approved: bool = False
    """A person approved of so many deletions, and they were carried out."""
    reused: int = 0
    """Texts whose vector was stored elsewhere, and was taken from there."""

    def synced_whole(self, staged: Staged) -> bool:
        """Is all as declared, but for what the source itself makes impossible?"""
        held_up = self.conflicting or self.withheld or self.held_deletions or self.replaced
        return not held_up and self.failed == staged.failed

    @property
    def conflicts(self) -> dict[PointId, str]:
        """Of the shown ones, by id, the set that holds it."""
        return {conflict.id: conflict.owner for conflict in self.shown_conflicts}


class SyncTally:
    """What a pass counts, and the first few of what it shows."""

    def __init__(self, staged: Staged) -> None:
        self._staged = staged
        self.written = self.deleted = self.unchanged = self.conflicting = 0
        self.failed = staged.failed
        self.failures = staged.failures
        self.shown: tuple[ConflictingPoint, ...] = ()
        self.hidden = self.gave_up = self.expects_late = False
        self.withheld = ""
        self.owned = self.leaving = self.leaving_hashes = 0
        self.owned_before: int | None = None
        """What the ledger says; see `Ledger.owned`."""

    async def add(self, store: LedgerStore, view: View, stolen: Sequence[PointId] = ()) -> None:
        """What was found of a part. stolen: ids that somebody took while they were being written."""
        self.unchanged += view.diff.unchanged
        self.hidden = self.hidden or bool(view.hidden)
        self.withheld = self.withheld or view.withheld
        self.expects_late = self.expects_late or view.ours.late is not None
        self.add_leaving(view)
        conflicts = (*view.diff.conflicts, *stolen)
        self.conflicting += len(conflicts)
        shown = conflicts[: SHOWN - len(self.shown)]
        asked = view.asked
        if not asked.held.keys() >= set(shown):
            asked = await find_holders(store, shown)
        holders = {**asked.moving, **asked.held}
        points = view.declaration.points
        self.shown += tuple(ConflictingPoint(id, points[id].shown_id, holders.get(id, "")) for id in shown)

    def add_leaving(self, view: View) -> None:
        """What leaves a part, and how many points are the set's own."""
        self.owned += len(view.ours.entries)
        if view.ledger is not None:
            self.owned_before = view.ledger.owned
        self.leaving += len(view.diff.delete)
        self.leaving_hashes = (self.leaving_hashes + sum(hash_ids(view.diff.delete))) % 2**64

    def add_failures(self, failures: Sequence[Failure]) -> None:
        """What could not be written."""
        self.failed += len(failures)
        self.failures += tuple(failures[: SHOWN - len(self.failures)])

    def too_many(self, percent: int) -> HeldDeletions | None:
        """The deletions, if they are more than `percent` of the set's own points.

        What was inserted since a pass last ended, while deletions were held back or before one gave way, must not let
        them go.
        """
        owned = min(self.owned, self.owned_before) if self.owned_before is not None else self.owned
        if 100 * self.leaving <= percent * owned:
            return None
        return HeldDeletions(self.leaving, owned, f"{self.leaving_hashes:016x}")

    def conclude(self, *, rebuilt: bool, bound: bool, held: HeldDeletions | None) -> Synced:
        """The pass is done with all that is to be seen. Raises Transient Progressing if something is hidden."""
        if self.hidden:
            raise Transient(
                Reason.PROGRESSING,
                "Qdrant hides points until it has optimized them (prevent_unoptimized), so whether some are missing "
                "cannot be told yet; looking again",
                retry_after=HIDDEN_SECONDS,
            )
        counts = {"unchanged": self.unchanged, "failed": self.failed, "conflicting": self.conflicting}
        for outcome, count in counts.items():
            metrics.POINT_OUTCOMES.labels(outcome).inc(count)
        return Synced(
            self._staged.total,
            self._staged.complete,
            self.written,
            self.deleted,
            self.unchanged,
            self.failed,
            self.failures,
            self.conflicting,
            self.shown,
            rebuilt=rebuilt,
            bound=bound,
            gave_up=self.gave_up,
            withheld=self.withheld,
            held_deletions=held,
        )


def report_replaced(replaced: Replaced, staged: Staged) -> Synced:
    """Nothing was written: the collection seems to be another one."""
    return Synced(
        staged.total,
        staged.complete,
        failed=staged.failed,
        failures=staged.failures,
        replaced=replaced,
        steps=tuple(replaced.steps(staged.shown_ids(replaced.ids))),
    )
