"""What was staged of a source comes back, part by part, and whatever the rows."""

from uuid import UUID

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vectorops.ledger.entries import Entries, part_numbers
from vectorops.ledger.records import Ledger, Part, Slot
from vectorops.points import staging as module
from vectorops.points.block import Block, RowFailure
from vectorops.points.diff import entry_of
from vectorops.points.fingerprints import fingerprint_payload, fingerprint_text, fingerprint_vector
from vectorops.points.identity import point_id
from vectorops.points.schema import VectorSchema
from vectorops.points.staging import Staging
from vectorops.points.staging_folder import StagingFolder
from vectorops.vectors import Sparse

SCHEMA = {
    "dense": VectorSchema("dense", 3),
    "rows": VectorSchema("multivector", 2),
    "terms": VectorSchema("sparse"),
    "text": VectorSchema("dense", 4),
}
NAMES = tuple(sorted(SCHEMA))
IDS = st.integers(0, 2**64 - 1) | st.uuids()


@pytest.fixture
def space(tmp_path):
    with StagingFolder(tmp_path, 2**30).space() as space:
        yield space


def block(ids, **others):
    count = len(ids)
    given = {"numbers": range(1, count + 1), "shown_ids": [str(id) for id in ids], "payloads": [{}] * count}
    return Block(ids=ids, **(given | others))


def staged(space, *files, verifies=False, ranks=()):
    staging = Staging(space, SCHEMA, {"text": "model"})
    for number, blocks in enumerate(files):
        staging.begin(f"{number}.parquet", ranks[number] if ranks else 0)
        for each in blocks:
            staging.add(each)
    return staging.finish(verifies=verifies)


def all_points(source):
    return {id: point for part in Part(source.bits).siblings for id, point in source.declaration(part).points.items()}


def test_a_point_comes_back_with_all_that_it_has(space):
    sparse = Sparse(np.array([1, 7], dtype=np.uint32), np.array([0.5, 2], dtype=np.float32))
    rows = np.array([[1, 2], [3, 4], [5, 6]], dtype=np.float32)
    given = block(
        [7, UUID(int=8)],
        payloads=[{"a": 1.0, "b": [None, "x"]}, {}],
        vectors={
            "dense": np.array([[1, 2, 3], [-0.0, 5, 6]], dtype=np.float32),
            "rows": [rows, None],
            "terms": [None, sparse],
        },
        texts={"text": ["some text", None]},
    )

    points = all_points(staged(space, [given]))

    one, other = points[7], points[UUID(int=8)]
    assert (one.data.payload, other.data.payload) == ({"a": 1.0, "b": [None, "x"]}, {})
    assert one.data.vectors.keys() == {"dense", "rows"}
    assert other.data.vectors.keys() == {"dense", "terms"}
    assert np.array_equal(one.data.vectors["rows"], rows)
    assert np.array_equal(other.data.vectors["terms"].indices, sparse.indices)
    assert (one.texts, other.texts) == ({"text": "some text"}, {})
    assert one.payload == fingerprint_payload({"a": 1, "b": [None, "x"]})
    assert one.vectors == {
        "dense": fingerprint_vector(np.array([1, 2, 3], dtype=np.float32)),
        "rows": fingerprint_vector(rows),
        "text": fingerprint_text("some text", "model"),
    }


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sets(IDS, max_size=12), max_size=4), st.integers(0, 3))
def test_each_point_is_in_the_part_of_its_id_however_many_parts_the_ledger_has(tmp_path, sets, bits):
    ids = list(dict.fromkeys(id for some in sets for id in some))
    with StagingFolder(tmp_path, 2**30).space() as space:
        source = staged(space, [block(list(some)) for some in sets])

        for part in Part(bits).siblings:
            expected = {id for id, number in zip(ids, part_numbers(ids, bits), strict=True) if number == part.number}
            assert set(source.ids(part)) == expected == source.declaration(part).points.keys()
            some = list(expected)[::2]
            assert source.declaration(part, some).points.keys() == set(some)
        assert source.total == len(ids)


def test_a_batch_more_changes_nothing(space, monkeypatch):
    monkeypatch.setattr(module, "BATCH_BYTES", 1)
    monkeypatch.setattr(module, "POINTS_OF_A_PART", 4)
    payloads = [{"number": number} for number in range(40)]

    source = staged(space, [block(range(at, at + 10), payloads=payloads[at : at + 10]) for at in range(0, 40, 10)])

    assert source.bits == 4
    assert {id: point.data.payload["number"] for id, point in all_points(source).items()} == {
        id: id for id in range(40)
    }


def test_an_id_that_is_given_twice_is_called_as_it_was_declared(space):
    names = ["b", "a", "b"]
    rows = block([point_id(name) for name in names], shown_ids=names, payloads=[{"n": n} for n in range(3)])

    (failure,) = staged(space, [rows]).failures

    assert (failure.shown_id, failure.id) == ("b", point_id("b"))


def test_the_same_id_twice_is_one_point_if_its_content_is_equal_and_none_if_not(space):
    one = block([1, 2, 3], payloads=[{"a": 1}, {"a": 2}, {"a": 3}])
    again = block([3, 2], payloads=[{"a": 3}, {"a": 99}])

    source = staged(space, [one], [again])

    assert all_points(source).keys() == {1, 3}
    assert (source.total, source.failed, source.complete) == (3, 1, True)
    (failure,) = source.failures
    assert failure.id == 2
    assert failure.reason == "this id is declared with different content in 0.parquet, row 2, and 1.parquet, row 2"
    assert source.declaration(Part()).protected == {2}


def test_of_an_id_in_files_of_different_rank_that_of_the_highest_is_the_point(space):
    old, new = block([1, 2], payloads=[{"a": 1}, {"a": 2}]), block([2, 2], payloads=[{"a": 3}, {"a": 3}])

    source = staged(space, [new], [old], ranks=(5, 4))

    assert {id: point.data.payload for id, point in all_points(source).items()} == {1: {"a": 1}, 2: {"a": 3}}
    assert source.failed == 0


def test_a_row_that_failed_protects_its_id_and_one_without_an_id_protects_all(space):
    bad = [RowFailure(4, "column a: wrong", "2", 2), RowFailure(5, "column a: wrong", "2", 2)]
    given = block([1, 2], failures=bad)

    source = staged(space, [given])

    assert all_points(source).keys() == {1}
    assert (source.total, source.failed, source.complete) == (2, 1, True)
    assert source.failures[0].reason == "0.parquet, row 4: column a: wrong"
    assert source.declaration(Part()).protected == {2}
    assert not staged(space, [block([1], failures=[RowFailure(0, "no id")])]).complete


@pytest.mark.parametrize("bits", [0, 2])
def test_only_what_the_ledger_does_not_settle_is_compared(space, bits):
    source = staged(space, [block(range(8), payloads=[{"a": id} for id in range(8)])])
    to_be = {id: entry_of(point, NAMES) for id, point in all_points(source).items()}
    known = {**to_be, 1: entry_of(all_points(source)[2], NAMES), 99: to_be[5]}
    del known[3]

    compared, settled = set(), set()
    for number, some in enumerate(Entries.of(known, len(NAMES)).split(bits)):
        part = Part(bits, 1 if bits else 0, number)
        open_window = Slot(1, {4: to_be[4]}, frozenset()) if 4 in some else None
        declaration, entries = source.unsettled(part, Ledger(NAMES, some, pending=open_window, part=part))
        compared |= declaration.points.keys()
        settled |= set(entries)

    assert compared == {1, 3, 4}
    assert settled == {0, 2, 5, 6, 7}


def test_on_request_all_is_compared_whatever_the_ledger_says(space):
    source = staged(space, [block([1, 2])], verifies=True)
    known = {id: entry_of(point, NAMES) for id, point in all_points(source).items()}

    declaration, settled = source.unsettled(Part(), Ledger(NAMES, known))

    assert declaration.points.keys() == {1, 2}
    assert not settled
