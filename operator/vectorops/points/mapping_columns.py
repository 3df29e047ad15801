"""Which columns a mapping names, and where they lie: at the top, or nested in others."""

from __future__ import annotations

import string
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from vectorops.api.meta import JsonObject

ColumnPath = tuple[str, ...]
"""The names from a top column down to the one that is meant."""

Kept = dict[str, "Kept | None"]
"""Columns, or fields of a struct, that are kept. None: whole."""

MISSING: Any = object()
"""What a row does not have."""


class BadTemplate(ValueError):
    """Why a template cannot be used."""


def find_path(name: str, fields: Any) -> ColumnPath | None:
    """Where the column of a name is. fields: an Arrow schema, or a struct. None: nowhere."""
    names = [one.name for one in fields]
    if name in names:
        return (name,)
    for place in (index for index, letter in enumerate(name) if letter == "."):
        head = name[:place]
        if head in names and pa.types.is_struct(inner := fields.field(head).type):
            rest = find_path(name[place + 1 :], inner)
            if rest:
                return (head, *rest)
    return None


def top_of(name: str, names: Iterable[str]) -> str:
    """The top column that a column is, or is nested in; the name itself if there is none."""
    names = set(names)
    heads = [name, *(name[:index] for index, letter in enumerate(name) if letter == ".")]
    return next((head for head in heads if head in names), name)


def field_at(path: ColumnPath, schema: Any) -> Any:
    """The pa.Field at a path."""
    found = schema.field(path[0])
    for name in path[1:]:
        found = found.type.field(name)
    return found


def column_at(path: ColumnPath, batch: Any) -> Any:
    """The Arrow array at a path; null where what it is nested in is null."""
    found = batch.column(path[0])
    for name in path[1:]:
        found = pc.struct_field(found, found.type.get_field_index(name))
    return found


def keep_path(kept: Kept, path: ColumnPath) -> None:
    """Adds a column, or a nested one, to what is kept."""
    for name in path[:-1]:
        inner = kept.setdefault(name, {})
        if inner is None:
            return
        kept = inner
    kept[path[-1]] = None


def drop_path(kept: Kept, path: ColumnPath, fields: Any) -> None:
    """Takes a column, or a nested one, from what is kept. fields: the Arrow schema, or struct, that `kept` is of."""
    name = path[0]
    if name not in kept:
        return
    if len(path) > 1:
        type = fields.field(name).type
        inner = kept[name]
        if inner is None:
            inner = {type.field(index).name: None for index in range(type.num_fields)}
        drop_path(inner, path[1:], type)
        if inner:
            kept[name] = inner
            return
    del kept[name]


def prune_field(of: Any, kept: Kept | None) -> Any:
    """The pa.Field with what is kept of it."""
    if kept is None:
        return of
    return pa.field(of.name, pa.struct([prune_field(of.type.field(name), inner) for name, inner in kept.items()]))


def prune_array(array: Any, kept: Kept | None) -> Any:
    """The Arrow array with what is kept of it."""
    if kept is None:
        return array
    children = [prune_array(array.field(array.type.get_field_index(name)), inner) for name, inner in kept.items()]
    return pa.StructArray.from_arrays(children, names=list(kept), mask=array.is_null() if array.null_count else None)


def json_path(name: str, row: JsonObject) -> ColumnPath | None:
    """Where the column of a name is in a JSON row. None: nowhere."""
    if name in row:
        return (name,)
    for place in (index for index, letter in enumerate(name) if letter == "."):
        inner = row.get(name[:place])
        if isinstance(inner, dict) and (rest := json_path(name[place + 1 :], inner)):
            return (name[:place], *rest)
    return None


def json_value(name: str, row: JsonObject) -> Any:
    """The value of a column in a JSON row, or `MISSING`."""
    found = row.get(name, MISSING)
    if found is MISSING and "." in name and (path := json_path(name, row)):
        found = row
        for part in path:
            found = found[part]
    return found


def without(row: JsonObject, path: ColumnPath) -> JsonObject:
    """The JSON row without a column, or a nested one; without what held nothing else. The row stays as it is."""
    left = dict(row)
    inner = without(row[path[0]], path[1:]) if len(path) > 1 else None
    if inner:
        left[path[0]] = inner
    else:
        del left[path[0]]
    return left


def replaced(row: JsonObject, path: ColumnPath, value: Any) -> JsonObject:
    """The JSON row with another value at a path. The row stays as it is."""
    inner = replaced(row[path[0]], path[1:], value) if len(path) > 1 else value
    return {**row, path[0]: inner}


def put(row: JsonObject, path: ColumnPath, value: Any) -> None:
    """Sets a column, or a nested one, of a JSON row."""
    for name in path[:-1]:
        row = row.setdefault(name, {})
    row[path[-1]] = value


@dataclass(frozen=True, slots=True)
class Template:
    """A text made of several columns."""

    columns: Sequence[str]
    """As often as they are named."""
    between: Sequence[str]
    """The texts before, between and after them: one more than columns."""

    @classmethod
    def parse(cls, text: str) -> Template:
        """Raises BadTemplate."""
        columns, between, before = [], [], ""
        try:
            parts = list(string.Formatter().parse(text))
        except ValueError as error:
            raise BadTemplate(f"{error}: write {{{{ and }}}} for braces") from None
        for literal, column, form, conversion in parts:
            before += literal
            if column is None:
                continue
            if not column or form or conversion:
                raise BadTemplate("between braces stands the name of a column, and nothing else")
            columns.append(column)
            between.append(before)
            before = ""
        if not columns:
            raise BadTemplate("it names no column")
        return cls(columns, [*between, before])

    def fill(self, values: Sequence[Any]) -> str | None:
        """The text. values: of the columns, JSON. None if all are null. Raises TypeError for a list or an object."""
        if all(value is None for value in values):
            return None
        texts = [_as_text(value) for value in values]
        return "".join(part for pair in zip(self.between, [*texts, ""], strict=True) for part in pair)


def _as_text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, list | dict):
        raise TypeError
    return value if isinstance(value, str) else orjson.dumps(value).decode()
