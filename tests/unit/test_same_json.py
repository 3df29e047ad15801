"""When a JSON value that was read back is the one that was sent."""

import pytest

from vectorops.same_json import is_same_json, is_within

CLOSE = is_within(1e-12)


@pytest.mark.parametrize(
    ("want", "have"),
    [
        (1, 1),
        (2**64 - 1, 2**64 - 1),
        (0.1, 0.1 + 1e-17),
        (1, 1.0),
        (True, True),
        (None, None),
        ("a", "a"),
        ([1, {"a": 0.1}], [1, {"a": 0.1}]),
        ((1.0, 2.0), [1.0, 2.0]),
        ({}, {}),
    ],
)
def test_equal_values_are_the_same(want, have):
    assert is_same_json(want, have, CLOSE)


@pytest.mark.parametrize(
    ("want", "have"),
    [
        (1, True),
        (0.0, False),
        (2**64 - 1, 2**64 - 2),
        (0.1, 0.1000001),
        (0.1, "0.1"),
        (None, False),
        ([1], [1, 1]),
        ([], {}),
        ({"a": None}, {}),
        ({"a": 1}, {"b": 1}),
        ([{"a": 0.1}], [{"a": 0.2}]),
    ],
)
def test_other_values_differ(want, have):
    assert not is_same_json(want, have, CLOSE)
    assert not is_same_json(have, want, CLOSE)
