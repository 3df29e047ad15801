"""Fingerprints of format 1. The fixed ones must never change: each change writes every point of every user again."""

import math

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vectorops.points.fingerprints import (
    NotCanonical,
    canonical_json,
    fingerprint_dense_vectors,
    fingerprint_payload,
    fingerprint_payload_text,
    fingerprint_text,
    fingerprint_vector,
)
from vectorops.vectors import Sparse


def floats(*numbers):
    return np.array(numbers, dtype=np.float32)


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        ({}, 0x7A2B69597FB87AC9),
        ({"b": [1, True, None, "é"], "a": {"z": 0.1, "y": -2.5e-7}}, 0xC581D064B99853C9),
    ],
)
def test_payloads_have_their_published_fingerprints(payload, expected):
    assert fingerprint_payload(payload) == expected


@pytest.mark.parametrize(
    ("vector", "expected"),
    [
        (floats(0.1, 0.2, 0.3), 0x790CF43F6BB89E94),
        (floats(0.1, 0.2, 0.3).reshape(1, 3), 0x156D01EE9A2BF07A),
        (Sparse(np.array([1, 7], dtype=np.uint32), floats(0.5, -1)), 0x35DF2287E2245123),
    ],
)
def test_vectors_have_their_published_fingerprints(vector, expected):
    assert fingerprint_vector(vector) == expected


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ({"n": 1}, {"n": 1.0}),
        ({"n": 0}, {"n": -0.0}),
        ({"n": 2**53}, {"n": 2.0**53}),
        ({"l": [1, 2]}, {"l": (1.0, 2.0)}),
        ({"n": 1e22}, {"n": 10000000000000000000000.0}),
    ],
)
def test_what_the_api_server_may_rewrite_is_the_same(one, other):
    assert fingerprint_payload(one) == fingerprint_payload(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"n": 1}, {"n": True}),
        ({"n": 0}, {"n": False}),
        ({"n": 1}, {"n": "1"}),
        ({"n": None}, {}),
        ({"n": []}, {"n": {}}),
        ({"n": 2**53 + 1}, {"n": 2**53}),
        ({"l": [1, 2]}, {"l": [2, 1]}),
        ({"a": {"b": 1}}, {"a.b": 1}),
    ],
)
def test_what_differs_for_a_reader_differs(one, other):
    assert fingerprint_payload(one) != fingerprint_payload(other)


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ({"a": [0, math.nan]}, "a[1]"),
        ({"a": {"b": math.inf}}, "a.b"),
        ({"a": 2**64}, "a"),
        ({"a": -(2**63) - 1}, "a"),
        ({"a": {1, 2}}, "a"),
        ({"a": b"bytes"}, "a"),
    ],
)
def test_what_json_cannot_hold_is_refused_with_its_place_and_without_its_value(value, place):
    with pytest.raises(NotCanonical) as raised:
        canonical_json(value)

    assert str(raised.value).startswith(f"{place}: ")


@pytest.mark.parametrize("payload", [{"a": "\ud800"}, {"\udfff": 1}, {"a": ["\ud800"]}, {1: "a"}])
def test_a_lone_surrogate_and_a_key_that_is_no_text_are_refused(payload):
    with pytest.raises(NotCanonical):
        fingerprint_payload(payload)


@pytest.mark.parametrize(
    ("text", "identity", "expected"),
    [
        ("How to reset a password", "0123456789abcdef", 0x64B58E0C28A307A1),
        ("How to reset a password", "fedcba9876543210", 0xB6C31958AD85D52B),
        ("héllo 🦀", "0123456789abcdef", 0x4A1979E5F16F8C71),
    ],
)
def test_texts_have_their_published_fingerprints(text, identity, expected):
    assert fingerprint_text(text, identity) == expected


def test_of_a_text_every_character_counts():
    texts = ["a", "A", "a ", " a", "a\n", "á", "a\u0301"]
    assert len({fingerprint_text(text, "0" * 16) for text in texts}) == len(texts)


def test_a_text_with_a_lone_surrogate_is_refused_without_quoting_it():
    with pytest.raises(NotCanonical, match=r"^not valid Unicode text$"):
        fingerprint_text("secret \ud800", "0" * 16)


def test_a_vector_is_compared_after_rounding():
    assert fingerprint_vector(floats(0.1)) == fingerprint_vector(np.array([float(np.float32(0.1))], dtype=np.float32))
    assert fingerprint_vector(floats(0.0)) == fingerprint_vector(floats(-0.0))
    assert fingerprint_vector(floats(1, 2)) != fingerprint_vector(floats(2, 1))


def test_the_shape_counts():
    rows = floats(1, 2, 3, 4)
    shapes = {
        fingerprint_vector(shaped) for shaped in (rows, rows.reshape(2, 2), rows.reshape(1, 4), rows.reshape(4, 1))
    }
    assert len(shapes) == 4


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(st.dictionaries(st.text(), JSON))
def test_no_fingerprint_is_one_of_the_reserved_numbers(payload):
    assert 16 <= fingerprint_payload(payload) < 2**64


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.integers(-(2**53), 2**53).map(float)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc.0", max_size=3), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.text("abc", min_size=1, max_size=3), VALUES, max_size=4))
def test_a_payload_has_the_same_fingerprint_beside_its_text(payload):
    fingerprint, text = fingerprint_payload_text(payload)

    assert fingerprint == fingerprint_payload(payload)
    assert orjson.loads(text) == payload


@pytest.mark.parametrize("size", [1, 3, 384])
def test_many_dense_vectors_have_the_fingerprints_of_each(size):
    vectors = np.random.default_rng(1).normal(size=(5, size)).astype(np.float32)
    vectors[0, 0] = -0.0

    assert fingerprint_dense_vectors(vectors) == [fingerprint_vector(vector) for vector in vectors]
