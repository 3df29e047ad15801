"""The official client as its documentation shows it: `upload_points` or `upload_collection`, rows read by pyarrow.

TASK also has: method, grpc (else REST), batch (points of a request).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from clock import TASK, clock
from numpy.typing import NDArray
from qdrant_client import QdrantClient, models


def batches() -> Iterator[tuple[list[int], NDArray[np.float32], list[dict[str, Any]]]]:
    """Ids, vectors of shape (n, size) and payloads, some thousand rows at a time."""
    with pq.ParquetFile(TASK["file"], pre_buffer=False, buffer_size=1 << 16) as file:
        for batch in file.iter_batches(4096):
            vectors = batch.column("vector").flatten().to_numpy().reshape(batch.num_rows, TASK["size"])
            yield batch.column("id").to_pylist(), vectors, batch.drop_columns(["id", "vector"]).to_pylist()


def main() -> None:
    """Uploads all rows, and waits until they are in."""
    client = QdrantClient(
        url=TASK["url"], grpc_port=TASK["grpc_port"], prefer_grpc=TASK["grpc"], check_compatibility=False
    )
    client.get_collection(TASK["collection"])
    # Without `wait` nobody knows when the points are in, and whether they are.
    options = {"batch_size": TASK["batch"], "parallel": 1, "wait": True}
    with clock():
        if TASK["method"] == "upload_points":
            points = (
                models.PointStruct(id=id, vector=vector, payload=payload)
                for ids, vectors, payloads in batches()
                for id, vector, payload in zip(ids, vectors, payloads, strict=True)
            )
            client.upload_points(TASK["collection"], points, **options)
        else:
            for ids, vectors, payloads in batches():
                client.upload_collection(TASK["collection"], vectors, payloads, ids, **options)
    client.close()


if __name__ == "__main__":
    main()
