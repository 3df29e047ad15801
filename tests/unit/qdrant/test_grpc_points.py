"""What goes over gRPC is what was given; what gRPC cannot carry is left for REST."""

from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from qdrant_client.grpc import DenseVector, NamedVectors, PointId, PointStruct, UpsertPoints, Value, Vectors

from vectorops.api.reasons import Reason
from vectorops.errors import TooManyAtOnce
from vectorops.qdrant import batches, grpc_points
from vectorops.qdrant.database import UNNAMED, PointData
from vectorops.vectors import Sparse

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=5), inner), max_leaves=20
)


def fill(message: Any, point: PointData) -> None:
    message.id.num = point.id
    grpc_points._fill(message.payload, point.payload, depth=1)
    grpc_points._fill_vectors(message.vectors, point.vectors)


def encode(*points: PointData) -> tuple[list[list[Any]], list[PointData]]:
    """The points of each request, and those that are left."""
    left: list[PointData] = []
    requests = grpc_points._requests(UpsertPoints(collection_name="c", wait=True), points, fill, left)
    return [list(UpsertPoints.FromString(request.SerializeToString()).points) for request in requests], left


def decode(value: Value) -> Any:
    kind = value.WhichOneof("kind")
    if kind == "struct_value":
        return {key: decode(one) for key, one in value.struct_value.fields.items()}
    if kind == "list_value":
        return [decode(one) for one in value.list_value.values]
    return None if kind == "null_value" else getattr(value, str(kind))


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=5), values, max_size=5))
def test_a_payload_arrives_as_it_is(payload):
    [[message]], left = encode(PointData(1, payload=payload))

    arrived = {key: decode(value) for key, value in message.payload.items()}
    # As text, in which 1, 1.0 and true differ.
    assert orjson.dumps(arrived, option=orjson.OPT_SORT_KEYS) == orjson.dumps(payload, option=orjson.OPT_SORT_KEYS)
    assert left == []


def nested(levels: int) -> Any:
    return [nested(levels - 1)] if levels else 1


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1, nested(grpc_points.DEEPEST), "\ud800", {1}])
@pytest.mark.parametrize("wrap", [lambda value: value, lambda value: [value], lambda value: {"in": value}])
def test_what_grpc_cannot_carry_is_left_whole(value, wrap):
    point = PointData(1, payload={"first": 1, "then": wrap(value)})

    assert encode(point) == ([], [point])
    [[message]], left = encode(point, PointData(2))
    assert (message.id.num, left) == (2, [point])


@pytest.mark.parametrize("size", [1, 31, 32, 4095, 4096, 65536])
def test_numbers_parsed_from_bytes_are_the_numbers(size):
    vector = np.random.default_rng(size).uniform(-1, 1, size).astype(np.float32)

    message = DenseVector()
    grpc_points._fill_dense(message, vector)

    assert message == DenseVector(data=vector.tolist())


def test_every_kind_of_vector_has_its_message():
    row = np.array([1, 2], dtype=np.float32)
    sparse = Sparse(np.array([3], dtype=np.uint32), np.array([0.5], dtype=np.float32))

    [[message]], _ = encode(PointData(1, {"dense": row, "multi": np.array([row, row]), "sparse": sparse}))
    [[unnamed]], _ = encode(PointData(1, {UNNAMED: row}))
    [[without]], _ = encode(PointData(1))

    vectors = message.vectors.vectors.vectors
    assert list(vectors["dense"].dense.data) == [1, 2]
    assert [list(one.data) for one in vectors["multi"].multi_dense.vectors] == [[1, 2], [1, 2]]
    assert (list(vectors["sparse"].sparse.indices), list(vectors["sparse"].sparse.values)) == ([3], [0.5])
    assert list(unnamed.vectors.vector.dense.data) == [1, 2]
    assert without == PointStruct(id=PointId(num=1), vectors=Vectors(vectors=NamedVectors()))


def test_requests_are_cut_by_points_and_by_bytes(monkeypatch):
    monkeypatch.setattr(batches, "BATCH_POINTS", 3)
    monkeypatch.setattr(batches, "BATCH_BYTES", 100)
    large = {"text": "x" * 200}
    points = [PointData(id, payload=large if id in (5, 6) else {}) for id in range(9)]

    requests, _ = encode(*points)

    assert [[message.id.num for message in request] for request in requests] == [[0, 1, 2], [3, 4], [5], [6], [7, 8]]
    assert all(message.payload["text"].string_value for request in requests for message in request if len(request) == 1)


async def test_a_request_that_exceeds_a_rate_limit_is_sent_in_halves():
    [request] = grpc_points._requests(UpsertPoints(collection_name="c"), map(PointData, range(5)), fill, [])
    sent = []

    async def send(request: UpsertPoints) -> None:
        if len(request.points) > 2:
            raise TooManyAtOnce(Reason.RATE_LIMITED, "too many")
        sent.append((request.collection_name, [message.id.num for message in request.points]))

    await grpc_points._halving(send)(request)

    assert sent == [("c", [0, 1]), ("c", [2]), ("c", [3, 4])]
