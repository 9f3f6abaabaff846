"""Closing is done to its end, is never waited for too long, and never takes a cancellation that was not meant for it."""

from __future__ import annotations

import asyncio

import pytest
from aiokafka.errors import KafkaConnectionError
from structlog.testing import capture_logs

from services.eventlog import closing


async def never() -> None:
    await asyncio.Event().wait()


async def cancelled_after(steps: int, task: asyncio.Task[None]) -> None:
    for _ in range(steps):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])


@pytest.mark.parametrize("steps", range(1, 8))
async def test_cancelled_meanwhile_it_ends_first_and_then_says_so(steps: int) -> None:
    ended = asyncio.Event()

    async def work() -> None:
        for _ in range(10):
            try:
                await asyncio.sleep(0)
            except asyncio.CancelledError:
                pytest.fail("it is not for the library")
        ended.set()

    task = asyncio.create_task(closing.close(work(), "it"))
    await cancelled_after(steps, task)
    assert task.cancelled()
    assert ended.is_set()


async def test_what_never_ends_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(closing, "CLOSE_S", 0.01)
    given_up = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            given_up.set()

    with capture_logs() as said:
        await closing.close(work(), "the broker's")
    assert [entry["of"] for entry in said] == ["the broker's"]
    async with asyncio.timeout(20):
        await given_up.wait()


@pytest.mark.parametrize("times", [1, 2])
async def test_cancelled_while_it_never_ends_it_does_not_wait_for_ever(
    monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    # The first wait would outlast this test, and so would the second, if it had no end.
    monkeypatch.setattr(closing, "CLOSE_S", 3600.0)
    task = asyncio.create_task(closing.close(never(), "it"))
    await asyncio.sleep(0)
    if times == 1:
        monkeypatch.setattr(closing, "CLOSE_S", 0.01)
    for _ in range(times):
        task.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    async with asyncio.timeout(20):
        await asyncio.wait([task])
    assert task.cancelled()


@pytest.mark.parametrize("error", [KafkaConnectionError("gone"), asyncio.CancelledError("of its own")])
async def test_what_goes_wrong_is_logged_and_not_raised(error: BaseException) -> None:
    async def work() -> None:
        raise error

    with capture_logs() as said:
        await closing.close(work(), "a consumer")
    (entry,) = said
    assert entry["of"] == "a consumer"
    assert type(error).__name__ in entry["error"]


async def test_a_defect_is_raised() -> None:
    async def work() -> None:
        raise AttributeError("it is called something else now")

    with pytest.raises(AttributeError):
        await closing.close(work(), "a consumer")
