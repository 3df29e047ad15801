"""What would become of the points of one set: the reading half of `points.sync`. Called by `preview`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import replace
from typing import Final

from vectorops.api.meta import Ref
from vectorops.api.reasons import Reason
from vectorops.local.plans import Change, ResourcePlan, planned
from vectorops.points.declared import Declaration
from vectorops.points.diff import Diff
from vectorops.points.sync import GivenUp, Target, look
from vectorops.qdrant.database import PointId
from vectorops.qdrant.ledger import LedgerStore
from vectorops.reconcilers.approvals import Approval
from vectorops.words import counted

SHOWN_IDS: Final = 5


def all_new(ref: Ref, declaration: Declaration) -> ResourcePlan:
    """For a collection that is yet to be made."""
    return _planned(ref, declaration, Diff(insert=tuple(declaration.points.values())))


async def compared(
    ref: Ref,
    declaration: Declaration,
    store: LedgerStore,
    target: Target,
    given_up: GivenUp,
    approval: Callable[[str], Awaitable[Approval]],
) -> ResourcePlan:
    """For a collection that is there: declared points against what is remembered and what is stored.

    approval: of what a digest stands for.
    """

    async def approves(digest: str) -> bool:
        return (await approval(digest)).given

    view = await look(store, replace(target, approves=approves), declaration, given_up)
    if view.replaced is not None and not view.bound:
        how = (await approval(view.replaced.digest)).how
        problem = (
            f"{Reason.COLLECTION_REPLACED.value}: {view.replaced.found}; held back: {how}, or put back what was there"
        )
        return planned(ref, [Change("hold", step) for step in view.replaced.steps(declaration)], problem=problem)
    remarks = []
    if view.ledger is None and view.ours.rebuilt:
        remarks.append("the ledger is lost: declared points would be taken back, points that left the set before stay")
    if view.hidden:
        remarks.append("Qdrant hides points until it has optimized them: which of them are missing cannot be told yet")
    # A window left open, other vectors, a set that its collection does not know of: nothing that people would see.
    ledger_only = view.ledger is not None and view.diff.empty and not view.nothing_to_write
    return _planned(ref, declaration, view.diff, ledger_only=ledger_only, remarks=remarks, withheld=view.withheld)


def _planned(
    ref: Ref,
    declaration: Declaration,
    found: Diff,
    *,
    ledger_only: bool = False,
    remarks: Sequence[str] = (),
    withheld: str = "",
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
        problem=_problem(declaration, conflicts, withheld),
        points={
            "new": new,
            "changed": changed,
            "deleted": deleted,
            "conflicts": conflicts,
            "failed": failed,
            "unchanged": found.unchanged,
        },
    )


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
