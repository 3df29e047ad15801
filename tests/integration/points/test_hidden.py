"""What a pass makes of a server that does not show all that it holds. Newer versions of Qdrant do so; here something
between us and Qdrant 1.16.3 plays their answers.
"""

import json
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest

from integration.points.scene import Scene, point
from integration.situations import Passing, passing
from servers.qdrant import QdrantServer
from vectorops.api.connection import QdrantConnectionSpec
from vectorops.errors import Transient
from vectorops.qdrant.connect import Credentials, connect
from vectorops.qdrant.database import Database

POINTS: Final = [point(1, a=1), point(2, a=2), point(3, a=3)]


@pytest.fixture
def between(qdrant: QdrantServer) -> Iterator[Passing]:
    with passing(qdrant.url) as between:
        yield between


@pytest.fixture
async def database(between: Passing) -> AsyncIterator[Database]:
    database = connect(QdrantConnectionSpec(url=between.url, prefer_grpc=False), Credentials())
    yield database
    await database.close()


class Restarted:
    """Plays Qdrant 1.17.1, which answers before it has replayed its log.

    missing: what it does not show for now, as the end of the collection's name.
    """

    def __init__(self) -> None:
        self.missing: str | None = None
        self.started = datetime.now(UTC) - timedelta(hours=1)

    def __call__(self, method: str, path: str, body: bytes) -> tuple[int, Any] | None:
        path = path.partition("?")[0]
        if path == "/":
            return 200, {"title": "qdrant - vector search engine", "version": "1.17.1"}
        if path == "/telemetry":
            return 200, {"result": {"app": {"startup": self.started.isoformat().replace("+00:00", "Z")}}}
        if self.missing is None or self.missing not in path or method != "POST":
            return None
        if path.endswith("/points"):
            return 200, {"result": []}
        return (200, {"result": {"points": [], "next_page_offset": None}}) if path.endswith("/scroll") else None


@pytest.mark.parametrize(
    "missing", ["/collections/", "-ledgers/points", "-here/points"], ids=["all", "ledger", "points"]
)
async def test_what_a_restarted_server_does_not_show_yet_is_neither_lost_nor_missing(
    scene: Scene, between: Passing, qdrant: QdrantServer, missing: str
) -> None:
    restarted = between.answer = Restarted()
    await scene.database.check()
    scene.collection += "-here"
    await scene.make()
    await scene.sync(*POINTS)

    restarted.missing, restarted.started = missing, datetime.now(UTC)
    writes = qdrant.telemetry_writes()
    with pytest.raises(Transient, match=r"Qdrant 1\.17\.1 was started a moment ago") as waits:
        await scene.sync(*POINTS)
    with pytest.raises(Transient, match="was started a moment ago"):
        await scene.remove_all()
    assert 0 < (waits.value.retry_after or 0) <= 60
    if missing != "-here/points":
        assert qdrant.telemetry_writes() == writes

    restarted.missing = None
    restarted.started -= timedelta(minutes=2)
    synced = await scene.sync(*POINTS)
    assert (synced.unchanged, synced.written, synced.rebuilt, dict(synced.conflicts)) == (3, 0, False, {})
    assert await scene.stored() == await scene.expected(*POINTS)


class Deferring:
    """Plays Qdrant 1.19.0 with `prevent_unoptimized`: it counts deferred points, and does not show them.

    hidden: the ids. writes: the queries of requests that write points of the collection.
    """

    def __init__(self, between: Passing, collection: str) -> None:
        self.hidden: set[int] = set()
        self.writes: set[str] = set()
        self._between = between
        self._path = f"/collections/{collection}"

    def __call__(self, method: str, path: str, body: bytes) -> tuple[int, Any] | None:
        path, _, query = path.partition("?")
        if not (path == self._path or path.startswith(f"{self._path}/points")) or method == "PATCH":
            return None
        passed = self._between.passed_on(method, f"{path}?wait=true", body)
        answer = passed.json()
        if path == self._path and method == "GET":
            answer["result"]["config"]["optimizer_config"]["prevent_unoptimized"] = True
            answer["result"]["update_queue"] = {"length": 0, "deferred_points": len(self.hidden)}
        elif path == f"{self._path}/points" and method == "POST":
            answer["result"] = [found for found in answer["result"] if found["id"] not in self.hidden]
        elif query:
            self.writes.add(query)
            if "points" in json.loads(body) and method == "PUT":
                self.hidden |= {each["id"] for each in json.loads(body)["points"]}
            answer["result"] = {"operation_id": 1, "status": "acknowledged"}
        return passed.status_code, answer


async def test_points_that_qdrant_hides_until_it_has_optimized_them_are_not_missing(
    scene: Scene, between: Passing, qdrant: QdrantServer
) -> None:
    deferring = between.answer = Deferring(between, scene.collection)

    first = await scene.sync(*POINTS, hides=True)
    assert (first.written, deferring.hidden) == (3, {1, 2, 3})
    writes = qdrant.telemetry_writes()
    for _ in range(2):
        with pytest.raises(Transient, match="prevent_unoptimized"):
            await scene.sync(*POINTS, hides=True)
    assert qdrant.telemetry_writes() == writes

    # What leaves the set goes, shown or not, and nothing is written that may be there.
    with pytest.raises(Transient, match="prevent_unoptimized"):
        await scene.sync(*POINTS[:2], point(4, a=4), hides=True)
    deferring.hidden.clear()
    assert await scene.stored() == await scene.expected(*POINTS[:2])

    last = await scene.sync(*POINTS[:2], point(4, a=4), hides=True)
    assert (last.unchanged, last.written, dict(last.conflicts)) == (2, 1, {})
    deferring.hidden = {1, 2, 4}
    await scene.remove_all()
    deferring.hidden.clear()
    assert await scene.stored() == {}
    assert deferring.writes == {"wait=false&ordering=medium"}
