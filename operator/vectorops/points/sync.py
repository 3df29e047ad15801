"""Makes the stored points as declared, part by part: inserts and changes first, and deletions in a second walk over the
parts, so that nothing is deleted before what takes its place was written.

What happens once for a set stands in `points.sync_pass`, how its parts are gone through in `points.walk`, and what
happens once for each part in `points.part`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

from vectorops.ledger.store import LedgerStore
from vectorops.points.embedding import AtSafePoint, Embed, go_on
from vectorops.points.part import View
from vectorops.points.pass_progress import PassProgress
from vectorops.points.stage import Staged
from vectorops.points.sync_pass import Pass, collection_may_go, require_not_users
from vectorops.points.synced import Synced, SyncTally, report_replaced
from vectorops.points.target import GivenUp, Target, nothing_given_up
from vectorops.points.walk import Walk


async def sync(
    store: LedgerStore,
    target: Target,
    staged: Staged,
    embed: Embed | None = None,
    given_up: GivenUp = nothing_given_up,
    *,
    pace: AtSafePoint = go_on,
    progress: PassProgress | None = None,
    max_delete_percent: int = 100,
    revision: str = "",
) -> Synced:
    """One pass. Raises what `Database`, `embed` and `pace` raise; then the next pass does the rest.

    embed: of the embedders that the points were declared with; None if there are none.
    pace: called between two windows, and after a part of which something was written or deleted; what it raises ends
    the pass there.
    max_delete_percent: of the set's own points; if more would be deleted, none is, until the target approves.
    revision: of the source; the ledger has it once everything is as declared.
    """
    with collection_may_go():
        this = Pass(store, target, staged, given_up)
        await this.find_ledger()
        await this.judge_all()
        if this.verdict is not None and this.verdict.replaced is not None and not this.verdict.bound:
            return report_replaced(this.verdict.replaced, staged)
        await this.grow()
        if this.first is not None and revision not in ("", this.first.revision):
            await this.take_first()
        walk = Walk(this, SyncTally(staged), embed, pace, progress or PassProgress())
        synced = replace(await walk.go(max_delete_percent), reused=walk.reused)
        # What arrives late would make it untrue.
        whole = revision if synced.synced_whole(staged) and not walk.expects_late else ""
        await this.record_end(synced, whole, max_delete_percent)
        return synced


async def preview_views(
    store: LedgerStore, target: Target, staged: Staged, given_up: GivenUp = nothing_given_up
) -> AsyncIterator[View]:
    """What a pass would find, and do, of each part, one after another; writes nothing.

    Raises Terminal InvalidSpec if the ledger is in another collection, LedgerDamaged, LedgerUnreadable.
    """
    this = Pass(store, target, staged, given_up)
    await this.find_ledger()
    await this.judge_all()
    async for view in this.compare_grown() if this.must_grow else this.compare_parts():
        if this.first is None:
            await require_not_users(this, view)
        yield view
