"""The queries of a collection's checks: those that stand in the resource, or the rows of a source."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextvars import copy_context
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any, Final

import orjson
from pydantic import ValidationError

from vectorops.api.checks import MAX_QUERIES, CheckQuery, Checks
from vectorops.api.meta import JsonObject, Resource
from vectorops.api.reasons import Reason
from vectorops.api.source import Source
from vectorops.api.validation import explain
from vectorops.errors import GaveWay, Terminal, Transient, VectorOpsError
from vectorops.reconcilers.base import Context
from vectorops.sources.installed import require_installed

if TYPE_CHECKING:
    from vectorops.formats.base import ArrowRows

FIELDS: Final = ("text", "vector", "using", "filter", "expect")
"""Columns that are read; a file may have others."""
TEXTS: Final = frozenset({"text", "using"})
"""Fields that are text; a text in the others is JSON, as in CSV, where every cell is text."""


@dataclass(frozen=True, slots=True)
class PlacedQuery:
    """One query of the checks."""

    place: str
    """Where it is declared, for people: `queries[3]`; `s3://bucket/checks.jsonl, row 4`."""
    query: CheckQuery


async def read_check_queries(context: Context, collection: Resource, checks: Checks) -> list[PlacedQuery]:
    """All queries, one at least.

    Raises Terminal (SourceInvalid, SourceMissing, SourceRefused, SourceEmpty) or Transient (SourceUnavailable,
    SourceChanged, SecretNotFound) if a source cannot be read, or not as queries; the message names the file and the
    row.
    """
    if checks.source is None:
        return [PlacedQuery(f"queries[{index}]", query) for index, query in enumerate(checks.queries or ())]
    try:
        require_installed()
        return await read_rows_of_queries(context, collection, checks.source)
    except VectorOpsError as error:
        raise error.at("spec.checks.source") from error


async def read_rows_of_queries(context: Context, collection: Resource, source: Source) -> list[PlacedQuery]:
    """The queries of a source. Raises as `read_check_queries` does."""
    # Only now, because it needs the libraries of the extra `sources`.
    from vectorops.reconcilers.source_reading import opened_source

    async with opened_source(context, collection, source) as opened:
        files = await opened.list()
        with context.staging.space() as space:
            fetched = []
            for file in files:
                one = await opened.fetch(file, space.path)
                if one.is_temporary:
                    space.take(one.path.stat().st_size)
                fetched.append((file.name, one.path))
            stopped = Event()

            def read() -> list[PlacedQuery]:
                limit = context.sources.max_unpacked_bytes
                rows = (row for name, path in fetched for row in _queries_in(name, path, stopped, limit))
                return list(islice(rows, MAX_QUERIES + 1))

            work = context.staging.readers.submit(copy_context().run, read)
            try:
                found = await asyncio.shield(asyncio.wrap_future(work))
            finally:
                stopped.set()
                if not work.cancel():
                    await asyncio.gather(asyncio.wrap_future(work), return_exceptions=True)
        if list(await opened.list()) != list(files):
            raise Transient(Reason.SOURCE_CHANGED, "the files changed while they were read; reading them again")
    if len(found) > MAX_QUERIES:
        raise Terminal(Reason.SOURCE_INVALID, f"it has more than {MAX_QUERIES} rows; keep the most telling queries")
    if not found:
        raise Terminal(Reason.SOURCE_EMPTY, "it has no rows, so nothing is checked; add a query, or remove spec.checks")
    return found


def _queries_in(name: str, path: Path, stopped: Event, max_unpacked_bytes: int) -> Iterator[PlacedQuery]:
    """The rows of one file, with their places. Blocking."""
    from vectorops.formats.base import ArrowRows, BadRow
    from vectorops.formats.read import format_of, read_rows

    def choose(names: Sequence[str]) -> Sequence[str]:
        return [name for name in names if name in FIELDS]

    for some in read_rows(path, format_of(name), name=name, columns=choose, max_unpacked_bytes=max_unpacked_bytes):
        if stopped.is_set():
            raise GaveWay("the reading of the source was ended")
        if isinstance(some, BadRow):
            raise invalid_row(_row(name, some.number), some.reason)
        rows = _arrow_objects(some, name) if isinstance(some, ArrowRows) else some.rows
        for number, row in zip(some.numbers, rows, strict=True):
            yield PlacedQuery(_row(name, number), parse_query(row, _row(name, number)))


def invalid_row(place: str, reason: str) -> Terminal:
    """The error for a row that is no query. reason: what is wrong with it, without its content."""
    return Terminal(Reason.SOURCE_INVALID, f"{place}: {reason}")


def parse_query(row: JsonObject, place: str) -> CheckQuery:
    """A row as a query. Columns of other names than a query's fields are left out. Raises Terminal SourceInvalid."""
    given = {field: _value_of(field, row[field], place) for field in FIELDS if row.get(field) not in (None, "")}
    try:
        return CheckQuery.model_validate(given, by_alias=True, by_name=False)
    except ValidationError as error:
        raise invalid_row(place, explain(error, "row")[0]) from None


def _value_of(field: str, value: Any, place: str) -> Any:
    if isinstance(value, str) and field not in TEXTS:
        try:
            parsed = orjson.loads(value)
        except orjson.JSONDecodeError:
            if field != "expect":
                raise invalid_row(place, f"{field}: is no JSON") from None
        else:
            value = parsed if field != "expect" or isinstance(parsed, list) else value
    if field == "expect":
        # One id may stand alone, and a file may have integers.
        ids = value if isinstance(value, list) else [value]
        return [str(id) if isinstance(id, int) and not isinstance(id, bool) else id for id in ids]
    return _without_nulls(value)


def _without_nulls(value: Any) -> Any:
    """The same JSON without members that are null: in Parquet, all rows of a struct have all its members."""
    if isinstance(value, dict):
        return {key: _without_nulls(inner) for key, inner in value.items() if inner is not None}
    return [_without_nulls(inner) for inner in value] if isinstance(value, list) else value


def _arrow_objects(rows: ArrowRows, name: str) -> list[JsonObject]:
    from vectorops.points.mapping_cells import RefusedColumn, cell_reader

    found: list[JsonObject] = [{} for _ in rows.numbers]
    for of, column in zip(rows.batch.schema, rows.batch.columns, strict=True):
        try:
            cells = cell_reader(of)(column)
        except RefusedColumn as error:
            raise Terminal(Reason.SOURCE_INVALID, f"{name}: column {of.name!r}: {error}") from None
        for index, reason in cells.bad.items():
            raise invalid_row(_row(name, rows.numbers[index]), f"{of.name}: {reason}")
        for row, value in zip(found, cells.values, strict=True):
            row[of.name] = value
    return found


def _row(name: str, number: int) -> str:
    return f"{name}, row {number}"
