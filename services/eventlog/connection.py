"""One TCP connection to a broker, for the requests of `wire`.

Between aiokafka's connection and the loop stand a stream reader with two awaits for each answer, a task, and two timers for
each request: most of what a lone message's Produce and Fetch cost, once they were packed by `struct`. Here an answer is
read in the loop's own callback, and one timer watches over all requests.
"""

from __future__ import annotations

import asyncio
import struct
from collections import deque
from collections.abc import Callable
from typing import Any, Final, NamedTuple, cast

from aiokafka.errors import CorrelationIdError, KafkaConnectionError, KafkaError, RequestTimedOutError

from services.eventlog.wire import ApiVersions, Fetch, Produce, Request

_SIZE: Final = struct.Struct(">i")
_CORRELATIONS: Final = 1 << 31

_LARGEST: Final = 128 * 1024 * 1024
"""Bytes of an answer; what says that it is longer is none."""


class _Unanswered(NamedTuple):
    """`deadline` in the loop's time."""

    correlation_id: int
    request: Request
    deadline: float
    future: asyncio.Future[Any]


class Connection(asyncio.Protocol):
    """Requests are written in the order of `ask` and answered in it (Kafka's protocol guide, "Network"), also those that are
    asked for while it is still being opened.

    Every future of `ask` is resolved once: by the answer, or by a KafkaError when the connection ends before that. It ends
    when it cannot be opened, when the broker closes it, does not know our requests, says what cannot be read, or leaves a
    request unanswered for `timeout_s`; or by `close`. `on_lost` is called once, before the futures fail.
    """

    def __init__(self, host: str, port: int, timeout_s: float, on_lost: Callable[[Connection], None]) -> None:
        """Begins to connect."""
        self.address = host, port
        self._timeout_s = timeout_s
        self._on_lost = on_lost
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._correlation_id = 0
        self._unanswered: deque[_Unanswered] = deque()
        self._timer: asyncio.TimerHandle | None = None
        # Of an answer that is not whole yet: joined once, because one may have megabytes.
        self._pieces: list[bytes] = []
        self._lacking = 0
        self._ended = False
        # What is to be written once it is open; None when it is.
        self._held: list[bytes] | None = []
        self._offered = self.ask(ApiVersions())
        self._opening = asyncio.create_task(self._open(), name=f"connect {self._where}")

    @property
    def _where(self) -> str:
        return f"the broker at {self.address[0]}:{self.address[1]}"

    @property
    def is_open(self) -> bool:
        """Not ended; it may still be connecting."""
        return not self._ended

    async def _open(self) -> None:
        try:
            await self._connect()
            offered: dict[int, tuple[int, int]] = await self._offered
            for request in (Produce, Fetch):
                request.must_be_offered(offered)
        except OSError as error:
            self._end(KafkaConnectionError(f"no connection to {self._where}: {error!r}"))
        except KafkaError as error:
            self._end(error)
        else:
            held, self._held = self._held, None
            if held and self._transport is not None:
                self._transport.write(b"".join(held))

    async def _connect(self) -> None:
        await self._loop.create_connection(lambda: self, *self.address)

    def ask(self, request: Request) -> asyncio.Future[Any]:
        """Write it as soon as it can be; the future gives what its `read` makes of the answer. Raises KafkaConnectionError
        when the connection has ended."""
        if self._ended:
            raise KafkaConnectionError(f"the connection to {self._where} is closed")
        correlation_id = self._correlation_id = (self._correlation_id + 1) % _CORRELATIONS
        future: asyncio.Future[Any] = self._loop.create_future()
        deadline = self._loop.time() + self._timeout_s
        self._unanswered.append(_Unanswered(correlation_id, request, deadline, future))
        if self._timer is None:
            self._timer = self._loop.call_at(deadline, self._look)
        if self._held is not None:
            self._held.append(request.framed(correlation_id))
        elif self._transport is not None:
            self._transport.write(request.framed(correlation_id))
        return future

    def close(self, reason: str) -> None:
        """End it now; what was not sent yet is thrown away, what is unanswered fails."""
        self._end(KafkaConnectionError(f"the connection to {self._where} was closed: {reason}"))

    def _end(self, error: KafkaError) -> None:
        if self._ended:
            return
        self._ended = True
        if self._transport is not None:
            self._transport.abort()
        if self._timer is not None:
            self._timer.cancel()
        self._on_lost(self)
        while self._unanswered:
            future = self._unanswered.popleft().future
            if not future.done():
                future.set_exception(error)
                # Whoever asked may have been cancelled, and then nobody looks.
                future.exception()
        self._opening.cancel()

    def _look(self) -> None:
        """Whether the oldest request is overdue."""
        self._timer = None
        if not self._unanswered:
            return
        oldest = self._unanswered[0]
        if oldest.deadline <= self._loop.time():
            self._end(
                RequestTimedOutError(
                    f"{self._where} did not answer {type(oldest.request).__name__} within {self._timeout_s:g} s"
                )
            )
        else:
            self._timer = self._loop.call_at(oldest.deadline, self._look)

    def _answered(self, data: bytes, begin: int, end: int) -> None:
        (correlation_id,) = _SIZE.unpack_from(data, begin)
        if not self._unanswered or self._unanswered[0].correlation_id != correlation_id:
            self._end(CorrelationIdError(f"{self._where} answers what it was not asked"))
            return
        asked = self._unanswered.popleft()
        if asked.future.done():
            return  # whoever asked has been cancelled
        try:
            asked.future.set_result(asked.request.read(data, begin + _SIZE.size, end))
        except (struct.error, IndexError) as error:
            unreadable = KafkaConnectionError(f"an answer of {self._where} cannot be read: {error}")
            asked.future.set_exception(unreadable)
            self._end(unreadable)

    # --- asyncio.Protocol --------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is not one by name
        if self._ended:
            self._transport.abort()
            return
        assert self._held is not None
        self._transport.write(self._held.pop(0))  # which requests it knows; the others wait for that answer

    def data_received(self, data: bytes) -> None:
        if self._pieces:
            self._pieces.append(data)
            self._lacking -= len(data)
            if self._lacking > 0:
                return
            data = b"".join(self._pieces)
            self._pieces.clear()
        at, length = 0, len(data)
        needed = _SIZE.size
        while length - at >= _SIZE.size and not self._ended:
            (size,) = _SIZE.unpack_from(data, at)
            begin = at + _SIZE.size
            if not _SIZE.size <= size <= _LARGEST:
                self.close("it says what is no answer")
                return
            if length - begin < size:
                needed += size
                break
            at = begin + size
            self._answered(data, begin, at)
        if at < length:
            self._pieces.append(data[at:])
            self._lacking = needed - (length - at)

    def connection_lost(self, error: Exception | None) -> None:
        because = "" if error is None else f": {error!r}"
        self._end(KafkaConnectionError(f"{self._where} closed the connection{because}"))
