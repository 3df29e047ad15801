"""When a run ends, and in what order things happen in it. Reconcilers are played; time is virtual."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import cast

import pytest

from unit.virtual_time import in_virtual_time
from vectorops.api.meta import FINALIZER, JsonObject, Ref, Resource, Status
from vectorops.api.pointset import PointCounts, PointSetStatus
from vectorops.api.reasons import Reason
from vectorops.embedders.pool import Embedders
from vectorops.errors import Terminal, Transient, VectorOpsError, Waiting
from vectorops.local.cluster import LocalCluster, first_day
from vectorops.local.runner import Runner
from vectorops.reconcilers.base import Context, Outcome
from vectorops.reconcilers.databases import Databases
from vectorops.reconcilers.driver import Driver
from vectorops.reconcilers.status import conditions

CONNECTION = Ref("QdrantConnection", "default", "main")
COLLECTION = Ref("QdrantCollection", "default", "zoo")
ANIMALS = Ref("PointSet", "default", "animals")
PLANTS = Ref("PointSet", "default", "plants")
SPECS: dict[str, JsonObject] = {
    "QdrantConnection": {},
    "QdrantCollection": {"connectionRef": {"name": "main"}},
    "PointSet": {"collectionRef": {"name": "zoo"}},
}


def ready() -> Outcome:
    return Outcome(Status(conditions=conditions(True, Reason.SUCCEEDED, "")), requeue_after=60)


class Played:
    """Every kind's reconciler. answers: for a resource and the number of the try, an Outcome or an error; ready if
    there is none.
    """

    def __init__(self) -> None:
        self.answers: dict[Ref, Callable[[int], Outcome | VectorOpsError]] = {}
        self.runs: list[Ref] = []

    async def reconcile(self, context: Context, resource: Resource) -> Outcome:
        self.runs.append(resource.ref)
        assert context.installation == "test"
        answer: Outcome | VectorOpsError = self.answers.get(resource.ref, lambda _: ready())(
            self.runs.count(resource.ref)
        )
        if isinstance(answer, VectorOpsError):
            raise answer
        return answer

    async def finalize(self, context: Context, resource: Resource) -> Outcome:
        self.runs.append(resource.ref)
        await context.cluster.set_finalizer(resource, False)
        return Outcome(None)


class World:
    def __init__(self, *refs: Ref, deleted: tuple[Ref, ...] = ()) -> None:
        self.cluster = LocalCluster([Resource(ref.kind, first_day(ref), SPECS[ref.kind], {}) for ref in refs], {})
        for ref in deleted:
            meta = first_day(ref, deletion_timestamp="2026-01-01T00:00:00Z", finalizers=[FINALIZER])
            self.cluster.add(Resource(ref.kind, meta, SPECS[ref.kind], {}))
        self.played = Played()
        self.settled: list[Ref] = []

    async def run(self, seconds: float = 300) -> bool:
        context = Context(self.cluster, cast("Databases", None), cast("Embedders", None), "test", "writer")
        reconcilers = dict.fromkeys(SPECS, self.played)
        runner = Runner(self.cluster, Driver(context, reconcilers), self.settled.append)
        return await runner.run(asyncio.get_running_loop().time() + seconds)

    def ready(self, ref: Ref) -> bool:
        resource = self.cluster.now(ref)
        return resource is not None and resource.ready

    def waiting_for(self, ref: Ref) -> Callable[[int], Outcome | VectorOpsError]:
        """Waits until `ref` is ready, like reconcilers wait for what they need."""
        return lambda _: ready() if self.ready(ref) else Waiting(Reason.CONNECTION_NOT_READY, "not yet", on=ref)


def now() -> float:
    return asyncio.get_running_loop().time()


@in_virtual_time
async def test_each_kind_comes_after_what_it_needs_whatever_the_order_of_the_files():
    world = World(ANIMALS, COLLECTION, CONNECTION, PLANTS)

    assert await world.run()

    first_looks = list(dict.fromkeys(world.played.runs))
    assert first_looks == [CONNECTION, COLLECTION, ANIMALS, PLANTS]
    assert set(world.settled) == {CONNECTION, COLLECTION, ANIMALS, PLANTS}


@pytest.mark.parametrize("sets", [(ANIMALS, PLANTS), (PLANTS, ANIMALS)])
@in_virtual_time
async def test_a_set_that_waits_for_an_id_is_looked_at_again_when_its_sibling_gave_ids_up(sets: tuple[Ref, ...]):
    world = World(CONNECTION, COLLECTION, *sets)
    told = conditions(False, Reason.POINT_CONFLICTS, "", stalled=True)
    contested = PointCounts(desired=1, synced=0, failed=0, conflicts=1)
    world.played.answers[ANIMALS] = lambda run: (
        ready() if run > 1 else Outcome(PointSetStatus(conditions=told, points=contested), requeue_after=60)
    )
    world.played.answers[PLANTS] = lambda run: replace(ready(), gave_up=run == 1)

    assert await world.run()

    assert world.ready(ANIMALS)
    assert (world.played.runs.count(ANIMALS), world.played.runs.count(PLANTS)) == (2, 1)
    assert now() == 0


@in_virtual_time
async def test_what_may_pass_is_tried_again_until_it_has_passed():
    world = World(CONNECTION, COLLECTION)
    world.played.answers[CONNECTION] = lambda run: ready() if run > 5 else Transient(Reason.UNREACHABLE, "refused")
    world.played.answers[COLLECTION] = world.waiting_for(CONNECTION)

    assert await world.run()

    assert world.ready(CONNECTION)
    assert world.ready(COLLECTION)


@in_virtual_time
async def test_what_never_passes_ends_with_the_time_given():
    world = World(CONNECTION, COLLECTION)
    world.played.answers[CONNECTION] = lambda _: Transient(Reason.UNREACHABLE, "refused")
    world.played.answers[COLLECTION] = world.waiting_for(CONNECTION)

    assert not await world.run(seconds=300)

    assert now() == 300
    assert 30 < len(world.played.runs) < 100


@in_virtual_time
async def test_a_mistake_ends_at_once_for_all_that_wait_for_it():
    world = World(CONNECTION, COLLECTION, ANIMALS)
    world.played.answers[CONNECTION] = lambda _: Terminal(Reason.INVALID_URL, "no URL")
    world.played.answers[COLLECTION] = world.waiting_for(CONNECTION)
    world.played.answers[ANIMALS] = world.waiting_for(COLLECTION)

    assert await world.run()

    assert now() == 0
    assert not any(map(world.ready, (CONNECTION, COLLECTION, ANIMALS)))


@in_virtual_time
async def test_a_reconciler_at_work_is_given_its_time_also_where_what_it_does_is_ready_already():
    """As while replicas are dropped that are more than declared."""
    world = World(COLLECTION)
    at_work = Outcome(Status(conditions=conditions(True, Reason.SUCCEEDED, "", reconciling=True)), requeue_after=1)
    world.played.answers[COLLECTION] = lambda run: ready() if run > 3 else at_work

    assert await world.run()

    assert world.played.runs == [COLLECTION] * 4


@in_virtual_time
async def test_what_only_the_world_outside_can_bring_is_not_waited_for():
    """As a node of Qdrant that is down: looked at once a minute for ever."""
    world = World(COLLECTION)
    told = conditions(False, Reason.REPLICAS_MISSING, "", reconciling=True)
    world.played.answers[COLLECTION] = lambda _: Outcome(Status(conditions=told), requeue_after=60)

    assert await world.run()

    assert now() == 0


@in_virtual_time
async def test_a_missing_secret_is_not_waited_for_because_nobody_will_bring_it():
    world = World(CONNECTION)
    world.played.answers[CONNECTION] = lambda _: Transient(Reason.SECRET_NOT_FOUND, "no Secret")

    assert await world.run()

    assert now() == 0


@in_virtual_time
async def test_what_no_file_holds_is_not_waited_for():
    world = World(COLLECTION)
    world.played.answers[COLLECTION] = world.waiting_for(CONNECTION)

    assert await world.run()

    assert now() == 0


@in_virtual_time
async def test_a_server_that_asks_for_patience_gets_it():
    world = World(CONNECTION)
    later = Transient(Reason.RATE_LIMITED, "slow down", retry_after=40)
    world.played.answers[CONNECTION] = lambda run: ready() if run > 1 else later

    assert await world.run()

    assert now() == 40


@in_virtual_time
async def test_a_reconciler_that_has_more_to_do_is_called_again():
    world = World(CONNECTION)
    half = Outcome(Status(conditions=conditions(False, Reason.PROGRESSING, "", reconciling=True)), requeue_after=0)
    world.played.answers[CONNECTION] = lambda run: ready() if run > 3 else half

    assert await world.run()

    assert world.ready(CONNECTION)


@in_virtual_time
async def test_what_is_not_ready_and_not_being_worked_on_ends_the_run():
    world = World(CONNECTION)
    world.played.answers[CONNECTION] = lambda _: Outcome(
        Status(conditions=conditions(False, Reason.POINT_CONFLICTS, "held by another", stalled=True))
    )

    assert await world.run()

    assert now() == 0


@in_virtual_time
async def test_deletions_come_first_and_points_before_their_collection():
    world = World(CONNECTION, PLANTS, deleted=(COLLECTION, ANIMALS))

    assert await world.run()

    assert world.played.runs[:2] == [ANIMALS, COLLECTION]
    assert world.cluster.refs == [CONNECTION, PLANTS]


@in_virtual_time
async def test_many_are_reconciled_at_once_but_not_too_many():
    refs = [Ref("QdrantCollection", "default", f"zoo-{number}") for number in range(20)]
    world = World(*refs)
    busy, most = set(), 0

    async def slow(context: Context, resource: Resource) -> Outcome:
        nonlocal most
        busy.add(resource.ref)
        most = max(most, len(busy))
        await asyncio.sleep(1)
        busy.remove(resource.ref)
        return ready()

    world.played.reconcile = slow  # type: ignore[method-assign]

    assert await world.run()

    assert (most, now()) == (4, 5)
