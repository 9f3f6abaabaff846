"""The appender: records into `events.<epoch>` in order, a few batches of each partition under way at once.

aiokafka's own producer may reorder after an error, can jam a partition for good after a failed batch (its issue
1017), and has one request under way to a broker, which far from Kafka costs every record a round trip of waiting. So
batches are built, numbered and repeated here (`pipeline` decides, this carries out), over its connections.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

import structlog
from aiokafka.errors import (
    KafkaError,
    NoError,
    OutOfOrderSequenceNumber,
    for_code,
)
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from services.contract.envelope import partition_of
from services.eventlog import metrics, producers
from services.eventlog.brokers import Brokers
from services.eventlog.errors import AppendFailed, Overloaded
from services.eventlog.pipeline import Batch, Lane, Pace, Producer
from services.eventlog.wire import Produce, ProduceAnswer

log = structlog.get_logger()

_BATCH_OVERHEAD: Final = 61
"""Kafka's record batch header (magic 2)."""

_RECORD_OVERHEAD: Final = 48
"""More than the lengths and counts of a record with one header take."""

_START_S: Final = 10.0
_RESTART_S: Final = 0.5
_AGAIN_S: Final = 0.1
"""Before a batch that could not be taken is sent again."""

_SLOW_S: Final = 1.0
"""After so long without an answer it is asked, as often, who leads now."""

_CONNECTION: Final = 1
_MAGIC: Final = 2


class _Waiting(NamedTuple):
    """A record on its way; `deadline` in the loop's time."""

    key: bytes
    headers: list[tuple[str, bytes]]
    value: bytes
    size: int
    deadline: float
    future: asyncio.Future[None]


class Appender:
    """Appends to the partitions of one topic, acks=all.

    Guarantees: records of a partition enter the log in the order of their `append` calls, and none before everything
    ahead of it in its partition. When a partition's oldest record has not been acknowledged in time, or the log refuses
    it for good, all that waits in the partition fails with it, so that nothing overtakes; the partition goes on under a
    new producer id; `on_failure` is called once with the error, after the futures have failed. Other partitions go on.
    A failed record may still appear in the log later (a late copy): append it again under the same id, and the fold
    numbers it once.

    max_in_flight           how many records may wait for their acknowledgement
    request_timeout_ms      one produce request; repeated under the same sequence numbers (no copy) while time is left
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
        request_timeout_ms: int = 2_500,
        append_timeout_ms: int = 10_000,
        max_batch_bytes: int = producers.MAX_BATCH_BYTES,
        max_in_flight_bytes: int = 64 * 1024 * 1024,
    ) -> None:
        self._topic = topic
        self._max_in_flight = max_in_flight
        self._max_in_flight_bytes = max_in_flight_bytes
        self._on_failure = on_failure
        self._request_timeout_ms = request_timeout_ms
        self._append_timeout_s = append_timeout_ms / 1000
        self._room = max_batch_bytes - _BATCH_OVERHEAD
        self._brokers = Brokers(kafka, topic, request_timeout_ms=request_timeout_ms)
        self._lanes = [Lane[_Waiting](partition, self._room) for partition in range(partitions)]
        # Those of the lanes in which something waits, in the order in which it began to.
        self._waiting: dict[int, Lane[_Waiting]] = {}
        self._paces: defaultdict[int, Pace] = defaultdict(Pace)
        self._in_flight = 0
        self._in_flight_bytes = 0
        self._open = False
        self._tasks: set[asyncio.Task[Any]] = set()
        self._refreshing: asyncio.Task[None] | None = None
        # One call of each is planned at a time: sending what may go, and looking for what is overdue.
        self._next_round: asyncio.Handle | None = None
        self._later_round: asyncio.TimerHandle | None = None
        self._overdue: asyncio.TimerHandle | None = None
        self._look: asyncio.TimerHandle | None = None
        # Requests without an answer: the broker asked, when, and the partitions.
        self._unanswered: dict[int, tuple[int, float, list[int]]] = {}
        self._requests = 0
        self._appended = metrics.APPENDED.labels(topic)
        self._batches = metrics.APPEND_BATCHES.labels(topic)
        self._seconds = metrics.APPEND_SECONDS.labels(topic)
        self._gauge = metrics.IN_FLIGHT.labels(topic)

    async def __aenter__(self) -> Self:
        """Connect. Raises aiokafka's KafkaError, or TimeoutError, when the log cannot be reached."""
        try:
            async with asyncio.timeout(_START_S):
                await self._brokers.start()
                for lane in self._lanes:
                    lane.begin(await self._new_producer())
        except BaseException:
            await self._brokers.close()
            raise
        self._open = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Fail what still waits (`flush` first to avoid it) and disconnect."""
        self._open = False
        for planned in (self._next_round, self._later_round, self._overdue, self._look):
            if planned is not None:
                planned.cancel()
        for lane in self._lanes:
            self._release(lane.fail(), AppendFailed("the appender was closed", lane.partition))
        for task in self._tasks:
            task.cancel()
        try:
            if self._tasks:
                await asyncio.wait(self._tasks)
        finally:
            await self._brokers.close()

    @property
    def in_flight(self) -> int:
        """How many records wait for their acknowledgement."""
        return self._in_flight

    def append(
        self, channel: str, header: tuple[str, bytes], value: bytes, *more: tuple[str, bytes]
    ) -> asyncio.Future[None]:
        """Put one record behind the others of its channel's partition.

        `header` is `contract.envelope.encode_envelope` of it, `more` what else goes beside it. The future resolves once all in-sync replicas have
        the record; its exception is AppendFailed: outcome unknown. Cancelling it does not withdraw the record.
        Raises Overloaded when too much waits, ValueError for a record too large for a batch, RuntimeError when the
        appender is not open; then nothing was appended.
        """
        key = channel.encode("ascii")
        headers = [header, *more]
        size = len(key) + sum(len(name) + len(content) for name, content in headers) + len(value)
        size += _RECORD_OVERHEAD * len(headers)
        if size > self._room:
            raise ValueError(f"a record of {size} bytes is too large: a batch holds {self._room}")
        if not self._open:
            raise RuntimeError("the appender is not open")
        if self._in_flight >= self._max_in_flight or self._in_flight_bytes + size > self._max_in_flight_bytes:
            metrics.OVERLOADED.labels(self._topic).inc()
            raise Overloaded(f"{self._in_flight} records ({self._in_flight_bytes} bytes) wait for the log")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        deadline = loop.time() + self._append_timeout_s
        lane = self._lanes[partition_of(channel, len(self._lanes))]
        self._waiting[lane.partition] = lane
        lane.put(_Waiting(key, headers, value, size, deadline, future))
        self._in_flight += 1
        self._in_flight_bytes += size
        if self._overdue is None:
            self._overdue = loop.call_at(deadline, self._fail_overdue)
        # In the loop's next round, so that what is appended in this one shares a batch.
        self._soon()
        return future

    async def flush(self) -> None:
        """Wait until everything appended so far has succeeded or failed. Raises nothing."""
        waiting = [record.future for lane in self._lanes for record in lane.waiting()]
        if waiting:
            await asyncio.wait(waiting)

    # --- sending ----------------------------------------------------------------------------------------------------

    def _soon(self) -> None:
        if self._next_round is None:
            self._next_round = asyncio.get_running_loop().call_soon(self._send)

    def _send(self) -> None:
        """Send one request to every broker that may have one now; each with a batch of every partition that has one."""
        self._next_round = None
        loop = asyncio.get_running_loop()
        now = loop.time()
        ready: defaultdict[int, list[Lane[_Waiting]]] = defaultdict(list)
        wake: float | None = None
        for lane in list(self._waiting.values()):
            if not lane.may_send(now):
                if not lane.waits:
                    del self._waiting[lane.partition]
                elif lane.held_until > now:
                    wake = lane.held_until if wake is None else min(wake, lane.held_until)
                continue
            leader = self._brokers.leader(lane.partition)
            if leader is None:
                self._refresh()
                continue
            ready[leader].append(lane)
        for broker, lanes in ready.items():
            pace = self._paces[broker]
            wait = pace.wait(now)
            if wait is None:
                continue
            if wait > 0.0:
                wake = now + wait if wake is None else min(wake, now + wait)
                continue
            pace.sent(now)
            self._request(broker, pace, {lane.partition: lane.take() for lane in lanes})
            if any(lane.may_send(now) for lane in lanes):
                later = now + pace.spacing
                wake = later if wake is None else min(wake, later)
        if self._later_round is not None:
            self._later_round.cancel()
        self._later_round = None if wake is None else loop.call_at(wake, self._send)

    def _request(self, broker: int, pace: Pace, batches: dict[int, Batch[_Waiting]]) -> None:
        loop = asyncio.get_running_loop()
        started = loop.time()
        self._requests = number = self._requests + 1
        self._unanswered[number] = (broker, started, list(batches))
        if self._look is None:
            self._look = loop.call_later(_SLOW_S, self._look_for_slow)
        try:
            request = Produce(
                self._topic,
                [(partition, _encoded(batch)) for partition, batch in batches.items()],
                timeout_ms=self._request_timeout_ms,
            )
            answer = self._brokers.send(broker, request, _CONNECTION)
        except Exception as error:  # noqa: BLE001 - no partition may stay jammed by it
            answer = loop.create_future()
            answer.set_exception(error)
        # A callback, and no task that waits: this is done for every lone message.
        answer.add_done_callback(partial(self._ended, number, pace, batches))

    def _ended(
        self,
        number: int,
        pace: Pace,
        batches: dict[int, Batch[_Waiting]],
        answer: asyncio.Future[ProduceAnswer],
    ) -> None:
        """A request was answered, or never will be."""
        _, started, _ = self._unanswered.pop(number)
        error = asyncio.CancelledError("cancelled") if answer.cancelled() else answer.exception()
        if not self._open:
            return
        seconds = asyncio.get_running_loop().time() - started if error is None else None
        pace.ended(seconds)
        if seconds is None:
            self._soon()
        if error is not None and not isinstance(error, KafkaError):
            self._fail_each(batches, repr(error))
            return
        if error is not None:
            self._refresh()
        answers = answer.result().errors if error is None else {}
        for partition, batch in batches.items():
            lane = self._lanes[partition]
            outcome = for_code(answers[partition]) if partition in answers else None
            self._answered(lane, batch, outcome, error, seconds)
            if not lane.waits:
                self._waiting.pop(partition, None)
        if self._waiting:
            self._soon()

    def _answered(
        self,
        lane: Lane[_Waiting],
        batch: Batch[_Waiting],
        outcome: type[KafkaError] | None,
        error: BaseException | None,
        seconds: float | None,
    ) -> None:
        """`outcome`: what the broker said of the batch; None when it said nothing, because of `error`."""
        if outcome is NoError:
            if seconds is not None:
                self._seconds.observe(seconds)
            self._batches.inc()
            acknowledged = lane.taken(batch, asyncio.get_running_loop().time())
            self._appended.inc(len(acknowledged))
            self._release(acknowledged, None)
            return
        # Behind one that was not taken, the next ones are out of order; on their own they show a leader that forgot.
        repeatable = (
            outcome is None
            or outcome.retriable
            or (outcome is OutOfOrderSequenceNumber and not lane.is_first(batch))
        )
        if repeatable:
            lane.again(batch, asyncio.get_running_loop().time() + _AGAIN_S)
            if outcome is not None and outcome.invalid_metadata:
                self._refresh()
        elif lane.producer == batch.producer:
            self._fail(lane, repr(error if outcome is None else outcome()))

    def _look_for_slow(self) -> None:
        """Whoever leaves a request without an answer may lead no longer."""
        self._look = None
        now = asyncio.get_running_loop().time()
        if any(now - started >= _SLOW_S for _, started, _ in self._unanswered.values()):
            self._refresh()
        if self._unanswered:
            self._look = asyncio.get_running_loop().call_later(_SLOW_S, self._look_for_slow)

    def _refresh(self) -> None:
        """Ask who leads, then go on."""
        if self._refreshing is None and self._open:
            self._refreshing = self._start(self._brokers.refresh(), f"metadata {self._topic}")
            self._refreshing.add_done_callback(self._refreshed)

    def _refreshed(self, _: asyncio.Task[None]) -> None:
        self._refreshing = None
        if not self._open:
            return
        now = asyncio.get_running_loop().time()
        for broker, started, partitions in self._unanswered.values():
            if now - started >= _SLOW_S and all(
                self._brokers.leader(p) not in (broker, None) for p in partitions
            ):
                # Others lead now. What is cut off is repeated to them under the same numbers.
                self._brokers.cut(broker, _CONNECTION)
        self._soon()

    # --- failing ----------------------------------------------------------------------------------------------------

    def _fail_overdue(self) -> None:
        """Fail the partitions whose oldest record is past its deadline, and look again when the next one would be."""
        self._overdue = None
        loop = asyncio.get_running_loop()
        now = loop.time()
        for lane in self._lanes:
            deadline = lane.deadline()
            if deadline is not None and deadline <= now:
                leader = self._brokers.leader(lane.partition)
                if lane.under_way and leader is not None:
                    # What hangs there need not arrive as a late copy.
                    self._brokers.cut(leader, _CONNECTION)
                self._fail(lane, f"not acknowledged within {self._append_timeout_s:g} s")
        deadlines = [deadline for lane in self._lanes if (deadline := lane.deadline()) is not None]
        if deadlines and self._overdue is None:
            self._overdue = loop.call_at(min(deadlines), self._fail_overdue)

    def _fail_each(self, batches: dict[int, Batch[_Waiting]], reason: str) -> None:
        for partition, batch in batches.items():
            if self._lanes[partition].producer == batch.producer:
                self._fail(self._lanes[partition], reason)

    def _fail(self, lane: Lane[_Waiting], reason: str) -> None:
        """Fail everything that waits in the partition, get it a new producer id, tell the owner."""
        failed = lane.fail()
        error = AppendFailed(f"{self._topic}, partition {lane.partition}: {reason}", lane.partition)
        metrics.APPEND_FAILURES.labels(self._topic).inc()
        log.warning(
            "append failed", topic=self._topic, partition=lane.partition, records=len(failed), reason=reason
        )
        self._release(failed, error)
        self._start(self._begin_anew(lane), f"new producer {self._topic} {lane.partition}")
        self._on_failure(error)

    def _release(self, records: list[_Waiting], error: AppendFailed | None) -> None:
        self._in_flight -= len(records)
        self._in_flight_bytes -= sum(record.size for record in records)
        self._gauge.set(self._in_flight)
        for record in records:
            if record.future.done():
                continue
            if error is None:
                record.future.set_result(None)
            else:
                record.future.set_exception(error)
                # The owner is told of the failure as a whole; a future nobody looks at any more is no defect.
                record.future.exception()

    async def _begin_anew(self, lane: Lane[_Waiting]) -> None:
        while True:
            try:
                producer = await self._new_producer()
            except Exception as error:  # noqa: BLE001 - whatever it is, the partition may not stay jammed by it
                log.warning(
                    "no producer id yet", topic=self._topic, partition=lane.partition, error=repr(error)
                )
                await asyncio.sleep(_RESTART_S)
            else:
                lane.begin(producer)
                self._soon()
                return

    async def _new_producer(self) -> Producer:
        """Raises KafkaError when asking again is of no use."""
        while True:
            try:
                return await self._brokers.new_producer()
            except KafkaError as error:
                # A broker that has just started has no ids to give yet.
                if not error.retriable:
                    raise
            await asyncio.sleep(_AGAIN_S)

    def _start(self, work: Any, name: str) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _encoded(batch: Batch[_Waiting]) -> bytes:
    """For the wire: the same bytes however often it is sent."""
    if not batch.data:
        builder = DefaultRecordBatchBuilder(
            _MAGIC, 0, 0, batch.producer.id, batch.producer.epoch, batch.sequence, 1 << 30
        )
        for offset, record in enumerate(batch.records):
            builder.append(offset, None, record.key, record.value, record.headers)
        batch.data = bytes(builder.build())
    return batch.data
