"""How far a long pass is: changed where the work is done, read by whoever shows it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Phase = Literal["Fetching", "Reading", "Writing", "Deleting"]
"""Fetching files, reading rows, writing points, deleting points."""


@dataclass(slots=True)
class PassProgress:
    """Of one pass. May be read from any thread."""

    phase: Phase = "Writing"
    done: int = 0
    """Bytes while files are fetched, rows while they are read, else points."""
    total: int | None = None
    """Of the same; None if it is not known."""

    def begin(self, phase: Phase, total: int | None) -> None:
        """Begins a phase."""
        self.phase, self.done, self.total = phase, 0, total
