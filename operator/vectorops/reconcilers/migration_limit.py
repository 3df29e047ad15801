"""How many migrations run on one Qdrant at a time. Each doubles what a collection takes of memory and disk.

They are counted in Qdrant: a collection that was made to replace another one, and that no reader was moved to, is a
migration under way. So a restart forgets none, and several resources that want to start agree on the number.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from vectorops.api.meta import Ref, Resource
from vectorops.api.reasons import Reason
from vectorops.errors import Waiting
from vectorops.qdrant.database import Database
from vectorops.qdrant.marks import SUFFIX_DIGITS
from vectorops.reconcilers.aliases import readable_mark
from vectorops.reconcilers.base import Context
from vectorops.reconcilers.ownership import owner_of
from vectorops.words import counted


class MigrationLimit:
    """Lets migrations start, of all connections that this process has."""

    def __init__(self) -> None:
        self._starts: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    @asynccontextmanager
    async def start(self, context: Context, resource: Resource, database: Database) -> AsyncIterator[None]:
        """Create the candidate of the resource in the body: meanwhile no other migration on this endpoint starts.

        Raises Waiting MigrationBlocked if `context.max_migrations` others are under way; `on` is the owner of one.
        """
        async with self._starts[database.endpoint]:
            others = [ref for ref in await find_migrations(database, context.installation) if ref != resource.ref]
            if len(others) >= context.max_migrations:
                raise Waiting(
                    Reason.MIGRATION_BLOCKED,
                    f"{counted(len(others), 'other migration')} under way on this Qdrant, and "
                    f"{context.max_migrations} may be at a time (--max-migrations): this one waits for an end",
                    on=others[0],
                )
            yield


async def find_migrations(database: Database, installation: str) -> list[Ref]:
    """The QdrantCollections of this installation that have a collection in Qdrant which readers were never moved to,
    while their name leads elsewhere. Each once, in order; reads only collections whose names end like such a one's.
    """
    names = set(await database.collection_names())
    holders = {**{name: name for name in names}, **await database.aliases()}
    found: set[Ref] = set()
    for name in names:
        alias, _, digits = name.rpartition("-")
        if len(digits) != SUFFIX_DIGITS or holders.get(alias, name) == name:
            continue
        mark = await readable_mark(database, name)
        if mark is None or mark.switched_at or not mark.incarnation.startswith(digits):
            continue
        if (owner := owner_of(mark, installation)) is not None:
            found.add(owner)
    return sorted(found, key=str)
