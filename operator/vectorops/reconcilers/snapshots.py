"""A snapshot in Qdrant before data is lost: `spec.snapshotBefore`.

One occasion (an approved plan, the retirement of a collection) gets one snapshot, however often the process is killed
or the answer is lost: a snapshot takes as much of the disk as the collection, and Qdrant deletes none. So the
collection's metadata says, before the request is sent, for which occasion a snapshot is to be taken and when the newest
one until then began. A later one is that of the occasion, whoever asked for it. All these times are Qdrant's own.

Qdrant goes on with a snapshot whose request was given up, and lists it when it is whole (seen on 1.16.3). So no request
lasts longer than any other: while Qdrant is at it, the reconciliation is tried again later.
"""

from __future__ import annotations

import logging
from typing import Final

from vectorops.api.meta import Resource
from vectorops.api.reasons import Reason
from vectorops.errors import Terminal, Transient
from vectorops.qdrant.database import Database
from vectorops.qdrant.marks import SNAPSHOT_KEY
from vectorops.qdrant.observe import Observed, read_collection
from vectorops.reconcilers.base import Context

logger = logging.getLogger(__name__)

LONGEST_NAME_BYTES: Final = 197
"""Of a collection that can have a snapshot: Qdrant 1.16.3 works in a folder `NAME-PEER-TIME.snapshot-temp-RANDOM`, and
file systems take 255 bytes.
"""
SNAPSHOT_TAKEN: Final = "SnapshotTaken"
"""Reason of the event."""


async def keep_snapshot(context: Context, resource: Resource, database: Database, name: str, occasion: str) -> str:
    """Sees to it that Qdrant has a snapshot of a collection, and returns its name. Call it before data is lost.

    name: the physical collection, which must carry our mark. occasion: what the snapshot is for; the same one is
    satisfied by the same snapshot, so it must differ each time that data is to be lost (the hash that approves a plan;
    `retire` and the incarnation).
    Raises Transient Progressing while Qdrant takes the snapshot, Terminal InvalidSpec if the collection can have none,
    Rejected with status 400 for a folder.
    """
    if len(name.encode()) > LONGEST_NAME_BYTES:
        raise Terminal(
            Reason.INVALID_SPEC,
            f"spec.snapshotBefore: Qdrant names files after the collection, and the name of {name!r} is too long for a "
            f"snapshot (more than {LONGEST_NAME_BYTES} bytes): set snapshotBefore to false",
        )
    found = await read_collection(database, name)
    snapshots = await database.snapshots(name)
    noted = _noted(found)
    if noted is None or noted[0] != occasion:
        noted = occasion, max(snapshots.values(), default="")
        await database.update_collection(name, {"metadata": {SNAPSHOT_KEY: {"for": noted[0], "after": noted[1]}}})
    later = {began: snapshot for snapshot, began in snapshots.items() if began > noted[1]}
    if later:
        snapshot = later[max(later)]
    elif await database.snapshots_under_way(name):
        raise Transient(Reason.PROGRESSING, f"Qdrant takes a snapshot of collection {name!r}; waiting for it")
    else:
        snapshot = await database.create_snapshot(name)
    words = f"Qdrant has snapshot {snapshot} of collection {name!r}"
    if database.info.distributed:
        words += ", with the shards of the node that answered: the other nodes keep their shards in no snapshot"
    logger.info(words, extra={"resource": str(resource.ref), "collection": name, "snapshot": snapshot})
    await context.cluster.event(resource, SNAPSHOT_TAKEN, words, warning=False)
    return snapshot


def _noted(found: Observed) -> tuple[str, str] | None:
    """Of the last snapshot that was to be taken: its occasion, and when the newest one before it began."""
    noted = found.metadata.get(SNAPSHOT_KEY)
    if not isinstance(noted, dict):
        return None
    occasion, after = noted.get("for"), noted.get("after")
    return (occasion, after) if isinstance(occasion, str) and isinstance(after, str) else None
