"""What is exported: as the page says, bounded, and without names that Prometheus would change."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from prometheus_client.metrics import MetricWrapperBase

from vectorops import metrics
from vectorops.api.meta import Ref
from vectorops.metrics import OTHER, SERVERS_SHOWN, QdrantServers, SourceReads, SyncsUnderWay

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"
OF_TARGETS = {"job", "instance", "namespace", "pod", "container", "endpoint", "service", "node", "cluster", "le"}


def declared() -> list[MetricWrapperBase]:
    """All metrics of ours."""
    return [value for value in vars(metrics).values() if isinstance(value, MetricWrapperBase)]


def series_name(metric: MetricWrapperBase) -> str:
    return f"{metric._name}_total" if metric._type == "counter" else str(metric._name)


@pytest.fixture
def servers() -> Iterator[QdrantServers]:
    metrics.QDRANT_REQUESTS.clear()
    metrics.QDRANT_REQUEST_SECONDS.clear()
    yield QdrantServers()
    metrics.QDRANT_REQUESTS.clear()
    metrics.QDRANT_REQUEST_SECONDS.clear()


def seen() -> set[str]:
    """The label `server` of all series."""
    families = [*metrics.QDRANT_REQUESTS.collect(), *metrics.QDRANT_REQUEST_SECONDS.collect()]
    return {sample.labels["server"] for family in families for sample in family.samples}


def test_the_page_tells_of_each_metric_with_its_type_and_labels():
    rows = re.findall(r"^\| `(vectorops_\w+)` \| (\w+) \| ([\w, ]*?) ?\| \S.* \|$", PAGE.read_text(), re.MULTILINE)

    assert {name: (type_, labels) for name, type_, labels in rows} == {
        series_name(metric): (metric._type, ", ".join(metric._labelnames)) for metric in declared()
    }


def test_the_page_tells_the_bounds():
    text = PAGE.read_text()
    assert f"at most {metrics.NOT_READY_SHOWN}," in text
    assert f"at most {SERVERS_SHOWN} have" in text


def test_no_label_is_one_that_prometheus_gives_to_targets():
    for metric in declared():
        assert not OF_TARGETS & set(metric._labelnames), metric


def test_the_series_of_a_server_go_with_the_last_door_to_it(servers):
    servers.opened("one:6333")
    servers.opened("one:6333")
    servers.ended("one:6333", "upsert", "200", 0.1)

    servers.closed("one:6333")
    assert seen() == {"one:6333"}

    servers.closed("one:6333")
    assert seen() == set()


def test_only_so_many_servers_have_series_of_their_own(servers):
    names = [f"tenant-{number}:6333" for number in range(SERVERS_SHOWN + 10)]
    for name in names:
        servers.opened(name)
        servers.ended(name, "upsert", "200", 0.1)
    assert seen() == {*names[:SERVERS_SHOWN], OTHER}

    servers.closed(names[0])
    servers.opened("late:6333")
    servers.ended("late:6333", "upsert", "200", 0.1)
    assert "late:6333" in seen()


def test_a_server_cannot_make_series_by_inventing_status_codes(servers):
    servers.opened("odd:6333")
    for code in range(100, 600):
        servers.ended("odd:6333", "greeting", str(code), 0.1)

    (family,) = metrics.QDRANT_REQUESTS.collect()
    assert len(family.samples) < 25


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


CATS, DOGS = (Ref("PointSet", "team", name) for name in ("cats", "dogs"))


def unread(reads: SourceReads) -> dict[str, float]:
    """By name of the set."""
    reads.measure()
    [family] = metrics.SOURCE_UNREAD_SINCE.collect()
    return {sample.labels["name"]: sample.value for sample in family.samples}


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def reads(clock: Clock) -> SourceReads:
    return SourceReads(clock)


def test_a_source_that_is_not_read_for_three_intervals_is_shown_with_its_last_read(clock, reads):
    reads.expect(CATS, 60.0)
    reads.expect(DOGS, 3600.0)
    clock.now += 100
    reads.succeeded(CATS)
    clock.now += 179
    assert unread(reads) == {}
    clock.now += 1

    assert unread(reads) == {"cats": Clock.now + 100}

    reads.expect(CATS, 60.0)
    assert unread(reads) == {"cats": Clock.now + 100}, "to try is not to read"
    reads.succeeded(CATS)
    assert unread(reads) == {}


def test_a_source_without_an_interval_is_to_be_read_at_each_resync(clock, reads):
    reads.resync_seconds = 100.0
    reads.expect(CATS, None)
    clock.now += 300

    assert unread(reads) == {"cats": Clock.now}


def test_a_set_that_is_gone_or_rests_is_not_shown(clock, reads):
    reads.expect(CATS, 1.0)
    clock.now += 300
    reads.forget(CATS)
    reads.succeeded(CATS)

    assert unread(reads) == {}


def test_only_the_sources_that_were_read_longest_ago_have_series(clock, reads):
    for number in range(metrics.UNREAD_SHOWN + 2):
        reads.expect(Ref("PointSet", "team", f"set-{number}"), 1.0)
        clock.now += 1
    clock.now += 10

    shown = unread(reads)

    assert len(shown) == metrics.UNREAD_SHOWN
    assert "set-0" in shown


@dataclass
class Counts:
    phase: str
    done: int = 0
    total: int | None = None


def syncs_shown(syncs: SyncsUnderWay) -> dict[tuple[str, str], tuple[float, float | None]]:
    """By name of the set and phase, what is done and what is expected."""
    syncs.measure()
    done, expected = (
        {(one.labels["name"], one.labels["phase"]): one.value for one in family.samples}
        for gauge in (metrics.SYNC_DONE, metrics.SYNC_EXPECTED)
        for family in gauge.collect()
    )
    return {labels: (value, expected.get(labels)) for labels, value in done.items()}


def test_a_sync_that_takes_long_is_shown_until_it_ends(clock):
    syncs = SyncsUnderWay(clock)
    fetching, reading = Counts("Fetching", total=100), Counts("Reading")
    with syncs.follow(CATS, fetching):
        clock.now += 5
        with syncs.follow(DOGS, reading):
            assert syncs_shown(syncs) == {}
            clock.now += 5
            fetching.done = 40
            assert syncs_shown(syncs) == {("cats", "fetching"): (40, 100)}
            clock.now += 5
            fetching.phase, fetching.done, fetching.total = "Writing", 7, 8
            reading.done = 3
            assert syncs_shown(syncs) == {("cats", "writing"): (7, 8), ("dogs", "reading"): (3, None)}

    assert syncs_shown(syncs) == {}
