"""The collection that ledgers are kept in: made, marked, and distinguished from every other collection."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Final

from vectorops.api.meta import JsonObject, Ref
from vectorops.api.reasons import Reason
from vectorops.errors import Rejected, Terminal
from vectorops.ledger.records import FIELDS_OF_ALL, KINDS, LedgerKey
from vectorops.qdrant.database import Database
from vectorops.qdrant.marks import LEDGER_METADATA, is_ledger

INDEXES: Final[Mapping[str, JsonObject]] = {
    "owner": {"type": "keyword"},
    "hashes": {"type": "integer", "lookup": True, "range": False},
}
"""Payload indexes of a collection of ledgers: each search has one of these among its conditions, and what it leaves is
little. (One for every field would make the collection six times slower to create.)
"""

SAMPLE: Final = 100
"""Records of an unmarked collection that are read one by one."""


async def ensure_ledger_collection(database: Database, name: str, *, replication_factor: int) -> None:
    """The collection for ledgers, made if there is none. Strict mode is off in it: a default one would refuse its
    records. Raises what `require_ledger_collection` raises.
    """
    if await require_ledger_collection(database, name):
        return
    body: JsonObject = {"vectors": {}, "strict_mode_config": {"enabled": False}, "metadata": LEDGER_METADATA}
    if replication_factor > 1:
        body["replication_factor"] = replication_factor
    try:
        await database.create_collection(name, body)
    except Rejected:
        # Another set made it at the same moment.
        if await database.collection(name) is None:
            raise
    await require_ledger_collection(database, name)


async def require_ledger_collection(database: Database, name: str, *, change: bool = True) -> bool:
    """May ledgers be kept in this collection? False: there is none yet.

    One that holds nothing but our records, from before collections of ledgers were marked, gets its mark here; one
    that lacks payload indexes gets them. change: False only reads.
    Raises Terminal OwnedByAnother, UnknownMark or NotAdopted if it is anything else: nothing is written into it.
    """
    found = await database.collection(name)
    if found is None:
        return False
    marked = is_ledger(found, name)
    if not marked:
        await _require_only_records(database, name, found)
    if not change:
        return True
    for path in INDEXES.keys() - (found.get("payload_schema") or {}).keys():
        await database.create_index(name, path, INDEXES[path])
    if not marked:
        await database.update_collection(name, {"metadata": LEDGER_METADATA})
    return True


async def _require_only_records(database: Database, name: str, found: JsonObject) -> None:
    """Is an unmarked collection one that an earlier version made for ledgers? Raises Terminal NotAdopted if not."""
    params = found["config"]["params"]
    stranger = ""
    if params.get("vectors") or params.get("sparse_vectors"):
        stranger = "it has vectors"
    else:
        of_no_kind: JsonObject = {"must_not": [{"key": "kind", "match": {"any": list(KINDS)}}]}
        some = await database.scroll(name, of_no_kind, limit=1)
        some += [
            record
            for record in await database.scroll(name, payload=FIELDS_OF_ALL, limit=SAMPLE)
            if not _is_record(record.payload)
        ]
        if some:
            stranger = f"point {some[0].id} is no record of a ledger"
    if stranger:
        raise Terminal(
            Reason.NOT_ADOPTED,
            f"collection {name!r} was there first, and cannot be used for ledgers: {stranger}. Nothing is written into "
            "it. Name another one, or none, in ledgerCollectionName of a QdrantConnection (docs/operations.md)",
        )


def _is_record(payload: JsonObject) -> bool:
    return all(isinstance(payload.get(name), int if name == "format" else str) for name in FIELDS_OF_ALL)


async def ledger_collections(database: Database) -> list[str]:
    """The collections that carry the mark of one for ledgers. Reads every collection: for rare questions."""
    found = []
    for name in sorted(await database.collection_names()):
        described = await database.collection(name)
        # Other marks, and damaged ones, are not what is asked for.
        with suppress(Terminal):
            if described is not None and is_ledger(described, name):
                found.append(name)
    return found


async def ledgers_of(database: Database, ledger_collection: str, collection: str, owners: str) -> list[LedgerKey]:
    """The ledgers of all incarnations of a collection, of sets whose owner begins with `owners`. For rare questions."""
    where: JsonObject = {
        "must": [{"key": "kind", "match": {"value": "head"}}, {"key": "collection", "match": {"value": collection}}]
    }
    try:
        heads = await database.scroll(ledger_collection, where, payload=("key", "owner", "incarnation"))
    except Rejected as error:
        if error.status != 404:
            raise
        return []
    keys = []
    for head in heads:
        owner, incarnation = head.payload.get("owner"), head.payload.get("incarnation")
        if isinstance(owner, str) and isinstance(incarnation, str) and owner.startswith(owners):
            installation, namespace, name = owner.rsplit("/", 2)
            keys.append(LedgerKey(installation, Ref("PointSet", namespace, name), collection, incarnation))
    return keys


async def delete_ledgers_of(database: Database, ledger_collection: str, collection: str, incarnation: str) -> None:
    """Deletes the ledgers of all sets for one physical collection, which is being deleted itself."""
    where: JsonObject = {
        "must": [
            {"key": "collection", "match": {"value": collection}},
            {"key": "incarnation", "match": {"value": incarnation}},
        ]
    }
    try:
        await database.delete_matching(ledger_collection, where)
    except Rejected as error:
        if error.status != 404:
            raise


async def holds_records(database: Database, name: str) -> bool:
    """Does an unmarked collection look like one that ledgers are kept in? Then it can be nobody's target."""
    ours = {"must": [{"key": "kind", "match": {"any": list(KINDS)}}]}
    found = await database.scroll(name, ours, payload=FIELDS_OF_ALL, limit=SAMPLE)
    return bool(found) and all(_is_record(record.payload) for record in found)
