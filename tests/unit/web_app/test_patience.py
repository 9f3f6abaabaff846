"""Patience counts only the time in which the event loop turns."""

from __future__ import annotations

import asyncio
import time

import pytest

from web_app.database import patience


async def test_it_ends() -> None:
    started = time.monotonic()
    with pytest.raises(TimeoutError):
        async with patience(0.3):
            await asyncio.Event().wait()
    assert time.monotonic() - started >= 0.3


async def test_a_loop_that_stood_still_has_not_waited() -> None:
    async with patience(0.6):
        for _ in range(2):
            time.sleep(0.8)  # noqa: ASYNC251
            await asyncio.sleep(0)
        await asyncio.sleep(0.01)


async def test_being_cancelled_from_outside_is_not_a_time_out() -> None:
    async def patient() -> None:
        async with patience(60):
            await asyncio.Event().wait()

    task = asyncio.create_task(patient())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_an_error_inside_comes_out() -> None:
    with pytest.raises(ValueError, match="mine"):
        async with patience(60):
            raise ValueError("mine")
