"""Free JSON that is nested too deeply: told in the status of the resource that holds it, and nobody else notices.

One level above the limit is enough to see it. What lies far above is the matter of tests/unit/kube/test_calls.py.
"""

from typing import Any

from integration.team import Team, message, reason, unique
from integration.world import Stored, point
from servers.kubeapi import is_ready
from vectorops.api.nesting import LEVELS

TOO_DEEP = f"nested more than {LEVELS} levels deep"


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = {"a": value}
    return value


async def test_a_payload_that_is_nested_too_deeply_is_told_with_its_place_and_holds_up_nobody(
    team: Team, stored: Stored
) -> None:
    name = unique("deep")
    await team.collection(name)

    told = await team.points(
        f"{name}-too", name, [point(1, 1, 0, 0), point(2, 1, 0, 0, payload=nested(LEVELS + 1))], until="InvalidSpec"
    )
    assert message(told) == f"spec.points[1].payload: {TOO_DEEP}"
    assert await stored.count(name) == 0

    await team.points(f"{name}-just", name, [point(3, 1, 0, 0, payload=nested(LEVELS))], until=is_ready)
    assert (await stored.payloads(name))[3] == nested(LEVELS)

    await team.points(f"{name}-too", name, [point(1, 1, 0, 0), point(2, 1, 0, 0, payload=nested(3))], until=is_ready)
    assert await stored.count(name) == 3


async def test_a_block_of_qdrant_s_own_that_is_nested_too_deeply_is_told_and_the_collection_can_be_deleted(
    team: Team, stored: Stored
) -> None:
    """Its managed fields, which lists and watches show, are nested as deeply."""
    name = unique("deep")
    told = await team.collection(name, hnswConfig=nested(LEVELS + 1), until="InvalidSpec")
    assert message(told) == f"spec.hnswConfig: {TOO_DEEP}"
    assert not await stored.exists(name)

    await team.delete("QdrantCollection", name)


async def test_a_set_that_became_too_deep_keeps_its_points_and_can_be_deleted_with_them(
    team: Team, stored: Stored
) -> None:
    name = unique("deep")
    await team.collection(name)
    await team.points(name, name, [point(1, 1, 0, 0)], until=is_ready)

    told = await team.points(name, name, [point(1, 1, 0, 0, payload=nested(LEVELS + 1))], until="InvalidSpec")
    assert reason(told) == "InvalidSpec"
    assert await stored.count(name) == 1

    await team.delete("PointSet", name)
    assert await stored.count(name) == 0
