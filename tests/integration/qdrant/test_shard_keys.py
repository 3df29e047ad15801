"""Shard keys, behind both doors to a distributed Qdrant: what is written under one is not seen under another."""

import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from servers.qdrant import QdrantServer
from vectorops.api.connection import QdrantConnectionSpec
from vectorops.errors import Rejected
from vectorops.qdrant.connect import Credentials, connect
from vectorops.qdrant.database import Database, PayloadChange, PointData, ShardsOfKey
from vectorops.qdrant.local import LocalQdrant
from vectorops.qdrant.server import Server

BODY = {"vectors": {"a": {"size": 2, "distance": "Dot"}, "b": {"size": 2, "distance": "Dot"}}}
CUSTOM = {**BODY, "sharding_method": "custom"}


def point(id: int, *numbers: float, **payload: object) -> PointData:
    vector = np.array(numbers, np.float32)
    return PointData(id, {"a": vector, "b": vector}, payload)


async def opened(server: QdrantServer, *, grpc: bool) -> Server:
    spec = QdrantConnectionSpec(url=server.url, grpc_port=server.grpc_port, prefer_grpc=grpc)
    database = connect(spec, Credentials())
    await database.check()
    assert isinstance(database, Server)
    return database


@pytest.fixture(params=["rest", "grpc"])
async def database(request: pytest.FixtureRequest, cluster_qdrant: QdrantServer) -> AsyncIterator[Database]:
    database = await opened(cluster_qdrant, grpc=request.param == "grpc")
    yield database
    await database.close()


@pytest.fixture
async def zoo(database: Database) -> str:
    """A collection with two shard keys."""
    name = f"keys é {uuid.uuid4().hex[:8]}"
    await database.create_collection(name, CUSTOM)
    for key in ("acme", "globex & co"):
        await database.create_shard_key(name, key, {})
    return name


async def contents(database: Database, name: str) -> dict[object, tuple[object, dict[str, list[float]]]]:
    found = await database.points(name, [1, 2, 3], payload=True, vectors=True)
    return {
        id: (point.payload, {name: np.asarray(vector).tolist() for name, vector in point.vectors.items()})
        for id, point in found.items()
    }


async def test_shard_keys_are_made_told_and_deleted(database):
    name = f"keys-{uuid.uuid4().hex[:8]}"
    await database.create_collection(name, {**CUSTOM, "shard_number": 3})
    assert database.info.distributed
    assert await database.shard_keys(name) == {}

    await database.create_shard_key(name, "acme", {})
    await database.create_shard_key(name, "5", {"shards_number": 2, "replication_factor": 1})
    await database.create_shard_key(name, 5, {"shards_number": 1})

    assert await database.shard_keys(name) == {
        "acme": ShardsOfKey(3, 1, 0),
        "5": ShardsOfKey(2, 1, 0),
        5: ShardsOfKey(1, 1, 0),
    }
    await database.delete_shard_key(name, "5")
    assert (await database.shard_keys(name)).keys() == {"acme", 5}
    for refused in (database.create_shard_key(name, "acme", {}), database.delete_shard_key(name, "gone")):
        with pytest.raises(Rejected) as error:
            await refused
        assert error.value.status == 400


async def test_the_same_id_under_two_keys_is_two_points(database, zoo):
    acme, globex = database.with_shard_key(zoo, "acme"), database.with_shard_key(zoo, "globex & co")
    await acme.upsert(zoo, [point(1, 1, 2, of="acme"), point(2, 3, 4, of="acme")], insert_only=True)

    await globex.upsert(zoo, [point(1, 5, 6, of="globex")], insert_only=True)
    await globex.upsert(zoo, [point(1, 9, 9, of="nobody")], insert_only=True)

    theirs = {1: ({"of": "globex"}, {"a": [5, 6], "b": [5, 6]})}
    assert await contents(globex, zoo) == theirs
    await acme.update_vectors(zoo, [PointData(1, {"a": np.array([7, 8], np.float32)})])
    await acme.delete_vectors(zoo, [2], ["b"])
    await acme.change_payloads(zoo, [PayloadChange(1, {"n": 1}, ["of"]), PayloadChange(2, {"n": None})])
    assert await contents(acme, zoo) == {
        1: ({"n": 1}, {"a": [7, 8], "b": [1, 2]}),
        2: ({"of": "acme", "n": None}, {"a": [3, 4]}),
    }
    assert [stored.id for stored in await acme.scroll(zoo)] == [1, 2]
    await acme.delete_points(zoo, [1])
    await acme.delete_matching(zoo, {"must": [{"has_id": [2]}]})
    assert await contents(acme, zoo) == {}
    assert await contents(globex, zoo) == theirs


async def test_payloads_that_grpc_cannot_carry_find_their_shard_too(database, zoo):
    acme = database.with_shard_key(zoo, "acme")

    await acme.upsert(zoo, [point(3, 1, 2, n=2**64 - 1)])

    assert (await contents(acme, zoo))[3][0] == {"n": 2**64 - 1}


async def test_other_collections_are_seen_whole(database, zoo):
    plain = f"plain-{uuid.uuid4().hex[:8]}"
    await database.create_collection(plain, BODY)
    acme = database.with_shard_key(zoo, "acme")

    await acme.upsert(plain, [point(1, 1, 2)])

    assert (await database.points(plain, [1])).keys() == {1}


async def test_a_key_that_does_not_exist_is_refused(database, zoo):
    gone = database.with_shard_key(zoo, "gone")

    for request in (gone.points(zoo, [1]), gone.upsert(zoo, [point(1, 1, 2)]), gone.delete_points(zoo, [1])):
        with pytest.raises(Rejected, match="Shard key") as error:
            await request
        assert error.value.status == 400


@pytest.mark.parametrize("change", ["create", "delete"])
async def test_an_index_is_refused_without_a_shard_and_changed_all_the_same(database, change):
    """Why indexes come after shard keys, and wait for the first: the answer to this request says nothing of what is."""
    name = f"keys-{uuid.uuid4().hex[:8]}"
    await database.create_collection(name, CUSTOM)
    if change == "delete":
        await database.create_shard_key(name, "acme", {})
        await database.create_index(name, "k", {"type": "keyword"})
        await database.delete_shard_key(name, "acme")

    with pytest.raises(Rejected, match="Shard key not specified"):
        await (
            database.create_index(name, "k", {"type": "keyword"})
            if change == "create"
            else database.delete_index(name, "k")
        )

    await database.create_shard_key(name, "globex", {})
    found = await database.collection(name)
    assert found is not None
    assert found["payload_schema"].keys() == ({"k"} if change == "create" else set())


async def test_a_server_of_one_node_and_a_folder_have_no_shard_keys(qdrant: QdrantServer, tmp_path: Path) -> None:
    name = f"keys-{uuid.uuid4().hex[:8]}"
    for database in (await opened(qdrant, grpc=False), LocalQdrant(tmp_path / "folder")):
        assert not database.info.distributed
        await database.create_collection(name, CUSTOM)
        assert await database.shard_keys(name) == {}
        with pytest.raises(Rejected, match="Distributed mode disabled") as error:
            await database.create_shard_key(name, "acme", {})
        assert error.value.status == 400
        await database.close()
