"""When long work gives way: at its safe points, and while it has none."""

import asyncio
from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest

from unit.virtual_time import in_virtual_time
from vectorops.api.meta import ObjectMeta, Ref, Resource
from vectorops.errors import GaveWay
from vectorops.reconcilers.base import Turn
from vectorops.reconcilers.pace import CHECK_SECONDS, Pace

READ = Resource("PointSet", ObjectMeta(name="cats", namespace="zoo", generation=1), {}, {})
DELETED = replace(READ, meta=READ.meta.model_copy(update={"deletion_timestamp": "2026-01-01T00:00:00Z"}))
CHANGED = replace(READ, meta=READ.meta.model_copy(update={"generation": 2}))
ANNOTATED = replace(READ, meta=READ.meta.model_copy(update={"resource_version": "2"}))


@dataclass
class World:
    """A cluster in which the resource becomes another after some seconds, and work that takes a while."""

    later: Resource | None = READ
    after_seconds: float = 20
    reads: int = 0
    cancelled: list[str] = field(default_factory=list)
    others_wait: bool = False
    is_stopping: bool = False
    progress: int = 0

    async def get(self, ref: Ref) -> Resource | None:
        assert ref == READ.ref
        self.reads += 1
        return READ if asyncio.get_running_loop().time() < self.after_seconds else self.later

    async def work(self, seconds: float) -> str:
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            self.cancelled.append("work")
            raise
        return "done"

    def pace(self) -> Pace:
        def report_progress() -> None:
            self.progress += 1

        turn = Turn(lambda: self.others_wait, lambda: self.is_stopping, report_progress)
        return Pace(cast("Any", self), READ, turn, clock=asyncio.get_running_loop().time)

    async def run(self, seconds: float) -> str:
        return await self.pace().watch(self.work(seconds))


@pytest.mark.parametrize("later", [None, DELETED, CHANGED])
@in_virtual_time
async def test_work_is_given_up_when_its_resource_goes_or_changes(later):
    world = World(later)

    with pytest.raises(GaveWay, match="changed or deleted"):
        await world.run(3600)

    assert world.cancelled == ["work"]
    assert asyncio.get_running_loop().time() < 30


@in_virtual_time
async def test_work_is_given_up_when_the_process_ends_and_not_for_others_that_wait():
    world = World(others_wait=True)
    running = asyncio.ensure_future(world.run(3600))
    await asyncio.sleep(100)
    assert not running.done()

    world.is_stopping = True

    with pytest.raises(GaveWay, match="stops"):
        await running
    assert world.cancelled == ["work"]


@in_virtual_time
async def test_work_goes_on_while_only_annotations_and_status_change():
    world = World(ANNOTATED)

    assert await world.run(100) == "done"
    assert world.cancelled == []
    assert world.progress == 1, "its end is a sign of life"


@in_virtual_time
async def test_short_work_costs_no_request():
    world = World(None, after_seconds=0)

    assert await world.run(1) == "done"
    assert world.reads == 0


@in_virtual_time
async def test_who_is_cancelled_leaves_no_work_behind():
    world = World(READ)
    running = asyncio.ensure_future(world.run(3600))
    await asyncio.sleep(7)

    running.cancel()
    await asyncio.gather(running, return_exceptions=True)

    assert world.cancelled == ["work"]


@in_virtual_time
async def test_a_safe_point_is_passed_while_nothing_is_in_the_way():
    world = World()
    pace = world.pace()

    for _ in range(3):
        await pace.point()

    assert (world.progress, world.reads) == (3, 0)


@pytest.mark.parametrize("fault", ["others_wait", "is_stopping"])
@in_virtual_time
async def test_at_a_safe_point_it_gives_way_to_others_and_to_the_end(fault):
    world = World()
    pace = world.pace()
    setattr(world, fault, True)

    with pytest.raises(GaveWay):
        await pace.point()

    assert world.progress == 1


@pytest.mark.parametrize("later", [None, DELETED, CHANGED])
@in_virtual_time
async def test_at_a_safe_point_it_notices_that_its_resource_went_or_changed(later):
    world = World(later, after_seconds=0)
    pace = world.pace()
    await asyncio.sleep(CHECK_SECONDS)

    with pytest.raises(GaveWay, match="changed or deleted"):
        await pace.point()
