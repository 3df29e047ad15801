"""How often Python searches for objects in cycles."""

from __future__ import annotations

import gc
from typing import Final

THRESHOLDS: Final = (50_000, 20, 50)
"""In place of (700, 10, 10), Python 3.11: each window makes and drops tens of thousands of objects, none of them in a
cycle, and to search among them took a fifth of the CPU time of a first sync of 100,000 points.
"""


def search_seldom() -> None:
    """For the whole process."""
    gc.set_threshold(*THRESHOLDS)
