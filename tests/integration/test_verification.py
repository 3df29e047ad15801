"""What a look at a large set notices of what others did to its points: absence at once, other content in turn.

The reconcilers run in this process, over a real Qdrant.
"""

import asyncio
import base64
import gc
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Final
from unittest.mock import AsyncMock
from uuid import uuid4

import numpy as np
import pytest

from servers.qdrant import QdrantServer
from vectorops.api.connection import QdrantConnectionSpec
from vectorops.api.meta import JsonObject, ObjectMeta, Ref, Resource
from vectorops.api.pointset import MAX_POINTS
from vectorops.embedders.base import EmbedderSettings
from vectorops.embedders.pool import Embedders
from vectorops.errors import GaveWay
from vectorops.local.cluster import LocalCluster
from vectorops.points import verification
from vectorops.points.verification import SHARE_POINTS, Verification
from vectorops.qdrant.connect import Credentials, connect
from vectorops.qdrant.database import UNNAMED, Database, PayloadChange, PointData
from vectorops.reconcilers import pointset
from vectorops.reconcilers.base import Context
from vectorops.reconcilers.databases import Databases
from vectorops.reconcilers.driver import Driver
from vectorops.reconcilers.kinds import RECONCILERS

COUNT: Final = 2 * SHARE_POINTS + 100
"""Of three shares."""
SET: Final = Ref("PointSet", "library", "books")


def books(count: int) -> list[JsonObject]:
    return [
        {"id": id, "vector": {"values": [1.0, float(id)]}, "payload": {"shelf": id % 7}} for id in range(1, count + 1)
    ]


class Library:
    """A large set, and the operators that look at it."""

    def __init__(self, server: QdrantServer, database: Database, name: str, size: int = 2) -> None:
        self._size = size
        self.database = database
        self.name = name
        self._spec: JsonObject = {"url": server.url, "grpcPort": server.grpc_port}
        self._cluster = LocalCluster([], {})
        self._databases = Databases(connect)
        self.restart()

    def restart(self) -> None:
        """The next look is a new process's."""
        context = Context(
            self._cluster,
            self._databases,
            Embedders(EmbedderSettings()),
            "test",
            writer="operator",
            verification=Verification(),
        )
        self._driver = Driver(context, RECONCILERS)

    async def close(self) -> None:
        await self._databases.close_all()

    async def declare(self, points: list[JsonObject]) -> None:
        """Applies all three resources, and reconciles until the set is Ready."""
        before = self._cluster.now(SET)
        generation = before.meta.generation + 1 if before else 1
        for kind, name, spec in (
            ("QdrantConnection", "main", self._spec),
            (
                "QdrantCollection",
                self.name,
                {"connectionRef": {"name": "main"}, "vector": {"size": self._size, "distance": "Dot"}},
            ),
            ("PointSet", "books", {"collectionRef": {"name": self.name}, "points": points}),
        ):
            meta = ObjectMeta(name=name, namespace="library", uid=name, generation=generation)
            former = self._cluster.now(Ref(kind, "library", name))
            self._cluster.add(Resource(kind, meta, spec, former.status if former else {}))
            await self._driver.run(Ref(kind, "library", name))
        await self.look()

    async def look(self, looks: int = 1, **annotations: str) -> JsonObject:
        """Looks at the set so many times; returns its status."""
        found = self._cluster.now(SET)
        assert found is not None
        meta = found.meta.model_copy(
            update={"annotations": {f"vectorops.dev/{name}": value for name, value in annotations.items()}}
        )
        self._cluster.add(replace(found, meta=meta))
        for _ in range(looks):
            await self._driver.run(SET)
        found = self._cluster.now(SET)
        assert found is not None
        assert found.ready, found.status
        return found.status

    async def spoil(self, id: int) -> None:
        """Somebody puts the book on another shelf, and gives it other numbers."""
        await self.database.change_payloads(self.name, [PayloadChange(id, put={"shelf": "the floor"})])
        await self.database.update_vectors(self.name, [PointData(id, {UNNAMED: np.array([9, 9], dtype=np.float32)})])

    async def is_in_its_place(self, id: int) -> bool:
        found = (await self.database.points(self.name, [id], payload=True, vectors=True))[id]
        vector = found.vectors[UNNAMED]
        assert isinstance(vector, np.ndarray)
        return found.payload == {"shelf": id % 7} and vector.tolist() == [1.0, float(id)]


@pytest.fixture
async def library(qdrant: QdrantServer) -> AsyncIterator[Library]:
    spec = QdrantConnectionSpec(url=qdrant.url, grpc_port=qdrant.grpc_port)
    database = connect(spec, Credentials())
    await database.check()
    made = Library(qdrant, database, f"books-{uuid4()}")
    await made.declare(books(COUNT))
    yield made
    await made.close()
    await database.close()


@pytest.mark.parametrize("restarts", [False, True])
async def test_a_point_that_somebody_deleted_is_there_again_after_one_look(library, restarts):
    await library.database.delete_points(library.name, [COUNT])
    if restarts:
        library.restart()

    await library.look()

    assert await library.is_in_its_place(COUNT)
    assert await library.database.count(library.name) == COUNT


@pytest.mark.parametrize("restarts", [False, True])
async def test_points_that_somebody_changed_are_as_declared_once_all_shares_had_their_turn(library, restarts):
    for id in (1, COUNT // 2, COUNT):
        await library.spoil(id)
    if restarts:
        library.restart()

    await library.look(looks=4)

    assert [await library.is_in_its_place(id) for id in (1, COUNT // 2, COUNT)] == [True, True, True]


async def test_a_difference_is_not_forgotten_if_the_pass_that_found_it_did_not_reach_its_end(library, monkeypatch):
    """The status stays Ready for two minutes then, and the next share may be one without a difference."""
    monkeypatch.setattr(verification, "first_position", lambda _: 0)
    library.restart()
    await library.look()
    await library.spoil(1)
    monkeypatch.setattr(verification, "first_position", lambda _: SHARE_POINTS)
    with monkeypatch.context() as broken:
        broken.setattr(pointset, "sync", AsyncMock(side_effect=GaveWay("other resources are waiting")))
        await library.look()

    await library.look()

    assert await library.is_in_its_place(1)


async def test_who_asks_for_it_has_all_points_compared_at_once(library):
    await library.look()
    await library.spoil(1)
    await library.spoil(COUNT)

    status = await library.look(verify="now")

    assert await library.is_in_its_place(1)
    assert await library.is_in_its_place(COUNT)
    assert status["lastHandledVerifyAt"] == "now"


async def test_a_changed_declaration_has_all_points_compared_at_once(library):
    await library.spoil(1)
    await library.spoil(COUNT)

    await library.declare([*books(COUNT), {"id": COUNT + 1, "vector": {"values": [1.0, 0.0]}}])

    assert await library.is_in_its_place(1)
    assert await library.is_in_its_place(COUNT)


async def test_a_small_set_is_compared_whole_each_time(library):
    await library.declare(books(SHARE_POINTS))
    for id in (1, SHARE_POINTS):
        await library.spoil(id)

    await library.look()

    assert await library.is_in_its_place(1)
    assert await library.is_in_its_place(SHARE_POINTS)


async def test_a_look_that_finds_all_as_declared_changes_nothing_of_the_status(library):
    before = await library.look()

    assert await library.look(looks=3) == before


async def test_no_step_of_the_largest_set_holds_the_event_loop_for_long(qdrant: QdrantServer):
    """Or the Lease is not renewed and probes are not answered. CPU-seconds, because others load the machine."""
    spec = QdrantConnectionSpec(url=qdrant.url, grpc_port=qdrant.grpc_port)
    database = connect(spec, Credentials())
    await database.check()
    library = Library(qdrant, database, f"books-{uuid4()}", size=384)
    rows = np.random.default_rng(1).uniform(-1, 1, (MAX_POINTS, 384)).astype("<f4")
    vectors = [{"packed": base64.b64encode(row.tobytes()).decode()} for row in rows]
    points = [
        {"id": f"book {number}", "vector": vector, "payload": {"number": number}}
        for number, vector in enumerate(vectors)
    ]
    # Modules that are loaded at the first use are none of its steps: the operator loads them before it leads.
    await library.declare(points[:1])
    # Nor are the objects of other tests, over which garbage collection would go.
    gc.collect()
    gc.freeze()
    steps: list[float] = []

    async def beat() -> None:
        while True:
            before = time.thread_time()
            await asyncio.sleep(0.001)
            steps.append(time.thread_time() - before)

    beating = asyncio.create_task(beat())
    before = time.process_time()
    await library.declare(points)
    await library.look(verify="now")
    worked = time.process_time() - before
    beating.cancel()
    gc.unfreeze()
    await library.close()
    await database.close()

    assert max(steps) < worked / 5, sorted(steps)[-10:]
