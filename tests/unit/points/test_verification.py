"""Which points are compared at one look, and what is remembered of a set."""

from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from vectorops.api.meta import Ref
from vectorops.ledger.entries import TOMBSTONE, UNKNOWN, Entry
from vectorops.ledger.records import Ledger
from vectorops.points import verification
from vectorops.points.fingerprints import unpredicted
from vectorops.points.verification import SHARE_POINTS, Remembered, Verification, agrees, digest, share
from vectorops.qdrant.database import PointId

NAMES = ("image", "text")
ENTRIES: dict[PointId, Entry] = {1: Entry(100, (200, 300)), UUID(int=2): Entry(101, (201, 301))}


def remembered(generation: int = 1) -> Remembered:
    return Remembered("uid", generation, {}, {}, frozenset(), entries=0, following=0)


@given(st.integers(1, 5000), st.data())
def test_the_shares_of_some_looks_in_a_row_are_all_points(count, data):
    following = data.draw(st.integers(0, count - 1))
    looks = -(-count // SHARE_POINTS)
    compared: set[int] = set()

    for _ in range(looks):
        positions, following = share(following, count)
        assert len(positions) == min(SHARE_POINTS, count)
        compared.update(positions)

    assert compared == set(range(count))


def test_a_ledger_agrees_with_what_was_written_and_with_numbers_that_came_back_otherwise_than_predicted():
    odd: dict[PointId, Entry] = {1: Entry(unpredicted(100), (200, unpredicted(300))), UUID(int=2): ENTRIES[UUID(int=2)]}

    assert agrees(Ledger(NAMES, dict(ENTRIES)), ENTRIES)
    assert agrees(Ledger(NAMES, odd), ENTRIES)


def test_a_ledger_that_says_anything_else_of_a_point_does_not_agree():
    first = UUID(int=2)
    others: list[dict[PointId, Entry]] = [
        {1: ENTRIES[1]},
        {**ENTRIES, 3: ENTRIES[1]},
        {**ENTRIES, first: Entry(UNKNOWN, (201, 301))},
        {**ENTRIES, first: Entry(101, (201, 302))},
        {**ENTRIES, first: Entry(TOMBSTONE, (TOMBSTONE, TOMBSTONE))},
    ]
    for other in others:
        assert not agrees(Ledger(NAMES, other), ENTRIES), other


def test_a_digest_tells_entries_from_others_whatever_their_order():
    others: list[dict[PointId, Entry]] = [
        {**ENTRIES, 1: Entry(100, (200, 301))},
        {1: ENTRIES[UUID(int=2)], UUID(int=2): ENTRIES[1]},
    ]

    assert digest(ENTRIES, NAMES) == digest(dict(reversed(ENTRIES.items())), NAMES)
    assert all(digest(ENTRIES, NAMES) != digest(other, NAMES) for other in others)


def test_another_object_of_the_name_or_another_generation_is_not_what_is_remembered():
    memory, ref = Verification(), Ref("PointSet", "library", "books")
    memory.remember(ref, remembered(generation=2))

    assert memory.known(ref, "uid", 2) is not None
    assert memory.known(ref, "uid", 3) is None
    assert memory.known(ref, "another", 2) is None


def test_no_more_sets_are_remembered_than_there_is_room_for(monkeypatch):
    monkeypatch.setattr(verification, "SETS_REMEMBERED", 2)
    memory, refs = Verification(), [Ref("PointSet", "library", name) for name in "abc"]

    for ref in refs:
        memory.remember(ref, remembered())

    assert [memory.known(ref, "uid", 1) is not None for ref in refs] == [False, True, True]
