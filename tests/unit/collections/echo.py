"""Qdrant 1.16.3 as far as collections go, in memory: echoes what it knows, fills in and merges as the real one does.

For tests of what cannot be made to happen on a real server: being killed at every call, another version, lost answers.
`tests/integration/collections` holds the real one to the same rules.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np

from vectorops.api.reasons import Reason
from vectorops.errors import Conflict, OutcomeUnknown, Rejected
from vectorops.qdrant.database import ServerInfo, ShardsOfKey

FILLED: dict[str, dict[str, Any]] = {
    "hnsw_config": {
        "m": 16,
        "ef_construct": 100,
        "full_scan_threshold": 10000,
        "max_indexing_threads": 0,
        "on_disk": False,
    },
    "optimizers_config": {
        "deleted_threshold": 0.2,
        "vacuum_min_vector_number": 1000,
        "default_segment_number": 0,
        "max_segment_size": None,
        "memmap_threshold": None,
        "indexing_threshold": 10000,
        "flush_interval_sec": 5,
        "max_optimization_threads": None,
    },
    "wal_config": {"wal_capacity_mb": 32, "wal_segments_ahead": 0, "wal_retain_closed": 1},
}
PARAMS = {"shard_number": 1, "replication_factor": 1, "write_consistency_factor": 1, "on_disk_payload": True}
FILLED_INDEX: dict[str, dict[str, Any]] = {
    "integer": {"lookup": None, "range": None, "is_principal": None},
    "float": {"is_principal": None},
    "datetime": {"is_principal": None},
    "text": {"tokenizer": "word"},
}
FROZEN = {"size", "distance", "datatype", "multivector_config"}
FROZEN_PARAMS = {"shard_number", "sharding_method"}
UNKNOWN = "unknown_option"
"""An option that this Qdrant does not know: dropped wherever it stands."""


class Killed(BaseException):
    """The process was killed; nothing may catch this."""


class EchoingQdrant:
    """See the module.

    kill_at: number of the write at which the process dies; after: once it was carried out. answers_lost: of all writes.
    optimizing: a deleted index is still shown. It is one node of a distributed Qdrant.
    """

    endpoint = "memory"

    def __init__(self) -> None:
        self.collections: dict[str, dict[str, Any]] = {}
        self.alias_map: dict[str, str] = {}
        self.writes: list[tuple[str, Any]] = []
        self.kill_at: int | None = None
        self.after = False
        self.answers_lost = False
        self.optimizing = False
        self.info = ServerInfo(version="1.16.3", distributed=True)

    # ---- reading

    async def collection(self, name: str) -> dict[str, Any] | None:
        found = self.collections.get(self.alias_map.get(name, name))
        return copy.deepcopy(found)

    async def collection_names(self) -> list[str]:
        return list(self.collections)

    async def aliases(self) -> dict[str, str]:
        return dict(self.alias_map)

    async def shard_keys(self, name: str) -> dict[str | int, ShardsOfKey]:
        return dict(self.collections[name]["shard_keys"])

    # ---- writing

    async def create_collection(self, name: str, body: dict[str, Any]) -> None:
        self._write(("create_collection", name, body), lambda: self._create(name, body))

    async def update_collection(self, name: str, body: dict[str, Any]) -> None:
        self._write(("update_collection", name, body), lambda: self._patch(self.collections[name]["config"], body))

    async def delete_collection(self, name: str) -> None:
        self._write(("delete_collection", name), lambda: self._delete(name))

    async def create_shard_key(self, name: str, key: str | int, body: dict[str, Any]) -> None:
        self._write(("create_shard_key", key, body), lambda: self._shard_key(name, key, body))

    async def delete_shard_key(self, name: str, key: str | int) -> None:
        self._write(("delete_shard_key", key), lambda: self.collections[name]["shard_keys"].pop(key))

    async def create_index(self, name: str, path: str, schema: dict[str, Any]) -> None:
        self._write(("create_index", path, schema), lambda: self._index(name, path, schema))

    async def delete_index(self, name: str, path: str) -> None:
        indexes = self.collections[name]["payload_schema"]
        self._write(("delete_index", path), lambda: None if self.optimizing else indexes.pop(path, None))

    async def create_alias(self, alias: str, collection: str) -> None:
        self._write(("create_alias", alias), lambda: self._alias(alias, collection))

    async def move_alias(self, alias: str, collection: str) -> None:
        self._write(("move_alias", alias), lambda: self._alias(alias, collection))

    async def delete_alias(self, alias: str) -> None:
        self._write(("delete_alias", alias), lambda: self.alias_map.pop(alias, None))

    async def create_vector_name(self, name: str, vector: str, body: dict[str, Any]) -> None:
        params = self.collections[name]["config"]["params"]
        kind, key = ("dense", "vectors") if "dense" in body else ("sparse", "sparse_vectors")
        options = dict(body[kind])
        if kind == "sparse" and "datatype" in options:
            options["index"] = {"datatype": options.pop("datatype")}
        self._write(("create_vector_name", vector), lambda: params.setdefault(key, {}).update({vector: options}))

    async def delete_vector_name(self, name: str, vector: str) -> None:
        params = self.collections[name]["config"]["params"]
        self._write(
            ("delete_vector_name", vector),
            lambda: [params.get(key, {}).pop(vector, None) for key in ("vectors", "sparse_vectors")],
        )

    # ---- how it does it

    def _write(self, call: tuple[Any, ...], carry_out: Any) -> None:
        number = len(self.writes)
        self.writes.append((call[0], call[1:]))
        if self.kill_at == number and not self.after:
            raise Killed
        carry_out()
        if self.kill_at == number:
            raise Killed
        if self.answers_lost:
            raise OutcomeUnknown(Reason.UNREACHABLE, "the answer was lost")

    def _create(self, name: str, body: dict[str, Any]) -> None:
        if name in self.collections:
            raise Conflict(Reason.REQUEST_REJECTED, f"Collection `{name}` already exists!", status=409)
        params = {key: body[key] for key in (*PARAMS, "sharding_method") if key in body}
        config: dict[str, Any] = {
            "params": {**PARAMS, **params, "vectors": _known(body.get("vectors", {}))},
            "optimizer_config": {**FILLED["optimizers_config"], **_known(body.get("optimizers_config") or {})},
            "quantization_config": _known(body.get("quantization_config")),
            **{
                block: {
                    **FILLED[block],
                    **{k: v for k, v in (body.get(block) or {}).items() if k in FILLED[block] or k == "payload_m"},
                }
                for block in ("hnsw_config", "wal_config")
            },
        }
        if body.get("sparse_vectors"):
            config["params"]["sparse_vectors"] = _known(body["sparse_vectors"])
        if body.get("strict_mode_config"):
            config["strict_mode_config"] = _known(body["strict_mode_config"])
        if config["optimizer_config"]["max_optimization_threads"] == "auto":
            config["optimizer_config"]["max_optimization_threads"] = None
        config["metadata"] = copy.deepcopy(body.get("metadata", {}))
        self.collections[name] = {
            "status": "green",
            "points_count": 0,
            "config": config,
            "payload_schema": {},
            "shard_keys": {},
        }

    def _patch(self, config: dict[str, Any], body: dict[str, Any]) -> None:
        body = _known(body)
        threads = body.get("optimizers_config", {})
        if threads.get("max_optimization_threads") == "auto":
            config["optimizer_config"]["max_optimization_threads"] = None
            threads = {key: value for key, value in threads.items() if key != "max_optimization_threads"}
        _merge(config["optimizer_config"], threads)
        _merge(config["params"], {k: v for k, v in body.get("params", {}).items() if k not in FROZEN_PARAMS})
        _merge(config["hnsw_config"], body.get("hnsw_config", {}))
        vectors = config["params"]["vectors"]
        for name, change in body.get("vectors", {}).items():
            params = vectors if name == "" and "size" in vectors else vectors[name]
            _quantize(params, change)
            _merge(params, {k: v for k, v in change.items() if k not in FROZEN and k != "quantization_config"})
        _quantize(config, body)
        for name, change in body.get("sparse_vectors", {}).items():
            _merge(config["params"]["sparse_vectors"][name], change)
        strict = body.get("strict_mode_config", {})
        if strict:
            config.setdefault("strict_mode_config", {}).update(strict)
        merged = config["metadata"] | copy.deepcopy(body.get("metadata", {}))
        config["metadata"] = {key: value for key, value in merged.items() if value is not None}

    def _shard_key(self, name: str, key: str | int, body: dict[str, Any]) -> None:
        params, there = self.collections[name]["config"]["params"], self.collections[name]["shard_keys"]
        if not self.info.distributed or params.get("sharding_method") != "custom" or key in there:
            raise Rejected(Reason.REQUEST_REJECTED, "Bad request: no shard key can be created", status=400)
        shards = body.get("shards_number", params["shard_number"])
        there[key] = ShardsOfKey(shards, body.get("replication_factor", params["replication_factor"]), points=0)

    def _index(self, name: str, path: str, schema: dict[str, Any]) -> None:
        is_custom = self.collections[name]["config"]["params"].get("sharding_method") == "custom"
        if is_custom and not self.collections[name]["shard_keys"]:
            raise Rejected(Reason.REQUEST_REJECTED, "Wrong input: Shard key not specified", status=400)
        found = self.collections[name]
        strict = found["config"].get("strict_mode_config", {})
        limit = strict.get("max_payload_index_count") if strict.get("enabled") else None
        if limit is not None and len(found["payload_schema"]) >= limit:
            message = f"Collection already has the maximum number of payload indices ({limit})"
            raise Rejected(Reason.REQUEST_REJECTED, message, status=400)
        known = _known(schema)
        params = {**FILLED_INDEX.get(known["type"], {}), **known}
        if isinstance(words := params.get("stopwords"), dict):
            params["stopwords"] = {key: sorted(set(value)) for key, value in words.items()}
        found["payload_schema"][path] = {"data_type": known["type"], "params": params, "points": 0}

    def _alias(self, alias: str, collection: str) -> None:
        if alias in self.collections:
            raise Conflict(Reason.REQUEST_REJECTED, "a collection of this name exists", status=409)
        self.alias_map[alias] = collection

    def _delete(self, name: str) -> None:
        self.collections.pop(name, None)
        self.alias_map = {alias: at for alias, at in self.alias_map.items() if at != name}


def _known(value: Any) -> Any:
    if isinstance(value, Mapping):
        known = {key: _known(inner) for key, inner in value.items() if key != UNKNOWN}
        if "quantile" in known:
            # Kept as a float32, shown in the fewest digits.
            known["quantile"] = float(str(np.float32(known["quantile"])))
        return known
    return copy.deepcopy(value)


def _merge(base: dict[str, Any], change: Mapping[str, Any]) -> None:
    for key, value in change.items():
        if isinstance(value, Mapping) and isinstance(base.get(key), dict):
            _merge(base[key], value)
        elif value is not None:
            base[key] = value


def _quantize(config: dict[str, Any], change: Mapping[str, Any]) -> None:
    quantization = change.get("quantization_config")
    if quantization == "Disabled":
        config.pop("quantization_config", None)
    elif quantization:
        config["quantization_config"] = quantization
