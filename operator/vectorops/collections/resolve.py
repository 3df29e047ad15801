"""What a collection should be, worked out from its resource without talking to anyone.

`desired` brings a spec into the normal form of `qdrant.collections`: only what the user set, plus the defaults that we
promise. The reconciler shows `schema_status` and hands the rest to `plan`; `points` takes the vectors from here too.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from vectorops.api.collection import (
    PayloadIndex,
    QdrantCollectionSpec,
    SchemaStatus,
    SparseVector,
    Vector,
    VectorStatus,
)
from vectorops.api.meta import JsonObject
from vectorops.api.reasons import Reason
from vectorops.errors import Terminal
from vectorops.qdrant.collections import BLOCKS, DATATYPE, canonical_index, canonical_path, normal_vectors, pruned
from vectorops.qdrant.database import UNNAMED

DISTANCE: Final = "Cosine"
"""Used when the spec names none."""

SUMMARIZED: Final = 6
"""So many vectors stand in the summary; a line of `kubectl get` has no room for more."""

TYPED: Final[Mapping[str, Mapping[str, str]]] = {
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
        "metadata": "",
    },
}
"""What may not stand in a verbatim object, to the field that it belongs into. A create body is flat: these would
collide."""


@dataclass(frozen=True, slots=True)
class Desired:
    """A collection as declared, in normal form; see `qdrant.collections.Observed` for the shapes.

    config: only what the user set.
    """

    name: str
    vectors: Mapping[str, JsonObject]
    sparse_vectors: Mapping[str, JsonObject] = field(default_factory=dict)
    config: Mapping[str, JsonObject] = field(default_factory=dict)
    indexes: Mapping[str, JsonObject] = field(default_factory=dict)
    aliases: frozenset[str] = frozenset()

    def tree(self) -> JsonObject:
        """Everything that has a path: the vectors and the blocks, under one root."""
        return {"vectors": dict(self.vectors), "sparse_vectors": dict(self.sparse_vectors), **self.config}

    @property
    def hash(self) -> str:
        """Of all that is declared about the collection itself (policies are not part of it): 16 hexadecimal digits."""
        content = [self.name, self.tree(), self.indexes, sorted(self.aliases)]
        canonical = json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def desired(spec: QdrantCollectionSpec, resource_name: str) -> Desired:
    """The collection that a resource declares. Raises Terminal InvalidSpec with the field and what to do."""
    name = spec.collection_name or resource_name
    vectors = {vector.name: _vector(vector, f"spec.vectors[{n}]") for n, vector in enumerate(spec.vectors or [])}
    if spec.vector is not None:
        vectors[UNNAMED] = _vector(spec.vector, "spec.vector")
    sparse = {vector.name: _sparse_vector(vector) for vector in spec.sparse_vectors or []}
    _refuse_typed("params", spec.params or {}, "spec.params")
    return Desired(
        name=name,
        vectors=normal_vectors(vectors),
        sparse_vectors=sparse,
        config={block: normal for block in BLOCKS if (normal := pruned(getattr(spec, block) or {}))},
        indexes=_indexes(spec.payload_indexes or []),
        aliases=_aliases(spec.aliases or [], name),
    )


def schema_status(desired: Desired) -> SchemaStatus:
    """The vectors as resolved, for the status: `text 384 Cosine, image 512 Dot float16, terms sparse`."""
    vectors = [_status(name, params) for name, params in sorted(desired.vectors.items())]
    vectors += [
        VectorStatus(name=name, kind="sparse", sources={"kind": "declared"}) for name in sorted(desired.sparse_vectors)
    ]
    words = [_summary(vector) for vector in vectors]
    if len(words) > SUMMARIZED:
        words[SUMMARIZED - 1 :] = [f"and {len(words) - SUMMARIZED + 1} more"]
    return SchemaStatus(summary=", ".join(words) or "no vectors", vectors=vectors)


def _status(name: str, params: JsonObject) -> VectorStatus:
    return VectorStatus(
        name=name,
        kind="multivector" if "multivector_config" in params else "dense",
        size=params["size"],
        distance=params["distance"],
        datatype=params["datatype"],
        sources={"size": "declared"},
    )


def _summary(vector: VectorStatus) -> str:
    if vector.kind == "sparse":
        return f"{vector.name} sparse"
    words = [vector.name, str(vector.size), vector.distance]
    words += [vector.datatype] if vector.datatype != DATATYPE else []
    words += ["multivector"] if vector.kind == "multivector" else []
    return " ".join(word for word in words if word)


def _vector(vector: Vector, place: str) -> JsonObject:
    params = vector.params or {}
    _refuse_typed("vector", params, f"{place}.params")
    multivector = vector.multivector
    typed = {
        "size": vector.size,
        "distance": vector.distance or DISTANCE,
        "datatype": vector.datatype,
        "multivector_config": {"comparator": multivector.comparator} if multivector else None,
        "hnsw_config": vector.hnsw_config,
        "quantization_config": vector.quantization_config,
    }
    return params | typed


def _sparse_vector(vector: SparseVector) -> JsonObject:
    return pruned({"modifier": vector.modifier, "index": vector.index})


def _indexes(declared: list[PayloadIndex]) -> dict[str, JsonObject]:
    indexes: dict[str, JsonObject] = {}
    for number, index in enumerate(declared):
        place, path = f"spec.payloadIndexes[{number}]", canonical_path(index.field)
        if path in indexes:
            raise _invalid(f"{place}.field", f"another index is on {path!r} already")
        if not isinstance(index.schema_.get("type"), str):
            raise _invalid(f"{place}.schema.type", "must name the type of the index, for instance keyword")
        indexes[path] = canonical_index(index.schema_)
    return indexes


def _aliases(aliases: list[str], name: str) -> frozenset[str]:
    if name in aliases:
        raise _invalid("spec.aliases", f"{name!r} is the name of the collection itself")
    return frozenset(aliases)


def _refuse_typed(kind: str, verbatim: Mapping[str, Any], place: str) -> None:
    """A field with a place of its own in the spec may not come in through a verbatim object."""
    for key in sorted(verbatim.keys() & TYPED[kind].keys()):
        own = TYPED[kind][key]
        raise _invalid(f"{place}.{key}", f"belongs into {own}" if own else "is kept by the operator")


def _invalid(place: str, words: str) -> Terminal:
    return Terminal(Reason.INVALID_SPEC, f"{place}: {words}")
