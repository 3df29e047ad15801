"""The stream of points whose texts are embedded: what is given to the embedder, when, and what comes of it."""

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing

import numpy as np
import pytest

from vectorops.api.reasons import Reason
from vectorops.embedders.base import EmbeddedTexts, Unusable
from vectorops.errors import GaveWay, Terminal, Transient
from vectorops.points import embedding
from vectorops.points.declared import Declared
from vectorops.points.diff import Change
from vectorops.points.embedding import Window, embedded
from vectorops.points.schema import VectorSchema
from vectorops.qdrant.database import UNNAMED, PointData, PointId
from vectorops.vectors import Sparse

SCHEMA = {
    "a": VectorSchema("dense", 2, "Dot"),
    "half": VectorSchema("dense", 2, "Dot", "float16"),
    "rows": VectorSchema("multivector", 2),
    "terms": VectorSchema("sparse"),
    UNNAMED: VectorSchema("dense", 2),
}


def floats(*numbers):
    return np.array(numbers, dtype=np.float32)


def texts(id, **named):
    return Declared(PointData(id), str(id), 20, dict.fromkeys(named, 21), named)


@pytest.fixture(autouse=True)
def small_windows(monkeypatch):
    monkeypatch.setattr(embedding, "WINDOW_POINTS", 4)
    monkeypatch.setattr(embedding, "WINDOW_CHARACTERS", 100)


class Embedder:
    """Makes of each text its length, and remembers what it was given. made: what it makes of certain texts instead."""

    def __init__(self, **made):
        self.calls = []
        self.made = made

    async def __call__(self, vector: str, some: Sequence[str]) -> EmbeddedTexts:
        self.calls.append((vector, list(some)))
        await asyncio.sleep(0)
        return EmbeddedTexts(tuple(self.made.get(text, floats(len(text), 1)) for text in some))


def ids(window: Window) -> list[PointId]:
    return [point.data.id for point in window.points if isinstance(point, Declared)]


async def stream(*points) -> AsyncIterator[Declared | Change]:
    for point in points:
        yield point


async def all_of(points, embed, schema=SCHEMA):
    return [window async for window in embedded(stream(*points), embed, schema)]


async def test_points_come_back_in_order_with_the_vectors_of_their_texts():
    embed = Embedder()

    windows = await all_of([texts(id, a="x" * id) for id in range(1, 11)], embed)

    points = [point for window in windows for point in window.points]
    assert [(point.data.id, point.data.vectors["a"].tolist()) for point in points] == [
        (id, [id, 1]) for id in range(1, 11)
    ]
    assert [point.pending for point in points] == [{}] * 10


async def test_a_window_is_full_by_points_or_by_characters_and_holds_one_at_least():
    embed = Embedder()

    await all_of([texts(id, a="x" * 10) for id in range(5)] + [texts(5, a="x" * 300), texts(6, a="x" * 99)], embed)

    assert [[len(text) for text in some] for _, some in embed.calls] == [[10, 10, 10, 10], [10], [300], [99]]


async def test_all_texts_of_one_vector_go_in_one_call_and_no_others():
    embed = Embedder(terms=Sparse(np.array([3], dtype=np.uint32), floats(0.5)))

    await all_of([texts(1, a="one", terms="terms"), texts(2, a="two"), texts(3, terms="terms")], embed)

    assert embed.calls == [("a", ["one", "two"]), ("terms", ["terms", "terms"])]


async def test_of_a_change_only_the_text_of_a_vector_to_write_is_embedded():
    embed = Embedder()
    change = Change(texts(1, a="changed", half="stays"), vectors=("a",))

    (window,) = await all_of([change], embed)

    assert embed.calls == [("a", ["changed"])]
    assert [one.declared.data.vectors.keys() for one in window.points] == [{"a"}]


async def test_every_kind_of_vector_is_taken():
    made = {
        "rows": np.ones((3, 2), dtype=np.float32),
        "terms": Sparse(np.array([], dtype=np.uint32), floats()),
    }

    (window,) = await all_of([texts(1, a="a", rows="rows", terms="terms")], Embedder(**made))

    assert window.failures == ()
    assert window.points[0].data.vectors.keys() == {"a", "rows", "terms"}


@pytest.mark.parametrize(
    ("vector", "made", "reason"),
    [
        ("a", Unusable("the model gave no number"), "vectors.a: the model gave no number"),
        ("a", floats(1, np.nan), "vectors.a[1]: not a finite float32 number"),
        ("half", floats(70000, 1), "vectors.half[0]: outside the range of datatype float16"),
        ("rows", np.ones((0, 2), dtype=np.float32), "vectors.rows: the embedder gives no rows for this text"),
        ("terms", Sparse(np.array([1], dtype=np.uint32), floats(np.inf)), "vectors.terms[0]: not a finite"),
        (UNNAMED, Unusable("too short"), "vector: too short"),
    ],
)
async def test_a_text_without_a_usable_vector_fails_its_point_and_no_other(vector, made, reason):
    good = texts(2, a="good")
    bad = texts(1, **{vector: "bad"})

    (window,) = await all_of([bad, good], Embedder(bad=made))

    assert [(failure.id, failure.shown_id) for failure in window.failures] == [(1, "1")]
    assert window.failures[0].reason.startswith(reason)
    assert [point.data.id for point in window.points] == [2]


@pytest.mark.parametrize(
    ("vector", "made", "words"),
    [
        (
            "a",
            floats(1, 2, 3),
            "vectors.a: the embedder gives a dense vector of size 3, but the collection has a dense",
        ),
        ("a", np.ones((1, 2), dtype=np.float32), "gives a multivector vector of size 2"),
        ("rows", floats(1, 2), "gives a dense vector of size 2, but the collection has a multivector vector of size 2"),
        ("terms", floats(1, 2), "but the collection has a sparse vector"),
        ("a", Sparse(np.array([1], dtype=np.uint32), floats(1)), "gives a sparse vector"),
    ],
)
async def test_a_model_that_gives_other_vectors_than_the_collection_has_stops_the_pass(vector, made, words):
    with pytest.raises(Terminal) as raised:
        await all_of([texts(1, **{vector: "text"})], Embedder(text=made))

    assert raised.value.reason is Reason.EMBEDDER_MISMATCH
    assert words in raised.value.message


async def test_the_next_window_is_embedded_while_the_last_is_written_and_no_more_than_that():
    events = []
    may_embed = asyncio.Event()

    async def embed(_vector, some):
        number = int(some[0])
        events.append(f"embedding {number}")
        if number == 2:
            # Only to be gone on with when the first window is being written.
            await may_embed.wait()
        events.append(f"embedded {number}")
        return EmbeddedTexts(tuple(floats(1, 2) for _ in some))

    points = [texts(id, a=str(id // 4 + 1)) for id in range(20)]
    async with aclosing(embedded(stream(*points), embed, SCHEMA)) as windows:
        async for window in windows:
            number = int(ids(window)[0]) // 4 + 1
            events.append(f"writing {number}")
            may_embed.set()
            for _ in range(20):
                await asyncio.sleep(0)
            events.append(f"written {number}")

    assert events[:2] == ["embedding 1", "embedded 1"]
    for number in range(1, 5):
        assert events.index(f"writing {number}") < events.index(f"embedded {number + 1}")
        assert events.index(f"embedded {number + 1}") < events.index(f"written {number}")
    for number in range(1, 4):
        # However slow the writing is: two windows are on the way, and not three.
        assert events.index(f"written {number}") < events.index(f"embedding {number + 2}")


async def test_memory_is_flat_however_long_the_stream_is():
    alive: weakref.WeakSet[Declared] = weakref.WeakSet()
    most = 0

    class Counted(Declared):
        """Can be referred to weakly."""

        __slots__ = ("__weakref__",)
        __hash__ = object.__hash__

    async def endless():
        nonlocal most
        for id in range(80):
            point = Counted(PointData(id), str(id), 20, {"a": 21}, {"a": f"text {id}"})
            alive.add(point)
            yield point
            if id % 10 == 9:
                # A full collection takes its time in a process that holds all the other tests.
                gc.collect()
                most = max(most, len(alive))

    async with aclosing(embedded(endless(), Embedder(), SCHEMA)) as windows:
        async for _ in windows:
            await asyncio.sleep(0)

    assert 4 <= most <= 3 * 4


async def test_an_error_comes_after_the_windows_before_it_and_leaves_no_task():
    async def embed(_vector, some):
        if "4" in some:
            raise Transient(Reason.EMBEDDER_UNREACHABLE, "down")
        return EmbeddedTexts(tuple(floats(1, 2) for _ in some))

    written: list[PointId] = []

    async def write():
        async with aclosing(embedded(stream(*(texts(id, a=str(id)) for id in range(12))), embed, SCHEMA)) as windows:
            async for window in windows:
                written.extend(ids(window))

    with pytest.raises(Transient, match="down"):
        await write()

    assert written == [0, 1, 2, 3]
    assert len(asyncio.all_tasks()) == 1


async def test_an_error_while_writing_stops_the_embedding():
    ended = []

    async def embed(_vector, some):
        if "4" in some:
            try:
                await asyncio.Event().wait()
            finally:
                ended.append("cancelled")
        return EmbeddedTexts(tuple(floats(1, 2) for _ in some))

    async def write():
        async with aclosing(embedded(stream(*(texts(id, a=str(id)) for id in range(12))), embed, SCHEMA)) as windows:
            async for _ in windows:
                await asyncio.sleep(0)
                raise Transient(Reason.UNREACHABLE, "Qdrant is down")

    with pytest.raises(Transient, match="Qdrant is down"):
        await write()

    assert ended == ["cancelled"]
    assert len(asyncio.all_tasks()) == 1


async def test_who_is_cancelled_while_waiting_for_the_embedder_leaves_no_task():
    begun, ended = asyncio.Event(), []

    async def embed(_vector, _some):
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("cancelled")

    run = asyncio.create_task(all_of([texts(1, a="text")], embed))
    await begun.wait()
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run

    assert ended == ["cancelled"]
    assert len(asyncio.all_tasks()) == 1


async def test_an_error_of_the_source_comes_through():
    async def broken():
        yield texts(1, a="text")
        raise Transient(Reason.INTERNAL_ERROR, "the source is broken")

    with pytest.raises(Transient, match="the source is broken"):
        async for _ in embedded(broken(), Embedder(), SCHEMA):
            pass


async def test_nothing_is_nothing():
    assert await all_of([], Embedder()) == []


async def test_it_gives_way_between_two_windows_when_all_that_was_embedded_is_written():
    embedder, asked = Embedder(), []

    async def pace() -> None:
        asked.append(len(embedder.calls))
        if len(asked) == 2:
            raise GaveWay("others wait")

    async def points():
        for id in range(12):
            yield texts(id, a=f"text {id}")

    taken = []

    async def take() -> None:
        async for window in embedded(points(), embedder, SCHEMA, pace):
            taken.append(ids(window))  # noqa: PERF401 - what was taken counts when it ends in an error

    with pytest.raises(GaveWay):
        await take()

    assert taken == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert asked == [1, 2], "not before the first window: each pass gets somewhere"
    assert len(embedder.calls) == 2, "nothing was embedded in vain"
