"""How well a collection answers queries, and whether that is well enough: measures and thresholds, without a request.

The measures are those of the literature on search, each a mean over the queries: recall@k, mrr (reciprocal rank of the
first expected point), and overlap, the share of the old collection's answers that the new one gives, too. The latency
is a median, because a few slow answers say little about most.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import fmean, median
from typing import Final

from vectorops.api.checks import Checks, ChecksStatus, CheckThresholds, Measured
from vectorops.qdrant.database import PointId
from vectorops.words import counted

TOLERANCE: Final = 1e-9
"""A mean of shares is not exact: 0.9 may be a little less."""
DIGITS: Final = 4
"""Of the shares that are shown."""
WORST_SHOWN: Final = 3
"""Queries that the words for a missed threshold name."""
UNKNOWN_SHOWN: Final = 10
"""Expected points that are in no collection, each of which is named."""


@dataclass(frozen=True, slots=True)
class TimedAnswer:
    """How one collection answered one query."""

    ids: tuple[PointId, ...]
    """The first k, the nearest first."""
    seconds: float
    """The median of several times."""


@dataclass(frozen=True, slots=True)
class CheckedQuery:
    """One query and its answers."""

    place: str
    """Where it is declared, for people: `queries[3]`, `checks.jsonl, row 4`. Never its text."""
    expected: frozenset[PointId]
    """The points that should be found; none: what the old collection finds."""
    new: TimedAnswer
    old: TimedAnswer | None = None
    """None: the old collection was not asked."""
    unknown: tuple[str, ...] = ()
    """Expected ids, as they are declared, that no collection has."""

    @property
    def reference(self) -> frozenset[PointId]:
        """What the answers are compared with; nothing: they cannot be."""
        return self.expected or frozenset(self.old.ids if self.old is not None else ())


def recall_at_k(expected: Collection[PointId], found: Sequence[PointId]) -> float:
    """The share of the expected points that are found. expected: one at least. found: the first k."""
    return len(set(expected).intersection(found)) / len(set(expected))


def reciprocal_rank(expected: Collection[PointId], found: Sequence[PointId]) -> float:
    """1 divided by the rank of the first expected point, 0 if none is found. found: the first k."""
    return next((1 / rank for rank, id in enumerate(found, 1) if id in expected), 0.0)


def judge_answers(
    thresholds: CheckThresholds,
    queries: Sequence[CheckedQuery],
    *,
    new: str,
    old: str | None,
    at: datetime,
) -> ChecksStatus:
    """Measures the answers and compares them with the thresholds.

    new, old: the names of the collections in Qdrant; old is None if there is none to compare with. What then cannot be
    measured is not judged; but the checks fail if nothing at all can be.
    """
    after, before = _measure(new, queries, lambda query: query.new), None
    if old is not None:
        # With itself it would be 1.
        before = _measure(old, queries, lambda query: query.old).model_copy(update={"overlap": None})
    unknown = [
        f'{query.place}: expects "{id}", which is the id of no point: name another, or remove it'
        for query in queries
        for id in query.unknown
    ]
    failures, more = unknown[:UNKNOWN_SHOWN], len(unknown) - UNKNOWN_SHOWN
    if more > 0:
        failures.append(f"and {counted(more, 'more expected id')} of no point")
    judged = 0
    for name, limit in (("recall", thresholds.recall), ("mrr", thresholds.mrr), ("overlap", thresholds.overlap)):
        value: float | None = getattr(after, name)
        if limit is None or (value is None and before is None):
            continue
        judged += 1
        if value is None:
            failures.append(f"{name} cannot be measured: the old collection answers no query")
        elif value < limit - TOLERANCE:
            shares = [
                (share, query.place) for query in queries if (share := SHARES[name](query, query.new.ids)) is not None
            ]
            worst = ", ".join(f"{place} ({share:.2f})" for share, place in sorted(shares)[:WORST_SHOWN])
            was: float | None = getattr(before, name, None)
            compared = f" (the old collection's is {was:g})" if was is not None else ""
            failures.append(f"{name} is {value:g}, and at least {limit:g} is required{compared}; worst: {worst}")
    if thresholds.latency_ratio is not None and before is not None:
        judged += 1
        failures += _latency_missed(thresholds.latency_ratio, queries)
    if not judged:
        failures.append("no threshold can be measured without another collection to compare with")
    return ChecksStatus(
        result="Failed" if failures else "Passed",
        at=at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        queries=len(queries),
        measured=[*([before] if before is not None else []), after],
        failures=failures,
    )


def can_be_judged_alone(checks: Checks) -> bool:
    """Can anything be measured without another collection to compare with? Of queries in a source it is not known."""
    is_share = checks.thresholds.recall is not None or checks.thresholds.mrr is not None
    return is_share and (checks.source is not None or any(query.expect for query in checks.queries or ()))


def latency_ratio(queries: Sequence[CheckedQuery]) -> float | None:
    """The new collection's median in multiples of the old one's, over the queries that both answered; None without."""
    both = [(query.old.seconds, query.new.seconds) for query in queries if query.old is not None]
    if not both:
        return None
    before, after = (median(seconds) for seconds in zip(*both, strict=True))
    return after / before if before else None


def _measure(
    name: str, queries: Sequence[CheckedQuery], answer_of: Callable[[CheckedQuery], TimedAnswer | None]
) -> Measured:
    answers = [(query, answer) for query in queries if (answer := answer_of(query)) is not None]
    means = {
        measure: round(fmean(values), DIGITS)
        for measure, share in SHARES.items()
        if (values := [value for query, answer in answers if (value := share(query, answer.ids)) is not None])
    }
    seconds = [answer.seconds for _, answer in answers]
    return Measured(
        collection=name,
        recall=means.get("recall"),
        mrr=means.get("mrr"),
        overlap=means.get("overlap"),
        latency_ms=round(1000 * median(seconds), 2) if seconds else None,
    )


def _recall(query: CheckedQuery, found: Sequence[PointId]) -> float | None:
    return recall_at_k(query.reference, found) if query.reference else None


def _reciprocal_rank(query: CheckedQuery, found: Sequence[PointId]) -> float | None:
    return reciprocal_rank(query.reference, found) if query.reference else None


def _overlap(query: CheckedQuery, found: Sequence[PointId]) -> float | None:
    return recall_at_k(query.old.ids, found) if query.old is not None and query.old.ids else None


SHARES: Final[Mapping[str, Callable[[CheckedQuery, Sequence[PointId]], float | None]]] = {
    "recall": _recall,
    "mrr": _reciprocal_rank,
    "overlap": _overlap,
}
"""By name: what a measure is a mean of; None for a query that does not count."""


def _latency_missed(limit: float, queries: Sequence[CheckedQuery]) -> list[str]:
    ratio = latency_ratio(queries)
    if ratio is None:
        return ["latencyRatio cannot be measured: the old collection answers no query"]
    if ratio <= limit + TOLERANCE:
        return []
    both = [query for query in queries if query.old is not None]
    shown = sorted(((query.new.seconds * 1000, query.place) for query in both), reverse=True)
    slowest = ", ".join(f"{place} ({ms:.1f} ms)" for ms, place in shown[:WORST_SHOWN])
    missed = f"the median answer takes {ratio:.4g} times as long as the old collection's, and at most {limit:g}"
    return [f"{missed} is allowed; slowest: {slowest}"]
