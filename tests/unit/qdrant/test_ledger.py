"""The records of the ledger: what they hold, byte for byte, and what is made of them. How they are written is proved
in tests/integration/points.
"""

import base64
from dataclasses import replace
from typing import Any, cast
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vectorops.api.meta import JsonObject, Ref
from vectorops.qdrant.database import Database, PointId, StoredPoint
from vectorops.qdrant.ledger import (
    ABSENT,
    TOMBSTONE,
    UNKNOWN,
    Entries,
    Entry,
    LedgerKey,
    LedgerStore,
    _base,
    _claims,
    _head,
    _ledger,
    _pack,
    _pack_flags,
    _read_page,
    _unpack,
    _unpack_flags,
    align,
    hash_of,
    others,
    record_id,
)

KEY = LedgerKey("prod", Ref("PointSet", "search", "docs"), "documents", "0123456789abcdef")
U64 = st.integers(0, 2**64 - 1)
IDS = U64 | st.uuids()
NAMES = ("a", "b")
HASHES = [800872757, 3778980197, 3312246305]
"""Of 1, 258 and a UUID: published, since records are sought by them."""


def entries(width):
    return st.dictionaries(IDS, st.builds(Entry, U64, st.tuples(*[U64] * width)), max_size=20)


@given(st.integers(0, 4).flatmap(lambda width: st.tuples(st.just(width), entries(width))))
def test_entries_are_read_as_they_were_written(drawn):
    width, some = drawn
    assert _unpack(_pack(some, width), width) == some


@given(entries(1), st.data())
def test_flags_are_read_as_they_were_written(some, data):
    new = data.draw(st.sets(st.sampled_from(sorted(some, key=str))) if some else st.just(set()))
    assert _unpack_flags(_pack_flags(new, some), some) == new


def test_the_bytes_are_the_published_ones():
    uuid = UUID("00112233-4455-6677-8899-aabbccddeeff")

    packed = _pack({258: Entry(3, (4,)), 1: Entry(5, (6,)), uuid: Entry(7, (8,))}, 1)

    def rows(*numbers):
        return b"".join(number.to_bytes(8, "little") for number in numbers)

    assert base64.b64decode(packed["u64"]) == rows(1, 5, 6, 258, 3, 4)
    assert base64.b64decode(packed["uuid"]) == uuid.bytes + rows(7, 8)
    assert packed["width"] == 1
    assert packed["hashes"] == [-1, *sorted([hash_of(1), hash_of(258), hash_of(uuid)])]
    assert [hash_of(1), hash_of(258), hash_of(uuid)] == HASHES
    assert _pack({}, 1)["hashes"] == [-1]


def test_the_ids_of_the_records_are_the_published_ones():
    assert str(KEY) == "prod/search/docs/documents/0123456789abcdef"
    assert KEY.owner == "prod/search/docs"
    assert {kind: str(KEY.record_id(kind)) for kind in ("head", "base", "slot")} == {
        "head": "1ea013e8-722b-5df6-9bfc-bcc271b68342",
        "base": "a16890ee-b36d-5753-a2ec-2e6dbb22812c",
        "slot": "9b868b17-fb01-5a94-975b-ddf175fd8fe2",
    }


def test_a_record_of_another_width_tells_ids_only():
    """Left by somebody who was killed while the names of the vectors were being changed."""
    assert _unpack(_pack({1: Entry(20, (21,))}, 1), 2) == {1: Entry(20, (UNKNOWN, UNKNOWN))}


def test_an_entry_follows_the_names_of_the_vectors():
    assert align(Entry(20, (21, 22)), ("a", "b"), ("b", "c")) == Entry(20, (22, ABSENT))


def records(*, through=0, sequence=0, tokens=("w", "w", "w"), new=()):
    base = _base({1: Entry(20, (21, ABSENT))}, NAMES, through)
    window: Entries = {2: Entry(30, (31, 32)), 1: Entry(TOMBSTONE, (TOMBSTONE, TOMBSTONE))}
    slot = {"kind": "slot", "sequence": sequence, "state": "open", "new": _pack_flags(new, window), **_pack(window, 2)}
    found = (_head(NAMES, rebuilt=False, deletion_policy="Delete"), base, slot)
    return [{**record, "token": token} for record, token in zip(found, tokens, strict=True)]


def test_a_window_is_open_while_its_sequence_is_above_the_base():
    assert _ledger(*records(through=3, sequence=3)).pending is None
    pending = _ledger(*records(through=3, sequence=4, new={2})).pending
    assert pending is not None
    assert pending.entries.keys() == {1, 2}
    assert pending.new == {2}


def test_an_open_window_tells_which_fingerprints_are_those_of_texts():
    head, base, slot = records(through=3, sequence=4)
    flags = _pack_flags({2}, _unpack(slot, 2))

    with_texts, from_before = (_ledger(head, base, slot | more).pending for more in ({"texts": {"b": flags}}, {}))

    assert with_texts is not None
    assert with_texts.texts == {"b": {2}}
    assert from_before is not None
    assert from_before.texts == {}


def test_only_the_records_of_a_set_with_a_shard_key_speak_of_one():
    """All others keep their bytes."""
    plain = LedgerStore(cast("Any", None), "ledger", KEY, "me")
    sharded = replace(plain, shard_key="acme")
    head = _head(NAMES, rebuilt=False, deletion_policy="Delete")

    assert list(plain._record(head).payload)[:6] == ["format", "key", "owner", "collection", "incarnation", "token"]
    assert "shard_key" not in plain._record(head).payload
    assert sharded._record(head).payload == plain._record(head).payload | {"shard_key": "acme"}
    assert sharded._record(head).id == plain._record(head).id


def test_a_ledger_tells_its_shard_key():
    head, base, slot = records(through=3, sequence=3)

    assert _ledger(head, base, slot).shard_key == ""
    assert _ledger(head | {"shard_key": "acme"}, base, slot).shard_key == "acme"


@pytest.mark.parametrize("tokens", [("w", "v", "w"), ("v", "w", "w"), ("w", "w", "v")])
def test_nobody_is_the_writer_while_the_records_have_different_tokens(tokens):
    """Killed while taking them: whoever has some of them must take them all again."""
    assert _ledger(*records(tokens=tokens)).token == ""
    assert _ledger(*records()).token == "w"


@settings(deadline=None)
@given(entries(2), st.data())
def test_of_the_entries_those_of_some_ids_can_be_read_alone(some, data):
    wanted = frozenset(data.draw(st.lists(IDS | st.sampled_from(sorted(some, key=str) or [1]), max_size=10)))

    assert _unpack(_pack(some, 2), 2, only=wanted) == {id: entry for id, entry in some.items() if id in wanted}


def test_a_set_claims_what_it_owns_and_is_about_to_create_but_not_what_it_is_deleting():
    ids = frozenset({1, 2, 3})
    _, base, slot = records(through=3, sequence=3)
    assert _claims(base, slot, ids) == ({1}, set())
    _, base, slot = records(through=3, sequence=4)
    assert _claims(base, slot, ids) == ({2}, {1, 2})
    assert _claims(base, slot, frozenset({1})) == (set(), {1})


CATS = "prod/search/cats/documents/0123456789abcdef"
DOGS = "prod/search/dogs/documents/0123456789abcdef"


def page(**junk):
    """Ledgers of two sets; what is given stands in the base of the first."""
    _, base, slot = ({"format": 1, **record} for record in records())
    stored: dict[PointId, JsonObject] = {}
    for key in (CATS, DOGS):
        stored |= {record_id(key, "base"): base, record_id(key, "slot"): slot}
    stored[record_id(CATS, "base")] = base | junk
    return _read_page({CATS: "prod/search/cats", DOGS: "prod/search/dogs"}, stored, frozenset({1}))


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
    found = page(**junk)

    assert found.unreadable == (f"record {record_id(CATS, 'base')} of prod/search/cats",)
    assert found.held == {1: "prod/search/dogs"}


def test_ledgers_that_can_be_read_say_who_holds_a_point():
    assert page().held == {1: "prod/search/dogs"}
    assert page().unreadable == ()


def test_a_ledger_of_which_half_is_gone_may_hold_any_point_and_one_that_is_gone_holds_none():
    base = {"format": 1, **records()[1]}

    half = _read_page({CATS: "prod/search/cats"}, {record_id(CATS, "base"): base}, frozenset({1}))
    gone = _read_page({CATS: "prod/search/cats"}, {}, frozenset({1}))

    assert len(half.unreadable) == 1
    assert gone.unreadable == ()


@pytest.mark.parametrize("owner", ["somebody", "prod/cats", "", None, 7])
async def test_a_record_of_what_is_no_set_may_hold_any_point(owner):
    record = record_id(f"{owner}/{KEY.collection}/{KEY.incarnation}", "base")

    class Played:
        async def scroll(self, *_: Any, **__: Any) -> list[StoredPoint]:
            payload = {"key": f"{owner}/{KEY.collection}/{KEY.incarnation}", "owner": owner}
            return [StoredPoint(record, payload, {})]

    found = await others(cast("Database", Played()), "ledgers", KEY, [1])

    assert (found.held, len(found.unreadable)) == ({}, 1)
