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
from typing import Any, Final, NamedTuple, Self, cast

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
    """Requests are answered in their order (Kafka's protocol guide, "Network").

    Every future of `ask` is resolved once: by the answer, or by a KafkaError when the connection ends before that. It ends
    when the broker closes it, says what cannot be read, or leaves a request unanswered for `timeout_s`; or by `close`.
    """

    def __init__(self, where: str, timeout_s: float, on_lost: Callable[[Connection], None]) -> None:
        """Made by `open`. `where`: for messages."""
        self._where = where
        self._timeout_s = timeout_s
        self._on_lost = on_lost
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._correlation_id = 0
        self._unanswered: deque[_Unanswered] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._begun = bytearray()
        self._needed = 0

    @classmethod
    async def open(
        cls, host: str, port: int, timeout_s: float, on_lost: Callable[[Connection], None]
    ) -> Self:
        """Connect. Raises KafkaError: nobody there, none in time, or a broker that does not know our requests."""
        where = f"{host}:{port}"
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(timeout_s):
                _, made = await loop.create_connection(lambda: cls(where, timeout_s, on_lost), host, port)
        except (OSError, TimeoutError) as error:
            raise KafkaConnectionError(f"no connection to the broker at {where}: {error!r}") from error
        try:
            offered: dict[int, tuple[int, int]] = await made.ask(ApiVersions())
            for request in (Produce, Fetch):
                request.must_be_offered(offered)
        except BaseException:
            made.close("not used")
            raise
        return made

    @property
    def is_open(self) -> bool:
        return self._transport is not None

    def ask(self, request: Request) -> asyncio.Future[Any]:
        """Write it now; the future gives what its `read` makes of the answer. Raises KafkaConnectionError when it is not
        open any more."""
        if self._transport is None:
            raise KafkaConnectionError(f"the connection to the broker at {self._where} is closed")
        correlation_id = self._correlation_id = (self._correlation_id + 1) % _CORRELATIONS
        future: asyncio.Future[Any] = self._loop.create_future()
        deadline = self._loop.time() + self._timeout_s
        self._unanswered.append(_Unanswered(correlation_id, request, deadline, future))
        if self._timer is None:
            self._timer = self._loop.call_at(deadline, self._look)
        self._transport.write(request.framed(correlation_id))
        return future

    def close(self, reason: str) -> None:
        """End it now; what was not sent yet is thrown away, what is unanswered fails."""
        self._end(KafkaConnectionError(f"the connection to the broker at {self._where} was closed: {reason}"))

    def _end(self, error: KafkaError) -> None:
        transport, self._transport = self._transport, None
        if transport is None:
            return
        transport.abort()
        if self._timer is not None:
            self._timer.cancel()
        self._on_lost(self)
        while self._unanswered:
            future = self._unanswered.popleft().future
            if not future.done():
                future.set_exception(error)

    def _look(self) -> None:
        """Whether the oldest request is overdue."""
        self._timer = None
        if not self._unanswered:
            return
        oldest = self._unanswered[0]
        if oldest.deadline <= self._loop.time():
            self._end(
                RequestTimedOutError(
                    f"the broker at {self._where} did not answer {type(oldest.request).__name__} within "
                    f"{self._timeout_s:g} s"
                )
            )
        else:
            self._timer = self._loop.call_at(oldest.deadline, self._look)

    def _answered(self, data: bytes, begin: int) -> None:
        (correlation_id,) = _SIZE.unpack_from(data, begin)
        if not self._unanswered or self._unanswered[0].correlation_id != correlation_id:
            self._end(CorrelationIdError(f"the broker at {self._where} answers what it was not asked"))
            return
        asked = self._unanswered.popleft()
        if asked.future.done():
            return  # whoever asked has been cancelled
        try:
            asked.future.set_result(asked.request.read(data, begin + _SIZE.size))
        except (struct.error, IndexError) as error:
            unreadable = KafkaConnectionError(
                f"an answer of the broker at {self._where} cannot be read: {error}"
            )
            asked.future.set_exception(unreadable)
            self._end(unreadable)

    # --- asyncio.Protocol --------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is not one by name

    def data_received(self, data: bytes) -> None:
        if self._begun:
            self._begun += data
            if len(self._begun) < self._needed:
                return
            data = bytes(self._begun)
            self._begun.clear()
        at, length = 0, len(data)
        self._needed = _SIZE.size
        while length - at >= _SIZE.size:
            (size,) = _SIZE.unpack_from(data, at)
            begin = at + _SIZE.size
            if not _SIZE.size <= size <= _LARGEST:
                self.close("it says what is no answer")
                return
            if length - begin < size:
                self._needed = _SIZE.size + size
                break
            at = begin + size
            self._answered(data, begin)
            if self._transport is None:
                return
        if at < length:
            self._begun += data[at:]

    def connection_lost(self, error: Exception | None) -> None:
        self._end(KafkaConnectionError(f"the broker at {self._where} closed the connection: {error!r}"))
