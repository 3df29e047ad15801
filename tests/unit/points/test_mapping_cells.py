"""What pyarrow makes of nested values itself is what they become, whatever part of a larger array they are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from vectorops.points.mapping_cells import cell_reader
from vectorops.points.mapping_vectors import vector_reader
from vectorops.points.schema import VectorSchema

Typed = tuple[pa.DataType, st.SearchStrategy[Any]]

PLAIN: list[Typed] = [
    (pa.int32(), st.integers(-(2**31), 2**31 - 1)),
    (pa.uint64(), st.integers(0, 2**64 - 1)),
    (pa.bool_(), st.booleans()),
    (pa.string(), st.text("aä", max_size=3)),
    (pa.string_view(), st.text("aä", max_size=20)),
    (pa.float64(), st.floats(allow_nan=False, allow_infinity=False)),
    (pa.null(), st.none()),
]


def lists_of(inner: Typed) -> st.SearchStrategy[Typed]:
    of, values = inner
    items = st.lists(values | st.none(), max_size=3)
    pair = st.lists(values | st.none(), min_size=2, max_size=2)
    return st.sampled_from(
        [
            (pa.list_(of), items),
            (pa.large_list(of), items),
            (pa.list_view(of), items),
            (pa.large_list_view(of), items),
            (pa.list_(of, 2), pair),
            (
                pa.struct([("x", of), ("y", pa.int8())]),
                st.fixed_dictionaries({"x": values | st.none(), "y": st.just(1)}),
            ),
            (pa.map_(pa.string(), of), st.dictionaries(st.text("ab", max_size=2), values | st.none(), max_size=3)),
        ]
    )


typed = st.recursive(st.sampled_from(PLAIN), lambda inner: inner.flatmap(lists_of), max_leaves=3)


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_nested_values_are_those_that_pyarrow_shows(data):
    of, values = data.draw(typed)
    rows = data.draw(st.lists(values | st.none(), max_size=6))
    whole = pa.array([list(row.items()) if pa.types.is_map(of) and row is not None else row for row in rows], of)
    begin = data.draw(st.integers(0, len(rows)))
    part = whole.slice(begin, data.draw(st.integers(0, len(rows) - begin)))

    cells = cell_reader(pa.field("c", of))(part)

    assert cells.bad == {}
    assert cells.values == part.to_pylist(maps_as_pydicts="strict")


LIST_TYPES = st.sampled_from([pa.list_, pa.large_list, pa.list_view, pa.large_list_view, lambda of: pa.list_(of, 2)])
NUMBER_TYPES = st.sampled_from([pa.float16(), pa.float32(), pa.float64(), pa.int8(), pa.uint64()])


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_dense_vectors_are_the_numbers_or_a_failure_of_their_row(data):
    make, of = data.draw(LIST_TYPES), data.draw(NUMBER_TYPES)
    lengths = st.just(2) if pa.types.is_fixed_size_list(make(of)) else st.sampled_from([2, 2, 2, 3, 0])
    number = st.integers(0, 100) | st.none() if data.draw(st.booleans()) else st.integers(0, 100)
    vectors = st.none() | lengths.flatmap(lambda length: st.lists(number, min_size=length, max_size=length))
    rows = data.draw(st.lists(vectors, max_size=6))
    begin = data.draw(st.integers(0, len(rows)))
    if of == pa.float16():
        half = [None if row is None else [None if one is None else np.float16(one) for one in row] for row in rows]
        part = pa.array(half, make(of)).slice(begin)
    else:
        part = pa.array(rows, make(of)).slice(begin)

    cells = vector_reader(pa.field("v", make(of)), "column v", VectorSchema("dense", 2, distance="Dot"))(part)

    expected = rows[begin:]
    assert set(cells.bad) == {
        index for index, row in enumerate(expected) if row is not None and (len(row) != 2 or None in row)
    }
    found = cells.of_rows(None)
    for index, row in enumerate(expected):
        if index not in cells.bad:
            vector = found[index]
            assert (None if vector is None else np.asarray(vector).tolist()) == row
