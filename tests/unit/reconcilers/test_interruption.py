"""When long work is given up for the resource that it was for."""

import asyncio
from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest

from unit.virtual_time import in_virtual_time
from vectorops.api.meta import ObjectMeta, Ref, Resource
from vectorops.errors import Transient
from vectorops.reconcilers.interruption import while_unchanged

READ = Resource("PointSet", ObjectMeta(name="cats", namespace="zoo", generation=1), {}, {})
DELETED = replace(READ, meta=READ.meta.model_copy(update={"deletion_timestamp": "2026-01-01T00:00:00Z"}))
CHANGED = replace(READ, meta=READ.meta.model_copy(update={"generation": 2}))
ANNOTATED = replace(READ, meta=READ.meta.model_copy(update={"resource_version": "2"}))


@dataclass
class World:
    """A cluster in which the resource becomes another after some seconds, and work that takes a while."""

    later: Resource | None
    after_seconds: float = 20
    looks: int = 0
    cancelled: list[str] = field(default_factory=list)

    async def get(self, ref: Ref) -> Resource | None:
        assert ref == READ.ref
        self.looks += 1
        return READ if asyncio.get_running_loop().time() < self.after_seconds else self.later

    async def work(self, seconds: float) -> str:
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            self.cancelled.append("work")
            raise
        return "done"

    async def run(self, seconds: float) -> str:
        return await while_unchanged(cast("Any", self), READ, self.work(seconds))


@pytest.mark.parametrize("later", [None, DELETED, CHANGED])
@in_virtual_time
async def test_work_is_given_up_when_its_resource_goes_or_changes(later):
    world = World(later)

    with pytest.raises(Transient, match="changed or deleted"):
        await world.run(3600)

    assert world.cancelled == ["work"]
    assert asyncio.get_running_loop().time() < 30


@in_virtual_time
async def test_work_goes_on_while_only_annotations_and_status_change():
    world = World(ANNOTATED)

    assert await world.run(100) == "done"
    assert world.cancelled == []


@in_virtual_time
async def test_short_work_costs_no_look():
    world = World(None, after_seconds=0)

    assert await world.run(1) == "done"
    assert world.looks == 0


@in_virtual_time
async def test_who_is_cancelled_leaves_no_work_behind():
    world = World(READ)
    running = asyncio.ensure_future(world.run(3600))
    await asyncio.sleep(7)

    running.cancel()
    await asyncio.gather(running, return_exceptions=True)

    assert world.cancelled == ["work"]
