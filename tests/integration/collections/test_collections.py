"""Collections on a real Qdrant: made as declared, changed where it can, left alone where it cannot, then at rest."""

import asyncio
import uuid
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, Phase, given, settings

from integration.collections.cases import EVERYTHING, IMMUTABLE, IN_PLACE
from servers.qdrant import QdrantServer
from unit.collections.echo import EchoingQdrant
from unit.collections.specs import TEXT, bring, declare, look, specs
from vectorops.api.connection import QdrantConnectionSpec
from vectorops.collections.plan import mismatches
from vectorops.collections.steps import Action
from vectorops.qdrant.connect import Credentials, connect
from vectorops.qdrant.observe import observe


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
    assert "1 point would be lost" in held.plan.describe(points=held.observed.points)[0]
    assert world(qdrant, name) == was
    assert qdrant.get(f"/collections/{name}/points/1")["id"] == 1

    made = await bring(database, declare(name, **IMMUTABLE[change]), approved=True)

    assert made.plan.describe() == []
    assert world(qdrant, name) != was
    assert made.mark.incarnation != held.mark.incarnation


async def test_the_weights_of_a_sparse_vector_are_as_before_when_its_index_gets_another_datatype(database, plain, name):
    """Only a rebuilt index has it; the weights are stored as float32 all the while."""
    await bring(database, declare(name, sparseVectors=[{"name": "s", "index": {"datatype": "uint8"}}]))
    weights = {"indices": [3, 8], "values": [412.5, -0.25]}
    point = {"id": 1, "vector": {"s": weights}}
    done(plain.put(f"/collections/{name}/points?wait=true", json={"points": [point]}))

    made = await bring(database, declare(name, sparseVectors=[{"name": "s", "index": {"datatype": "float16"}}]))

    assert made.plan.describe() == []
    assert made.observed.sparse_vectors["s"]["index"]["datatype"] == "float16"
    found = plain.post(f"/collections/{name}/points", json={"ids": [1], "with_vector": True}).json()["result"]
    assert found[0]["vector"] == {"s": weights}


async def test_a_vector_without_a_name_and_named_ones_are_made_together(database, name):
    """Also 1.16 takes them, in a map in which one has the empty name."""
    wanted = declare(name, vector={"size": 4}, vectors=[{"name": "image", "size": 2}], sparseVectors=[{"name": "s"}])

    made = await bring(database, wanted)

    assert made.plan.describe() == []
    assert made.observed.vectors.keys() == {"", "image"}


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
