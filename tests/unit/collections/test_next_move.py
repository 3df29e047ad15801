"""What becomes of the collections behind an alias, told from what is there."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from vectorops.collections.next_move import (
    Abandon,
    Physical,
    Proceed,
    Retire,
    RollBack,
    Settle,
    Standing,
    Start,
    answered,
    next_move,
    parse_time,
    print_time,
    rolled_back_from,
)

NOW = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)


def at(hours: float) -> str:
    """So many hours ago."""
    return print_time(NOW - hours * HOUR)


A = Physical("docs-aa", "aa", fits=True, switched_at=at(100))
B = Physical("docs-bb", "bb", fits=True)


def standing(active: Physical = A, *others: Physical, **known: object) -> Standing:
    plain = Standing(active=active, others=others, is_direct=False, target="t1", roll_back="", now=NOW, grace=24 * HOUR)
    return replace(plain, **known)  # type: ignore[arg-type]


def test_what_is_as_declared_stays():
    assert next_move(standing()) == Settle()


def test_what_does_not_fit_is_made_beside():
    assert next_move(standing(replace(A, fits=False))) == Start()


def test_a_collection_that_has_the_declared_name_itself_is_replaced_by_one_behind_an_alias():
    assert next_move(standing(A, is_direct=True)) == Start()
    assert next_move(standing(A, B, is_direct=True)) == Proceed("docs-bb")


def test_one_that_fits_is_filled():
    assert next_move(standing(replace(A, fits=False), B)) == Proceed("docs-bb")


def test_one_that_never_served_and_fits_no_more_goes_first():
    third = replace(B, name="docs-cc", fits=False)

    assert next_move(standing(replace(A, fits=False), third)) == Abandon(("docs-cc",))
    assert next_move(standing(A, B)) == Abandon(("docs-bb",))
    # Two processes may have made one each.
    assert next_move(standing(replace(A, fits=False), B, replace(B, name="docs-cc"))) == Abandon(("docs-cc",))


def test_the_old_one_stays_for_its_grace_period():
    old, new = replace(A, fits=False), replace(B, switched_at=at(1))

    assert next_move(standing(new, old)) == Settle(NOW + 23 * HOUR)
    assert next_move(standing(replace(new, switched_at=at(24)), old)) == Retire("docs-aa")
    assert next_move(standing(new, old, grace=timedelta())) == Retire("docs-aa")


def test_a_change_need_not_wait_for_an_old_collection_that_is_kept():
    old, new = replace(A, fits=False), replace(B, fits=False, switched_at=at(25))

    assert next_move(standing(new, old)) == Retire("docs-aa")
    assert next_move(standing(new, old), retires=False) == Start()
    back = replace(A, fits=False, switched_at=at(25), rolled_back=rolled_back_from("t1"))
    assert next_move(standing(back, replace(B, switched_at=at(26))), retires=False) == Proceed("docs-bb")


def test_a_declaration_that_comes_back_within_the_grace_period_finds_the_old_one():
    assert next_move(standing(replace(B, fits=False, switched_at=at(1)), A)) == Proceed("docs-aa")


def test_the_one_that_served_last_is_preferred():
    newer = replace(A, name="docs-cc", switched_at=at(1))

    assert next_move(standing(replace(B, fits=False, switched_at=at(0)), newer, A)) == Proceed("docs-cc")


@pytest.mark.parametrize("asked", ["bb", "aa", ""])
def test_readers_are_moved_back_from_the_incarnation_that_is_named(asked):
    old, new = replace(A, fits=False), replace(B, switched_at=at(1))

    move = next_move(standing(new, old, roll_back=asked))

    assert move == (RollBack("docs-aa") if asked == "bb" else Settle(NOW + 23 * HOUR))


def test_there_is_no_way_back_to_one_that_is_gone_or_never_served():
    new = replace(B, switched_at=at(1))

    assert next_move(standing(new, roll_back="bb")) == Settle()
    assert next_move(standing(new, replace(A, switched_at="", fits=False), roll_back="bb")) == Abandon(("docs-aa",))


def test_a_way_back_that_was_taken_is_not_taken_again_when_readers_return():
    old, new = replace(A, fits=False), replace(B, switched_at=at(1), rolled_back=answered("bb"))

    assert next_move(standing(new, old, roll_back="bb")) == Settle(NOW + 23 * HOUR)


def test_after_the_way_back_the_new_one_is_kept_for_a_grace_period():
    back = replace(A, fits=False, switched_at=at(1), rolled_back=rolled_back_from("t1"))
    new = replace(B, switched_at=at(2))

    assert standing(back, new).is_rolled_back
    assert next_move(standing(back, new)) == Proceed("docs-bb")
    assert next_move(standing(replace(back, switched_at=at(25)), new)) == Retire("docs-bb")
    # Another declaration is another migration.
    assert not standing(back, new, target="t2").is_rolled_back


def test_a_time_that_somebody_damaged_is_long_ago():
    assert parse_time("yesterday") < NOW
    assert parse_time(print_time(NOW)) == NOW
