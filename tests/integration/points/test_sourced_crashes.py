"""A set of 200 points from a source, in four parts of which two are written at a time, and a kill at every call.

What the next process finds is never a ledger that claims more than what is stored; what it leaves is as declared.
"""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest

from integration.points import sourced
from integration.points.scene import Frozen, Killed, Scene, answer_lost, killed_after, killed_before, point
from integration.points.sourced import (
    Mortal,
    open_windows,
    parts_written_twice,
    revision_of,
    rows_of_edition,
    sync_rows,
)
from vectorops.api.connection import QdrantConnectionSpec
from vectorops.api.meta import JsonObject
from vectorops.api.reasons import Reason
from vectorops.errors import GaveWay, OutcomeUnknown, OutOfSpace, Transient
from vectorops.ledger.lifecycle import read_all_parts
from vectorops.points import diff, part, staging
from vectorops.points.synced import Synced
from vectorops.qdrant.connect import Credentials, connect

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.uncounted,
    pytest.mark.parametrize("database", ["rest"], indirect=True),
]

FOREIGN = 100_000


A, B = rows_of_edition(0), rows_of_edition(1)


@pytest.fixture
def small_parts(monkeypatch):
    monkeypatch.setattr(staging, "POINTS_OF_A_PART", sourced.POINTS_OF_A_PART)


class Clock:
    """What the ledger takes for the time."""

    def __init__(self) -> None:
        self.seconds = time.time()

    def time(self) -> float:
        return self.seconds


@pytest.fixture
def clock(monkeypatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(part, "time", clock)
    return clock


@pytest.fixture
def nothing_arrives_late(monkeypatch):
    """A request of a process that was killed is carried out before the next one looks, or never."""
    monkeypatch.setattr(diff, "LATE_SECONDS", 0)


@pytest.fixture
async def foreign(scene: Scene, small_parts) -> dict[int, Frozen]:
    """A point of somebody else's."""
    return await stranger(scene)


async def stranger(scene: Scene) -> dict[int, Frozen]:
    return {FOREIGN: await scene.stranger(FOREIGN, [0.1, 0.2, 0.3], by="stranger", n=[1.5, {}])}


async def assert_whole(scene: Scene, rows: list[JsonObject], revision: str, foreign) -> None:
    """Exactly the rows are stored, beside the foreign points; the ledger says so, and the next pass writes nothing."""
    expected = await scene.expected(*rows)
    assert await scene.stored() == {**expected, **foreign}
    parts = await read_all_parts(scene.store())
    assert [part.pending for part in parts] == [None] * len(parts)
    assert {id for part in parts for id in part.entries} == expected.keys()
    assert await revision_of(scene) == revision
    assert await scene.records() == 1 + 2 * len(parts)
    idle = Mortal(scene.database, scene.collection, instead=None)
    head = await scene.store().read_head()
    assert head is not None
    synced = await sync_rows(scene, rows, revision, database=idle, writer=head["token"])
    assert idle.calls == []
    assert synced.unchanged == len(rows)


async def assert_never_claims_too_much(scene: Scene, whole: dict[str, list[JsonObject]], foreign) -> None:
    """Whenever the ledger has a revision, exactly the rows of that revision are stored: a look at the source that finds
    the same one goes no further.
    """
    claimed = await revision_of(scene)
    if claimed:
        assert await scene.stored() == {**await scene.expected(*whole[claimed]), **foreign}


REVISIONS = {"a": A, "b": B}


@pytest.mark.parametrize(
    ("instead", "then", "parts"),
    [
        (killed_before, "goes back", 4),
        (killed_after, "goes on", 4),
        (killed_before, "goes back", 1),
        (killed_after, "goes on", 1),
        (answer_lost, "goes back", 1),
    ],
)
async def test_killed_at_any_call_the_next_process_makes_the_points_as_the_source_has_them(
    scene, foreign, nothing_arrives_late, instead, then, parts
):
    """The source may have gone back to its old revision meanwhile: that one is no longer written whole."""
    revisions = REVISIONS if parts > 1 else {name: some[:50] for name, some in REVISIONS.items()}
    was, wanted = "a", "b"
    await sync_rows(scene, revisions[was], was)
    at, happened = 0, True
    while happened:
        at += 1
        dying = Mortal(scene.database, scene.collection, at=at, instead=instead)
        with suppress(Killed, OutcomeUnknown):
            await sync_rows(scene, revisions[wanted], wanted, database=dying)
        happened = len(dying.calls) >= at
        await assert_never_claims_too_much(scene, revisions, foreign)
        is_back = then == "goes back" and happened

        next_one = Mortal(scene.database, scene.collection, instead=None)
        found = was if is_back else wanted
        await sync_rows(scene, revisions[found], found, database=next_one)

        await assert_whole(scene, revisions[found], found, foreign)
        if not is_back:
            # Two parts are written at a time; whatever else was written stays so.
            assert len(await parts_written_twice(scene, dying, next_one)) <= min(parts, 2)
            was, wanted = wanted, was
    assert at > 8 * parts
    assert await scene.remove_all() == len(revisions["a"])
    assert await scene.stored() == foreign


async def test_another_operator_may_write_the_set_between_any_two_calls(scene, foreign, clock):
    """As when a node was thought dead. The other one still reads an older revision of the source, and what the former
    one was just sending arrives last.
    """
    outcomes: set[Reason | None] = set()
    await sync_rows(scene, A, "a")
    at, happened = 0, True
    while happened:
        at += 1

        async def other_first(call):
            await sync_rows(scene, A, "a")
            await call()

        former = Mortal(scene.database, scene.collection, at=at, instead=other_first)
        try:
            await sync_rows(scene, B, "b", database=former)
            outcomes.add(None)
        except Transient as error:
            outcomes.add(error.reason)
        happened = len(former.calls) >= at

        await assert_finished(scene, A, "a", foreign, clock)
    assert outcomes == {None, Reason.ANOTHER_WRITER}
    assert at > 35


async def test_a_former_leader_may_go_on_between_any_two_calls_of_its_successor(scene, foreign, nothing_arrives_late):
    """It has not heard yet that it is none any more, and is at work on a revision that its successor does not see."""
    at, happened = 0, True
    while happened:
        at += 1
        await scene.clear(keep_ledger_collection=True)
        await stranger(scene)
        await sync_rows(scene, A, "a", writer="former")
        goes_on, halted = asyncio.Event(), asyncio.Event()

        async def wait(call, goes_on=goes_on, halted=halted):
            halted.set()
            await goes_on.wait()
            await call()

        paused = Mortal(scene.database, scene.collection, at=2, instead=wait)
        former = asyncio.create_task(sync_rows(scene, B, "b", database=paused, writer="former"))
        await halted.wait()
        assert await revision_of(scene) == ""

        async def former_first(call, goes_on=goes_on, former=former):
            goes_on.set()
            await asyncio.wait([former])
            await call()

        successor = Mortal(scene.database, scene.collection, at=at, instead=former_first)
        with suppress(Transient):
            await sync_rows(scene, A, "a", database=successor)
        happened = len(successor.calls) >= at
        goes_on.set()
        await asyncio.wait([former])
        if not happened:
            assert isinstance(former.exception(), Transient)
        await assert_never_claims_too_much(scene, REVISIONS, foreign)

        await sync_rows(scene, A, "a")

        await assert_whole(scene, A, "a", foreign)


async def test_a_write_that_arrives_after_its_row_is_gone_leaves_no_orphan(scene, foreign, clock):
    """A timeout is no proof that a request is dead: it may be carried out when we have done more since."""
    at, happened = 0, True
    while happened:
        at += 1
        await sync_rows(scene, A, "a", writer="one")
        late: list[Callable[[], Awaitable[None]]] = []

        async def delayed(call, late=late):
            late.append(call)
            raise OutcomeUnknown(Reason.UNREACHABLE, "timed out")

        database = Mortal(scene.database, scene.collection, at=at, instead=delayed)
        with suppress(OutcomeUnknown):
            await sync_rows(scene, B, "b", database=database, writer="one")
        happened = len(database.calls) >= at
        if at % 2:
            # It is written again before its row goes.
            await sync_rows(scene, B, "b", writer="one")
        await sync_rows(scene, A, "a", writer="one")
        for call in late:
            with suppress(Transient):
                await call()
        await assert_never_claims_too_much(scene, REVISIONS, foreign)

        await assert_finished(scene, A, "a", foreign, clock)


async def test_an_insert_that_arrives_after_the_ledger_was_cut_leaves_no_orphan(scene, foreign, clock):
    """Its row is gone by then, and the source has so many others that the ledger got more parts."""
    small, more = A[:50], [*A[:50], point(999, text=[9, 9, 9])]
    await sync_rows(scene, small, "small", writer="one")
    usual = Mortal(scene.database, scene.collection, instead=None)
    await sync_rows(scene, more, "more", database=usual, writer="one")
    await sync_rows(scene, small, "small", writer="one")
    late: list[Callable[[], Awaitable[None]]] = []

    async def delayed(call):
        late.append(call)
        raise OutcomeUnknown(Reason.UNREACHABLE, "timed out")

    insert = usual.calls.index(f"upsert {scene.collection}") + 1
    database = Mortal(scene.database, scene.collection, at=insert, instead=delayed)
    with pytest.raises(OutcomeUnknown):
        await sync_rows(scene, more, "more", database=database, writer="one")
    await sync_rows(scene, A, "a", writer="one")
    assert len(await read_all_parts(scene.store())) == 4
    await late[0]()
    assert 999 in await scene.stored()

    await assert_finished(scene, A, "a", foreign, clock)


async def assert_finished(scene: Scene, rows: list[JsonObject], revision: str, foreign, clock: Clock) -> None:
    """The next pass puts right what arrived late, and one that comes later still says that all is written."""
    await sync_rows(scene, rows, revision, writer="one")
    clock.seconds += diff.LATE_SECONDS
    await sync_rows(scene, rows, revision, writer="one")
    await assert_whole(scene, rows, revision, foreign)


async def test_an_insert_that_a_proxy_delays_past_its_deadline_leaves_no_orphan(
    scene, foreign, clock, qdrant, start_proxy
):
    """Its rows leave the source meanwhile."""
    proxy = start_proxy(qdrant.url)
    spec = QdrantConnectionSpec(url=proxy.url, prefer_grpc=False, timeout_seconds=1)
    delayed = connect(spec, Credentials())
    await delayed.check()
    await sync_rows(scene, A, "a")
    goes_on = threading.Event()

    def delay(call):
        if call.method == "PUT" and f"/{scene.collection}/points" in call.path and "vectors" not in call.path:
            goes_on.wait(60)

    proxy.before = delay
    with pytest.raises(Transient):
        await sync_rows(scene, B, "b", database=delayed, writer="one")
    proxy.before = None
    await sync_rows(scene, A, "a", writer="one")
    assert await scene.stored() == {**await scene.expected(*A), **foreign}
    goes_on.set()
    async with asyncio.timeout(30):
        while True:
            if len(await scene.stored()) > len(A) + len(foreign):
                break
            await asyncio.sleep(0.1)

    await assert_finished(scene, A, "a", foreign, clock)
    await delayed.close()


ERRORS = [
    Transient(Reason.UNREACHABLE, "a connection was refused"),
    OutOfSpace(Reason.OUT_OF_SPACE, "the server has no room for more data"),
    GaveWay("other resources are waiting"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
async def test_an_error_in_one_part_ends_the_pass_in_order(scene, foreign, nothing_arrives_late, error):
    """The part that is at work meanwhile ends its window, and no task goes on."""
    was, wanted = "a", "b"
    await sync_rows(scene, A, "a")
    for at in range(8, 32, 3):

        async def fails(call):
            raise error

        database = Mortal(scene.database, scene.collection, at=at, instead=fails)
        before = asyncio.all_tasks()
        with pytest.raises(type(error)):
            await sync_rows(scene, REVISIONS[wanted], wanted, database=database)
        assert asyncio.all_tasks() == before
        assert len(await open_windows(scene)) <= 1
        await assert_never_claims_too_much(scene, REVISIONS, foreign)

        next_one = Mortal(scene.database, scene.collection, instead=None)
        await sync_rows(scene, REVISIONS[wanted], wanted, database=next_one)

        assert len(await parts_written_twice(scene, database, next_one)) <= 1
        await assert_whole(scene, REVISIONS[wanted], wanted, foreign)
        was, wanted = wanted, was


async def test_a_pass_that_gives_way_leaves_no_window_open(scene, foreign, nothing_arrives_late):
    await sync_rows(scene, A, "a")
    passes = 0
    while await revision_of(scene) != "b":
        assert (passes := passes + 1) < 20

        async def others_wait() -> None:
            raise GaveWay("other resources are waiting")

        with suppress(GaveWay):
            await sync_rows(scene, B, "b", pace=others_wait, writer="one")
        assert await open_windows(scene) == []

    assert passes > 4
    await assert_whole(scene, B, "b", foreign)


async def test_a_pass_that_is_cancelled_leaves_no_task_behind(scene, foreign, nothing_arrives_late):
    was, wanted = "a", "b"
    await sync_rows(scene, A, "a")
    for at in range(5, 32, 4):
        before = asyncio.all_tasks()
        passing: list[asyncio.Task[Synced]] = []

        async def ends(call, passing=passing):
            passing[0].cancel()
            await call()

        database = Mortal(scene.database, scene.collection, at=at, instead=ends)
        passing.append(asyncio.create_task(sync_rows(scene, REVISIONS[wanted], wanted, database=database)))
        await asyncio.wait(passing)
        assert passing[0].cancelled()
        assert asyncio.all_tasks() == before
        await assert_never_claims_too_much(scene, REVISIONS, foreign)

        await sync_rows(scene, REVISIONS[wanted], wanted)

        await assert_whole(scene, REVISIONS[wanted], wanted, foreign)
        was, wanted = wanted, was


@pytest.mark.parametrize(("percent", "left"), [(100, 0), (5, 20)])
async def test_room_is_made_by_no_more_deletions_than_are_allowed(scene, foreign, percent, left):
    await sync_rows(scene, A, "a")
    leaving = (await scene.expected(*A)).keys() - (await scene.expected(*B)).keys()

    async def full(call):
        raise ERRORS[1]

    database = Mortal(scene.database, scene.collection, at=12, instead=full)
    with pytest.raises(OutOfSpace):
        await sync_rows(scene, B, "b", database=database, max_delete_percent=percent)

    assert len(leaving & (await scene.stored()).keys()) == left
    await sync_rows(scene, B, "b")
    assert await scene.stored() == {**await scene.expected(*B), **foreign}


@pytest.mark.parametrize("instead", [killed_after, answer_lost])
async def test_killed_while_the_ledger_is_cut_for_more_rows_the_next_process_goes_on(
    scene, foreign, nothing_arrives_late, instead
):
    small = A[:50]
    revisions = {"small": small, "b": B}
    for at in range(1, 17):
        await scene.clear(keep_ledger_collection=True)
        await stranger(scene)
        await sync_rows(scene, small, "small")
        dying = Mortal(scene.database, scene.collection, at=at, instead=instead)
        with suppress(Killed, OutcomeUnknown):
            await sync_rows(scene, B, "b", database=dying)
        assert len(dying.calls) >= at
        await assert_never_claims_too_much(scene, revisions, foreign)

        await sync_rows(scene, B, "b")

        await assert_whole(scene, B, "b", foreign)
        assert len(await read_all_parts(scene.store())) == 4


async def test_a_set_that_grows_at_each_look_is_as_declared_though_each_pass_is_killed_once(
    scene, foreign, nothing_arrives_late
):
    source = rows_of_edition(0)
    many = [*source, *(point(n, text=[1, n, 0], n=n) for n in range(1000, 1400))]
    parts = []
    for count in (30, 90, 200, 600):
        for at in (4, 14):
            dying = Mortal(scene.database, scene.collection, at=at, instead=killed_after)
            with suppress(Killed):
                await sync_rows(scene, many[:count], f"of {count}", database=dying)
        await sync_rows(scene, many[:count], f"of {count}")

        await assert_whole(scene, many[:count], f"of {count}", foreign)
        parts.append(len(await read_all_parts(scene.store())))
    assert parts == [1, 2, 4, 16]
