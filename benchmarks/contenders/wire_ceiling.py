"""As fast as the official gRPC stub goes from Python: rows in memory, vectors parsed from packed bytes, 2 in flight.

No user would write this, and it reads no file: it is the limit that the wire and the server set. TASK also has: batch.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from clock import TASK, clock
from qdrant_client import QdrantClient
from qdrant_client import grpc as messages
from qdrant_client.conversions.conversion import payload_to_grpc

IN_FLIGHT = 2


def dense(numbers: bytes) -> Any:
    """A vector from packed float32: field 1 of its message, of a given length."""
    length, prefix = len(numbers), bytearray(b"\x0a")
    while length > 0x7F:
        prefix.append(length & 0x7F | 0x80)
        length >>= 7
    prefix.append(length)
    return messages.DenseVector.FromString(bytes(prefix) + numbers)


def main() -> None:
    """Reads all rows into memory, then sends them."""
    table = pq.read_table(TASK["file"])
    ids = table.column("id").to_pylist()
    payloads = table.drop_columns(["id", "vector"]).to_pylist()
    vectors = np.concatenate([chunk.flatten().to_numpy() for chunk in table.column("vector").chunks])
    vectors = vectors.reshape(-1, TASK["size"])
    client = QdrantClient(url=TASK["url"], grpc_port=TASK["grpc_port"], prefer_grpc=True, check_compatibility=False)
    client.get_collection(TASK["collection"])
    stub = client.grpc_points
    waiting: deque[Any] = deque()
    with clock():
        for start in range(0, len(ids), TASK["batch"]):
            points = [
                messages.PointStruct(
                    id=messages.PointId(num=ids[row]),
                    vectors=messages.Vectors(vector=messages.Vector(dense=dense(vectors[row].tobytes()))),
                    payload=payload_to_grpc(payloads[row]),
                )
                for row in range(start, min(start + TASK["batch"], len(ids)))
            ]
            request = messages.UpsertPoints(collection_name=TASK["collection"], wait=True, points=points)
            waiting.append(stub.Upsert.future(request))
            if len(waiting) >= IN_FLIGHT:
                waiting.popleft().result()
        for answer in waiting:
            answer.result()
    client.close()


if __name__ == "__main__":
    main()
