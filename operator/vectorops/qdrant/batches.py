"""How long lists of points become requests: cut by number and by bytes, and once more where a rate limit is smaller, a
few under way at a time.

Used by `server` and `grpc_points` for all that they write. An id that stands twice in a list may end as either.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from typing import Final, TypeVar

from vectorops.errors import OutcomeUnknown, TooManyAtOnce, VectorOpsError

BATCH_POINTS: Final = 512
BATCH_BYTES: Final = 8_000_000
"""Well below Qdrant's limit of 32 MiB for a body, so that a proxy with a smaller one is rarely in the way."""
IN_FLIGHT: Final = 2

T = TypeVar("T")


def cut(items: Iterable[T], size: Callable[[T], int]) -> Iterator[list[T]]:
    """Lists of at most BATCH_POINTS items and BATCH_BYTES bytes; an item that is longer goes alone. Lazy, in order."""
    batch: list[T] = []
    total = 0
    for item in items:
        added = size(item)
        if batch and (len(batch) == BATCH_POINTS or total + added > BATCH_BYTES):
            yield batch
            batch, total = [], 0
        batch.append(item)
        total += added
    if batch:
        yield batch


async def in_halves(items: Sequence[T], send: Callable[[Sequence[T]], Awaitable[None]]) -> None:
    """Sends them together, or, if that is more than a rate limit ever allows, in halves."""
    try:
        await send(items)
    except TooManyAtOnce:
        if len(items) == 1:
            raise
        middle = len(items) // 2
        await in_halves(items[:middle], send)
        await in_halves(items[middle:], send)


def halving(send: Callable[[Sequence[T]], Awaitable[None]]) -> Callable[[Sequence[T]], Awaitable[None]]:
    """The same, but in halves where a rate limit is smaller than one request."""
    return lambda items: in_halves(items, send)


async def send_all(batches: Iterable[T], send: Callable[[T], Awaitable[None]]) -> None:
    """Sends every batch, IN_FLIGHT at a time. After the first failure no more are begun.

    batches: if it is an iterator, it makes each batch beside the event loop, since large payloads take long.
    Returns or raises when nothing is under way any more. An unknown outcome is raised rather than another failure: who
    repairs a rejected batch may then assume that every other one was either carried out or not begun.
    """
    waiting = iter(batches)
    is_lazy = waiting is batches
    making = asyncio.Lock()
    failures: list[VectorOpsError] = []
    at_end = False

    async def following() -> T | None:
        nonlocal at_end
        async with making:
            if at_end or failures:
                return None
            batch = await asyncio.to_thread(next, waiting, None) if is_lazy else next(waiting, None)
            at_end = batch is None
            return batch

    async def work() -> None:
        try:
            while (batch := await following()) is not None:
                await send(batch)
        except VectorOpsError as failure:
            failures.append(failure)

    await asyncio.gather(*(work() for _ in range(IN_FLIGHT)))
    if failures:
        raise next((failure for failure in failures if isinstance(failure, OutcomeUnknown)), failures[0])
