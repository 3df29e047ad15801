"""When what a read does not show may be there all the same: rules, on what servers of several versions answered."""

import pytest

from vectorops.qdrant.visibility import (
    GRACE_SECONDS,
    grace_seconds,
    hidden_points,
    hides_points,
    seconds_up,
    serves_before_replay,
)


def answer(prevent_unoptimized, **update_queue):
    """`result` of GET /collections/defer, as Qdrant 1.19.0 gave it, without what plays no part here."""
    optimizers = {"deleted_threshold": 0.2, "indexing_threshold": 100, "prevent_unoptimized": prevent_unoptimized}
    return {"status": "yellow", "points_count": 4000, "config": {"optimizer_config": optimizers}} | (
        {"update_queue": update_queue} if update_queue else {}
    )


@pytest.mark.parametrize(
    ("collection", "hides", "hidden"),
    [
        (answer(True, length=0, deferred_points=3200), True, 3200),
        (answer(True, length=0, deferred_points=0), True, 0),
        (answer(True, length=7, deferred_points=0), True, 7),
        (answer(None, length=0), False, 0),
        # Others' writes are on their way, and hide nothing.
        (answer(None, length=7), False, 0),
        # 1.16.3 drops the option, and has no queue.
        ({"status": "green", "config": {"optimizer_config": {"indexing_threshold": 100}}}, False, 0),
        ({}, False, 0),
    ],
)
def test_points_are_hidden_while_qdrant_counts_deferred_ones(collection, hides, hidden):
    assert hides_points(collection) == hides
    assert hidden_points(collection) == hidden


@pytest.mark.parametrize(
    ("version", "serves"),
    [
        ("1.16.3", False),
        ("1.17.0", True),
        ("1.17.1", True),
        ("1.18.3", True),
        ("1.18.0-dev", True),
        ("1.19.0", False),
        ("1.20.0", False),
        ("", False),
        ("2.17.0", False),
    ],
)
def test_two_minor_versions_serve_before_they_have_replayed(version, serves):
    assert serves_before_replay(version) == serves
    assert grace_seconds(version, 10.0) == (GRACE_SECONDS - 10 if serves else 0)
    assert grace_seconds(version, GRACE_SECONDS + 1) == 0
    assert grace_seconds(version, None) == 0


def test_the_server_tells_by_its_own_clock_how_long_it_has_been_up():
    # As 1.16.3 and 1.19.0 spell it.
    telemetry = {"app": {"name": "qdrant", "version": "1.17.1", "startup": "2026-11-27T19:32:42.860Z"}}

    assert seconds_up(telemetry, "Fri, 27 Nov 2026 19:33:42 GMT") == pytest.approx(59.14)
    # The header has no fractions.
    assert seconds_up(telemetry, "Fri, 27 Nov 2026 19:32:42 GMT") == 0


@pytest.mark.parametrize("telemetry", [None, {}, {"app": None}, {"app": {"startup": 5}}, {"app": {"startup": "soon"}}])
def test_a_server_that_does_not_tell_is_not_waited_for(telemetry):
    assert seconds_up(telemetry, "Fri, 27 Nov 2026 19:33:42 GMT") is None
    assert seconds_up({"app": {"startup": "2026-11-27T19:32:42Z"}}, None) is None
