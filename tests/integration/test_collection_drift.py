"""Collections that others changed behind the operator's back, and what only looks like a change and is none."""

from qdrant_client import models

from integration.team import Team, plan_hash, unique
from integration.world import Stored, aliases_of, change_by_hand, config_of, indexes_of, point
from servers.kubeapi import Object, condition, is_ready
from servers.qdrant import QdrantServer


async def tamper(stored: Stored, qdrant: QdrantServer, name: str) -> None:
    """Changes an option, drops an index, and leads an alias away to nowhere."""
    change_by_hand(qdrant, name, {"hnsw_config": {"m": 9}})
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
    has_option = bool(config_of(qdrant, name)["hnsw_config"]["m"] == 20)
    has_index = "kind" in indexes_of(qdrant, name)
    return has_option and has_index and aliases_of(qdrant, name) == {f"{name}-alias"}


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
    # More than one, if the operator happened to look between two of the changes.
    told = "; ".join(await team.events(name, "DriftCorrected"))
    for word in ("hnsw_config.m: 9 -> 20", "payload index kind", f"alias {name}-alias"):
        assert told.count(word) == 1


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
    assert config_of(qdrant, name)["hnsw_config"]["m"] == 9

    await team.approve(name, plan_hash(reported))
    corrected = await team.wait("QdrantCollection", name, lambda obj: not condition(obj, "Drifted"))
    assert is_as_declared(qdrant, name)
    assert "plan" not in corrected["status"]

    await tamper(stored, qdrant, name)
    again = await team.look_again("QdrantCollection", name)
    assert plan_hash(again) != plan_hash(reported)
    assert not is_as_declared(qdrant, name)


async def test_a_new_declaration_is_no_drift_and_needs_no_approval(team: Team, qdrant: QdrantServer) -> None:
    name = unique("report")
    await team.collection(name, driftPolicy="Report", hnswConfig={"m": 20})

    changed = await team.collection(name, driftPolicy="Report", hnswConfig={"m": 21})

    assert is_ready(changed)
    assert not condition(changed, "Drifted")
    assert config_of(qdrant, name)["hnsw_config"]["m"] == 21


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
