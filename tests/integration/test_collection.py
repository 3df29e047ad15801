"""Collections as a team declares them, changes them in place, and leads them elsewhere.

Beside it: `test_collection_plans.py` (what cannot change in place), `test_collection_drift.py` (what others changed),
`test_collection_ownership.py` (whose a collection is) and `test_collection_deletion.py`.
"""

from typing import Any

import pytest
from qdrant_client import models

from integration.conftest import StartOperator, StartQdrant
from integration.team import Team, message, reason, unique
from integration.world import Stored, aliases_of, config_of, connection, indexes_of, point
from servers.kubeapi import KubeApi, Object, is_ready
from servers.qdrant import QdrantServer

# ----------------------------------------------------------------------------------------------------- what is declared


async def test_every_kind_of_vector_comes_to_be(team: Team, qdrant: QdrantServer) -> None:
    name = unique("zoo")

    made = await team.collection(
        name,
        vectors=[
            {"name": "cosine", "size": 3},
            {"name": "dot", "size": 4, "distance": "Dot", "datatype": "float16"},
            {"name": "euclid", "size": 5, "distance": "Euclid", "datatype": "uint8"},
            {"name": "manhattan", "size": 6, "distance": "Manhattan", "datatype": "float32"},
            {"name": "tokens", "size": 7, "multivector": {"comparator": "max_sim"}, "params": {"on_disk": True}},
        ],
        sparseVectors=[{"name": "terms", "modifier": "idf", "index": {"on_disk": True}}, {"name": "plain"}],
    )

    assert is_ready(made)
    params = config_of(qdrant, name)["params"]
    assert params["vectors"] == {
        "cosine": {"size": 3, "distance": "Cosine"},
        "dot": {"size": 4, "distance": "Dot", "datatype": "float16"},
        "euclid": {"size": 5, "distance": "Euclid", "datatype": "uint8"},
        "manhattan": {"size": 6, "distance": "Manhattan"},
        "tokens": {
            "size": 7,
            "distance": "Cosine",
            "multivector_config": {"comparator": "max_sim"},
            "on_disk": True,
        },
    }
    assert params["sparse_vectors"] == {"terms": {"modifier": "idf", "index": {"on_disk": True}}, "plain": {}}
    assert made["status"]["collection"]["name"] == name
    assert "dot 4 Dot float16" in made["status"]["schema"]["summary"]


@pytest.mark.parametrize("distance", ["Cosine", "Dot", "Euclid", "Manhattan"])
async def test_cocoindex_21_a_single_vector_has_no_name_and_any_of_four_distances(
    team: Team, qdrant: QdrantServer, distance: str
) -> None:
    name = unique("single")

    assert is_ready(await team.collection(name, vector={"size": 2, "distance": distance}))

    assert config_of(qdrant, name)["params"]["vectors"] == {"size": 2, "distance": distance}


async def test_cocoindex_25_all_of_qdrants_options_reach_it_verbatim(team: Team, qdrant: QdrantServer) -> None:
    name = unique("verbatim")
    hnsw, optimizers = {"m": 24, "ef_construct": 77, "on_disk": True}, {"indexing_threshold": 12345}
    quantization = {"scalar": {"type": "int8", "quantile": 0.99, "always_ram": True}}
    strict = {"enabled": True, "max_query_limit": 500}

    made = await team.collection(
        name,
        vectors=[{"name": "text", "size": 8, "hnswConfig": {"m": 8}, "quantizationConfig": {"binary": {}}}],
        params={"shard_number": 2, "on_disk_payload": True, "read_fan_out_factor": 2},
        hnswConfig=hnsw,
        optimizersConfig=optimizers,
        quantizationConfig=quantization,
        walConfig={"wal_capacity_mb": 8},
        strictModeConfig=strict,
        payloadIndexes=[
            {"field": "author", "schema": {"type": "keyword", "is_tenant": True}},
            {"field": "body", "schema": {"type": "text", "tokenizer": "word", "min_token_len": 2}},
            {"field": "year", "schema": {"type": "integer", "lookup": False, "range": True}},
        ],
        aliases=[f"{name}-a", f"{name}-b"],
    )

    assert is_ready(made)
    is_ = config_of(qdrant, name)
    assert is_["params"].items() >= {"shard_number": 2, "on_disk_payload": True, "read_fan_out_factor": 2}.items()
    assert (
        is_["params"]["vectors"]["text"].items()
        >= {
            "hnsw_config": {"m": 8},
            "quantization_config": {"binary": {}},
        }.items()
    )
    assert is_["hnsw_config"].items() >= hnsw.items()
    assert is_["optimizer_config"].items() >= optimizers.items()
    assert is_["quantization_config"] == quantization
    assert is_["wal_config"]["wal_capacity_mb"] == 8
    assert is_["strict_mode_config"].items() >= strict.items()
    schema = indexes_of(qdrant, name)
    assert {field: index["data_type"] for field, index in schema.items()} == {
        "author": "keyword",
        "body": "text",
        "year": "integer",
    }
    assert schema["author"]["params"]["is_tenant"] is True
    assert aliases_of(qdrant, name) == {f"{name}-a", f"{name}-b"}


async def test_cocoindex_24_an_unnamed_vector_stands_beside_a_sparse_one(
    team: Team, stored: Stored, qdrant: QdrantServer
) -> None:
    name = unique("hybrid")

    assert is_ready(await team.collection(name, vector={"size": 2}, sparseVectors=[{"name": "terms"}]))
    sparse = {"indices": [4], "values": [0.5]}
    told = await team.points(name, name, [{"id": 1, "vectors": {"terms": {"sparse": sparse}}}, point(2, 1, 0)])

    assert is_ready(told), message(told)
    assert config_of(qdrant, name)["params"]["vectors"]["size"] == 2
    assert (await stored.vectors(name))[2] == [1.0, 0.0]
    assert (await stored.vectors(name))[1]["terms"].model_dump() == sparse


async def test_an_option_that_the_server_does_not_keep_is_told_and_sent_once(team: Team, qdrant: QdrantServer) -> None:
    name = unique("future")
    told = await team.collection(name, hnswConfig={"m": 17, "from_the_future": 1})
    writes = qdrant.telemetry_writes()

    for _ in range(5):
        again = await team.look_again("QdrantCollection", name)

    assert reason(told) == reason(again) == "UnsupportedByServer"
    assert "from_the_future" in message(told)
    assert config_of(qdrant, name)["hnsw_config"]["m"] == 17
    assert qdrant.telemetry_writes() == writes


# ------------------------------------------------------------------------------------------------ what changes in place


@pytest.mark.parametrize(
    ("before", "after", "place", "expected"),
    [
        ({"hnswConfig": {"m": 16}}, {"hnswConfig": {"m": 32}}, ["hnsw_config", "m"], 32),
        (
            {"optimizersConfig": {"indexing_threshold": 9000}},
            {"optimizersConfig": {"indexing_threshold": 11000}},
            ["optimizer_config", "indexing_threshold"],
            11000,
        ),
        (
            {"quantizationConfig": {"scalar": {"type": "int8"}}},
            {"quantizationConfig": {"binary": {"always_ram": True}}},
            ["quantization_config"],
            {"binary": {"always_ram": True}},
        ),
        ({"quantizationConfig": {"scalar": {"type": "int8"}}}, {}, ["quantization_config"], None),
        (
            {},
            {"strictModeConfig": {"enabled": True, "max_query_limit": 77}},
            ["strict_mode_config", "max_query_limit"],
            77,
        ),
        (
            {"params": {"on_disk_payload": True}},
            {"params": {"on_disk_payload": False}},
            ["params", "on_disk_payload"],
            False,
        ),
        # Sent beside `params`, as create takes it, a PATCH is silently without effect.
        ({}, {"params": {"replication_factor": 2}}, ["params", "replication_factor"], 2),
        (
            {"vectors": [{"name": "v", "size": 3}]},
            {"vectors": [{"name": "v", "size": 3, "hnswConfig": {"m": 7}, "params": {"on_disk": True}}]},
            ["params", "vectors", "v"],
            {"size": 3, "distance": "Cosine", "hnsw_config": {"m": 7}, "on_disk": True},
        ),
        (
            {"sparseVectors": [{"name": "s"}]},
            {"sparseVectors": [{"name": "s", "modifier": "idf"}]},
            ["params", "sparse_vectors", "s", "modifier"],
            "idf",
        ),
    ],
    ids=[
        "hnsw",
        "optimizers",
        "quantization",
        "no-quantization",
        "strict-mode",
        "params",
        "peers-05",
        "vector",
        "sparse",
    ],
)
async def test_what_can_change_in_place_does_and_keeps_the_points(
    team: Team, stored: Stored, qdrant: QdrantServer, before: Object, after: Object, place: list[str], expected: Any
) -> None:
    name = unique("place")
    first = await team.collection(name, payloadIndexes=[{"field": "by", "schema": {"type": "keyword"}}], **before)
    vector: Any = [1.0, 0.0, 0.0]
    if "vectors" in before:
        vector = {"v": vector}
    if "sparseVectors" in before:
        vector = {"s": models.SparseVector(indices=[1], values=[1.0])}
    await stored.client.upsert(name, [models.PointStruct(id=1, vector=vector)], wait=True)

    second = await team.collection(name, payloadIndexes=[{"field": "by", "schema": {"type": "keyword"}}], **after)

    assert is_ready(second), message(second)
    value = config_of(qdrant, name)
    for key in place:
        value = value.get(key) if value else None
    assert value == expected
    assert await stored.count(name) == 1
    assert indexes_of(qdrant, name).keys() == {"by"}
    assert first["status"]["collection"] == second["status"]["collection"]


async def test_indexes_and_aliases_come_change_and_go_and_those_of_others_stay(
    team: Team, stored: Stored, qdrant: QdrantServer
) -> None:
    name = unique("indexes")

    def index(field: str, **schema: Any) -> Object:
        return {"field": field, "schema": schema}

    await team.collection(
        name,
        payloadIndexes=[index("a", type="keyword"), index("b", type="integer")],
        aliases=[f"{name}-old"],
    )
    await stored.client.create_payload_index(name, "theirs", models.PayloadSchemaType.FLOAT, wait=True)
    await stored.client.update_collection_aliases(
        [
            models.CreateAliasOperation(
                create_alias=models.CreateAlias(collection_name=name, alias_name=f"{name}-theirs")
            )
        ]
    )

    changed = await team.collection(
        name,
        payloadIndexes=[index("a", type="keyword", on_disk=True), index("c", type="uuid")],
        aliases=[f"{name}-new"],
    )

    assert is_ready(changed)
    found = indexes_of(qdrant, name)
    assert found.keys() == {"a", "c", "theirs"}
    assert found["a"]["params"]["on_disk"] is True
    assert aliases_of(qdrant, name) == {f"{name}-new", f"{name}-theirs"}


# ------------------------------------------------------------------------------------------------------- where it leads


async def test_cocoindex_02_a_connection_that_leads_elsewhere_is_filled_and_the_old_place_is_left(
    api: KubeApi, namespace: str, start_qdrant: StartQdrant, start_operator: StartOperator
) -> None:
    """The run says OK, with no collection and no points in the new place."""
    old, new = start_qdrant(), start_qdrant()
    start_operator()
    team = Team(api, namespace)
    await team.connection(old)
    await team.collection("zoo")
    first = await team.points("animals", "zoo", [point(1, 1, 0, 0), point(2, 1, 0, 0)], until=is_ready)

    await team.connection(new)
    await team.wait(
        "PointSet", "animals", lambda obj: is_ready(obj) and obj["status"]["target"] != first["status"]["target"]
    )

    async with Stored(old) as before, Stored(new) as after:
        assert sorted(await after.points("zoo")) == [1, 2]
        assert sorted(await before.points("zoo")) == [1, 2]


async def test_cocoindex_02_another_name_of_the_connection_changes_nothing(
    team: Team, api: KubeApi, stored: Stored, qdrant: QdrantServer
) -> None:
    """The renamed key adopts the collection, and what is left of the old one deletes it."""
    name, renamed = unique("renamed"), unique("connection")
    first = await team.collection(name)
    await team.points(name, name, [point(1, 1, 0, 0)])
    await team.delete("QdrantCollection", name)
    await api.apply(connection(team.namespace, qdrant, name=renamed))

    again = await team.collection(name, connectionRef={"name": renamed})
    kept = await team.look_again("PointSet", name)

    assert again["status"]["collection"] == first["status"]["collection"]
    assert is_ready(kept)
    assert kept["status"]["target"]["connection"] == renamed
    assert await stored.vectors(name) == {1: [1.0, 0.0, 0.0]}


# ----------------------------------------------------------------------------------------------------------- its status


async def test_peers_06_status_is_a_subresource_that_nobody_writes_by_applying(team: Team) -> None:
    """D writes status, though its CRD has none: every write is a change of the resource."""
    name = unique("status")
    await team.collection(name)
    before = await team.get("QdrantCollection", name)

    await team.api.patch("QdrantCollection", team.namespace, name, {"status": {"observedGeneration": 77}})

    assert await team.get("QdrantCollection", name) == before
    assert before["metadata"]["generation"] == before["status"]["observedGeneration"] == 1
