"""The embedder locks in a collection's mark: which model made the vectors that are stored."""

from __future__ import annotations

from vectorops.embedders.base import Resolved
from vectorops.qdrant.marks import Mark


def locks_of(mark: Mark | None) -> dict[str, Resolved]:
    """The lock of each vector that has one, by the vector's name."""
    stored = mark.embedders if mark is not None else {}
    found = {name: Resolved.from_json(lock) for name, lock in stored.items()}
    return {name: lock for name, lock in found.items() if lock is not None}
