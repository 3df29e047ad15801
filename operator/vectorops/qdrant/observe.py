"""What Qdrant says about a collection, in the normal form that desired and observed are compared in.

Qdrant echoes what was set and fills in some defaults. Between a request and its echo only the spelling differs: nulls
and empty objects stand for absent, `optimizers_config` comes back as `optimizer_config`, a single vector lies flat,
an index is split into type and parameters, lists of stop words come back sorted. The normal form removes these
differences, so that whatever still differs was really changed (an operator that compares anything else sees drift for
ever).

`collections.resolve` brings the declared side into the same form with the functions here; `observe` reads the other
side.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np

from vectorops.api.meta import JsonObject
from vectorops.api.reasons import Reason
from vectorops.errors import Terminal
from vectorops.qdrant.database import UNNAMED, Database, ShardKeyName, ShardsOfKey
from vectorops.qdrant.marks import (
    LEDGER_KEY,
    MARK_KEY,
    REGISTRATION_PREFIX,
    Mark,
    has_metadata,
    mark_of,
)
from vectorops.qdrant.visibility import hides_points

Path = tuple[str, ...]
"""Where a value stands in a configuration: ("vectors", "text", "hnsw_config", "m"). Names of vectors may hold dots."""

BLOCKS: Final = (
    "params",
    "hnsw_config",
    "optimizers_config",
    "quantization_config",
    "wal_config",
    "strict_mode_config",
)
"""The blocks of a collection's configuration under the names of create and PATCH."""

DATATYPE: Final = "float32"
"""What Qdrant means when a vector names no datatype."""

INDEX_DEFAULTS: Final[Mapping[str, object]] = {
    "is_tenant": False,
    "is_principal": False,
    "on_disk": False,
    "phrase_matching": False,
    "ascii_folding": False,
    "lookup": True,
    "range": True,
    "lowercase": True,
    "enable_hnsw": True,
    "tokenizer": "word",
    "scoring": False,
}
"""Options of payload indexes that mean the same when left out. Some come back filled in, some do not."""

SCORING: Final[JsonObject] = {"type": "bm25"}
"""What `scoring: true` of a text index comes back as (1.20; read in the library that its server is made of)."""

PATH_ITEM: Final = re.compile(r'(?:"(?P<quoted>[^"]*)"|(?P<bare>[\w-]+))(?P<indexes>(?:\[\d*\])*)')
BARE: Final = re.compile(r"[\w-]+")


@dataclass(frozen=True, slots=True)
class Health:
    """What Qdrant says of how a collection does."""

    color: str = "green"
    """green; yellow while it is optimized; grey while that waits for a next write, as after a restart; red if some
    operation failed.
    """
    optimizer: str = ""
    """The optimizer's words when it failed, or ""."""
    warnings: tuple[str, ...] = ()
    """In Qdrant's words."""


@dataclass(frozen=True, slots=True)
class Observed:
    """One collection as it is in Qdrant, in normal form: what the reconcilers of collections and of points know of
    it.
    """

    name: str
    exists: bool
    """False: there is none; everything but `holders` is then empty."""
    vectors: Mapping[str, JsonObject] = field(default_factory=dict)
    """Dense vectors by name, `UNNAMED` for the unnamed one."""
    sparse_vectors: Mapping[str, JsonObject] = field(default_factory=dict)
    config: Mapping[str, JsonObject] = field(default_factory=dict)
    """By block, see `BLOCKS`."""
    indexes: Mapping[str, JsonObject] = field(default_factory=dict)
    """Payload indexes by canonical path, in canonical form."""
    holders: Mapping[str, str] = field(default_factory=dict)
    """Every name that is taken, to the collection that it leads to. Empty if only the collection was read."""
    shard_keys: Mapping[ShardKeyName, ShardsOfKey] = field(default_factory=dict)
    """Of `sharding_method: custom`."""
    distributed: bool = False
    """Is the server distributed? Only then there can be shard keys."""
    metadata: JsonObject = field(default_factory=dict)
    """Verbatim, our mark included."""
    had_metadata: bool = False
    """Was there ever any metadata, so that a mark may have been removed?"""
    mark: Mark | None = None
    created_at: str = ""
    """When the collection was created, as Qdrant tells from 1.20 on; "" before."""
    hides_points: bool = False
    """May points be there that no read shows? See `visibility`."""
    points: int = 0
    """Qdrant's approximate count, for people."""
    health: Health = field(default=Health(), compare=False)
    """Comes and goes, and is no part of what is compared."""

    @property
    def aliases(self) -> frozenset[str]:
        return frozenset(alias for alias, collection in self.holders.items() if collection == self.name != alias)

    @property
    def has_vectors(self) -> bool:
        return bool(self.vectors or self.sparse_vectors)

    @property
    def is_sharded_by_key(self) -> bool:
        """Does every point need a shard key?"""
        return is_sharded_by_key(self.config.get("params") or {})

    @property
    def replication_factor(self) -> int:
        """As Qdrant has it; 1 where it tells none."""
        return (self.config.get("params") or {}).get("replication_factor") or 1

    @property
    def has_mark(self) -> bool:
        """Is there a mark, of whatever collection? A restored snapshot has a copy that speaks of another one."""
        return MARK_KEY in self.metadata

    @property
    def registered_incarnations(self) -> frozenset[str]:
        """The incarnations that PointSets have registered ledgers for."""
        return frozenset(
            value
            for key, value in self.metadata.items()
            if key.startswith(REGISTRATION_PREFIX) and isinstance(value, str)
        )

    @property
    def registered_namespaces(self) -> frozenset[str]:
        """The namespaces whose PointSets have registered ledgers, for whichever physical collection."""
        return frozenset(key.split("/")[-2] for key in self.metadata if key.startswith(REGISTRATION_PREFIX))

    def registrations(self, incarnation: str) -> dict[str, str]:
        """Ledgers that must exist for this physical collection: registration key to incarnation.

        Those of another incarnation came with a restored snapshot and do not count.
        """
        return {
            key: value
            for key, value in self.metadata.items()
            if key.startswith(REGISTRATION_PREFIX) and value == incarnation
        }

    @property
    def ledger_collection(self) -> str:
        """Where the metadata says that the ledgers of this collection are; "" if it says nothing."""
        named = self.metadata.get(LEDGER_KEY)
        return named if isinstance(named, str) else ""

    def tree(self) -> JsonObject:
        """Everything that has a path: the vectors and the blocks, under one root."""
        return {"vectors": dict(self.vectors), "sparse_vectors": dict(self.sparse_vectors), **self.config}


async def observe(database: Database, name: str, aliases: Iterable[str] = ()) -> Observed:
    """Reads one collection and the names that are taken.

    name: the physical collection. aliases: those that are wanted; if one is the name of a collection, `holders` says
    so. Raises Terminal AliasTaken if `name` is an alias (Qdrant would lead us to another's collection, to change it),
    UnknownMark.
    """
    holders = await database.aliases()
    require_no_alias(name, holders)
    if set(aliases) - holders.keys():
        holders = {**{other: other for other in await database.collection_names()}, **holders}
    return replace(await read_collection(database, name), holders=holders)


async def read_collection(database: Database, name: str) -> Observed:
    """Reads one collection without the names that are taken: one request, and one more for shard keys.

    name: the physical collection; Qdrant follows an alias. Raises Terminal UnknownMark.
    """
    found = await database.collection(name)
    distributed = database.info.distributed
    if found is None:
        return Observed(name=name, exists=False, distributed=distributed)
    collection = replace(observed(name, found, {}), distributed=distributed)
    if not collection.is_sharded_by_key:
        return collection
    return replace(collection, shard_keys=await database.shard_keys(name))


async def read_mark(database: Database, name: str) -> Mark | None:
    """The mark of a collection; None if there is no mark, or no collection. Raises Terminal UnknownMark,
    OwnedByAnother.
    """
    found = await database.collection(name)
    return mark_of(found, name) if found is not None else None


def require_no_alias(name: str, holders: Mapping[str, str]) -> None:
    """Can a collection have this name? holders: aliases, to what they lead to. Raises Terminal AliasTaken."""
    if name in holders:
        raise Terminal(
            Reason.ALIAS_TAKEN,
            f"{name!r} is an alias, so no collection can have this name; delete the alias, or choose another "
            "collectionName",
        )


def observed(name: str, collection: JsonObject, holders: Mapping[str, str]) -> Observed:
    """One collection from `result` of GET /collections/{name}, and the names that are taken."""
    config: JsonObject = collection.get("config") or {}
    params = dict(config.get("params") or {})
    vectors, sparse = params.pop("vectors", None) or {}, params.pop("sparse_vectors", None) or {}
    blocks = {
        "params": params,
        **{block: config.get(block) or {} for block in BLOCKS if block != "params"},
        "optimizers_config": config.get("optimizer_config") or {},
    }
    created = collection.get("created_at")
    return Observed(
        name=name,
        exists=True,
        vectors=normal_vectors(vectors),
        sparse_vectors={key: pruned(value or {}) for key, value in sparse.items()},
        config={block: normal for block, body in blocks.items() if (normal := pruned(body))},
        indexes={
            canonical_path(key): canonical_index({"type": index.get("data_type"), **(index.get("params") or {})})
            for key, index in (collection.get("payload_schema") or {}).items()
        },
        holders=holders,
        metadata=dict(config.get("metadata") or {}),
        had_metadata=has_metadata(collection),
        mark=mark_of(collection, name),
        created_at=created if isinstance(created, str) else "",
        hides_points=hides_points(collection),
        points=collection.get("points_count") or 0,
        health=_health(collection),
    )


def _health(collection: JsonObject) -> Health:
    optimizer, warnings = collection.get("optimizer_status"), collection.get("warnings") or ()
    return Health(
        color=str(collection.get("status") or "green"),
        optimizer=str(optimizer.get("error") or "") if isinstance(optimizer, Mapping) else "",
        warnings=tuple(str(warning.get("message")) for warning in warnings if isinstance(warning, Mapping)),
    )


def is_sharded_by_key(params: Mapping[str, Any]) -> bool:
    """Does every point need a shard key? params: of a collection, as declared or as Qdrant tells them."""
    return params.get("sharding_method") == "custom"


def is_flat(vectors: Mapping[str, Any]) -> bool:
    """Is this the one unnamed vector, or are these vectors by name? One may be named `size`."""
    return isinstance(vectors.get("size"), int)


def normal_vectors(vectors: Mapping[str, Any]) -> dict[str, JsonObject]:
    """Dense vectors by name; a single one that lies flat is the unnamed one."""
    if is_flat(vectors):
        vectors = {UNNAMED: vectors}
    return {name: {"datatype": DATATYPE, **pruned(params)} for name, params in vectors.items()}


def pruned(block: Mapping[str, Any]) -> JsonObject:
    """A configuration object without nulls and, except inside a quantization, without empty objects."""
    result: JsonObject = {}
    for key, value in block.items():
        if value is None:
            continue
        if isinstance(value, Mapping):
            # Inside a quantization `{"binary": {}}` says everything.
            inner = without_nulls(value) if key in QUANTIZATIONS else pruned(value)
            if inner or key in QUANTIZATION_KINDS:
                result[key] = inner
        else:
            result[key] = value
    return result


QUANTIZATION_KINDS: Final = frozenset({"scalar", "product", "binary", "turbo"})
QUANTIZATIONS: Final = QUANTIZATION_KINDS | {"quantization_config"}


def without_nulls(value: Any) -> Any:
    """The same JSON without members that are null."""
    if isinstance(value, Mapping):
        return {key: without_nulls(inner) for key, inner in value.items() if inner is not None}
    return value


def canonical_index(schema: Mapping[str, Any]) -> JsonObject:
    """A payload index as `{"type": ..., ...}`: nulls and defaults left out, stop words as languages and a sorted
    set.
    """
    result = {key: value for key, value in without_nulls(schema).items() if INDEX_DEFAULTS.get(key) != value}
    if result.get("scoring") is True:
        result["scoring"] = SCORING
    if "stopwords" in result:
        stopwords = _stopwords(result.pop("stopwords"))
        result |= {"stopwords": stopwords} if stopwords else {}
    return result


def _stopwords(value: Any) -> Any:
    """`"english"` is `{"languages": ["english"]}`; both lists are sets to Qdrant."""
    if isinstance(value, str):
        return {"languages": [value]}
    if not isinstance(value, Mapping):
        return value
    return {key: sorted(set(words)) if isinstance(words, list) else words for key, words in value.items() if words}


def canonical_path(path: str) -> str:
    """The path of a payload field as Qdrant gives it back: `"abc"` is `abc`, `a."b"` is `a.b`.

    What is no path is left as it is.
    """
    return parsed_path(path) or path


def parsed_path(path: str) -> str | None:
    """The same; None if it is no path. Qdrant 1.16.3 reads paths the same way, but names no field when it refuses."""
    items: list[str] = []
    position = 0
    while match := PATH_ITEM.match(path, position):
        quoted = match["quoted"]
        needs_quotes = quoted is not None and not BARE.fullmatch(quoted)
        items.append((f'"{quoted}"' if needs_quotes else quoted or match["bare"]) + match["indexes"])
        position = match.end()
        if position == len(path):
            return ".".join(items)
        if path[position] != ".":
            break
        position += 1
    return None


def leaves(tree: Mapping[str, Any]) -> dict[Path, Any]:
    """Every value of nested objects by its path. An empty object is a value; a list is one as a whole."""
    result: dict[Path, Any] = {}
    pending: list[tuple[Path, Any]] = [((key,), value) for key, value in tree.items()]
    while pending:
        path, value = pending.pop()
        if isinstance(value, Mapping) and value:
            pending += [((*path, key), inner) for key, inner in value.items()]
        else:
            result[path] = value
    return result


def same(want: Any, have: Any) -> bool:
    """Are two JSON values equal for Qdrant? Fractions are if their float32 are: some it keeps no more exactly."""
    if isinstance(want, bool) or isinstance(have, bool):
        return want is have
    if isinstance(want, int) and isinstance(have, int):
        return want == have
    if isinstance(want, int | float) and isinstance(have, int | float):
        with np.errstate(over="ignore"):
            return bool(np.float32(want) == np.float32(have))
    if isinstance(want, list) and isinstance(have, list):
        return len(want) == len(have) and all(map(same, want, have))
    if isinstance(want, Mapping) and isinstance(have, Mapping):
        return want.keys() == have.keys() and all(same(value, have[key]) for key, value in want.items())
    return bool(want == have)


def shown(value: Any) -> str:
    """A value for people: as JSON, and words for what is not there."""
    return "absent" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
