"""Record batches to blocks of points."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from vectorops.api.meta import JsonObject
from vectorops.api.source import ColumnType
from vectorops.formats.base import ArrowRows
from vectorops.points.block import Block
from vectorops.points.declared import place
from vectorops.points.identity import MAX_INTEGER
from vectorops.points.mapping_cells import CellReader, RefusedColumn, cell_reader, is_bytes, is_nested, is_text
from vectorops.points.mapping_columns import (
    ColumnPath,
    Kept,
    column_at,
    drop_path,
    field_at,
    find_path,
    keep_path,
    prune_array,
    prune_field,
    top_of,
)
from vectorops.points.mapping_failures import RowFailures, assemble_block
from vectorops.points.mapping_spec import MappingSpec, index_columns, list_columns, unfit_mapping
from vectorops.points.mapping_vectors import VectorReader, vector_reader
from vectorops.qdrant.database import PointId


@dataclass(frozen=True, slots=True)
class _Column:
    """A column of a file, and how its values become JSON."""

    name: str
    path: ColumnPath
    read: CellReader
    kept: Kept | None = None
    """What of it; None: the whole."""

    def cells(self, batch: Any, failures: RowFailures) -> list[Any]:
        """Its values; what is wrong with them is added to failures."""
        with _convertible(self.name):
            cells = self.read(prune_array(column_at(self.path, batch), self.kept))
        failures.add(cells.bad, f"column {self.name}: ")
        return cells.values


class BatchMapper:
    """Makes points of batches that have one schema.

    schema: the pa.Schema. names: of all columns of the file, read or not.
    Raises Terminal SourceInvalid if a column is missing, or cannot be what it is to be.
    """

    def __init__(self, spec: MappingSpec, schema: Any, names: Sequence[str] = ()) -> None:
        self.schema = schema
        self._spec = spec
        self._names = names or schema.names
        unread = {*self._names}.difference(schema.names)
        for where, column in spec.named_columns:
            if top_of(column, self._names) not in unread:
                self._find(column, where)
        paths = ((find_path(column, schema), kind) for column, kind in spec.types.items())
        self._kinds: dict[ColumnPath, ColumnType] = {path: kind for path, kind in paths if path is not None}
        self._ids = [self._id_column(name) for name in spec.id_columns]
        self._vectors: list[tuple[str, ColumnPath, VectorReader]] = []
        for name, column, encoding in spec.vector_columns(schema.names):
            path = self._find(column, "mapping.vectors")
            try:
                reader = vector_reader(field_at(path, schema), f"column {column}", spec.schema[name], encoding)
            except RefusedColumn as error:
                raise unfit_mapping(f"column {column}, for {place(name)}, {error}") from None
            self._vectors.append((name, path, reader))
        self._texts = {
            name: [self._text_column(column, name) for column in template.columns]
            for name, template in spec.templates.items()
        }
        taken = {one.path for one in self._ids} | {path for _, path, _ in self._vectors}
        self._whole = self._whole_column(spec.payload.column) if spec.payload.column is not None else None
        self._payload = self._payload_columns(taken) if self._whole is None else {}

    def map_batch(self, rows: ArrowRows) -> Block:
        """The points of a batch."""
        batch, spec, failures = rows.batch, self._spec, RowFailures()
        ids, declared = self._read_ids(batch, failures)
        vectors = {}
        for name, path, read in self._vectors:
            with _convertible(".".join(path)):
                vectors[name] = read(column_at(path, batch))
            failures.add(vectors[name].bad)
        values = {
            name: list(zip(*(column.cells(batch, failures) for column in columns), strict=True))
            for name, columns in self._texts.items()
        }
        payloads = self._read_payloads(batch, declared, failures)
        texts = spec.fill_templates(values, failures)
        return assemble_block(rows.numbers, ids, declared, payloads, vectors, texts, failures)

    def _read_payloads(self, batch: Any, declared: Sequence[Any], failures: RowFailures) -> list[JsonObject]:
        spec = self._spec
        if self._whole is not None:
            whole = self._whole.cells(batch, failures)
            payloads = [spec.spread(value, row, failures) for row, value in enumerate(whole)]
            if spec.store_id_as is not None:
                for payload, id in zip(payloads, declared, strict=True):
                    payload[spec.store_id_as] = id
            return payloads
        names = [*self._payload, *spec.constants]
        fields: list[Iterable[Any]] = [column.cells(batch, failures) for column in self._payload.values()]
        fields += [[value] * len(declared) for value in spec.constants.values()]
        if spec.store_id_as is not None:
            names.append(spec.store_id_as)
            fields.append(declared)
        if not fields:
            return [{} for _ in declared]
        return [dict(zip(names, row, strict=True)) for row in zip(*fields, strict=True)]

    def _read_ids(self, batch: Any, failures: RowFailures) -> tuple[Sequence[PointId | None], Sequence[Any]]:
        """The ids, and the same as declared."""
        if not self._spec.is_composite:
            column = self._ids[0]
            array = column_at(column.path, batch)
            if pa.types.is_integer(array.type) and not array.null_count and column.path not in self._kinds:
                numbers: list[int] = array.to_pylist()
                if not numbers or (min(numbers) >= 0 and max(numbers) <= MAX_INTEGER):
                    return numbers, numbers
        values = [column.cells(batch, failures) for column in self._ids]
        declared = [list(row) for row in zip(*values, strict=True)] if self._spec.is_composite else values[0]
        return self._spec.identify(declared, failures), declared

    def _find(self, column: str, where: str) -> ColumnPath:
        if (path := find_path(column, self.schema)) is None:
            raise unfit_mapping(f"{where} names the column {column}, which is not there. {list_columns(self._names)}")
        return path

    def _whole_column(self, name: str) -> _Column:
        path = self._find(name, "mapping.payload.column")
        return self._column(name, path, kind="JSON" if is_text(field_at(path, self.schema).type) else None)

    def _column(self, name: str, path: ColumnPath, kept: Kept | None = None, kind: ColumnType | None = None) -> _Column:
        field = prune_field(field_at(path, self.schema), kept).with_name(name)
        inner = {one[len(path) :]: of for one, of in self._kinds.items() if one[: len(path)] == path != one}
        try:
            read = cell_reader(field, kind or self._kinds.get(path), inner)
        except RefusedColumn as error:
            raise unfit_mapping(f"column {name} {error}") from None
        return _Column(name, path, read, kept)

    def _id_column(self, name: str) -> _Column:
        path = find_path(name, self.schema)
        if path is None:
            # pandas 3 only describes an index of evenly spaced integers.
            is_described = any(isinstance(one, dict) and one.get("name") == name for one in _pandas_index(self.schema))
            helps = "call reset_index() in pandas before it is written" if is_described else ""
            raise unfit_mapping(
                f"there is no column {name} for the id: {helps or 'name another in mapping.id'}. "
                f"{list_columns(self._names)}"
            )
        type, kind = field_at(path, self.schema).type, self._kinds.get(path)
        if pa.types.is_floating(type) and kind != "Integer":
            raise unfit_mapping(
                f"column {name} is {type}, which is no id: as a float, integers beyond 2^53 were rounded. Write it as "
                f"an integer or text; if none is so large, say `types: {{{name}: Integer}}` in mapping"
            )
        if is_bytes(type) and kind is None:
            raise unfit_mapping(
                f"column {name} is {type}, which is no id: cast it before it is written, a UUID to text"
            )
        if is_nested(type):
            raise unfit_mapping(f"column {name} is {type}, which is no id: make it text")
        return self._column(name, path)

    def _text_column(self, name: str, vector: str) -> _Column:
        path = self._find(name, "mapping.vectors")
        type = field_at(path, self.schema).type
        if is_nested(type):
            raise unfit_mapping(f"column {name} is {type}, no text that could be embedded for {place(vector)}")
        return self._column(name, path)

    def _payload_columns(self, taken: Collection[ColumnPath]) -> dict[str, _Column]:
        """By field of the payload. taken: columns that are something else."""
        declared, schema = self._spec.payload, self.schema
        kept: Kept = {}
        if declared.include is not None:
            for column in declared.include:
                keep_path(kept, self._find(column, "mapping.payload.include"))
        else:
            index = [name for name in _pandas_index(schema) if isinstance(name, str)]
            left_out = [(name,) for name in index_columns(schema.names, index)]
            excluded = [path for one in declared.exclude or () if (path := find_path(one, schema)) is not None]
            kept = dict.fromkeys(schema.names)
            for path in (*left_out, *taken, *excluded):
                drop_path(kept, path, schema)
        renamed = {column: self._find(column, "mapping.payload.rename") for column in self._spec.rename}
        for path in renamed.values():
            drop_path(kept, path, schema)
        self._spec.check_fields([*kept, *self._spec.rename.values()])
        columns = {name: self._column(name, (name,), inner) for name, inner in kept.items()}
        return columns | {self._spec.rename[column]: self._column(column, path) for column, path in renamed.items()}


@contextmanager
def _convertible(column: str) -> Iterator[None]:
    """Makes an error of a type that pyarrow reads and does not convert ours. Its own words may hold content."""
    try:
        yield
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise unfit_mapping(
            f"column {column} cannot be converted ({type(error).__name__}): write it with another type, or leave it "
            "out with mapping.payload.exclude"
        ) from None


def _pandas_index(schema: Any) -> list[Any]:
    """What pandas says of its index: names of columns, and objects that describe what is no column."""
    try:
        return list((schema.pandas_metadata or {}).get("index_columns", ()))
    except ValueError:
        return []
