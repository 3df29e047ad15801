"""How ids, vectors and points look in Qdrant's JSON. `server` writes and reads with it, `local` shares what is
alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final
from uuid import UUID

import numpy as np
import orjson

from vectorops.api.meta import JsonObject
from vectorops.api.reasons import Reason
from vectorops.errors import Rejected
from vectorops.qdrant.database import UNNAMED, PayloadChange, PointData, PointId, StoredPoint
from vectorops.vectors import Sparse, VectorData

INSERT_ONLY: Final[JsonObject] = {"must": [{"has_id": []}]}
"""As an update filter: no existing point matches. (Qdrant 1.16 ignores `update_mode: insert_only`, and overwrites.)"""


def dumps(value: Any) -> bytes:
    """JSON as Qdrant takes it. numpy's float32 are written as floats with the fewest digits that read back exactly.

    Raises Rejected for what JSON cannot hold: integers of more than 64 bits, lone surrogates.
    """
    try:
        return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)
    except TypeError as error:
        # orjson names the kind of the value, never the value.
        raise Rejected(Reason.REQUEST_REJECTED, f"cannot be written as JSON: {error}", status=400) from None


def id_json(point_id: PointId) -> int | str:
    """As in a request."""
    return point_id if isinstance(point_id, int) else str(point_id)


def parse_id(raw: int | str) -> PointId:
    """As in an answer."""
    return raw if isinstance(raw, int) else UUID(raw)


def search_json(query: VectorData, using: str, where: JsonObject | None, limit: int) -> JsonObject:
    """The body of a search for ids."""
    body = {"query": _vector_json(query), "limit": limit, "with_payload": False, "with_vector": False}
    return body | ({"using": using} if using != UNNAMED else {}) | ({"filter": where} if where is not None else {})


def vectors_json(vectors: Mapping[str, VectorData]) -> JsonObject:
    """All vectors by name, the unnamed one too: Qdrant takes it either way."""
    return {name: _vector_json(vector) for name, vector in vectors.items()}


def _vector_json(vector: VectorData) -> Any:
    if isinstance(vector, Sparse):
        return {"indices": _contiguous(vector.indices, np.uint32), "values": _contiguous(vector.values, np.float32)}
    # Always floats, also for whole numbers: two rows of integers would be read as a sparse vector's indices and values.
    return _contiguous(vector, np.float32)


def _contiguous(array: Any, dtype: Any) -> Any:
    # orjson refuses other arrays.
    return np.ascontiguousarray(array, dtype=dtype)


def point_json(point: PointData) -> bytes:
    """One element of the list of an upsert."""
    return dumps({"id": id_json(point.id), "vector": vectors_json(point.vectors), "payload": point.payload})


def point_vectors_json(point: PointData) -> bytes:
    """One element of the list of an update of vectors."""
    return dumps({"id": id_json(point.id), "vector": vectors_json(point.vectors)})


def parse_point(raw: Mapping[str, Any], known: Mapping[int | str, PointId] = MappingProxyType({})) -> StoredPoint:
    """One element of the list of an answer. known: ids by what they are as JSON; to make one takes a while."""
    id = raw["id"]
    return StoredPoint(
        id=known[id] if id in known else parse_id(id),
        payload=raw.get("payload") or {},
        vectors=parse_vectors(raw.get("vector")),
    )


def parse_vectors(raw: Any) -> dict[str, VectorData]:
    """raw: absent, the numbers of the unnamed vector, or vectors by name (a sparse one is never unnamed)."""
    if raw is None:
        return {}
    if isinstance(raw, Mapping):
        return {name: _parse_vector(vector) for name, vector in raw.items()}
    return {UNNAMED: _parse_vector(raw)}


def _parse_vector(raw: Any) -> VectorData:
    if isinstance(raw, Mapping):
        return Sparse(np.array(raw["indices"], dtype=np.uint32), np.array(raw["values"], dtype=np.float32))
    return np.array(raw, dtype=np.float32)


def payload_patch(change: PayloadChange) -> JsonObject:
    """What `set_payload` takes for this change.

    There, a null removes a key of whatever spelling (`delete_payload` takes paths, which some keys cannot be
    written as). So it cannot store a null: see `puts_null`.
    """
    return {**dict.fromkeys(change.remove), **change.put}


def puts_null(change: PayloadChange) -> bool:
    """Does it store a null under a top-level key? Only a whole payload can."""
    return any(value is None for value in change.put.values())


def changed(payload: JsonObject, change: PayloadChange) -> JsonObject:
    """The whole payload after a change."""
    kept = {key: value for key, value in payload.items() if key not in change.remove}
    return {**kept, **change.put}
