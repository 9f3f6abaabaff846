"""An event with a time limit that costs little."""

from __future__ import annotations

import asyncio


class News:
    """An event for the one who waits (two may not), with a time limit.

    asyncio's own costs a task's worth of work under `timeout`; here it is one timer, because every record is waited for.
    """

    def __init__(self) -> None:
        self._there = False
        self._waiter: asyncio.Future[None] | None = None

    def set(self) -> None:
        self._there = True
        self._wake()

    def clear(self) -> None:
        self._there = False

    async def wait(self, seconds: float) -> bool:
        """Until it is set; False: it was not within that time."""
        if self._there or seconds <= 0.0:
            return self._there
        loop = asyncio.get_running_loop()
        self._waiter = loop.create_future()
        timer = loop.call_later(seconds, self._wake)
        try:
            await self._waiter
        finally:
            timer.cancel()
            self._waiter = None
        return self._there

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
