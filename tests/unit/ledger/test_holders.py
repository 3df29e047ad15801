"""What the ledgers of other sets say of some points. How they are searched is proved in tests/integration/points."""

from typing import Any, cast

import pytest

from vectorops.api.meta import JsonObject, Ref
from vectorops.ledger.entries import ABSENT, TOMBSTONE, EntriesById, Entry
from vectorops.ledger.holders import Holders, find_holders, read_claims, read_whole_ledgers
from vectorops.ledger.records import LedgerKey, Slot, base_record, head_record, record_id, slot_record
from vectorops.ledger.store import LedgerStore
from vectorops.qdrant.database import Database, PointId, StoredPoint

KEY = LedgerKey("prod", Ref("PointSet", "search", "docs"), "documents", "0123456789abcdef")
NAMES = ("a", "b")
CATS = "prod/search/cats/documents/0123456789abcdef"
DOGS = "prod/search/dogs/documents/0123456789abcdef"
OWNERS = {CATS: "prod/search/cats", DOGS: "prod/search/dogs"}


def records(*, through: int = 0, sequence: int = 0) -> tuple[JsonObject, JsonObject]:
    """A base with point 1, and a slot that creates 2 and deletes 1."""
    base = base_record({1: Entry(20, (21, ABSENT))}, NAMES, through)
    window: EntriesById = {2: Entry(30, (31, 32)), 1: Entry(TOMBSTONE, (TOMBSTONE, TOMBSTONE))}
    slot = slot_record(Slot(sequence, window, frozenset()), NAMES)
    return {"format": 1, **base}, {"format": 1, **slot}


def test_a_set_claims_what_it_owns_and_is_about_to_create_but_not_what_it_is_deleting():
    ids = frozenset({1, 2, 3})
    assert read_claims(*records(through=3, sequence=3), ids) == ({1}, set())
    assert read_claims(*records(through=3, sequence=4), ids) == ({2}, {1, 2})
    assert read_claims(*records(through=3, sequence=4), frozenset({1})) == (set(), {1})


def page(in_base: JsonObject, in_head: JsonObject | None = None):
    """Ledgers of two sets; what is given stands in a record of the first."""
    base, slot = records()
    head = {"format": 1, **head_record(NAMES, rebuilt=False, deletion_policy="Delete")}
    stored: dict[PointId, JsonObject] = {}
    for key in OWNERS:
        stored |= {record_id(key, "head"): head, record_id(key, "base"): base, record_id(key, "slot"): slot}
    stored[record_id(CATS, "base")] = base | in_base
    stored[record_id(CATS, "head")] = head | (in_head or {})
    return read_whole_ledgers(OWNERS, stored, frozenset({1}))


@pytest.mark.parametrize(
    "junk",
    [
        {"format": 2},
        {"format": None},
        {"u64": 7},
        {"u64": "!"},
        {"u64": "AAAA"},
        {"uuid": None},
        {"width": "wide"},
        {"width": -2},
        {"width": 10**30},
        {"through": "late"},
        {"through": None},
        {"through": [1]},
    ],
    ids=str,
)
def test_a_ledger_that_cannot_be_read_may_hold_any_point_and_hides_no_other(junk):
    found = page(junk)

    assert found.unreadable == {record_id(CATS, "base"): "prod/search/cats"}
    assert found.held == {1: "prod/search/dogs"}


@pytest.mark.parametrize("junk", [{"format": 3}, {"format": None}, {"generation": "x"}], ids=str)
def test_a_ledger_whose_head_cannot_be_read_may_hold_any_point(junk):
    found = page({}, junk)

    assert found.unreadable == {record_id(CATS, "head"): "prod/search/cats"}
    assert found.held == {1: "prod/search/dogs"}
    assert "prod/search/cats" in found.explain_unreadable("search")


def test_ledgers_that_can_be_read_say_who_holds_a_point():
    assert page({}).held == {1: "prod/search/dogs"}
    assert page({}).unreadable == {}


def test_a_ledger_of_which_half_is_gone_may_hold_any_point_and_one_that_is_gone_holds_none():
    base, _ = records()

    half = read_whole_ledgers({CATS: "prod/search/cats"}, {record_id(CATS, "base"): base}, frozenset({1}))
    gone = read_whole_ledgers({CATS: "prod/search/cats"}, {}, frozenset({1}))

    assert len(half.unreadable) == 1
    assert gone.unreadable == {}


@pytest.mark.parametrize(
    ("owner", "stated"),
    [
        *((owner, {}) for owner in ("somebody", "prod/cats", "", None, 7)),
        ("prod/search/cats", {"bits": 2, "generation": 1, "n": 3}),
        ("prod/search/cats", {"bits": "x", "n": []}),
    ],
)
async def test_a_record_that_does_not_stand_where_it_should_may_hold_any_point(owner, stated):
    record = record_id(f"{owner}/{KEY.collection}/{KEY.incarnation}", "base")

    class Played:
        async def scroll(self, *_: Any, **__: Any) -> list[StoredPoint]:
            payload = {"key": f"{owner}/{KEY.collection}/{KEY.incarnation}", "owner": owner, **stated}
            return [StoredPoint(record, payload, {})]

    found = await find_holders(LedgerStore(cast("Database", Played()), "ledgers", KEY, "me"), [1])

    assert (found.held, len(found.unreadable)) == ({}, 1)


@pytest.mark.parametrize(
    ("owner", "words"),
    [
        ("prod/search/dogs", "record 7 of prod/search/dogs"),
        ("test/search/dogs", "record 7 of test/search/dogs"),
        ("prod/rival/dogs", "record 7 of another namespace"),
        ("prod/rival/search", "record 7 of another namespace"),
        ("search/rival/dogs", "record 7 of another namespace"),
        ("prod/rival", "record 7 of an unknown set"),
        ("", "record 7 of an unknown set"),
    ],
)
def test_a_record_that_cannot_be_read_is_named_and_its_owner_only_in_the_same_namespace(owner, words):
    explained = Holders(unreadable={7: owner, 8: "prod/rival/birds"}).explain_unreadable("search")

    assert f"{words} and 1 more cannot be read" in explained
    assert "rival" not in explained
