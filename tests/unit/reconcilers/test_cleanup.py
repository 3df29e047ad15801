"""When a finalizer lets go although cleaning up did not succeed. The cluster here is a namespace with an age."""

from typing import Any, cast

import pytest

from vectorops.api.meta import FINALIZER, SKIP_CLEANUP, ObjectMeta, Resource, Status
from vectorops.api.reasons import Reason
from vectorops.errors import GaveWay, Terminal, Transient, Waiting
from vectorops.reconcilers.base import Context, Outcome
from vectorops.reconcilers.cleanup import finalize
from vectorops.reconcilers.cluster import Namespace

UNREACHABLE = Transient(Reason.UNREACHABLE, "connection refused")
SUSPENDED = Waiting(Reason.CONNECTION_NOT_READY, "the connection is suspended")
DAMAGED = Terminal(Reason.LEDGER_DAMAGED, "a record is missing")
FAULTS = [UNREACHABLE, SUSPENDED, DAMAGED, ZeroDivisionError("a fault of ours")]


class World:
    """A resource that is being deleted, in a namespace that has been terminating for so many seconds."""

    def __init__(self, terminating_seconds: float | None, annotations: dict[str, str] | None = None) -> None:
        meta = ObjectMeta(name="zoo", namespace="team", uid="u", finalizers=[FINALIZER], annotations=annotations or {})
        self.resource = Resource("QdrantCollection", meta, {}, {})
        self.terminating_seconds = terminating_seconds
        self.let_go = False
        self.events: list[str] = []

    async def namespace(self, _name: str) -> Namespace | None:
        return Namespace(self.terminating_seconds)

    async def set_finalizer(self, resource: Resource, present: bool) -> Resource:
        self.let_go = not present
        return resource

    async def event(self, _resource: Resource, reason: str, _message: str, *, warning: bool) -> None:
        assert warning
        self.events.append(reason)

    async def finalize(self, found: Exception | Outcome | None) -> Outcome:
        async def clean_up() -> Outcome | None:
            if isinstance(found, Exception):
                raise found
            return found

        return await finalize(
            Context(cast("Any", self), cast("Any", None), cast("Any", None), "test", "writer"), self.resource, clean_up
        )


@pytest.mark.parametrize("error", FAULTS)
async def test_in_a_namespace_that_has_been_terminating_for_ten_minutes_a_resource_goes(error):
    world = World(terminating_seconds=600.0)

    assert (await world.finalize(error)).status is None

    assert world.let_go
    assert world.events == ["CleanupSkipped"]


@pytest.mark.parametrize("seconds", [None, 0.0, 599.0])
@pytest.mark.parametrize("error", FAULTS)
async def test_before_and_in_a_living_namespace_it_stays_until_it_is_cleaned_up(error, seconds):
    world = World(seconds)

    with pytest.raises(type(error)):
        await world.finalize(error)

    assert not world.let_go


async def test_a_long_deletion_that_gives_way_comes_to_its_end_in_a_terminating_namespace_too():
    world = World(terminating_seconds=10_000.0)

    with pytest.raises(GaveWay):
        await world.finalize(GaveWay("others wait"))

    assert not world.let_go


async def test_what_waits_for_others_goes_neither_before_nor_after_ten_minutes_without_them():
    world, blocked = World(terminating_seconds=10_000.0), Outcome(Status())

    assert await world.finalize(blocked) is blocked

    assert not world.let_go


async def test_it_is_told_to_skip_cleanup():
    world = World(None, {SKIP_CLEANUP: "true"})

    await world.finalize(AssertionError("not even tried"))

    assert world.let_go


async def test_after_cleaning_up_it_goes_without_a_word():
    world = World(None)

    await world.finalize(None)

    assert world.let_go
    assert world.events == []
