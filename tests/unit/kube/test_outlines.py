"""Lists and watches: what is taken from a table, and what one bad row does to the others."""

from collections.abc import AsyncIterator
from typing import Any, cast

import orjson
import pytest

from vectorops import metrics
from vectorops.api.meta import FINALIZER, RECONCILE, JsonObject, Ref
from vectorops.kube.calls import Calls, Refused
from vectorops.kube.cluster import KubeCluster
from vectorops.kube.outlines import PATHS
from vectorops.reconcilers.references import refers, target

COLUMNS = (
    *("Name", "Ready", "Reason", "Collection", "Points", "Synced"),
    *("Connection", "ConnectionKind", "Message", "Observed", "Age"),
)
SET = Ref("PointSet", "team", "cats")


def row(name: str, *cells: Any, **metadata: Any) -> JsonObject:
    meta = {"name": name, "namespace": "team", "uid": name, "generation": 3, "resourceVersion": "7", **metadata}
    return {"cells": [name, *cells], "object": {"kind": "PartialObjectMetadata", "metadata": meta}}


def settled(name: str, **metadata: Any) -> JsonObject:
    return row(name, "True", "Succeeded", "zoo", 4, 4, "main", None, "4 points as declared", 3, "5m", **metadata)


def table(*rows: JsonObject, columns: tuple[str, ...] | None = COLUMNS, **metadata: str) -> JsonObject:
    definitions = [{"name": name} for name in columns] if columns else None
    return {"kind": "Table", "metadata": {"resourceVersion": "9", **metadata}, "columnDefinitions": definitions} | {
        "rows": list(rows)
    }


def event(type: str, content: JsonObject) -> bytes:
    return orjson.dumps({"type": type, "object": content})


class Server:
    """In the place of `Calls`. pages, lines: what it answers; whole: objects that can be read one by one."""

    def __init__(self, *pages: JsonObject, lines: tuple[bytes, ...] = (), whole: tuple[JsonObject, ...] = ()) -> None:
        self.pages = list(pages)
        self._lines = lines
        self._whole = {f"/{each['metadata']['name']}": each for each in whole}

    async def call(self, method: str, path: str, **_: Any) -> JsonObject:
        for end, found in self._whole.items():
            if path.endswith(end):
                return found
        return self.pages.pop(0)

    async def lines(self, path: str, **_: Any) -> AsyncIterator[bytes]:
        for line in self._lines:
            yield line


def cluster(server: Server) -> KubeCluster:
    return KubeCluster(cast("Calls", server), instance="pod")


async def listed(server: Server) -> list[Any]:
    return [each async for page in cluster(server).pages("PointSet", None) for each in page.resources]


def unreadable() -> float:
    return metrics.REGISTRY.get_sample_value("vectorops_unreadable_resources_total", {"kind": "PointSet"}) or 0.0


def test_every_column_that_is_read_is_there() -> None:
    assert {kind: len(paths) for kind, paths in PATHS.items()} == {
        "QdrantConnection": 3,
        "ClusterQdrantConnection": 3,
        "QdrantCollection": 4,
        "PointSet": 5,
    }


async def test_a_row_tells_who_the_object_is_whether_it_is_ready_and_whom_it_needs() -> None:
    others = "kubectl.kubernetes.io/last-applied-configuration"
    finalizers = {"finalizers": [FINALIZER], "deletionTimestamp": "2026-01-01T00:00:00Z"}
    [found] = await listed(Server(table(settled("cats", annotations={RECONCILE: "1", others: "{}"}, **finalizers))))

    assert found.ref == SET
    assert found.ready
    assert found.deleting
    assert found.meta.finalizers == [FINALIZER]
    assert found.meta.annotations == {RECONCILE: "1"}
    assert target(found) == Ref("QdrantCollection", "team", "zoo")
    assert refers(found, Ref("QdrantConnection", "team", "main"))


async def test_one_whose_status_is_of_an_older_spec_is_not_ready() -> None:
    [found] = await listed(Server(table(settled("cats", generation=4))))

    assert not found.ready


async def test_one_that_nobody_looked_at_yet_has_empty_columns() -> None:
    [found] = await listed(Server(table(row("cats", None, None, "zoo", None, None, None, None, None, -1, "0s"))))

    assert not found.ready
    assert target(found) == Ref("QdrantCollection", "team", "zoo")


async def test_all_pages_of_a_list_are_read() -> None:
    first, second = table(settled("cats")), table(settled("dogs"))
    first["metadata"]["continue"] = "x"

    assert [each.meta.name for each in await listed(Server(first, second))] == ["cats", "dogs"]


@pytest.mark.parametrize(
    "bad",
    [
        {"cells": ["bad"], "object": {"metadata": {"name": "bad"}}},
        {"cells": ["bad", *[None] * 9], "object": None},
        settled("bad", generation="many"),
    ],
    ids=["cells are missing", "no metadata", "nonsense"],
)
async def test_a_row_that_cannot_be_read_is_named_and_counted_and_nobody_else_notices(
    bad: JsonObject, caplog: pytest.LogCaptureFixture
) -> None:
    before = unreadable()

    found = await listed(Server(table(settled("cats"), bad, settled("dogs"))))

    assert [each.meta.name for each in found] == ["cats", "dogs"]
    assert unreadable() == before + 1
    assert [str(record.__dict__["resource"]).startswith("PointSet ") for record in caplog.records] == [True]


async def test_with_older_custom_resource_definitions_each_object_is_read_for_what_the_columns_lack() -> None:
    whole = {"kind": "PointSet", "metadata": {"name": "cats", "namespace": "team"}} | {
        "spec": {"collectionRef": {"name": "zoo"}},
        "status": {"target": {"connection": "main"}},
    }
    old = table(row("cats", "True", "zoo"), columns=("Name", "Ready", "Collection"))

    [found] = await listed(Server(old, whole=(whole,)))

    assert refers(found, Ref("QdrantConnection", "team", "main"))


async def test_a_watch_tells_what_came_and_what_went_and_where_to_go_on() -> None:
    lines = (
        event("ADDED", table(settled("cats"), resourceVersion="10")),
        event("BOOKMARK", table(row("", *[None] * 9), columns=None, resourceVersion="11")),
        event("DELETED", table(settled("cats"), columns=None, resourceVersion="12")),
    )

    events = [each async for each in cluster(Server(lines=lines)).watch("PointSet", None, since="9")]

    assert [(each.version, [found.meta.name for found in each.resources], each.gone) for each in events] == [
        ("10", ["cats"], False),
        ("11", [], False),
        ("12", ["cats"], True),
    ]


async def test_with_older_custom_resource_definitions_what_went_is_told_too() -> None:
    old = table(row("cats", "True", "zoo"), columns=("Name", "Ready", "Collection"))

    events = [each async for each in cluster(Server(lines=(event("DELETED", old),))).watch("PointSet", None, since="9")]

    assert [(found.meta.name, each.gone) for each in events for found in each.resources] == [("cats", True)]


async def test_a_line_of_a_watch_that_nobody_can_read_is_left_out() -> None:
    lines = (b"<html>", b"[]", b'{"type": "ADDED"}', event("ADDED", table(settled("cats"))))
    before = unreadable()

    events = [each async for each in cluster(Server(lines=lines)).watch("PointSet", None, since="9")]

    assert [found.meta.name for each in events for found in each.resources] == ["cats"]
    assert unreadable() == before + 3


async def test_a_version_that_is_too_old_is_told_as_the_api_server_tells_it_at_the_start() -> None:
    expired = event("ERROR", {"kind": "Status", "metadata": {}, "message": "too old", "code": 410})

    with pytest.raises(Refused) as told:
        _ = [each async for each in cluster(Server(lines=(expired,))).watch("PointSet", None, since="1")]
    assert told.value.status == 410
