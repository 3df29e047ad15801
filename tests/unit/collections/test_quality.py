"""How well queries are answered, and whether that is enough."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vectorops.api.checks import Checks, ChecksStatus, CheckThresholds
from vectorops.collections.quality import (
    CheckedQuery,
    TimedAnswer,
    can_be_judged_alone,
    judge_answers,
    latency_ratio,
    recall_at_k,
    reciprocal_rank,
)

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
IDS = st.lists(st.integers(0, 20), max_size=10, unique=True)
EXPECTED = st.frozensets(st.integers(0, 20), min_size=1, max_size=10)


def query(
    place: int,
    new: list[int],
    old: list[int] | None = None,
    *,
    expect: set[int] | None = None,
    seconds: tuple[float, float] = (0.01, 0.01),
    unknown: tuple[str, ...] = (),
) -> CheckedQuery:
    """seconds: of the old collection, then of the new one."""
    before = TimedAnswer(tuple(old), seconds[0]) if old is not None else None
    answer = TimedAnswer(tuple(new), seconds[1])
    return CheckedQuery(f"queries[{place}]", frozenset(expect or ()), answer, before, unknown)


def judge(*queries: CheckedQuery, old: str | None = "zoo-1", **thresholds: Any) -> ChecksStatus:
    return judge_answers(CheckThresholds(**thresholds), queries, new="zoo-2", old=old, at=AT)


@given(EXPECTED, IDS)
def test_recall_is_a_share_that_does_not_depend_on_the_order(expected, found):
    recall = recall_at_k(expected, found)

    assert 0 <= recall <= 1
    assert recall == recall_at_k(expected, found[::-1])
    assert (recall == 1) == (expected <= set(found))
    assert (recall == 0) == expected.isdisjoint(found)


@given(EXPECTED, IDS)
def test_the_reciprocal_rank_is_that_of_the_first_expected_point(expected, found):
    rank = reciprocal_rank(expected, found)

    assert (rank == 0) == expected.isdisjoint(found)
    if rank:
        first = round(1 / rank) - 1
        assert found[first] in expected
        assert expected.isdisjoint(found[:first])


@given(st.lists(st.tuples(EXPECTED, IDS.filter(bool)), min_size=1, max_size=5))
def test_a_collection_that_answers_as_the_old_one_does_passes_all_that_compares(asked):
    queries = [query(index, old, old, expect=set(expect)) for index, (expect, old) in enumerate(asked)]

    status = judge(*queries, overlap=1, latency_ratio=1)

    assert status.result == "Passed"
    assert status.measured[0].recall == status.measured[1].recall
    assert status.measured[0].mrr == status.measured[1].mrr


def test_the_measures_of_both_collections_are_told():
    status = judge(
        query(0, [1, 2, 3], [1, 4, 5], expect={2, 9}, seconds=(0.010, 0.020)),
        query(1, [7, 8], [8, 7], expect={7}, seconds=(0.030, 0.020)),
        recall=0.7,
    )

    assert status.dump() == {
        "result": "Passed",
        "at": "2026-01-02T03:04:05Z",
        "queries": 2,
        "failures": [],
        "measured": [
            {"collection": "zoo-1", "recall": 0.5, "mrr": 0.25, "latencyMs": 20.0},
            {"collection": "zoo-2", "recall": 0.75, "mrr": 0.75, "overlap": 0.6667, "latencyMs": 20.0},
        ],
    }


def test_what_is_missed_is_told_with_the_queries_that_were_worst():
    status = judge(
        query(0, [1], [1], expect={1}),
        query(1, [2], [3], expect={3}),
        query(2, [9, 4], [4], expect={4}),
        recall=0.9,
        mrr=0.9,
        overlap=0.9,
    )

    assert status.result == "Failed"
    assert status.failures == [
        (
            "recall is 0.6667, and at least 0.9 is required (the old collection's is 1); worst: queries[1] (0.00), "
            "queries[0] (1.00), queries[2] (1.00)"
        ),
        (
            "mrr is 0.5, and at least 0.9 is required (the old collection's is 1); worst: queries[1] (0.00), "
            "queries[2] (0.50), queries[0] (1.00)"
        ),
        (
            "overlap is 0.6667, and at least 0.9 is required; worst: queries[1] (0.00), queries[0] (1.00), "
            "queries[2] (1.00)"
        ),
    ]


def test_without_expectations_the_answers_of_the_old_collection_are_the_reference():
    status = judge(query(0, [1, 2], [2, 3, 4, 5]), recall=0.25, mrr=0.5, overlap=0.25)

    assert status.result == "Passed"
    assert status.measured[1].recall == status.measured[1].overlap == 0.25
    assert status.measured[1].mrr == 0.5


def test_a_query_that_finds_nothing_in_the_old_collection_compares_nothing():
    assert judge(query(0, [1], []), query(1, [1], [1]), overlap=1).result == "Passed"


@pytest.mark.parametrize("name", ["recall", "mrr", "overlap"])
def test_a_comparison_with_a_collection_that_finds_nothing_is_no_pass(name):
    status = judge_answers(CheckThresholds(**{name: 0}), [query(0, [1], [])], new="zoo-2", old="zoo-1", at=AT)

    assert status.failures == [f"{name} cannot be measured: the old collection answers no query"]


def test_a_mean_that_is_a_rounding_error_below_the_threshold_reaches_it():
    tenths = [query(index, list(range(10)), [*list(range(9)), 99]) for index in range(3)]

    assert judge(*tenths, overlap=0.9).result == "Passed"
    assert judge(*tenths, overlap=0.9001).result == "Failed"


def test_answers_that_take_too_long_are_told_with_the_slowest_queries():
    slow = [query(0, [1], [1], seconds=(0.01, 0.05)), query(1, [1], [1], seconds=(0.01, 0.03))]

    assert latency_ratio(slow) == pytest.approx(4)
    assert judge(*slow, latency_ratio=4).result == "Passed"
    assert judge(*slow, latency_ratio=2).failures == [
        (
            "the median answer takes 4 times as long as the old collection's, and at most 2 is allowed; slowest: "
            "queries[0] (50.0 ms), queries[1] (30.0 ms)"
        )
    ]


def test_only_queries_that_both_answered_are_compared_in_time():
    asked = [query(0, [1], [1], expect={1}), query(1, [1], None, expect={1}, seconds=(0, 99))]

    assert judge(*asked, latency_ratio=1, recall=1).result == "Passed"


def test_without_another_collection_what_compares_is_left_out():
    status = judge(query(0, [1], expect={1}), old=None, recall=1, overlap=1, latency_ratio=1)

    assert status.result == "Passed"
    assert [measured.collection for measured in status.measured] == ["zoo-2"]
    assert status.measured[0].overlap is None


@pytest.mark.parametrize(
    ("queries", "thresholds", "alone"),
    [
        ({"queries": [{"text": "a", "expect": ["1"]}]}, {"recall": 1}, True),
        ({"queries": [{"text": "a"}, {"text": "b", "expect": ["1"]}]}, {"mrr": 1, "overlap": 1}, True),
        ({"queries": [{"text": "a", "expect": ["1"]}]}, {"overlap": 1, "latencyRatio": 2}, False),
        ({"queries": [{"text": "a"}]}, {"recall": 1}, False),
        ({"source": {"files": {"path": "checks.jsonl"}}}, {"recall": 1}, True),
        ({"source": {"files": {"path": "checks.jsonl"}}}, {"overlap": 1}, False),
    ],
)
def test_what_can_be_judged_without_another_collection(queries, thresholds, alone):
    assert can_be_judged_alone(Checks.model_validate({**queries, "thresholds": thresholds})) is alone


def test_checks_of_which_nothing_can_be_measured_do_not_pass():
    assert judge(query(0, [1]), old=None, recall=0, overlap=0, latency_ratio=1).failures == [
        "no threshold can be measured without another collection to compare with"
    ]


def test_an_expected_id_of_no_point_fails_whatever_the_thresholds_say():
    status = judge(query(0, [1], [1], expect={1, 2}, unknown=("typo",)), recall=0.5)

    assert status.result == "Failed"
    assert status.failures == ['queries[0]: expects "typo", which is the id of no point: name another, or remove it']


def test_only_some_of_many_unknown_ids_are_named():
    many = tuple(f"typo-{number}" for number in range(25))

    assert judge(query(0, [1], [1], expect={1}, unknown=many), recall=0).failures[10:] == [
        "and 15 more expected ids of no point"
    ]
