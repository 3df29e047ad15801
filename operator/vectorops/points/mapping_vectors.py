"""Columns of Arrow, and JSON values, as vectors.

Dense vectors stay one array, and are checked as one; no number becomes a Python object.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vectorops.points.declared import BadPoint, check_range
from vectorops.points.mapping_cells import (
    RefusedColumn,
    bools,
    extension_name,
    is_list,
    is_text,
    list_layout,
    read_texts,
)
from vectorops.points.mapping_json_vectors import VectorCells, json_vectors, read_json_vectors
from vectorops.points.schema import VectorSchema
from vectorops.vectors import VectorData
from vectorops.words import counted

VectorReader = Callable[[Any], VectorCells]


def vector_reader(of: Any, where: str, expected: VectorSchema, encoding: str | None = None) -> VectorReader:
    """How a column becomes vectors. of: its pa.Field. where: what messages call it. Raises RefusedColumn."""
    type = of.type
    if pa.types.is_null(type):
        return lambda array: VectorCells([None] * len(array), np.zeros(len(array), dtype=np.bool_))
    if encoding == "JSON":
        if not (is_text(type) or extension_name(of) == "arrow.json"):
            raise RefusedColumn(f"is {type}: `encoding: JSON` is for text")
        return lambda array: _read_json_texts(_storage(array), where, expected)
    if isinstance(type, pa.BaseExtensionType):
        type = type.storage_type
    if is_text(type):
        raise RefusedColumn(
            f"is {of.type}, no list of numbers: if it holds the numbers as JSON, say `encoding: JSON` in "
            "mapping.vectors; if it is text to be embedded, say `embed`"
        )
    if expected.kind == "sparse":
        if not _is_sparse(type):
            raise RefusedColumn(f"is {type}: a sparse vector is a struct of two lists, indices (integers) and values")
        _check_numbers(type.field("values").type.value_type, of.type)
        return lambda array: _read_sparse(_storage(array), where, expected)
    if not is_list(type):
        raise RefusedColumn(f"is {of.type}, no list of numbers")
    inner = type.value_type
    if expected.kind == "multivector" and is_list(inner):
        _check_numbers(inner.value_type, of.type)
        _check_width(inner, expected)
        return lambda array: _read_multivectors(_storage(array), where, expected)
    _check_numbers(inner, of.type)
    _check_width(type, expected)
    if expected.kind == "multivector":
        # One row of a multi-vector may be given as a dense vector.
        return lambda array: _as_multivectors(_read_dense(_storage(array), where, expected))
    return lambda array: _read_dense(_storage(array), where, expected)


def _as_multivectors(cells: VectorCells) -> VectorCells:
    rows = cells.of_rows(None)
    return replace(cells, values=[None if row is None else np.asarray(row).reshape(1, -1) for row in rows])


def _storage(array: Any) -> Any:
    return array.storage if isinstance(array.type, pa.BaseExtensionType) else array


def _check_numbers(type: Any, whole: Any) -> None:
    if pa.types.is_dictionary(type):
        type = type.value_type
    if not (pa.types.is_floating(type) or pa.types.is_integer(type) or pa.types.is_null(type)):
        raise RefusedColumn(f"is {whole}, no list of numbers: cast its elements to a 32-bit float")


def _check_width(type: Any, expected: VectorSchema) -> None:
    if pa.types.is_fixed_size_list(type) and type.list_size != expected.size:
        raise RefusedColumn(f"has {counted(type.list_size, 'component')}, but the vector's size is {expected.size}")


def _floats32(values: Any) -> tuple[NDArray[np.float32], NDArray[np.bool_] | None]:
    """Numbers as float32, and where they are null (None: nowhere)."""
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    nulls = bools(values.is_null(), True) if values.null_count else None
    if pa.types.is_null(values.type):
        return np.zeros(len(values), np.float32), nulls
    if nulls is not None:
        values = values.fill_null(0)
    with np.errstate(over="ignore"):
        numbers: NDArray[np.float32] = values.to_numpy(zero_copy_only=False).astype(np.float32, copy=False)
    return numbers, nulls


def _read_dense(array: Any, where: str, expected: VectorSchema) -> VectorCells:
    count, size = len(array), expected.size
    starts, lengths, values = list_layout(array)
    numbers, nulls = _floats32(values)
    present = bools(array.is_valid(), True) if array.null_count else None
    right = lengths == size
    bad: dict[int, str] = {}
    if right.all() and len(numbers) == count * size and (count < 2 or (np.diff(starts) == size).all()):
        matrix = numbers.reshape(count, size)
    else:
        wrong = np.flatnonzero(~right if present is None else ~right & present)
        for row in wrong.tolist():
            bad[row] = f"{where}: {counted(int(lengths[row]), 'component')}, but the vector's size is {size}"
        matrix = np.zeros((count, size), np.float32)
        places = starts[right][:, None] + np.arange(size)
        matrix[right] = numbers[places]
    if nulls is not None:
        before = np.concatenate(([0], np.cumsum(nulls)))
        for row in np.flatnonzero(before[starts + lengths] - before[starts]).tolist():
            first = int(np.argmax(nulls[starts[row] : starts[row] + lengths[row]]))
            bad.setdefault(row, f"{where}[{first}]: null")
    _check_rows(matrix, where, expected, present, bad)
    return VectorCells(matrix, present, bad)


def _check_rows(
    matrix: NDArray[np.float32],
    where: str,
    expected: VectorSchema,
    present: NDArray[np.bool_] | None,
    bad: dict[int, str],
) -> None:
    """Adds the rows whose numbers the datatype cannot hold."""
    try:
        check_range(where, matrix, expected)
        return
    except BadPoint:
        pass
    for row in range(len(matrix)):
        if row not in bad and (present is None or present[row]):
            try:
                check_range(where, matrix[row], expected)
            except BadPoint as error:
                bad[row] = str(error)


def _read_multivectors(array: Any, where: str, expected: VectorSchema) -> VectorCells:
    starts, lengths, inner = list_layout(array)
    rows = _read_dense(inner, where, expected)
    present = bools(array.is_valid(), True)
    found: list[VectorData | None] = []
    bad: dict[int, str] = {}
    for index, (start, length) in enumerate(zip(starts.tolist(), lengths.tolist(), strict=True)):
        mine = range(start, start + length)
        if not present[index]:
            found.append(None)
            continue
        found.append(np.asarray(rows.values[start : start + length]))
        if not length:
            bad[index] = f"{where}: a multi-vector needs at least one row"
        elif rows.bad and (reason := next((rows.bad[row] for row in mine if row in rows.bad), None)):
            bad[index] = reason
        elif rows.present is not None and not rows.present[start : start + length].all():
            bad[index] = f"{where}: a row is null"
    return VectorCells(found, present, bad)


def _is_sparse(type: Any) -> bool:
    names = [type.field(index).name for index in range(type.num_fields)] if pa.types.is_struct(type) else []
    if sorted(names) != ["indices", "values"] or not all(is_list(type.field(name).type) for name in names):
        return False
    return bool(pa.types.is_integer(type.field("indices").type.value_type))


def _read_sparse(array: Any, where: str, expected: VectorSchema) -> VectorCells:
    present = bools(array.is_valid(), True).tolist()
    parts = [array.field(array.type.get_field_index(name)).to_pylist() for name in ("indices", "values")]
    rows = [
        {"indices": indices, "values": values} if there else None
        for indices, values, there in zip(*parts, present, strict=True)
    ]
    return read_json_vectors(rows, where, expected)


def _read_json_texts(array: Any, where: str, expected: VectorSchema) -> VectorCells:
    texts = read_texts(array)
    cells = json_vectors(texts.values, where, expected)
    return replace(cells, bad=cells.bad | {row: f"{where}: {reason}" for row, reason in texts.bad.items()})
