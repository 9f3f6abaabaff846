"""The receive buffer: bounded by count and by bytes, nothing lost when taking is cancelled, the rest after the end."""

from __future__ import annotations

import asyncio

import pytest

from client.buffer import ReceiveBuffer
from client.model import Closed

DRAINS: list[int] = []


def event(n: int) -> Closed:
    return Closed(channel=str(n), last_seq=n)


def buffer(max_events: int = 4, max_bytes: int = 100) -> ReceiveBuffer:
    DRAINS.clear()
    return ReceiveBuffer(max_events, max_bytes, lambda: DRAINS.append(1))


async def test_full_by_count_and_drained_at_half() -> None:
    it = buffer()
    states = []
    for n in range(4):
        it.put(event(n), 1)
        states.append(it.full)
    assert states == [False, False, False, True]
    await it.take()
    states = [it.drained]
    waiting = asyncio.create_task(it.room())
    await asyncio.sleep(0)
    assert not waiting.done()
    await it.take()
    states.append(it.drained)
    assert states == [False, True]
    await waiting
    assert DRAINS == [1]


async def test_full_by_bytes() -> None:
    it = buffer()
    it.put(event(1), 100)
    states = [(it.full, it.overfull)]
    it.put(event(2), 100)
    states.append((it.full, it.overfull))
    assert states == [(True, False), (True, True)]
    assert it.bytes == 200


async def test_a_cancelled_take_takes_nothing() -> None:
    it = buffer()
    taking = asyncio.create_task(it.take())
    await asyncio.sleep(0)
    taking.cancel()
    it.put(event(1), 1)
    await asyncio.gather(taking, return_exceptions=True)
    assert await it.take() == event(1)


async def test_after_the_end_the_rest_is_taken_and_then_the_error_comes() -> None:
    it = buffer()
    it.put(event(1), 1)
    it.end(ValueError("over"))
    it.end(None)  # the first end counts
    assert await it.take() == event(1)
    with pytest.raises(ValueError, match="over"):
        await it.take()


async def test_the_end_wakes_who_waits() -> None:
    it = buffer()
    taking = asyncio.create_task(it.take())
    await asyncio.sleep(0)
    it.end()
    assert await taking is None
