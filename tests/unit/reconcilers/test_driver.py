"""What the driver makes of what a reconciler returns or raises. The cluster here is a dictionary: only decisions
are tested.
"""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from vectorops.api.collection import PhysicalCollection, QdrantCollectionStatus, SchemaStatus
from vectorops.api.meta import RECONCILE, JsonObject, ObjectMeta, Ref, Resource, Status
from vectorops.api.reasons import Reason
from vectorops.errors import GaveWay, Terminal, Transient, Waiting
from vectorops.reconcilers.base import Context, Outcome
from vectorops.reconcilers.driver import Driver
from vectorops.reconcilers.status import conditions

REF = Ref("PointSet", "zoo", "lions")
DONE = Outcome(Status(conditions=conditions(True, Reason.SUCCEEDED, "done")), requeue_after=7.0)


class World:
    """One resource, what is written to it, the time of day, and what its reconciler does next."""

    def __init__(self) -> None:
        self.resource: Resource | None = Resource(
            "PointSet", ObjectMeta(name="lions", namespace="zoo", uid="u", generation=1), {}, {}
        )
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        self.writes = 0
        self.events: list[str] = []
        self.act: Callable[[], Awaitable[Outcome]] = self._done
        context = Context(cast("Any", self), cast("Any", None), cast("Any", None), "test", "writer")
        self.driver = Driver(context, {"PointSet": self, "QdrantConnection": self}, now=lambda: self.now)

    async def _done(self) -> Outcome:
        return DONE

    def raises(self, error: Exception) -> None:
        async def fail() -> Outcome:
            raise error

        self.act = fail

    async def reconcile(self, _context: Context, _resource: Resource) -> Outcome:
        return await self.act()

    finalize = reconcile

    async def get(self, _ref: Ref) -> Resource | None:
        return self.resource

    async def write_status(self, resource: Resource, status: JsonObject) -> None:
        self.writes += 1
        self.resource = replace(resource, status=status)

    async def event(self, _resource: Resource, reason: str, _message: str, *, warning: bool) -> None:
        self.events.append(f"{'Warning' if warning else 'Normal'} {reason}")

    @property
    def ready(self) -> JsonObject:
        assert self.resource is not None
        found = self.resource.condition("Ready")
        assert found is not None
        return found


@pytest.fixture
def world() -> World:
    return World()


async def test_the_status_is_written_once_and_then_only_when_it_changes(world: World) -> None:
    first, second = await world.driver.run(REF), await world.driver.run(REF)

    assert world.writes == 1
    assert world.events == ["Normal Succeeded"]
    assert (first.wake_dependents, second.wake_dependents) == (True, False)
    assert second.requeue_after == 7.0


async def test_those_who_hang_on_a_resource_look_again_when_its_new_spec_was_looked_at(world: World) -> None:
    """A connection with another URL is as Ready as before; until then it counted as not ready."""
    await world.driver.run(REF)
    assert world.resource is not None
    world.resource = replace(world.resource, meta=world.resource.meta.model_copy(update={"generation": 2}))

    assert (await world.driver.run(REF)).wake_dependents
    assert not (await world.driver.run(REF)).wake_dependents


async def test_a_ready_resource_stays_ready_through_a_blip_of_two_minutes_and_no_longer(world: World) -> None:
    await world.driver.run(REF)
    world.raises(Transient(Reason.UNREACHABLE, "no answer"))

    world.now += timedelta(minutes=10)
    blip = await world.driver.run(REF)
    world.now += timedelta(seconds=119)
    nearly_over = await world.driver.run(REF)
    assert blip.backoff
    assert (blip.longest_backoff, nearly_over.longest_backoff) == (120.0, 1.0), "no backoff outlasts the two minutes"
    assert world.ready["status"] == "True"

    world.now += timedelta(seconds=1)
    await world.driver.run(REF)
    assert (world.ready["status"], world.ready["reason"]) == ("False", "Unreachable")


@pytest.mark.parametrize(
    "reason",
    [
        Reason.SERVER_ERROR,
        Reason.RATE_LIMITED,
        Reason.KUBERNETES_API,
        Reason.SOURCE_UNAVAILABLE,
        Reason.SOURCE_CHANGED,
        Reason.STAGING_FULL,
    ],
)
async def test_a_ready_resource_stays_ready_while_somebody_else_restarts(world: World, reason: Reason) -> None:
    """Such as the API server, when it is asked for a Secret: else all that hang on the connection would wait."""
    await world.driver.run(REF)
    world.raises(Transient(reason, "not now"))

    await world.driver.run(REF)

    assert (world.ready["status"], world.writes) == ("True", 1)


async def test_what_does_not_pass_by_itself_is_told_at_once(world: World) -> None:
    """Such as rows that do not fit into the staging folder even if no other set uses it."""
    await world.driver.run(REF)
    world.raises(Terminal(Reason.STAGING_FULL, "too many rows"))

    await world.driver.run(REF)

    assert (world.ready["status"], world.ready["reason"]) == ("False", "StagingFull")


async def test_what_is_wrong_with_a_source_is_looked_at_again_when_its_refresh_is_due(world: World) -> None:
    error = Terminal(Reason.SOURCE_MISSING, "there is no such file")
    error.retry_after = 60.0
    world.raises(error)

    verdict = await world.driver.run(REF)

    assert (verdict.backoff, verdict.requeue_after, world.ready["reason"]) == (False, 60.0, "SourceMissing")


async def test_the_progress_of_a_pass_that_failed_is_told_no_longer(world: World) -> None:
    await world.driver.run(REF)
    assert world.resource is not None
    world.resource = replace(world.resource, status={**world.resource.status, "progress": {"phase": "Writing"}})

    world.raises(GaveWay("others wait"))
    await world.driver.run(REF)
    assert "progress" in world.resource.status, "it goes on"
    world.raises(Terminal(Reason.SOURCE_INVALID, "cut short"))
    await world.driver.run(REF)

    assert "progress" not in world.resource.status


async def test_what_hangs_on_a_connection_does_not_wait_another_two_minutes(world: World) -> None:
    await world.driver.run(REF)
    world.raises(Waiting(Reason.CONNECTION_NOT_READY, "no answer for two minutes"))

    await world.driver.run(REF)

    assert (world.ready["status"], world.ready["reason"]) == ("False", "ConnectionNotReady")


async def test_what_may_pass_within_moments_is_told_only_if_it_lasts(world: World) -> None:
    """Such as replicas whose node is restarted."""
    await world.driver.run(REF)
    told = conditions(False, Reason.REPLICAS_MISSING, "one is dead", reconciling=True)
    other = frozenset({replace(REF, name="other")})
    world.act = _returns(Outcome(Status(conditions=told), requeue_after=60.0, passing=True, rests_on=other))

    first = await world.driver.run(REF)
    assert first.rests_on == other
    world.now += timedelta(seconds=90)
    second = await world.driver.run(REF)
    assert (first.requeue_after, second.requeue_after) == (60.0, 30.0)
    assert (world.ready["status"], world.writes) == ("True", 1)

    world.now += timedelta(seconds=30)
    await world.driver.run(REF)
    assert (world.ready["status"], world.ready["reason"]) == ("False", "ReplicasMissing")

    world.act = world._done
    await world.driver.run(REF)
    world.act = _returns(Outcome(Status(conditions=told), passing=True))
    await world.driver.run(REF)
    assert world.ready["status"] == "True", "the next time has two minutes of its own"


async def test_a_resource_that_never_was_ready_says_at_once_what_is_wrong(world: World) -> None:
    world.raises(Transient(Reason.UNREACHABLE, "no answer"))
    await world.driver.run(REF)
    assert world.ready["reason"] == "Unreachable"


async def test_a_connection_that_fails_is_tried_each_minute_because_all_others_wait_for_it(world: World) -> None:
    assert world.resource is not None
    world.resource = replace(world.resource, kind="QdrantConnection")
    world.raises(Transient(Reason.UNREACHABLE, "no answer"))

    assert (await world.driver.run(REF)).longest_backoff == 60.0


async def test_what_cannot_be_helped_by_trying_again_is_not_tried_again(world: World) -> None:
    world.raises(Terminal(Reason.INVALID_SPEC, "spec.points: wrong"))
    verdict = await world.driver.run(REF)
    assert (verdict.backoff, verdict.requeue_after) == (False, None)
    assert world.events == ["Warning InvalidSpec"]


async def test_what_waits_looks_again_by_itself_should_the_wake_up_be_lost(world: World) -> None:
    world.raises(Waiting(Reason.COLLECTION_NOT_FOUND, "none"))
    verdict = await world.driver.run(REF)
    assert (verdict.backoff, verdict.requeue_after) == (False, 60.0)


async def test_the_status_is_written_to_the_version_that_setting_the_finalizer_left(world: World) -> None:
    assert world.resource is not None
    newer = world.resource.meta.model_copy(update={"resource_version": "2"})
    left = replace(world.resource, meta=newer)

    async def act() -> Outcome:
        return replace(DONE, resource=left)

    world.act = act
    await world.driver.run(REF)
    assert world.resource.meta.resource_version == "2"


async def test_those_who_wait_are_woken_although_the_answer_to_the_status_was_lost(world: World) -> None:
    written = world.write_status

    async def lost(resource: Resource, status: JsonObject) -> None:
        await written(resource, status)
        raise Transient(Reason.KUBERNETES_API, "no answer")

    world.write_status = lost  # type: ignore[method-assign]
    with pytest.raises(Transient):
        await world.driver.run(REF)

    assert (await world.driver.run(REF)).wake_dependents
    assert not (await world.driver.run(REF)).wake_dependents


@pytest.mark.parametrize(
    "seen",
    [
        lambda told: {"collection": PhysicalCollection(name="zoo", incarnation=told)},
        lambda told: {"schema_": SchemaStatus(summary=told)},
    ],
    ids=["collection", "schema"],
)
async def test_those_who_hang_on_a_collection_look_when_where_or_how_it_takes_points_changes(
    world: World, seen: Callable[[str], dict[str, Any]]
) -> None:
    """Another embedder, for instance: every text is to be embedded anew."""
    assert DONE.status is not None
    for told in ("one", "other"):
        world.act = _returns(Outcome(QdrantCollectionStatus(conditions=DONE.status.conditions, **seen(told))))
        assert (await world.driver.run(REF)).wake_dependents
        assert not (await world.driver.run(REF)).wake_dependents


def _returns(outcome: Outcome) -> Callable[[], Awaitable[Outcome]]:
    async def act() -> Outcome:
        return outcome

    return act


async def test_a_fault_of_ours_is_told_as_one_and_tried_again(world: World) -> None:
    world.raises(ZeroDivisionError("secret detail"))
    verdict = await world.driver.run(REF)
    assert verdict.backoff
    assert world.ready["reason"] == "InternalError"
    assert "secret detail" not in world.ready["message"]


async def test_the_reconcile_annotation_is_answered_when_the_look_is_over_and_not_while_it_is_retried(
    world: World,
) -> None:
    assert world.resource is not None
    asked = world.resource.meta.model_copy(update={"annotations": {RECONCILE: "now"}})
    world.resource = replace(world.resource, meta=asked)

    world.raises(Transient(Reason.UNREACHABLE, "no answer"))
    await world.driver.run(REF)
    assert "lastHandledReconcileAt" not in world.resource.status

    world.act = world._done
    await world.driver.run(REF)
    assert world.resource.status["lastHandledReconcileAt"] == "now"


async def test_a_resource_that_is_gone_wakes_those_that_waited_for_that(world: World) -> None:
    world.resource = None
    verdict = await world.driver.run(REF)
    assert verdict.wake_dependents
    assert verdict.status is None


async def test_work_that_gave_way_goes_on_behind_the_others_without_backoff_and_says_progressing(world: World) -> None:
    world.raises(GaveWay("others wait"))

    verdict = await world.driver.run(REF)

    assert (verdict.backoff, verdict.requeue_after) == (False, 0.0)
    assert world.ready["reason"] == "Progressing"
