"""Rows of a source to points: which column is what, by the mapping of a PointSet or by default (docs/mapping.md).

What is wrong with a column is one error for its file; what is wrong with a row is a failure of that row alone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import pyarrow as pa

from vectorops.api.meta import JsonObject
from vectorops.api.nesting import LEVELS, WORDS, is_deeper
from vectorops.api.reasons import Reason
from vectorops.api.source import Mapping, PayloadMapping, VectorMapping
from vectorops.errors import Terminal
from vectorops.formats.base import ArrowRows, BadRow, JsonRows, Rows
from vectorops.points.block import Block, RowFailure, VectorColumn
from vectorops.points.declared import SHOWN_ID, place, shorten_id
from vectorops.points.identity import MAX_INTEGER, IdFormat, UnusableId, point_id
from vectorops.points.mapping_cells import (
    CellReader,
    Refused,
    Unfit,
    cell_reader,
    convert_value,
    is_bytes,
    is_list,
)
from vectorops.points.mapping_columns import (
    MISSING,
    BadTemplate,
    Kept,
    Path,
    Template,
    column_at,
    drop_path,
    field_at,
    find_path,
    json_path,
    json_value,
    keep_path,
    prune_array,
    prune_field,
    put,
    replaced,
    top_of,
    without,
)
from vectorops.points.mapping_vectors import VectorCells, VectorReader, json_vectors, read_json_vectors, vector_reader
from vectorops.points.schema import PointSchema
from vectorops.qdrant.database import UNNAMED, PointId

INDEX_PREFIX: Final = "__index_level_"
SHOWN_COLUMNS: Final = 20


@dataclass(frozen=True, slots=True)
class _Plan:
    """How batches of one schema become points."""

    schema: Any
    """pa.Schema."""
    ids: Sequence[tuple[str, Path, CellReader]]
    vectors: Sequence[tuple[str, Path, VectorReader]]
    """By the vector's name."""
    texts: Sequence[tuple[str, Template, Sequence[tuple[str, Path, CellReader]]]]
    """By the vector's name."""
    payload: Sequence[tuple[str, str, Path, Kept | None, CellReader]]
    """Field of the payload, column, where it is, what of it is kept."""


class Mapper:
    """Makes points of the rows of one source. Keeps the schema of the last batch only: not for two threads at once.

    embedded: names of the vectors that have an embedder.
    Raises Terminal SourceInvalid where the mapping does not fit the collection.
    """

    def __init__(
        self,
        mapping: Mapping | None,
        schema: PointSchema,
        *,
        embedded: Collection[str] = (),
        id_format: IdFormat = "Auto",
        store_id_as: str | None = None,
    ) -> None:
        self._schema, self._id_format, self._store_id_as = schema, id_format, store_id_as
        mapping = mapping or Mapping()
        self._id_columns = mapping.id_from or [mapping.id or "id"]
        self._composite = mapping.id_from is not None
        if self._composite and id_format == "Integer":
            raise _invalid("mapping.idFrom makes a text of several columns, which idFormat: Integer does not take")
        self._types = mapping.types or {}
        self._payload = mapping.payload or PayloadMapping()
        self._rename = self._payload.rename or {}
        self._constants = self._payload.constants or {}
        self._vectors = mapping.vectors
        self._templates: dict[str, Template] = {}
        self._plan: _Plan | None = None
        names = [source.name or UNNAMED for source in mapping.vectors or ()]
        for name, source in zip(names, mapping.vectors or (), strict=True):
            self._check_vector(name, source, embedded)
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise _invalid(f"mapping.vectors: {place(twice)} is given twice")
        fields = [*self._constants, *self._rename.values(), *([store_id_as] if store_id_as is not None else [])]
        if both := next((one for one in fields if fields.count(one) > 1), None):
            raise _invalid(f"the field {both} of the payload is given twice by rename, constants and storeIdAs")

    def _check_vector(self, name: str, source: VectorMapping, embedded: Collection[str]) -> None:
        if name not in self._schema:
            has = ", ".join(place(one) for one in sorted(self._schema)) or "no vectors at all"
            raise _invalid(f"mapping.vectors: the collection has no {place(name)}, but {has}")
        if source.column is not None:
            return
        if name not in embedded:
            raise _invalid(
                f"mapping.vectors: {place(name)} has no embedder: name a column with numbers, or a model in the "
                "QdrantCollection"
            )
        if source.embed is not None:
            self._templates[name] = Template([source.embed], ["", ""])
            return
        try:
            self._templates[name] = Template.parse(source.template or "")
        except BadTemplate as error:
            raise _invalid(f"mapping.vectors: the template of {place(name)}: {error}") from None

    def wanted(self, names: Sequence[str]) -> Sequence[str]:
        """Which of the top columns of a file are needed, in their order: all but those that are left out."""
        read = [*self._id_columns, *(column for one in self._templates.values() for column in one.columns)]
        if self._vectors is None:
            read += [column for _, column, _ in self._vector_columns(names)]
        else:
            read += [one.column for one in self._vectors if one.column is not None]
        if self._payload.include is None:
            left_out = {*(self._payload.exclude or ()), *_index_columns(names, ())}
            read += [name for name in names if name not in left_out]
        read += [*(self._payload.include or ()), *self._rename]
        tops = {top_of(name, names) for name in read}
        return [name for name in names if name in tops]

    def map(self, rows: Rows, *, file: str = "") -> Block:
        """The points of some rows. file: for messages. Raises Terminal SourceInvalid: a column cannot be what it is
        to be.
        """
        if isinstance(rows, BadRow):
            return Block((), (), (), (), failures=(RowFailure(rows.number, rows.reason),))
        try:
            if isinstance(rows, JsonRows):
                return self._map_json(rows)
            if self._plan is None or not self._plan.schema.equals(rows.batch.schema, check_metadata=True):
                self._plan = self._bind(rows.batch.schema)
            return self._map_arrow(rows, self._plan)
        except Terminal as error:
            raise error.at(file) if file else error from None

    # Arrow

    def _vector_columns(self, names: Collection[str]) -> list[tuple[str, str, str | None]]:
        """Vector, column and encoding of the vectors that are given as numbers."""
        if self._vectors is not None:
            return [(one.name or UNNAMED, one.column, one.encoding) for one in self._vectors if one.column is not None]
        found: list[tuple[str, str, str | None]] = [
            (name, name, None) for name in self._schema if name != UNNAMED and name in names
        ]
        only = UNNAMED if UNNAMED in self._schema else next(iter(self._schema)) if len(self._schema) == 1 else None
        if (
            only is not None
            and "vector" in names
            and not any(column == "vector" or only == name for name, column, _ in found)
        ):
            found.append((only, "vector", None))
        return found

    def _bind(self, schema: Any) -> _Plan:
        ids = [self._id_reader(column, schema) for column in self._id_columns]
        vectors: list[tuple[str, Path, VectorReader]] = []
        for name, column, encoding in self._vector_columns(schema.names):
            path = _find(column, schema, "mapping.vectors")
            try:
                reader = vector_reader(field_at(path, schema), f"column {column}", self._schema[name], encoding)
            except Refused as error:
                raise _invalid(f"column {column}, for {place(name)}, {error}") from None
            vectors.append((name, path, reader))
        texts = []
        for name, template in self._templates.items():
            parts = []
            for column in template.columns:
                path = _find(column, schema, "mapping.vectors")
                of = field_at(path, schema)
                if is_list(of.type) or pa.types.is_struct(of.type) or pa.types.is_map(of.type):
                    raise _invalid(f"column {column} is {of.type}, no text that could be embedded for {place(name)}")
                parts.append((column, path, self._cells(column, of)))
            texts.append((name, template, parts))
        taken = {path for _, path, _ in (*ids, *vectors)}
        payload = self._payload_readers(schema, taken)
        self._check_types(schema)
        return _Plan(schema, ids, vectors, texts, payload)

    def _cells(self, column: str, of: Any) -> CellReader:
        try:
            return cell_reader(of, self._types.get(column))
        except Refused as error:
            raise _invalid(f"column {column} {error}") from None

    def _id_reader(self, column: str, schema: Any) -> tuple[str, Path, CellReader]:
        path = find_path(column, schema)
        if path is None:
            raise _invalid(f"there is no column {column} for the id: name another in mapping.id. {_columns(schema)}")
        of = field_at(path, schema)
        if pa.types.is_floating(of.type) and self._types.get(column) != "Integer":
            raise _invalid(
                f"column {column} is {of.type}, which is no id: as a float, integers beyond 2^53 were rounded. Write "
                f"it as an integer or text; if none is so large, say `types: {{{column}: Integer}}` in mapping"
            )
        if is_bytes(of.type) and column not in self._types:
            raise _invalid(
                f"column {column} is {of.type}, which is no id: cast it before it is written, a UUID to text"
            )
        if is_list(of.type) or pa.types.is_nested(of.type):
            raise _invalid(f"column {column} is {of.type}, which is no id: make it text")
        return column, path, self._cells(column, of)

    def _payload_readers(
        self, schema: Any, taken: Collection[Path]
    ) -> list[tuple[str, str, Path, Kept | None, CellReader]]:
        kept: Kept = {}
        if self._payload.include is not None:
            for column in self._payload.include:
                keep_path(kept, _find(column, schema, "mapping.payload.include"))
        else:
            kept = dict.fromkeys(schema.names)
            for name in _index_columns(schema.names, _pandas_index(schema)):
                kept.pop(name, None)
            for path in taken:
                drop_path(kept, path, schema)
            for column in self._payload.exclude or ():
                if (found := find_path(column, schema)) is not None:
                    drop_path(kept, found, schema)
        renamed: list[tuple[str, str, Path, Kept | None]] = []
        for column, target in self._rename.items():
            path = _find(column, schema, "mapping.payload.rename")
            renamed.append((target, column, path, None))
            drop_path(kept, path, schema)
        columns = [(name, name, (name,), inner) for name, inner in kept.items()] + renamed
        given = [*self._constants, *([self._store_id_as] if self._store_id_as is not None else [])]
        names = [target for target, *_ in columns] + given
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise _invalid(
                f"the payload would get the field {twice} twice: leave a column out with mapping.payload.exclude, or "
                "give it another name with rename, constants or storeIdAs"
            )
        found_readers = []
        for target, column, path, inner in columns:
            of = prune_field(field_at(path, schema), inner)
            found_readers.append((target, column, path, inner, self._cells(column, of)))
        return found_readers

    def _check_types(self, schema: Any) -> None:
        """A type for a column that is not there is a slip, unless the column was left out on purpose."""
        if self._payload.include is not None:
            return
        for column in self._types:
            if column not in (self._payload.exclude or ()):
                _find(column, schema, "mapping.types")

    def _map_arrow(self, rows: ArrowRows, plan: _Plan) -> Block:
        batch, failures = rows.batch, _Failures(rows.numbers)
        ids, declared = self._arrow_ids(batch, plan, failures)
        vectors = {name: reader(column_at(path, batch)) for name, path, reader in plan.vectors}
        for cells in vectors.values():
            failures.add(cells.bad)
        texts: dict[str, list[str | None]] = {}
        for name, template, parts in plan.texts:
            values = [_read(read, column, column_at(path, batch), failures) for column, path, read in parts]
            texts[name] = self._fill(name, template, zip(*values, strict=True), failures)
        names: list[str] = []
        columns: list[Iterable[Any]] = []
        for target, column, path, kept, read in plan.payload:
            names.append(target)
            columns.append(_read(read, column, prune_array(column_at(path, batch), kept), failures))
        for target, value in self._constants.items():
            names.append(target)
            columns.append([value] * len(ids))
        if self._store_id_as is not None:
            names.append(self._store_id_as)
            columns.append(declared)
        payloads: list[JsonObject] = (
            [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)] if columns else [{} for _ in ids]
        )
        return _assemble(rows.numbers, ids, declared, payloads, vectors, texts, failures)

    def _arrow_ids(self, batch: Any, plan: _Plan, failures: _Failures) -> tuple[list[PointId | None], list[Any]]:
        columns = []
        for column, path, read in plan.ids:
            array = column_at(path, batch)
            if not self._composite and pa.types.is_integer(array.type) and column not in self._types:
                numbers = array.to_pylist()
                if not array.null_count and (not numbers or (min(numbers) >= 0 and max(numbers) <= MAX_INTEGER)):
                    return numbers, numbers
            columns.append(_read(read, column, array, failures))
        declared = [list(row) for row in zip(*columns, strict=True)] if self._composite else columns[0]
        return [self._id(value, row, failures) for row, value in enumerate(declared)], declared

    def _id(self, declared: Any, row: int, failures: _Failures) -> PointId | None:
        missing = self._missing_id(declared)
        if missing is None:
            try:
                return point_id(declared, self._id_format)
            except UnusableId as error:
                missing = f"column {', '.join(self._id_columns)}: {error}"
        failures.add({row: missing})
        return None

    def _missing_id(self, declared: Any) -> str | None:
        parts = declared if self._composite else [declared]
        for column, value in zip(self._id_columns, parts, strict=True):
            if value is None or value is MISSING or value == "":
                return f"column {column}: the row has no id"
        return None

    def _fill(self, name: str, template: Template, rows: Any, failures: _Failures) -> list[str | None]:
        found: list[str | None] = []
        for row, values in enumerate(rows):
            text = None
            try:
                text = template.fill(values)
            except TypeError:
                failures.add({row: f"{place(name)}: a list or an object is no text"})
            if text is not None and not text.strip():
                failures.add({row: f"{place(name)}: empty text"})
            found.append(text)
        return found

    # JSON

    def _map_json(self, rows: JsonRows) -> Block:
        failures = _Failures(rows.numbers)
        typed = [self._with_types(row, index, failures) for index, row in enumerate(rows.rows)]
        declared = [
            [json_value(column, row) for column in self._id_columns]
            if self._composite
            else json_value(self._id_columns[0], row)
            for row in typed
        ]
        ids = [self._id(value, index, failures) for index, value in enumerate(declared)]
        keys = {key for row in typed for key in row} if self._vectors is None else ()
        sources = self._vector_columns(keys)
        vectors = {}
        for name, column, encoding in sources:
            values = [None if (one := json_value(column, row)) is MISSING else one for row in typed]
            read = read_json_vectors if encoding is None else json_vectors
            vectors[name] = read(values, f"column {column}", self._schema[name])
            failures.add(vectors[name].bad)
        texts = {}
        for name, template in self._templates.items():
            values = [
                [None if (one := json_value(column, row)) is MISSING else one for column in template.columns]
                for row in typed
            ]
            texts[name] = self._fill(name, template, values, failures)
        taken = [*self._id_columns, *(column for _, column, _ in sources)]
        payloads = [self._json_payload(row, taken, index, failures) for index, row in enumerate(typed)]
        if self._store_id_as is not None:
            for payload, value in zip(payloads, declared, strict=True):
                payload[self._store_id_as] = value
        return _assemble(rows.numbers, ids, declared, payloads, vectors, texts, failures)

    def _with_types(self, row: JsonObject, index: int, failures: _Failures) -> JsonObject:
        for column, kind in self._types.items():
            if (path := json_path(column, row)) is None:
                continue
            value = json_value(column, row)
            try:
                value = None if value is None else convert_value(kind, value)
            except Unfit as error:
                failures.add({index: f"column {column}: {error}"})
                value = None
            row = replaced(row, path, value)
        return row

    def _json_payload(self, row: JsonObject, taken: Sequence[str], index: int, failures: _Failures) -> JsonObject:
        if self._payload.include is not None:
            payload: JsonObject = {}
            for column in self._payload.include:
                if column not in self._rename and (path := json_path(column, row)):
                    put(payload, path, json_value(column, row))
        else:
            payload = row
            for column in (*taken, *(self._payload.exclude or ()), *self._rename):
                if path := json_path(column, payload):
                    payload = without(payload, path)
            payload = {key: value for key, value in payload.items() if not key.startswith(INDEX_PREFIX)}
        given = {
            target: json_value(column, row) for column, target in self._rename.items() if json_path(column, row)
        } | self._constants
        twice = next((target for target in given if target in payload), None)
        if self._store_id_as in payload:
            twice = self._store_id_as
        if twice is not None:
            failures.add({index: f"the payload would get the field {twice} twice: see mapping.payload and storeIdAs"})
        payload.update(given)
        if is_deeper(payload, LEVELS):
            failures.add({index: f"the payload is {WORDS}"})
        return payload


@dataclass(slots=True)
class _Failures:
    """Why rows of a batch are no points; of each the first reason."""

    numbers: Sequence[int]
    reasons: dict[int, str] = field(default_factory=dict)
    """By position in the batch."""

    def add(self, bad: dict[int, str], prefix: str = "") -> None:
        for row, reason in bad.items():
            self.reasons.setdefault(row, prefix + reason)


def _assemble(
    numbers: Sequence[int],
    ids: Sequence[PointId | None],
    declared: Sequence[Any],
    payloads: Sequence[JsonObject],
    vectors: dict[str, VectorCells],
    texts: dict[str, list[str | None]],
    failures: _Failures,
) -> Block:
    shown = [
        value if isinstance(value, str) and len(value) <= SHOWN_ID else "" if id is None else shorten_id(value)
        for id, value in zip(ids, declared, strict=True)
    ]
    if not failures.reasons:
        columns: dict[str, VectorColumn] = {name: cells.of_rows(None) for name, cells in vectors.items()}
        return Block(numbers, [id for id in ids if id is not None], shown, payloads, columns, texts)
    good = [row for row in range(len(ids)) if row not in failures.reasons]
    rows = np.array(good, dtype=np.int64)
    return Block(
        numbers=[numbers[row] for row in good],
        ids=[id for row in good if (id := ids[row]) is not None],
        shown_ids=[shown[row] for row in good],
        payloads=[payloads[row] for row in good],
        vectors={name: cells.of_rows(rows) for name, cells in vectors.items()},
        texts={name: [column[row] for row in good] for name, column in texts.items()},
        failures=[
            RowFailure(numbers[row], reason, shown[row] if ids[row] is not None else "", ids[row])
            for row, reason in sorted(failures.reasons.items())
        ],
    )


def _read(read: CellReader, column: str, array: Any, failures: _Failures) -> list[Any]:
    cells = read(array)
    failures.add(cells.bad, f"column {column}: ")
    return cells.values


def _invalid(reason: str) -> Terminal:
    return Terminal(Reason.SOURCE_INVALID, reason)


def _find(column: str, schema: Any, where: str) -> Path:
    if (path := find_path(column, schema)) is None:
        raise _invalid(f"{where} names the column {column}, which is not there. {_columns(schema)}")
    return path


def _columns(schema: Any) -> str:
    names = [shorten_id(name) for name in schema.names]
    more = f" and {len(names) - SHOWN_COLUMNS:,} more" if len(names) > SHOWN_COLUMNS else ""
    return f"The columns are {', '.join(names[:SHOWN_COLUMNS])}{more}"


def _index_columns(names: Collection[str], pandas_index: Collection[str]) -> list[str]:
    """Columns that writers add by themselves: pandas only to some of the files of one job."""
    return [
        name
        for name in names
        if name.startswith(INDEX_PREFIX) or name == "" or (name == "index" and name in pandas_index)
    ]


def _pandas_index(schema: Any) -> Sequence[Any]:
    try:
        return list((schema.pandas_metadata or {}).get("index_columns", ()))
    except ValueError:
        return ()
