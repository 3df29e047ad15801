#!/usr/bin/env bash
# Qdrant 1.16.3 with qdrant-client 1.20.0 and its grpcio (seen 2026-11-28).
#
# One would guess: vectors are read faster over gRPC (packed floats) than over REST (JSON), so `prefer_grpc=True` is the fast way.
# What happens: Qdrant compresses its gRPC answers with gzip when the request's `grpc-accept-encoding` lists it, and every channel of grpcio
# lists it by default. Floats hardly shrink, so the server compresses for nothing: reading 2,000 points of 384 components over gRPC takes
# several times as long as over REST. With the channel option `grpc.compression_enabled_algorithms_bitset` set to 1 (identity only) the same
# read over gRPC is the fastest.
#
# Output (seconds of the fastest of five reads, on two cores that were busy with other work too):
#   gRPC 2.07, gRPC without compression 0.22, REST 1.07
set -euo pipefail
folder=$(mktemp -d)
. "$(dirname "$0")/start-qdrant" "$folder" @1.16.3

"$python" - <<'PYTHON'
import os
import random
import time

from qdrant_client import QdrantClient, models

COUNT, SIZE = 2000, 384
where = {"url": os.environ["QDRANT_URL"], "grpc_port": int(os.environ["QDRANT_GRPC_PORT"]), "timeout": 60, "check_compatibility": False}
IDENTITY_ONLY = {"grpc.compression_enabled_algorithms_bitset": 1}
clients = {
    "gRPC": QdrantClient(**where, prefer_grpc=True),
    "gRPC without compression": QdrantClient(**where, prefer_grpc=True, grpc_options=IDENTITY_ONLY),
    "REST": QdrantClient(**where),
}
rest = clients["REST"]
rest.create_collection("c", models.VectorParams(size=SIZE, distance=models.Distance.DOT))
vectors = [[random.gauss(0, 1) for _ in range(SIZE)] for _ in range(COUNT)]
rest.upload_collection("c", vectors, ids=range(COUNT), wait=True)

fastest = dict.fromkeys(clients, float("inf"))
for _ in range(5):
    for name, client in clients.items():
        start = time.perf_counter()
        assert len(client.retrieve("c", range(COUNT), with_vectors=True)) == COUNT
        fastest[name] = min(fastest[name], time.perf_counter() - start)
print(", ".join(f"{name} {seconds:.2f}" for name, seconds in fastest.items()))
assert fastest["gRPC"] > 1.5 * fastest["REST"]
assert fastest["gRPC"] > 2 * fastest["gRPC without compression"]
PYTHON
