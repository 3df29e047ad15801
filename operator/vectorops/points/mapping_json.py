"""JSON objects to blocks of points."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vectorops.api.meta import JsonObject
from vectorops.api.nesting import LEVELS, WORDS, is_deeper
from vectorops.formats.base import BadRow, JsonRows
from vectorops.points.block import Block, RowFailure
from vectorops.points.declared import shorten_id
from vectorops.points.mapping_cells import Unfit, convert_value
from vectorops.points.mapping_columns import MISSING, json_path, json_value, put, replaced, without
from vectorops.points.mapping_failures import RowFailures, assemble_block
from vectorops.points.mapping_json_vectors import json_vectors, read_json_vectors
from vectorops.points.mapping_spec import MappingSpec


def map_objects(spec: MappingSpec, rows: JsonRows) -> Block:
    """The points of rows that are one JSON object each."""
    failures = RowFailures()
    typed = [_with_types(spec, row, index, failures) for index, row in enumerate(rows.rows)]
    declared = _declared_ids(spec, typed)
    ids = spec.identify(declared, failures)
    sources = [spec.vector_columns(row) for row in typed]
    vectors = {}
    for name in {name for one in sources for name, _, _ in one}:
        where = [next((source for source in one if source[0] == name), None) for one in sources]
        given = [
            None if source is None or (value := json_value(source[1], row)) is MISSING else value
            for source, row in zip(where, typed, strict=True)
        ]
        _, column, encoding = next(source for source in where if source is not None)
        read = read_json_vectors if encoding is None else json_vectors
        vectors[name] = read(given, f"column {column}", spec.schema[name])
        failures.add(vectors[name].bad)
    values = {
        name: list(zip(*(_column_values(column, typed) for column in template.columns), strict=True))
        for name, template in spec.templates.items()
    }
    texts = spec.fill_templates(values, failures)
    payloads = [
        _payload(spec, row, [*spec.id_columns, *(column for _, column, _ in one)], index, failures)
        for index, (row, one) in enumerate(zip(typed, sources, strict=True))
    ]
    if spec.store_id_as is not None:
        for payload, value in zip(payloads, declared, strict=True):
            payload[spec.store_id_as] = value
    return assemble_block(rows.numbers, ids, declared, payloads, vectors, texts, failures)


def explain_bad_row(spec: MappingSpec, bad: BadRow) -> RowFailure:
    """The failure of a row that cannot be read whole, with its id if that can be read."""
    if bad.row is not None:
        failures = RowFailures()
        (declared,) = _declared_ids(spec, [_with_types(spec, bad.row, 0, failures)])
        (id,) = spec.identify([declared], failures)
        if id is not None:
            return RowFailure(bad.number, bad.reason, shorten_id(declared), id)
    return RowFailure(bad.number, bad.reason)


def _declared_ids(spec: MappingSpec, rows: Sequence[JsonObject]) -> list[Any]:
    keys = [_column_values(column, rows, MISSING) for column in spec.id_columns]
    return [list(row) for row in zip(*keys, strict=True)] if spec.is_composite else keys[0]


def _column_values(column: str, rows: Sequence[JsonObject], absent: Any = None) -> list[Any]:
    return [absent if (one := json_value(column, row)) is MISSING else one for row in rows]


def _with_types(spec: MappingSpec, row: JsonObject, index: int, failures: RowFailures) -> JsonObject:
    for column, kind in spec.types.items():
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


def _payload(spec: MappingSpec, row: JsonObject, taken: Sequence[str], index: int, failures: RowFailures) -> JsonObject:
    payload: JsonObject = {}
    if (whole := spec.payload.column) is not None:
        value = json_value(whole, row)
        try:
            value = convert_value("JSON", value) if isinstance(value, str) else value
        except Unfit as error:
            failures.add({index: f"column {whole}: {error}"})
            value = None
        return spec.spread(value, index, failures)
    if spec.payload.include is not None:
        for column in spec.payload.include:
            if column not in spec.rename and (path := json_path(column, row)):
                put(payload, path, json_value(column, row))
    else:
        payload = dict(row)
        for column in (*taken, *(spec.payload.exclude or ()), *spec.rename):
            if path := json_path(column, payload):
                payload = without(payload, path)
    given = {target: json_value(column, row) for column, target in spec.rename.items() if json_path(column, row)}
    given |= spec.constants
    twice = [
        *(field for field in given if field in payload),
        *([spec.store_id_as] if spec.store_id_as in payload else []),
    ]
    if twice:
        failures.add({index: f"the payload would get the field {twice[0]} twice: see mapping.payload and storeIdAs"})
    payload |= given
    if is_deeper(payload, LEVELS):
        failures.add({index: f"the payload is {WORDS}"})
    return payload
