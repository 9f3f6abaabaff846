"""What was received and the application has not taken yet: bounded, so that a slow application costs no memory."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable

from client.model import Shown


class ReceiveBuffer:
    """Between the connection, which fills it, and the application, which takes from it.

    It is `full` from `max_events` events or `max_bytes` bytes on. Whoever fills it asks `full` first and waits with
    `room`; one message read too many is taken all the same. After `end` the rest can still be taken.
    `on_drained` is called whenever it has become half empty after it was full.
    """

    def __init__(self, max_events: int, max_bytes: int, on_drained: Callable[[], None]) -> None:
        if max_events < 1 or max_bytes < 1:
            raise ValueError("a receive buffer needs room for at least one event")
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._on_drained = on_drained
        self._events: deque[tuple[Shown, int]] = deque()
        self._bytes = 0
        self._some = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._ended = False
        self._error: BaseException | None = None

    def __len__(self) -> int:
        return len(self._events)

    @property
    def bytes(self) -> int:
        return self._bytes

    @property
    def full(self) -> bool:
        return len(self._events) >= self._max_events or self._bytes >= self._max_bytes

    @property
    def overfull(self) -> bool:
        """Twice as much as it should hold."""
        return len(self._events) >= 2 * self._max_events or self._bytes >= 2 * self._max_bytes

    @property
    def drained(self) -> bool:
        """At most half full."""
        return len(self._events) * 2 <= self._max_events and self._bytes * 2 <= self._max_bytes

    def put(self, event: Shown, size: int) -> None:
        self._events.append((event, size))
        self._bytes += size
        self._some.set()
        if self.full:
            self._room.clear()

    async def room(self) -> None:
        """Wait until it has drained, if it was full."""
        await self._room.wait()

    async def take(self) -> Shown | None:
        """The oldest, waiting for one; None when all is taken and nothing will come. Raises the error of `end`."""
        while not self._events:
            if self._ended:
                if self._error is not None:
                    raise self._error
                return None
            self._some.clear()
            await self._some.wait()
        event, size = self._events.popleft()
        self._bytes -= size
        if not self._room.is_set() and self.drained:
            self._room.set()
            self._on_drained()
        return event

    def end(self, error: BaseException | None = None) -> None:
        """Nothing will be put any more."""
        if not self._ended:
            self._ended = True
            self._error = error
            self._some.set()
            self._room.set()


class Events:
    """The stream of what is shown. Iterators share it: each event goes to one of them."""

    def __init__(self, buffer: ReceiveBuffer) -> None:
        self._buffer = buffer

    def __aiter__(self) -> AsyncIterator[Shown]:
        return self

    async def __anext__(self) -> Shown:
        event = await self._buffer.take()
        if event is None:
            raise StopAsyncIteration
        return event
