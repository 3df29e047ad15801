#!/usr/bin/env bash
# qdrant-client 1.20.0 with its messages, protobuf 7.36.2 (upb), grpcio 1.85.3, numpy 2.4.6, Python 3.11 (seen 2026-11-28).
#
# One would guess: points are sent fast over gRPC when each PointStruct is built once and the list is given to UpsertPoints; and if that is too
# slow, the bytes of the messages have to be written by hand.
# What happens: a message that is given to the constructor of another one is copied, with all of its floats, once a level. The same messages
# filled where they lie (`request.points.add()`, then its fields, and the vector with `MergeFromString` of its packed bytes) take about half of
# the time, and serialize to a request of the same content.
#
# Output (microseconds of CPU a point, 384 components and 5 payload fields, the best of 3, on two cores that were busy with other work too):
#   constructors 17.7, filled in place 7.6; equal requests: True
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/python"
"$folder/python/bin/python" -m pip install --quiet --disable-pip-version-check qdrant-client==1.20.0 protobuf==7.36.2 grpcio==1.85.3 numpy==2.4.6

"$folder/python/bin/python" - <<'PYTHON'
import time
import uuid

import numpy as np
from qdrant_client.grpc import DenseVector, PointId, PointStruct, UpsertPoints, Value, Vector, Vectors

COUNT, SIZE = 5000, 384
rows = np.random.default_rng(1).standard_normal((COUNT, SIZE)).astype("<f4")
ids = [str(uuid.UUID(int=n)) for n in range(COUNT)]
# Before the floats of a DenseVector: number and type of the field, and the length in bytes.
HEADER = DenseVector(data=rows[0]).SerializeToString()[: -4 * SIZE]
payload = {f"field{n}": f"some text number {n}" for n in range(5)}


def build():
    points = [
        PointStruct(
            id=PointId(uuid=each),
            payload={key: Value(string_value=text) for key, text in payload.items()},
            vectors=Vectors(vector=Vector(dense=DenseVector.FromString(HEADER + row.tobytes()))),
        )
        for each, row in zip(ids, rows, strict=True)
    ]
    return UpsertPoints(collection_name="c", points=points)


def fill():
    request = UpsertPoints(collection_name="c")
    for each, row in zip(ids, rows, strict=True):
        point = request.points.add()
        point.id.uuid = each
        for key, text in payload.items():
            point.payload[key].string_value = text
        point.vectors.vector.dense.MergeFromString(HEADER + row.tobytes())
    return request


def cost(make):
    start = time.process_time()
    make().SerializeToString()
    return (time.process_time() - start) / COUNT * 1e6


built, filled = (min(cost(make) for _ in range(3)) for make in (build, fill))
equal = build() == fill()
print(f"constructors {built:.1f}, filled in place {filled:.1f}; equal requests: {equal}")
assert equal
assert built > 1.3 * filled
PYTHON
