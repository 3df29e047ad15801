"""What a real Qdrant tells of the room that a collection takes."""

import uuid

import httpx

from servers.qdrant import QdrantServer
from unit.collections.specs import bring, declare
from vectorops.api.connection import QdrantConnectionSpec
from vectorops.collections.room import LIMITS, find_room
from vectorops.qdrant.connect import Credentials, connect
from vectorops.qdrant.observe import observe

POINTS = 200


def fill(qdrant: QdrantServer, name: str, first: int = 0) -> httpx.Response:
    vectors = {"text": [1.0] * 16, "small": [1] * 16, "rows": [[1.0] * 4] * 5, "terms": {"indices": [7], "values": [1]}}
    points = [{"id": first + n, "vector": vectors, "payload": {"text": "x" * 300}} for n in range(POINTS)]
    return httpx.put(f"{qdrant.url}/collections/{name}/points?wait=true", json={"points": points}, timeout=60)


async def test_a_copy_of_a_collection_is_estimated_as_large_as_the_collection(qdrant: QdrantServer) -> None:
    name = f"room-{uuid.uuid4().hex[:8]}"
    database = connect(QdrantConnectionSpec(url=qdrant.url, prefer_grpc=False), Credentials())
    vectors = [
        {"name": "text", "size": 16},
        {"name": "small", "size": 16, "datatype": "uint8"},
        {"name": "rows", "size": 4, "multivector": {"comparator": "max_sim"}},
    ]
    wanted = declare(name, vectors=vectors, sparseVectors=[{"name": "terms"}])
    await bring(database, wanted)
    assert await database.stored_sizes(name) is None, "there is no point yet"
    fill(qdrant, name).raise_for_status()

    sizes = await database.stored_sizes(name)
    room = await find_room(database, wanted, await observe(database, name))

    assert sizes is not None
    assert sizes.vectors == dict.fromkeys(("text", "small", "rows", "terms"), POINTS)
    assert (room.points, room.vector_bytes, room.payload_bytes) == (POINTS, sizes.vector_bytes, sizes.payload_bytes)
    assert POINTS * (16 * 4 + 16 + 5 * 4 * 4) < sizes.vector_bytes < POINTS * 200
    assert sizes.payload_bytes == POINTS * 128, "Qdrant packs a payload, and stores it in blocks of 128 bytes"
    await database.delete_collection(name)
    await database.close()


async def test_qdrant_refuses_points_beyond_each_limit_that_room_is_compared_with(qdrant: QdrantServer) -> None:
    """But not at once: its figures are taken anew at each 32nd request or so."""
    name = f"limit-{uuid.uuid4().hex[:8]}"
    for limit in LIMITS:
        body = {
            "vectors": {"text": {"size": 16, "distance": "Dot"}, "small": {"size": 16, "distance": "Dot"}}
            | {"rows": {"size": 4, "distance": "Dot", "multivector_config": {"comparator": "max_sim"}}},
            "sparse_vectors": {"terms": {}},
            "strict_mode_config": {"enabled": True, limit: 100},
        }
        httpx.put(f"{qdrant.url}/collections/{name}", json=body, timeout=60).raise_for_status()

        answers = (fill(qdrant, name, first=POINTS * n) for n in range(100))
        refused = next(answer for answer in answers if not answer.is_success)

        assert (refused.status_code, "limit of" in refused.text) == (400, True)
        httpx.delete(f"{qdrant.url}/collections/{name}", timeout=60).raise_for_status()
