"""Makes points whose vectors are texts ready to be written: a stream in, windows of embedded points out.

One window is written while the next is embedded. At most two windows are in memory, however long
the stream is: no window is begun before the one before the last was written.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from vectorops.api.reasons import Reason
from vectorops.embedders.base import EmbeddedTexts, Unusable
from vectorops.errors import Terminal
from vectorops.points.declared import BadPoint, Declared, Failure, check_range, place
from vectorops.points.diff import Change
from vectorops.points.schema import PointSchema, VectorSchema
from vectorops.vectors import Sparse, VectorData

WINDOW_POINTS: Final = 512
"""Points that are embedded, and then written, together: enough for the embedder to sort texts by length, few enough
that a kill wastes little.
"""
WINDOW_CHARACTERS: Final = 500_000
"""Of their texts together; a window holds one point at least. It bounds multi-vectors, which grow with the text."""

AtSafePoint = Callable[[], Awaitable[None]]
"""Called between two windows, when all that was written is in the ledger. Raises what ends the pass there."""


async def go_on() -> None:
    """Nothing is in the way of the next window."""


Embed = Callable[[str, Sequence[str]], Awaitable[EmbeddedTexts]]
"""The vectors of texts, given the name of the vector. See `embedders.base.Embedder.embed`."""

Write = Declared | Change
"""A point to insert, or what to change in one."""

Fill = Callable[[Sequence[Write]], Awaitable[Sequence[Write]]]
"""The same points, with the vectors of those of their texts that need no embedding. See `reuse.Reuse`."""


async def fill_nothing(points: Sequence[Write]) -> Sequence[Write]:
    """All texts are to be embedded."""
    return points


@dataclass(frozen=True, slots=True)
class Window:
    """What became of the points that were embedded together. failures: those of which a text got no usable vector."""

    points: tuple[Write, ...]
    failures: tuple[Failure, ...] = ()


async def embedded(
    points: AsyncIterable[Write],
    embed: Embed,
    schema: PointSchema,
    pace: AtSafePoint = go_on,
    fill: Fill = fill_nothing,
) -> AsyncGenerator[Window, None]:
    """The same points in the same order, in windows, with vectors in the place of their pending texts.

    pace: asked before each window but the first, so that every pass writes one.
    Raises what `embed`, `pace` and `fill` raise, after the windows before have been taken; and Terminal
    EmbedderMismatch.
    Close it (`aclosing`): then nothing goes on being embedded.
    """
    gathered = _windows(points)

    async def following(*, is_first: bool = False) -> Window | None:
        window = await anext(gathered, None)
        if window is None:
            return None
        if not is_first:
            await pace()
        return await _embedded(await fill(window), embed, schema)

    ahead = asyncio.create_task(following(is_first=True))
    try:
        while (window := await ahead) is not None:
            ahead = asyncio.create_task(following())
            yield window
    finally:
        ahead.cancel()
        await asyncio.gather(ahead, return_exceptions=True)
        await gathered.aclose()


async def _windows(points: AsyncIterable[Write]) -> AsyncGenerator[list[Write], None]:
    window: list[Write] = []
    room = WINDOW_CHARACTERS
    async for point in points:
        characters = sum(map(len, point.pending.values()))
        if window and (len(window) == WINDOW_POINTS or characters > room):
            yield window
            window, room = [], WINDOW_CHARACTERS
        window.append(point)
        room -= characters
    if window:
        yield window


async def _embedded(window: Sequence[Write], embed: Embed, schema: PointSchema) -> Window:
    """All texts of one vector go to the embedder in one call: it knows best how to order and divide them."""
    pending = [point.pending for point in window]
    vectors: list[dict[str, VectorData]] = [{} for _ in window]
    failed: dict[int, str] = {}
    for name in sorted({name for texts in pending for name in texts}):
        having = [index for index, texts in enumerate(pending) if name in texts]
        made = await embed(name, [pending[index][name] for index in having])
        for index, vector in zip(having, made.vectors, strict=True):
            try:
                vectors[index][name] = fitting_vector(place(name), vector, schema[name])
            except BadPoint as error:
                failed.setdefault(index, str(error))
    return Window(
        tuple(point.embedded(vectors[index]) for index, point in enumerate(window) if index not in failed),
        tuple(_text_failure(window[index], reason) for index, reason in sorted(failed.items())),
    )


def fitting_vector(where: str, vector: VectorData | Unusable, expected: VectorSchema) -> VectorData:
    """The vector if the collection takes it. Raises BadPoint for what is wrong with this one, Terminal for what would
    be wrong with all.
    """
    if isinstance(vector, Unusable):
        raise BadPoint(f"{where}: {vector.reason}")
    if isinstance(vector, Sparse):
        given, numbers = "a sparse vector", vector.values
        fits = expected.kind == "sparse"
    else:
        kind = "multivector" if vector.ndim == 2 else "dense"
        given, numbers = f"a {kind} vector of size {vector.shape[-1]}", vector
        fits = (kind, vector.shape[-1]) == (expected.kind, expected.size)
    if not fits:
        size = f" of size {expected.size}" if expected.kind != "sparse" else ""
        raise Terminal(
            Reason.EMBEDDER_MISMATCH,
            f"{where}: the embedder gives {given}, but the collection has a {expected.kind} vector{size}",
        )
    if expected.kind == "multivector" and not len(numbers):
        raise BadPoint(f"{where}: the embedder gives no rows for this text")
    check_range(where, numbers, expected)
    return vector


def _text_failure(point: Write, reason: str) -> Failure:
    declared = point.declared if isinstance(point, Change) else point
    return Failure(declared.shown_id, reason, declared.data.id)
