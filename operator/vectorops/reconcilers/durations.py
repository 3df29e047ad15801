"""Durations of specs, such as `1h30m`, in seconds."""

from __future__ import annotations

import re
from typing import Final, overload

UNITS: Final = {"h": 3600.0, "m": 60.0, "s": 1.0}


@overload
def seconds_of(duration: str) -> float: ...


@overload
def seconds_of(duration: None) -> None: ...


def seconds_of(duration: str | None) -> float | None:
    """Of `1h30m`: 5400; None for None."""
    if duration is None:
        return None
    return sum(int(number) * UNITS[unit] for number, unit in re.findall(r"([0-9]+)(h|m|s)", duration))
