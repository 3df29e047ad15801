"""A set of 200 points from a source, in four parts of which two are written at a time, and a kill at every call.

What the next process finds is never a ledger that claims more than what is stored; what it leaves is as declared.
"""

import asyncio
import time
from contextlib import suppress

import pytest

from integration.points import sourced
from integration.points.scene import Frozen, Killed, Scene, answer_lost, killed_after, killed_before, point
from integration.points.sourced import (
    Mortal,
    parts_written_twice,
    revision_of,
    sync_rows,
)
from vectorops.api.meta import JsonObject
from vectorops.api.reasons import Reason
from vectorops.errors import OutcomeUnknown, Transient
from vectorops.ledger.lifecycle import read_all_parts
from vectorops.points import diff, part, staging

pytestmark = [pytest.mark.timeout(600), pytest.mark.parametrize("database", ["rest"], indirect=True)]

FOREIGN = 100_000


def rows(changed: int) -> list[JsonObject]:
    """200 points. Beside those of another `changed`, a third is changed, a tenth comes and a tenth goes."""
    first = 20 * changed
    return [
        point(
            f"doc-{n}" if n % 5 == 0 else n,
            text=[1, n, changed if n % 3 == 0 else 0],
            image=[n, 1] if n % 7 == changed else None,
            n=n,
            **({"changed": changed} if n % 4 == 0 else {}),
        )
        for n in range(first, first + 200)
    ]


A, B = rows(0), rows(1)


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
    ("instead", "then"), [(killed_before, "goes back"), (killed_after, "goes on"), (answer_lost, "goes back")]
)
async def test_killed_at_any_call_the_next_process_makes_the_points_as_the_source_has_them(
    scene, foreign, nothing_arrives_late, instead, then
):
    """The source may have gone back to its old revision meanwhile: that one is no longer written whole."""
    was, wanted = "a", "b"
    await sync_rows(scene, REVISIONS[was], was)
    at, happened = 0, True
    while happened:
        at += 1
        dying = Mortal(scene.database, scene.collection, at=at, instead=instead)
        with suppress(Killed, OutcomeUnknown):
            await sync_rows(scene, REVISIONS[wanted], wanted, database=dying)
        happened = len(dying.calls) >= at
        await assert_never_claims_too_much(scene, REVISIONS, foreign)
        is_back = then == "goes back" and happened

        next_one = Mortal(scene.database, scene.collection, instead=None)
        found = was if is_back else wanted
        await sync_rows(scene, REVISIONS[found], found, database=next_one)

        await assert_whole(scene, REVISIONS[found], found, foreign)
        if not is_back:
            # Two parts are written at a time; whatever else was written stays so.
            assert len(await parts_written_twice(scene, dying, next_one)) <= 2
            was, wanted = wanted, was
    assert at > 35
    assert await scene.remove_all() == len(A)
    assert await scene.stored() == foreign


async def test_another_operator_may_write_the_set_between_any_two_calls(scene, foreign, clock):
    """As when a node was thought dead. The other one still reads an older revision of the source, and what the former
    one was just sending arrives last.
    """
    outcomes = set()
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
        late = []

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


async def assert_finished(scene: Scene, rows: list[JsonObject], revision: str, foreign, clock: Clock) -> None:
    """The next pass puts right what arrived late, and one that comes later still says that all is written."""
    await sync_rows(scene, rows, revision, writer="one")
    clock.seconds += diff.LATE_SECONDS
    await sync_rows(scene, rows, revision, writer="one")
    await assert_whole(scene, rows, revision, foreign)
