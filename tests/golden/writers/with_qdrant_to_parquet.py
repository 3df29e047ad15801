# /// script
# requires-python = ">=3.11"
# dependencies = ["qdrant-to-parquet==0.1.1", "qdrant-client<2"]
# ///
"""What qdrant-to-parquet exports of a collection: ids as text, payloads as JSON text, a column for each vector."""

import os
import subprocess
import sys
from pathlib import Path

from qdrant_client import QdrantClient, models

FOLDER = Path(sys.argv[1])
URL = os.environ["QDRANT_URL"]
with_size = models.VectorParams(size=4, distance=models.Distance.DOT)
client = QdrantClient(URL, check_compatibility=False)
client.create_collection("one", with_size)
client.create_collection("named", {"text": with_size}, sparse_vectors_config={"terms": models.SparseVectorParams()})
payloads = [{"title": "one", "n": 2**63 - 1, "tags": ["a", None]}, {}, {"nested": {"deep": [1, 2.5, {"x": True}]}}]
ids = [1, 2**64 - 1, "550e8400-e29b-41d4-a716-446655440000"]
vectors = [[0.5, 0.25, 0.125, 0.0], [1.0, 2.0, 3.0, 4.0], [4.0, 3.0, 2.0, 1.0]]
sparse = models.SparseVector(indices=[7, 1000], values=[0.5, 1.5])
client.upsert(
    "one", [models.PointStruct(id=id, vector=v, payload=p) for id, v, p in zip(ids, vectors, payloads, strict=True)]
)
client.upsert(
    "named",
    [
        models.PointStruct(id=1, vector={"text": vectors[0], "terms": sparse}, payload=payloads[0]),
        models.PointStruct(id=2, vector={"text": vectors[1]}, payload=payloads[1]),
    ],
)
for name in ("one", "named"):
    command = [sys.executable, "-m", "qdrant_to_parquet", name, str(FOLDER / f"qdrant-to-parquet-{name}.parquet")]
    subprocess.run([*command, "--url", URL, "--rest", "--force", "--quiet"], check=True)
