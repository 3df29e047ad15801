"""Whose a collection is: one that was there before, the user's, another resource's, and what the mark in it says."""

import pytest
from qdrant_client import models

from integration.conftest import StartOperator
from integration.team import APPROVE_PLAN, Team, message, plan_hash, reason, unique
from integration.world import (
    MARK,
    Stored,
    change_by_hand,
    collection,
    config_of,
    connection,
    make_by_hand,
    mark_of,
    point,
    put_by_hand,
)
from servers.kubeapi import KubeApi, Object, condition, is_ready
from servers.qdrant import QdrantServer

# ------------------------------------------------------------------------------------------ a collection that was there


async def test_a_matching_collection_is_adopted_and_the_points_in_it_stay(
    team: Team, stored: Stored, qdrant: QdrantServer
) -> None:
    name = unique("adopted")
    await make_by_hand(stored, name, hnsw_config=models.HnswConfigDiff(m=40))
    before = await put_by_hand(stored, name, 1, 2)

    adopted = await team.collection(name, optimizersConfig={"indexing_threshold": 5000})
    await team.points(name, name, [point(3, 0, 1, 0)])
    await team.delete("PointSet", name)

    assert is_ready(adopted)
    assert await stored.points(name) == before
    assert config_of(qdrant, name)["hnsw_config"]["m"] == 40
    assert config_of(qdrant, name)["optimizer_config"]["indexing_threshold"] == 5000
    assert mark_of(qdrant, name)["name"] == name


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
    await make_by_hand(stored, name)
    before, was = await put_by_hand(stored, name, 1, 2), config_of(qdrant, name)

    refused = await team.collection(name, deletionPolicy="Delete", **declared)
    again = await team.look_again("QdrantCollection", name)
    waiting = await team.points(name, name, [point(1, 1, 1, 1)], until=lambda obj: condition(obj, "Ready"))
    await team.delete("PointSet", name)
    await team.delete("QdrantCollection", name)

    assert reason(refused) == reason(again) == "NotAdopted"
    assert all(word in message(refused) for word in words)
    assert reason(waiting) == "CollectionNotReady"
    assert await stored.points(name) == before
    assert config_of(qdrant, name) == was


async def test_a_collection_that_was_there_is_left_alone_if_adoption_is_never(
    team: Team, stored: Stored, qdrant: QdrantServer
) -> None:
    name = unique("never")
    await make_by_hand(stored, name)
    was = config_of(qdrant, name)

    refused = await team.collection(name, adoptionPolicy="Never", hnswConfig={"m": 33})
    assert reason(refused) == "NotAdopted"
    assert "adoptionPolicy" in message(refused)
    assert config_of(qdrant, name) == was

    assert is_ready(await team.collection(name, adoptionPolicy="IfMatching", hnswConfig={"m": 33}))
    assert config_of(qdrant, name)["hnsw_config"]["m"] == 33


async def test_peers_13_collections_that_nobody_declared_are_never_touched(
    team: Team, stored: Stored, qdrant: QdrantServer
) -> None:
    """K treats every collection in Qdrant as its own."""
    bystander, name = unique("bystander"), unique("mine")
    await make_by_hand(stored, bystander)
    before, was = await put_by_hand(stored, bystander, 1), config_of(qdrant, bystander)

    await team.collection(name, deletionPolicy="Delete")
    await team.points(name, name, [point(1, 0, 0, 1)])
    await team.delete("PointSet", name)
    await team.delete("QdrantCollection", name)

    assert not await stored.exists(name)
    assert await stored.points(bystander) == before
    assert config_of(qdrant, bystander) == was


# ------------------------------------------------------------------------------------------------------- the user's own


async def test_cocoindex_11_a_users_collection_must_exist_and_match_and_is_never_changed(
    team: Team, stored: Stored, qdrant: QdrantServer
) -> None:
    """The schema is never compared; another distance is used silently."""
    name = unique("users")
    spec: Object = {"managedBy": "User", "hnswConfig": {"m": 18}}
    missing = await team.collection(name, until=lambda obj: condition(obj, "Ready"), **spec)
    assert reason(missing) == "CollectionNotFound"
    assert not await stored.exists(name)

    await make_by_hand(stored, name)
    was = config_of(qdrant, name)
    differing = await team.look_again("QdrantCollection", name)
    assert reason(differing) == "SchemaMismatch"
    assert "hnsw_config.m" in message(differing)

    change_by_hand(qdrant, name, {"hnsw_config": {"m": 18}})
    matching = await team.look_again("QdrantCollection", name)
    await team.points(name, name, [point(1, 1, 0, 0)])
    assert is_ready(matching)
    assert await stored.vectors(name) == {1: [1.0, 0.0, 0.0]}

    await team.delete("PointSet", name)
    await team.delete("QdrantCollection", name)
    assert await stored.points(name) == {}
    assert config_of(qdrant, name) == was | {"hnsw_config": was["hnsw_config"] | {"m": 18}}
    assert "metadata" not in config_of(qdrant, name)


async def test_cocoindex_11_a_set_leaves_no_points_in_a_users_collection(team: Team, stored: Stored) -> None:
    """Un-declared points stay for ever and are forgotten."""
    name = unique("users")
    await make_by_hand(stored, name)
    foreign = await put_by_hand(stored, name, 99)
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
    await make_by_hand(stored, name)
    foreign = (await put_by_hand(stored, name, 99))[99]
    await team.collection(name, managedBy="User")
    await team.points(name, name, [point(1, 1, 0, 0), point(2, 0, 1, 0)])

    await team.collection(name, managedBy="System")
    ours = await team.points(name, name, [point(2, 0, 0, 1), point(3, 0, 1, 0)])
    assert is_ready(ours), message(ours)
    assert sorted(await stored.points(name)) == [2, 3, 99]
    assert (await stored.vectors(name))[2] == [0.0, 0.0, 1.0]
    assert mark_of(qdrant, name)["released"] is False

    await team.collection(name, managedBy="User")
    users = await team.points(name, name, [point(3, 1, 0, 0)])
    assert is_ready(users), message(users)
    assert sorted(await stored.points(name)) == [3, 99]
    assert mark_of(qdrant, name)["released"] is True

    await team.collection(name, managedBy="System")
    again = await team.points(name, name, [point(3, 0, 1, 0), point(4, 1, 0, 0)])
    assert is_ready(again), message(again)
    await team.delete("PointSet", name)
    assert await stored.points(name) == {99: foreign}


async def test_nothing_is_written_into_a_users_collection_but_points(
    team: Team, stored: Stored, qdrant: QdrantServer
) -> None:
    name = unique("users")
    await make_by_hand(stored, name, metadata={"team": "search"})
    was = config_of(qdrant, name)

    await team.collection(name, managedBy="User")
    await team.points(name, name, [point(1, 1, 0, 0)])
    await team.look_again("PointSet", name)

    assert config_of(qdrant, name) == was


async def test_what_stands_in_a_users_collection_that_was_made_again_is_left_alone_until_somebody_says_otherwise(
    team: Team, stored: Stored
) -> None:
    """The set would overwrite what the user put under its ids, and delete it."""
    name = unique("again")
    await make_by_hand(stored, name)
    await team.collection(name, managedBy="User")
    declared = [point(id, 0, 1, 0, payload={"n": id}) for id in (1, 2, 3)]
    await team.points(name, name, declared)

    # One point that was changed by hand is put right.
    await put_by_hand(stored, name, 2)
    assert is_ready(await team.look_again("PointSet", name))
    assert (await stored.payloads(name))[2] == {"n": 2}

    await stored.client.delete_collection(name)
    await make_by_hand(stored, name)
    foreign = await put_by_hand(stored, name, 1, 2, 99)
    told = await team.look_again("PointSet", name)
    fewer = await team.points(name, name, declared[1:])
    assert reason(told) == reason(fewer) == "CollectionReplaced"
    assert "1 gone and 2 changed" in message(told)
    assert is_ready(await team.look_again("QdrantCollection", name))
    assert await stored.points(name) == foreign

    await team.annotate("PointSet", name, {APPROVE_PLAN: plan_hash(told)})
    approved = await team.wait("PointSet", name, "PointConflicts")
    assert "plan" not in approved["status"]
    assert sorted(await stored.points(name)) == [1, 2, 3, 99]
    await team.delete("PointSet", name)
    assert await stored.points(name) == foreign


@pytest.mark.parametrize("goes", ["deleted", "taken over"])
async def test_a_set_goes_from_a_users_collection_that_was_made_again_without_what_stands_there(
    team: Team, stored: Stored, goes: str
) -> None:
    name = unique("again")
    await make_by_hand(stored, name)
    await team.collection(name, managedBy="User")
    await team.points(name, name, [point(id, 0, 1, 0) for id in (1, 2, 3)])
    await stored.client.delete_collection(name)
    await make_by_hand(stored, name)
    foreign = await put_by_hand(stored, name, 1, 2, 99)

    if goes == "taken over":
        await team.collection(name, managedBy="System")
        assert reason(await team.look_again("PointSet", name)) == "CollectionReplaced"
        assert await stored.points(name) == foreign
    await team.delete("PointSet", name)

    assert await stored.points(name) == foreign


async def test_a_set_does_not_follow_an_alias_to_another_collection(team: Team, stored: Stored) -> None:
    """Whoever moves the alias would have the set overwrite what stands there under its ids."""
    name, other = unique("moved"), unique("other")
    await make_by_hand(stored, name)
    await team.collection(name, managedBy="User")
    await team.points(name, name, [point(id, 0, 1, 0) for id in (1, 2)])
    await make_by_hand(stored, other)
    foreign = await put_by_hand(stored, other, 1, 2)

    await stored.client.delete_collection(name)
    alias = models.CreateAlias(collection_name=other, alias_name=name)
    await stored.client.update_collection_aliases([models.CreateAliasOperation(create_alias=alias)])
    told = [await team.look_again(kind, name) for kind in ("QdrantCollection", "PointSet")]

    assert [reason(one) for one in told] == ["AliasTaken", "AliasTaken"]
    assert message(told[0]) == message(told[1])
    await team.delete("PointSet", name)
    assert await stored.points(other) == foreign


async def test_a_collection_that_another_has_marked_is_not_its_users(
    team: Team, stored: Stored, qdrant: QdrantServer
) -> None:
    """Whoever knows its name could fill it."""
    name, another, intruder = unique("marked"), unique("another"), unique("intruder")
    await team.collection(name)
    await team.points(name, name, [point(1, 1, 0, 0)])
    before, was = await stored.points(name), config_of(qdrant, name)

    refused = await team.collection(another, collectionName=name, managedBy="User")
    told = await team.points(intruder, another, [point(1, 0, 1, 0), point(2, 0, 1, 0)])

    assert reason(refused) == reason(told) == "OwnedByAnother"
    assert f"QdrantCollection {team.namespace}/{name}" in message(refused)
    assert message(told) == message(refused)
    assert (await stored.points(name), config_of(qdrant, name)) == (before, was)

    # Its owner lets go of it: then it is, and who holds a point keeps it.
    await team.delete("PointSet", name)
    await team.delete("QdrantCollection", name)
    assert is_ready(await team.look_again("QdrantCollection", another))
    await team.wait("PointSet", intruder, is_ready)
    assert sorted(await stored.points(name)) == [1, 2]


async def test_a_collection_of_ledgers_is_nobodys_target(team: Team, stored: Stored, qdrant: QdrantServer) -> None:
    """Records that a set puts there could make another set the owner of any point."""
    name, ledgers = unique("watched"), unique("ledgers")
    await team.api.apply(connection(team.namespace, qdrant, name=ledgers, ledgerCollectionName=ledgers))
    await team.collection(name, connectionRef={"name": ledgers})
    await team.points(name, name, [point(1, 1, 0, 0)], until=is_ready)
    assert mark_of(qdrant, ledgers) == {"format": 1, "kind": "Ledger"}
    before, was = await stored.points(ledgers), config_of(qdrant, ledgers)

    for attempt, spec in (("users", {"managedBy": "User"}), ("adopted", {"deletionPolicy": "Delete"})):
        refused = await team.collection(f"{name}-{attempt}", collectionName=ledgers, **spec)
        assert reason(refused) == "OwnedByAnother", message(refused)
        told = await team.points(
            f"{name}-{attempt}", f"{name}-{attempt}", [point(9, 1, 0, 0)], until=lambda obj: condition(obj, "Ready")
        )
        assert not is_ready(told)
        await team.delete("PointSet", f"{name}-{attempt}")
        await team.delete("QdrantCollection", f"{name}-{attempt}")

    assert (await stored.points(ledgers), config_of(qdrant, ledgers)) == (before, was)


async def test_no_ledger_is_written_into_a_collection_that_was_there(
    team: Team, stored: Stored, qdrant: QdrantServer
) -> None:
    name, theirs, managed = unique("fills"), unique("theirs"), unique("managed")
    await make_by_hand(stored, theirs)
    await team.collection(managed)
    before = {each: (await put_by_hand(stored, each, 7), config_of(qdrant, each)) for each in (theirs, managed)}

    for ledgers, why in ((theirs, "NotAdopted"), (managed, "OwnedByAnother")):
        await team.api.apply(connection(team.namespace, qdrant, name=f"to-{ledgers}", ledgerCollectionName=ledgers))
        await team.collection(f"{name}-{ledgers}", connectionRef={"name": f"to-{ledgers}"}, until=is_ready)
        told = await team.points(f"{name}-{ledgers}", f"{name}-{ledgers}", [point(1, 1, 0, 0)])
        assert reason(told) == why
        assert ledgers in message(told)

    assert before == {each: (await stored.points(each), config_of(qdrant, each)) for each in (theirs, managed)}


async def test_a_set_that_is_deleted_while_its_collection_changes_hands_leaves_no_points(
    api: KubeApi, namespace: str, qdrant: QdrantServer, stored: Stored, start_operator: StartOperator
) -> None:
    name = unique("hands")
    await make_by_hand(stored, name)
    foreign = await put_by_hand(stored, name, 99)
    operator = start_operator()
    team = Team(api, namespace)
    await team.connection(qdrant)
    await team.collection(name, managedBy="User")
    await team.points(name, name, [point(1, 1, 0, 0)], until=is_ready)

    operator.kill()
    await api.apply(collection(namespace, name, managedBy="System"))
    await team.ask_to_delete("PointSet", name)
    operator.start()
    await team.gone("PointSet", name)

    assert await stored.points(name) == foreign


# --------------------------------------------------------------------------------------------------- another resource's


async def test_cocoindex_07_the_second_resource_on_a_collection_is_refused_and_takes_nothing_with_it(
    team: Team, stored: Stored, qdrant: QdrantServer
) -> None:
    """Two flows on one collection: B fails, B's retry adopts, B's un-declare drops A's collection."""
    name, second = unique("shared"), unique("second")
    await team.collection(name, hnswConfig={"m": 20})
    await team.points(name, name, [point(1, 1, 0, 0)])
    was = config_of(qdrant, name)

    refused = await team.collection(second, collectionName=name, hnswConfig={"m": 30}, deletionPolicy="Delete")
    again = await team.look_again("QdrantCollection", second)
    await team.delete("QdrantCollection", second)

    assert reason(refused) == reason(again) == "OwnedByAnother"
    assert f"QdrantCollection {team.namespace}/{name}" in message(refused)
    assert config_of(qdrant, name) == was
    assert await stored.count(name) == 1


async def test_a_resource_that_was_refused_has_the_collection_as_soon_as_its_owner_is_gone(
    team: Team, stored: Stored, qdrant: QdrantServer
) -> None:
    """As when a resource is renamed: the new one is there before the old one has gone."""
    name, second = unique("renamed"), unique("second")
    await team.collection(name)
    await put_by_hand(stored, name, 1)
    assert reason(await team.collection(second, collectionName=name)) == "OwnedByAnother"

    await team.delete("QdrantCollection", name)
    await team.wait("QdrantCollection", second, is_ready)

    assert mark_of(qdrant, name)["name"] == second
    assert await stored.count(name) == 1


async def test_an_alias_of_another_collection_is_not_moved(team: Team, stored: Stored, qdrant: QdrantServer) -> None:
    holder, name, alias = unique("holder"), unique("wants"), unique("alias")
    await team.collection(holder, aliases=[alias])

    told = await team.collection(name, aliases=[alias, f"{alias}-free"], hnswConfig={"m": 20})
    assert reason(told) == "AliasTaken"
    assert holder in message(told)
    assert config_of(qdrant, name)["hnsw_config"]["m"] == 20
    found = {entry["alias_name"]: entry["collection_name"] for entry in qdrant.get("/aliases")["aliases"]}
    assert found[alias] == holder
    assert found[f"{alias}-free"] == name

    await team.collection(holder, aliases=[])
    await team.wait("QdrantCollection", name, is_ready)
    found = {entry["alias_name"]: entry["collection_name"] for entry in qdrant.get("/aliases")["aliases"]}
    assert found[alias] == name


async def test_a_collection_cannot_have_the_name_of_an_alias(team: Team, stored: Stored, qdrant: QdrantServer) -> None:
    """Qdrant would follow the alias, and change the collection behind it."""
    holder, name = unique("holder"), unique("name")
    await team.collection(holder, aliases=[name])
    await put_by_hand(stored, holder, 1)
    was = config_of(qdrant, holder)

    told = await team.collection(name, hnswConfig={"m": 50}, deletionPolicy="Delete")
    await team.delete("QdrantCollection", name)

    assert reason(told) == "AliasTaken"
    assert config_of(qdrant, holder) == was
    assert await stored.count(holder) == 1


# ------------------------------------------------------------------------------------------------------------- the mark


async def test_a_mark_that_was_wiped_by_hand_comes_again_and_the_sets_keep_their_points(
    team: Team, stored: Stored, qdrant: QdrantServer
) -> None:
    name = unique("wiped")
    first = await team.collection(name)
    await team.points(name, name, [point(1, 1, 0, 0), point(2, 0, 1, 0)])
    await put_by_hand(stored, name, 99)
    change_by_hand(qdrant, name, {"metadata": {MARK: None}})
    assert MARK not in config_of(qdrant, name).get("metadata", {})

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
    await make_by_hand(stored, name)
    theirs = await put_by_hand(stored, name, 1)

    await team.look_again("QdrantCollection", name)
    told = await team.wait("PointSet", name, "PointConflicts")

    assert told["status"]["failures"][0]["id"] == "1"
    points = await stored.points(name)
    assert points[1] == theirs[1]
    assert sorted(points) == [1, 2]


async def test_points_are_known_again_when_all_metadata_was_removed(
    team: Team, stored: Stored, qdrant: QdrantServer
) -> None:
    """The mark and what the sets entered, by hand or by a program that means well. The ledger knows better."""
    name = unique("wiped")
    await team.collection(name)
    await team.points(name, name, [point(1, 1, 0, 0, payload={"n": 1}), point(2, 0, 1, 0)], until=is_ready)
    foreign = (await put_by_hand(stored, name, 99))[99]
    was = config_of(qdrant, name)["metadata"]
    change_by_hand(qdrant, name, {"metadata": dict.fromkeys(was)})

    assert is_ready(await team.look_again("QdrantCollection", name))
    told = await team.points(name, name, [point(2, 0, 0, 1)])

    assert is_ready(told), message(told)
    assert mark_of(qdrant, name)["incarnation"] == was[MARK]["incarnation"]
    assert config_of(qdrant, name)["metadata"].keys() == was.keys()
    assert await stored.vectors(name) == {2: [0.0, 0.0, 1.0], 99: foreign.vector}


async def test_a_collection_that_was_made_anew_with_metadata_gives_no_claim_on_points_either(
    team: Team, stored: Stored, qdrant: QdrantServer
) -> None:
    """What stands under the ids is not what the ledger remembers."""
    name = unique("anew")
    await team.collection(name)
    await team.points(name, name, [point(1, 1, 0, 0, payload={"by": "set"}), point(2, 0, 1, 0, payload={"by": "set"})])
    await stored.client.delete_collection(name)
    await make_by_hand(stored, name, metadata={"team": "search"})
    theirs = await put_by_hand(stored, name, 1, 2)

    await team.look_again("QdrantCollection", name)
    await team.wait("PointSet", name, "PointConflicts")

    assert await stored.points(name) == theirs


async def test_a_mark_that_came_with_a_copy_is_not_ours(team: Team, stored: Stored, qdrant: QdrantServer) -> None:
    """A snapshot restored under another name carries the mark of its origin."""
    name, copy = unique("origin"), unique("copy")
    await team.collection(name, deletionPolicy="Delete")
    await team.points(name, name, [point(1, 1, 0, 0)])
    metadata = config_of(qdrant, name)["metadata"]
    await make_by_hand(stored, copy, metadata=metadata)
    copied = await put_by_hand(stored, copy, 1)

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
    newer = mark_of(qdrant, name) | {"format": 99}
    change_by_hand(qdrant, name, {"metadata": {MARK: newer}})

    told = await team.collection(name, hnswConfig={"m": 44}, deletionPolicy="Delete")

    assert reason(told) == "UnknownMark"
    assert mark_of(qdrant, name) == newer
    assert config_of(qdrant, name)["hnsw_config"]["m"] != 44
    await team.collection(name, deletionPolicy="Retain")
    await team.delete("QdrantCollection", name)
    assert mark_of(qdrant, name) == newer
