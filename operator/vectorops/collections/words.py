"""How the parts of a collection are called in plans, messages and status."""

from __future__ import annotations

from typing import Any, Final

from vectorops.api.meta import JsonObject
from vectorops.collections.resolve import Desired
from vectorops.collections.rules import Version
from vectorops.qdrant.database import UNNAMED
from vectorops.qdrant.observe import DATATYPE, Observed, Path, shown

VECTORS: Final = frozenset({"vectors", "sparse_vectors"})
"""First parts of the paths of vectors."""

ABSENT: Final = "absent"

SHOWN_CHARACTERS: Final = 60
"""Longest value of the metadata that is printed whole."""


def name_vector(name: str) -> str:
    """`vector "text"`, or `the vector`, which has no name."""
    return "the vector" if name == UNNAMED else f'vector "{name}"'


def describe_vector(collection: Desired | Observed, name: str) -> str:
    """`384 Cosine float16`, `sparse` or `absent`."""
    if name in collection.sparse_vectors:
        return "sparse"
    return describe_params(collection.vectors[name]) if name in collection.vectors else ABSENT


def describe_params(params: JsonObject) -> str:
    """`384 Cosine`, with the datatype if it is not float32, and `multivector` for one."""
    words = [str(params.get("size")), str(params.get("distance"))]
    words += [params["datatype"]] if params.get("datatype", DATATYPE) != DATATYPE else []
    words += ["multivector"] if "multivector_config" in params else []
    return " ".join(words)


def describe_path(path: Path) -> str:
    """`vector "text": hnsw_config.m`, `optimizers_config.indexing_threshold`."""
    if path[0] in VECTORS:
        return f"{name_vector(path[1])}: {'.'.join(path[2:])}"
    return ".".join(path)


def shorten_value(value: Any) -> str:
    """A value of the metadata, cut if it is long."""
    text = shown(value)
    return text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 1] + "…"


def print_version(version: Version) -> str:
    """`1.19` for (1, 19)."""
    return ".".join(map(str, version))
