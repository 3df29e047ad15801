"""Every panel of the dashboard shows something once there is something to show, from what a real operator exports; and
no query, of it or of an alert, names a metric or a label that there is not.
"""

import asyncio
import json
import re
from collections.abc import Iterator, Mapping
from threading import Event
from typing import Any

import pytest

from integration.prometheus import ALERTED, DASHBOARD, NAME, TARGET, Course, Scrape, alerts, course
from integration.team import Team, unique
from integration.world import point, point_set
from servers.embeddings import EmbeddingServer
from servers.files import FileServer, Served
from servers.kube import KubeServer
from servers.kubeapi import condition
from servers.operator import ForkedOperator
from servers.process import free_port
from servers.qdrant import QdrantServer

VARIABLES = {
    "$namespace": ALERTED["namespace"],
    "$resource_namespace": ".*",
    "$server": ".*",
    "$__rate_interval": "5m",
}
MATCHER = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"")
GROUPING = re.compile(r"\b(?:by|on|without|ignoring|group_left)\s*\(([^)]*)\)")
SELECTED = re.compile(r"label_values\((\w+), (\w+)\)")


@pytest.fixture(scope="module")
def busy(kube: KubeServer, qdrant: QdrantServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Course]:
    """A team with a bit of everything: vectors, texts, and a collection that is wrong."""
    operators: list[ForkedOperator] = []
    seen = Event()

    async def work(server: EmbeddingServer, files: FileServer) -> None:
        async with kube.api() as api:
            team = Team(api, await api.create_namespace("busy"))
            operators.append(
                ForkedOperator(
                    tmp_path_factory.mktemp("busy"),
                    kubeconfig=kube.kubeconfig(),
                    installation=unique("busy"),
                    namespaces=[team.namespace],
                    flags=["--resync-seconds=1"],
                )
            )
            operators[0].start()
            texts, numbers = unique("texts"), unique("numbers")
            await team.connection(qdrant)
            await team.collection(texts, vector={"embedder": {"openAI": {"model": "any", "baseURL": server.base_url}}})
            await team.points("texts", texts, [{"id": 1, "vector": {"text": "a question"}}])
            await team.collection(numbers)
            await team.points("numbers", numbers, [point(1, 1, 0, 0), point(2, 0, 1, 0)])
            nobody = f"http://127.0.0.1:{free_port()}/rows.jsonl"
            unread = point_set(team.namespace, "unread", numbers, [])
            del unread["spec"]["points"]
            unread["spec"] |= {"source": {"http": {"urls": [nobody]}}, "refreshInterval": "1s"}
            await api.apply(unread)
            slow = point_set(team.namespace, "slow", numbers, [])
            del slow["spec"]["points"]
            slow["spec"]["source"] = {"http": {"urls": [f"{files.url}/rows.jsonl"]}}
            await api.apply(slow)
            await team.wait("PointSet", "unread", "SourceUnavailable")
            checks = {"queries": [{"vector": [1.0, 0.0, 0.0], "expect": ["1"]}], "thresholds": {"recall": 1}}
            await team.collection("worse", checks=checks)
            await team.points("worse", "worse", [point(2, 1, 0, 0)])
            await team.wait("QdrantCollection", "worse", lambda obj: condition(obj, "QualityDegraded"))
            await team.collection("moving", layout="Aliased")
            await team.collection("moving", layout="Aliased", params={"shard_number": 2}, until="PlanHeldBack")
            await team.collection("wrong", hnswConfig={"m": -1}, until="RequestRejected")

    try:
        with EmbeddingServer() as server, FileServer() as files:
            # Less than what the operator waits for the next bytes.
            files.files["/rows.jsonl"] = Served(b'{"id": 9}\n', etag='"1"', during=lambda: seen.wait(50))
            asyncio.run(work(server, files))
            found = course(operators[0], begun=has_both, what="a source to count as unread, and a long sync")
            seen.set()
            yield found
    finally:
        seen.set()
        for operator in operators:
            operator.discard()


def has_both(seen: Scrape) -> bool:
    """Something of a source that is not read, and of one that is read for long."""
    names = ("vectorops_source_unread_since_timestamp_seconds", "vectorops_sync_expected")
    return all(seen.value(name) for name in names)


def test_every_panel_shows_something(busy):
    for query in queries():
        busy.shows(substituted(query))

    busy.verify()


def test_every_query_speaks_of_what_there_is(busy):
    exported = busy.after.label_names()
    for query in [*queries(), *(rule["expr"] for rule in alerts().values())]:
        names = NAME.findall(without_grouping(query))
        assert names
        for name in names:
            assert name in exported, f"{name} is not exported: {query}"
        known = set().union(*(exported[name] for name in names)) | TARGET.keys()
        assert labels_of(query) <= known, f"{labels_of(query) - known} are no labels: {query}"


def test_the_variables_are_filled_from_what_there_is(busy):
    exported = busy.after.label_names()
    for variable in dashboard()["templating"]["list"]:
        if variable["type"] == "query":
            ((name, label),) = SELECTED.findall(variable["definition"])
            assert label in exported[name] | TARGET.keys()


def test_nothing_that_is_exported_goes_unseen(busy):
    """Each metric of ours answers a question, so it is in a panel."""
    asked = {re.sub(r"_bucket$", "", name) for query in queries() for name in NAME.findall(query)}
    ours = {re.sub(r"_(bucket|sum|count)$", "", name) for name in busy.after.label_names()}
    assert {name for name in ours if name.startswith("vectorops_")} <= asked


def test_each_panel_says_what_it_shows_and_has_a_place_of_its_own():
    taken: set[tuple[int, int]] = set()
    for panel in dashboard()["panels"]:
        assert panel["type"] == "row" or panel["description"]
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells
    ids = [panel["id"] for panel in dashboard()["panels"]]
    assert len(ids) == len(set(ids))


def test_legends_name_labels_that_the_query_keeps():
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", []):
            shown = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            kept = {label.strip() for group in GROUPING.findall(target["expr"]) for label in group.split(",")}
            whole = not re.search(r"\bby\b", target["expr"])
            assert shown <= kept or (whole and shown <= TARGET.keys()), panel["title"]


def dashboard() -> Mapping[str, Any]:
    found: Mapping[str, Any] = json.loads(DASHBOARD.read_text())
    return found


def queries() -> Iterator[str]:
    """The PromQL of all panels."""
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", []):
            yield target["expr"]


def substituted(query: str) -> str:
    """What Grafana sends."""
    for name, value in VARIABLES.items():
        query = query.replace(name, value)
    assert "$" not in query, query
    return query


def without_grouping(query: str) -> str:
    return GROUPING.sub("", query)


def labels_of(query: str) -> set[str]:
    """All labels that a query names."""
    grouped = {label.strip() for group in GROUPING.findall(query) for label in group.split(",") if label.strip()}
    return grouped | set(MATCHER.findall(query))
