"""How long lists become requests, and which failure is told when several parts fail."""

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vectorops.api.reasons import Reason
from vectorops.errors import OutcomeUnknown, RateLimited, Rejected, TooManyAtOnce, VectorOpsError
from vectorops.qdrant import batches

REJECTED = Rejected(Reason.REQUEST_REJECTED, "wrong", status=400)
UNKNOWN = OutcomeUnknown(Reason.UNREACHABLE, "no answer")


@given(st.lists(st.integers(1, 2 * batches.BATCH_BYTES), max_size=40))
def test_nothing_is_lost_or_moved_and_no_batch_is_too_long(sizes):
    cut = list(batches.cut(sizes, lambda size: size))

    assert [size for batch in cut for size in batch] == sizes
    assert all(len(batch) == 1 or sum(batch) <= batches.BATCH_BYTES for batch in cut)


def test_batches_are_full_when_the_items_are_small():
    assert [len(batch) for batch in batches.cut(range(1200), lambda _: 1)] == [512, 512, 176]


async def test_a_few_batches_are_under_way_at_a_time():
    under_way, most = 0, 0

    async def send(_: int) -> None:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0)
        under_way -= 1

    await batches.send_all(range(10), send)

    assert most == batches.IN_FLIGHT
    assert under_way == 0


@pytest.mark.parametrize("failures", [{0: REJECTED, 1: UNKNOWN}, {0: UNKNOWN, 1: REJECTED}])
async def test_an_unknown_outcome_is_told_rather_than_a_refusal(failures):
    async def send(number: int) -> None:
        await asyncio.sleep(0)
        raise failures[number]

    with pytest.raises(OutcomeUnknown):
        await batches.send_all(range(2), send)


async def test_after_a_failure_nothing_more_is_begun_and_what_was_begun_has_ended():
    begun: list[int] = []
    ended: list[int] = []

    async def send(number: int) -> None:
        begun.append(number)
        await asyncio.sleep(0)
        if number == 0:
            raise REJECTED
        await asyncio.sleep(0.01)
        ended.append(number)

    with pytest.raises(VectorOpsError):
        await batches.send_all(range(10), send)

    assert (begun, ended) == ([0, 1], [1])


@pytest.mark.parametrize("most", [1, 3, 512])
async def test_what_no_minute_has_room_for_is_sent_in_halves_in_order(most):
    sent: list[int] = []

    async def send(some: Sequence[int]) -> None:
        if len(some) > most:
            raise TooManyAtOnce(Reason.RATE_LIMITED, "request larger than rate limiter capacity")
        sent.extend(some)

    await batches.in_halves(list(range(100)), send)

    assert sent == list(range(100))


@pytest.mark.parametrize("kind", [TooManyAtOnce, RateLimited])
async def test_what_halves_cannot_help_is_told(kind):
    sent = []

    async def send(some: Sequence[int]) -> None:
        sent.append(some)
        raise kind(Reason.RATE_LIMITED, "slow down")

    with pytest.raises(kind):
        await batches.in_halves([1, 2], send)
    assert sent == ([[1, 2], [1]] if kind is TooManyAtOnce else [[1, 2]])
