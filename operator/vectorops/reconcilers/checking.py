"""Asks a collection the queries of its checks, and another one beside it, and judges the answers.

Both are asked in turn, query by query, so that they answer under the same load. What makes it impossible to decide,
such as an embedder that is away, raises: readers then stay where they are.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import median
from typing import Any, Final

from vectorops import metrics
from vectorops.api.checks import Checks, ChecksStatus
from vectorops.api.collection import QdrantCollectionSpec
from vectorops.api.meta import Resource
from vectorops.api.reasons import Reason
from vectorops.collections.locks import locks_of
from vectorops.collections.quality import CheckedQuery, TimedAnswer, judge_answers
from vectorops.errors import GaveWay, NotFound, Terminal, Transient, VectorOpsError, Waiting
from vectorops.points.declared import BadPoint, check_components, to_float32
from vectorops.points.embedding import fitting_vector
from vectorops.points.identity import UnusableId, point_id
from vectorops.points.schema import PointSchema, point_schema
from vectorops.qdrant.database import UNNAMED, Database, PointId
from vectorops.qdrant.observe import Observed
from vectorops.reconcilers.base import Context
from vectorops.reconcilers.check_queries import PlacedQuery, read_check_queries
from vectorops.reconcilers.embedding import Embedding, resolved
from vectorops.reconcilers.spec import RawSpec, parse
from vectorops.vectors import VectorData

ROUNDS: Final = 4
"""How often each query is asked. The first time warms the server up, and only the other ones are timed."""
ROUNDS_SECONDS: Final = 60.0
"""After so long, no further round is begun."""
COMPARED: Final = ("size", "distance", "datatype", "multivector_config")
"""What of a vector's schema decides whether the same numbers mean the same in two collections."""


@dataclass(frozen=True, slots=True)
class AskedCollection:
    """A physical collection that is asked."""

    observed: Observed
    schema: PointSchema
    embedding: Embedding
    """With the embedder of each vector that has one."""

    @property
    def name(self) -> str:
        return self.observed.name

    def comparable(self, vector: str) -> tuple[Any, ...]:
        """What must be the same elsewhere, so that a vector can be sent to both."""
        params = self.observed.vectors.get(vector) or {}
        return (*(params.get(field) for field in COMPARED), self.embedding.identities.get(vector))


@dataclass(frozen=True, slots=True)
class Search:
    """What a query is for one collection."""

    using: str
    """Name of the vector that is searched."""
    vector: VectorData


async def run_checks(
    context: Context,
    collection: Resource,
    checks: Checks,
    database: Database,
    *,
    new: Observed,
    old: Observed | None = None,
) -> ChecksStatus:
    """The checks of a QdrantCollection, run on `new`, and on `old` to compare with. Writes nothing.

    new, old: physical collections that exist, as `read_collection` reads them. Texts are embedded as queries, by the
    model that the mark of each collection names. old: None leaves out the thresholds that compare. A query for which
    `old` has no vector, or no model that can be used, is asked of `new` alone if it says what it expects.

    It takes as long as one round over all queries, and up to about a minute longer. The measures of `new` become those
    of the metrics.
    The result is Failed, with words, if a threshold is missed, or if an expected id is that of no point. Whatever makes
    it impossible to decide raises: Terminal InvalidSpec for a query that does not fit `new`, and for a `vector` whose
    schema or model differs between the two; Rejected if Qdrant refuses a query; Waiting, Transient and Terminal as the
    embedders, the source of the queries and the database raise them.
    """
    queries = await read_check_queries(context, collection, checks)
    asked_new = await _asked_collection(context, collection, new)
    asked_old = await _asked_collection(context, collection, old) if old is not None else None
    searches = await find_searches(queries, asked_new)
    old_searches = await _find_old_searches(queries, asked_old, asked_new) if asked_old is not None else {}
    names = [new.name, *([old.name] if old is not None else [])]
    expected = await find_expected(database, names, queries)
    targets = [(asked, found) for asked, found in ((asked_old, old_searches), (asked_new, searches)) if asked]
    answers = await _ask_all(context, database, checks, queries, targets)
    status = judge_answers(
        checks.thresholds,
        [
            CheckedQuery(
                placed.place,
                expected[position].ids,
                answers[new.name][position],
                answers[old.name].get(position) if old is not None else None,
                expected[position].unknown,
            )
            for position, placed in enumerate(queries)
        ],
        new=new.name,
        old=old.name if old is not None else None,
        at=datetime.now(UTC),
    )
    metrics.CHECKS.record(collection.ref, status)
    return status


def invalid_check(place: str, reason: str) -> Terminal:
    """The error for a query that cannot be asked. place: where it is declared."""
    return Terminal(Reason.INVALID_SPEC, f"spec.checks: {place}: {reason}")


async def _asked_collection(context: Context, collection: Resource, observed: Observed) -> AskedCollection:
    if RawSpec(collection).is_users:
        # Nothing is kept in a collection of the user's; its models are the declared ones.
        locked = await resolved(context, collection, parse(QdrantCollectionSpec, collection), None)
    else:
        locked = locks_of(observed.mark)
    return AskedCollection(observed, point_schema(observed), Embedding(context, collection, locked))


# ---- queries to vectors ----


async def find_searches(queries: Sequence[PlacedQuery], asked: AskedCollection) -> dict[int, Search]:
    """What each query is for one collection, by its position.

    Raises Terminal InvalidSpec if one does not fit, and what `Embedding.embed_queries` raises.
    """
    found: dict[int, Search] = {}
    texts: defaultdict[str, list[int]] = defaultdict(list)
    for position, placed in enumerate(queries):
        using = searched_vector(placed, asked)
        if placed.query.vector is not None:
            found[position] = Search(using, _given_vector(placed, using, asked))
        else:
            texts[using].append(position)
    for using, positions in texts.items():
        found |= await _embed(queries, asked, using, positions)
    return found


async def _find_old_searches(
    queries: Sequence[PlacedQuery], old: AskedCollection, new: AskedCollection
) -> dict[int, Search]:
    """The same for the old collection, without the queries that it cannot be asked and that need no comparison."""
    found: dict[int, Search] = {}
    texts: defaultdict[str, list[int]] = defaultdict(list)
    for position, placed in enumerate(queries):
        try:
            using = searched_vector(placed, old)
        except Terminal as error:
            _require_expectation(placed, error.message)
            continue
        if placed.query.vector is None:
            texts[using].append(position)
            continue
        _require_same_vectors(placed, old, using, new)
        found[position] = Search(using, _given_vector(placed, using, old))
    for using, positions in texts.items():
        try:
            found |= await _embed(queries, old, using, positions)
        except Waiting as error:
            # The key of its model's server is no longer declared.
            for position in positions:
                _require_expectation(queries[position], f"{old.name!r} cannot be asked: {error.message}")
    return found


def searched_vector(placed: PlacedQuery, asked: AskedCollection) -> str:
    """The name of the vector that a query searches. Raises Terminal InvalidSpec if the collection cannot be asked."""
    using, names = placed.query.using, sorted(asked.schema)
    listed = ", ".join(repr(name) if name != UNNAMED else "the unnamed vector" for name in names) or "none at all"
    if using is None:
        if len(names) != 1:
            raise invalid_check(placed.place, f"{asked.name!r} has several vectors ({listed}); name one with `using`")
        using = names[0]
    elif using not in asked.schema:
        raise invalid_check(placed.place, f"using: {asked.name!r} has no vector {using!r}, but {listed}")
    if placed.query.text is not None and using not in asked.embedding.locked:
        words = f"text: no model makes the vector {using!r} of {asked.name!r}; give `vector`, or name an embedder"
        raise invalid_check(placed.place, words)
    return using


def _require_expectation(placed: PlacedQuery, why: str) -> None:
    if placed.query.expect is None:
        words = f"it does not say what it expects, and the old collection cannot be asked ({why}); add `expect`"
        raise invalid_check(placed.place, words)


def _require_same_vectors(placed: PlacedQuery, old: AskedCollection, using: str, new: AskedCollection) -> None:
    before, after = old.comparable(using), new.comparable(searched_vector(placed, new))
    if before == after:
        return
    names = (*COMPARED, "model")
    differing = [name for name, was, is_ in zip(names, before, after, strict=True) if was != is_]
    raise invalid_check(
        placed.place,
        f"vector: {old.name!r} and {new.name!r} differ in {', '.join(differing)} of the vector, so that the same "
        "numbers mean something else; give `text`",
    )


def _given_vector(placed: PlacedQuery, using: str, asked: AskedCollection) -> VectorData:
    expected = asked.schema[using]
    if expected.kind == "sparse":
        raise invalid_check(placed.place, f"vector: {using!r} of {asked.name!r} is a sparse vector; give `text`")
    numbers = to_float32(placed.query.vector or ())
    try:
        check_components("vector", numbers, expected)
    except BadPoint as error:
        raise invalid_check(placed.place, f"{error} in {asked.name!r}") from None
    # A query of one row.
    return numbers.reshape(1, -1) if expected.kind == "multivector" else numbers


async def _embed(
    queries: Sequence[PlacedQuery], asked: AskedCollection, using: str, positions: Sequence[int]
) -> dict[int, Search]:
    texts = []
    for position in positions:
        text = queries[position].query.text or ""
        if not text.strip():
            raise invalid_check(queries[position].place, "text: it is empty")
        texts.append(text)
    made = await asked.embedding.embed_queries(using, texts)
    found = {}
    for position, vector in zip(positions, made.vectors, strict=True):
        try:
            found[position] = Search(using, fitting_vector("text", vector, asked.schema[using]))
        except BadPoint as error:
            raise invalid_check(queries[position].place, str(error)) from None
    return found


# ---- expected points ----


@dataclass(frozen=True, slots=True)
class ExpectedPoints:
    """What one query expects."""

    ids: frozenset[PointId]
    """Those that are in a collection; if there are none, all that are meant."""
    unknown: tuple[str, ...]
    """Ids, as they are declared, that no collection has."""


async def find_expected(
    database: Database, names: Sequence[str], queries: Sequence[PlacedQuery]
) -> list[ExpectedPoints]:
    """What each query expects. names: the collections that may have the points.

    An id is what the same text is in a PointSet. Decimal digits may stand for an integer or, with idFormat: Auto, for
    the UUID of the text: they are the integer if a collection has a point of that id.
    Raises Terminal InvalidSpec for a text that can be no id.
    """
    meant = [[(text, _possible_ids(placed.place, text)) for text in placed.query.expect or ()] for placed in queries]
    wanted = list(dict.fromkeys(id for one in meant for _, ids in one for id in ids))
    there: set[PointId] = set()
    for name in names if wanted else ():
        there.update(await database.points(name, wanted))
    found = []
    for one in meant:
        chosen = [next((id for id in ids if id in there), ids[-1]) for _, ids in one]
        unknown = tuple(text for (text, _), id in zip(one, chosen, strict=True) if id not in there)
        found.append(ExpectedPoints(frozenset(chosen), unknown))
    return found


def _possible_ids(place: str, text: str) -> tuple[PointId, ...]:
    """The ids that a declared one may be, the likelier first."""
    found: list[PointId] = []
    with suppress(UnusableId):
        found.append(point_id(text, "Integer"))
    try:
        return (*found, point_id(text))
    except UnusableId as error:
        raise invalid_check(place, f"expect: {error}") from None


# ---- answers ----


async def _ask_all(
    context: Context,
    database: Database,
    checks: Checks,
    queries: Sequence[PlacedQuery],
    targets: Sequence[tuple[AskedCollection, Mapping[int, Search]]],
) -> dict[str, dict[int, TimedAnswer]]:
    """What each collection answers, by its name and the position of the query. targets: in the order of asking."""
    ids: dict[str, dict[int, tuple[PointId, ...]]] = {asked.name: {} for asked, _ in targets}
    seconds: dict[str, defaultdict[int, list[float]]] = {asked.name: defaultdict(list) for asked, _ in targets}
    begun = time.monotonic()
    for number in range(ROUNDS):
        if number and time.monotonic() - begun > ROUNDS_SECONDS:
            break
        for position, placed in enumerate(queries):
            if context.turn.is_stopping():
                raise GaveWay("the checks were ended")
            for asked, searches in targets:
                if (search := searches.get(position)) is None:
                    continue
                started = time.perf_counter()
                answer = await _ask(database, asked.name, search, placed, checks.effective_k)
                seconds[asked.name][position].append(time.perf_counter() - started)
                ids[asked.name].setdefault(position, answer)
            context.turn.report_progress()
    return {
        name: {
            # The first time is that of a server that was not warm.
            position: TimedAnswer(found, median(seconds[name][position][1:] or seconds[name][position]))
            for position, found in answers.items()
        }
        for name, answers in ids.items()
    }


async def _ask(database: Database, name: str, search: Search, placed: PlacedQuery, limit: int) -> tuple[PointId, ...]:
    try:
        where = placed.query.filter
        return tuple(await database.search(name, search.vector, using=search.using, where=where, limit=limit))
    except NotFound as error:
        raise Transient(Reason.PROGRESSING, f"the checks cannot be run: {error.message}") from error
    except VectorOpsError as error:
        raise error.at(f"spec.checks: {placed.place}") from error
