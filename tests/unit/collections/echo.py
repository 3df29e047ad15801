"""A Qdrant in memory, as far as collections go: it answers by the rules of `qdrant.echo`.

For tests of what a real server cannot be made to do: a process that is killed at every request, another version, lost
answers. `tests/integration/collections` holds real servers to the same rules.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import numpy as np

from vectorops.api.reasons import Reason
from vectorops.errors import Conflict, OutcomeUnknown, Rejected
from vectorops.qdrant import echo
from vectorops.qdrant.database import ServerInfo, ShardsOfKey

UNKNOWN = "unknown_option"
"""An option that no Qdrant knows: it is dropped wherever it stands."""


class Killed(BaseException):
    """The process was killed; nothing may catch this."""


class EchoingQdrant:
    """One node of a distributed Qdrant."""

    endpoint = "memory"

    def __init__(self) -> None:
        self.collections: dict[str, dict[str, Any]] = {}
        self.alias_map: dict[str, str] = {}
        self.writes: list[tuple[str, Any]] = []
        self.kill_at: int | None = None
        """Number of the write at which the process is killed."""
        self.after = False
        """Is it killed after that write was carried out?"""
        self.answers_lost = False
        """Are the answers of all writes lost?"""
        self.optimizing = False
        """Does it still show deleted indexes?"""
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
        self._write(("update_collection", name, body), lambda: self._patch(name, body))

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

    async def move_aliases(self, aliases: Iterable[str], collection: str) -> None:
        for alias in aliases:
            self._write(("move_alias", alias), partial(self._alias, alias, collection))

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

    def _write(self, call: tuple[Any, ...], carry_out: Callable[[], object]) -> None:
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
        self.collections[name] = {
            "status": "green",
            "points_count": 0,
            "config": _rounded(echo.config_after_create(body)) | {"metadata": copy.deepcopy(body.get("metadata", {}))},
            "payload_schema": {},
            "shard_keys": {},
        }

    def _patch(self, name: str, body: dict[str, Any]) -> None:
        config = self.collections[name]["config"]
        merged = config["metadata"] | copy.deepcopy(body.get("metadata", {}))
        metadata = {key: value for key, value in merged.items() if value is not None}
        self.collections[name]["config"] = _rounded(echo.config_after_patch(config, body)) | {"metadata": metadata}

    def _shard_key(self, name: str, key: str | int, body: dict[str, Any]) -> None:
        params, there = self.collections[name]["config"]["params"], self.collections[name]["shard_keys"]
        if not self.info.distributed or params.get("sharding_method") != "custom" or key in there:
            raise Rejected(Reason.REQUEST_REJECTED, "Bad request: no shard key can be created", status=400)
        shards = body.get("shards_number", params["shard_number"])
        there[key] = ShardsOfKey(shards, body.get("replication_factor", params["replication_factor"]), points=0)

    def _index(self, name: str, path: str, schema: dict[str, Any]) -> None:
        found = self.collections[name]
        if found["config"]["params"].get("sharding_method") == "custom" and not found["shard_keys"]:
            raise Rejected(Reason.REQUEST_REJECTED, "Wrong input: Shard key not specified", status=400)
        strict = found["config"].get("strict_mode_config", {})
        limit = strict.get("max_payload_index_count") if strict.get("enabled") else None
        if limit is not None and len(found["payload_schema"]) >= limit:
            message = f"Collection already has the maximum number of payload indices ({limit})"
            raise Rejected(Reason.REQUEST_REJECTED, message, status=400)
        found["payload_schema"][path] = echo.index_after_put(schema) | {"points": 0}

    def _alias(self, alias: str, collection: str) -> None:
        if alias in self.collections:
            raise Conflict(Reason.REQUEST_REJECTED, "a collection of this name exists", status=409)
        self.alias_map[alias] = collection

    def _delete(self, name: str) -> None:
        self.collections.pop(name, None)
        self.alias_map = {alias: at for alias, at in self.alias_map.items() if at != name}


def _rounded(value: Any) -> Any:
    """Qdrant keeps a quantile as a float32, and shows it in the fewest digits. A folder keeps it as it was given."""
    if not isinstance(value, dict):
        return value
    return {
        key: float(str(np.float32(inner))) if key == "quantile" and inner is not None else _rounded(inner)
        for key, inner in value.items()
    }
