"""The configuration that a server returns after a collection was created and changed.

qdrant-client's local mode keeps only vectors and metadata. `local` keeps the other options with these functions, in the
form of `result.config` and `result.payload_schema` of a server's GET, so that a plan for a folder equals the plan for a
server. The rules are Qdrant 1.16's: unknown options are dropped silently, null means absent, blocks are merged field by
field, a quantization replaces the former one, and frozen options stay without an error.

The types of options are checked with the client's models; the ranges of numbers are not.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any, Final, get_args

from pydantic import BaseModel, TypeAdapter
from qdrant_client import models

from vectorops.api.meta import JsonObject
from vectorops.api.reasons import Reason
from vectorops.errors import Rejected
from vectorops.qdrant.observe import is_flat

HNSW: Final[JsonObject] = {
    "m": 16,
    "ef_construct": 100,
    "full_scan_threshold": 10000,
    "max_indexing_threads": 0,
    "on_disk": False,
}
OPTIMIZERS: Final[JsonObject] = {
    "deleted_threshold": 0.2,
    "vacuum_min_vector_number": 1000,
    "default_segment_number": 0,
    "max_segment_size": None,
    "memmap_threshold": None,
    "indexing_threshold": 10000,
    "flush_interval_sec": 5,
    "max_optimization_threads": None,
}
WAL: Final[JsonObject] = {"wal_capacity_mb": 32, "wal_segments_ahead": 0, "wal_retain_closed": 1}
PARAMS: Final[JsonObject] = {
    "shard_number": 1,
    "replication_factor": 1,
    "write_consistency_factor": 1,
    "on_disk_payload": True,
}
CREATE_PARAMS: Final = (*PARAMS, "sharding_method", "payload", "id_tracker")
"""Options at the top level of a create that are in `params` of a GET."""

INDEX_MODELS: Final[Mapping[str, type[BaseModel]]] = {
    "keyword": models.KeywordIndexParams,
    "integer": models.IntegerIndexParams,
    "float": models.FloatIndexParams,
    "geo": models.GeoIndexParams,
    "text": models.TextIndexParams,
    "bool": models.BoolIndexParams,
    "datetime": models.DatetimeIndexParams,
    "uuid": models.UuidIndexParams,
}
INDEX_FILLED: Final[Mapping[str, JsonObject]] = {
    "integer": {"lookup": None, "range": None, "is_principal": None},
    "float": {"is_principal": None},
    "datetime": {"is_principal": None},
    "text": {"tokenizer": "word"},
}
"""What a GET adds for an index that was made with parameters."""

DISABLED: Final = "Disabled"


def config_after_create(body: JsonObject) -> JsonObject:
    """`config` after a create. Raises Rejected, or pydantic's ValidationError, for what Qdrant would refuse."""
    params = PARAMS | {key: body[key] for key in CREATE_PARAMS if body.get(key) is not None}
    vectors = body.get("vectors") or {}
    if is_flat(vectors):
        params["vectors"] = _known(models.VectorParams, vectors)
    else:
        params["vectors"] = {name: _known(models.VectorParams, one) for name, one in vectors.items()}
    if sparse := body.get("sparse_vectors"):
        params["sparse_vectors"] = {name: _known(models.SparseVectorParams, one or {}) for name, one in sparse.items()}
    config: JsonObject = {
        "params": params,
        "hnsw_config": HNSW | _known(models.HnswConfigDiff, body.get("hnsw_config")),
        "optimizer_config": OPTIMIZERS | _optimizers(body.get("optimizers_config")),
        "wal_config": WAL | _known(models.WalConfigDiff, body.get("wal_config")),
        "quantization_config": _quantization(body.get("quantization_config"), models.QuantizationConfig),
    }
    if body.get("strict_mode_config") is not None:
        config["strict_mode_config"] = _known(models.StrictModeConfig, body["strict_mode_config"])
    return config


def config_after_patch(config: JsonObject, body: JsonObject) -> JsonObject:
    """`config` after a PATCH."""
    config = deepcopy(config)
    params = config["params"]
    config["optimizer_config"] |= _optimizers(body.get("optimizers_config"))
    params |= _known(models.CollectionParamsDiff, body.get("params"))
    config["hnsw_config"] |= _known(models.HnswConfigDiff, body.get("hnsw_config"))
    for name, change in (body.get("vectors") or {}).items():
        _patch_vector(_find_vector(params["vectors"], name), change or {})
    if (quantization := _quantization(body.get("quantization_config"), models.QuantizationConfigDiff)) is not None:
        config["quantization_config"] = None if quantization == DISABLED else quantization
    for name, change in (body.get("sparse_vectors") or {}).items():
        _merge(_find_vector(params.get("sparse_vectors", {}), name), _known(models.SparseVectorParams, change or {}))
    if body.get("strict_mode_config") is not None:
        strict = _known(models.StrictModeConfig, body["strict_mode_config"])
        config["strict_mode_config"] = config.get("strict_mode_config", {}) | strict
    return config


def with_vectors_of(kept: JsonObject, config: JsonObject) -> JsonObject:
    """`config` with the named vectors of `kept`: local mode itself adds and removes them."""
    params, actual = dict(config["params"]), kept["params"]
    for kind in ("vectors", "sparse_vectors"):
        names, options = actual.get(kind) or {}, params.get(kind) or {}
        if is_flat(options) and not is_flat(names):
            # A named vector was added, so the unnamed vector is now among the named ones, with an empty name.
            options = {"": options}
        if not is_flat(options):
            params[kind] = {name: options.get(name, added or {}) for name, added in names.items()}
    if not params["sparse_vectors"]:
        del params["sparse_vectors"]
    return {**config, "params": params}


def index_after_put(schema: JsonObject | str) -> JsonObject:
    """One entry of `payload_schema`, without its number of points."""
    if isinstance(schema, str):
        return {"data_type": TypeAdapter(models.PayloadSchemaType).validate_python(schema).value}
    kind = str(schema.get("type"))
    if kind not in INDEX_MODELS:
        raise Rejected(Reason.REQUEST_REJECTED, "payload index: unknown type", status=400)
    given = _known(INDEX_MODELS[kind], schema)
    if (scoring := given.pop("scoring", None)) is not None and scoring is not False:
        given["scoring"] = {"type": "bm25"}
    if isinstance(words := given.get("stopwords"), Mapping) and words.get("custom"):
        given["stopwords"] = {**words, "custom": sorted(set(words["custom"]))}
    return {"data_type": kind, "params": {"type": kind} | INDEX_FILLED.get(kind, {}) | given}


def _find_vector(vectors: JsonObject, name: str) -> JsonObject:
    if name == "" and is_flat(vectors):
        return vectors
    if name not in vectors:
        raise Rejected(Reason.REQUEST_REJECTED, f"Wrong input: Not existing vector name error: {name}", status=400)
    found: JsonObject = vectors[name]
    return found


def _patch_vector(vector: JsonObject, change: JsonObject) -> None:
    given = _known(models.VectorParamsDiff, change)
    quantization = _quantization(given.pop("quantization_config", None), models.QuantizationConfigDiff)
    if quantization == DISABLED:
        vector.pop("quantization_config", None)
    elif quantization is not None:
        vector["quantization_config"] = quantization
    _merge(vector, given)


def _merge(target: JsonObject, change: JsonObject) -> None:
    """In place: objects field by field, all else replaced."""
    for key, value in change.items():
        if isinstance(value, dict):
            target[key] = target.get(key, {}) | value
        else:
            target[key] = value


def _optimizers(block: JsonObject | None) -> JsonObject:
    given = _known(models.OptimizersConfigDiff, block)
    if given.get("max_optimization_threads") == "auto":
        given["max_optimization_threads"] = None
    return given


def _quantization(given: Any, allowed: Any) -> Any:
    if given is None:
        return None
    TypeAdapter(allowed).validate_python(given)
    return given


def _known(model: type[BaseModel], block: JsonObject | None) -> JsonObject:
    """The options of a block that Qdrant knows and that are not null. Raises ValidationError."""
    known: JsonObject = {}
    for name, field in model.model_fields.items():
        value = (block or {}).get(name)
        if value is None:
            continue
        kinds = [kind for kind in get_args(field.annotation) if isinstance(kind, type) and issubclass(kind, BaseModel)]
        # A union (a quantization) is checked, and kept unchanged.
        known[name] = _known(kinds[0], value) if len(kinds) == 1 and isinstance(value, dict) else deepcopy(value)
    model.model_validate(known)
    return known
