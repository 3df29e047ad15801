"""Long work on a resource gives way: to other resources that wait, to a change of its own, to its deletion, and to the
end of the process.

It asks at its safe points, between two windows of points: what is written is in the ledger by then, so the next run
goes on where this one stopped. Work that has no safe point for minutes, as embedding, is watched and cancelled when
its resource changes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from vectorops.api.meta import Resource
from vectorops.errors import GaveWay
from vectorops.reconcilers.base import Turn
from vectorops.reconcilers.cluster import Cluster

T = TypeVar("T")

CHECK_SECONDS: Final = 5.0
"""How often the resource is read while the work goes on."""
SHOW_SECONDS: Final = 10.0
"""How often it is shown how far the work is."""


@dataclass(slots=True)
class Pace:
    """Of one reconciliation."""

    cluster: Cluster
    resource: Resource
    """As it was read for this reconciliation."""
    turn: Turn
    """What the shell says of this reconciliation."""
    show: Callable[[], Awaitable[None]] | None = None
    """Shows how far the work is; called every ten seconds at most."""
    clock: Callable[[], float] = time.monotonic
    """Seconds."""
    _checked: float = field(init=False)
    _shown: float = field(init=False)

    def __post_init__(self) -> None:
        self._checked = self._shown = self.clock()

    async def point(self) -> None:
        """A safe point. Raises GaveWay if the work is to stop here; the next run goes on with it."""
        self.turn.report_progress()
        self._require_running()
        if self.turn.should_yield():
            raise GaveWay("other resources are waiting; going on as soon as they had their turn")
        await self._show()
        if self.clock() - self._checked >= CHECK_SECONDS:
            await self._require_unchanged()

    async def watch(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of work without safe points.

        Raises what it raises, and GaveWay if the resource was changed or deleted, or if the process ends: then the work
        is cancelled. Others that wait are no reason, because all of it would have to be done again.
        """
        task = asyncio.ensure_future(work)
        try:
            while True:
                done, _ = await asyncio.wait({task}, timeout=CHECK_SECONDS)
                if done:
                    self.turn.report_progress()
                    return await task
                self._require_running()
                await self._show()
                await self._require_unchanged()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _show(self) -> None:
        if self.show is not None and self.clock() - self._shown >= SHOW_SECONDS:
            await self.show()
            self._shown = self.clock()

    def _require_running(self) -> None:
        if self.turn.is_stopping():
            raise GaveWay("the operator stops; its next process goes on")

    async def _require_unchanged(self) -> None:
        before, now = self.resource, await self.cluster.get(self.resource.ref)
        self._checked = self.clock()
        if now is None or (now.deleting, now.meta.generation) != (before.deleting, before.meta.generation):
            raise GaveWay(f"{before.ref} was changed or deleted meanwhile; looking again")
