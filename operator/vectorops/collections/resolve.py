"""What a collection should be, worked out from its resource without talking to anyone.

`resolve_collection` brings a spec into the normal form of `qdrant.observe`: what the user set, what the models say
of vectors that have an embedder, and the defaults that we promise.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from vectorops.api.collection import (
    PayloadIndex,
    QdrantCollectionSpec,
    SchemaStatus,
    ShardKey,
    SparseVector,
    Vector,
    VectorStatus,
)
from vectorops.api.embedder import MAX_SIZE, EmbedderStatus
from vectorops.api.meta import GROUP, JsonObject
from vectorops.api.reasons import Reason
from vectorops.embedders.base import Resolved
from vectorops.errors import Rejected, Terminal
from vectorops.qdrant.database import UNNAMED
from vectorops.qdrant.observe import (
    BLOCKS,
    DATATYPE,
    canonical_index,
    is_sharded_by_key,
    normal_vectors,
    parsed_path,
    pruned,
)
from vectorops.qdrant.wire import dumps

DISTANCE: Final = "Cosine"
"""Of a vector for which neither the spec nor a model names one."""

SAME_IF_NORMALIZED: Final = frozenset({"Cosine", "Dot"})
"""Distances that agree about vectors of length 1."""

COMPARATOR: Final = "max_sim"
"""The only comparator of multivectors that Qdrant has."""

DECLARED: Final = "declared"
DEFAULT: Final = "default"

SUMMARY_VECTORS: Final = 6
"""Most vectors in the summary; a line of `kubectl get` has no room for more."""

OWN_FIELDS: Final[Mapping[str, Mapping[str, str]]] = {
    "vector": {
        "size": "size",
        "distance": "distance",
        "datatype": "datatype",
        "multivector_config": "multivector",
        "hnsw_config": "hnswConfig",
        "quantization_config": "quantizationConfig",
    },
    "params": {
        "vectors": "spec.vectors",
        "sparse_vectors": "spec.sparseVectors",
        "hnsw_config": "spec.hnswConfig",
        "optimizers_config": "spec.optimizersConfig",
        "optimizer_config": "spec.optimizersConfig",
        "quantization_config": "spec.quantizationConfig",
        "wal_config": "spec.walConfig",
        "strict_mode_config": "spec.strictModeConfig",
        "metadata": "spec.metadata",
    },
}
"""By verbatim object: keys that it may not hold, to the field of the spec that they belong into. The body of a create
is flat, so they would collide.
"""


@dataclass(frozen=True, slots=True)
class Desired:
    """A collection as declared, in normal form; see `qdrant.observe.Observed` for the shapes."""

    name: str
    vectors: Mapping[str, JsonObject]
    sparse_vectors: Mapping[str, JsonObject] = field(default_factory=dict)
    config: Mapping[str, JsonObject] = field(default_factory=dict)
    """Only what the user set."""
    indexes: Mapping[str, JsonObject] = field(default_factory=dict)
    aliases: frozenset[str] = frozenset()
    shard_keys: Mapping[str, JsonObject] = field(default_factory=dict)
    """By key: the options that it is created with, as in Qdrant's request."""
    metadata: JsonObject = field(default_factory=dict)
    """By top-level key; None: the key must not exist."""
    embedders: Mapping[str, Resolved] = field(default_factory=dict)
    """By the vector's name: the model that makes it."""
    sources: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """By the vector's name: where each property of it comes from, for people."""

    def tree(self) -> JsonObject:
        """Everything that has a path: the vectors and the blocks, under one root."""
        return {"vectors": dict(self.vectors), "sparse_vectors": dict(self.sparse_vectors), **self.config}

    @property
    def metadata_keys(self) -> frozenset[str]:
        """Keys of the metadata that must exist."""
        return frozenset(key for key, value in self.metadata.items() if value is not None)

    @property
    def hash(self) -> str:
        """Hash of what is declared about the collection itself: 16 hexadecimal digits.

        Policies are no part of it. Of models only the schema of their vectors is: embedder locks keep the rest.
        """
        content: list[Any] = [self.name, self.tree(), self.indexes, sorted(self.aliases)]
        # Only where they are declared: the hashes of all other collections are in their marks and must not change.
        content += [{"shard_keys": self.shard_keys}] if self.shard_keys else []
        content += [{"metadata": self.metadata}] if self.metadata else []
        canonical = json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def resolve_collection(
    spec: QdrantCollectionSpec, name: str, embedders: Mapping[str, Resolved] = MappingProxyType({})
) -> Desired:
    """The collection that a resource declares. Raises Terminal InvalidSpec with the field and what to do.

    name: of the physical collection. embedders: what each declared embedder was resolved to, by the vector's name.
    """
    aliases = frozenset(spec.aliases or [])
    if name in aliases:
        raise _invalid("spec.aliases", f"{name!r} is the name of the collection itself")
    dense = {vector.name: (vector, f"spec.vectors[{n}]") for n, vector in enumerate(spec.vectors or [])}
    unnamed = {UNNAMED: (spec.vector, "spec.vector")} if spec.vector is not None else {}
    vectors = {
        vector: _dense_params(declared, embedders[vector] if declared.embedder else None, place)
        for vector, (declared, place) in (dense | unnamed).items()
    }
    terms = {vector.name: (vector, f"spec.sparseVectors[{n}]") for n, vector in enumerate(spec.sparse_vectors or [])}
    sparse = {
        vector: _sparse_params(declared, embedders[vector] if declared.embedder else None, place)
        for vector, (declared, place) in terms.items()
    }
    _refuse_own_fields("params", spec.params or {}, "spec.params")
    if spec.shard_keys and not is_sharded_by_key(spec.params or {}):
        raise _invalid("spec.shardKeys", "Qdrant takes shard keys with params.sharding_method: custom only; declare it")
    return Desired(
        name=name,
        vectors=normal_vectors({vector: params for vector, (params, _) in vectors.items()}),
        sparse_vectors={vector: params for vector, (params, _) in sparse.items()},
        config={block: normal for block in BLOCKS if (normal := pruned(getattr(spec, block) or {}))},
        indexes=_resolve_indexes(spec.payload_indexes or []),
        aliases=aliases,
        shard_keys={key.name: _shard_key(key) for key in spec.shard_keys or []},
        metadata=_checked_metadata(spec.metadata or {}),
        embedders=embedders,
        sources={vector: sources for vector, (_, sources) in (vectors | sparse).items()},
    )


def schema_status(desired: Desired) -> SchemaStatus:
    """The vectors as resolved, for the status: `text 384 Cosine, image 512 Dot float16, terms sparse`."""
    vectors = [_vector_status(desired, name, params) for name, params in sorted(desired.vectors.items())]
    vectors += [_vector_status(desired, name, None) for name in sorted(desired.sparse_vectors)]
    words = [_summarize(vector) for vector in vectors]
    if len(words) > SUMMARY_VECTORS:
        words[SUMMARY_VECTORS - 1 :] = [f"and {len(words) - SUMMARY_VECTORS + 1} more"]
    return SchemaStatus(summary=", ".join(words) or "no vectors", vectors=vectors)


def _vector_status(desired: Desired, name: str, params: JsonObject | None) -> VectorStatus:
    """params: None for a sparse vector."""
    embedder = desired.embedders.get(name)
    shown = None
    if embedder is not None:
        shown = EmbedderStatus(
            provider=embedder.provider,
            model=embedder.model,
            revision=embedder.revision or None,
            dimensions=embedder.dimensions,
            base_url=embedder.base_url or None,
            document_prompt=embedder.document_prompt or None,
            query_prompt=embedder.query_prompt or None,
            document_extra_body=embedder.document_extra_body or None,
            query_extra_body=embedder.query_extra_body or None,
            identity=embedder.identity,
        )
    sources = dict(desired.sources.get(name, {}))
    if params is None:
        return VectorStatus(name=name, kind="sparse", embedder=shown, sources=sources)
    return VectorStatus(
        name=name,
        kind="multivector" if "multivector_config" in params else "dense",
        size=params["size"],
        distance=params["distance"],
        datatype=params["datatype"],
        embedder=shown,
        sources=sources,
    )


def _summarize(vector: VectorStatus) -> str:
    if vector.kind == "sparse":
        return f"{vector.name} sparse"
    words = [vector.name, str(vector.size), vector.distance]
    words += [vector.datatype] if vector.datatype != DATATYPE else []
    words += ["multivector"] if vector.kind == "multivector" else []
    return " ".join(word for word in words if word)


def _dense_params(vector: Vector, model: Resolved | None, place: str) -> tuple[JsonObject, dict[str, str]]:
    """The parameters of a dense vector, and the source of each of its properties."""
    params = vector.params or {}
    _refuse_own_fields("vector", params, f"{place}.params")
    if model is not None:
        _check_dense(vector, model, place)
    is_multivector = vector.multivector is not None or (model is not None and model.kind == "multivector")
    stated = model.distance if model is not None else None
    typed = {
        "size": vector.size if model is None else model.size,
        "distance": vector.distance or stated or DISTANCE,
        "datatype": vector.datatype,
        "multivector_config": {"comparator": COMPARATOR} if is_multivector else None,
        "hnsw_config": vector.hnsw_config,
        "quantization_config": vector.quantization_config,
    }
    sources = {
        "kind": DECLARED,
        "size": DECLARED,
        "distance": DEFAULT,
        **(model.sources if model is not None else {}),
        "datatype": DECLARED if vector.datatype else DEFAULT,
    }
    return params | typed, sources | ({"distance": DECLARED} if vector.distance else {})


def _check_dense(vector: Vector, model: Resolved, place: str) -> None:
    """Compares what is declared beside the embedder with its model. Raises Terminal InvalidSpec with both values."""
    if model.kind == "sparse":
        raise _invalid(f"{place}.embedder", f"{model.words} gives sparse vectors: declare it under spec.sparseVectors")
    if model.size is None or model.size > MAX_SIZE:
        cure = "declare the embedder's `dimensions`, or name another model"
        raise _invalid(
            f"{place}.embedder", f"{model.words} gives size {model.size}, and Qdrant takes at most {MAX_SIZE}: {cure}"
        )
    if vector.multivector is not None and model.kind != "multivector":
        given = f"{model.words} gives one vector for a text{_by(model, 'kind')}"
        raise _invalid(f"{place}.multivector", f"{COMPARATOR} is declared, and {given}: remove `multivector`")
    stated, declared = model.distance, vector.distance
    agree = declared == stated or (model.normalized and {declared, stated} == SAME_IF_NORMALIZED)
    if declared is not None and stated is not None and not agree:
        given = f"{model.words} states {stated}{_by(model, 'distance')}"
        raise _invalid(f"{place}.distance", f"{declared} is declared, and {given}: remove `distance`")
    if vector.datatype == "uint8":
        given = f"{model.words} gives fractions, which would all become 0 or 1"
        raise _invalid(f"{place}.datatype", f"uint8 is declared, and {given}: declare float32 or float16")


def _sparse_params(vector: SparseVector, model: Resolved | None, place: str) -> tuple[JsonObject, dict[str, str]]:
    """The parameters of a sparse vector, and the source of each of its properties."""
    if model is not None:
        _check_sparse(vector, model, place)
    stated = model.modifier if model is not None else None
    params = pruned({"modifier": vector.modifier or stated, "index": vector.index})
    sources = {"kind": DECLARED, **(model.sources if model is not None else {})}
    return params, sources | ({"modifier": DECLARED} if vector.modifier else {})


def _check_sparse(vector: SparseVector, model: Resolved, place: str) -> None:
    """Like `_check_dense`."""
    if model.kind != "sparse":
        given = f"{model.words} gives {model.kind} vectors of size {model.size}"
        raise _invalid(f"{place}.embedder", f"{given}: declare it under spec.vectors")
    if vector.modifier == "none" and model.modifier is not None:
        given = f"{model.words} states {model.modifier}{_by(model, 'modifier')}"
        raise _invalid(f"{place}.modifier", f"none is declared, and {given}: remove `modifier`")


def _by(model: Resolved, what: str) -> str:
    """Where a model states something, if that is known."""
    return f" ({model.sources[what]})" if what in model.sources else ""


def _resolve_indexes(declared: list[PayloadIndex]) -> dict[str, JsonObject]:
    indexes: dict[str, JsonObject] = {}
    for number, index in enumerate(declared):
        place, path = f"spec.payloadIndexes[{number}]", parsed_path(index.field)
        if path is None:
            raise _invalid(
                f"{place}.field",
                f"{index.field!r} is not the path of a payload field: keys of letters, digits, _ and -, joined by "
                'dots, with [] behind a key that holds a list; put any other key in double quotes, as in a."b c"',
            )
        if path in indexes:
            raise _invalid(f"{place}.field", f"another index is on {path!r} already")
        if not isinstance(index.schema_.get("type"), str):
            raise _invalid(f"{place}.schema.type", "must name the type of the index, for instance keyword")
        indexes[path] = canonical_index(index.schema_)
    return indexes


def _shard_key(declared: ShardKey) -> JsonObject:
    given = {
        "shards_number": declared.shards_number,
        "replication_factor": declared.replication_factor,
        "placement": declared.placement,
    }
    return {name: value for name, value in given.items() if value is not None}


def _checked_metadata(declared: JsonObject) -> JsonObject:
    for key in sorted(declared):
        if key.startswith(f"{GROUP}/"):
            raise _invalid("spec.metadata", f"the key {key!r}: keys that begin with {GROUP}/ belong to the operator")
    try:
        dumps(declared)
    except Rejected as error:
        raise _invalid("spec.metadata", error.message) from None
    return declared


def _refuse_own_fields(kind: str, verbatim: Mapping[str, Any], place: str) -> None:
    """Raises Terminal InvalidSpec for a key of a verbatim object that has its own field in the spec."""
    for key in sorted(verbatim.keys() & OWN_FIELDS[kind].keys()):
        raise _invalid(f"{place}.{key}", f"belongs into {OWN_FIELDS[kind][key]}")


def _invalid(place: str, words: str) -> Terminal:
    return Terminal(Reason.INVALID_SPEC, f"{place}: {words}")
