"""A set of 200 points from a source, in four parts of which two are written at a time, and a kill at every writing call.

What the next process finds is never a ledger that claims more than what is stored; what it leaves is as declared.
"""

from contextlib import suppress
from pathlib import Path

import pytest

from integration.points import sourced
from integration.points.scene import Frozen, Killed, Scene, answer_lost, killed_after, killed_before, point
from integration.points.sourced import (
    Mortal,
    open_windows,
    parts_written_twice,
    revision_of,
    sync_rows,
)
from vectorops.api.meta import JsonObject
from vectorops.api.reasons import Reason
from vectorops.errors import OutcomeUnknown, Transient
from vectorops.ledger.lifecycle import read_all_parts
from vectorops.points import staging

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


@pytest.fixture
async def foreign(scene: Scene, small_parts) -> dict[int, Frozen]:
    """A point of somebody else's."""
    return {FOREIGN: await scene.stranger(FOREIGN, [0.1, 0.2, 0.3], by="stranger", n=[1.5, {}])}


async def assert_whole(scene: Scene, folder: Path, rows: list[JsonObject], revision: str, foreign) -> None:
    """Exactly the rows are stored, beside the foreign points; the ledger says so, and the next pass writes nothing."""
    expected = await scene.expected(*rows)
    assert await scene.stored() == {**expected, **foreign}
    parts = await read_all_parts(scene.store())
    assert [part.pending for part in parts] == [None] * len(parts)
    assert {id for part in parts for id in part.entries} == expected.keys()
    assert await revision_of(scene) == revision
    assert await scene.records() == 1 + 2 * len(parts)
    idle = Mortal(scene.database, scene.collection, instead=None)
    synced = await sync_rows(scene, folder, rows, revision, database=idle, writer=parts[0].token)
    assert idle.calls == []
    assert synced.unchanged == len(rows)


async def assert_never_claims_too_much(scene: Scene, whole: dict[str, list[JsonObject]], foreign) -> None:
    """Whenever the ledger has a revision, exactly the rows of that revision are stored: a look at the source that finds
    the same one goes no further.
    """
    claimed = await revision_of(scene)
    if claimed:
        assert await scene.stored() == {**await scene.expected(*whole[claimed]), **foreign}
        assert await open_windows(scene) == []


REVISIONS = {"a": A, "b": B}


@pytest.mark.parametrize(
    ("instead", "then"), [(killed_before, "goes back"), (killed_after, "goes on"), (answer_lost, "goes back")]
)
async def test_killed_at_any_call_the_next_process_makes_the_points_as_the_source_has_them(
    scene, foreign, tmp_path, instead, then
):
    """The source may have gone back to its old revision meanwhile: that one is no longer written whole."""
    was, wanted = "a", "b"
    await sync_rows(scene, tmp_path, REVISIONS[was], was)
    at, happened = 0, True
    while happened:
        at += 1
        dying = Mortal(scene.database, scene.collection, at=at, instead=instead)
        with suppress(Killed, OutcomeUnknown):
            await sync_rows(scene, tmp_path, REVISIONS[wanted], wanted, database=dying)
        happened = len(dying.calls) >= at
        await assert_never_claims_too_much(scene, REVISIONS, foreign)
        is_back = then == "goes back" and happened

        next_one = Mortal(scene.database, scene.collection, instead=None)
        found = was if is_back else wanted
        await sync_rows(scene, tmp_path, REVISIONS[found], found, database=next_one)

        await assert_whole(scene, tmp_path, REVISIONS[found], found, foreign)
        if not is_back:
            # Two parts are written at a time; whatever else was written stays so.
            assert len(await parts_written_twice(scene, dying, next_one)) <= 2
            was, wanted = wanted, was
    assert at > 35
    assert await scene.remove_all() == len(A)
    assert await scene.stored() == foreign


@pytest.mark.parametrize("other", ["a", "b"])
async def test_another_operator_may_write_the_set_between_any_two_calls(scene, foreign, tmp_path, other):
    """As when a node was thought dead. The other one may still read, or read again, an older revision of the source."""
    outcomes = set()
    await sync_rows(scene, tmp_path, A, "a")
    at, happened = 0, True
    while happened:
        at += 1

        async def other_first(call):
            await sync_rows(scene, tmp_path, REVISIONS[other], other)
            await assert_never_claims_too_much(scene, REVISIONS, foreign)
            await call()

        former = Mortal(scene.database, scene.collection, at=at, instead=other_first)
        try:
            await sync_rows(scene, tmp_path, B, "b", database=former)
            outcomes.add(None)
        except Transient as error:
            outcomes.add(error.reason)
        happened = len(former.calls) >= at
        print(at, former.calls[at - 1 : at], await open_windows(scene))
        await assert_never_claims_too_much(scene, REVISIONS, foreign)

        await sync_rows(scene, tmp_path, A, "a")

        await assert_whole(scene, tmp_path, A, "a", foreign)
    assert outcomes == {None, Reason.ANOTHER_WRITER}
    assert at > 35
