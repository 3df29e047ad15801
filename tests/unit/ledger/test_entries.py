"""Entries in arrays: the same as a dict of them, and hashes that are the published ones."""

from uuid import UUID

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from xxhash import xxh3_64_intdigest

from vectorops.ledger import entries as module
from vectorops.ledger.entries import ABSENT, UNKNOWN, Entries, Entry, hash_ids, part_numbers

U64 = st.integers(0, 2**64 - 1)
CLOSE = st.integers(0, 7).map(lambda last: UUID(int=(1 << 100) + last))
"""UUIDs that have their first half in common."""
IDS = U64 | st.uuids() | CLOSE


def some_entries(width):
    return st.dictionaries(IDS, st.builds(Entry, U64, st.tuples(*[U64] * width)), max_size=20)


WITH_WIDTH = st.integers(0, 3).flatmap(lambda width: st.tuples(st.just(width), some_entries(width)))


@settings(deadline=None)
@given(WITH_WIDTH)
def test_entries_are_a_mapping_in_the_order_of_the_ids(drawn):
    width, some = drawn
    entries = Entries.of(some, width)

    numbers = sorted(id for id in some if isinstance(id, int))
    assert list(entries) == [*numbers, *sorted(id for id in some if isinstance(id, UUID))]
    assert entries == some
    assert entries == Entries.of(dict(reversed(some.items())), width)
    assert dict(entries) == some
    assert len(entries) == len(some)


@settings(deadline=None)
@given(WITH_WIDTH)
def test_entries_are_read_as_they_were_written(drawn):
    width, some = drawn
    assert Entries.decode(*Entries.of(some, width).encode(), width) == some


@settings(deadline=None)
@given(some_entries(2), st.data())
def test_entries_of_some_ids_are_found(some, data):
    wanted = set(data.draw(st.lists(IDS | st.sampled_from(sorted(some, key=str) or [1]), max_size=10)))
    entries = Entries.of(some, 2)

    assert entries.only(wanted) == {id: entry for id, entry in some.items() if id in wanted}
    assert entries.without(wanted) == {id: entry for id, entry in some.items() if id not in wanted}
    assert entries.flags(wanted).tolist() == [id in wanted for id in entries]


@settings(deadline=None)
@given(some_entries(2), some_entries(2), st.data())
def test_newer_entries_take_the_place_of_older_ones(older, newer, data):
    again = data.draw(st.lists(st.sampled_from(sorted(older, key=str))) if older else st.just([]))
    newer |= {id: Entry(7, (8, 9)) for id in again}

    updated = Entries.of(older, 2).updated(Entries.of(newer, 2))

    assert updated == older | newer
    assert updated == Entries.of(older | newer, 2)


@settings(deadline=None)
@given(some=some_entries(1), asked=IDS)
def test_one_of_very_many_entries_is_found_without_reading_the_others(some, asked):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "LARGE", 1)
        entries = Entries.of(some, 1)

        assert entries.get(asked) == some.get(asked)
        assert [entries.get(id) for id in some] == list(some.values())


@settings(deadline=None)
@given(some_entries(1), st.integers(0, 5))
def test_parts_have_no_id_in_common_and_are_the_whole_together(some, bits):
    parts = Entries.of(some, 1).split(bits)

    assert len(parts) == 2**bits
    assert sum(map(len, parts)) == len(some)
    assert Entries.join(parts, 1) == Entries.of(some, 1)
    for number, part in enumerate(parts):
        assert part_numbers(part, bits) == [number] * len(part)


@settings(deadline=None)
@given(st.lists(IDS))
def test_hashes_are_those_of_xxhash(ids):
    expected = [xxh3_64_intdigest(id.to_bytes(8, "little") if isinstance(id, int) else id.bytes) for id in ids]

    assert hash_ids(ids) == expected
    entries = Entries.of(dict.fromkeys(ids, Entry(20, ())), 0)
    assert entries.hashes(32) == sorted({hashed >> 32 for hashed in expected})


@settings(deadline=None)
@given(some_entries(2))
def test_entries_follow_the_names_of_the_vectors(some):
    aligned = Entries.of(some, 2).align(("a", "b"), ("c", "b"))

    assert aligned == {id: Entry(payload, (ABSENT, b)) for id, (payload, (_, b)) in some.items()}
    assert Entries.of(some, 2).align(("a", "b"), ()) == {id: Entry(entry.payload, ()) for id, entry in some.items()}


def test_of_entries_with_another_number_of_vectors_nothing_is_known_but_the_payload():
    assert Entries.of({1: Entry(20, (21,))}, 1).fit(2) == {1: Entry(20, (UNKNOWN, UNKNOWN))}


def test_what_is_no_rows_is_refused():
    for text in ("!", "AAAA", "AAAAAAAAAAA="):
        with pytest.raises(ValueError):  # noqa: PT011 -- whoever reads a record catches all of them
            Entries.decode(text, "", 1)


def test_entries_cannot_be_changed_by_way_of_what_they_were_read_from():
    entries = Entries.decode(*Entries.of({1: Entry(20, (21,))}, 1).encode(), 1)

    with pytest.raises(ValueError, match="read-only"):
        entries.numbers[0, 0] = np.uint64(5)


@settings(deadline=None)
@given(st.integers(0, 2).flatmap(lambda width: st.tuples(st.just(width), some_entries(width), some_entries(width))))
def test_the_entries_that_two_have_in_common_are_found_in_one_step(drawn):
    width, one, other = drawn
    # Some of both, some with another fingerprint.
    both = dict(list(one.items())[::2])
    changed = {id: Entry(entry.payload ^ 1, entry.vectors) for id, entry in list(one.items())[1::4]}
    other = {**other, **both, **changed}

    of_one, of_other = Entries.of(one, width), Entries.of(other, width)

    found = set(of_one.chosen(*of_one.same_as(of_other)))
    in_common = {id for id, entry in one.items() if other.get(id) == entry}
    halves: dict[int, int] = {}
    for id in other:
        if isinstance(id, UUID):
            halves[id.int >> 64] = halves.get(id.int >> 64, 0) + 1
    # Of UUIDs with the same first half, only the first one of the other is compared.
    sure = {id for id in in_common if not isinstance(id, UUID) or halves[id.int >> 64] == 1}
    assert sure <= found <= in_common
    assert of_one.has_all_ids(of_other) == (other.keys() <= one.keys())
