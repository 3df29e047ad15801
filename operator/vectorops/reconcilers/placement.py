"""Which collections in Qdrant hold what one QdrantCollection declares.

Everything that needs a collection's name in Qdrant asks `Placement`: where points go, where aliases lead, which
ledgers count, what is cleaned up. A resource has one collection, under the name that it declares, and that name is
immutable. A migration adds a candidate.
"""

from __future__ import annotations

from dataclasses import dataclass

from vectorops.api.meta import Resource
from vectorops.reconcilers.spec import RawSpec


@dataclass(frozen=True, slots=True)
class Placement:
    """The physical collections of one QdrantCollection."""

    active: str
    """Name in Qdrant of the collection that serves readers: aliases lead to it."""
    candidate: str | None = None
    """Name in Qdrant of the collection that is being filled to replace the active one; None: there is none."""

    @classmethod
    def of(cls, collection: Resource) -> Placement:
        """From the raw spec: what no longer passes validation must still be found."""
        return cls(active=RawSpec(collection).collection_name)

    @property
    def filled(self) -> str:
        """The collection that points are written into."""
        return self.candidate or self.active

    @property
    def names(self) -> tuple[str, ...]:
        """All of them, the active one first: what is cleaned up, and what nobody else may be called."""
        return (self.active, *([self.candidate] if self.candidate else ()))
