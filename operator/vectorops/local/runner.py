"""Runs the reconcilers over a `LocalCluster` until nothing can get any further.

The queue of the operator is made to run for ever; here a run has an end, and the interesting question is when: a
resource has settled when it is Ready, when only another file can help, or when what it waits for has settled
without becoming Ready.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final

from vectorops.api.kinds import BY_NAME, rank
from vectorops.api.meta import Ref, Resource
from vectorops.api.reasons import Reason
from vectorops.errors import Transient, Waiting
from vectorops.local.cluster import LocalCluster
from vectorops.reconcilers.driver import POLL_SECONDS, Driver, Verdict
from vectorops.reconcilers.references import References

AT_A_TIME: Final = 4
"""Resources reconciled at once: the operator's own limit for one Qdrant."""

SHORTEST_WAIT_SECONDS: Final = 0.5
LONGEST_WAIT_SECONDS: Final = 10.0
"""Between two tries. Somebody watches, and the whole run ends in minutes: the operator's backoff would be too
patient.
"""

HOPELESS: Final = frozenset(
    {
        Reason.SECRET_NOT_FOUND,
        Reason.UNAUTHORIZED,
        Reason.CERTIFICATE_INVALID,
        Reason.EMBEDDER_UNAUTHORIZED,
        Reason.SOURCE_INVALID,
    }
)
"""Reasons that the operator tries again because a Secret may change; here it cannot change before the command ends."""


@dataclass(slots=True)
class _Progress:
    """How far one resource is."""

    due: float | None = 0.0
    """When to reconcile it again, on the loop's clock; None: when something wakes it."""
    settled: bool = False
    tries: int = 0
    waits_for: Ref | None = None
    """The dependency that it waits for, if that is why it is not done."""


class Runner:
    """One run over all resources of a cluster.

    settled: called with each resource that got somewhere, to show progress.
    """

    def __init__(
        self,
        cluster: LocalCluster,
        driver: Driver,
        settled: Callable[[Ref], None] = lambda _: None,
        *,
        waits_for_migrations: bool = True,
    ) -> None:
        self._cluster = cluster
        self._driver = driver
        self._settled = settled
        self._waits_for_migrations = waits_for_migrations
        self._references = References()
        self._progress: dict[Ref, _Progress] = {}

    async def run(self, until: float, *, kinds: Collection[str] = tuple(BY_NAME)) -> bool:
        """Looks at every resource of these kinds at least once. Returns whether all have settled; False: time ran
        out first. What was being written then is finished by the next run, like after any other interruption.

        until: on the loop's clock.
        """
        self._progress = {ref: _Progress() for ref in self._cluster.refs if ref.kind in kinds}
        for ref in self._progress:
            resource = self._cluster.now(ref)
            assert resource is not None, "refs lists what is there"
            self._references.update(resource)
        try:
            async with asyncio.timeout_at(until):
                while (wave := self._next_wave()) or self._unsettled():
                    await (self._reconcile(wave) if wave else self._wait())
        except TimeoutError:
            return False
        return True

    def _next_wave(self) -> list[Ref]:
        """All that are due now of the kind that others need most."""
        now = asyncio.get_running_loop().time()
        due = [ref for ref, progress in self._progress.items() if progress.due is not None and progress.due <= now]
        first = min(map(self._rank, due), default=None)
        return [ref for ref in due if self._rank(ref) == first]

    def _rank(self, ref: Ref) -> tuple[bool, int]:
        resource = self._cluster.now(ref)
        place = rank(ref.kind)
        # Points that are deleted go first: their collection waits for them, and ids that they give up may be wanted
        # by another set.
        return (False, -place) if resource is not None and resource.deleting else (True, place)

    async def _reconcile(self, wave: list[Ref]) -> None:
        room = asyncio.Semaphore(AT_A_TIME)

        async def one(ref: Ref) -> Verdict:
            async with room:
                return await self._driver.run(ref)

        for ref in wave:
            self._progress[ref].due = None
        async with asyncio.TaskGroup() as group:
            runs = [(ref, group.create_task(one(ref))) for ref in wave]
        # Of all of them first: one may have given up what another of the same wave did not find.
        for ref, run in runs:
            self._references.rest(ref, run.result().rests_on)
            if (resource := self._cluster.now(ref)) is not None:
                self._references.looked_at(ref, resource.status)
        for ref, run in runs:
            self._follow(ref, run.result())

    def _follow(self, ref: Ref, verdict: Verdict) -> None:
        progress = self._progress[ref]
        before = progress.settled
        resource = self._cluster.now(ref)
        progress.settled = resource is None or _is_settled(resource, verdict, self._waits_for_migrations)
        progress.waits_for = verdict.error.on if isinstance(verdict.error, Waiting) else None
        if progress.settled:
            progress.tries = 0
        elif progress.waits_for is None:
            progress.tries += 1
            progress.due = asyncio.get_running_loop().time() + _wait_seconds(verdict, progress.tries)
        if progress.settled and not before:
            self._settled(ref)
        woken = self._references.resting_on(ref) if verdict.wrote else set()
        if verdict.gave_up:
            woken |= self._references.contesting(ref)
        if verdict.wake_dependents:
            woken |= self._references.woken_by(ref)
        for other in woken & self._progress.keys():
            self._progress[other].due = 0.0
        if resource is None:
            # Nobody wakes what is gone: two of them would go on waking each other.
            del self._progress[ref]
            self._references.remove(ref)

    def _unsettled(self) -> bool:
        """Is there still anything that time can change? Settles, on the way, what waits for nothing that will come."""
        changed = True
        while changed:
            changed = False
            for ref, progress in self._progress.items():
                if not progress.settled and progress.due is None and self._in_vain(ref, progress):
                    progress.settled = changed = True
                    self._settled(ref)
        return any(not progress.settled for progress in self._progress.values())

    def _in_vain(self, ref: Ref, progress: _Progress) -> bool:
        on = progress.waits_for
        if on is None or on == ref:
            return on == ref
        return on not in self._progress or self._progress[on].settled

    async def _wait(self) -> None:
        """Until the next one is due."""
        due = [progress.due for progress in self._progress.values() if progress.due is not None]
        now = asyncio.get_running_loop().time()
        # Two that wait for each other would leave nothing due: the deadline ends that.
        await asyncio.sleep(max(min(due, default=now + LONGEST_WAIT_SECONDS) - now, 0.0))


def _is_settled(resource: Resource, verdict: Verdict, waits_for_migrations: bool) -> bool:
    if resource.deleting:
        return not isinstance(verdict.error, Transient | Waiting) and verdict.requeue_after is None
    if isinstance(verdict.error, Waiting):
        return False
    if isinstance(verdict.error, Transient):
        return verdict.error.reason in HOPELESS
    if not waits_for_migrations and (resource.condition("Ready") or {}).get("reason") == Reason.MIGRATING:
        return True
    # A reconciler that is not done and will look again says so with the condition Reconciling. One that will look only
    # after a minute waits for something that no command brings about, as for a node of Qdrant that is down.
    return resource.condition("Reconciling") is None or (verdict.requeue_after or 0.0) >= POLL_SECONDS


def _wait_seconds(verdict: Verdict, tries: int) -> float:
    if verdict.error is None:
        # The reconciler has more to do and knows when, usually at once.
        return min(verdict.requeue_after or 0.0, LONGEST_WAIT_SECONDS)
    longest: float = min(SHORTEST_WAIT_SECONDS * 2.0 ** min(tries - 1, 10), LONGEST_WAIT_SECONDS)
    patience = longest * random.uniform(0.5, 1.0)  # noqa: S311 -- spreads retries, keeps no secret
    asked_to_wait = verdict.requeue_after if isinstance(verdict.error, Transient) else None
    return max(patience, asked_to_wait or 0.0)
