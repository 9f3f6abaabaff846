"""Work that is done beside a block: its result is there to be waited for, and it does not outlive the block."""

from __future__ import annotations

import asyncio

import pytest

from services.runtime.side_by_side import beside


async def test_the_block_may_wait_for_the_result() -> None:
    began = asyncio.Event()

    async def work() -> int:
        await began.wait()
        return 7

    async with asyncio.timeout(20), beside(work()) as task:
        began.set()
        assert await task == 7


async def test_a_block_that_fails_ends_it_and_its_own_error_is_raised() -> None:
    ended: list[bool] = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    async def block() -> None:
        async with beside(work()):
            await asyncio.sleep(0)
            raise ZeroDivisionError

    async with asyncio.timeout(20):
        with pytest.raises(ZeroDivisionError):
            await block()
    assert ended == [True]
