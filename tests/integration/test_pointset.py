"""Point sets as a team lives with them: every way to write a point down, good ones beside bad ones, several writers on
one collection, and what becomes of the points when anything goes.
"""

import asyncio
import base64
import re
import struct
import time
import uuid
from collections import Counter
from typing import Any, Final

import pytest
from qdrant_client import models

from integration.conftest import StartOperator, StartQdrant
from integration.team import Team, message, reason, unique
from integration.world import Stored, collection, connection, point, point_set
from servers.kubeapi import ApiError, KubeApi, Object, condition, is_ready
from servers.operator import OperatorProcess
from servers.qdrant import QdrantServer

DOC_123: Final = str(uuid.uuid5(uuid.UUID("6d9ab8e0-6f1c-5c0b-9a3e-2f1d7a5c4b10"), "doc-123"))
"""The id of the string `doc-123`, by the published specification."""
SPELLED: Final = "0f8fad5b-d9cb-469f-a165-70867728950e"


def packed(*numbers: float) -> str:
    return base64.b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode()


async def put(stored: Stored, name: str, *ids: Any, **payload: Any) -> dict[Any, Any]:
    """Writes points by hand; returns all that there are."""
    points = [models.PointStruct(id=id, vector=[1.0, 0.0, 0.0], payload=payload or {"by": "hand"}) for id in ids]
    await stored.client.upsert(name, points, wait=True)
    return await stored.points(name)


def reasons(obj: Object) -> dict[str, str]:
    """The failures in status: why, by id."""
    return {failure["id"]: failure["reason"] for failure in obj["status"].get("failures", [])}


# ------------------------------------------------------------------------------------------------------------------ ids


async def test_cocoindex_14_every_id_finds_its_place(team: Team, stored: Stored) -> None:
    """One string that is no UUID fails its whole batch there, and integers from 2^63 on overflow."""
    name = unique("ids")
    await team.collection(name)

    made = await team.points(
        name,
        name,
        [
            point(0, 1, 0, 0),
            point(2**62, 1, 0, 0),
            point("doc-123", 1, 0, 0),
            point(SPELLED, 1, 0, 0),
            point("42", 1, 0, 0),
            point(True, 1, 0, 0),
            point({"page": 3, "doc": "a"}, 1, 0, 0),
        ],
        storeIdAs="id",
    )

    assert is_ready(made), message(made)
    payloads = await stored.payloads(name)
    assert payloads[0] == {"id": 0}
    assert payloads[2**62] == {"id": 2**62}
    assert payloads[DOC_123] == {"id": "doc-123"}
    assert payloads[SPELLED] == {"id": SPELLED}
    assert len(payloads) == 7
    assert {"page": 3, "doc": "a"} in [payload["id"] for payload in payloads.values()]


async def test_cocoindex_14_the_largest_integers_are_written_as_strings(team: Team, stored: Stored) -> None:
    name = unique("integers")
    await team.collection(name)

    made = await team.points(
        name, name, [point(str(2**64 - 1), 1, 0, 0), point(str(2**63), 0, 1, 0), point(5, 0, 0, 1)], idFormat="Integer"
    )

    assert is_ready(made), message(made)
    assert sorted(await stored.points(name)) == [5, 2**63, 2**64 - 1]


async def test_cocoindex_15_another_spelling_of_an_id_is_the_same_point(team: Team, stored: Stored) -> None:
    """The point vanishes there: it is upserted under the new spelling, then deleted under the old one."""
    name = unique("spelling")
    await team.collection(name)
    await team.points(name, name, [point(SPELLED, 1, 0, 0)])
    before = await stored.points(name)

    for spelling in (SPELLED.upper(), SPELLED.replace("-", ""), "urn:uuid:" + SPELLED, "{" + SPELLED + "}"):
        assert is_ready(await team.points(name, name, [point(spelling, 1, 0, 0)]))
        assert await stored.points(name) == before

    both = await team.points(name, name, [point(SPELLED, 1, 0, 0), point(SPELLED.upper(), 0, 1, 0)])
    assert reason(both) == "PointsFailed"
    assert ["more than once" in words for words in reasons(both).values()] == [True]
    assert await stored.points(name) == before


async def test_cocoindex_16_an_id_declared_twice_is_one_point_or_none_and_leaves_what_is_stored(
    team: Team, stored: Stored
) -> None:
    name = unique("twice")
    await team.collection(name)
    await team.points(name, name, [point(1, 1, 0, 0), point(2, 1, 0, 0)])

    told = await team.points(
        name, name, [point(1, 0, 1, 0), point(1, 0, 0, 1), point(2, 0, 1, 0), point(2, 0, 1, 0), point(3, 0, 1, 0)]
    )

    assert reason(told) == "PointsFailed"
    assert reasons(told).keys() == {"1"}
    assert told["status"]["points"] == {"desired": 3, "synced": 2, "failed": 1, "conflicts": 0}
    assert await stored.vectors(name) == {1: [1.0, 0.0, 0.0], 2: [0.0, 1.0, 0.0], 3: [0.0, 1.0, 0.0]}


# -------------------------------------------------------------------------------------------------------------- vectors


async def test_vectors_are_written_down_in_four_forms(team: Team, stored: Stored) -> None:
    name = unique("forms")
    await team.collection(
        name,
        vectors=[
            {"name": "text", "size": 3, "distance": "Dot"},
            {"name": "image", "size": 2, "distance": "Euclid"},
            {"name": "tokens", "size": 2, "distance": "Dot", "multivector": {"comparator": "max_sim"}},
        ],
        sparseVectors=[{"name": "terms"}],
    )

    made = await team.points(
        name,
        name,
        [
            {
                "id": 1,
                "vectors": {
                    "text": {"values": [0.5, -1, 3]},
                    "image": {"packed": packed(0.25, 1e-3)},
                    "tokens": {"rows": [[1, 2], [3, 4], [5, 6]]},
                    "terms": {"sparse": {"indices": [7, 3], "values": [0.5, 0.25]}},
                },
            },
            {"id": 2, "vectors": {"tokens": {"values": [1, 2]}}},
        ],
    )

    assert is_ready(made), message(made)
    vectors = await stored.vectors(name)
    assert vectors[1]["text"] == [0.5, -1.0, 3.0]
    assert vectors[1]["image"] == pytest.approx([0.25, 1e-3])
    assert vectors[1]["tokens"] == [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]
    assert dict(zip(vectors[1]["terms"].indices, vectors[1]["terms"].values, strict=True)) == {3: 0.25, 7: 0.5}
    assert vectors[2] == {"tokens": [[1.0, 2.0]]}


async def test_cocoindex_19_a_bad_point_fails_alone_and_nothing_is_deleted_for_it(team: Team, stored: Stored) -> None:
    """One wrong size fails its batch there; a NaN is stored as null."""
    name = unique("bad")
    await team.collection(
        name,
        vectors=[
            {"name": "v", "size": 2, "distance": "Dot"},
            {"name": "half", "size": 1, "datatype": "float16", "distance": "Dot"},
            {"name": "byte", "size": 1, "datatype": "uint8", "distance": "Dot"},
            {"name": "tokens", "size": 2, "multivector": {"comparator": "max_sim"}},
        ],
        sparseVectors=[{"name": "s"}],
    )
    kept = [point(n, v=[1, 1]) for n in range(1, 9)]
    await team.points(name, name, [*kept, point(100, v=[1, 1])])

    bad: dict[int, tuple[Object, str]] = {
        1: ({"v": {"values": [1, 2, 3]}}, "3 components"),
        2: ({"v": {"packed": packed(float("nan"), 1)}}, "not a finite"),
        3: ({"v": {"packed": packed(float("inf"), 1)}}, "not a finite"),
        4: ({"v": {"values": [1e39, 0]}}, "not a finite"),
        5: ({"nobody": {"values": [1, 2]}}, "no vector of this name"),
        6: ({"tokens": {"rows": [[1, 2], [1e20, 0]]}}, "rows[1]: too long to be normalized"),
        7: ({"v": {"packed": "!"}}, "not base64"),
        8: ({"v": {"packed": base64.b64encode(b"12345").decode()}}, "no whole number of float32"),
        9: ({"half": {"values": [70000]}}, "outside the range"),
    }
    others: dict[int, tuple[Object, str]] = {
        10: ({"byte": {"values": [-1]}}, "outside the range"),
        11: ({"tokens": {"rows": []}}, "at least one row"),
        12: ({"tokens": {"rows": [[1, 2], [1]]}}, "1 component,"),
        13: ({"s": {"sparse": {"indices": [1, 1], "values": [1, 2]}}}, "given twice"),
        14: ({"s": {"sparse": {"indices": [1], "values": [1, 2]}}}, "1 index, but 2 values"),
        15: ({"s": {"values": [1]}}, "as `sparse`"),
        16: ({"v": {"rows": [[1, 2]]}}, "no multi-vector"),
        17: ({"v": {"sparse": {"indices": [0], "values": [1]}}}, "not a sparse"),
    }
    for cases in (bad, others):
        told = await team.points(
            name, name, [*({"id": id, "vectors": vectors} for id, (vectors, _) in cases.items()), point(99, v=[3, 3])]
        )

        assert reason(told) == "PointsFailed"
        assert reasons(told).keys() == {str(id) for id in cases}
        for id, (_, words) in cases.items():
            assert words in reasons(told)[str(id)], id
        assert told["status"]["points"]["failed"] == len(cases)
        assert (await stored.vectors(name))[99] == {"v": [3.0, 3.0]}
        # What failed keeps what was stored of it, and what is no longer declared goes.
        assert sorted(await stored.points(name)) == ([*range(1, 9), 99] if cases is bad else [99])


async def test_nothing_is_deleted_while_an_id_cannot_be_told(team: Team, stored: Stored) -> None:
    name = unique("untold")
    await team.collection(name)
    await team.points(name, name, [point(1, 1, 0, 0), point(2, 1, 0, 0)], idFormat="Integer")

    told = await team.points(
        name, name, [point("two", 1, 0, 0), point(3, 1, 0, 0), point(-4, 1, 0, 0)], idFormat="Integer"
    )

    assert reason(told) == "PointsFailed"
    assert "nothing is deleted" in message(told)
    assert "decimal" in reasons(told)["two"]
    assert "range" in reasons(told)["-4"]
    assert sorted(await stored.points(name)) == [1, 2, 3]

    await team.points(name, name, [point(3, 1, 0, 0)], idFormat="Integer")
    assert sorted(await stored.points(name)) == [3]


async def test_a_status_shows_ten_failures_and_counts_all(team: Team) -> None:
    name = unique("many")
    await team.collection(name)

    told = await team.points(name, name, [point(n, 1) for n in range(25)])

    assert told["status"]["points"] == {"desired": 25, "synced": 0, "failed": 25, "conflicts": 0}
    assert len(told["status"]["failures"]) == 10


async def test_what_failed_is_written_once_it_is_mended(team: Team, stored: Stored) -> None:
    name = unique("mended")
    await team.collection(name)
    assert reason(await team.points(name, name, [point(1, 1)])) == "PointsFailed"

    made = await team.points(name, name, [point(1, 1, 0, 0)])

    assert is_ready(made)
    assert "failures" not in made["status"]
    assert await stored.count(name) == 1


async def test_one_of_several_vectors_changes_comes_and_goes_by_itself(team: Team, stored: Stored) -> None:
    name = unique("partial")
    await team.collection(name, vectors=[{"name": n, "size": 2, "distance": "Dot"} for n in ("a", "b", "c")])
    await team.points(name, name, [point(1, a=[1, 1], b=[1, 1], payload={"k": "v"})])

    made = await team.points(name, name, [point(1, a=[1, 1], c=[3, 3], payload={"k": "v"})])
    assert is_ready(made), message(made)
    assert await stored.vectors(name) == {1: {"a": [1.0, 1.0], "c": [3.0, 3.0]}}

    await team.points(name, name, [point(1, a=[2, 2], c=[3, 3], payload={"k": "v"})])
    assert await stored.vectors(name) == {1: {"a": [2.0, 2.0], "c": [3.0, 3.0]}}
    assert await stored.payloads(name) == {1: {"k": "v"}}


async def test_a_set_keeps_to_the_strict_mode_of_its_collection(team: Team, stored: Stored) -> None:
    name = unique("strict")
    limits = {
        "enabled": True,
        "upsert_max_batchsize": 5,
        "max_query_limit": 3,
        "unindexed_filtering_retrieve": False,
        "unindexed_filtering_update": False,
    }
    await team.collection(name, strictModeConfig=limits)

    made = await team.points(name, name, [point(n, 1, 0, 0, payload={"n": n}) for n in range(12)])
    assert is_ready(made), message(made)
    changed = await team.points(name, name, [point(n, 0, 1, 0, payload={"m": n}) for n in range(4, 12)])
    assert is_ready(changed), message(changed)

    assert await stored.count(name) == 8
    await team.delete("PointSet", name)
    assert await stored.count(name) == 0


# ------------------------------------------------------------------------------------------------------------- payloads


async def test_cocoindex_17_a_payload_is_any_json_and_comes_back_as_it_was(team: Team, stored: Stored) -> None:
    name = unique("json")
    await team.collection(name)
    payload: Object = {
        "text": "ä \u0000".replace("\u0000", "\u2028"),
        "nested": {"list": [1, 2.5, None, {"deep": [[]]}], "empty": {}},
        "big": 2**63 - 1,
        "negative": -(2**63),
        "yes": True,
        "a.b c[0]": "a key is any string",
    }

    made = await team.points(name, name, [point(1, 1, 0, 0, payload=payload), point(2, 1, 0, 0, payload={})])

    assert is_ready(made), message(made)
    stored_payload = (await stored.payloads(name))[1]
    assert stored_payload == payload
    assert (await stored.payloads(name))[2] in ({}, None)


async def test_a_payload_changes_key_by_key(team: Team, stored: Stored) -> None:
    name = unique("keys")
    await team.collection(name)
    await team.points(name, name, [point(1, 1, 0, 0, payload={"a": 1, "b": {"x": 1, "y": 2}, "c": [1]})])

    made = await team.points(name, name, [point(1, 1, 0, 0, payload={"b": {"x": 3}, "c": [1], "d": None})])

    assert is_ready(made)
    assert await stored.payloads(name) == {1: {"b": {"x": 3}, "c": [1], "d": None}}


async def test_cocoindex_18_another_spelling_of_the_same_content_writes_nothing(
    team: Team, stored: Stored, qdrant: QdrantServer
) -> None:
    """0.1 and its float32, 1 and 1.0, null and {}: all of them are changes there."""
    name = unique("same")
    await team.collection(name)
    await team.points(name, name, [point(1, 0.1, 0, 1, payload={"n": 1, "m": 2}), point(2, 1, 0, 0)])
    writes = qdrant.telemetry_writes()

    float32 = struct.unpack("<f", struct.pack("<f", 0.1))[0]
    same = [
        {"id": 1, "vector": {"packed": packed(float32, 0, 1)}, "payload": {"m": 2.0, "n": 1.0}},
        point(2, 1, 0, 0, payload={}),
    ]
    for points in (same, same[::-1]):
        assert is_ready(await team.points(name, name, points))

    assert qdrant.telemetry_writes() == writes


# -------------------------------------------------------------------------------------------------------- other writers


async def test_a_foreign_point_keeps_its_content_when_a_set_claims_its_id(team: Team, stored: Stored) -> None:
    name = unique("foreign")
    await team.collection(name)
    foreign = (await put(stored, name, 7))[7]

    told = await team.points(name, name, [point(7, 0, 0, 1, payload={"by": "set"}), point(8, 0, 0, 1)])
    assert reason(told) == "PointConflicts"
    assert "another writer" in reasons(told)["7"]
    assert told["status"]["points"] == {"desired": 2, "synced": 1, "failed": 0, "conflicts": 1}
    assert (await stored.points(name))[7] == foreign
    assert 8 in await stored.points(name)

    await team.delete("PointSet", name)
    assert await stored.points(name) == {7: foreign}


async def test_a_foreign_point_becomes_the_sets_own_once_the_set_adopts_and_it_matches(
    team: Team, stored: Stored
) -> None:
    name = unique("adopting")
    await team.collection(name)
    foreign = await put(stored, name, 7, 8)
    same, other = point(7, 1, 0, 0, payload={"by": "hand"}), point(8, 0, 0, 1)

    assert reason(await team.points(name, name, [same, other])) == "PointConflicts"
    told = await team.points(name, name, [same, other], adoptionPolicy="IfMatching")
    assert set(reasons(told)) == {"8"}
    assert "differs from what is declared" in reasons(told)["8"]
    assert "set adoptionPolicy" not in reasons(told)["8"]
    told = await team.points(name, name, [same], adoptionPolicy="Never")
    assert reason(told) == "Succeeded"
    assert await stored.points(name) == foreign

    await team.delete("PointSet", name)
    assert await stored.points(name) == {8: foreign[8]}


async def test_cocoindex_16_two_sets_that_claim_one_point_leave_it_to_the_first_until_that_one_goes(
    team: Team, stored: Stored
) -> None:
    """Ownership silently moves to the last."""
    name, first, second = unique("two"), unique("first"), unique("second")
    await team.collection(name)
    await team.points(first, name, [point(1, 1, 0, 0), point(2, 1, 0, 0)])

    told = await team.points(second, name, [point(2, 0, 1, 0), point(3, 0, 1, 0)])
    assert reason(told) == "PointConflicts"
    assert f"PointSet {team.namespace}/{first}" in reasons(told)["2"]
    assert (await stored.vectors(name))[2] == [1.0, 0.0, 0.0]
    assert is_ready(await team.look_again("PointSet", first))

    await team.delete("PointSet", first)
    freed = await team.wait("PointSet", second, is_ready)
    assert "failures" not in freed["status"]
    assert await stored.vectors(name) == {2: [0.0, 1.0, 0.0], 3: [0.0, 1.0, 0.0]}


async def test_a_point_that_leaves_one_set_is_taken_by_the_other_that_waits_for_it(team: Team, stored: Stored) -> None:
    name, first, second = unique("two"), unique("first"), unique("second")
    await team.collection(name)
    await team.points(first, name, [point(1, 1, 0, 0), point(2, 1, 0, 0)])
    assert reason(await team.points(second, name, [point(2, 0, 1, 0)])) == "PointConflicts"

    await team.points(first, name, [point(1, 1, 0, 0)])
    await team.wait("PointSet", second, is_ready)

    assert await stored.vectors(name) == {1: [1.0, 0.0, 0.0], 2: [0.0, 1.0, 0.0]}


async def test_a_suspended_set_keeps_its_points_until_it_goes_on(team: Team, stored: Stored) -> None:
    """Then what it no longer declares passes to the set that waits for it."""
    name, first, second = unique("pass"), unique("first"), unique("second")
    await team.collection(name)
    await team.points(first, name, [point(1, 1, 0, 0), point(2, 1, 0, 0)], until=is_ready)

    await team.points(first, name, [point(1, 1, 0, 0)], suspend=True, until="Suspended")
    assert reason(await team.points(second, name, [point(2, 0, 1, 0)])) == "PointConflicts"
    await team.api.apply(point_set(team.namespace, first, name, [point(1, 1, 0, 0)]))
    await team.wait("PointSet", second, is_ready)
    await team.look_again("PointSet", first)

    assert await stored.vectors(name) == {1: [1.0, 0.0, 0.0], 2: [0.0, 1.0, 0.0]}
    await team.delete("PointSet", first)
    assert await stored.vectors(name) == {2: [0.0, 1.0, 0.0]}


async def test_the_id_of_a_foreign_point_is_taken_once_that_one_is_gone(team: Team, stored: Stored) -> None:
    name = unique("freed")
    await team.collection(name)
    await put(stored, name, 7)
    assert reason(await team.points(name, name, [point(7, 0, 1, 0)])) == "PointConflicts"

    await stored.client.delete(name, [7], wait=True)

    assert is_ready(await team.look_again("PointSet", name))
    assert await stored.vectors(name) == {7: [0.0, 1.0, 0.0]}


async def test_cocoindex_04_what_others_did_to_our_points_is_put_right(team: Team, stored: Stored) -> None:
    """The next run says OK there, and nothing is repaired."""
    name = unique("tampered")
    await team.collection(name, vector={"size": 3, "distance": "Dot"})
    await team.points(name, name, [point(n, n, 1, 2, payload={"n": n, "keep": "x"}) for n in (1, 2, 3, 4)])
    before = await stored.points(name)
    await stored.client.set_payload(name, {"n": "changed", "added": 1}, points=[1], wait=True)
    await stored.client.delete_payload(name, ["keep"], points=[2], wait=True)
    await stored.client.update_vectors(name, [models.PointVectors(id=3, vector=[9.0, 9.0, 9.0])], wait=True)
    await stored.client.delete(name, [4], wait=True)

    assert is_ready(await team.look_again("PointSet", name))

    assert await stored.points(name) == before


# ------------------------------------------------------------------------------------------------------------- the ends


async def test_cocoindex_13_what_is_no_longer_declared_goes_and_an_empty_list_empties_the_set_only(
    team: Team, stored: Stored
) -> None:
    name, other = unique("empty"), unique("other")
    await team.collection(name)
    await team.points(name, name, [point(n, 1, 0, 0) for n in (1, 2, 3)])
    await team.points(other, name, [point(50, 1, 0, 0)])
    await put(stored, name, 99)

    await team.points(name, name, [point(2, 1, 0, 0)])
    assert sorted(await stored.points(name)) == [2, 50, 99]

    emptied = await team.points(name, name, [])
    assert is_ready(emptied)
    assert emptied["status"]["points"] == {"desired": 0, "synced": 0, "failed": 0, "conflicts": 0}
    assert sorted(await stored.points(name)) == [50, 99]


async def test_retain_leaves_the_points_behind(team: Team, stored: Stored) -> None:
    name = unique("retain")
    await team.collection(name)
    await team.points(name, name, [point(1, 1, 0, 0)], deletionPolicy="Retain")
    before = await stored.points(name)

    await team.delete("PointSet", name)
    assert await stored.points(name) == before

    # They are nobody's now, so a set of that name does not get them back unasked.
    assert reason(await team.points(name, name, [point(1, 0, 1, 0)])) == "PointConflicts"
    assert await stored.points(name) == before


async def test_a_set_cleans_up_although_its_collections_resource_went_first(team: Team, stored: Stored) -> None:
    name = unique("first")
    await team.collection(name)
    made = await team.points(name, name, [point(1, 1, 0, 0)])
    foreign = (await put(stored, name, 99))[99]
    assert made["status"]["target"]["collection"] == name
    await team.delete("QdrantCollection", name)
    assert await stored.count(name) == 2

    await team.delete("PointSet", name)

    assert await stored.points(name) == {99: foreign}


async def test_a_set_goes_although_its_collection_was_deleted_by_hand(team: Team, stored: Stored) -> None:
    name, remade = unique("gone"), unique("remade")
    for each in (name, remade):
        await team.collection(each)
        await team.points(each, each, [point(1, 1, 0, 0)])
        await stored.client.delete_collection(each)
    size = models.VectorParams(size=3, distance=models.Distance.COSINE)
    await stored.client.create_collection(remade, vectors_config=size)
    theirs = await put(stored, remade, 1)

    await team.delete("PointSet", name)
    await team.delete("PointSet", remade)

    assert not await stored.exists(name)
    assert await stored.points(remade) == theirs


async def test_a_set_without_its_collection_waits_and_is_deleted_without_ado(team: Team) -> None:
    name = unique("nowhere")

    waiting = await team.points(name, name, [point(1, 1, 0, 0)], until=lambda obj: condition(obj, "Ready"))
    assert reason(waiting) == "CollectionNotFound"

    await team.delete("PointSet", name)


async def test_a_set_that_waited_for_its_collection_goes_on_when_it_comes(team: Team, stored: Stored) -> None:
    name = unique("late")
    await team.points(name, name, [point(1, 1, 0, 0)], until=lambda obj: condition(obj, "Ready"))

    await team.collection(name)
    await team.wait("PointSet", name, is_ready)

    assert await stored.count(name) == 1


async def test_suspend_freezes_the_points_and_deletion_still_works(team: Team, stored: Stored) -> None:
    name = unique("suspend")
    await team.collection(name)
    await team.points(name, name, [point(1, 1, 0, 0)])

    frozen = await team.points(name, name, [point(1, 0, 1, 0), point(2, 0, 1, 0)], suspend=True)
    assert reason(frozen) == "Suspended"
    assert await stored.vectors(name) == {1: [1.0, 0.0, 0.0]}

    await team.delete("PointSet", name)
    assert await stored.count(name) == 0


async def test_skip_cleanup_lets_a_set_go_and_leaves_its_points(team: Team, stored: Stored) -> None:
    name = unique("skip")
    await team.collection(name)
    await team.points(name, name, [point(1, 1, 0, 0)])
    await team.annotate("PointSet", name, {"vectorops.dev/skip-cleanup": "true"})

    await team.delete("PointSet", name)

    assert await stored.count(name) == 1


async def test_the_format_of_ids_and_the_collection_of_a_set_cannot_be_changed(team: Team, stored: Stored) -> None:
    name = unique("immutable")
    await team.collection(name)
    await team.points(name, name, [point(1, 1, 0, 0)])

    with pytest.raises(ApiError, match="idFormat is immutable"):
        await team.points(name, name, [point(1, 1, 0, 0)], idFormat="Integer")
    with pytest.raises(ApiError, match="collectionRef is immutable"):
        await team.points(name, "another", [point(1, 1, 0, 0)])

    assert await stored.count(name) == 1


# ------------------------------------------------------------------------------------------------------------- idleness


def reconciliations(operator: OperatorProcess) -> Counter[str]:
    """How many there were, by kind."""
    counts: Counter[str] = Counter()
    for kind, count in re.findall(
        r'^vectorops_reconcile_total\{kind="(\w+)",result="success"\} ([\d.]+)', operator.metrics(), re.MULTILINE
    ):
        counts[kind] += int(float(count))
    return counts


async def test_peers_08_a_hundred_resyncs_write_nothing_to_qdrant_and_no_status(
    api: KubeApi, namespace: str, start_qdrant: StartQdrant, start_operator: StartOperator
) -> None:
    """B compares by reference: an endless PATCH. O: a resource that always needs an update (11)."""
    qdrant = start_qdrant()
    operator = start_operator(flags=["--resync-seconds=1"])
    await api.apply(connection(namespace, qdrant))
    names = [f"idle-{n}" for n in range(10)]
    options: Object = {
        "hnswConfig": {"m": 20},
        "quantizationConfig": {"scalar": {"type": "int8", "quantile": 0.99}},
        "optimizersConfig": {"deleted_threshold": 0.3},
        "payloadIndexes": [{"field": "t", "schema": {"type": "text", "tokenizer": "word", "lowercase": True}}],
    }
    for name in names:
        await api.apply(collection(namespace, name, aliases=[f"{name}-alias"], **options))
        points = [point(n, n, 0.1, 0.3, payload={"t": "x", "f": 0.1, "n": None}) for n in range(50)]
        await api.apply(point_set(namespace, name, name, points))
    for name in names:
        await api.wait_for("PointSet", namespace, name, is_ready)
        await api.wait_for("QdrantCollection", namespace, name, is_ready)

    async def versions() -> dict[str, str]:
        kinds = ("QdrantConnection", "QdrantCollection", "PointSet")
        objects = [obj for kind in kinds for obj in await api.list(kind, namespace)]
        return {f"{obj['kind']}/{obj['metadata']['name']}": obj["metadata"]["resourceVersion"] for obj in objects}

    versions_before, writes_before = await versions(), qdrant.telemetry_writes_by_endpoint()
    begin = reconciliations(operator)
    deadline = time.monotonic() + 90
    while min((reconciliations(operator) - begin)[kind] for kind in ("QdrantCollection", "PointSet")) < 100:
        assert time.monotonic() < deadline, reconciliations(operator) - begin
        await asyncio.sleep(0.5)

    assert qdrant.telemetry_writes_by_endpoint() == writes_before
    assert await versions() == versions_before


async def test_a_hundred_requests_to_look_again_write_nothing_to_qdrant(team: Team, qdrant: QdrantServer) -> None:
    name = unique("again")
    await team.collection(name, hnswConfig={"m": 20}, payloadIndexes=[{"field": "k", "schema": {"type": "keyword"}}])
    await team.points(name, name, [point(n, 0.3, n, 1, payload={"k": "v", "n": 0.1}) for n in range(20)])
    writes = qdrant.telemetry_writes_by_endpoint()

    for _ in range(50):
        assert is_ready(await team.look_again("QdrantCollection", name))
        assert is_ready(await team.look_again("PointSet", name))

    assert qdrant.telemetry_writes_by_endpoint() == writes
