"""Texts whose vectors are taken from where they are stored already."""

from collections.abc import Mapping, Sequence, Set

import numpy as np
import pytest

from vectorops import metrics
from vectorops.points import reuse
from vectorops.points.declared import Declared
from vectorops.points.diff import Change, Diff
from vectorops.points.reuse import Reuse, TextPoint, WantedText, take_out
from vectorops.points.schema import PointSchema, VectorSchema
from vectorops.qdrant.database import PointData
from vectorops.vectors import Sparse, VectorData

SCHEMA = {
    "a": VectorSchema("dense", 2, "Dot"),
    "b": VectorSchema("dense", 2, "Dot"),
    "rows": VectorSchema("multivector", 2),
    "terms": VectorSchema("sparse"),
}


def texts(id, **named):
    return Declared(PointData(id), str(id), 20, dict.fromkeys(named, 21), named)


def numbers(point: TextPoint) -> dict[str, float]:
    """Of each vector, the first number."""
    vectors = (point.declared if isinstance(point, Change) else point).data.vectors
    return {name: float(vector[0]) for name, vector in vectors.items() if not isinstance(vector, Sparse)}


class Store:
    """Has the vectors of some texts, by vector and text. gone: those whose vectors it only seems to have."""

    def __init__(self, *has: tuple[str, str], gone: Sequence[tuple[str, str]] = (), number: float = 1.0) -> None:
        self.has, self.gone, self.number = set(has), set(gone), number
        self.searched: list[str] = []

    async def known(self, wanted: Sequence[WantedText], schema: PointSchema) -> Set[WantedText]:
        return {each for each in wanted if (each.vector, each.text) in self.has | self.gone}

    async def find(self, wanted: Sequence[WantedText], schema: PointSchema) -> Mapping[WantedText, VectorData]:
        self.searched += [each.text for each in wanted]
        vector = np.full(2, self.number, dtype=np.float32)
        return {each: vector for each in wanted if (each.vector, each.text) in self.has}


async def test_sources_are_searched_one_after_another_for_what_is_missing():
    one, two = Store(("a", "one"), ("b", "one")), Store(("a", "two"), ("a", "one"), number=2.0)
    before = metrics.TEXTS_REUSED._value.get()
    taking = Reuse([one, two], SCHEMA)

    filled = await taking.fill([texts(1, a="one", b="one"), texts(2, a="two", b="one"), texts(3, a="three")])

    assert [dict(point.pending) for point in filled] == [{}, {}, {"a": "three"}]
    assert list(map(numbers, filled)) == [{"a": 1.0, "b": 1.0}, {"a": 2.0, "b": 1.0}, {}]
    assert two.searched == ["two", "three"]
    assert taking.reused == metrics.TEXTS_REUSED._value.get() - before == 4


async def test_of_a_change_only_texts_that_need_a_vector_are_searched():
    store = Store(("a", "changed"), ("b", "stays"))

    (filled,) = await Reuse([store], SCHEMA).fill([Change(texts(1, a="changed", b="stays"), vectors=("a",))])

    assert store.searched == ["changed"]
    assert (dict(filled.pending), numbers(filled)) == ({}, {"a": 1.0})


async def test_only_points_all_of_whose_texts_seem_to_be_there_come_in_windows(monkeypatch):
    monkeypatch.setattr(reuse, "WINDOW_BYTES", 40)
    store = Store(("a", "one"), ("rows", "x" * 20), gone=[("b", "gone")])
    points = [
        texts(1, a="one"),
        texts(2, a="one", b="another"),
        texts(3, rows="x" * 20),
        texts(4, a="one", b="gone"),
        Change(texts(5, a="one"), vectors=("a",)),
        Change(texts(6, a="another"), vectors=()),
    ]
    found = Diff(insert=tuple(points[:4]), change=tuple(points[4:]))

    windows = await Reuse([store], SCHEMA).windows(found)

    # Of 8, of 48, and of 24 bytes.
    assert windows == [[points[0]], [points[2]], [points[3], points[4]]]
    assert store.searched == []
    assert await Reuse([], SCHEMA).windows(found) == []


def test_what_is_done_leaves_the_others_in_their_order():
    points = [texts(id, a="one", b="two") for id in range(4)]
    change = Change(points[3], vectors=("a",))
    half = points[2].embedded({"a": np.ones(2, dtype=np.float32)})

    left = take_out(Diff(insert=tuple(points[:3]), change=(change,), unchanged=7), {0, 3}, {2: half})

    assert left == Diff(insert=(points[1], half), change=(), unchanged=7)


@pytest.mark.parametrize("sources", [[], [Store()]])
async def test_where_nothing_is_stored_the_points_stay_as_they_are(sources):
    points = [texts(1, a="one"), texts(2, b="two")]

    assert await Reuse(sources, SCHEMA).fill(points) == points
