#!/usr/bin/env bash
# Qdrant 1.16.3 with qdrant-client 1.20.0 (seen 2026-11-27).
#
# One would guess: a component that a float16 vector cannot hold (70000; its largest is 65504) is refused, or cut to the largest.
# What happens: it is stored as infinity and the write is "completed". Over REST it reads back as null, and so does the score of the
# point. The client's model of an answer wants a number: every search whose result has that point raises, for all readers, until the
# point is gone. Over gRPC the same search answers, and the point comes first, with the score inf. For float32 the same (1e39).
#
# Output:
#   float16: completed; scroll over REST gives [None, 1.0]; search over REST raises ResponseHandlingException; over gRPC the first is 1, inf
#   float32: completed; scroll over REST gives [None, 1.0]; search over REST raises ResponseHandlingException; over gRPC the first is 1, inf
set -euo pipefail
folder=$(mktemp -d)
. "$(dirname "$0")/start-qdrant" "$folder" @1.16.3

"$python" - <<'PYTHON'
import os

from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import ResponseHandlingException

where = {"url": os.environ["QDRANT_URL"], "grpc_port": int(os.environ["QDRANT_GRPC_PORT"]), "check_compatibility": False}
rest, grpc = QdrantClient(**where), QdrantClient(**where, prefer_grpc=True)
for datatype, large in {"float16": 70000.0, "float32": 1e39}.items():
    rest.create_collection(datatype, vectors_config=models.VectorParams(size=2, distance="Dot", datatype=datatype))
    rest.upsert(datatype, [models.PointStruct(id=id, vector=[1, 1]) for id in range(2, 6)], wait=True)
    status = rest.upsert(datatype, [models.PointStruct(id=1, vector=[large, 1.0])], wait=True).status.value
    vector = rest.scroll(datatype, with_vectors=True, limit=1)[0][0].vector
    try:
        rest.query_points(datatype, query=[1.0, 1.0])
        raised = "nothing"
    except ResponseHandlingException as error:
        raised = type(error).__name__
    first = grpc.query_points(datatype, query=[1.0, 1.0]).points[0]
    print(
        f"{datatype}: {status}; scroll over REST gives {vector}; search over REST raises {raised}; "
        f"over gRPC the first is {first.id}, {first.score}"
    )
    assert (status, vector, raised) == ("completed", [None, 1.0], "ResponseHandlingException")
    assert (first.id, first.score) == (1, float("inf"))
PYTHON
