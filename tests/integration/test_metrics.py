"""What the operator exports is true: it follows resources, points and servers as they come, change and go."""

import json
import re
from datetime import datetime

import pytest

from integration.prometheus import Scrape, scrape, scrape_when
from integration.team import Team, unique
from integration.world import change_by_hand, point, put_by_hand
from servers.operator import OperatorProcess
from servers.process import wait_until

NOT_READY = "vectorops_not_ready_since_timestamp_seconds"


@pytest.fixture
def team(api, namespace) -> Team:
    return Team(api, namespace)


def outcomes(seen: Scrape) -> dict[str, float]:
    """What became of points since the operator was started."""
    return {
        outcome: seen.value("vectorops_point_outcomes_total", outcome=outcome)
        for outcome in ("written", "unchanged", "deleted", "failed", "conflicting")
    }


def states(seen: Scrape) -> dict[str, float]:
    """How many points are in which state."""
    return {state: seen.value("vectorops_points", state=state) for state in ("synced", "failed", "conflicting")}


def looks(operator: OperatorProcess, kind: str) -> float:
    return scrape(operator).value("vectorops_reconcile_total", kind=kind)


async def looked(operator: OperatorProcess, team: Team, kind: str, name: str) -> Scrape:
    """After one more look at a resource."""
    before = looks(operator, kind)
    await team.look_again(kind, name)
    wait_until(lambda: looks(operator, kind) > before, what="the look to be counted")
    return scrape(operator)


async def test_a_resource_has_a_series_while_it_is_not_ready(team, qdrant, start_operator):
    operator = start_operator()
    name = unique("mended")
    await team.connection(qdrant)
    wrong = await team.collection(name, hnswConfig={"m": -1}, until="RequestRejected")
    seen = scrape_when(operator, lambda seen: seen.value(NOT_READY), what="the collection to be told")

    ((_, labels),) = [series for series in seen.values if series[0] == NOT_READY]
    assert dict(labels) == {
        "kind": "QdrantCollection",
        "resource_namespace": team.namespace,
        "name": name,
        "reason": "RequestRejected",
        "stalled": "true",
    }
    (ready,) = [told for told in wrong["status"]["conditions"] if told["type"] == "Ready"]
    assert datetime.fromisoformat(ready["lastTransitionTime"]).timestamp() == seen.value(NOT_READY)

    await team.collection(name, until="Succeeded")
    seen = scrape_when(operator, lambda seen: not seen.value(NOT_READY), what="the collection to be fine")
    assert NOT_READY not in {name for name, _ in seen.values}


async def test_after_a_restart_everything_is_counted_as_before(team, qdrant, start_operator):
    first = start_operator(installation="restarted")
    name = unique("again")
    await team.connection(qdrant)
    await team.collection(name)
    await team.points("short", name, [point(1, 1, 0)], until="PointsFailed")
    ours = ("vectorops_resources", NOT_READY, "vectorops_points")

    def counted(operator: OperatorProcess) -> dict[object, float]:
        return {series: value for series, value in scrape(operator).values.items() if series[0] in ours}

    scrape_when(first, lambda seen: seen.value(NOT_READY), what="the set to be counted")
    before = counted(first)
    first.kill()
    second = start_operator(installation="restarted")

    wait_until(lambda: counted(second) == before, what="the same to be counted")


async def test_points_are_counted_by_what_becomes_of_them(team, qdrant, stored, start_operator):
    operator = start_operator()
    name = unique("counted")
    await team.connection(qdrant)
    await team.collection(name)
    await put_by_hand(stored, name, 99)

    await team.points("set", name, [point(1, 1, 0, 0), point(2, 0, 1, 0), point(3, 0, 0, 1)])
    seen = scrape_when(operator, lambda seen: states(seen)["synced"], what="the set to be counted")
    assert outcomes(seen) == {"written": 3, "unchanged": 0, "deleted": 0, "failed": 0, "conflicting": 0}

    # One changed, one gone, one as it was; one that is too short, one that is somebody else's.
    await team.points(
        "set", name, [point(1, 1, 0, 0), point(2, 0, 1, 1), point(4, 1, 0), point(99, 1, 0, 0)], until="PointsFailed"
    )
    seen = scrape_when(operator, lambda seen: states(seen)["failed"], what="the set to be counted")
    assert outcomes(seen) == {"written": 4, "unchanged": 1, "deleted": 1, "failed": 1, "conflicting": 1}
    assert states(seen) == {"synced": 2, "failed": 1, "conflicting": 1}

    seen = await looked(operator, team, "PointSet", "set")
    assert outcomes(seen) == {"written": 4, "unchanged": 3, "deleted": 1, "failed": 2, "conflicting": 2}

    await team.delete("PointSet", "set")
    seen = scrape_when(operator, lambda seen: not states(seen)["synced"], what="the set to be forgotten")
    assert outcomes(seen)["deleted"] == 3
    assert states(seen) == {"synced": 0, "failed": 0, "conflicting": 0}


async def test_a_server_has_series_while_a_connection_uses_it(team, qdrant, start_proxy, start_operator):
    operator = start_operator()
    proxy = start_proxy(qdrant.url)
    server = proxy.url.removeprefix("http://")
    await team.connection(proxy.url)
    seen = scrape(operator)
    assert seen.value("vectorops_qdrant_requests_total", server=server, operation="greeting", code="200") >= 1
    assert seen.value("vectorops_qdrant_request_seconds_count", server=server, operation="greeting") >= 1

    await team.delete("QdrantConnection", "main")

    def forgotten(seen: Scrape) -> bool:
        return not any(("server", server) in labels for _, labels in seen.values)

    scrape_when(operator, forgotten, what="the server to be forgotten")


async def test_a_change_is_counted_and_an_echo_is_not(team, qdrant, start_operator):
    operator = start_operator()
    await team.connection(qdrant)
    name = unique("changed")
    await team.collection(name)
    await team.collection(name, aliases=[unique("alias")])
    seen = await looked(operator, team, "QdrantCollection", name)

    # Made, edited, and asked to be looked at again; the three statuses that were written are none.
    assert seen.value("vectorops_changes_total", kind="QdrantCollection") == 3


async def test_nothing_is_labeled_by_point_or_by_what_is_ready(team, qdrant, start_operator):
    operator = start_operator()
    name = unique("quiet")
    await team.connection(qdrant)
    await team.collection(name)
    await team.points("set", name, [point("point-of-note", 1, 0, 0, payload={"secret": "payload-of-note"})])
    seen = await looked(operator, team, "PointSet", "set")

    values = {value for _, labels in seen.values for _, value in labels}
    assert not values & {name, "set", "main", team.namespace, "point-of-note"}
    assert "of-note" not in operator.metrics()


async def test_a_resource_can_be_followed_by_the_log_alone(team, qdrant, start_proxy, start_operator):
    operator = start_operator(flags=["--log-level=debug"])
    name = unique("followed")
    proxy = start_proxy(qdrant.url)
    await team.connection(proxy.url)
    await team.collection(name, deletionPolicy="Delete")
    await team.collection(name, deletionPolicy="Delete", hnswConfig={"m": 20})
    change_by_hand(qdrant, name, {"hnsw_config": {"m": 9}})
    await team.look_again("QdrantCollection", name)
    await team.delete("QdrantCollection", name)
    wait_until(lambda: '"message":"gone"' in operator.log_text(), what="the end to be told")

    lines = [json.loads(line) for line in operator.log_text().splitlines()]
    about = [line for line in lines if line.get("resource") == f"QdrantCollection {team.namespace}/{name}"]
    told = [line["message"] for line in about if line["level"] != "debug"]
    assert [re.split(r" |:", words, maxsplit=2)[0:2] for words in told] == [
        ["collection", "changed"],
        ["collection", repr(name)],  # is as declared
        ["collection", "changed"],
        ["changed", "by"],  # others, and put right
        ["collection", "deleted"],
        ["gone"],
    ]
    assert any("m" in step for line in about for step in line.get("steps", []))
    timed = [line for line in about if line["message"] == "reconciled"]
    assert timed
    assert all(line["result"] and line["seconds"] >= 0 for line in timed)
    (deleted,) = [line["reconcile_id"] for line in about if line["message"] == "collection deleted"]
    (deletion,) = [call for call in proxy.calls if call.method == "DELETE"]
    assert deletion.headers["x-request-id"] == f"QdrantCollection/{team.namespace}/{name}/{deleted}"
