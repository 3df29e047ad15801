"""When the process had better be started anew."""

from vectorops.kube.health import STUCK_SECONDS, Vitals, complaints
from vectorops.queue import Lane, Snapshot


def vitals(*, silence: float = 0.0, last_list: float = 1000.0, interval: float = 600.0) -> Vitals:
    nothing = dict.fromkeys(Lane, 0)
    queue = Snapshot(
        depth=nothing,
        oldest_seconds=dict.fromkeys(Lane, 0.0),
        running=1,
        longest_run_seconds=7200.0,
        longest_silence_seconds=silence,
    )
    return Vitals(queue=queue, last_list=last_list, interval_seconds=interval)


def test_a_working_operator_is_healthy_however_long_a_run_takes_that_gets_somewhere():
    assert complaints(vitals(silence=60), now=1000 + 1200) == []


def test_lists_that_stopped_are_unhealthy():
    (told,) = complaints(vitals(), now=1000 + 1801)
    assert "no complete LIST" in told


def test_a_short_interval_does_not_make_one_slow_list_fatal():
    assert complaints(vitals(interval=1), now=1000 + 60) == []


def test_before_the_first_list_it_is_not_unhealthy_but_unready():
    assert complaints(vitals(last_list=0.0), now=1_000_000) == []


def test_a_reconciliation_that_gets_nowhere_is_unhealthy():
    (told,) = complaints(vitals(silence=STUCK_SECONDS + 1), now=1001)
    assert "got nowhere" in told
