"""A change that cannot be made in place, behind an alias: another collection is filled, and readers are moved."""

from typing import Any

import pytest
from qdrant_client import models

from integration.team import Team, message, plan_hash, reason, unique
from integration.world import (
    Stored,
    aliases_of,
    change_by_hand,
    config_of,
    has_reason,
    indexes_of,
    make_by_hand,
    mark_of,
    point,
)
from servers.kubeapi import Object, condition, is_ready
from servers.qdrant import QdrantServer

COSINE = models.Distance.COSINE
ROLL_BACK = "vectorops.dev/roll-back"
POINTS = [point(1, 1, 0, 0), point(2, 0, 1, 0), point("doc-3", 0, 0, 1)]


def names_behind(server: QdrantServer, alias: str) -> list[str]:
    """The physical collections whose names begin with the alias's."""
    names = [one["name"] for one in server.get("/collections")["collections"]]
    return sorted(name for name in names if name.startswith(alias))


def leads_to(server: QdrantServer, alias: str) -> str:
    """The collection that an alias leads to."""
    found = {one["alias_name"]: one["collection_name"] for one in server.get("/aliases")["aliases"]}
    return str(found[alias])


async def ledgers_of(stored: Stored, name: str) -> list[Any]:
    """The records of ledgers about a physical collection."""
    found, _ = await stored.client.scroll("vectorops-ledger", limit=1000, with_payload=True)
    return [record for record in found if record.payload and record.payload.get("collection") == name]


def phase(obj: Object) -> str:
    """The phase of the migration; "" if there is none."""
    return str((obj["status"].get("migration") or {}).get("phase", ""))


def in_phase(wanted: str) -> Any:
    return lambda obj: phase(obj) == wanted


async def test_the_declared_name_is_an_alias(team: Team, stored: Stored, qdrant: QdrantServer) -> None:
    name = unique("aliased")

    made = await team.collection(name, layout="Aliased", aliases=[f"{name}-too"], until=is_ready)
    filled = await team.points("points-of-" + name, name, POINTS, until=is_ready)

    (physical,) = names_behind(qdrant, name)
    assert physical == f"{name}-{made['status']['collection']['incarnation'][:8]}"
    assert made["status"]["collection"]["name"] == physical == filled["status"]["target"]["collection"]
    assert aliases_of(qdrant, physical) == {name, f"{name}-too"}
    assert len(await stored.points(name)) == 3
    assert "migration" not in made["status"]


async def test_another_collection_is_filled_and_readers_are_moved(
    team: Team, stored: Stored, qdrant: QdrantServer
) -> None:
    name, sets = unique("moved"), unique("points")
    shape: Object = {"layout": "Aliased", "aliases": [f"{name}-too"]}
    shape |= {"payloadIndexes": [{"field": "kind", "schema": {"type": "keyword"}}]}
    await team.collection(name, until=is_ready, **shape)
    await team.points(sets, name, POINTS, until=is_ready)
    old = leads_to(qdrant, name)

    held = await team.collection(name, params={"shard_number": 2}, **shape)
    assert reason(held) == "PlanHeldBack"
    assert phase(held) == "Held"
    assert "shard_number" in message(held)
    assert names_behind(qdrant, name) == [old]
    # Looking once more writes nothing.
    assert (await team.look_again("QdrantCollection", name))["status"]["migration"] == held["status"]["migration"]

    await team.approve(name, plan_hash(held))
    done = await team.wait("QdrantCollection", name, in_phase("GracePeriod"))
    done = await team.wait("QdrantCollection", name, is_ready)
    new = leads_to(qdrant, name)

    assert new != old
    assert leads_to(qdrant, f"{name}-too") == new
    assert config_of(qdrant, new)["params"]["shard_number"] == 2
    assert qdrant.get(f"/collections/{new}")["payload_schema"].keys() == {"kind"}
    assert await stored.points(new) == await stored.points(old)
    assert done["status"]["migration"]["from"]["name"] == old
    assert done["status"]["migration"]["to"]["name"] == new
    assert "plan" not in done["status"]

    # Both are kept until the grace period is over.
    edited = await team.points(sets, name, [*POINTS[1:], point(4, 1, 1, 1)], until=is_ready)
    assert [copy["collection"] for copy in edited["status"]["copies"]] == [old]
    assert sorted(map(str, await stored.points(old))) == sorted(map(str, await stored.points(new)))
    assert len(await stored.points(new)) == 3

    await team.collection(name, params={"shard_number": 2}, migration={"gracePeriod": "0s"}, **shape)
    await team.wait("QdrantCollection", name, lambda obj: is_ready(obj) and not phase(obj))
    assert names_behind(qdrant, name) == [new]
    assert await ledgers_of(stored, old) == []
    settled = await team.wait("PointSet", sets, lambda obj: "copies" not in obj["status"])
    assert is_ready(settled)
    assert message(settled) == "3 points as declared"
    assert settled["status"]["target"]["collection"] == new


async def test_readers_are_moved_back(team: Team, stored: Stored, qdrant: QdrantServer) -> None:
    name, sets = unique("back"), unique("points")
    auto: Object = {"layout": "Aliased", "migration": {"approval": "Auto"}}
    await team.collection(name, until=is_ready, **auto)
    await team.points(sets, name, POINTS, until=is_ready)
    old = leads_to(qdrant, name)
    await team.collection(name, params={"shard_number": 2}, until=is_ready, **auto)
    new = leads_to(qdrant, name)
    assert new != old
    incarnation = mark_of(qdrant, new)["incarnation"]

    await team.annotate("QdrantCollection", name, {ROLL_BACK: incarnation})
    back = await team.wait("QdrantCollection", name, in_phase("RolledBack"))

    assert reason(back) == "RolledBack"
    assert leads_to(qdrant, name) == old
    # The same change waits, and the points go on to be kept in both.
    await team.points(sets, name, POINTS[:1], until=is_ready)
    assert len(await stored.points(old)) == len(await stored.points(new)) == 1

    await team.approve(name, plan_hash(back))
    await team.wait("QdrantCollection", name, lambda obj: is_ready(obj) and phase(obj) == "GracePeriod")
    assert leads_to(qdrant, name) == new


async def test_readers_are_moved_back_once_for_each_request(team: Team, qdrant: QdrantServer) -> None:
    name = unique("twice")
    auto: Object = {"layout": "Aliased", "migration": {"approval": "Auto"}}
    await team.collection(name, until=is_ready, **auto)
    old = leads_to(qdrant, name)
    await team.collection(name, params={"shard_number": 2}, until=is_ready, **auto)
    new = leads_to(qdrant, name)
    request = {ROLL_BACK: mark_of(qdrant, new)["incarnation"]}

    for _ in range(2):
        await team.annotate("QdrantCollection", name, request)
        back = await team.wait("QdrantCollection", name, in_phase("RolledBack"))
        assert leads_to(qdrant, name) == old
        await team.approve(name, plan_hash(back))
        again = await team.wait("QdrantCollection", name, in_phase("GracePeriod"))
        assert leads_to(qdrant, name) == new
        # The request that is still there counts no more.
        assert f"remove the annotation {ROLL_BACK}" in again["status"]["migration"]["message"]
        await team.annotate("QdrantCollection", name, {ROLL_BACK: None})
        await team.wait(
            "QdrantCollection", name, lambda obj: "remove" not in obj["status"]["migration"].get("message", "")
        )


async def test_what_a_set_may_delete_is_agreed_to_once_for_all_collections(
    team: Team, stored: Stored, qdrant: QdrantServer
) -> None:
    name, sets = unique("percent"), unique("points")
    auto: Object = {"layout": "Aliased", "migration": {"approval": "Auto"}}
    await team.collection(name, until=is_ready, **auto)
    await team.points(sets, name, POINTS, until=is_ready)
    await team.collection(name, params={"shard_number": 2}, until=is_ready, **auto)
    names = names_behind(qdrant, name)

    held = await team.points(sets, name, POINTS[:1], until=has_reason("DeletionsHeldBack"), maxDeletePercent=50)
    held = await team.look_again("PointSet", sets)
    assert [len(await stored.points(one)) for one in names] == [3, 3]
    assert "until the plan in status is approved" in held["status"]["copies"][0]["message"]
    # Looking once more writes nothing.
    assert (await team.look_again("PointSet", sets))["status"]["copies"] == held["status"]["copies"]
    # No collection without the points may serve meanwhile.
    await team.collection(name, params={"shard_number": 3}, until=in_phase("Filling"), **auto)
    await team.wait("QdrantCollection", name, lambda obj: "maxDeletePercent" in message(obj))
    assert leads_to(qdrant, name) in names

    await team.annotate("PointSet", sets, {"vectorops.dev/approve-plan": held["status"]["plan"]["hash"]})
    await team.wait("PointSet", sets, is_ready)
    await team.wait("QdrantCollection", name, is_ready)
    await team.wait(
        "PointSet", sets, lambda obj: is_ready(obj) and all("message" not in copy for copy in obj["status"]["copies"])
    )
    assert {len(await stored.points(one)) for one in names_behind(qdrant, name)} == {1}


async def test_a_change_that_is_taken_back_leaves_nothing(team: Team, stored: Stored, qdrant: QdrantServer) -> None:
    name, sets = unique("undone"), unique("points")
    auto: Object = {"layout": "Aliased", "migration": {"approval": "Auto"}}
    await team.collection(name, until=is_ready, **auto)
    await team.points(sets, name, POINTS, until=is_ready)
    old = leads_to(qdrant, name)
    # A set that is suspended keeps the migration from ending.
    await team.points(sets, name, POINTS, suspend=True)
    blocked = await team.collection(name, params={"shard_number": 2}, **auto)
    assert reason(blocked) == "MigrationBlocked"
    assert sets in message(blocked)
    assert len(names_behind(qdrant, name)) == 2

    # A third schema in the middle.
    await team.collection(name, params={"shard_number": 3}, **auto)
    third = [one for one in names_behind(qdrant, name) if one != old]
    assert [config_of(qdrant, one)["params"]["shard_number"] for one in third] == [3]

    await team.collection(name, until=is_ready, **auto)
    assert names_behind(qdrant, name) == [old]
    await team.points(sets, name, POINTS, until=is_ready)
    assert len(await stored.points(name)) == 3


async def test_a_direct_collection_becomes_an_alias_of_its_name_after_approval(
    team: Team, stored: Stored, qdrant: QdrantServer
) -> None:
    name, sets = unique("direct"), unique("points")
    await team.collection(name, until=is_ready, aliases=[f"{name}-too"])
    await team.points(sets, name, POINTS, until=is_ready)
    auto: Object = {"layout": "Aliased", "migration": {"approval": "Auto"}, "aliases": [f"{name}-too"]}

    held = await team.collection(name, **auto)
    assert reason(held) == "PlanHeldBack"
    assert held["status"]["plan"]["destructive"]
    assert "no way back" in "".join(held["status"]["plan"]["steps"])
    assert names_behind(qdrant, name) == [name]

    await team.approve(name, plan_hash(held))
    await team.wait("QdrantCollection", name, is_ready)

    (physical,) = names_behind(qdrant, name)
    assert aliases_of(qdrant, physical) == {name, f"{name}-too"}
    assert len(await stored.points(name)) == 3
    assert "s" in await team.event(name, "Switched")
    assert await ledgers_of(stored, name) == []
    await team.points(sets, name, POINTS[:2], until=is_ready)
    assert len(await stored.points(name)) == 2


async def test_a_collection_behind_an_alias_of_somebody_else_is_adopted_and_moved(
    team: Team, stored: Stored, qdrant: QdrantServer
) -> None:
    """Blue and green by hand until now."""
    name, sets = unique("adopted"), unique("points")
    blue = f"{name}_v3"
    await stored.client.create_collection(blue, vectors_config=models.VectorParams(size=3, distance=COSINE))
    await stored.client.update_collection_aliases(
        [models.CreateAliasOperation(create_alias=models.CreateAlias(collection_name=blue, alias_name=name))]
    )
    auto: Object = {"layout": "Aliased", "migration": {"approval": "Auto"}}

    adopted = await team.collection(name, until=is_ready, **auto)
    assert adopted["status"]["collection"]["name"] == blue
    await team.points(sets, name, POINTS, until=is_ready)
    moved = await team.collection(name, params={"shard_number": 2}, until=is_ready, **auto)
    assert moved["status"]["migration"]["from"]["name"] == blue
    assert len(await stored.points(name)) == 3

    auto["migration"]["gracePeriod"] = "0s"
    await team.collection(name, params={"shard_number": 2}, until=lambda obj: is_ready(obj) and not phase(obj), **auto)
    assert names_behind(qdrant, name) == [leads_to(qdrant, name)]


@pytest.mark.parametrize("policy", ["Retain", "Delete"])
async def test_a_resource_that_is_deleted_in_the_middle_leaves_one_collection_or_none(
    team: Team, stored: Stored, qdrant: QdrantServer, policy: str
) -> None:
    name, sets = unique("gone"), unique("points")
    auto: Object = {"layout": "Aliased", "migration": {"approval": "Auto"}, "deletionPolicy": policy}
    await team.collection(name, until=is_ready, **auto)
    await team.points(sets, name, POINTS, until=is_ready)
    old = leads_to(qdrant, name)
    await team.points(sets, name, POINTS, suspend=True, deletionPolicy="Retain")
    await team.collection(name, params={"shard_number": 2}, until=in_phase("Filling"), **auto)

    await team.delete("PointSet", sets)
    await team.delete("QdrantCollection", name)

    assert names_behind(qdrant, name) == ([old] if policy == "Retain" else [])
    if policy == "Retain":
        assert mark_of(qdrant, old)["released"]
        assert len(await stored.points(name)) == 3
        # Whoever declares it again finds it behind its alias.
        again = await team.collection(name, until=is_ready, **auto)
        assert again["status"]["collection"]["name"] == old


async def moved(team: Team, qdrant: QdrantServer, name: str, auto: Object) -> tuple[str, str]:
    """A collection with points in its grace period: the old and the new physical one."""
    await team.collection(name, until=is_ready, **auto)
    await team.points(unique("points"), name, POINTS, until=is_ready)
    old = leads_to(qdrant, name)
    await team.collection(name, params={"shard_number": 2}, until=in_phase("GracePeriod"), **auto)
    return old, leads_to(qdrant, name)


@pytest.mark.parametrize("others_points", ["Block", "Leave"])
async def test_a_resource_that_retains_keeps_an_old_collection_only_for_points_that_the_new_one_lacks(
    team: Team, stored: Stored, qdrant: QdrantServer, others_points: str
) -> None:
    name = unique("kept")
    migration = {"approval": "Auto", "othersPoints": others_points}
    auto: Object = {"layout": "Aliased", "migration": migration, "deletionPolicy": "Retain"}
    old, new = await moved(team, qdrant, name, auto)
    await stored.client.upsert(old, [models.PointStruct(id=77, vector=[1, 0, 0], payload={"by": "another"})], wait=True)

    await team.delete("QdrantCollection", name)

    assert set(names_behind(qdrant, name)) == ({old, new} if others_points == "Block" else {new})
    assert all(mark_of(qdrant, one)["released"] for one in names_behind(qdrant, name))
    if others_points == "Block":
        assert 77 in await stored.points(old)


@pytest.mark.parametrize("leads", ["an alias of theirs to the old one", "readers to another one"])
async def test_a_resource_that_retains_takes_no_collection_away_that_is_no_copy_or_is_read(
    team: Team, stored: Stored, qdrant: QdrantServer, leads: str
) -> None:
    name, theirs = unique("read"), unique("theirs")
    migration = {"approval": "Auto", "othersPoints": "Leave"}
    auto: Object = {"layout": "Aliased", "migration": migration, "deletionPolicy": "Retain"}
    old, new = await moved(team, qdrant, name, auto)
    await team.collection(name, params={"shard_number": 2}, suspend=True, **auto)
    if leads == "readers to another one":
        await make_by_hand(stored, theirs)
        alias = models.CreateAlias(collection_name=theirs, alias_name=name)
    else:
        alias = models.CreateAlias(collection_name=old, alias_name=theirs)
    await stored.client.update_collection_aliases([models.CreateAliasOperation(create_alias=alias)])

    await team.delete("QdrantCollection", name)

    assert set(names_behind(qdrant, name)) == {old, new}
    assert all(mark_of(qdrant, one)["released"] for one in (old, new))
    assert len(await stored.points(new)) == len(POINTS)


async def test_points_bring_each_collection_the_vectors_that_it_has(
    team: Team, stored: Stored, qdrant: QdrantServer
) -> None:
    name, sets = unique("schema"), unique("points")
    auto: Object = {"layout": "Aliased", "migration": {"approval": "Auto"}}
    await team.collection(name, until=is_ready, vectors=[{"name": "text", "size": 2}], **auto)
    await team.points(sets, name, [point(1, text=[1, 0]), point(2, text=[0, 1])], until=is_ready)
    old = leads_to(qdrant, name)

    # The vector gets another size, and its points are not there yet.
    waiting = await team.collection(name, vectors=[{"name": "text", "size": 3}], until=in_phase("Filling"), **auto)
    waiting = await team.wait("QdrantCollection", name, lambda obj: "2 points failed" in message(obj))
    assert sets in message(waiting)
    assert leads_to(qdrant, name) == old

    # And then another name, so that the points may have both vectors.
    both = [point(1, text=[1, 0], words=[1, 0, 0]), point(2, text=[0, 1], words=[0, 1, 0])]
    await team.points(sets, name, both, until=has_reason("PointsFailed"))
    await team.collection(name, vectors=[{"name": "words", "size": 3}], until=is_ready, **auto)
    await team.wait("PointSet", sets, is_ready)

    new = leads_to(qdrant, name)
    assert (await stored.points(new))[1].vector == {"words": [1.0, 0.0, 0.0]}
    assert (await stored.points(old))[1].vector == {"text": [1.0, 0.0]}
    assert {copy["points"]["failed"] for copy in (await team.get("PointSet", sets))["status"]["copies"]} == {0}


@pytest.mark.parametrize("expected", [1, 2])
async def test_readers_are_moved_only_if_the_checks_pass_or_a_person_agrees(
    team: Team, stored: Stored, qdrant: QdrantServer, expected: int
) -> None:
    name, sets = unique("checked"), unique("points")
    query: Object = {"vector": [1.0, 0.1, 0.0], "expect": [str(expected)]}
    checks: Object = {"queries": [query], "k": 1, "thresholds": {"recall": 0.9}}
    auto: Object = {"layout": "Aliased", "migration": {"approval": "Auto"}, "checks": checks}
    await team.collection(name, until=is_ready, **auto)
    await team.points(sets, name, POINTS, until=is_ready)
    old = leads_to(qdrant, name)

    answer = await team.collection(name, params={"shard_number": 2}, **auto)

    found = answer["status"]["migration"]["checks"]
    assert [one["collection"] for one in found["measured"]] == [old, answer["status"]["migration"]["to"]["name"]]
    if expected == 1:
        assert is_ready(answer)
        assert (found["result"], phase(answer)) == ("Passed", "GracePeriod")
        assert leads_to(qdrant, name) != old
        return
    assert reason(answer) == "ChecksFailed"
    assert (found["result"], phase(answer)) == ("Failed", "Checking")
    assert leads_to(qdrant, name) == old
    # Looking once more writes nothing.
    still = await team.look_again("QdrantCollection", name)
    assert still["status"]["migration"] == answer["status"]["migration"]

    await team.approve(name, plan_hash(answer))
    await team.wait("QdrantCollection", name, is_ready)
    assert leads_to(qdrant, name) != old


async def others(stored: Stored, name: str, *ids: int) -> None:
    """Another writer brings points, by the alias."""
    points = [models.PointStruct(id=id, vector=[0.6, 0.8, 0.0], payload={"by": "others", "id": id}) for id in ids]
    await stored.client.upsert(name, points)


async def test_points_that_no_set_declares_hold_the_migration_up(
    team: Team, stored: Stored, qdrant: QdrantServer
) -> None:
    name, sets = unique("block"), unique("points")
    auto: Object = {"layout": "Aliased", "migration": {"approval": "Auto"}}
    await team.collection(name, until=is_ready, **auto)
    await team.points(sets, name, POINTS, until=is_ready)
    await others(stored, name, 77, 78)
    old = leads_to(qdrant, name)

    blocked = await team.collection(name, params={"shard_number": 2}, **auto)
    assert reason(blocked) == "MigrationBlocked"
    assert "2 points that no PointSet declares" in message(blocked)
    assert names_behind(qdrant, name) == [old]

    auto["migration"] = {"approval": "Auto", "othersPoints": "Leave"}
    await team.collection(name, params={"shard_number": 2}, until=is_ready, **auto)
    assert len(await stored.points(name)) == 3
    assert len(await stored.points(old)) == 5


async def test_points_of_others_are_copied(team: Team, stored: Stored, qdrant: QdrantServer) -> None:
    name, sets = unique("copied"), unique("points")
    auto: Object = {"layout": "Aliased", "migration": {"approval": "Auto", "othersPoints": "Copy"}}
    await team.collection(name, until=is_ready, **auto)
    await team.points(sets, name, POINTS, until=is_ready)
    await others(stored, name, 77, 78)
    old = leads_to(qdrant, name)

    await team.collection(name, params={"shard_number": 2}, until=is_ready, **auto)

    new = leads_to(qdrant, name)
    assert new != old
    assert await stored.points(new) == await stored.points(old)
    # Whoever deletes a point by the alias now must not find it again, so nothing is copied later on.
    await stored.client.delete(name, points_selector=[78], wait=True)
    auto["migration"] |= {"gracePeriod": "0s"}
    await team.collection(name, params={"shard_number": 2}, until=lambda obj: is_ready(obj) and not phase(obj), **auto)
    assert names_behind(qdrant, name) == [new]
    assert {77, 78} & set(await stored.points(name)) == {77}


async def test_a_copy_gives_way_to_the_set_that_declares_its_id_meanwhile(
    team: Team, stored: Stored, qdrant: QdrantServer
) -> None:
    name, sets = unique("claimed"), unique("points")
    query: Object = {"vector": [1.0, 0.0, 0.0], "expect": ["2"]}
    checks: Object = {"queries": [query], "k": 1, "thresholds": {"recall": 0.9}}
    auto: Object = {"layout": "Aliased", "migration": {"approval": "Auto", "othersPoints": "Copy"}, "checks": checks}
    await team.collection(name, until=is_ready, **auto)
    await team.points(sets, name, POINTS, until=is_ready)
    await others(stored, name, 77)
    old = leads_to(qdrant, name)
    held = await team.collection(name, params={"shard_number": 2}, until="ChecksFailed", **auto)
    new = held["status"]["migration"]["to"]["name"]
    assert 77 in await stored.points(new)

    await stored.client.delete(old, [77])
    in_the_way = lambda obj: any(copy["points"]["conflicts"] for copy in obj["status"]["copies"])  # noqa: E731
    await team.points(sets, name, [*POINTS, point(77, 0, 1, 0)], until=in_the_way)
    await team.look_again("QdrantCollection", name)
    await team.look_again("PointSet", sets)

    held = await team.wait("QdrantCollection", name, "ChecksFailed")
    assert await stored.points(new) == await stored.points(old)
    assert (await stored.points(new))[77].vector == [0.0, 1.0, 0.0]

    # It must not keep other tests' migrations waiting.
    await team.approve(name, plan_hash(held))
    await team.wait("QdrantCollection", name, is_ready)
    assert leads_to(qdrant, name) == new


async def test_the_new_collection_has_what_others_have_set_on_the_old_one(
    team: Team, stored: Stored, qdrant: QdrantServer
) -> None:
    name, sets = unique("settings"), unique("points")
    auto: Object = {"layout": "Aliased", "migration": {"approval": "Auto"}, "hnswConfig": {"m": 20}}
    await team.collection(name, until=is_ready, metadata={"team": "search"}, **auto)
    await team.points(sets, name, POINTS, until=is_ready)
    old = leads_to(qdrant, name)
    change_by_hand(qdrant, old, {"optimizers_config": {"indexing_threshold": 4321}, "metadata": {"by": "others"}})
    await stored.client.create_payload_index(old, "genus", models.PayloadSchemaType.KEYWORD)

    await team.collection(name, params={"shard_number": 2}, until=is_ready, metadata={"team": "search"}, **auto)

    new = leads_to(qdrant, name)
    assert new != old
    config = config_of(qdrant, new)
    assert config["hnsw_config"]["m"] == 20
    assert config["optimizer_config"]["indexing_threshold"] == 4321
    assert {key: value for key, value in config["metadata"].items() if "/" not in key} == {
        "team": "search",
        "by": "others",
    }
    assert indexes_of(qdrant, new).keys() == {"genus"}
    assert mark_of(qdrant, new)["predecessor"] == old


async def test_drift_that_is_only_reported_does_not_hold_a_migration_up(
    team: Team, stored: Stored, qdrant: QdrantServer
) -> None:
    name, sets = unique("drifted"), unique("points")
    auto: Object = {"layout": "Aliased", "driftPolicy": "Report", "hnswConfig": {"m": 20}}
    auto["migration"] = {"approval": "Auto", "gracePeriod": "5s"}
    await team.collection(name, until=is_ready, **auto)
    await team.points(sets, name, POINTS, until=is_ready)
    await team.collection(name, params={"shard_number": 2}, until=in_phase("GracePeriod"), **auto)
    new = leads_to(qdrant, name)

    change_by_hand(qdrant, new, {"hnsw_config": {"m": 24}})
    await team.look_again("QdrantCollection", name)

    done = await team.wait("QdrantCollection", name, lambda obj: not phase(obj))
    assert condition(done, "Drifted")["status"] == "True"
    assert names_behind(qdrant, name) == [new]


async def test_an_old_collection_that_somebody_still_reads_is_kept(
    team: Team, stored: Stored, qdrant: QdrantServer
) -> None:
    name, sets = unique("read"), unique("points")
    auto: Object = {"layout": "Aliased", "migration": {"approval": "Auto"}}
    await team.collection(name, until=is_ready, **auto)
    await team.points(sets, name, POINTS, until=is_ready)
    old = leads_to(qdrant, name)
    await team.collection(name, params={"shard_number": 2}, until=is_ready, **auto)
    await stored.client.update_collection_aliases(
        [models.CreateAliasOperation(create_alias=models.CreateAlias(collection_name=old, alias_name=f"{name}-late"))]
    )

    auto["migration"]["gracePeriod"] = "0s"
    kept = await team.collection(name, params={"shard_number": 2}, **auto)
    assert f"alias '{name}-late' leads to the old collection" in kept["status"]["migration"]["message"]
    assert old in names_behind(qdrant, name)

    # It holds no further change up.
    await team.collection(name, params={"shard_number": 3}, until=is_ready, **auto)
    assert config_of(qdrant, leads_to(qdrant, name))["params"]["shard_number"] == 3
    assert old in names_behind(qdrant, name)
