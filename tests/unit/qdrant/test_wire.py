"""Ids and vectors through Qdrant's JSON and back."""

import uuid
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from vectorops.errors import Rejected
from vectorops.qdrant import wire
from vectorops.qdrant.database import UNNAMED, PayloadChange, PointData

finite = st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(arrays.arrays(np.float32, st.integers(1, 20), elements=finite))
def test_every_finite_float32_survives_json(vector):
    raw = orjson.loads(wire.dumps(wire.vectors_json({UNNAMED: vector})))

    read: Any = wire.parse_vectors(raw)[UNNAMED]
    assert np.array_equal(read, vector)


@given(st.integers(0, 2**64 - 1) | st.uuids())
def test_every_id_survives_json(point_id):
    assert wire.parse_id(orjson.loads(wire.dumps(wire.id_json(point_id)))) == point_id


def test_whole_numbers_are_written_as_floats():
    rows = np.array([[1, 2], [3, 4]], dtype=np.float32)

    assert b"[[1.0,2.0],[3.0,4.0]]" in wire.point_json(PointData(1, {"tokens": rows}))


def test_a_change_is_one_object_in_which_null_removes():
    assert wire.payload_patch(PayloadChange(1, put={"a": 1}, remove=["b"])) == {"a": 1, "b": None}
    assert not wire.puts_null(PayloadChange(1, put={"a": {"b": None}}, remove=["c"]))
    assert wire.puts_null(PayloadChange(1, put={"a": None}))


@pytest.mark.parametrize("value", [2**64, -(2**63) - 1, "\ud800", {1, 2}, uuid])
def test_what_json_cannot_hold_is_refused_without_being_quoted(value):
    with pytest.raises(Rejected, match="cannot be written as JSON") as refused:
        wire.dumps({"key": value})

    assert "18446744073709551616" not in refused.value.message
