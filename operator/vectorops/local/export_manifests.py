"""The manifests that declare what exists, made of what was read. Decided without talking to anyone.

An option that is not declared is left alone. So an option that no manifest can carry is left out, with a notice; a
collection or a point of which that cannot be said is refused, with words that name it and the field, never its
content. Each manifest is given to the functions that `apply` decides by, before it is handed out: applying it must
change nothing.
"""

from __future__ import annotations

import base64
import hashlib
import re
import unicodedata
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import numpy as np
import orjson
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from vectorops.api.collection import QdrantCollectionSpec
from vectorops.api.meta import API_VERSION, GROUP, CollectionName, JsonObject
from vectorops.api.nesting import LEVELS, WORDS, is_deeper
from vectorops.api.pointset import MAX_POINTS, PointSetSpec
from vectorops.api.validation import validate
from vectorops.collections.plan import differences
from vectorops.collections.resolve import resolve_collection
from vectorops.errors import Terminal
from vectorops.points.declared import Declaration, declare
from vectorops.points.diff import adoptable
from vectorops.points.schema import PointSchema
from vectorops.qdrant.database import UNNAMED, PointId, ShardKeyName, StoredPoint
from vectorops.qdrant.echo import HNSW, OPTIMIZERS, PARAMS, WAL
from vectorops.qdrant.observe import DATATYPE, Observed, same
from vectorops.vectors import Sparse, VectorData

MAX_BYTES: Final = 1_000_000
"""Of an inline PointSet, as JSON. etcd takes 1.5 MiB an object, its metadata and status included."""
CLIENT_SIDE_BYTES: Final = 200_000
"""Of what `kubectl apply` can keep a copy of in an annotation (256 KiB in all)."""
FEW_COMPONENTS: Final = 16
"""A dense vector of more components is written as base64, which takes half the room of decimal numbers."""
SHOWN: Final = 5
"""Lines of a list that a refusal shows."""
LONGEST_NAME: Final = 200
"""Of a name that is made here; Kubernetes takes 253 characters."""

DEFAULTS: Final[Mapping[str, JsonObject]] = {
    "params": PARAMS,
    "hnsw_config": HNSW,
    "optimizers_config": OPTIMIZERS,
    "wal_config": WAL,
}
"""What Qdrant shows of a collection that was made without any option, by block (1.16.3; 1.19.0 shows the same)."""

CONFIG_FIELDS: Final[Mapping[str, str]] = {
    "params": "params",
    "hnsw_config": "hnswConfig",
    "optimizers_config": "optimizersConfig",
    "quantization_config": "quantizationConfig",
    "wal_config": "walConfig",
    "strict_mode_config": "strictModeConfig",
}
"""Blocks of a collection's configuration, to the fields of the spec."""


class NotExportable(Exception):
    """Something that exists cannot be declared. The text says what, where and why, in a line each. Never content."""


@dataclass(frozen=True, slots=True)
class ExportedManifest:
    """One manifest."""

    manifest: JsonObject
    comment: tuple[str, ...] = ()
    """Lines for people, above it."""
    notices: tuple[str, ...] = ()
    """What was left out, and why; one line each."""


# ---- names ----


def resource_names(names: Iterable[str]) -> dict[str, str]:
    """A name for a Kubernetes object for each name in Qdrant; no two get the same.

    A name that Kubernetes takes stays. Of others, letters become lowercase and the rest becomes dashes; where that is
    taken, or nothing is left, eight digits of the name's hash follow.
    """
    every = sorted(set(names))
    made = {name: name for name in every if _slug(name) == name}
    taken = {"", *made}
    for name in every:
        if name not in made:
            slug = _slug(name)
            digits = hashlib.sha256(name.encode()).hexdigest()[:8]
            made[name] = f"{slug or 'unnamed'}-{digits}" if slug in taken else slug
            taken.add(made[name])
    return made


def _slug(name: str) -> str:
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    parts = (re.sub("[^a-z0-9]+", "-", part).strip("-") for part in plain[:LONGEST_NAME].split("."))
    return ".".join(part for part in parts if part)


# ---- the connection ----


def connection_manifest(name: str, url: str, namespace: str | None, *, has_key: bool) -> ExportedManifest:
    """How to reach the server. has_key: was a key given? The manifest then names a Secret, which a person creates.

    Raises NotExportable if no QdrantConnection can have this URL, or this name.
    """
    secret = f"{name}-api-key"
    comment = ["The URL as this command reached it: write the one that the operator reaches."]
    comment += ["Remove preferGrpc where port 6334 can be reached too: points are then written twice as fast."]
    if has_key:
        where = f" --namespace {namespace}" if namespace else ""
        comment.append(f"The key: kubectl create secret generic {secret}{where} --from-literal=api-key=...")
    spec: JsonObject = {"url": url, "preferGrpc": False}
    spec |= {"apiKeySecretRef": {"name": secret, "key": "api-key"}} if has_key else {}
    manifest = _manifest("QdrantConnection", name, namespace, spec)
    _require_valid(manifest, f"QdrantConnection {name!r}")
    return ExportedManifest(manifest, tuple(comment))


# ---- collections ----


def collection_manifest(
    observed: Observed, name: str, connection: str, namespace: str | None, *, version: str
) -> ExportedManifest:
    """The QdrantCollection that declares a collection as it is. version: the server's.

    Raises NotExportable if the collection cannot be declared, or if applying the manifest would change it.
    """
    where = f"collection {observed.name!r}"
    notices: list[str] = []
    spec: JsonObject = {
        "connectionRef": {"name": connection},
        "collectionName": observed.name if observed.name != name else None,
        "adoptionPolicy": "IfMatching",
        "deletionPolicy": "Retain",
        "vector": _vector_spec(observed.vectors[UNNAMED]) if UNNAMED in observed.vectors else None,
        "vectors": [
            {"name": vector, **_vector_spec(params)} for vector, params in sorted(observed.vectors.items()) if vector
        ],
        "sparseVectors": [
            {"name": vector, **_sparse_vector(vector, params, notices)}
            for vector, params in sorted(observed.sparse_vectors.items())
        ],
        "payloadIndexes": [{"field": path, "schema": index} for path, index in sorted(observed.indexes.items())],
        "aliases": _aliases(observed.aliases, notices),
        "shardKeys": _shard_keys(observed, notices),
        "metadata": _exported_metadata(observed.metadata, notices),
        **_config(observed, notices),
    }
    spec = {field: value for field, value in spec.items() if value not in (None, [], {})}
    manifest = _manifest("QdrantCollection", name, namespace, spec)
    _require_valid(manifest, where)
    for field in ("vector", "vectors", "sparseVectors", "payloadIndexes"):
        if problem := uncarried(spec.get(field), field):
            raise NotExportable(f"{where}: {problem}")
    try:
        wanted = resolve_collection(QdrantCollectionSpec.model_validate(spec), observed.name)
        changes = differences(wanted, observed, version=version)
    except Terminal as error:
        raise NotExportable(f"{where}: {error.message}") from None
    if changes:
        raise NotExportable(f"{where}: no manifest declares it as it is: {list_lines(changes)}")
    return ExportedManifest(manifest, notices=tuple(f"{where}: {notice}" for notice in notices))


def _vector_spec(params: JsonObject) -> JsonObject:
    rest = dict(params)
    fields: JsonObject = {
        "size": rest.pop("size"),
        "distance": rest.pop("distance"),
        "datatype": rest.pop("datatype", DATATYPE),
        "multivector": rest.pop("multivector_config", None),
        "hnswConfig": rest.pop("hnsw_config", None),
        "quantizationConfig": rest.pop("quantization_config", None),
        "params": rest or None,
    }
    return {
        field: value
        for field, value in fields.items()
        if value is not None and (field, value) != ("datatype", DATATYPE)
    }


def _sparse_vector(name: str, params: JsonObject, notices: list[str]) -> JsonObject:
    typed = {field: value for field, value in params.items() if field in ("modifier", "index")}
    notices += [
        f"{option} of the sparse vector {name!r} is left out" for option in sorted(params.keys() - typed.keys())
    ]
    return typed


def _config(observed: Observed, notices: list[str]) -> JsonObject:
    found = {}
    for block, field in CONFIG_FIELDS.items():
        options = {
            option: value
            for option, value in sorted(observed.config.get(block, {}).items())
            # As many shards as the server has nodes: elsewhere that would be another number.
            if not _is_default(block, option, value) or (option == "shard_number" and observed.distributed)
        }
        found[field] = _without_uncarried(options, field, notices)
    return found


def _is_default(block: str, option: str, value: object) -> bool:
    defaults = DEFAULTS.get(block, {})
    return option in defaults and same(defaults[option], value)


def _aliases(aliases: Iterable[str], notices: list[str]) -> list[str]:
    """Qdrant checks no alias, and then finds none that has a slash in it."""
    checked = TypeAdapter(CollectionName)
    kept = []
    for alias in sorted(aliases):
        try:
            kept.append(checked.validate_python(alias))
        except ValidationError:
            notices.append(f"the alias {alias!r} is left out: no resource can declare it")
    return kept


def _shard_keys(observed: Observed, notices: list[str]) -> list[JsonObject]:
    made_by_default = (observed.config.get("params") or {}).get("shard_number")
    found = []
    for key, has in sorted(observed.shard_keys.items(), key=lambda item: str(item[0])):
        if isinstance(key, int):
            notices.append(f"the shard key {key} is left out: it is a number, and a declared one is always a string")
            continue
        found.append({"name": key} | ({"shardsNumber": has.shards} if has.shards != made_by_default else {}))
    return found


def _exported_metadata(metadata: JsonObject, notices: list[str]) -> JsonObject:
    users = {key: value for key, value in sorted(metadata.items()) if not key.startswith(f"{GROUP}/")}
    for key in [key for key, value in users.items() if value is None]:
        notices.append(f"metadata.{key} is left out: it is null, which in a manifest means that there is no such key")
        del users[key]
    return _sorted(_without_uncarried(users, "metadata", notices))


def _without_uncarried(options: JsonObject, field: str, notices: list[str]) -> JsonObject:
    """Without what no manifest can carry unchanged. An option that is not declared is left alone."""
    kept = {}
    for option, value in options.items():
        if problem := uncarried(value, f"{field}.{option}"):
            notices.append(f"{problem}, so {field}.{option} is left out")
        else:
            kept[option] = value
    return kept


# ---- points ----


def shard_key_refusal(collection: str, key: ShardKeyName) -> str | None:
    """Why points under this shard key cannot be declared; None if they can."""
    if isinstance(key, str):
        return None
    return (
        f"collection {collection!r}: its points under the shard key {key} are not exported: the key is a number, and a "
        "PointSet names a string"
    )


def point_set_manifest(
    points: Collection[StoredPoint],
    schema: PointSchema,
    name: str,
    collection: tuple[str, str],
    namespace: str | None,
    *,
    shard_key: str | None = None,
) -> ExportedManifest:
    """The PointSet that declares these points as they are. collection: its name in Qdrant, and its resource's.

    Raises NotExportable if a point cannot be declared, if applying the manifest would change one, or if they are too
    many or too large for one resource.
    """
    in_qdrant, resource = collection
    where = f"collection {in_qdrant!r}" + (f", shard key {shard_key!r}" if shard_key else "")
    if len(points) > MAX_POINTS:
        raise NotExportable(f"{where}: more than {MAX_POINTS:,} points, which one PointSet cannot hold")
    ordered = sorted(points, key=lambda point: (isinstance(point.id, UUID), point.id))
    id_format = _id_format([point.id for point in ordered], where)
    _require_carried(ordered, where)
    spec: JsonObject = {
        "collectionRef": {"name": resource},
        "shardKey": shard_key,
        "idFormat": id_format,
        "adoptionPolicy": "IfMatching",
        "deletionPolicy": "Retain",
        "points": [_point(point) for point in ordered],
    }
    spec = {field: value for field, value in spec.items() if value is not None}
    manifest = _manifest("PointSet", name, namespace, spec)
    size = len(orjson.dumps(manifest))
    if size > MAX_BYTES:
        raise NotExportable(f"{where}: its points take {size:,} bytes, and one PointSet holds {MAX_BYTES:,}")
    _require_valid(manifest, where)
    parsed = PointSetSpec.model_validate(spec)
    require_adoptable(
        ordered, declare(parsed.inline_points, schema, id_format=parsed.id_format or "Auto"), schema, where
    )
    comment = ("Too large for a client-side apply: kubectl apply --server-side",) if size > CLIENT_SIDE_BYTES else ()
    return ExportedManifest(manifest, comment)


def file_manifest(
    file: str, mapping: JsonObject, name: str, collection: tuple[str, str], namespace: str | None, shard_key: str | None
) -> ExportedManifest:
    """The PointSet whose points are the rows of a file beside the manifest. collection: see `point_set_manifest`."""
    spec: JsonObject = {
        "collectionRef": {"name": collection[1]},
        "shardKey": shard_key,
        "adoptionPolicy": "IfMatching",
        "deletionPolicy": "Retain",
        "source": {"files": {"path": file}},
        "mapping": mapping,
    }
    spec = {field: value for field, value in spec.items() if value is not None}
    manifest = _manifest("PointSet", name, namespace, spec)
    _require_valid(manifest, f"collection {collection[0]!r}")
    return ExportedManifest(manifest, (f"Its points are in {file}: for a cluster, put it where source can name it",))


def _id_format(ids: list[PointId], where: str) -> str | None:
    large = next((id for id in ids if isinstance(id, int) and id >= 2**63), None)
    if large is None:
        return None
    if any(isinstance(id, UUID) for id in ids):
        raise NotExportable(
            f"{where}: the id {large} needs idFormat: Integer, because the API server rounds integers from 2^63 on; "
            "beside it are UUIDs, which that format does not take"
        )
    return "Integer"


def _require_carried(points: Iterable[StoredPoint], where: str) -> None:
    problems = [
        f"point {str(point.id)!r}: {problem}" for point in points if (problem := uncarried(point.payload, "payload"))
    ]
    if problems:
        raise NotExportable(f"{where}: {list_lines(problems)}")


def require_adoptable(
    points: Collection[StoredPoint], declaration: Declaration, schema: PointSchema, where: str
) -> None:
    """Raises NotExportable unless the set would take each point as it is. Asked of what `apply` asks."""
    problems = [f"point {failure.shown_id!r}: {failure.reason}" for failure in declaration.failures]
    stored = {point.id: point for point in points}
    adopted = adoptable(declaration.points, declaration, stored, tuple(sorted(schema)), schema)
    unlike = declaration.points.keys() - adopted.keys()
    problems += [f"point {str(id)!r}: Qdrant would not give back what is declared" for id in sorted(unlike, key=str)]
    if problems:
        raise NotExportable(f"{where}: {list_lines(problems)}")


def _point(point: StoredPoint) -> JsonObject:
    vectors = {name: _vector_value(vector) for name, vector in sorted(point.vectors.items())}
    unnamed = vectors.pop(UNNAMED, None)
    found: JsonObject = {
        # Where the API server would round it, as the digits that idFormat: Integer takes.
        "id": point.id if isinstance(point.id, int) and point.id < 2**63 else str(point.id),
        "vector": unnamed,
        "vectors": vectors,
        "payload": _sorted(point.payload),
    }
    return {field: value for field, value in found.items() if field == "id" or value}


def _vector_value(vector: VectorData) -> JsonObject:
    if isinstance(vector, Sparse):
        return {"sparse": {"indices": vector.indices.tolist(), "values": _shortest(vector.values)}}
    if vector.ndim == 2:
        return {"rows": [_shortest(row) for row in vector]}
    if len(vector) > FEW_COMPONENTS:
        return {"packed": base64.b64encode(vector.astype("<f4").tobytes()).decode()}
    return {"values": _shortest(vector)}


def _shortest(numbers: NDArray[np.float32]) -> list[float]:
    """Numbers with the fewest digits that are the same float32 again, read as float64 on the way."""
    short = [float(str(number)) for number in numbers]
    return [few if np.float32(few) == number else float(number) for few, number in zip(short, numbers, strict=True)]


# ---- what JSON, YAML and the API server carry ----


def uncarried(value: Any, path: str) -> str | None:
    """Where in a JSON value, and why, it does not arrive unchanged at the operator; None if it does."""
    if is_deeper(value, LEVELS):
        return f"{path}: {WORDS}"
    match value:
        case bool():
            return None
        case int() if not -(2**63) <= value < 2**63:
            return f"{path}: an integer that the API server rounds (from 2^63 on)"
        case dict():
            parts = [(item, f"{path}.{key}") for key, item in value.items()]
        case list():
            parts = [(item, f"{path}[{index}]") for index, item in enumerate(value)]
        case _:
            return None
    return next((problem for item, where in parts if (problem := uncarried(item, where))), None)


# ---- shared ----


def _manifest(kind: str, name: str, namespace: str | None, spec: JsonObject) -> JsonObject:
    metadata = {"name": name} | ({"namespace": namespace} if namespace else {})
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": metadata, "spec": spec}


def _sorted(free: JsonObject) -> JsonObject:
    """With the keys of all its objects sorted."""
    found: JsonObject = orjson.loads(orjson.dumps(free, option=orjson.OPT_SORT_KEYS))
    return found


def _require_valid(manifest: JsonObject, where: str) -> None:
    """Raises NotExportable with what the API server would say."""
    if problems := validate(manifest):
        raise NotExportable(f"{where}: no manifest declares it: {list_lines(problems)}")


def list_lines(lines: list[str]) -> str:
    """The first few, for a refusal."""
    more = f"; and {len(lines) - SHOWN} more" if len(lines) > SHOWN else ""
    return "; ".join(lines[:SHOWN]) + more
