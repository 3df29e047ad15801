"""The work queue, one promise a test, in virtual time."""

import asyncio
import contextvars
import gc
import itertools
import logging
import random
import weakref
from collections.abc import Callable, Hashable

import pytest

from unit.virtual_time import in_virtual_time
from vectorops.queue import Lane, Result, WorkQueue

CHANGE, RESYNC = Lane.CHANGE, Lane.RESYNC
LONG_ENOUGH = 10_000.0


class Harness:
    """A queue of string keys whose runs last and answer as told, and a record of them.

    The endpoint of a key is what stands before its slash: `a/1` and `a/2` share `a`; `x` has none.
    """

    def __init__(self, *, concurrency: int = 100, endpoint_limit: int = 100) -> None:
        self.loop = asyncio.get_running_loop()
        self.started: list[tuple[float, str]] = []
        self.ended: list[tuple[float, str]] = []
        self.most_at_once = 0
        self.lasts: Callable[[str], float] = lambda _key: 0.0
        self.answers: Callable[[str], Result] = lambda _key: Result()
        self.queue = WorkQueue[str](
            self.run,
            endpoint_of=endpoint_of,
            concurrency=concurrency,
            endpoint_limit=endpoint_limit,
            clock=self.loop.time,
            jitter=random.Random(7),
        )

    async def run(self, key: str) -> Result:
        self.started.append((self.loop.time(), key))
        self.most_at_once = max(self.most_at_once, len(self.started) - len(self.ended))
        try:
            await asyncio.sleep(self.lasts(key))
            return self.answers(key)
        finally:
            self.ended.append((self.loop.time(), key))

    def order(self) -> list[str]:
        return [key for _, key in self.started]

    def times(self, key: str) -> list[float]:
        return [when for when, started in self.started if started == key]


def endpoint_of(key: str) -> Hashable | None:
    endpoint, slash, _ = key.partition("/")
    return endpoint if slash else None


# --------------------------------------------------------------------------------------------------------------- adding


@in_virtual_time
async def test_a_key_added_many_times_before_it_starts_runs_once() -> None:
    harness = Harness()

    for lane in (RESYNC, CHANGE, RESYNC):
        harness.queue.add("x", lane)
    await asyncio.sleep(LONG_ENOUGH)

    assert harness.order() == ["x"]


@in_virtual_time
async def test_a_key_added_while_it_runs_runs_once_more_after_and_never_beside_itself() -> None:
    harness = Harness()
    harness.lasts = lambda _key: 10.0
    harness.queue.add("x", CHANGE)
    await asyncio.sleep(1)

    harness.queue.add("x", RESYNC)
    harness.queue.add("x", CHANGE)
    await asyncio.sleep(LONG_ENOUGH)

    assert harness.times("x") == [0.0, 10.0]
    assert harness.most_at_once == 1


@in_virtual_time
async def test_changes_go_before_resync_and_every_eighth_start_is_the_other_way_around() -> None:
    harness = Harness(concurrency=1)
    for n in range(20):
        harness.queue.add(f"resync{n}", RESYNC)
    for n in range(20):
        harness.queue.add(f"change{n}", CHANGE)

    await asyncio.sleep(LONG_ENOUGH)

    lanes = "".join(key[0] for key in harness.order())
    assert lanes == "cccccccr" * 2 + "cccccc" + "r" * 18
    assert [key for key in harness.order() if key[0] == "c"] == [f"change{n}" for n in range(20)]
    assert [key for key in harness.order() if key[0] == "r"] == [f"resync{n}" for n in range(20)]


@in_virtual_time
async def test_resync_of_an_endpoint_without_changes_is_not_starved_by_the_changes_of_another() -> None:
    harness = Harness(concurrency=1)
    for n in range(20):
        harness.queue.add(f"a/{n}", CHANGE)
    for n in range(2):
        harness.queue.add(f"b/{n}", RESYNC)

    await asyncio.sleep(LONG_ENOUGH)

    assert [place for place, key in enumerate(harness.order(), start=1) if key.startswith("b/")] == [8, 16]


@in_virtual_time
async def test_a_higher_lane_upgrades_a_waiting_key_and_a_lower_one_leaves_it_where_it_is() -> None:
    harness = Harness(concurrency=1)
    for key in ("old", "upgraded"):
        harness.queue.add(key, RESYNC)
    harness.queue.add("first", CHANGE)

    harness.queue.add("upgraded", CHANGE)
    harness.queue.add("first", RESYNC)
    await asyncio.sleep(LONG_ENOUGH)

    assert harness.order() == ["first", "upgraded", "old"]


@in_virtual_time
async def test_a_resync_that_is_followed_by_a_change_while_it_runs_goes_on_in_the_lane_of_changes() -> None:
    harness = Harness(concurrency=1)
    harness.lasts = lambda _key: 1.0
    harness.queue.add("x", RESYNC)
    await asyncio.sleep(0.5)

    harness.queue.add("resync", RESYNC)
    harness.queue.add("x", CHANGE)
    harness.queue.add("x", RESYNC)
    await asyncio.sleep(LONG_ENOUGH)

    assert harness.order() == ["x", "x", "resync"]


# ----------------------------------------------------------------------------------------------------------------- room


@in_virtual_time
async def test_an_endpoint_that_hangs_holds_up_nobody_else() -> None:
    harness = Harness(concurrency=4, endpoint_limit=2)
    harness.lasts = lambda key: LONG_ENOUGH if key.startswith("dead/") else 1.0
    for n in range(50):
        harness.queue.add(f"dead/{n}", CHANGE)
    for n in range(6):
        harness.queue.add(f"alive/{n}", RESYNC)

    await asyncio.sleep(3.5)

    assert sum(key.startswith("dead/") for key in harness.order()) == 2
    assert sum(key.startswith("alive/") for _, key in harness.ended) == 6


@in_virtual_time
async def test_no_more_runs_at_a_time_than_the_concurrency_allows_and_a_key_of_no_endpoint_counts_there_only() -> None:
    harness = Harness(concurrency=3, endpoint_limit=1)
    harness.lasts = lambda _key: 1.0
    for n in range(9):
        harness.queue.add(f"x{n}", CHANGE)

    await asyncio.sleep(LONG_ENOUGH)

    assert harness.most_at_once == 3
    assert [when for when, _ in harness.started] == [0.0] * 3 + [1.0] * 3 + [2.0] * 3


@in_virtual_time
async def test_the_endpoint_is_asked_for_when_a_run_starts_and_not_when_the_key_is_added() -> None:
    moved: dict[str, str] = {"x": "dead"}
    harness = Harness(endpoint_limit=1)
    harness.queue._endpoint_of = lambda key: moved.get(key, "dead")
    harness.lasts = lambda key: LONG_ENOUGH if key == "hangs" else 1.0
    harness.queue.add("hangs", CHANGE)
    harness.queue.add("x", CHANGE)
    await asyncio.sleep(1)
    assert harness.order() == ["hangs"]

    moved["x"] = "alive"
    harness.queue.add("another", RESYNC)
    await asyncio.sleep(1)

    assert harness.order() == ["hangs", "x"]


@in_virtual_time
async def test_keys_whose_endpoint_changed_keep_their_places_among_those_who_wait_there() -> None:
    at = {"hangs": "dead", "hangs-too": "alive"} | {str(n): "dead" if n % 2 else "alive" for n in range(8)}
    harness = Harness(endpoint_limit=1)
    harness.queue._endpoint_of = at.__getitem__
    harness.lasts = lambda key: {"hangs": LONG_ENOUGH, "hangs-too": 10.0}.get(key, 1.0)
    for key in ("hangs", "hangs-too", *map(str, range(8))):
        harness.queue.add(key, CHANGE)
    await asyncio.sleep(1)

    at |= dict.fromkeys(map(str, range(8)), "alive")
    await asyncio.sleep(100)

    assert harness.order() == ["hangs", "hangs-too", *map(str, range(8))]


@in_virtual_time
async def test_a_key_that_waits_and_is_added_again_after_its_endpoint_changed_need_not_become_the_first_to_start() -> (
    None
):
    at: dict[str, str] = {}
    harness = Harness(endpoint_limit=1)
    harness.queue._endpoint_of = lambda key: at.get(key, "dead")
    harness.lasts = lambda key: LONG_ENOUGH if key == "hangs" else 1.0
    for key in ("hangs", "first", "x"):
        harness.queue.add(key, CHANGE)
    await asyncio.sleep(1)

    at["x"] = "alive"
    harness.queue.add("x", RESYNC)
    await asyncio.sleep(1)

    assert harness.order() == ["hangs", "x"]
    assert harness.queue.snapshot().depth == {CHANGE: 1, RESYNC: 0}


@in_virtual_time
async def test_a_start_does_not_ask_for_the_endpoint_of_all_that_wait() -> None:
    """Thousands wait at a busy Qdrant after a restart; asking each of them at each start took minutes."""
    asked = itertools.count()
    harness = Harness(concurrency=4, endpoint_limit=2)
    harness.queue._endpoint_of = lambda key: (next(asked), endpoint_of(key))[1]
    harness.lasts = lambda _key: 1.0

    for n in range(1000):
        harness.queue.add(f"busy/{n}", RESYNC)
        harness.queue.add(f"other/{n}", CHANGE)
    await asyncio.sleep(LONG_ENOUGH)

    assert len(harness.started) == 2000
    assert next(asked) < 2000 * 20


@in_virtual_time
async def test_resync_of_a_busy_endpoint_is_not_starved_by_a_rhythm_that_gives_it_no_eighth_start() -> None:
    """One start of `slow` and seven of `quick` in every eight: the eighth in all is never one of `slow`."""
    harness = Harness(endpoint_limit=1)
    harness.lasts = lambda key: 7.0 if key.startswith("slow/") else 1.0

    def again(key: str) -> Result:
        harness.queue.add(key, CHANGE)
        return Result()

    harness.answers = lambda key: again(key) if key.endswith("change") else Result()
    for key in ("slow/change", "slow/another-change", "quick/change"):
        harness.queue.add(key, CHANGE)
    await asyncio.sleep(0.5)
    harness.queue.add("slow/resync", RESYNC)

    await asyncio.sleep(7.0 * 8)

    assert "slow/resync" in harness.order()


# --------------------------------------------------------------------------------------------------------------- timers


@in_virtual_time
async def test_a_run_may_ask_for_the_next_one() -> None:
    harness = Harness()
    harness.answers = lambda _key: Result(requeue_after=60.0) if len(harness.started) < 3 else Result()
    harness.queue.add("x", CHANGE)

    await asyncio.sleep(LONG_ENOUGH)

    assert harness.times("x") == [0.0, 60.0, 120.0]


@pytest.mark.parametrize("delays", [(10.0, 50.0), (50.0, 10.0)])
@in_virtual_time
async def test_of_two_timers_of_a_key_only_the_earlier_stays(delays: tuple[float, float]) -> None:
    harness = Harness()

    for seconds in delays:
        harness.queue.add_after("x", seconds, RESYNC)
    await asyncio.sleep(LONG_ENOUGH)

    assert harness.times("x") == [10.0]


@pytest.mark.parametrize("timers", [((10.0, RESYNC), (50.0, CHANGE)), ((50.0, CHANGE), (10.0, RESYNC))])
@in_virtual_time
async def test_the_higher_lane_of_two_timers_stays(timers: tuple[tuple[float, Lane], ...]) -> None:
    harness = Harness(concurrency=1)
    for seconds, lane in timers:
        harness.queue.add_after("x", seconds, lane)
    harness.lasts = lambda key: 20.0 if key == "blocker" else 0.0
    await asyncio.sleep(5.0)
    harness.queue.add("blocker", CHANGE)
    await asyncio.sleep(1.0)

    harness.queue.add("resync", RESYNC)
    await asyncio.sleep(LONG_ENOUGH)

    assert harness.order() == ["blocker", "x", "resync"]


@pytest.mark.parametrize("lane", list(Lane))
@in_virtual_time
async def test_an_add_leaves_no_timer_behind(lane: Lane) -> None:
    harness = Harness()
    harness.queue.add_after("x", 10.0, CHANGE)

    harness.queue.add("x", lane)
    await asyncio.sleep(LONG_ENOUGH)

    assert harness.times("x") == [0.0]


@in_virtual_time
async def test_a_timer_that_rings_during_a_run_is_served_after_it() -> None:
    harness = Harness()
    harness.lasts = lambda _key: 20.0
    harness.queue.add("x", CHANGE)
    await asyncio.sleep(1.0)

    harness.queue.add_after("x", 5.0, RESYNC)
    await asyncio.sleep(LONG_ENOUGH)

    assert harness.times("x") == [0.0, 20.0]


class Body:
    """A whole object, as a framework has it in hand while a handler runs."""


body: contextvars.ContextVar[Body | None] = contextvars.ContextVar("body", default=None)


@in_virtual_time
async def test_what_an_event_handler_keeps_in_context_variables_reaches_no_run_and_is_not_kept_alive() -> None:
    """A chain of timers and runs would pass it on for ever."""
    seen: list[Body | None] = []
    harness = Harness()

    def look(_key: str) -> Result:
        seen.append(body.get())
        return Result(requeue_after=1000.0)

    harness.answers = look

    async def handler() -> weakref.ref[Body]:
        body.set(held := Body())
        harness.queue.add("x", CHANGE)
        harness.queue.add_after("later", 1000.0, CHANGE)
        return weakref.ref(held)

    held = await asyncio.create_task(handler())
    await asyncio.sleep(1.0)
    gc.collect()

    assert seen == [None]
    assert held() is None


# -------------------------------------------------------------------------------------------------------------- backoff


def fail(_key: str) -> Result:
    return Result(backoff=True)


def gaps(times: list[float]) -> list[float]:
    return [later - earlier for earlier, later in itertools.pairwise(times)]


@in_virtual_time
async def test_a_failing_key_is_tried_after_1_s_doubling_to_5_minutes_of_which_half_to_all_is_waited() -> None:
    harness = Harness()
    harness.answers = fail
    harness.queue.add("x", CHANGE)

    await asyncio.sleep(5000.0)

    waited = gaps(harness.times("x"))
    longest = [1, 2, 4, 8, 16, 32, 64, 128, 256] + [300] * (len(waited) - 9)
    assert len(waited) > 15
    assert all(limit / 2 <= gap <= limit for gap, limit in zip(waited, longest, strict=True))
    assert len({round(gap / limit, 3) for gap, limit in zip(waited, longest, strict=True)}) > len(waited) / 2


@in_virtual_time
async def test_a_run_may_limit_its_backoff() -> None:
    harness = Harness()
    harness.answers = lambda _key: Result(backoff=True, longest_backoff=10.0)
    harness.queue.add("x", CHANGE)

    await asyncio.sleep(LONG_ENOUGH)

    waited = gaps(harness.times("x"))
    assert max(waited) == pytest.approx(10.0)
    assert waited[0] <= 1.0


@in_virtual_time
async def test_a_key_that_fails_for_two_weeks_is_still_tried() -> None:
    harness = Harness()
    harness.answers = fail
    harness.queue.add("x", CHANGE)

    await asyncio.sleep(14 * 86_400.0)

    times = harness.times("x")
    assert len(times) > 2000
    assert 14 * 86_400.0 - times[-1] <= 300.0


@in_virtual_time
async def test_success_makes_the_next_backoff_short_again() -> None:
    harness = Harness()
    harness.answers = lambda _key: Result(requeue_after=1000.0) if len(harness.started) == 6 else Result(backoff=True)
    harness.queue.add("x", CHANGE)

    await asyncio.sleep(1200.0)

    waited = gaps(harness.times("x"))
    assert waited[4] >= 8.0
    assert waited[5] == pytest.approx(1000.0)
    assert waited[6] <= 1.0


@in_virtual_time
async def test_a_changed_key_runs_at_once_and_its_backoff_starts_anew() -> None:
    harness = Harness()
    harness.answers = fail
    harness.queue.add("x", CHANGE)
    await asyncio.sleep(400.0)
    earlier = len(harness.started)

    harness.queue.add("x", CHANGE)
    await asyncio.sleep(1.0)

    assert harness.times("x")[earlier] == 400.0
    assert harness.times("x")[earlier + 1] <= 401.0


@in_virtual_time
async def test_a_change_during_a_failing_run_is_served_at_once_and_its_backoff_starts_anew() -> None:
    harness = Harness()
    harness.answers = fail
    harness.lasts = lambda _key: 100.0 if len(harness.started) == 6 else 0.0
    harness.queue.add("x", CHANGE)
    await asyncio.sleep(50.0)
    assert len(harness.started) - len(harness.ended) == 1, "the sixth run is at work"

    harness.queue.add("x", CHANGE)
    await asyncio.sleep(100.0)

    long_run = harness.times("x")[5]
    assert harness.times("x")[6] == pytest.approx(long_run + 100.0)
    assert gaps(harness.times("x"))[6] <= 1.0


@in_virtual_time
async def test_resync_runs_a_failing_key_at_once_but_its_backoff_goes_on() -> None:
    harness = Harness()
    harness.answers = fail
    harness.queue.add("x", CHANGE)
    await asyncio.sleep(400.0)
    earlier = len(harness.started)

    harness.queue.add("x", RESYNC)
    await asyncio.sleep(1000.0)

    assert harness.times("x")[earlier] == 400.0
    assert gaps(harness.times("x"))[earlier] >= 100.0


@in_virtual_time
async def test_a_failed_run_waits_at_least_as_long_as_the_server_asked() -> None:
    harness = Harness()
    harness.answers = lambda _key: Result(requeue_after=30.0, backoff=True) if len(harness.started) < 2 else Result()
    harness.queue.add("x", CHANGE)

    await asyncio.sleep(LONG_ENOUGH)

    assert harness.times("x") == [0.0, 30.0]


@in_virtual_time
async def test_a_failed_change_is_retried_in_the_lane_of_changes() -> None:
    harness = Harness(concurrency=1)
    harness.answers = lambda key: Result(backoff=key == "x" and len(harness.started) == 1)
    harness.lasts = lambda key: 5.0 if key == "blocker" else 0.0
    harness.queue.add("x", CHANGE)
    harness.queue.add("blocker", RESYNC)
    await asyncio.sleep(0.1)

    harness.queue.add("resync", RESYNC)
    await asyncio.sleep(LONG_ENOUGH)

    assert harness.order() == ["x", "blocker", "x", "resync"]


@in_virtual_time
async def test_an_error_nobody_expected_is_logged_once_with_its_key_and_retried_and_the_queue_lives_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    harness = Harness()

    def divide(key: str) -> Result:
        return Result(requeue_after=1 / (len(harness.started) - 1)) if key == "x" else Result()

    harness.answers = divide
    harness.queue.add("x", CHANGE)
    await asyncio.sleep(0.4)

    harness.answers = lambda _key: Result()
    harness.queue.add("other", RESYNC)
    await asyncio.sleep(LONG_ENOUGH)

    assert harness.order() == ["x", "other", "x"]
    assert [(record.levelno, "of x" in record.getMessage()) for record in caplog.records] == [(logging.ERROR, True)]
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.parametrize(("ran_seconds", "earlier_starts"), [(1.0, 1), (0.0, 0)], ids=["at work", "not yet begun"])
@in_virtual_time
async def test_a_run_that_is_cancelled_from_outside_is_retried(ran_seconds: float, earlier_starts: int) -> None:
    harness = Harness()
    harness.lasts = lambda _key: 10.0
    harness.queue.add("x", CHANGE)
    await asyncio.sleep(ran_seconds)
    assert len(harness.started) == earlier_starts

    next(task for task in asyncio.all_tasks() if task.get_name() == "run x").cancel()
    await asyncio.sleep(LONG_ENOUGH)

    assert len(harness.ended) == earlier_starts + 1
    assert harness.queue.snapshot().running == 0


# ------------------------------------------------------------------------------------------------------------- yielding


@in_virtual_time
async def test_a_run_yields_only_to_what_waits_for_its_place() -> None:
    harness = Harness(concurrency=4, endpoint_limit=1)
    harness.lasts = lambda _key: 1000.0
    for key in ("a/1", "b/1"):
        harness.queue.add(key, CHANGE)
    await asyncio.sleep(1.0)
    assert not harness.queue.should_yield("a/1")

    harness.queue.add("b/2", CHANGE)
    assert not harness.queue.should_yield("a/1")
    assert harness.queue.should_yield("b/1")

    harness.queue.add("c/1", CHANGE)
    assert not harness.queue.should_yield("a/1"), "c/1 is about to start beside it"


@in_virtual_time
async def test_a_run_yields_when_all_places_are_taken_and_another_could_use_its_own() -> None:
    harness = Harness(concurrency=2, endpoint_limit=1)
    harness.lasts = lambda _key: 1000.0
    for key in ("a/1", "b/1", "b/2"):
        harness.queue.add(key, CHANGE)
    await asyncio.sleep(1.0)
    assert not harness.queue.should_yield("a/1"), "b/2 could not start even then"

    harness.queue.add("c/1", RESYNC)

    assert harness.queue.should_yield("a/1")


@in_virtual_time
async def test_a_run_yields_to_who_has_waited_for_as_long_as_it_is_asked() -> None:
    harness = Harness(concurrency=4, endpoint_limit=1)
    harness.lasts = lambda _key: 1000.0
    for key in ("a/1", "a/2"):
        harness.queue.add(key, CHANGE)
    await asyncio.sleep(9.0)
    assert not harness.queue.should_yield("a/1", patience_seconds=10.0)

    await asyncio.sleep(2.0)

    assert harness.queue.should_yield("a/1", patience_seconds=10.0)


@in_virtual_time
async def test_a_run_yields_when_its_key_was_added_again() -> None:
    harness = Harness()
    harness.lasts = lambda _key: 1000.0
    harness.queue.add("x", CHANGE)
    await asyncio.sleep(1.0)
    assert not harness.queue.should_yield("x")

    harness.queue.add("x", RESYNC)

    assert harness.queue.should_yield("x")


@in_virtual_time
async def test_a_run_that_yields_lets_what_waits_go_first_even_resync_and_then_goes_on_before_other_resync() -> None:
    harness = Harness(concurrency=1)
    harness.lasts = lambda _key: 1.0
    harness.answers = lambda key: Result(requeue_after=0.0 if key == "long" and len(harness.started) == 1 else None)
    harness.queue.add("long", CHANGE)
    await asyncio.sleep(0.5)
    for key in ("resync1", "resync2"):
        harness.queue.add(key, RESYNC)

    await asyncio.sleep(LONG_ENOUGH)

    assert harness.order() == ["long", "resync1", "long", "resync2"]


# ------------------------------------------------------------------------------------------------------------- draining


@in_virtual_time
async def test_drain_waits_for_what_runs_tells_it_to_yield_and_starts_nothing_more() -> None:
    harness = Harness(concurrency=1)
    harness.lasts = lambda _key: 10.0
    harness.answers = lambda _key: Result(requeue_after=5.0)
    harness.queue.add("x", CHANGE)
    harness.queue.add("waits", CHANGE)
    harness.queue.add_after("timer", 20.0, CHANGE)
    await asyncio.sleep(1.0)

    draining = asyncio.create_task(harness.queue.drain(timeout_seconds=30.0))
    await asyncio.sleep(1.0)
    assert harness.queue.should_yield("x")
    for key in ("x", "new"):
        harness.queue.add(key, CHANGE)
        harness.queue.add_after(key, 1.0, CHANGE)
    await draining
    await asyncio.sleep(LONG_ENOUGH)

    assert harness.started == [(0.0, "x")]
    assert harness.ended == [(10.0, "x")]
    assert harness.queue.snapshot().running == 0


@in_virtual_time
async def test_drain_cancels_what_does_not_end_in_time_and_says_which(caplog: pytest.LogCaptureFixture) -> None:
    harness = Harness()
    harness.lasts = lambda key: 1000.0 if key == "slow" else 5.0
    for key in ("slow", "quick"):
        harness.queue.add(key, CHANGE)
    await asyncio.sleep(1.0)

    await harness.queue.drain(timeout_seconds=10.0)
    await asyncio.sleep(LONG_ENOUGH)

    assert harness.ended == [(5.0, "quick"), (11.0, "slow")]
    assert [record.args for record in caplog.records] == [("slow", 10.0)]


@in_virtual_time
async def test_drain_of_an_idle_queue_ends_at_once() -> None:
    harness = Harness()

    await harness.queue.drain(timeout_seconds=10.0)

    assert harness.loop.time() == 0.0


@in_virtual_time
async def test_drain_returns_only_when_nothing_runs_even_if_a_run_ends_at_the_very_deadline() -> None:
    harness = Harness()
    harness.lasts = lambda _key: 10.0
    harness.queue.add("x", CHANGE)
    await asyncio.sleep(4.0)

    await harness.queue.drain(timeout_seconds=6.0)

    assert harness.started == [(0.0, "x")]
    assert harness.queue.snapshot().running == 0


# -------------------------------------------------------------------------------------------------------------- metrics


@in_virtual_time
async def test_a_snapshot_tells_depth_and_age_by_lane_and_what_runs_how_long() -> None:
    harness = Harness(concurrency=2)
    harness.lasts = lambda _key: 100.0
    for key in ("run1", "run2"):
        harness.queue.add(key, CHANGE)
    await asyncio.sleep(10.0)
    harness.queue.add("resync1", RESYNC)
    harness.queue.add("upgraded", RESYNC)
    await asyncio.sleep(10.0)
    harness.queue.add("resync1", RESYNC)
    harness.queue.add("upgraded", CHANGE)
    await asyncio.sleep(5.0)

    snapshot = harness.queue.snapshot()

    assert snapshot.depth == {CHANGE: 1, RESYNC: 1}
    assert snapshot.oldest_seconds == {CHANGE: 5.0, RESYNC: 15.0}
    assert snapshot.running == 2
    assert snapshot.longest_run_seconds == 25.0
    assert snapshot.longest_silence_seconds == 25.0


@in_virtual_time
async def test_a_run_that_gets_somewhere_is_not_silent_however_long_it_takes() -> None:
    harness = Harness()
    harness.lasts = lambda _key: 1000.0
    harness.queue.add("x", CHANGE)
    await asyncio.sleep(30.0)

    harness.queue.report_progress("x")
    await asyncio.sleep(5.0)

    snapshot = harness.queue.snapshot()
    assert (snapshot.longest_run_seconds, snapshot.longest_silence_seconds) == (35.0, 5.0)


@in_virtual_time
async def test_a_snapshot_of_an_idle_queue_is_all_zero() -> None:
    snapshot = Harness().queue.snapshot()

    assert snapshot.depth == {CHANGE: 0, RESYNC: 0}
    assert snapshot.oldest_seconds == {CHANGE: 0.0, RESYNC: 0.0}
    assert (snapshot.running, snapshot.longest_run_seconds) == (0, 0.0)
