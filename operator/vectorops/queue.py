"""Which resource is reconciled next, and when: the work queue between hints and reconciliations.

The shell (`kube/`) adds a key whenever something may have changed and gives `run(key)`, which reconciles it; that is
all the two know of each other, so nothing here knows Kopf, Kubernetes or Qdrant. What the queue promises, and
`tests/unit/test_queue_model.py` models:

- A key has at most one run at a time. No add is lost: one that comes during a run means one more run after it.
- A change goes before routine resync, so that a new resource does not wait behind a thousand old ones; every eighth
  start, in all and at each endpoint, is the other way around, so that resync is never starved.
- A run starts only while its endpoint (one Qdrant) has room, so a Qdrant that hangs holds up nobody else.
- A failing key is tried again ever more slowly; a changed one at once.

Everything happens in the thread of one event loop, whose timers carry the delays.
"""

import asyncio
import contextvars
import heapq
import itertools
import logging
import random
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Hashable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final, Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)

BACKOFF_FIRST_SECONDS: Final = 1.0
BACKOFF_LONGEST_SECONDS: Final = 300.0
REVERSED_EVERY: Final = 8

_log = logging.getLogger(__name__)


class Lane(IntEnum):
    """Why a key waits; the smaller value is the higher lane."""

    CHANGE = 0
    RESYNC = 1


@dataclass(frozen=True, slots=True)
class Result:
    """What a run asks of the queue. A later `add` is served whatever stands here.

    requeue_after: seconds until the next run even if nothing is added; None means none. 0 gives way to what waits, then
    goes on.
    backoff: the run failed in a way that may pass: run again after a delay that doubles with each failure in a row,
    from 1 s to 5 min, of which a random half to whole is waited, and never less than `requeue_after`.
    longest_backoff: seconds that such a delay has at most; None means 5 min.
    """

    requeue_after: float | None = None
    backoff: bool = False
    longest_backoff: float | None = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The queue at one moment, for metrics. Keys that wait for a timer are not counted as waiting."""

    depth: dict[Lane, int]
    oldest_seconds: dict[Lane, float]
    running: int
    longest_run_seconds: float
    longest_silence_seconds: float
    """Since one of the runs began, or last said that it got somewhere."""


@dataclass(slots=True)
class _Waiting:
    """One key that waits. arrival: its place among all that wait; endpoint: at which it was when last asked."""

    arrival: int
    since: float
    endpoint: Hashable | None


@dataclass(slots=True)
class _Run:
    task: asyncio.Task[Result]
    lane: Lane
    endpoint: Hashable | None
    since: float
    progressed: float
    again: Lane | None = None


@dataclass(frozen=True, slots=True)
class _Timer:
    handle: asyncio.TimerHandle
    lane: Lane


class WorkQueue(Generic[Key]):
    """See the module. Made and used in a running event loop; `snapshot()` alone may be called from another thread.

    run: reconciles one key. What it raises is logged and handled as a `Result` that asks for backoff.
    endpoint_of: which Qdrant a run of the key would talk to; None if none is known: then only `concurrency` limits it.
    Asked when the key is added and again when it is the next there, because the answer may have changed meanwhile.
    Must not raise.
    concurrency, endpoint_limit: how many runs at a time, in all and for one endpoint.
    clock: seconds, for the ages in `snapshot()`.
    """

    def __init__(
        self,
        run: Callable[[Key], Coroutine[Any, Any, Result]],
        *,
        endpoint_of: Callable[[Key], Hashable | None],
        concurrency: int,
        endpoint_limit: int,
        clock: Callable[[], float] = time.monotonic,
        jitter: random.Random | None = None,
    ) -> None:
        self._run = run
        self._endpoint_of = endpoint_of
        self._concurrency = concurrency
        self._endpoint_limit = endpoint_limit
        self._clock = clock
        self._jitter = jitter or random.Random()  # noqa: S311 - spreads retries; nothing secret
        # Keys in order of arrival. A key waits in one lane at most.
        self._waiting: dict[Lane, dict[Key, _Waiting]] = {lane: {} for lane in Lane}
        # The same by endpoint, as heaps of (arrival, key): else each start would walk over all that wait for a busy
        # Qdrant. An entry whose key went elsewhere stays until it is the first.
        self._lines: dict[Lane, dict[Hashable | None, list[tuple[int, Key]]]] = {lane: {} for lane in Lane}
        self._arrivals = itertools.count()
        self._timers: dict[Key, _Timer] = {}
        self._running: dict[Key, _Run] = {}
        self._failures: Counter[Key] = Counter()
        self._busy: Counter[Hashable | None] = Counter()
        self._starts = 0
        self._starts_at: Counter[Hashable | None] = Counter()
        self._about_to_start = False
        self._draining = False
        # Timers and runs get this context, not that of whoever adds: what that one keeps in context variables, a whole
        # object for instance, each run's timer would hand to the next run, as long as the key lives.
        self._context = contextvars.copy_context()

    def add(self, key: Key, lane: Lane) -> None:
        """Run the key as soon as there is room; once more after, if it runs now. CHANGE also forgets its failures."""
        if lane is Lane.CHANGE:
            self.forget(key)
        self._enqueue(key, lane)

    def add_after(self, key: Key, seconds: float, lane: Lane) -> None:
        """Run the key in so many seconds, unless a run starts before.

        Of two such wishes the earlier time and the higher lane stay.
        """
        loop = asyncio.get_running_loop()
        due = loop.time() + seconds
        if pending := self._timers.get(key):
            pending.handle.cancel()
            due, lane = min(due, pending.handle.when()), min(lane, pending.lane)
        self._timers[key] = _Timer(loop.call_at(due, self._ring, key, context=self._context), lane)

    def forget(self, key: Key) -> None:
        """Forget how often the key failed: its next backoff is the shortest again. A run that succeeds does it too."""
        self._failures.pop(key, None)

    @property
    def is_draining(self) -> bool:
        """Does nothing start any more?"""
        return self._draining

    def report_progress(self, key: Key) -> None:
        """A run of the key got somewhere: see `Snapshot.longest_silence_seconds`."""
        if run := self._running.get(key):
            run.progressed = self._clock()

    def should_yield(self, key: Key, *, patience_seconds: float = 0.0) -> bool:
        """Should this run stop at its next safe point, and return `requeue_after=0`?

        True when a key that waits for the same endpoint (or for any room at all) has waited for so long for its place,
        when it was itself added again and so works from old facts, and when the queue drains.
        """
        run = self._running.get(key)
        if run is None or run.again is not None or self._draining:
            return True
        full = len(self._running) >= self._concurrency
        for lane in Lane:
            for endpoint, (_, waiting) in self._firsts(lane).items():
                if self._clock() - self._waiting[lane][waiting].since < patience_seconds:
                    continue
                has_room = self._has_room(endpoint)
                # Room for it everywhere: it is about to start beside this one.
                if (full and has_room) or (not has_room and endpoint == run.endpoint):
                    return True
        return False

    async def drain(self, timeout_seconds: float) -> None:
        """Start nothing more, ever; wait for the runs, then cancel those that are left.

        What waited is dropped: the next process finds it by its own LIST.
        """
        self._draining = True
        for lane in Lane:
            self._waiting[lane].clear()
            self._lines[lane].clear()
        if not self._running:
            return
        tasks = {run.task: key for key, run in self._running.items()}
        _, late = await asyncio.wait(tasks, timeout=timeout_seconds)
        for task in late:
            _log.warning("the run of %s did not end in %g s and is cancelled", tasks[task], timeout_seconds)
            task.cancel()
        # All of them: `_finish` of a run that ended just now is yet to be called.
        await asyncio.gather(*tasks, return_exceptions=True)

    def snapshot(self) -> Snapshot:
        """The queue now. Safe from the metrics server's thread: it reads copies, which CPython makes in one step."""
        waiting = {lane: [key.since for key in list(self._waiting[lane].values())] for lane in Lane}
        runs = list(self._running.values())
        now = self._clock()
        return Snapshot(
            depth={lane: len(since) for lane, since in waiting.items()},
            oldest_seconds={lane: now - since[0] if since else 0.0 for lane, since in waiting.items()},
            running=len(runs),
            longest_run_seconds=now - min((run.since for run in runs), default=now),
            longest_silence_seconds=now - min((run.progressed for run in runs), default=now),
        )

    def _enqueue(self, key: Key, lane: Lane) -> None:
        """The one way into a lane, for adds, timers and runs that end: what must not start is stopped here."""
        if self._draining:
            return
        if run := self._running.get(key):
            run.again = lane if run.again is None else min(lane, run.again)
            return
        endpoint = self._endpoint_of(key)
        waits_in = next((lane for lane in Lane if key in self._waiting[lane]), None)
        if waits_in is None or waits_in > lane:
            if waits_in is not None:
                del self._waiting[waits_in][key]
            self._waiting[lane][key] = _Waiting(next(self._arrivals), self._clock(), endpoint)
        elif self._waiting[waits_in][key].endpoint == endpoint:
            return
        else:
            lane = waits_in
        self._line_up(key, lane, endpoint)
        self._wake()

    def _line_up(self, key: Key, lane: Lane, endpoint: Hashable | None) -> None:
        """The key waits for this endpoint, since it came."""
        waiting = self._waiting[lane][key]
        waiting.endpoint = endpoint
        heapq.heappush(self._lines[lane].setdefault(endpoint, []), (waiting.arrival, key))

    def _ring(self, key: Key) -> None:
        self._enqueue(key, self._timers.pop(key).lane)

    def _wake(self) -> None:
        # Not at once: after a burst of adds one pass serves them all, and sees the changes among them first.
        if not self._about_to_start:
            self._about_to_start = True
            asyncio.get_running_loop().call_soon(self._start_runs, context=self._context)

    def _start_runs(self) -> None:
        self._about_to_start = False
        while len(self._running) < self._concurrency and (picked := self._pick()):
            self._start(*picked)

    def _has_room(self, endpoint: Hashable | None) -> bool:
        return endpoint is None or self._busy[endpoint] < self._endpoint_limit

    def _pick(self) -> tuple[Key, Lane, Hashable | None] | None:
        """The oldest key of the lane whose turn it is, and else of the other, that has room."""
        for lane in reversed(Lane) if _is_reversed(self._starts) else Lane:
            firsts = self._firsts(lane)
            if able := [endpoint for endpoint in firsts if self._has_room(endpoint)]:
                return self._in_turn(lane, min(able, key=firsts.__getitem__), firsts)
        return None

    def _in_turn(
        self, lane: Lane, endpoint: Hashable | None, firsts: dict[Hashable | None, tuple[int, Key]]
    ) -> tuple[Key, Lane, Hashable | None]:
        """The first key for the endpoint in the lane, or in that of resync when it is that one's turn there.

        The turns in all are not enough: when starts fall into a rhythm, a busy endpoint may have room at none of them.
        """
        if lane is Lane.CHANGE and _is_reversed(self._starts_at[endpoint]):
            resyncs = self._firsts(Lane.RESYNC)
            if endpoint in resyncs:
                lane, firsts = Lane.RESYNC, resyncs
        return firsts[endpoint][1], lane, endpoint

    def _firsts(self, lane: Lane) -> dict[Hashable | None, tuple[int, Key]]:
        """The oldest key that waits for each endpoint, with its arrival."""
        lines = self._lines[lane]
        # A key that turns out to be at another endpoint goes to its line there, which may be behind us: it is in order
        # all the same, because what comes to a line in order is its first, or waits behind it.
        for endpoint in list(lines):
            while lines[endpoint] and not self._is_first(lane, endpoint):
                heapq.heappop(lines[endpoint])
        for endpoint in [endpoint for endpoint, line in lines.items() if not line]:
            del lines[endpoint]
        return {endpoint: line[0] for endpoint, line in lines.items()}

    def _is_first(self, lane: Lane, endpoint: Hashable | None) -> bool:
        """Does the first entry of the line stand for a key that waits there? If its endpoint changed, it is sent on."""
        arrival, key = self._lines[lane][endpoint][0]
        waiting = self._waiting[lane].get(key)
        if waiting is None or (waiting.arrival, waiting.endpoint) != (arrival, endpoint):
            return False
        if (now := self._endpoint_of(key)) == endpoint:
            return True
        self._line_up(key, lane, now)
        return False

    def _start(self, key: Key, lane: Lane, endpoint: Hashable | None) -> None:
        del self._waiting[lane][key]
        # This run is the one that the timer was for.
        if timer := self._timers.pop(key, None):
            timer.handle.cancel()
        self._starts += 1
        self._starts_at[endpoint] += 1
        self._busy[endpoint] += 1
        now = self._clock()
        task = asyncio.get_running_loop().create_task(self._run(key), name=f"run {key}")
        self._running[key] = _Run(task, lane, endpoint, since=now, progressed=now)
        # A callback, not a `finally` in the task: a task that is cancelled before its first step never gets to one.
        task.add_done_callback(lambda ended: self._finish(key, ended))

    def _finish(self, key: Key, task: asyncio.Task[Result]) -> None:
        run = self._running.pop(key)
        self._busy[run.endpoint] -= 1
        result = self._result_of(key, task)
        if not result.backoff:
            self.forget(key)
        if run.again is not None:
            # What this run found is out of date, its failure too.
            self._enqueue(key, run.again)
        elif result.backoff:
            self._failures[key] += 1
            delay = min(self._backoff_seconds(key), result.longest_backoff or BACKOFF_LONGEST_SECONDS)
            self.add_after(key, max(delay, result.requeue_after or 0.0), run.lane)
        elif result.requeue_after is not None:
            # Through a timer even for 0: it rings after the starts that `_wake` schedules here, what waits goes first.
            self.add_after(key, result.requeue_after, run.lane)
        self._wake()

    def _result_of(self, key: Key, task: asyncio.Task[Result]) -> Result:
        if task.cancelled():
            return Result(backoff=True)
        if error := task.exception():
            _log.error("an unexpected error ended the run of %s", key, exc_info=error)
            return Result(backoff=True)
        return task.result()

    def _backoff_seconds(self, key: Key) -> float:
        # Bounded before the power: 2.0 ** 1024 is an OverflowError, which a key reaches after three days of failures.
        doublings = min(self._failures[key] - 1, 16)
        longest = min(BACKOFF_FIRST_SECONDS * 2.0**doublings, BACKOFF_LONGEST_SECONDS)
        return longest * self._jitter.uniform(0.5, 1.0)


def _is_reversed(starts_before: int) -> bool:
    return starts_before % REVERSED_EVERY == REVERSED_EVERY - 1
