"""Where the points of a set go, and whom to ask about what the points alone do not tell."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence, Set
from dataclasses import dataclass

from vectorops.api.meta import JsonObject
from vectorops.ledger.records import Ledger, LedgerKey
from vectorops.points.reuse import VectorSource
from vectorops.points.schema import PointSchema
from vectorops.qdrant.database import PointId

GivenUp = Callable[[str, Collection[PointId]], Awaitable[Set[PointId]]]
"""Those of the ids that their holder (`installation/namespace/name`) no longer declares, so that they may pass to the
set that does without being deleted in between.
"""


async def nothing_given_up(_owner: str, _ids: Collection[PointId]) -> Set[PointId]:
    """Whoever holds a point is taken to declare it."""
    return frozenset()


Approves = Callable[[str], Awaitable[bool]]
"""Did a person agree to what this digest stands for? See `reconcilers.approvals`."""


async def nobody(_digest: str) -> bool:
    """Nothing is approved."""
    return False


@dataclass(frozen=True, slots=True)
class Target:
    """The collection that the points go to."""

    collection: str
    schema: PointSchema
    registered: bool | None
    """Does its metadata say that this set has a ledger? None: it is the user's, and carries nothing of ours."""
    registration: JsonObject
    """What its metadata is to say then."""
    previous: tuple[LedgerKey, ...] = ()
    """Keys under which the set may have kept its ledger before the collection changed hands."""
    elsewhere: tuple[str, ...] = ()
    """Other collections in which the ledger may be, should `ledgerCollectionName` have been changed."""
    replication_factor: int = 1
    """Of the collection; the ledger must not be easier to lose."""
    marked: bool = True
    """Does a mark tell this physical collection from the next?"""
    approves: Approves = nobody
    """Should it be another physical collection by now."""
    hides: bool = False
    """May there be points that no read shows (see `qdrant.visibility`)?"""
    checks_presence: bool = False
    """Are points that the ledger says were written as declared searched for in each pass? Where there is no next pass
    soon that verifies a share of them.
    """
    left_out: frozenset[str] = frozenset()
    """Vectors that points may have, and this collection has not: one beside it has them."""
    adopts: bool = False
    """Does the set take points that nobody holds and that equal the declared ones?"""
    vectors_from: Sequence[VectorSource] = ()
    """Where vectors of texts may be stored already, asked in this order before a text is embedded."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the vectors of the collection, in the order of the fingerprints of the ledger."""
        return tuple(sorted(self.schema))

    def expects(self, ledger: Ledger | None) -> bool:
        """Is the ledger, or that there is none, what the collection's metadata says? Else there is something to put
        right.
        """
        if ledger is None:
            return not self.registered
        return self.registered is not False
