"""JSON values as vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vectorops.formats.json_text import BadJson, load_exact_json
from vectorops.points.declared import BadPoint, check_components, make_sparse, to_float32
from vectorops.points.schema import VectorSchema
from vectorops.vectors import Sparse, VectorData

NUMBERS: Final = frozenset({int, float})


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


def json_vectors(texts: Sequence[Any], where: str, expected: VectorSchema) -> VectorCells:
    """Vectors of JSON texts; none where the text is empty, or None."""
    bad: dict[int, str] = {}
    values: list[Any] = []
    for row, text in enumerate(texts):
        value = None
        try:
            if isinstance(text, str):
                value = load_exact_json(text.encode()) if text and not text.isspace() else None
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
        return sparse_of(value["indices"], value["values"], where, expected)
    if isinstance(value, str):
        raise BadPoint(f"{where}: text, no list of numbers: say `embed` or `encoding: JSON` in mapping.vectors")
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
    check_components(where, numbers, expected)
    return numbers


def _numbers_of(value: Any, where: str) -> NDArray[np.float32]:
    if not isinstance(value, list) or not set(map(type, value)) <= NUMBERS:
        raise BadPoint(f"{where}: no list of numbers")
    return to_float32(value)


def sparse_of(indices: Any, values: Any, where: str, expected: VectorSchema) -> Sparse:
    """A sparse vector of two JSON lists. Raises BadPoint."""
    if not isinstance(indices, list) or not set(map(type, indices)) <= {int}:
        raise BadPoint(f"{where}.indices: no list of integers")
    if indices and not (min(indices) >= 0 and max(indices) < 2**32):
        raise BadPoint(f"{where}.indices: an index is not in the range 0 to 2^32-1")
    return make_sparse(where, indices, _numbers_of(values, f"{where}.values"), expected)
