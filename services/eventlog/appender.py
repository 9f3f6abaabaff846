"""The appender: records into `events.<epoch>` in order, with one batch outstanding per partition.

aiokafka's own accumulator may reorder after an error, and can jam a partition for good after a failed batch (its
issue 1017). So batches are built here, a partition's next one is handed over only when the one before was
acknowledged, and a producer that failed once is not used again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Final, NamedTuple, Self

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from services.contract.envelope import partition_of
from services.eventlog import metrics, producers
from services.eventlog.errors import AppendFailed, Overloaded

log = structlog.get_logger()

_BATCH_OVERHEAD: Final = 61
"""Kafka's record batch header (magic 2)."""

_RECORD_OVERHEAD: Final = 48
"""More than the lengths and counts of a record with one header take."""

_START_S: Final = 10.0
_RESTART_S: Final = 0.5


class _Waiting(NamedTuple):
    """A record on its way; `deadline` in the loop's time."""

    key: bytes
    header: tuple[str, bytes]
    value: bytes
    size: int
    deadline: float
    future: asyncio.Future[None]


class _Lane:
    """One partition: what waits, what is with the producer, and the task that carries it there."""

    __slots__ = ("outstanding", "partition", "queue", "task")

    def __init__(self, partition: int) -> None:
        self.partition = partition
        self.queue: deque[_Waiting] = deque()
        self.outstanding: list[_Waiting] = []
        self.task: asyncio.Task[None] | None = None


class Appender:
    """Appends to the partitions of one topic, acks=all.

    Guarantees: records of a partition enter the log in the order of their `append` calls, and a record enters
    only after everything before it in its partition was acknowledged. When a batch fails, all that waits fails
    with it, so that nothing overtakes; the producer is replaced; `on_failure` is called once with the error,
    after the futures have failed. A failed record may still appear in the log later (a late copy): append it
    again under the same id, and the fold numbers it once.

    max_in_flight           how many records may wait for their acknowledgement
    request_timeout_ms      one produce request; repeated under the same sequence number (no copy) while time is left
    append_timeout_ms       after this long an append has failed
    """

    def __init__(
        self,
        kafka: str,
        topic: str,
        partitions: int,
        *,
        max_in_flight: int,
        on_failure: Callable[[AppendFailed], None],
        request_timeout_ms: int = 4_000,
        append_timeout_ms: int = 10_000,
        max_batch_bytes: int = producers.MAX_BATCH_BYTES,
        max_in_flight_bytes: int = 64 * 1024 * 1024,
    ) -> None:
        self._kafka = kafka
        self._topic = topic
        self._lanes = [_Lane(partition) for partition in range(partitions)]
        self._max_in_flight = max_in_flight
        self._max_in_flight_bytes = max_in_flight_bytes
        self._on_failure = on_failure
        self._request_timeout_ms = request_timeout_ms
        self._append_timeout_s = append_timeout_ms / 1000
        self._max_batch_bytes = max_batch_bytes
        self._in_flight = 0
        self._in_flight_bytes = 0
        self._producer: AIOKafkaProducer | None = None
        self._connected = asyncio.Event()
        self._replacing: set[asyncio.Task[None]] = set()
        self._open = False
        self._appended = metrics.APPENDED.labels(topic)
        self._batches = metrics.APPEND_BATCHES.labels(topic)
        self._seconds = metrics.APPEND_SECONDS.labels(topic)
        self._gauge = metrics.IN_FLIGHT.labels(topic)

    async def __aenter__(self) -> Self:
        """Connect. Raises aiokafka's KafkaError, or TimeoutError, when the log cannot be reached."""
        self._producer = await self._connect()
        self._connected.set()
        self._open = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Fail what still waits (`flush` first to avoid it) and disconnect."""
        self._open = False
        self._fail_waiting("the appender was closed")
        for task in self._replacing:
            task.cancel()
        if self._replacing:
            await asyncio.wait(self._replacing)
        producer, self._producer = self._producer, None
        self._connected.clear()
        if producer is not None:
            await producers.abandon(producer)

    @property
    def in_flight(self) -> int:
        """How many records wait for their acknowledgement."""
        return self._in_flight

    def append(self, channel: str, header: tuple[str, bytes], value: bytes) -> asyncio.Future[None]:
        """Put one record behind the others of its channel's partition.

        `header` is `contract.envelope.encode_envelope` of it. The future resolves once all in-sync replicas have
        the record; its exception is AppendFailed: outcome unknown. Cancelling it does not withdraw the record.
        Raises Overloaded when too much waits, ValueError for a record too large for a batch, RuntimeError when the
        appender is not open; then nothing was appended.
        """
        key = channel.encode("ascii")
        size = len(key) + len(header[0]) + len(header[1]) + len(value) + _RECORD_OVERHEAD
        if size + _BATCH_OVERHEAD > self._max_batch_bytes:
            raise ValueError(
                f"a record of {size} bytes is too large: a batch holds {self._max_batch_bytes - _BATCH_OVERHEAD}"
            )
        if not self._open:
            raise RuntimeError("the appender is not open")
        if self._in_flight >= self._max_in_flight or self._in_flight_bytes + size > self._max_in_flight_bytes:
            metrics.OVERLOADED.labels(self._topic).inc()
            raise Overloaded(f"{self._in_flight} records ({self._in_flight_bytes} bytes) wait for the log")
        lane = self._lanes[partition_of(channel, len(self._lanes))]
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        lane.queue.append(_Waiting(key, header, value, size, loop.time() + self._append_timeout_s, future))
        self._in_flight += 1
        self._in_flight_bytes += size
        if lane.task is None:
            # It starts in the loop's next round, so that what is appended in this one shares a batch.
            lane.task = asyncio.create_task(self._carry(lane), name=f"append {self._topic} {lane.partition}")
            lane.task.add_done_callback(lambda task: self._carried(lane, task))
        return future

    async def flush(self) -> None:
        """Wait until everything appended so far has succeeded or failed. Raises nothing."""
        waiting = [w.future for lane in self._lanes for w in (*lane.outstanding, *lane.queue)]
        if waiting:
            await asyncio.wait(waiting)

    async def _carry(self, lane: _Lane) -> None:
        """Hand one batch after another to the producer until nothing waits in this lane."""
        loop = asyncio.get_running_loop()
        while lane.queue:
            try:
                async with asyncio.timeout_at(lane.queue[0].deadline):
                    await self._connected.wait()
                    producer = self._producer
                    assert producer is not None
                    started = loop.time()
                    batch = self._take(lane, producer)
                    delivery = await producer.send_batch(batch, self._topic, partition=lane.partition)
                    await delivery
            except (KafkaError, OSError, TimeoutError) as error:
                lane.task = None
                self._fail(f"{self._topic}, partition {lane.partition}: {error!r}")
                return
            done, lane.outstanding = lane.outstanding, []
            self._seconds.observe(loop.time() - started)
            self._batches.inc()
            self._appended.inc(len(done))
            self._in_flight -= len(done)
            self._in_flight_bytes -= sum(waiting.size for waiting in done)
            self._gauge.set(self._in_flight)
            for waiting in done:
                if not waiting.future.done():
                    waiting.future.set_result(None)
        lane.task = None

    def _carried(self, lane: _Lane, task: asyncio.Task[None]) -> None:
        """A task that ended by what `_carry` does not expect is a failed batch too; the lane must not stay jammed."""
        if lane.task is task:
            lane.task = None
            error = "cancelled" if task.cancelled() else repr(task.exception())
            self._fail(f"{self._topic}, partition {lane.partition}: {error}")

    def _take(self, lane: _Lane, producer: AIOKafkaProducer) -> object:
        """Move as much of the queue into a batch as fits."""
        batch = producer.create_batch()
        queue, outstanding = lane.queue, lane.outstanding
        room = self._max_batch_bytes - _BATCH_OVERHEAD
        while queue and room >= queue[0].size:
            waiting = queue[0]
            if (
                batch.append(timestamp=None, key=waiting.key, value=waiting.value, headers=[waiting.header])
                is None
            ):
                break
            room -= waiting.size
            outstanding.append(queue.popleft())
        batch.close()
        return batch

    def _fail(self, reason: str) -> None:
        """A batch failed: fail everything that waits, replace the producer, tell the owner."""
        metrics.APPEND_FAILURES.labels(self._topic).inc()
        log.warning("append failed", topic=self._topic, records=self._in_flight, reason=reason)
        self._fail_waiting(reason)
        if self._producer is not None:
            # None: the replacement is already under way
            broken, self._producer = self._producer, None
            self._connected.clear()
            replacing = asyncio.create_task(self._replace(broken), name=f"replace producer {self._topic}")
            self._replacing.add(replacing)
            replacing.add_done_callback(self._replacing.discard)
        self._on_failure(AppendFailed(reason))

    def _fail_waiting(self, reason: str) -> None:
        failed: list[_Waiting] = []
        for lane in self._lanes:
            failed += lane.outstanding
            failed += lane.queue
            lane.outstanding = []
            lane.queue.clear()
            if lane.task is not None:
                lane.task.cancel()
                lane.task = None
        self._in_flight = self._in_flight_bytes = 0
        self._gauge.set(0)
        for waiting in failed:
            if not waiting.future.done():
                waiting.future.set_exception(AppendFailed(reason))
                # The owner is told of the failure as a whole; a future nobody looks at any more is no defect.
                waiting.future.exception()

    async def _replace(self, broken: AIOKafkaProducer) -> None:
        async with asyncio.TaskGroup() as both:
            # It sends nothing more from the moment this task starts.
            both.create_task(producers.abandon(broken))
            both.create_task(self._reconnect())

    async def _reconnect(self) -> None:
        while True:
            try:
                self._producer = await self._connect()
            except (KafkaError, OSError, TimeoutError) as error:
                log.warning("no producer yet", topic=self._topic, error=repr(error))
                await asyncio.sleep(_RESTART_S)
            else:
                self._connected.set()
                return

    async def _connect(self) -> AIOKafkaProducer:
        producer = AIOKafkaProducer(
            bootstrap_servers=self._kafka,
            enable_idempotence=True,
            acks="all",
            max_batch_size=self._max_batch_bytes,
            linger_ms=0,
            request_timeout_ms=self._request_timeout_ms,
        )
        await producers.start(producer, _START_S)
        return producer
