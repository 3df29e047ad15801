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
from vectorops.qdrant.marks import Mark, has_metadata, mark_of

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
    """What Qdrant says of how a collection does.

    color: green; yellow while it is optimized; grey while that waits for a next write, as after a restart; red if some
        operation failed. optimizer: its words when it failed, or "". warnings: in Qdrant's words.
    """

    color: str = "green"
    optimizer: str = ""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Observed:
    """One collection as it is in Qdrant, in normal form.

    exists: False: there is none; everything but `holders` is then empty.
    vectors, sparse_vectors: by name, `UNNAMED` for the unnamed one; config: by block, see `BLOCKS`; indexes: by
        canonical path, in canonical form.
    aliases: those of this collection. holders: every name that is taken, to the collection that it leads to.
    shard_keys: of `sharding_method: custom`. distributed: is the server? Only then there can be shard keys.
    metadata: verbatim, our mark included. had_metadata: was there ever any, so that a mark may have been removed?
    points: Qdrant's approximate count, for people. health: comes and goes, and is no part of what is compared.
    """

    name: str
    exists: bool
    vectors: Mapping[str, JsonObject] = field(default_factory=dict)
    sparse_vectors: Mapping[str, JsonObject] = field(default_factory=dict)
    config: Mapping[str, JsonObject] = field(default_factory=dict)
    indexes: Mapping[str, JsonObject] = field(default_factory=dict)
    holders: Mapping[str, str] = field(default_factory=dict)
    shard_keys: Mapping[ShardKeyName, ShardsOfKey] = field(default_factory=dict)
    distributed: bool = False
    metadata: JsonObject = field(default_factory=dict)
    had_metadata: bool = False
    mark: Mark | None = None
    points: int = 0
    health: Health = field(default=Health(), compare=False)

    @property
    def aliases(self) -> frozenset[str]:
        return frozenset(alias for alias, collection in self.holders.items() if collection == self.name != alias)

    @property
    def is_sharded_by_key(self) -> bool:
        """Does every point need a shard key?"""
        return is_sharded_by_key(self.config.get("params") or {})

    def tree(self) -> JsonObject:
        """Everything that has a path: the vectors and the blocks, under one root."""
        return {"vectors": dict(self.vectors), "sparse_vectors": dict(self.sparse_vectors), **self.config}


async def observe(database: Database, name: str, aliases: Iterable[str] = ()) -> Observed:
    """Reads one collection.

    name: the physical collection. aliases: those that are wanted; if one is the name of a collection, `holders` says
    so. Raises Terminal AliasTaken if `name` is an alias (Qdrant would lead us to another's collection, to change it),
    UnknownMark.
    """
    holders = await database.aliases()
    require_no_alias(name, holders)
    if set(aliases) - holders.keys():
        holders = {**{other: other for other in await database.collection_names()}, **holders}
    found = await database.collection(name)
    distributed = database.info.distributed
    if found is None:
        return Observed(name=name, exists=False, holders=holders, distributed=distributed)
    collection = replace(observed(name, found, holders), distributed=distributed)
    if not collection.is_sharded_by_key:
        return collection
    return replace(collection, shard_keys=await database.shard_keys(name))


def require_no_alias(name: str, holders: Mapping[str, str]) -> None:
    """Can a collection have this name? holders: aliases, to what they lead to. Raises Terminal AliasTaken."""
    if name in holders:
        raise Terminal(
            Reason.ALIAS_TAKEN,
            f"{name!r} is an alias of collection {holders[name]!r}, so no collection can have this name; "
            "delete the alias, or choose another collectionName",
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
    return Observed(
        name=name,
        exists=True,
        vectors=normal_vectors(vectors),
        sparse_vectors={key: pruned(value or {}) for key, value in sparse.items()},
        config={block: normal for block, body in blocks.items() if (normal := pruned(body))},
        indexes={
            canonical_path(key): _observed_index(index)
            for key, index in (collection.get("payload_schema") or {}).items()
        },
        holders=holders,
        metadata=dict(config.get("metadata") or {}),
        had_metadata=has_metadata(collection),
        mark=mark_of(collection, name),
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


def normal_vectors(vectors: Mapping[str, Any]) -> dict[str, JsonObject]:
    """Dense vectors by name; a single one that lies flat is the unnamed one."""
    if isinstance(vectors.get("size"), int):
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


def _observed_index(index: Mapping[str, Any]) -> JsonObject:
    return canonical_index({"type": index.get("data_type"), **(index.get("params") or {})})


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
