"""What Prometheus finds of many resources."""

import pytest

from vectorops import metrics
from vectorops.api.meta import JsonObject, Ref
from vectorops.kube.tally import Tally
from vectorops.metrics import NOT_READY_SHOWN

ZOO, CATS, DOGS = (
    Ref("QdrantCollection", "team", "zoo"),
    Ref("PointSet", "team", "cats"),
    Ref("PointSet", "team", "dogs"),
)
NOON = "2026-01-01T12:00:00Z"
NOON_SECONDS = 1767268800.0


class Clock:
    now = NOON_SECONDS

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def tally(clock: Clock) -> Tally:
    return Tally(clock)


def ready() -> JsonObject:
    return {"conditions": [{"type": "Ready", "status": "True", "reason": "Succeeded", "lastTransitionTime": NOON}]}


def not_ready(reason: str, *, stalled: bool = False, since: str = NOON) -> JsonObject:
    told = [{"type": "Ready", "status": "False", "reason": reason, "lastTransitionTime": since}]
    return {"conditions": [*told, *([{"type": "Stalled", "status": "True"}] if stalled else [])]}


def measured(tally: Tally, name: str) -> dict[tuple[str, ...], float]:
    """The series of a gauge: the values of its labels, to its value."""
    tally.measure()
    families = {family.name: family for family in metrics.REGISTRY.collect()}
    return {tuple(sample.labels.values()): sample.value for sample in families[name].samples}


def test_only_what_is_not_ready_has_a_series_and_only_while_it_is_so(tally):
    since = "vectorops_not_ready_since_timestamp_seconds"
    tally.put(ZOO, ready(), success=True)
    tally.put(CATS, not_ready("PointsFailed", stalled=True), success=True)
    tally.put(DOGS, not_ready("CollectionNotReady"), success=False)
    assert measured(tally, since) == {
        ("PointSet", "team", "cats", "PointsFailed", "true"): NOON_SECONDS,
        ("PointSet", "team", "dogs", "CollectionNotReady", "false"): NOON_SECONDS,
    }

    tally.put(CATS, ready(), success=True)
    assert tally.remove(DOGS)
    assert measured(tally, since) == {}


def test_the_oldest_have_series_where_there_are_too_many(tally):
    for number in range(NOT_READY_SHOWN + 100):
        since = f"2026-01-01T{23 - number // 60:02}:{59 - number % 60:02}:00Z"
        tally.put(Ref("PointSet", "team", f"set-{number}"), not_ready("PointsFailed", since=since), success=True)

    names = {labels[2] for labels in measured(tally, "vectorops_not_ready_since_timestamp_seconds")}

    assert names == {f"set-{number}" for number in range(100, NOT_READY_SHOWN + 100)}
    assert measured(tally, "vectorops_resources") == {("PointSet", "False", "PointsFailed"): NOT_READY_SHOWN + 100}


def test_the_newest_success_of_a_kind_and_its_oldest_look_are_told(tally, clock):
    tally.put(CATS, ready(), success=True)
    clock.now += 60
    tally.put(DOGS, ready(), success=True)
    clock.now += 60
    tally.put(DOGS, not_ready("Unreachable"), success=False)

    assert measured(tally, "vectorops_last_success_timestamp_seconds") == {("PointSet",): NOON_SECONDS + 60}
    assert measured(tally, "vectorops_oldest_reconcile_timestamp_seconds") == {("PointSet",): NOON_SECONDS}


def test_without_a_success_the_start_counts(tally, clock):
    clock.now += 600
    tally.put(CATS, not_ready("Unreachable"), success=False)

    assert measured(tally, "vectorops_last_success_timestamp_seconds") == {("PointSet",): NOON_SECONDS}


def test_the_points_of_all_sets_are_summed_up(tally):
    tally.put(CATS, ready() | {"points": {"desired": 3, "synced": 3, "failed": 0, "conflicts": 0}}, success=True)
    tally.put(DOGS, ready() | {"points": {"desired": 6, "synced": 3, "failed": 1, "conflicts": 2}}, success=True)
    assert measured(tally, "vectorops_points") == {("synced",): 6, ("failed",): 1, ("conflicting",): 2}

    tally.remove(DOGS)
    assert measured(tally, "vectorops_points") == {("synced",): 3, ("failed",): 0, ("conflicting",): 0}


def test_collections_that_answer_their_checks_too_badly_are_named(tally):
    told = ready()
    tally.put(ZOO, {**told, "conditions": [*told["conditions"], {"type": "QualityDegraded"}]}, success=True)
    assert measured(tally, "vectorops_quality_degraded") == {(ZOO.namespace, ZOO.name): 1}

    tally.put(ZOO, ready(), success=True)
    assert measured(tally, "vectorops_quality_degraded") == {}


def test_collections_that_are_not_well_are_counted_by_what_is_wrong(tally):
    park = Ref("QdrantCollection", "team", "park")
    tally.put(ZOO, {**ready(), "health": {"color": "red", "optimizer": "no space"}}, success=True)
    tally.put(park, {**ready(), "health": {"color": "green", "warnings": ["an option is ignored"]}}, success=True)
    gauge = "vectorops_unhealthy_collections"
    assert measured(tally, gauge) == {("red",): 1, ("grey",): 0, ("optimizer",): 1, ("warning",): 1}

    tally.put(ZOO, ready(), success=True)
    tally.remove(park)
    assert measured(tally, gauge) == {("red",): 0, ("grey",): 0, ("optimizer",): 0, ("warning",): 0}
