"""Collections on a real Qdrant: made as declared, changed where it can, left alone where it cannot, then at rest."""

import asyncio
import uuid
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, Phase, given, settings

from servers.qdrant import QdrantServer
from unit.collections.echo import EchoingQdrant
from unit.collections.specs import TEXT, bring, declare, look, specs
from vectorops.api.connection import QdrantConnectionSpec
from vectorops.collections.plan import Action, mismatches
from vectorops.qdrant.collections import observe
from vectorops.qdrant.connect import Credentials, connect


@pytest.fixture
async def database(qdrant: QdrantServer):
    spec = QdrantConnectionSpec.model_validate({"url": qdrant.url, "preferGrpc": False})
    database = connect(spec, Credentials(api_key=None, ca=None, client_certificate=None))
    yield database
    await database.close()


@pytest.fixture
def name() -> str:
    """Of a collection that no other test has."""
    return f"zoo-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def plain(qdrant: QdrantServer):
    """A client that knows nothing of us: somebody else."""
    with httpx.Client(base_url=qdrant.url, timeout=30) as client:
        yield client


def world(qdrant: QdrantServer, name: str) -> dict[str, Any]:
    """The collection as Qdrant gives it back, without what we or time write into it."""
    found = qdrant.get(f"/collections/{name}")
    config = {key: value for key, value in found["config"].items() if key != "metadata"}
    return {"config": config, "payload_schema": found["payload_schema"]}


async def finished(database, wanted, **how):
    """Brings it about, looking again while Qdrant is not done: while it optimizes it still shows a deleted index."""
    for pause in (0, 0.1, 0.2, 0.5, 1, 2, 5):
        await asyncio.sleep(pause)
        made = await bring(database, wanted, **how)
        if not made.plan.doable:
            break
    return made


def done(answer: httpx.Response) -> None:
    assert answer.is_success, answer.text


EVERYTHING: dict[str, Any] = {
    "vectors": [
        {
            "name": "text",
            "size": 8,
            "distance": "Dot",
            "datatype": "float16",
            "params": {"on_disk": True},
            "hnswConfig": {"m": 24, "ef_construct": 120, "full_scan_threshold": 5000, "on_disk": True, "payload_m": 8},
            "quantizationConfig": {"scalar": {"type": "int8", "quantile": 0.987654321, "always_ram": False}},
        },
        {"name": "tokens", "size": 4, "distance": "Euclid", "multivector": {"comparator": "max_sim"}},
        {
            "name": "bytes",
            "size": 4,
            "distance": "Manhattan",
            "datatype": "uint8",
            "quantizationConfig": {"binary": {}},
        },
        {"name": "with.dot", "size": 4, "quantizationConfig": {"product": {"compression": "x4", "always_ram": True}}},
    ],
    "sparseVectors": [
        {
            "name": "terms",
            "modifier": "idf",
            "index": {"on_disk": True, "full_scan_threshold": 77, "datatype": "float16"},
        },
        {"name": "bare"},
    ],
    "params": {
        "shard_number": 2,
        "sharding_method": "auto",
        "replication_factor": 2,
        "write_consistency_factor": 2,
        "read_fan_out_factor": 3,
        "on_disk_payload": False,
    },
    "hnswConfig": {
        "m": 20,
        "ef_construct": 99,
        "full_scan_threshold": 9999,
        "max_indexing_threads": 1,
        "on_disk": True,
        "payload_m": 10,
        "inline_storage": False,
    },
    "optimizersConfig": {
        "deleted_threshold": 0.3,
        "vacuum_min_vector_number": 2000,
        "default_segment_number": 3,
        "max_segment_size": 50_000,
        "memmap_threshold": 40_000,
        "indexing_threshold": 30_000,
        "flush_interval_sec": 7,
        "max_optimization_threads": 1,
    },
    "walConfig": {"wal_capacity_mb": 8, "wal_segments_ahead": 1, "wal_retain_closed": 2},
    "quantizationConfig": {"binary": {"always_ram": True, "encoding": "two_bits", "query_encoding": "scalar4bits"}},
    "strictModeConfig": {
        "enabled": True,
        "max_query_limit": 2**64 - 1,
        "max_timeout": 60,
        "unindexed_filtering_retrieve": True,
        "unindexed_filtering_update": False,
        "search_max_hnsw_ef": 512,
        "search_allow_exact": True,
        "search_max_oversampling": 2.7,
        "upsert_max_batchsize": 1000,
        "max_collection_vector_size_bytes": 2**40,
        "max_collection_payload_size_bytes": 2**40,
        "read_rate_limit": 100_000,
        "write_rate_limit": 100_000,
        "filter_max_conditions": 50,
        "condition_max_size": 60,
        "max_points_count": 1_000_000_001,
        "max_payload_index_count": 40,
        "multivector_config": {"tokens": {"max_vectors": 64}},
        "sparse_config": {"terms": {"max_length": 256}},
    },
    "payloadIndexes": [
        {"field": "kind", "schema": {"type": "keyword", "is_tenant": True, "on_disk": True}},
        {"field": '"quoted"', "schema": {"type": "keyword"}},
        {"field": '"weird key".b', "schema": {"type": "uuid", "on_disk": False}},
        {"field": "list[].year", "schema": {"type": "integer", "lookup": True, "range": False}},
        {"field": "number", "schema": {"type": "integer"}},
        {"field": "price", "schema": {"type": "float", "is_principal": True}},
        {"field": "when", "schema": {"type": "datetime", "is_principal": False}},
        {"field": "where", "schema": {"type": "geo", "on_disk": True}},
        {"field": "sure", "schema": {"type": "bool"}},
        {
            "field": "body",
            "schema": {
                "type": "text",
                "tokenizer": "multilingual",
                "min_token_len": 2,
                "max_token_len": 20,
                "lowercase": False,
                "phrase_matching": True,
                "ascii_folding": True,
                "on_disk": True,
                "stemmer": {"type": "snowball", "language": "english"},
                "stopwords": {"custom": ["zebra", "ape", "ape"], "languages": ["german", "english"]},
            },
        },
        {"field": "title", "schema": {"type": "text", "stopwords": "english"}},
    ],
}


async def test_every_option_at_once_is_set_and_then_nothing_is_left_to_do(database, qdrant, name):
    wanted = declare(name, **EVERYTHING, aliases=[f"{name}-docs", f"{name}-live"])

    made = await bring(database, wanted)

    assert made.plan.describe() == []
    assert made.plan.unsupported == ()
    assert made.observed.aliases == {f"{name}-docs", f"{name}-live"}
    found = world(qdrant, name)["config"]
    assert found["params"]["read_fan_out_factor"] == 3
    assert found["params"]["vectors"]["text"]["quantization_config"]["scalar"]["quantile"] == pytest.approx(
        0.98765, abs=1e-5
    )
    assert found["strict_mode_config"]["max_query_limit"] == 2**64 - 1


async def test_a_hundred_looks_send_no_write(database, start_qdrant):
    """Counted by Qdrant itself. Mistake 8 of peers.md: a PATCH at every look; 11: false drift by normalized values."""
    own = start_qdrant()
    spec = QdrantConnectionSpec.model_validate({"url": own.url, "preferGrpc": False})
    database = connect(spec, Credentials(api_key=None, ca=None, client_certificate=None))
    wanted = declare("zoo", **EVERYTHING, aliases=["docs"])
    await bring(database, wanted)
    writes = own.telemetry_writes()
    assert writes > 0

    for _ in range(100):
        await bring(database, wanted)

    assert own.telemetry_writes() == writes
    await database.close()


IN_PLACE: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "vector on_disk": ({}, {"vectors": [{**TEXT, "params": {"on_disk": True}}]}),
    "unnamed vector on_disk": ({"vector": {"size": 4}}, {"vector": {"size": 4, "params": {"on_disk": True}}}),
    "vector hnsw": ({}, {"vectors": [{**TEXT, "hnswConfig": {"m": 8, "payload_m": 4}}]}),
    "vector quantization": ({}, {"vectors": [{**TEXT, "quantizationConfig": {"binary": {}}}]}),
    "vector quantization off": ({"vectors": [{**TEXT, "quantizationConfig": {"binary": {}}}]}, {}),
    "unnamed vector quantization off": (
        {"vector": {"size": 4, "quantizationConfig": {"scalar": {"type": "int8"}}}},
        {"vector": {"size": 4}},
    ),
    "sparse modifier": ({"sparseVectors": [{"name": "s"}]}, {"sparseVectors": [{"name": "s", "modifier": "idf"}]}),
    "sparse modifier off": ({"sparseVectors": [{"name": "s", "modifier": "idf"}]}, {"sparseVectors": [{"name": "s"}]}),
    "sparse index": (
        {"sparseVectors": [{"name": "s", "index": {"full_scan_threshold": 7}}]},
        {"sparseVectors": [{"name": "s", "index": {"full_scan_threshold": 7, "on_disk": True}}]},
    ),
    "hnsw": ({"hnswConfig": {"m": 8}}, {"hnswConfig": {"m": 12, "on_disk": True, "inline_storage": True}}),
    "optimizers": ({}, {"optimizersConfig": {"indexing_threshold": 7, "max_optimization_threads": 1}}),
    "optimizer threads off": ({"optimizersConfig": {"max_optimization_threads": 1}}, {}),
    "quantization": ({}, {"quantizationConfig": {"scalar": {"type": "int8", "quantile": 0.987654321}}}),
    "quantization of another kind": (
        {"quantizationConfig": {"scalar": {"type": "int8"}}},
        {"quantizationConfig": {"product": {"compression": "x8"}}},
    ),
    "quantization off": ({"quantizationConfig": {"scalar": {"type": "int8"}}}, {}),
    "an option of a quantization off": (
        {"quantizationConfig": {"scalar": {"type": "int8", "quantile": 0.9}}},
        {"quantizationConfig": {"scalar": {"type": "int8"}}},
    ),
    "params": ({}, {"params": {"on_disk_payload": False, "read_fan_out_factor": 2, "write_consistency_factor": 2}}),
    "strict mode": ({}, {"strictModeConfig": {"enabled": True, "max_query_limit": 7}}),
    "strict mode maps": (
        {
            "sparseVectors": [{"name": "s"}, {"name": "u"}],
            "strictModeConfig": {"sparse_config": {"s": {"max_length": 3}}},
        },
        {
            "sparseVectors": [{"name": "s"}, {"name": "u"}],
            "strictModeConfig": {"sparse_config": {"u": {"max_length": 3}}},
        },
    ),
    "index": ({}, {"payloadIndexes": [{"field": "a", "schema": {"type": "keyword"}}]}),
    "index of another kind": (
        {"payloadIndexes": [{"field": "a", "schema": {"type": "keyword"}}]},
        {"payloadIndexes": [{"field": "a", "schema": {"type": "text", "stopwords": {"custom": ["b", "a"]}}}]},
    ),
    "an option of an index off": (
        {"payloadIndexes": [{"field": "a", "schema": {"type": "keyword", "is_tenant": True}}]},
        {"payloadIndexes": [{"field": "a", "schema": {"type": "keyword"}}]},
    ),
    "index off": ({"payloadIndexes": [{"field": '"a b".c', "schema": {"type": "keyword"}}]}, {}),
}


@pytest.mark.parametrize("change", IN_PLACE)
async def test_what_can_be_changed_in_place_is(database, qdrant, name, change):
    before, after = IN_PLACE[change]
    await bring(database, declare(name, **before))
    was = world(qdrant, name)

    made = await finished(database, declare(name, **after))

    assert made.plan.describe() == []
    assert made.plan.unsupported == ()
    assert world(qdrant, name) != was
    assert (await look(database, declare(name, **after))).describe() == []


@pytest.mark.parametrize("alias", ["docs", "with space", "ä"])
async def test_an_alias_comes_and_goes(database, name, alias):
    alias = f"{name} {alias}"
    await bring(database, declare(name, aliases=[alias]))
    assert (await database.aliases())[alias] == name

    await bring(database, declare(name))
    assert alias not in await database.aliases()


IMMUTABLE: dict[str, dict[str, Any]] = {
    "size": {"vectors": [{"name": "text", "size": 8}]},
    "distance": {"vectors": [{**TEXT, "distance": "Dot"}]},
    "datatype": {"vectors": [{**TEXT, "datatype": "uint8"}]},
    "multivector": {"vectors": [{**TEXT, "multivector": {"comparator": "max_sim"}}]},
    "a vector more": {"vectors": [TEXT, {"name": "image", "size": 2}]},
    "another vector": {"vectors": [{"name": "image", "size": 4}]},
    "unnamed": {"vector": {"size": 4}},
    "a sparse vector more": {"vectors": [TEXT], "sparseVectors": [{"name": "s"}]},
    "sparse instead": {"sparseVectors": [{"name": "text"}]},
    "shards": {"params": {"shard_number": 3}},
    "sharding": {"params": {"sharding_method": "custom"}},
    "wal": {"walConfig": {"wal_capacity_mb": 1}},
}


@pytest.mark.parametrize("change", IMMUTABLE)
async def test_what_cannot_is_held_back_until_approved(database, qdrant, plain, name, change):
    """Mistake 1 of peers.md and fault 8 of cocoindex.md: dropped and created again without being asked."""
    await bring(database, declare(name))
    done(
        plain.put(
            f"/collections/{name}/points?wait=true", json={"points": [{"id": 1, "vector": {"text": [1, 0, 0, 0]}}]}
        )
    )
    was = world(qdrant, name)

    held = await bring(database, declare(name, **IMMUTABLE[change]))

    assert [step.action for step in held.plan.held_back] == [Action.RECREATE_COLLECTION]
    assert "1 points would be lost" in held.plan.describe(points=held.observed.points)[0]
    assert world(qdrant, name) == was
    assert qdrant.get(f"/collections/{name}/points/1")["id"] == 1

    made = await bring(database, declare(name, **IMMUTABLE[change]), approved=True)

    assert made.plan.describe() == []
    assert world(qdrant, name) != was
    assert made.mark.incarnation != held.mark.incarnation


async def test_stored_sparse_vectors_are_not_said_to_be_converted(database, qdrant, name):
    """Qdrant would echo the new datatype, and convert nothing."""
    await bring(database, declare(name, sparseVectors=[{"name": "s"}]))
    was = world(qdrant, name)

    held = await bring(database, declare(name, sparseVectors=[{"name": "s", "index": {"datatype": "float16"}}]))

    assert held.plan.held_back
    assert world(qdrant, name) == was


async def test_drift_is_found_and_corrected(database, qdrant, plain, name):
    index = {"field": "kind", "schema": {"type": "keyword", "is_tenant": True}}
    wanted = declare(
        name,
        hnswConfig={"m": 8},
        quantizationConfig={"scalar": {"type": "int8"}},
        payloadIndexes=[index, {"field": "year", "schema": {"type": "integer"}}],
        aliases=[f"{name}-docs"],
    )
    await bring(database, wanted)
    was = world(qdrant, name)
    done(plain.patch(f"/collections/{name}", json={"hnsw_config": {"m": 32}, "quantization_config": "Disabled"}))
    done(plain.put(f"/collections/{name}/index?wait=true", json={"field_name": "kind", "field_schema": "text"}))
    done(plain.delete(f"/collections/{name}/index/year?wait=true"))
    done(plain.post("/collections/aliases", json={"actions": [{"delete_alias": {"alias_name": f"{name}-docs"}}]}))

    found = await look(database, wanted)

    assert found.is_drift
    assert found.describe() == [
        "hnsw_config.m: 32 -> 8",
        "quantization_config.scalar.type: absent -> int8",
        'replace payload index kind: {"type": "text"} -> {"type": "keyword", "is_tenant": true}',
        'create payload index year: {"type": "integer"}',
        f"create alias {name}-docs",
    ]
    made = await bring(database, wanted)
    assert made.plan.describe() == []
    assert world(qdrant, name) == was
    assert made.observed.aliases == {f"{name}-docs"}


async def test_what_others_made_is_left_alone(database, qdrant, plain, name):
    await bring(database, declare(name))
    done(plain.put(f"/collections/{name}/index?wait=true", json={"field_name": "theirs", "field_schema": "keyword"}))
    create = {"create_alias": {"alias_name": f"{name}-theirs", "collection_name": name}}
    done(plain.post("/collections/aliases", json={"actions": [create]}))
    done(plain.patch(f"/collections/{name}", json={"hnsw_config": {"payload_m": 7}, "metadata": {"team": "a"}}))

    made = await bring(database, declare(name, hnswConfig={"m": 8}))

    assert made.observed.indexes == {"theirs": {"type": "keyword"}}
    assert made.observed.aliases == {f"{name}-theirs"}
    assert made.observed.config["hnsw_config"]["payload_m"] == 7
    assert made.observed.metadata["team"] == "a"


async def test_an_option_that_this_server_does_not_know_is_reported_and_not_sent_again(database, qdrant, name):
    wanted = declare(
        name,
        vectors=[{**TEXT, "params": {"memory": "cold"}}],
        hnswConfig={"memory": "cold", "m": 8},
        quantizationConfig={"scalar": {"type": "int8", "memory": "cold"}},
        optimizersConfig={"prevent_unoptimized": True},
        walConfig={"wal_typo": 1},
        payloadIndexes=[{"field": "a", "schema": {"type": "keyword", "enable_hnsw": False}}],
    )

    made = await bring(database, wanted)
    was = world(qdrant, name), (await observe(database, name)).metadata
    again = await bring(database, wanted)

    expected = {
        'vector "text": memory': "cold",
        "hnsw_config.memory": "cold",
        "quantization_config.scalar.memory": "cold",
        "optimizers_config.prevent_unoptimized": True,
        "wal_config.wal_typo": 1,
        "payload_indexes.a.enable_hnsw": False,
    }
    assert dict(made.plan.unsupported) == dict(again.plan.unsupported) == expected
    assert made.plan.describe() == again.plan.describe() == []
    assert (world(qdrant, name), (await observe(database, name)).metadata) == was
    assert was[0]["config"]["hnsw_config"]["m"] == 8


async def test_a_collection_that_was_there_first_is_adopted_as_it_is(database, qdrant, plain, name):
    body = {"vectors": {"size": 4, "distance": "Dot"}, "hnsw_config": {"m": 33}, "metadata": {"team": "a"}}
    done(plain.put(f"/collections/{name}", json=body))
    was = world(qdrant, name)
    wanted = declare(name, vector={"size": 4, "distance": "Dot"})

    assert mismatches(wanted, await observe(database, name), version="1.16.3") == []
    made = await bring(database, wanted, incarnation="adopted")

    assert world(qdrant, name) == was
    assert made.observed.metadata["team"] == "a"
    assert made.mark == (await observe(database, name)).mark
    other = declare(name, vector={"size": 5, "distance": "Dot"})
    assert mismatches(other, made.observed, version="1.16.3") == ["the vector: size 4 -> 5"]


async def test_an_alias_of_another_collection_is_not_moved(database, name):
    await bring(database, declare(f"{name}-first", aliases=[f"{name}-docs"]))

    second = await bring(database, declare(f"{name}-second", aliases=[f"{name}-docs", f"{name}-first"]))

    assert second.plan.taken == ((f"{name}-docs", f"{name}-first"), (f"{name}-first", f"{name}-first"))
    assert (await database.aliases())[f"{name}-docs"] == f"{name}-first"


async def test_recreating_keeps_what_others_had_set(database, plain, name):
    """Fault 8 of cocoindex.md: indexes, aliases and HNSW settings made by hand were lost."""
    await bring(database, declare(name, aliases=[f"{name}-docs"]))
    done(plain.patch(f"/collections/{name}", json={"hnsw_config": {"m": 32}, "metadata": {"team": "a"}}))
    done(plain.put(f"/collections/{name}/index?wait=true", json={"field_name": "theirs", "field_schema": "keyword"}))
    create = {"create_alias": {"alias_name": f"{name}-theirs", "collection_name": name}}
    done(plain.post("/collections/aliases", json={"actions": [create]}))

    made = await bring(
        database, declare(name, vectors=[{"name": "text", "size": 8}], aliases=[f"{name}-docs"]), approved=True
    )

    assert made.plan.describe() == []
    assert made.observed.config["hnsw_config"]["m"] == 32
    assert made.observed.indexes == {"theirs": {"type": "keyword"}}
    assert made.observed.aliases == {f"{name}-docs", f"{name}-theirs"}
    assert made.observed.metadata["team"] == "a"


async def test_peers_3_a_collection_of_another_name_than_its_resource_is_recreated_under_its_own(database, name):
    """They deleted what had the name of the resource."""
    await bring(database, declare(name))
    await bring(database, declare(name, collectionName=f"{name}-docs"))

    await bring(
        database, declare(name, collectionName=f"{name}-docs", vectors=[{"name": "text", "size": 8}]), approved=True
    )

    assert (await observe(database, name)).vectors["text"]["size"] == 4
    assert (await observe(database, f"{name}-docs")).vectors["text"]["size"] == 8


async def test_peers_5_the_replication_factor_is_patched_where_qdrant_reads_it(database, qdrant, name):
    """They sent it at the top level of the body, where PATCH ignores it."""
    await bring(database, declare(name))

    await bring(database, declare(name, params={"replication_factor": 2, "write_consistency_factor": 2}))

    params = world(qdrant, name)["config"]["params"]
    assert (params["replication_factor"], params["write_consistency_factor"]) == (2, 2)


@pytest.mark.parametrize("datatype", ["float16", "uint8"])
async def test_cocoindex_9_the_datatype_reaches_qdrant(database, qdrant, name, datatype):
    """It was declared, never sent, and a change of it dropped the collection for nothing."""
    await bring(database, declare(name, vectors=[{**TEXT, "datatype": datatype}]))

    assert world(qdrant, name)["config"]["params"]["vectors"]["text"]["datatype"] == datatype


@pytest.mark.parametrize("distance", ["Cosine", "Dot", "Euclid", "Manhattan"])
async def test_cocoindex_21_every_distance_is_on_offer(database, qdrant, name, distance):
    await bring(database, declare(name, vectors=[{**TEXT, "distance": distance}]))

    assert world(qdrant, name)["config"]["params"]["vectors"]["text"]["distance"] == distance


@settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    # Shrinking would take minutes on a real server; the unit tests do it.
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(specs, specs)
async def test_any_declaration_after_any_other_comes_to_rest_and_the_model_of_the_unit_tests_agrees(
    database, before, after
):
    name = f"any-{uuid.uuid4().hex[:8]}"
    model: Any = EchoingQdrant()
    for spec in (before, after):
        unique = spec | {"aliases": [f"{name}-{alias}" for alias in spec.get("aliases", [])]}
        real = await finished(database, declare(name, **unique))
        modelled = await bring(model, declare(name, **unique))

        assert real.plan.doable == ()
        assert [step.lines for step in real.plan.held_back] == [step.lines for step in modelled.plan.held_back]
        assert real.plan.unsupported == modelled.plan.unsupported
        assert real.observed.vectors == modelled.observed.vectors
        assert real.observed.indexes == modelled.observed.indexes
        assert (await look(database, declare(name, **unique))).doable == ()
    await database.delete_collection(name)
