"""Is a JSON value that was read back the one that was sent?

Qdrant stores and prints fractions with errors of its own, so the caller says when two fractions are the same.
Everything else must be equal: `1` is not `true`, and whole numbers are exact.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

SameFractions = Callable[[float, float], bool]
"""Are two numbers, one of them a fraction, the same?"""


def is_within(tolerance: float) -> SameFractions:
    """Fractions are the same if they differ by at most this, relative to the larger one."""
    return partial(math.isclose, rel_tol=tolerance)


def is_same_json(want: Any, have: Any, same_fractions: SameFractions) -> bool:
    """Compares two JSON values. A tuple is a list."""
    match want, have:
        case (bool(), _) | (_, bool()):
            return want is have
        case (float(), int() | float()) | (int(), float()):
            return same_fractions(want, have)
        case (list() | tuple(), list() | tuple()):
            return len(want) == len(have) and all(
                is_same_json(one, other, same_fractions) for one, other in zip(want, have, strict=True)
            )
        case Mapping(), Mapping():
            return want.keys() == have.keys() and all(
                is_same_json(want[key], have[key], same_fractions) for key in want
            )
    return bool(want == have)
