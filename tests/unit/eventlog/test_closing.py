"""Closing is done to its end, is never waited for too long, and never takes a cancellation that was not meant for it."""

from __future__ import annotations

import asyncio

import pytest
from aiokafka.errors import KafkaConnectionError
from structlog.testing import capture_logs

from services.eventlog import closing


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


async def test_what_goes_wrong_is_logged_and_not_raised() -> None:
    async def work() -> None:
        raise KafkaConnectionError("gone")

    with capture_logs() as said:
        await closing.close(work(), "a consumer")
    (entry,) = said
    assert entry["of"] == "a consumer"
    assert "gone" in entry["error"]
