"""Columns of Arrow, and JSON values, as vectors.

Dense vectors stay one array, and are checked as one; no number becomes a Python object.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vectorops.formats.json_text import BadJson, parse_json
from vectorops.points.declared import BadPoint, check_range
from vectorops.points.mapping_cells import Refused, bools, extension_name, is_list, is_text, list_layout, read_texts
from vectorops.points.schema import VectorSchema
from vectorops.vectors import Sparse, VectorData
from vectorops.words import counted


@dataclass(frozen=True, slots=True)
class VectorCells:
    """One vector of n rows."""

    values: NDArray[np.float32] | list[VectorData | None]
    """An array of shape (n, size), or one by one. Anything for a row that is bad or has none."""
    present: NDArray[np.bool_] | None
    """Shape (n,): has a row the vector? None: all have."""
    bad: dict[int, str] = field(default_factory=dict)
    """What is wrong, by row."""

    def of_rows(self, rows: NDArray[np.int64] | None) -> NDArray[np.float32] | Sequence[VectorData | None]:
        """The vectors of some rows, none of them bad; None: of all."""
        values, present = self.values, self.present
        if rows is not None:
            values = values[rows] if isinstance(values, np.ndarray) else [values[row] for row in rows.tolist()]
            present = present[rows] if present is not None else None
        if isinstance(values, list):
            return values
        if present is None or present.all():
            return values
        return [row if there else None for row, there in zip(values, present.tolist(), strict=True)]


VectorReader = Callable[[Any], VectorCells]

NUMBERS: Final = frozenset({int, float})


def vector_reader(of: Any, where: str, expected: VectorSchema, encoding: str | None = None) -> VectorReader:
    """How a column becomes vectors. of: its pa.Field. where: what messages call it. Raises Refused."""
    type = of.type
    if pa.types.is_null(type):
        return lambda array: VectorCells([None] * len(array), np.zeros(len(array), dtype=np.bool_))
    if encoding == "JSON":
        if not (is_text(type) or extension_name(of) == "arrow.json"):
            raise Refused(f"is {type}: `encoding: JSON` is for text")
        return lambda array: _read_json_texts(_storage(array), where, expected)
    if isinstance(type, pa.BaseExtensionType):
        type = type.storage_type
    if is_text(type):
        raise Refused(
            f"is {of.type}, no list of numbers: if it holds the numbers as JSON, say `encoding: JSON` in "
            "mapping.vectors; if it is text to be embedded, say `embed`"
        )
    if expected.kind == "sparse":
        return _sparse_reader(type, where, expected)
    if not is_list(type):
        raise Refused(f"is {of.type}, no list of numbers")
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
        raise Refused(f"is {whole}, no list of numbers: cast its elements to a 32-bit float")


def _check_width(type: Any, expected: VectorSchema) -> None:
    if pa.types.is_fixed_size_list(type) and type.list_size != expected.size:
        raise Refused(f"has {counted(type.list_size, 'component')}, but the vector's size is {expected.size}")


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
        _find_nulls(nulls, starts, lengths, where, bad)
    _check_rows(matrix, where, expected, present, bad)
    return VectorCells(matrix, present, bad)


def _find_nulls(
    nulls: NDArray[np.bool_], starts: NDArray[np.int64], lengths: NDArray[np.int64], where: str, bad: dict[int, str]
) -> None:
    """Adds the rows that have a null among their components."""
    before = np.concatenate(([0], np.cumsum(nulls)))
    for row in np.flatnonzero(before[starts + lengths] - before[starts]).tolist():
        place = int(np.argmax(nulls[starts[row] : starts[row] + lengths[row]]))
        bad.setdefault(row, f"{where}[{place}]: null")


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
    except BadPoint:
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


def _sparse_reader(type: Any, where: str, expected: VectorSchema) -> VectorReader:
    names = [type.field(index).name for index in range(type.num_fields)] if pa.types.is_struct(type) else []
    if sorted(names) != ["indices", "values"] or not all(is_list(type.field(name).type) for name in names):
        raise Refused(f"is {type}: a sparse vector is a struct of two lists, indices and values")
    if not pa.types.is_integer(type.field("indices").type.value_type):
        raise Refused(f"is {type}: the indices of a sparse vector are integers")
    _check_numbers(type.field("values").type.value_type, type)

    def read(array: Any) -> VectorCells:
        array = _storage(array)
        present = bools(array.is_valid(), True)
        parts = [array.field(names.index(name)).to_pylist() for name in ("indices", "values")]
        rows = [
            {"indices": indices, "values": values} if there else None
            for indices, values, there in zip(*parts, present.tolist(), strict=True)
        ]
        return read_json_vectors(rows, where, expected)

    return read


def _read_json_texts(array: Any, where: str, expected: VectorSchema) -> VectorCells:
    texts = read_texts(array)
    cells = json_vectors(texts.values, where, expected)
    return replace(cells, bad=cells.bad | {row: f"{where}: {reason}" for row, reason in texts.bad.items()})


def json_vectors(texts: Sequence[Any], where: str, expected: VectorSchema) -> VectorCells:
    """Vectors of JSON texts; none where the text is empty, or None."""
    bad: dict[int, str] = {}
    values: list[Any] = []
    for row, text in enumerate(texts):
        value = None
        try:
            if isinstance(text, str):
                value = parse_json(text.encode()) if text and not text.isspace() else None
            elif text is not None:
                bad[row] = f"{where}: no text, but `encoding` is JSON"
        except BadJson as error:
            bad[row] = f"{where}: {error}"
        values.append(value)
    cells = read_json_vectors(values, where, expected)
    return replace(cells, bad=bad | cells.bad)


def read_json_vectors(values: Sequence[Any], where: str, expected: VectorSchema) -> VectorCells:
    """Vectors of JSON values: a list of numbers, a list of such lists for a multi-vector, an object with the lists
    indices and values for a sparse one; null where there is none.
    """
    found: list[VectorData | None] = []
    bad: dict[int, str] = {}
    for row, value in enumerate(values):
        try:
            found.append(None if value is None else vector_of(value, where, expected))
        except BadPoint as error:
            found.append(None)
            bad[row] = str(error)
    if expected.kind == "dense":
        zeros = np.zeros(expected.size, np.float32)
        matrix = np.stack([zeros if one is None else np.asarray(one) for one in found]) if found else None
        if matrix is not None:
            return VectorCells(matrix, np.array([one is not None for one in found]), bad)
    return VectorCells(found, None, bad)


def vector_of(value: Any, where: str, expected: VectorSchema) -> VectorData:
    """One vector of a JSON value. Raises BadPoint."""
    if expected.kind == "sparse":
        if not isinstance(value, dict) or value.keys() != {"indices", "values"}:
            raise BadPoint(f"{where}: a sparse vector is an object with indices and values")
        return _sparse_of(value["indices"], value["values"], where, expected)
    if not isinstance(value, list):
        raise BadPoint(f"{where}: no list of numbers")
    if expected.kind == "multivector" and value and isinstance(value[0], list):
        return np.stack([_row_of(row, f"{where}[{index}]", expected) for index, row in enumerate(value)])
    if expected.kind == "multivector" and not value:
        raise BadPoint(f"{where}: a multi-vector needs at least one row")
    numbers = _row_of(value, where, expected)
    return numbers.reshape(1, -1) if expected.kind == "multivector" else numbers


def _row_of(value: Any, where: str, expected: VectorSchema) -> NDArray[np.float32]:
    numbers = _numbers_of(value, where)
    if len(numbers) != expected.size:
        raise BadPoint(f"{where}: {counted(len(numbers), 'component')}, but the vector's size is {expected.size}")
    check_range(where, numbers, expected)
    return numbers


def _numbers_of(value: Any, where: str) -> NDArray[np.float32]:
    if not isinstance(value, list) or not set(map(type, value)) <= NUMBERS:
        raise BadPoint(f"{where}: no list of numbers")
    with np.errstate(over="ignore"):
        return np.asarray(value, dtype=np.float64).astype(np.float32)


def _sparse_of(indices: Any, values: Any, where: str, expected: VectorSchema) -> Sparse:
    if not isinstance(indices, list) or not set(map(type, indices)) <= {int}:
        raise BadPoint(f"{where}.indices: no list of integers")
    if indices and not (min(indices) >= 0 and max(indices) < 2**32):
        raise BadPoint(f"{where}.indices: an index is not in the range 0 to 2^32-1")
    numbers = _numbers_of(values, f"{where}.values")
    if len(indices) != len(numbers):
        raise BadPoint(f"{where}: {counted(len(indices), 'index', 'indices')}, but {counted(len(numbers), 'value')}")
    if len(set(indices)) != len(indices):
        raise BadPoint(f"{where}.indices: an index is given twice")
    check_range(f"{where}.values", numbers, expected)
    places = np.asarray(indices, dtype=np.uint32)
    order = np.argsort(places)
    return Sparse(places[order], numbers[order])
