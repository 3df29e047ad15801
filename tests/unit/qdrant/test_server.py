"""How a list is read when the collection limits reads."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from vectorops.api.reasons import Reason
from vectorops.errors import RateLimited
from vectorops.qdrant.database import StoredPoint
from vectorops.qdrant.server import CONTENTS_AT_ONCE, READ_PATIENCE_SECONDS, _fitting, _Patience


def limited(seconds: float | None) -> RateLimited:
    return RateLimited(Reason.RATE_LIMITED, "too many requests", retry_after=seconds)


def answers(*given: Any) -> Any:
    """A request that is answered so, one after the other."""
    left: Iterator[Any] = iter(given)

    async def read() -> Any:
        answer = next(left)
        if isinstance(answer, Exception):
            raise answer
        return answer

    return read


async def test_a_list_that_was_begun_waits_for_the_limit():
    pace, read = _Patience(2), answers("first", limited(0.001), limited(0.001), "second")

    assert [await pace.of(read), await pace.of(read)] == ["first", "second"]


async def test_who_has_read_nothing_yet_leaves_it_to_the_next_look():
    with pytest.raises(RateLimited) as failed:
        await _Patience(2).of(answers(limited(0.001)))
    assert "must be at least" not in failed.value.message


async def test_a_list_that_is_too_long_for_the_limit_says_how_large_it_must_be():
    pace, read = _Patience(2000), answers("first", limited(READ_PATIENCE_SECONDS + 1))
    await pace.of(read)

    with pytest.raises(RateLimited, match="for 2,000 points, read_rate_limit must be at least 1,000 a minute"):
        await pace.of(read)


def test_no_more_points_are_read_at_once_than_fit_into_an_answer():
    small = StoredPoint(1, {"a": 1}, {"": np.zeros(384, dtype=np.float32)})
    long_text = StoredPoint(2, {"text": "x" * 20_000}, {})
    long_vector = StoredPoint(3, {}, {"": np.zeros((100, 128), dtype=np.float32)})
    huge = StoredPoint(4, {"text": "x" * 5_000_000}, {})

    assert _fitting([]) == CONTENTS_AT_ONCE
    assert 500 < _fitting([small]) <= CONTENTS_AT_ONCE
    assert 90 < _fitting([small, long_text]) < 100
    assert _fitting([long_vector]) == 15
    assert _fitting([huge]) == 1
