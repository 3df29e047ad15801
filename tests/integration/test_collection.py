"""Collections as a team lives with them: declared, changed, tampered with, adopted, shared, left behind and deleted."""

import asyncio
import threading
from typing import Any

import httpx
import pytest
from qdrant_client import models

from integration.conftest import StartOperator, StartProxy, StartQdrant
from integration.team import Team, message, reason, unique
from integration.world import Stored, collection, connection, point, point_set, secret
from servers.kubeapi import KubeApi, Object, condition, is_ready
from servers.proxy import Call, Cut
from servers.qdrant import QdrantServer

MARK = "vectorops.dev/mark"


def config(qdrant: QdrantServer, name: str) -> Any:
    """The configuration of a collection, as Qdrant tells it."""
    return qdrant.get(f"/collections/{name}")["config"]


def indexes(qdrant: QdrantServer, name: str) -> Any:
    """The payload indexes of a collection, by field."""
    return qdrant.get(f"/collections/{name}")["payload_schema"]


def mark(qdrant: QdrantServer, name: str) -> Any:
    """Who owns a collection, as its metadata tell."""
    return config(qdrant, name).get("metadata", {}).get(MARK)


def patch(qdrant: QdrantServer, name: str, body: Object) -> None:
    """Changes a collection by hand."""
    httpx.patch(f"{qdrant.url}/collections/{name}", json=body, timeout=30).raise_for_status()


async def make(stored: Stored, name: str, size: int = 3, **options: Any) -> None:
    """Makes a collection by hand."""
    params = models.VectorParams(size=size, distance=models.Distance.COSINE)
    await stored.client.create_collection(name, vectors_config=params, **options)


async def put(stored: Stored, name: str, *ids: int) -> dict[Any, Any]:
    """Writes points by hand; returns all that there are."""
    points = [models.PointStruct(id=id, vector=[1.0, 0.0, 0.0], payload={"by": "hand"}) for id in ids]
    await stored.client.upsert(name, points, wait=True)
    return await stored.points(name)


def plan_hash(obj: Object) -> str:
    return str(obj["status"]["plan"]["hash"])


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
    params = config(qdrant, name)["params"]
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

    assert config(qdrant, name)["params"]["vectors"] == {"size": 2, "distance": distance}


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
    is_ = config(qdrant, name)
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
    schema = indexes(qdrant, name)
    assert {field: index["data_type"] for field, index in schema.items()} == {
        "author": "keyword",
        "body": "text",
        "year": "integer",
    }
    assert schema["author"]["params"]["is_tenant"] is True
    aliases = {alias["alias_name"] for alias in qdrant.get(f"/collections/{name}/aliases")["aliases"]}
    assert aliases == {f"{name}-a", f"{name}-b"}


async def test_cocoindex_24_an_unnamed_vector_stands_beside_a_sparse_one(
    team: Team, stored: Stored, qdrant: QdrantServer
) -> None:
    name = unique("hybrid")

    assert is_ready(await team.collection(name, vector={"size": 2}, sparseVectors=[{"name": "terms"}]))
    sparse = {"indices": [4], "values": [0.5]}
    told = await team.points(name, name, [{"id": 1, "vectors": {"terms": {"sparse": sparse}}}, point(2, 1, 0)])

    assert is_ready(told), message(told)
    assert config(qdrant, name)["params"]["vectors"]["size"] == 2
    assert (await stored.vectors(name))[2] == [1.0, 0.0]
    assert (await stored.vectors(name))[1]["terms"].model_dump() == sparse


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
    value = config(qdrant, name)
    for key in place:
        value = value.get(key) if value else None
    assert value == expected
    assert await stored.count(name) == 1
    assert indexes(qdrant, name).keys() == {"by"}
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
    found = indexes(qdrant, name)
    assert found.keys() == {"a", "c", "theirs"}
    assert found["a"]["params"]["on_disk"] is True
    aliases = {alias["alias_name"] for alias in qdrant.get(f"/collections/{name}/aliases")["aliases"]}
    assert aliases == {f"{name}-new", f"{name}-theirs"}


# ---------------------------------------------------------------------------------------------- what cannot be in place


async def test_peers_09_another_size_waits_for_one_approval_and_costs_nothing_but_the_data(
    team: Team, stored: Stored, qdrant: QdrantServer
) -> None:
    """C's new collection has size, distance, shards and replicas, and has lost the rest."""
    name, alias = unique("size"), unique("reader")
    declared: Object = {"payloadIndexes": [{"field": "kind", "schema": {"type": "keyword"}}], "aliases": [alias]}
    first = await team.collection(name, hnswConfig={"m": 20}, **declared)
    await team.points(f"{name}-points", name, [point(1, 1, 0, 0), point(2, 0, 1, 0)])
    before = await put(stored, name, 77)

    refused = await team.collection(name, vector={"size": 4}, hnswConfig={"m": 20}, **declared)
    assert reason(refused) == "PlanHeldBack"
    assert condition(refused, "Stalled")["status"] == "True"
    assert "size 3 -> 4" in refused["status"]["plan"]["steps"][0]
    assert refused["status"]["plan"]["destructive"]
    assert await stored.points(name) == before

    await team.approve(name, "0123456789ab")
    still = await team.look_again("QdrantCollection", name)
    assert plan_hash(still) == plan_hash(refused)
    assert await stored.points(name) == before

    await team.approve(name, plan_hash(refused))
    done = await team.wait("QdrantCollection", name, is_ready)
    assert "plan" not in done["status"]
    assert done["status"]["collection"]["incarnation"] != first["status"]["collection"]["incarnation"]
    assert config(qdrant, name)["params"]["vectors"] == {"size": 4, "distance": "Cosine"}
    assert config(qdrant, name)["hnsw_config"]["m"] == 20
    assert indexes(qdrant, name).keys() == {"kind"}
    assert qdrant.get(f"/collections/{alias}")["status"]
    refilled = await team.points(f"{name}-points", name, [point(1, 1, 0, 0, 0), point(2, 0, 1, 0, 0)], until=is_ready)
    assert refilled["status"]["target"]["incarnation"] == done["status"]["collection"]["incarnation"]
    assert sorted(await stored.points(name)) == [1, 2]

    # The annotation is still there. It meant that plan, not the next.
    again = await team.collection(name, vector={"size": 5}, hnswConfig={"m": 20}, **declared)
    assert reason(again) == "PlanHeldBack"
    assert plan_hash(again) != plan_hash(refused)
    back = await team.collection(name, vector={"size": 4}, hnswConfig={"m": 20}, **declared)
    assert is_ready(back)
    assert sorted(await stored.points(name)) == [1, 2]


async def test_cocoindex_08_sets_fill_the_new_collection_themselves_after_an_approved_plan(
    team: Team, stored: Stored
) -> None:
    """Dropped and created again, left empty, and said OK."""
    name = unique("refill")
    await team.collection(name, vectors=[{"name": "v", "size": 3, "distance": "Dot"}])
    await team.points(name, name, [point(n, v=[1, 2, 3]) for n in range(20)])
    held = await team.collection(name, vectors=[{"name": "v", "size": 3, "distance": "Euclid"}])

    await team.approve(name, plan_hash(held))
    done = await team.wait("QdrantCollection", name, is_ready)
    await team.wait(
        "PointSet",
        name,
        lambda obj: (
            is_ready(obj) and obj["status"]["target"]["incarnation"] == done["status"]["collection"]["incarnation"]
        ),
    )

    assert await stored.vectors(name) == {n: {"v": [1.0, 2.0, 3.0]} for n in range(20)}


@pytest.mark.parametrize(
    "after",
    [
        {"vectors": [{"name": "v", "size": 3}, {"name": "w", "size": 3}]},
        {"vectors": [{"name": "v", "size": 3, "distance": "Dot"}]},
        {"vectors": [{"name": "v", "size": 3, "datatype": "float16"}]},
        {"vectors": [{"name": "w", "size": 3}]},
        {"vectors": [{"name": "v", "size": 3}], "params": {"shard_number": 3}},
    ],
    ids=["another-vector", "distance", "datatype", "renamed", "shards"],
)
async def test_peers_01_no_change_of_the_schema_drops_a_collection_unasked(
    team: Team, stored: Stored, after: Object
) -> None:
    name = unique("schema")
    await team.collection(name, vectors=[{"name": "v", "size": 3}])
    await stored.client.upsert(name, [models.PointStruct(id=1, vector={"v": [1.0, 0.0, 0.0]})], wait=True)
    before = await stored.points(name)

    refused = await team.collection(name, **after)

    assert reason(refused) == "PlanHeldBack"
    assert refused["status"]["plan"]["destructive"]
    assert await stored.points(name) == before


async def test_cocoindex_09_a_datatype_reaches_qdrant_and_is_no_destructive_no_op(
    team: Team, qdrant: QdrantServer
) -> None:
    name = unique("datatype")

    await team.collection(name, vector={"size": 3, "datatype": "float16"})
    refused = await team.collection(name, vector={"size": 3, "datatype": "uint8"})

    assert config(qdrant, name)["params"]["vectors"]["datatype"] == "float16"
    assert reason(refused) == "PlanHeldBack"


async def test_an_option_that_the_server_does_not_keep_is_told_and_sent_once(team: Team, qdrant: QdrantServer) -> None:
    name = unique("future")
    told = await team.collection(name, hnswConfig={"m": 17, "from_the_future": 1})
    writes = qdrant.telemetry_writes()

    for _ in range(5):
        again = await team.look_again("QdrantCollection", name)

    assert reason(told) == reason(again) == "UnsupportedByServer"
    assert "from_the_future" in message(told)
    assert config(qdrant, name)["hnsw_config"]["m"] == 17
    assert qdrant.telemetry_writes() == writes


# ---------------------------------------------------------------------------------------------------------------- drift


async def tamper(stored: Stored, qdrant: QdrantServer, name: str) -> None:
    """Changes an option, drops an index, and leads an alias away to nowhere."""
    patch(qdrant, name, {"hnsw_config": {"m": 9}})
    await stored.client.delete_payload_index(name, "kind", wait=True)
    await stored.client.update_collection_aliases(
        [models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=f"{name}-alias"))]
    )


def declared_to_drift(name: str) -> Object:
    return {
        "hnswConfig": {"m": 20},
        "payloadIndexes": [{"field": "kind", "schema": {"type": "keyword"}}],
        "aliases": [f"{name}-alias"],
    }


def is_as_declared(qdrant: QdrantServer, name: str) -> bool:
    aliases = {alias["alias_name"] for alias in qdrant.get(f"/collections/{name}/aliases")["aliases"]}
    has_index = "kind" in indexes(qdrant, name)
    return bool(config(qdrant, name)["hnsw_config"]["m"] == 20) and has_index and aliases == {f"{name}-alias"}


async def test_cocoindex_04_what_others_changed_is_put_right_and_told(
    team: Team, stored: Stored, qdrant: QdrantServer
) -> None:
    """The next run says OK, and nothing is repaired."""
    name = unique("drift")
    await team.collection(name, **declared_to_drift(name))
    await tamper(stored, qdrant, name)
    assert not is_as_declared(qdrant, name)

    corrected = await team.look_again("QdrantCollection", name)

    assert is_ready(corrected)
    assert is_as_declared(qdrant, name)
    (note,) = await team.events(name, "DriftCorrected")
    for word in ("hnsw_config.m: 9 -> 20", "payload index kind", f"alias {name}-alias"):
        assert word in note


async def test_drift_that_is_only_reported_waits_for_an_approval_each_time(
    team: Team, stored: Stored, qdrant: QdrantServer
) -> None:
    name = unique("report")
    await team.collection(name, driftPolicy="Report", **declared_to_drift(name))
    await tamper(stored, qdrant, name)

    reported = await team.look_again("QdrantCollection", name)

    assert condition(reported, "Drifted")["status"] == "True"
    assert "hnsw_config.m: 9 -> 20" in condition(reported, "Drifted")["message"]
    assert not reported["status"]["plan"]["destructive"]
    assert config(qdrant, name)["hnsw_config"]["m"] == 9

    await team.approve(name, plan_hash(reported))
    corrected = await team.wait("QdrantCollection", name, lambda obj: not condition(obj, "Drifted"))
    assert is_as_declared(qdrant, name)
    assert "plan" not in corrected["status"]

    await tamper(stored, qdrant, name)
    again = await team.look_again("QdrantCollection", name)
    assert plan_hash(again) == plan_hash(reported)
    assert not is_as_declared(qdrant, name)


async def test_a_new_declaration_is_no_drift_and_needs_no_approval(team: Team, qdrant: QdrantServer) -> None:
    name = unique("report")
    await team.collection(name, driftPolicy="Report", hnswConfig={"m": 20})

    changed = await team.collection(name, driftPolicy="Report", hnswConfig={"m": 21})

    assert is_ready(changed)
    assert not condition(changed, "Drifted")
    assert config(qdrant, name)["hnsw_config"]["m"] == 21


async def test_peers_11_what_the_server_fills_in_or_rounds_is_no_drift(team: Team, qdrant: QdrantServer) -> None:
    name = unique("rounded")
    await team.collection(
        name,
        quantizationConfig={"scalar": {"type": "int8", "quantile": 0.9876543}},
        optimizersConfig={"deleted_threshold": 0.2, "default_segment_number": 0, "max_optimization_threads": None},
        strictModeConfig={"enabled": True, "max_query_limit": 100},
        payloadIndexes=[
            {"field": "t", "schema": {"type": "text", "tokenizer": "word", "stopwords": "english", "lowercase": True}},
            {"field": "k", "schema": {"type": "keyword", "is_tenant": False}},
        ],
    )
    writes = qdrant.telemetry_writes()

    again = await team.look_again("QdrantCollection", name)

    assert is_ready(again)
    assert not await team.events(name, "DriftCorrected")
    assert qdrant.telemetry_writes() == writes


async def test_cocoindex_04_a_collection_that_was_deleted_by_hand_comes_again_with_its_points(
    team: Team, stored: Stored, qdrant: QdrantServer
) -> None:
    """The next run says OK, with no collection."""
    name = unique("vanished")
    first = await team.collection(name, **declared_to_drift(name))
    await team.points(name, name, [point(1, 0, 1, 0, payload={"kind": "x"})])
    before = await stored.points(name)
    await stored.client.delete_collection(name)

    again = await team.look_again("QdrantCollection", name)

    incarnation = again["status"]["collection"]["incarnation"]
    assert incarnation != first["status"]["collection"]["incarnation"]
    await team.wait(
        "PointSet", name, lambda obj: is_ready(obj) and obj["status"]["target"]["incarnation"] == incarnation
    )
    assert await stored.points(name) == before
    assert is_as_declared(qdrant, name)


async def test_peers_12_a_set_without_points_writes_nothing_at_any_look(team: Team, qdrant: QdrantServer) -> None:
    name = unique("empty")
    await team.collection(name)
    await team.points(name, name, [])
    writes = qdrant.telemetry_writes()

    for kind in ("QdrantCollection", "PointSet", "PointSet"):
        assert is_ready(await team.look_again(kind, name))

    assert qdrant.telemetry_writes() == writes


# ----------------------------------------------------------------------------------------- a collection that was there


async def test_a_matching_collection_is_adopted_and_the_points_in_it_stay(
    team: Team, stored: Stored, qdrant: QdrantServer
) -> None:
    name = unique("adopted")
    await make(stored, name, hnsw_config=models.HnswConfigDiff(m=40))
    before = await put(stored, name, 1, 2)

    adopted = await team.collection(name, optimizersConfig={"indexing_threshold": 5000})
    await team.points(name, name, [point(3, 0, 1, 0)])
    await team.delete("PointSet", name)

    assert is_ready(adopted)
    assert await stored.points(name) == before
    assert config(qdrant, name)["hnsw_config"]["m"] == 40
    assert config(qdrant, name)["optimizer_config"]["indexing_threshold"] == 5000
    assert mark(qdrant, name)["name"] == name


@pytest.mark.parametrize(
    ("declared", "words"),
    [
        ({"vector": {"size": 4}}, ["size 3 -> 4"]),
        ({"vector": {"size": 3, "distance": "Dot"}}, ["distance Cosine -> Dot"]),
        ({"vector": {"size": 3, "datatype": "uint8"}}, ["datatype float32 -> uint8"]),
        ({"vectors": [{"name": "text", "size": 3}]}, ["text"]),
        ({"sparseVectors": [{"name": "terms"}]}, ["terms"]),
        ({"vector": {"size": 3}, "params": {"shard_number": 3}}, ["shard_number"]),
    ],
    ids=["size", "distance", "datatype", "named", "sparse", "shards"],
)
async def test_cocoindex_07_a_collection_that_does_not_match_is_not_adopted(
    team: Team, stored: Stored, qdrant: QdrantServer, declared: Object, words: list[str]
) -> None:
    """It adopts at the second run, without a look at the schema, and deletes it when it is no longer declared."""
    name = unique("other")
    await make(stored, name)
    before, was = await put(stored, name, 1, 2), config(qdrant, name)

    refused = await team.collection(name, deletionPolicy="Delete", **declared)
    again = await team.look_again("QdrantCollection", name)
    waiting = await team.points(name, name, [point(1, 1, 1, 1)], until=lambda obj: condition(obj, "Ready"))
    await team.delete("PointSet", name)
    await team.delete("QdrantCollection", name)

    assert reason(refused) == reason(again) == "NotAdopted"
    assert all(word in message(refused) for word in words)
    assert reason(waiting) == "CollectionNotReady"
    assert await stored.points(name) == before
    assert config(qdrant, name) == was


async def test_a_collection_that_was_there_is_left_alone_if_adoption_is_never(
    team: Team, stored: Stored, qdrant: QdrantServer
) -> None:
    name = unique("never")
    await make(stored, name)
    was = config(qdrant, name)

    refused = await team.collection(name, adoptionPolicy="Never", hnswConfig={"m": 33})
    assert reason(refused) == "NotAdopted"
    assert "adoptionPolicy" in message(refused)
    assert config(qdrant, name) == was

    assert is_ready(await team.collection(name, adoptionPolicy="IfMatching", hnswConfig={"m": 33}))
    assert config(qdrant, name)["hnsw_config"]["m"] == 33


async def test_peers_13_collections_that_nobody_declared_are_never_touched(
    team: Team, stored: Stored, qdrant: QdrantServer
) -> None:
    """K treats every collection in Qdrant as its own."""
    bystander, name = unique("bystander"), unique("mine")
    await make(stored, bystander)
    before, was = await put(stored, bystander, 1), config(qdrant, bystander)

    await team.collection(name, deletionPolicy="Delete")
    await team.points(name, name, [point(1, 0, 0, 1)])
    await team.delete("PointSet", name)
    await team.delete("QdrantCollection", name)

    assert not await stored.exists(name)
    assert await stored.points(bystander) == before
    assert config(qdrant, bystander) == was


# --------------------------------------------------------------------------------------------------- the user's own


async def test_cocoindex_11_a_users_collection_must_exist_and_match_and_is_never_changed(
    team: Team, stored: Stored, qdrant: QdrantServer
) -> None:
    """The schema is never compared; another distance is used silently."""
    name = unique("users")
    spec: Object = {"managedBy": "User", "hnswConfig": {"m": 18}}
    missing = await team.collection(name, until=lambda obj: condition(obj, "Ready"), **spec)
    assert reason(missing) == "CollectionNotFound"
    assert not await stored.exists(name)

    await make(stored, name)
    was = config(qdrant, name)
    differing = await team.look_again("QdrantCollection", name)
    assert reason(differing) == "SchemaMismatch"
    assert "hnsw_config.m" in message(differing)

    patch(qdrant, name, {"hnsw_config": {"m": 18}})
    matching = await team.look_again("QdrantCollection", name)
    await team.points(name, name, [point(1, 1, 0, 0)])
    assert is_ready(matching)
    assert await stored.vectors(name) == {1: [1.0, 0.0, 0.0]}

    await team.delete("PointSet", name)
    await team.delete("QdrantCollection", name)
    assert await stored.points(name) == {}
    assert config(qdrant, name) == was | {"hnsw_config": was["hnsw_config"] | {"m": 18}}
    assert "metadata" not in config(qdrant, name)


async def test_cocoindex_11_a_set_leaves_no_points_in_a_users_collection(team: Team, stored: Stored) -> None:
    """Un-declared points stay for ever and are forgotten."""
    name = unique("users")
    await make(stored, name)
    foreign = await put(stored, name, 99)
    await team.collection(name, managedBy="User")
    await team.points(name, name, [point(n, 0, 1, 0) for n in (1, 2, 3)])

    await team.points(name, name, [point(1, 0, 1, 0)])
    assert sorted(await stored.points(name)) == [1, 99]

    await team.delete("PointSet", name)
    assert await stored.points(name) == foreign


async def test_cocoindex_11_a_collection_passes_between_user_and_operator_with_the_points_of_its_sets(
    team: Team, stored: Stored, qdrant: QdrantServer
) -> None:
    """Ownership is taken without a check, and the user's collection dropped later."""
    name = unique("switch")
    await make(stored, name)
    foreign = (await put(stored, name, 99))[99]
    await team.collection(name, managedBy="User")
    await team.points(name, name, [point(1, 1, 0, 0), point(2, 0, 1, 0)])

    await team.collection(name, managedBy="System")
    ours = await team.points(name, name, [point(2, 0, 0, 1), point(3, 0, 1, 0)])
    assert is_ready(ours), message(ours)
    assert sorted(await stored.points(name)) == [2, 3, 99]
    assert (await stored.vectors(name))[2] == [0.0, 0.0, 1.0]
    assert mark(qdrant, name)["released"] is False

    await team.collection(name, managedBy="User")
    users = await team.points(name, name, [point(3, 1, 0, 0)])
    assert is_ready(users), message(users)
    assert sorted(await stored.points(name)) == [3, 99]
    assert mark(qdrant, name)["released"] is True

    await team.collection(name, managedBy="System")
    again = await team.points(name, name, [point(3, 0, 1, 0), point(4, 1, 0, 0)])
    assert is_ready(again), message(again)
    await team.delete("PointSet", name)
    assert await stored.points(name) == {99: foreign}


async def test_nothing_is_written_into_a_users_collection_but_points(
    team: Team, stored: Stored, qdrant: QdrantServer
) -> None:
    name = unique("users")
    await make(stored, name, metadata={"team": "search"})
    was = config(qdrant, name)

    await team.collection(name, managedBy="User")
    await team.points(name, name, [point(1, 1, 0, 0)])
    await team.look_again("PointSet", name)

    assert config(qdrant, name) == was


# ------------------------------------------------------------------------------------------------------- whose it is


async def test_cocoindex_07_the_second_resource_on_a_collection_is_refused_and_takes_nothing_with_it(
    team: Team, stored: Stored, qdrant: QdrantServer
) -> None:
    """Two flows on one collection: B fails, B's retry adopts, B's un-declare drops A's collection."""
    name, second = unique("shared"), unique("second")
    await team.collection(name, hnswConfig={"m": 20})
    await team.points(name, name, [point(1, 1, 0, 0)])
    was = config(qdrant, name)

    refused = await team.collection(second, collectionName=name, hnswConfig={"m": 30}, deletionPolicy="Delete")
    again = await team.look_again("QdrantCollection", second)
    await team.delete("QdrantCollection", second)

    assert reason(refused) == reason(again) == "OwnedByAnother"
    assert f"QdrantCollection {team.namespace}/{name}" in message(refused)
    assert config(qdrant, name) == was
    assert await stored.count(name) == 1


async def test_peers_03_the_collection_is_deleted_by_the_name_that_it_was_created_under(
    team: Team, stored: Stored
) -> None:
    """F creates `spec.name` and deletes the resource's name."""
    resource, name = unique("resource"), unique("physical")
    await make(stored, resource)
    await team.collection(resource, collectionName=name, deletionPolicy="Delete")
    assert await stored.exists(name)

    await team.delete("QdrantCollection", resource)

    assert not await stored.exists(name)
    assert await stored.exists(resource)


async def test_a_collection_is_deleted_after_its_sets_and_says_what_it_waits_for(
    team: Team, api: KubeApi, stored: Stored
) -> None:
    name = unique("blocked")
    await team.collection(name, deletionPolicy="Delete")
    await team.points("live-" + name, name, [point(1, 1, 0, 0)])

    await api.delete("QdrantCollection", team.namespace, name)
    blocked = await team.wait("QdrantCollection", name, lambda obj: reason(obj) == "DeletionBlocked")
    assert f"live-{name}" in message(blocked)
    assert await stored.count(name) == 1

    await team.delete("PointSet", "live-" + name)
    await api.wait_gone("QdrantCollection", team.namespace, name)
    assert not await stored.exists(name)


async def test_a_collection_waits_for_a_set_that_is_being_deleted(team: Team, api: KubeApi, stored: Stored) -> None:
    name = unique("waits")
    await team.collection(name, deletionPolicy="Delete")
    await team.points(name, name, [point(1, 1, 0, 0)])
    # What it cannot read it will not act upon.
    damaged = models.Filter(must=[_is("kind", "base"), _is("collection", name)])
    await stored.client.delete("vectorops-ledger", damaged)
    await api.delete("PointSet", team.namespace, name)

    await api.delete("QdrantCollection", team.namespace, name)
    waiting = await team.wait(
        "QdrantCollection", name, lambda obj: "waiting for PointSets" in message(obj) and reason(obj) == "Deleting"
    )
    assert name in message(waiting)
    assert await stored.exists(name)

    await api.annotate("PointSet", team.namespace, name, {"vectorops.dev/skip-cleanup": "true"})
    await api.wait_gone("QdrantCollection", team.namespace, name)
    assert not await stored.exists(name)


async def test_a_collection_waits_for_no_set_that_only_somebody_elses_finalizer_holds(
    team: Team, api: KubeApi, stored: Stored
) -> None:
    name = unique("left")
    await team.collection(name, deletionPolicy="Delete")
    await team.points(name, name, [point(1, 1, 0, 0)])
    held = {"metadata": {"finalizers": ["vectorops.dev/cleanup", "example.com/hold"]}}
    await api.patch("PointSet", team.namespace, name, held)
    await api.delete("PointSet", team.namespace, name)

    await api.delete("QdrantCollection", team.namespace, name)
    await api.wait_gone("QdrantCollection", team.namespace, name)

    assert not await stored.exists(name)
    assert await api.find("PointSet", team.namespace, name) is not None
    await api.patch("PointSet", team.namespace, name, {"metadata": {"finalizers": None}})


async def test_cocoindex_05_what_was_retained_is_found_again_and_not_written_again(
    team: Team, stored: Stored, qdrant: QdrantServer
) -> None:
    """After the state is lost everything is written again, and what was removed meanwhile stays."""
    name = unique("retained")
    points = [point(1, 1, 0, 0), point(2, 0, 1, 0), point(3, 0, 0, 1)]
    first = await team.collection(name)
    await team.points(name, name, points)
    # The collection first: its set keeps its points, and goes without deleting one when it goes at all.
    await team.delete("QdrantCollection", name)
    assert mark(qdrant, name)["released"] is True
    assert await stored.count(name) == 3
    before = qdrant.telemetry_writes_by_endpoint()

    again = await team.collection(name)
    kept = await team.look_again("PointSet", name)

    assert is_ready(kept), message(kept)
    assert again["status"]["collection"] == first["status"]["collection"]
    after = qdrant.telemetry_writes_by_endpoint()
    written = {endpoint: count - before.get(endpoint, 0) for endpoint, count in after.items()}
    assert {endpoint for endpoint, count in written.items() if count} == {"PATCH /collections/{name}"}
    await team.points(name, name, points[:1])
    assert sorted(await stored.points(name)) == [1]


async def test_a_resource_under_another_name_takes_what_was_retained(team: Team, stored: Stored) -> None:
    first, second = unique("first"), unique("second")
    await team.collection(first)
    await put(stored, first, 1)
    await team.delete("QdrantCollection", first)

    heir = await team.collection(second, collectionName=first)

    assert is_ready(heir)
    assert await stored.count(first) == 1


async def test_suspend_freezes_a_collection_and_its_deletion_still_works(
    team: Team, stored: Stored, qdrant: QdrantServer
) -> None:
    name = unique("suspend")
    await team.collection(name, hnswConfig={"m": 20})
    patch(qdrant, name, {"hnsw_config": {"m": 9}})

    frozen = await team.collection(name, hnswConfig={"m": 30}, suspend=True, deletionPolicy="Delete")
    await team.look_again("QdrantCollection", name)
    assert reason(frozen) == "Suspended"
    assert config(qdrant, name)["hnsw_config"]["m"] == 9

    await team.delete("QdrantCollection", name)
    assert not await stored.exists(name)


async def test_skip_cleanup_lets_go_and_leaves_everything(team: Team, api: KubeApi, stored: Stored) -> None:
    name = unique("skip")
    await team.collection(name, deletionPolicy="Delete")
    await team.points(name, name, [point(1, 1, 0, 0)])
    await api.delete("QdrantCollection", team.namespace, name)
    await team.wait("QdrantCollection", name, lambda obj: reason(obj) == "DeletionBlocked")

    await team.annotate("QdrantCollection", name, {"vectorops.dev/skip-cleanup": "true"})
    await api.wait_gone("QdrantCollection", team.namespace, name)

    assert await stored.count(name) == 1
    # Sent when the resource is gone, so a moment after that.
    assert await team.event(name, "CleanupSkipped")
    await team.delete("PointSet", name)
    assert await stored.count(name) == 0


# ------------------------------------------------------------------------------------------------------------ the mark


async def test_a_mark_that_was_wiped_by_hand_comes_again_and_the_sets_keep_their_points(
    team: Team, stored: Stored, qdrant: QdrantServer
) -> None:
    name = unique("wiped")
    first = await team.collection(name)
    await team.points(name, name, [point(1, 1, 0, 0), point(2, 0, 1, 0)])
    await put(stored, name, 99)
    patch(qdrant, name, {"metadata": {MARK: None}})
    assert mark(qdrant, name) is None

    again = await team.look_again("QdrantCollection", name)
    await team.points(name, name, [point(2, 0, 0, 1)], until=is_ready)

    assert is_ready(again)
    assert again["status"]["collection"] == first["status"]["collection"]
    assert sorted(await stored.points(name)) == [2, 99]


async def test_a_collection_of_unknown_origin_gets_no_claim_on_points_by_its_name(
    team: Team, stored: Stored, qdrant: QdrantServer
) -> None:
    """Deleted and made anew by hand: what stands in it now belongs to whoever wrote it."""
    name = unique("anew")
    await team.collection(name)
    await team.points(name, name, [point(1, 1, 0, 0), point(2, 0, 1, 0)])
    await stored.client.delete_collection(name)
    await make(stored, name)
    theirs = await put(stored, name, 1)

    await team.look_again("QdrantCollection", name)
    told = await team.wait("PointSet", name, "PointConflicts")

    assert told["status"]["failures"][0]["id"] == "1"
    points = await stored.points(name)
    assert points[1] == theirs[1]
    assert sorted(points) == [1, 2]


async def test_a_mark_that_came_with_a_copy_is_not_ours(team: Team, stored: Stored, qdrant: QdrantServer) -> None:
    """A snapshot restored under another name carries the mark of its origin."""
    name, copy = unique("origin"), unique("copy")
    await team.collection(name, deletionPolicy="Delete")
    await team.points(name, name, [point(1, 1, 0, 0)])
    metadata = config(qdrant, name)["metadata"]
    await make(stored, copy, metadata=metadata)
    copied = await put(stored, copy, 1)

    await team.points(name, name, [])
    await team.delete("PointSet", name)
    await team.delete("QdrantCollection", name)
    assert await stored.points(copy) == copied

    adopted = await team.collection(copy)
    assert is_ready(adopted)
    assert adopted["status"]["collection"]["incarnation"] != metadata[MARK]["incarnation"]
    told = await team.points(f"{copy}-set", copy, [point(1, 0, 0, 1)])
    assert reason(told) == "PointConflicts"
    assert await stored.points(copy) == copied


async def test_a_mark_of_an_unknown_format_is_never_overwritten(
    team: Team, stored: Stored, qdrant: QdrantServer
) -> None:
    name = unique("format")
    await team.collection(name, deletionPolicy="Delete")
    newer = mark(qdrant, name) | {"format": 99}
    patch(qdrant, name, {"metadata": {MARK: newer}})

    told = await team.collection(name, hnswConfig={"m": 44}, deletionPolicy="Delete")

    assert reason(told) == "UnknownMark"
    assert mark(qdrant, name) == newer
    assert config(qdrant, name)["hnsw_config"]["m"] != 44
    await team.collection(name, deletionPolicy="Retain")
    await team.delete("QdrantCollection", name)
    assert mark(qdrant, name) == newer


# ---------------------------------------------------------------------------------------------------------------- names


async def test_an_alias_of_another_collection_is_not_moved(team: Team, stored: Stored, qdrant: QdrantServer) -> None:
    holder, name, alias = unique("holder"), unique("wants"), unique("alias")
    await team.collection(holder, aliases=[alias])

    told = await team.collection(name, aliases=[alias, f"{alias}-free"], hnswConfig={"m": 20})
    assert reason(told) == "AliasTaken"
    assert holder in message(told)
    assert config(qdrant, name)["hnsw_config"]["m"] == 20
    found = {entry["alias_name"]: entry["collection_name"] for entry in qdrant.get("/aliases")["aliases"]}
    assert found[alias] == holder
    assert found[f"{alias}-free"] == name

    await team.collection(holder, aliases=[])
    assert is_ready(await team.look_again("QdrantCollection", name))
    found = {entry["alias_name"]: entry["collection_name"] for entry in qdrant.get("/aliases")["aliases"]}
    assert found[alias] == name


async def test_a_collection_cannot_have_the_name_of_an_alias(team: Team, stored: Stored, qdrant: QdrantServer) -> None:
    """Qdrant would follow the alias, and change the collection behind it."""
    holder, name = unique("holder"), unique("name")
    await team.collection(holder, aliases=[name])
    await put(stored, holder, 1)
    was = config(qdrant, holder)

    told = await team.collection(name, hnswConfig={"m": 50}, deletionPolicy="Delete")
    await team.delete("QdrantCollection", name)

    assert reason(told) == "AliasTaken"
    assert config(qdrant, holder) == was
    assert await stored.count(holder) == 1


# ---------------------------------------------------------------------------------------------- a server of one's own


async def test_peers_02_04_07_10_a_deletion_lasts_until_qdrant_has_done_it(
    api: KubeApi,
    namespace: str,
    start_qdrant: StartQdrant,
    start_operator: StartOperator,
    start_proxy: StartProxy,
) -> None:
    """B deletes without the key and swallows the refusal, D takes a failed DELETE for success, E has no finalizer, C
    sends no key at all: the collection leaks.
    """
    qdrant = start_qdrant(api_key="secret")
    proxy = start_proxy(qdrant.url)
    start_operator()
    await api.create(secret(namespace, "key", api_key="secret"))
    await api.apply(connection(namespace, proxy.url, apiKeySecretRef={"name": "key", "key": "api-key"}))
    await api.apply(collection(namespace, "resource", collectionName="physical", deletionPolicy="Delete"))
    made = await api.wait_for("QdrantCollection", namespace, "resource", is_ready)
    assert made["metadata"]["finalizers"] == ["vectorops.dev/cleanup"]

    tried = threading.Event()

    def refuse_deletions(call: Call) -> None:
        if call.method == "DELETE":
            tried.set()
            raise Cut

    proxy.before = refuse_deletions
    await api.delete("QdrantCollection", namespace, "resource")
    await asyncio.to_thread(tried.wait, 30)
    async with Stored(qdrant) as stored:
        assert await stored.exists("physical")
        assert (await api.get("QdrantCollection", namespace, "resource"))["metadata"]["finalizers"]

        proxy.before = None
        await api.wait_gone("QdrantCollection", namespace, "resource")
        assert not await stored.exists("physical")


async def test_cocoindex_12_a_collection_is_deleted_although_qdrant_was_down_when_it_was_asked(
    api: KubeApi, namespace: str, start_qdrant: StartQdrant, start_operator: StartOperator
) -> None:
    """The run says OK, the record is removed, and the collection stays for ever."""
    qdrant = start_qdrant()
    start_operator()
    await api.apply(connection(namespace, qdrant))
    await api.apply(collection(namespace, "zoo", deletionPolicy="Delete"))
    await api.apply(point_set(namespace, "animals", "zoo", [point(1, 1, 0, 0)]))
    await api.wait_for("PointSet", namespace, "animals", is_ready)

    qdrant.kill()
    await api.delete("PointSet", namespace, "animals")
    await api.delete("QdrantCollection", namespace, "zoo")
    await api.wait_for("PointSet", namespace, "animals", lambda obj: reason(obj) in {"Unreachable", "ServerError"})
    qdrant.start()

    await api.wait_gone("PointSet", namespace, "animals")
    await api.wait_gone("QdrantCollection", namespace, "zoo")
    async with Stored(qdrant) as stored:
        assert not await stored.exists("zoo")


async def test_cocoindex_02_a_connection_that_leads_elsewhere_is_filled_and_the_old_place_is_left(
    api: KubeApi, namespace: str, start_qdrant: StartQdrant, start_operator: StartOperator
) -> None:
    """The run says OK, with no collection and no points in the new place."""
    old, new = start_qdrant(), start_qdrant()
    start_operator()
    await api.apply(connection(namespace, old))
    await api.apply(collection(namespace, "zoo"))
    await api.apply(point_set(namespace, "animals", "zoo", [point(1, 1, 0, 0), point(2, 1, 0, 0)]))
    await api.wait_for("PointSet", namespace, "animals", is_ready)
    first = await api.get("PointSet", namespace, "animals")

    await api.apply(connection(namespace, new))
    await api.wait_for(
        "PointSet",
        namespace,
        "animals",
        lambda obj: is_ready(obj) and obj["status"]["target"] != first["status"]["target"],
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


async def test_a_set_that_is_deleted_while_its_collection_changes_hands_leaves_no_points(
    api: KubeApi, namespace: str, qdrant: QdrantServer, stored: Stored, start_operator: StartOperator
) -> None:
    name = unique("hands")
    await make(stored, name)
    foreign = await put(stored, name, 99)
    operator = start_operator()
    await api.apply(connection(namespace, qdrant))
    await api.apply(collection(namespace, name, managedBy="User"))
    await api.apply(point_set(namespace, name, name, [point(1, 1, 0, 0)]))
    await api.wait_for("PointSet", namespace, name, is_ready)

    operator.kill()
    await api.apply(collection(namespace, name, managedBy="System"))
    await api.delete("PointSet", namespace, name)
    operator.start()
    await api.wait_gone("PointSet", namespace, name)

    assert await stored.points(name) == foreign


async def test_peers_06_status_is_a_subresource_that_nobody_writes_by_applying(team: Team) -> None:
    """D writes status, though its CRD has none: every write is a change of the resource."""
    name = unique("status")
    await team.collection(name)
    before = await team.get("QdrantCollection", name)

    await team.api.patch("QdrantCollection", team.namespace, name, {"status": {"observedGeneration": 77}})

    assert await team.get("QdrantCollection", name) == before
    assert before["metadata"]["generation"] == before["status"]["observedGeneration"] == 1


def _is(key: str, value: str) -> models.FieldCondition:
    return models.FieldCondition(key=key, match=models.MatchValue(value=value))
