"""What becomes of points that no PointSet declares, when a collection behind an alias is replaced."""

from __future__ import annotations

import logging

from vectorops.api.connection import LEDGER_COLLECTION
from vectorops.api.meta import Resource
from vectorops.api.migration import Migration
from vectorops.collections.locks import locks_of
from vectorops.points.others import Copied, LedgeredCollection, OthersCopy
from vectorops.qdrant.database import UNNAMED
from vectorops.qdrant.observe import Observed
from vectorops.reconcilers.base import Context
from vectorops.reconcilers.dependencies import Access
from vectorops.reconcilers.embedding import Embedding
from vectorops.reconcilers.pace import Pace
from vectorops.words import counted

logger = logging.getLogger(__name__)


def ledgered(access: Access, observed: Observed) -> LedgeredCollection:
    """A physical collection, with every collection of ledgers that may speak of it."""
    ledgers = {access.ledger_collection, LEDGER_COLLECTION, observed.ledger_collection} - {""}
    return LedgeredCollection(access.database, observed, ledgers)


def copy_between(
    context: Context, resource: Resource, settings: Migration, access: Access, old: Observed, new: Observed
) -> OthersCopy:
    """What copies the points of others from the old collection to the new one."""
    before, after = locks_of(old.mark), locks_of(new.mark)
    names = {*new.vectors, *new.sparse_vectors}
    identities = {name: [locks[name].identity if name in locks else "" for locks in (before, after)] for name in names}
    embedding = Embedding(context, resource, after)
    named = settings.embed_from or {}
    return OthersCopy(
        ledgered(access, old),
        ledgered(access, new),
        same_models=frozenset(name for name, (one, other) in identities.items() if one == other),
        embed_from={name or UNNAMED: path for name, path in named.items() if (name or UNNAMED) in after},
        embed=embedding.embed,
        at_safe_point=Pace(context.cluster, resource, context.turn).point,
    )


def log_copied(resource: Resource, copied: Copied) -> None:
    """Says in the log what a pass over others' points did, if it did anything."""
    if copied.written or copied.removed or copied.late:
        logger.info(
            "points of others copied",
            extra={
                "resource": str(resource.ref),
                "written": copied.written,
                "removed": copied.removed,
                "late": copied.late,
                "without_vectors": copied.without_vectors,
            },
        )


def describe_copied(copied: Copied) -> str:
    """What a pass over others' points could not do, for people; "" if it did all."""
    words = [
        f"{counted(count, 'point')} of others without the vector {name!r}: it cannot be copied, and "
        "migration.embedFrom names no text for it"
        for name, count in sorted(copied.without_vectors.items())
    ]
    if copied.taken:
        words.append(f"{counted(copied.taken, 'point')} of others not copied: a PointSet declares their ids")
    if copied.late:
        words.append(f"{counted(copied.late, 'point')} of others changed too late to be copied")
    return "; ".join(words)
