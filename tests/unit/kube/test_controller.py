"""What is looked at, when and after what, with real queue and driver and a cluster in memory."""

import asyncio
from collections import Counter
from typing import Any, cast

import pytest

from unit.virtual_time import in_virtual_time
from vectorops import metrics
from vectorops.api.meta import JsonObject, Ref, Resource
from vectorops.api.pointset import PointCounts, PointSetStatus
from vectorops.api.reasons import Reason
from vectorops.embedders.pool import Embedders
from vectorops.errors import GaveWay, Terminal, Transient, VectorOpsError, Waiting
from vectorops.kube.controller import Controller, endpoint, result_of
from vectorops.local.cluster import LocalCluster
from vectorops.reconcilers.base import Context, Outcome
from vectorops.reconcilers.databases import Databases
from vectorops.reconcilers.driver import Driver
from vectorops.reconcilers.pace import Pace
from vectorops.reconcilers.references import config_maps_of
from vectorops.reconcilers.status import conditions

MAIN, ZOO, CATS, DOGS = (
    Ref("QdrantConnection", "team", "main"),
    Ref("QdrantCollection", "team", "zoo"),
    Ref("PointSet", "team", "cats"),
    Ref("PointSet", "team", "dogs"),
)
BIRDS = Ref("PointSet", "team", "birds")
SPECS: dict[str, JsonObject] = {
    "QdrantConnection": {"url": "http://qdrant:6333"},
    "QdrantCollection": {"connectionRef": {"name": "main"}},
    "PointSet": {"collectionRef": {"name": "zoo"}},
}


class World(LocalCluster):
    """A cluster in memory that may not answer, and reconcilers that find what the test says.

    looks: how often each object was looked at. errors: what looking at one raises. rests_on: what its verdict rests on.
    hold: runs wait for it. held: runs of these wait for theirs.
    windows: how many a set has yet to write, each of a second.
    conflicts: how many ids of a set others hold. gives_up: sets that give one up at their next look.
    """

    def __init__(self) -> None:
        super().__init__([], {})
        self.objects: dict[Ref, JsonObject] = {}
        self.gives_up: set[Ref] = set()
        self.looks: Counter[Ref] = Counter()
        self.errors: dict[Ref, VectorOpsError] = {}
        self.rests_on: dict[Ref, Ref] = {}
        self.conflicts: dict[Ref, int] = {}
        self.windows: dict[Ref, int] = {}
        self.unreachable = False
        self.at_work: set[Ref] = set()
        self.held: dict[Ref, asyncio.Event] = {}
        self.hold = asyncio.Event()
        self.hold.set()

    def put(self, ref: Ref, **metadata: Any) -> Resource:
        meta = {"name": ref.name, "namespace": ref.namespace, "uid": ref.name, "generation": 1, **metadata}
        status = self.objects.get(ref, {}).get("status", {})
        self.objects[ref] = {"kind": ref.kind, "metadata": meta, "spec": SPECS[ref.kind], "status": status}
        return Resource.from_object(self.objects[ref])

    async def reconcile(self, context: Context, resource: Resource) -> Outcome:
        self.looks[resource.ref] += 1
        self.at_work.add(resource.ref)
        try:
            await self.hold.wait()
            if resource.ref in self.held:
                await self.held[resource.ref].wait()
        finally:
            self.at_work.discard(resource.ref)
        if resource.ref in self.windows:
            await self._write_windows(context, resource)
        if resource.ref in self.errors:
            raise self.errors[resource.ref]
        points = PointCounts(desired=1, synced=1, failed=0, conflicts=self.conflicts.get(resource.ref, 0))
        gave_up = resource.ref in self.gives_up
        self.gives_up.discard(resource.ref)
        on = frozenset({self.rests_on[resource.ref]} if resource.ref in self.rests_on else ())
        told = conditions(True, Reason.SUCCEEDED, "as declared")
        return Outcome(PointSetStatus(points=points, conditions=told), rests_on=on, gave_up=gave_up)

    async def _write_windows(self, context: Context, resource: Resource) -> None:
        pace = Pace(context.cluster, resource, context.turn)
        while True:
            await asyncio.sleep(1.0)
            self.windows[resource.ref] -= 1
            if self.windows[resource.ref] == 0:
                return
            await pace.point()

    async def finalize(self, context: Context, resource: Resource) -> Outcome:
        return await self.reconcile(context, resource)

    async def get(self, ref: Ref) -> Resource | None:
        if self.unreachable:
            raise Transient(Reason.KUBERNETES_API, "no answer of the Kubernetes API server")
        found = self.objects.get(ref)
        return Resource.from_object(found) if found is not None else None

    async def write_status(self, resource: Resource, status: JsonObject) -> None:
        self.objects[resource.ref]["status"] = status


@pytest.fixture
async def world() -> World:
    return World()


NO_EMBEDDERS = cast("Embedders", None)


@pytest.fixture
async def controller(world):
    databases = Databases(lambda *_: pytest.fail("no database is needed"))
    context = Context(cluster=world, databases=databases, embedders=NO_EMBEDDERS, installation="test", writer="w")
    made = Controller(Driver(context, dict.fromkeys(SPECS, world)), databases, workers=4, per_endpoint=2)
    yield made
    world.hold.set()
    await made.stop(drain_seconds=5)


@in_virtual_time
async def test_long_sets_give_way_to_who_waits_keep_their_progress_and_are_done_in_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Ages in the queue are not of virtual time.
    monkeypatch.setattr("vectorops.kube.controller.YIELD_SECONDS", 0.0)
    world = World()
    world.windows = {CATS: 60, DOGS: 60}
    databases = Databases(lambda *_: pytest.fail("no database is needed"))
    context = Context(cluster=world, databases=databases, embedders=NO_EMBEDDERS, installation="test", writer="w")
    controller = Controller(Driver(context, dict.fromkeys(SPECS, world)), databases, workers=4, per_endpoint=2)
    for ref in (MAIN, ZOO, CATS, DOGS):
        controller.seen(world.put(ref))
    await asyncio.sleep(5)

    controller.seen(world.put(BIRDS))
    await asyncio.sleep(3)

    assert world.objects[BIRDS]["status"]["conditions"][0]["status"] == "True", "it did not wait for the long ones"
    told = [world.objects[ref]["status"].get("conditions", [{"reason": "none yet"}])[0] for ref in (CATS, DOGS)]
    assert Reason.PROGRESSING.value in [condition["reason"] for condition in told]
    await asyncio.sleep(60)
    assert world.windows == {CATS: 0, DOGS: 0}, "no window was written twice, and no backoff was waited for"
    for ref in (CATS, DOGS):
        assert world.objects[ref]["status"]["conditions"][0]["status"] == "True"
    await controller.stop(drain_seconds=5)


async def quiet(controller: Controller) -> None:
    """Until nothing runs and nothing waits for a worker."""
    for _ in range(10_000):
        await asyncio.sleep(0)
        now = controller.snapshot()
        if not now.running and not any(now.depth.values()):
            return
    pytest.fail("the controller did not come to rest")


async def test_its_own_status_echo_causes_no_second_look(controller, world):
    controller.seen(world.put(MAIN))
    await quiet(controller)

    controller.seen(await world.get(MAIN))
    await quiet(controller)

    assert world.objects[MAIN]["status"]["observedGeneration"] == 1
    assert world.looks == {MAIN: 1}


async def test_a_connection_that_becomes_ready_wakes_who_hangs_on_it(controller, world):
    world.errors[ZOO] = Waiting(Reason.CONNECTION_NOT_READY, "waits", on=MAIN)
    controller.seen(world.put(ZOO))
    await quiet(controller)
    assert world.looks == {ZOO: 1}

    del world.errors[ZOO]
    controller.seen(world.put(MAIN))
    await quiet(controller)

    assert world.looks[ZOO] == 2
    assert world.objects[ZOO]["status"]["conditions"][0]["status"] == "True"


async def test_a_set_that_gives_up_ids_wakes_those_of_its_siblings_that_wait_for_some(controller, world):
    world.conflicts = {DOGS: 1}
    for ref in (MAIN, ZOO, CATS, DOGS, BIRDS):
        controller.seen(world.put(ref))
    await quiet(controller)
    before = Counter(world.looks)

    world.gives_up = {CATS}
    controller.seen(world.put(CATS, generation=2))
    await quiet(controller)

    assert world.looks - before == {CATS: 1, DOGS: 1}


async def test_a_set_that_was_being_looked_at_when_its_sibling_gave_up_ids_is_looked_at_again(
    controller, world, monkeypatch
):
    """It may have asked who holds them just before."""
    monkeypatch.setattr("vectorops.kube.controller.CONTESTED_SECONDS", 0.0)
    for ref in (MAIN, ZOO, CATS, DOGS):
        controller.seen(world.put(ref))
    await quiet(controller)
    before = Counter(world.looks)

    world.conflicts, world.gives_up = {DOGS: 1}, {CATS}
    world.hold.clear()
    controller.seen(world.put(DOGS, generation=2))
    controller.seen(world.put(CATS, generation=2))
    for _ in range(100):
        await asyncio.sleep(0)
    assert world.at_work == {CATS, DOGS}
    world.hold.set()
    await quiet(controller)

    assert (world.looks - before)[DOGS] >= 2


async def test_a_collection_wakes_its_connection_only_when_that_waits_to_be_deleted(controller, world):
    controller.seen(world.put(MAIN))
    await quiet(controller)
    controller.seen(world.put(ZOO))
    await quiet(controller)
    assert world.looks[MAIN] == 1

    controller.seen(world.put(MAIN, deletionTimestamp="2026-01-01T00:00:00Z"))
    await quiet(controller)
    del world.objects[ZOO]
    controller.gone(ZOO)
    await quiet(controller)

    assert world.looks[MAIN] == 3


@pytest.mark.parametrize("conflicts", [0, 1])
async def test_a_point_set_that_goes_wakes_those_of_its_siblings_that_want_ids_of_others(controller, world, conflicts):
    """They may have wanted the ids that it held."""
    world.conflicts[DOGS] = conflicts
    controller.seen(world.put(CATS))
    controller.seen(world.put(DOGS))
    await quiet(controller)
    before = world.looks[DOGS]

    del world.objects[CATS]
    controller.gone(CATS)
    await quiet(controller)

    assert world.looks[DOGS] == before + conflicts
    assert controller.known("PointSet") == {DOGS}


PARK = Ref("QdrantCollection", "team", "park")


@pytest.mark.parametrize("on", [PARK, CATS])
async def test_a_verdict_that_rests_on_another_resource_is_looked_at_again_when_that_one_changes(controller, world, on):
    world.rests_on[ZOO] = on
    for ref in (MAIN, ZOO, on):
        controller.seen(world.put(ref))
    await quiet(controller)
    before = world.looks[ZOO]

    controller.seen(world.put(on, generation=2))
    await quiet(controller)

    assert world.looks[ZOO] == before + 1


async def test_a_refusal_is_looked_at_again_when_the_one_that_it_names_is_gone(controller, world):
    world.errors[ZOO] = Terminal(Reason.OWNED_BY_ANOTHER, "belongs to park", on=PARK)
    for ref in (MAIN, ZOO, PARK):
        controller.seen(world.put(ref))
    await quiet(controller)
    before = world.looks[ZOO]

    del world.objects[PARK]
    controller.gone(PARK)
    await quiet(controller)

    assert world.looks[ZOO] == before + 1


async def test_a_changed_config_map_wakes_the_sets_that_were_read_from_those_of_its_namespace(controller, world):
    world.rests_on[CATS] = config_maps_of("team")
    for ref in (MAIN, ZOO, CATS, DOGS):
        controller.seen(world.put(ref))
    await quiet(controller)
    before = Counter(world.looks)

    controller.config_maps_changed("team")
    controller.config_maps_changed("other")
    await quiet(controller)

    assert world.looks - before == {CATS: 1}


async def test_a_config_map_that_changes_while_a_set_is_read_is_not_missed(controller, world):
    world.rests_on[CATS] = config_maps_of("team")
    world.hold.clear()
    controller.seen(world.put(CATS))
    while not world.at_work:  # noqa: ASYNC110 - it is done in a few turns of the loop
        await asyncio.sleep(0)

    controller.config_maps_changed("team")
    world.hold.set()
    await quiet(controller)

    assert world.looks == {CATS: 2}


async def test_a_change_during_the_look_that_rests_on_it_is_not_missed(controller, world):
    """When it is told, nobody knows yet that the verdict under way will rest on it."""
    world.rests_on[ZOO] = PARK
    for ref in (MAIN, ZOO, PARK):
        controller.seen(world.put(ref))
    await quiet(controller)
    world.rests_on.clear()
    controller.seen(world.put(ZOO, generation=2))
    await quiet(controller)
    world.rests_on[ZOO] = PARK
    released = world.held[ZOO] = asyncio.Event()
    controller.seen(world.put(ZOO, generation=3))
    controller.seen(world.put(PARK, generation=2))
    await asyncio.sleep(0.1)
    before = world.looks[ZOO]

    released.set()
    await quiet(controller)

    assert world.looks[ZOO] == before + 1


async def test_a_point_set_that_gives_ids_up_wakes_those_of_its_siblings_that_want_ids_of_others(controller, world):
    world.conflicts[DOGS] = 1
    controller.seen(world.put(CATS))
    controller.seen(world.put(DOGS))
    await quiet(controller)
    before = world.looks[DOGS]

    controller.seen(world.put(CATS, generation=2))
    await quiet(controller)

    assert world.looks[DOGS] == before + 1


async def test_a_point_set_that_meets_a_conflict_is_looked_at_once_more_in_case_it_has_just_passed(
    controller, world, monkeypatch
):
    """The sibling may have given the id up while this one was looked at."""
    monkeypatch.setattr("vectorops.kube.controller.CONTESTED_SECONDS", 0.0)
    world.conflicts[DOGS] = 1

    controller.seen(world.put(DOGS))
    for _ in range(5):
        await quiet(controller)

    assert world.looks[DOGS] == 2


async def test_one_server_gets_no_more_than_its_share_of_the_workers(controller, world):
    """Also when two connections lead to it."""
    other = Ref("QdrantConnection", "team", "other")
    for ref in (MAIN, other):
        controller.seen(world.put(ref))
    await quiet(controller)

    world.hold.clear()
    for name in ("a", "b", "c"):
        controller.seen(world.put(Ref("QdrantCollection", "team", name)))
    controller.seen(world.put(other, generation=2))
    for _ in range(20):
        await asyncio.sleep(0)

    assert len(world.at_work) == 2


async def test_when_the_api_server_does_not_answer_the_key_is_tried_again_later(controller, world):
    world.unreachable = True
    errors = ("vectorops_reconcile_errors_total", {"kind": "PointSet", "reason": "KubernetesAPI"})
    before = metrics.REGISTRY.get_sample_value(*errors) or 0

    controller.seen(world.put(CATS))
    await quiet(controller)

    assert metrics.REGISTRY.get_sample_value(*errors) == before + 1
    assert world.looks == {}
    world.unreachable = False
    # The pause is for the queue's tests; an add stands for its end.
    controller.resync(CATS, within_seconds=0)
    await asyncio.sleep(0.01)
    await quiet(controller)
    assert world.looks == {CATS: 1}


async def test_the_gauge_of_resources_follows_them(controller, world):
    def counted(ready: str, reason: str) -> float:
        labels = {"kind": "PointSet", "ready": ready, "reason": reason}
        controller.measure()
        return metrics.REGISTRY.get_sample_value("vectorops_resources", labels) or 0

    world.errors[CATS] = Waiting(Reason.COLLECTION_NOT_READY, "waits", on=ZOO)
    controller.seen(world.put(CATS))
    await quiet(controller)
    assert (counted("False", "CollectionNotReady"), counted("True", "Succeeded")) == (1, 0)

    del world.errors[CATS]
    controller.seen(world.put(CATS, generation=2))
    await quiet(controller)
    assert (counted("False", "CollectionNotReady"), counted("True", "Succeeded")) == (0, 1)

    del world.objects[CATS]
    controller.gone(CATS)
    assert (counted("False", "CollectionNotReady"), counted("True", "Succeeded")) == (0, 0)


async def test_a_stop_lets_a_running_look_end(controller, world):
    world.hold.clear()
    controller.seen(world.put(MAIN))
    for _ in range(5):
        await asyncio.sleep(0)
    assert world.at_work == {MAIN}

    stopping = asyncio.create_task(controller.stop(drain_seconds=5))
    await asyncio.sleep(0)
    world.hold.set()
    await stopping

    assert world.objects[MAIN]["status"]["observedGeneration"] == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("http://qdrant:6333", "http://qdrant:6333/"),
        ("http://qdrant", "http://QDRANT:6333"),
        ("https://qdrant.team.svc", "https://qdrant.team.svc:6333/prefix"),
    ],
)
def test_two_urls_of_one_server_are_one_endpoint(one, other):
    assert endpoint(one) == endpoint(other)


def test_a_url_that_is_none_is_an_endpoint_of_its_own():
    assert endpoint("http://[::1") != endpoint("http://[::2")


def test_a_reconciliation_that_gave_way_counts_as_none_that_failed():
    """Or a set whose texts take hours would set off the alert about requests that fail."""
    assert result_of(GaveWay("other resources are waiting")) == "waiting"
    assert result_of(Transient(Reason.UNREACHABLE, "no answer")) == "transient"
