"""How much room a second copy takes, from what is declared and what the server says of the first."""

from typing import Any

import pytest

from unit.collections.specs import declare
from vectorops.collections.resolve import Desired
from vectorops.collections.room import describe_bytes, estimate_room
from vectorops.qdrant.database import StoredSizes
from vectorops.qdrant.observe import Observed

# Half of the points are on this node; each has 16 bytes in "text", 4 in "small", 100 in "rows", and 50 of payload.
SIZES = StoredSizes(500, {"text": 500, "small": 500, "rows": 500}, 500 * 120, 500 * 50)
TEXT = {"name": "text", "size": 4}
SMALL = {"name": "small", "size": 4, "datatype": "uint8"}
ROWS: dict[str, Any] = {"name": "rows", "size": 4, "multivector": {"comparator": "max_sim"}}


def observed_as(declared: Desired, points: int = 1000) -> Observed:
    return Observed(
        "zoo",
        exists=True,
        vectors=declared.vectors,
        sparse_vectors=declared.sparse_vectors,
        config=declared.config,
        points=points,
    )


OLD = observed_as(declare(vectors=[TEXT, SMALL, ROWS]))


@pytest.mark.parametrize(
    ("vectors", "a_point"),
    [
        ([TEXT, SMALL, ROWS], 120),
        ([{"name": "text", "size": 8}, SMALL], 36),
        ([{"name": "text", "size": 8, "datatype": "float16"}, ROWS], 116),
        ([{"name": "other", "size": 100}], 400),
    ],
    ids=["the same", "another size", "another datatype", "another name"],
)
def test_vectors_are_counted_by_their_size_and_others_as_they_are_stored(vectors, a_point):
    room = estimate_room(declare(vectors=vectors), OLD, SIZES)

    assert (room.points, room.vector_bytes, room.payload_bytes) == (1000, 1000 * a_point, 1000 * 50)
    assert room.bytes == 1000 * (a_point + 50)
    assert (room.unknown, room.refusal) == ((), "")


def test_a_vector_that_few_points_have_is_counted_for_them_alone():
    few = StoredSizes(500, {"text": 50, "small": 500, "rows": 500}, 50 * 16 + 500 * 104, 0)

    room = estimate_room(declare(vectors=[{"name": "text", "size": 8}]), OLD, few)

    assert room.vector_bytes == 100 * 32


def test_replicas_are_counted():
    room = estimate_room(declare(vectors=[TEXT], params={"replication_factor": 3}), OLD, SIZES)

    assert room.bytes == 3 * 1000 * (16 + 50)


def test_what_nobody_tells_is_named():
    new = declare(vectors=[TEXT, ROWS], sparseVectors=[{"name": "terms"}])

    unasked = estimate_room(new, OLD, None)
    asked = estimate_room(new, OLD, SIZES)

    assert unasked.unknown == ('vector "rows"', 'vector "terms"', "payloads")
    assert (unasked.vector_bytes, unasked.payload_bytes) == (1000 * 16, None)
    assert unasked.words == '1,000 points, at least 15.6 KiB, and not counted: vector "rows", vector "terms", payloads'
    assert asked.unknown == ('vector "terms"',)
    assert estimate_room(new, observed_as(new, points=0), None).words == "0 points, at least 0 B"


@pytest.mark.parametrize(
    ("limit", "enough"),
    [
        ("max_points_count", 1000),
        ("max_collection_vector_size_bytes", 120_000),
        ("max_collection_payload_size_bytes", 50_000),
    ],
)
def test_a_limit_of_strict_mode_refuses_what_does_not_fit(limit, enough):
    def room(value: int, **more: Any) -> Any:
        return estimate_room(declare(vectors=[TEXT, SMALL, ROWS], strictModeConfig={limit: value, **more}), OLD, SIZES)

    assert room(enough, enabled=True).refusal == ""
    assert room(1, enabled=False).refusal == ""
    assert f"{limit} is {enough - 1:,}, and {enough:,} are needed: raise it" in room(enough - 1, enabled=True).refusal


def test_bytes_have_a_unit():
    assert [describe_bytes(n) for n in (0, 1023, 1024, 1.5 * 2**30, 3 * 2**40)] == [
        "0 B",
        "1023 B",
        "1.0 KiB",
        "1.5 GiB",
        "3.0 TiB",
    ]
