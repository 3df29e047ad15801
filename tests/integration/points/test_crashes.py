"""A set's whole life, with something going wrong at every single writing call of it.

The calls are found by letting the life run once and counting. Whatever happens, and wherever: a process that is
started afterwards makes the world as declared, leaves nothing of its own behind, and never touches the stranger's
point, whose id the set claims all the time.
"""

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress

import pytest

from integration.points.scene import (
    Frozen,
    Killed,
    Scene,
    Watched,
    answer_lost,
    killed_after,
    killed_before,
    point,
    text_point,
)
from vectorops.api.meta import JsonObject
from vectorops.api.reasons import Reason
from vectorops.errors import OutcomeUnknown, Transient
from vectorops.points import embedding

pytestmark = [pytest.mark.timeout(600), pytest.mark.uncounted]
"""Each lives a life dozens of times."""

CONTESTED = 7
DOC = "doc"

CREATED = [
    point(1, text=[1, 0, 0], image=[1, 1], kind="cat"),
    point(2, text=[0, 1, 0], image=[2, 2], kind="dog", age=3),
    point(DOC, text=[0, 0, 1], image=[3, 3], kind="emu", gone="soon"),
    point(3, text=[0.1, 0.2, 0.3]),
    point(CONTESTED, text=[9, 9, 9], by="mine"),
]
CHANGED = [
    point(1, text=[0.5, 0, 0], image=[1, 1], kind="cat"),
    point(2, text=[0, 1, 0], image=[2, 2], kind="dog", age=4),
    point(DOC, text=[0, 0, 0.5], kind="emu", new={"a": [1, None]}),
    point(3, text=[0.1, 0.2, 0.3]),
    point(4, text=[4, 4, 4]),
    point(CONTESTED, text=[9, 9, 8], by="mine"),
]
SHRUNK = [CHANGED[1], CHANGED[4], CHANGED[5]]
LIFE = (CREATED, CHANGED, SHRUNK, None)
"""What is declared, step by step. None: the set is deleted."""

CREATED_TEXTS = [
    text_point(1, "one", kind="cat"),
    text_point(2, "two", image=[2, 2], kind="dog"),
    text_point(DOC, "three", kind="emu", gone="soon"),
    text_point(3, "four"),
    text_point(5, "five"),
    point(6, text=[6, 6, 6]),
    text_point(CONTESTED, "seven", by="mine"),
]
CHANGED_TEXTS = [
    text_point(1, "one, changed", kind="cat"),
    text_point(2, "two", image=[2, 3], kind="dog", age=4),
    text_point(DOC, "three, changed", kind="emu"),
    point(3, text=[4, 4, 4]),
    text_point(5, "five, changed"),
    text_point(6, "six"),
    text_point(4, "new"),
    text_point(CONTESTED, "seven, changed", by="mine"),
]
SHRUNK_TEXTS = [CHANGED_TEXTS[1], CHANGED_TEXTS[5], CHANGED_TEXTS[7]]
LIFE_OF_TEXTS = (CREATED_TEXTS, CHANGED_TEXTS, SHRUNK_TEXTS, None)
"""The same with texts, which are embedded in windows of two points."""
TO_EMBED: tuple[list[str], ...] = (
    ["five", "four", "one", "three", "two"],
    ["five, changed", "new", "one, changed", "six", "three, changed"],
    [],
    [],
)
"""What each of its steps must embed."""

Instead = Callable[[Callable[[], Awaitable[None]]], Awaitable[None]]

ONE_PART, FOUR_PARTS = ("rest", 0), ("rest", 2)
SERVER = pytest.mark.parametrize(("database", "bits"), [ONE_PART, FOUR_PARTS], indirect=["database"])
SERVER_AND_FOLDER = pytest.mark.parametrize(
    ("database", "bits"), [ONE_PART, FOUR_PARTS, ("embedded", 0)], indirect=["database"]
)


@pytest.fixture
async def scene(scene: Scene, bits: int) -> Scene:
    """The same with a ledger of one part, and of several."""
    scene.bits = bits
    return scene


async def step(scene: Scene, declared: list[JsonObject] | None, database: object = None) -> None:
    """What a process does that was just started."""
    if declared is None:
        await scene.remove_all(database=database)
    else:
        await scene.sync(*declared, database=database)


async def lives(
    scene: Scene, instead: Instead, life: tuple[list[JsonObject] | None, ...] = LIFE
) -> AsyncIterator[tuple[int, list[JsonObject] | None, Frozen]]:
    """Lives the life as often as it has calls, each time until `instead` happened at another of them.

    Yields the index of the step in which it happened, the step, and the stranger's point.
    """
    for number, declared in enumerate(life):
        at, happened = 0, True
        while happened:
            at += 1
            # Making the collection of the ledgers is part of the first step only.
            await scene.clear(keep_ledger_collection=number > 0)
            foreign = await scene.stranger(CONTESTED, [7, 7, 7], by="stranger")
            for earlier in life[:number]:
                await step(scene, earlier)
            scene.reader.taken()
            watched = Watched(scene.database, at=at, instead=instead)
            with suppress(Killed, OutcomeUnknown):
                await step(scene, declared, watched)
            happened = len(watched.calls) >= at
            yield number, declared, foreign
        # A step of which no call was found would prove nothing.
        assert at > 2


async def assert_world(scene: Scene, declared: list[JsonObject] | None, foreign: Frozen) -> None:
    """Exactly what is declared is stored, beside the stranger's point, and the ledger says the same."""
    expected = await scene.expected(*(one for one in declared or () if one["id"] != CONTESTED))
    stored = await scene.stored()
    assert stored == {**expected, CONTESTED: foreign}
    ledger = await scene.ledger()
    if declared is None:
        assert ledger is None
        assert await scene.records() == 0
        return
    if ledger is None:
        assert not expected
    else:
        assert ledger.pending is None
        assert ledger.entries.keys() == expected.keys()
    watched = Watched(scene.database)
    again = await scene.sync(*declared, database=watched)
    assert watched.calls == []
    assert again.unchanged == len(expected)
    assert dict(again.conflicts) == ({CONTESTED: ""} if CONTESTED in [one["id"] for one in declared] else {})


@SERVER_AND_FOLDER
@pytest.mark.parametrize("instead", [killed_before, killed_after, answer_lost])
async def test_killed_at_any_call_the_next_process_finishes_the_step(scene, instead):
    async for _, declared, foreign in lives(scene, instead):
        await step(scene, declared)

        await assert_world(scene, declared, foreign)


@SERVER_AND_FOLDER
@pytest.mark.parametrize("instead", [killed_before, killed_after, answer_lost])
async def test_killed_at_any_call_little_is_embedded_twice_and_nothing_is_lost(scene, instead, monkeypatch):
    monkeypatch.setattr(embedding, "WINDOW_POINTS", 2)
    async for number, declared, foreign in lives(scene, instead, LIFE_OF_TEXTS):
        await step(scene, declared)

        # Two windows were on the way at most: one being written, one being embedded.
        again = Counter(scene.reader.taken()) - Counter(TO_EMBED[number])
        assert again.total() <= 4
        assert set(again) <= set(TO_EMBED[number])
        await assert_world(scene, declared, foreign)
        assert scene.reader.taken() == []


@SERVER
async def test_killed_while_texts_are_embedded_the_next_process_embeds_the_rest(scene, monkeypatch):
    monkeypatch.setattr(embedding, "WINDOW_POINTS", 2)
    foreign = await scene.stranger(CONTESTED, [7, 7, 7], by="stranger")

    async def dies() -> None:
        raise Killed

    scene.reader.at_call = {2: dies}
    with pytest.raises(Killed):
        await scene.sync(*CREATED_TEXTS)
    first = scene.reader.taken()

    await scene.sync(*CREATED_TEXTS)

    assert len(first) == 2
    assert sorted([*first, *scene.reader.taken()]) == TO_EMBED[0]
    await assert_world(scene, CREATED_TEXTS, foreign)


@SERVER
@pytest.mark.parametrize("instead", [killed_before, killed_after])
async def test_killed_at_any_call_with_texts_the_next_process_may_find_another_declaration(scene, instead, monkeypatch):
    monkeypatch.setattr(embedding, "WINDOW_POINTS", 2)
    async for number, _, foreign in lives(scene, instead, LIFE_OF_TEXTS):
        then = [*LIFE_OF_TEXTS, []][number + 1]

        await step(scene, then)

        await assert_world(scene, then, foreign)


@SERVER
@pytest.mark.parametrize("instead", [killed_before, killed_after])
async def test_killed_at_any_call_the_next_process_may_find_another_declaration(scene, instead):
    """Git moved on while the operator was dead."""
    async for number, _, foreign in lives(scene, instead):
        then = [*LIFE, []][number + 1]

        await step(scene, then)

        await assert_world(scene, then, foreign)


@SERVER
@pytest.mark.parametrize("instead", [killed_before, killed_after])
async def test_killed_at_any_call_the_next_process_may_find_the_set_deleted(scene, instead):
    async for _, _, foreign in lives(scene, instead):
        await step(scene, None)

        await assert_world(scene, None, foreign)


@SERVER
async def test_killed_twice_in_a_row_the_third_process_finishes_the_step(scene):
    async for _, declared, foreign in lives(scene, killed_after):
        with suppress(Killed):
            await step(scene, declared, Watched(scene.database, at=2, instead=killed_after))

        await step(scene, declared)

        await assert_world(scene, declared, foreign)


@SERVER
async def test_a_write_that_arrives_after_we_went_on_does_no_harm(scene):
    """A timeout is no proof that a request is dead: it may be carried out when we have done more since."""
    for at in range(1, 8):
        await scene.clear()
        foreign = await scene.stranger(CONTESTED, [7, 7, 7], by="stranger")
        await scene.sync(*CREATED, writer="one")
        late: list[Callable[[], Awaitable[None]]] = []

        async def delayed(call: Callable[[], Awaitable[None]], late=late) -> None:
            late.append(call)
            raise OutcomeUnknown(Reason.UNREACHABLE, "timed out")

        watched = Watched(scene.database, at=at, instead=delayed)
        with suppress(OutcomeUnknown):
            await scene.sync(*CHANGED, database=watched, writer="one")
        await scene.sync(*CHANGED, point(5), writer="one")
        await scene.sync(*CHANGED, point(5), point(6), writer="one")
        for call in late:
            with suppress(Transient):
                await call()

        await scene.sync(*CHANGED, writer="one")

        await assert_world(scene, CHANGED, foreign)


@SERVER
async def test_another_process_may_do_the_same_between_any_two_calls(scene):
    """Two operators of one installation, as when a node was thought dead."""
    outcomes: set[Reason | None] = set()
    for number, declared in enumerate(LIFE[:3]):
        at, happened = 0, True
        while happened:
            at += 1
            await scene.clear()
            foreign = await scene.stranger(CONTESTED, [7, 7, 7], by="stranger")
            for earlier in LIFE[:number]:
                await step(scene, earlier)

            async def other_first(call: Callable[[], Awaitable[None]], declared=declared) -> None:
                await step(scene, declared)
                await call()

            watched = Watched(scene.database, at=at, instead=other_first)
            outcome = None
            try:
                await step(scene, declared, watched)
            except Transient as error:
                outcome = error.reason
            outcomes.add(outcome)
            happened = len(watched.calls) >= at
            await step(scene, declared)

            await assert_world(scene, declared, foreign)

    assert Reason.ANOTHER_WRITER in outcomes


@SERVER
@pytest.mark.parametrize("declares", [True, False], ids=["unasked", "given up"])
@pytest.mark.parametrize("first_is_killed", [False, True])
async def test_a_point_may_move_from_one_set_to_another_at_any_moment(scene, first_is_killed, declares):
    """One commit moves it; the two sets are reconciled in any order, even at once. Whoever takes it over may ask
    whether its holder still declares it.
    """

    async def given_up(owner, ids):
        assert owner == "here/default/first"
        return frozenset() if declares else frozenset(ids)

    keeps, moves = point(1, a=1), point(8, text=[8, 0, 0], of="first")
    moved = point(8, text=[8, 8, 0], of="second")
    at, happened = 0, True
    while happened:
        at += 1
        await scene.clear(keep_ledger_collection=True)
        await scene.sync(keeps, moves, owner="first")

        async def second_comes(call: Callable[[], Awaitable[None]]) -> None:
            await call()
            # What the first one has under way with the point is waited for.
            with suppress(Transient):
                await scene.sync(moved, owner="second", given_up=given_up)
            if first_is_killed:
                raise Killed

        watched = Watched(scene.database, at=at, instead=second_comes)
        with suppress(Killed):
            await scene.sync(keeps, owner="first", database=watched)
        happened = len(watched.calls) >= at
        second = await scene.ledger("second")
        await scene.sync(keeps, owner="first")

        if declares and second is not None and second.entries:
            assert await scene.stored() == await scene.expected(keeps, moved)
        await scene.sync(moved, owner="second")
        assert await scene.stored() == await scene.expected(keeps, moved)
        first, second = await scene.ledger("first"), await scene.ledger("second")
        assert first is not None
        assert second is not None
        assert (first.entries.keys(), second.entries.keys()) == ({1}, {8})
    assert at > 2


@SERVER
@pytest.mark.parametrize("instead", [killed_before, killed_after, answer_lost])
async def test_a_point_that_passes_to_another_set_is_there_all_the_time(scene, instead):
    """The set that takes it over is killed at any call; its former holder has not looked yet."""
    keeps, moves, stays = point(1, a=1), point(8, text=[8, 0, 0], of="first"), point(9, a=9)
    moved = point(8, text=[8, 8, 0], image=[8, 8], of="second")

    async def given_up(owner, ids):
        return frozenset(ids) if owner == "here/default/first" else frozenset()

    at, happened = 0, True
    while happened:
        at += 1
        await scene.clear(keep_ledger_collection=True)
        await scene.sync(keeps, moves, owner="first")
        await scene.sync(stays, owner="second")

        async def seen(call: Callable[[], Awaitable[None]]) -> None:
            assert 8 in await scene.stored()
            await instead(call)

        watched = Watched(scene.database, at=at, instead=seen)
        with suppress(Killed, OutcomeUnknown):
            await scene.sync(stays, moved, owner="second", database=watched, given_up=given_up)
        happened = len(watched.calls) >= at
        assert "delete_points" not in watched.calls

        first = await scene.sync(keeps, owner="first")
        if first.deleted:
            # It came before the second one had told that it takes the point.
            assert at <= 3
        await scene.sync(stays, moved, owner="second", given_up=given_up)

        assert await scene.stored() == await scene.expected(keeps, stays, moved)
        ledgers = [await scene.ledger(owner) for owner in ("first", "second")]
        assert [set(ledger.entries) for ledger in ledgers if ledger is not None] == [{1}, {8, 9}]
    assert at > 3
