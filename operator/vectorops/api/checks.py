"""Checks of a collection's answers: questions of the team's own, and how well they must be answered."""

from __future__ import annotations

from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field

from vectorops.api.meta import FreeJson, Model, Name, Whole
from vectorops.api.rules import Rule
from vectorops.api.source import Source

MAX_QUERIES: Final = 200
MAX_EXPECTED: Final = 100
MAX_COMPONENTS: Final = 65536

Share = Annotated[float, Field(ge=0, le=1)]


class CheckQuery(Model):
    """One question, and, if known, which points should answer it."""

    text: Annotated[str, Field(min_length=1, max_length=8192)] | None = Field(
        default=None, description="Embedded by each collection's own model, as a query. Instead of `vector`."
    )
    vector: Annotated[list[float], Field(min_length=1, max_length=MAX_COMPONENTS)] | None = Field(
        default=None,
        description="A dense vector, sent as it is. Only where the schema of the vector is the same in both "
        "collections.",
    )
    using: Name | None = Field(default=None, description="Name of the vector that is searched. Default: the only one.")
    filter: FreeJson | None = Field(default=None, description="A filter, as in Qdrant.")
    expect: (
        Annotated[
            list[Annotated[str, Field(min_length=1, max_length=512)]], Field(min_length=1, max_length=MAX_EXPECTED)
        ]
        | None
    ) = Field(
        default=None,
        description="Ids of the points that should be found, as PointSets declare them; integers as strings. Default: "
        "what the old collection finds.",
    )
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "has(self.text) != has(self.vector)",
            "exactly one of text, vector is required",
            lambda query: (query.text is None) != (query.vector is None),
        ),
    )


class CheckThresholds(Model):
    """What the new collection must reach, as a mean over all queries."""

    recall: Share | None = Field(
        default=None, description="Least share of the expected points that are among the first k."
    )
    mrr: Share | None = Field(
        default=None, description="Least mean reciprocal rank of the first expected point among the first k."
    )
    overlap: Share | None = Field(
        default=None, description="Least share of the old collection's first k points that the new one finds too."
    )
    latency_ratio: Annotated[float, Field(ge=0, le=1000)] | None = Field(
        default=None, description="Most that the median answer may take, in multiples of the old collection's."
    )
    rules: ClassVar[tuple[Rule, ...]] = (
        # No `minimum`: of that the API server takes the whole part only where an integer is given.
        Rule(
            "!has(self.latencyRatio) || self.latencyRatio >= 0.01",
            "latencyRatio must be at least 0.01",
            lambda limits: limits.latency_ratio is None or limits.latency_ratio >= 0.01,
        ),
        Rule(
            "has(self.recall) || has(self.mrr) || has(self.overlap) || has(self.latencyRatio)",
            "at least one of recall, mrr, overlap, latencyRatio is required",
            lambda limits: any(
                limit is not None for limit in (limits.recall, limits.mrr, limits.overlap, limits.latency_ratio)
            ),
        ),
    )


class Checks(Model):
    """Questions, and how well they must be answered before readers are moved to another collection."""

    queries: Annotated[list[CheckQuery], Field(min_length=1, max_length=MAX_QUERIES)] | None = Field(
        default=None, description="The questions. Exactly one of queries, source."
    )
    source: Source | None = Field(
        default=None,
        description="Rows with the fields of a query (text or vector, using, filter, expect), in files as a PointSet's "
        "source names them.",
    )
    k: Annotated[int, Field(ge=1, le=MAX_EXPECTED), Whole] | None = Field(
        default=None, description="How many points each query asks for. Default: 10."
    )
    thresholds: CheckThresholds = Field(description="What must be reached.")
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "has(self.queries) != has(self.source)",
            "exactly one of queries, source is required",
            lambda checks: (checks.queries is None) != (checks.source is None),
        ),
    )

    @property
    def effective_k(self) -> int:
        return self.k or 10


class Measured(Model):
    """How one collection answered the queries."""

    collection: str = Field(description="Name in Qdrant.")
    recall: float | None = Field(default=None, description="Absent if no query has anything to compare with.")
    mrr: float | None = Field(default=None, description="Absent likewise.")
    overlap: float | None = Field(default=None, description="With the old collection; absent for that one.")
    latency_ms: float | None = Field(default=None, description="Median, in milliseconds.")


class ChecksStatus(Model):
    """How the checks came out the last time that they decided something."""

    result: Literal["Passed", "Failed"] = Field(description="Passed or Failed.")
    at: str = Field(description="When they ran (RFC 3339).")
    queries: int = Field(description="How many there were.")
    measured: list[Measured] = Field(default_factory=list, description="The old collection, then the new one.")
    failures: list[str] = Field(default_factory=list, description="Each threshold that was missed, in words.")
