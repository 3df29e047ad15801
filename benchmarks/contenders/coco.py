# /// script
# requires-python = ">=3.11"
# dependencies = ["cocoindex==1.0.26", "qdrant-client==1.20.0", "pyarrow==26.0.1"]
# ///
"""CocoIndex: all points declared by one component, the fastest of its shapes; its state in a folder, gRPC."""

import os
from collections.abc import Iterator

# It would tell its makers of each run.
os.environ["COCOINDEX_DISABLE_USAGE_TRACKING"] = "1"

import cocoindex as coco
import numpy as np
import pyarrow.parquet as pq
from clock import TASK, clock
from cocoindex.connectorkits.target import ManagedBy
from cocoindex.connectors import qdrant
from cocoindex.resources.schema import VectorSchema
from qdrant_client import QdrantClient

os.environ["COCOINDEX_DB"] = f"{TASK['folder']}/cocoindex"
DATABASE = coco.ContextKey[QdrantClient]("benchmark")


@coco.lifespan  # type: ignore[untyped-decorator]
def connected(builder: coco.EnvironmentBuilder) -> Iterator[None]:
    """Gives the client to the application."""
    client = qdrant.create_client(TASK["url"], grpc_port=TASK["grpc_port"], check_compatibility=False, timeout=600)
    builder.provide(DATABASE, client)
    yield


@coco.fn  # type: ignore[untyped-decorator]
async def declare_all() -> None:
    """Declares a point for each row."""
    schema = await qdrant.CollectionSchema.create(
        qdrant.QdrantVectorDef(schema=VectorSchema(dtype=np.dtype(np.float32), size=TASK["size"]), distance="cosine")
    )
    target = await qdrant.mount_collection_target(DATABASE, TASK["collection"], schema, managed_by=ManagedBy.USER)
    await coco.mount(declare_rows, target)


@coco.fn  # type: ignore[untyped-decorator]
def declare_rows(target: qdrant.CollectionTarget) -> None:
    """All rows of the file."""
    with pq.ParquetFile(TASK["file"], pre_buffer=False, buffer_size=1 << 16) as file:
        for batch in file.iter_batches(4096):
            vectors = batch.column("vector").flatten().to_numpy().reshape(batch.num_rows, TASK["size"])
            payloads = batch.drop_columns(["id", "vector"]).to_pylist()
            for id, vector, payload in zip(batch.column("id").to_pylist(), vectors, payloads, strict=True):
                target.declare_point(qdrant.PointStruct(id=id, vector=vector.tolist(), payload=payload))


def main() -> None:
    """One update."""
    app = coco.App("benchmark", declare_all)
    with clock():
        app.update_blocking()


if __name__ == "__main__":
    main()
