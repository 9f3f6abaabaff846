"""What an appender decides, partition by partition and broker by broker. Pure: no I/O, the clock is passed in.

Kafka's idempotent producers (KIP-98) number their batches per producer id and partition; a leader takes a batch only
behind the one numbered before it, and knows the last five again. So up to five batches may be under way at once
without any being able to overtake, and repeating all that are unanswered, oldest first, leaves no copies.

But from a producer id that it does not know, or has forgotten, a leader takes whatever number comes first (Kafka's
ProducerAppendInfo.checkSequence): a second batch could get ahead of a first one that was refused. So there is no second
one before the id has been heard of: before its first batch is acknowledged, or after it has been silent for long.
"""

from __future__ import annotations

from collections import deque
from typing import Final, Generic, NamedTuple, Protocol, TypeVar

MAX_UNDER_WAY: Final = 5
"""Batches of one partition, and requests to one broker, without an answer: as many as a leader knows again."""

EARLIEST_S: Final = 0.01
"""A second request follows one that has no answer yet after this long at the earliest: near a broker the answer comes
first, and what is appended meanwhile shares a batch."""

_REMEMBERED_S: Final = 600.0
"""A leader surely remembers a producer id for so long (producer.id.expiration.ms is a day)."""

_SEQUENCES: Final = 1 << 31
_LAST_TIMES: Final = 4


class Sized(Protocol):
    @property
    def size(self) -> int: ...

    @property
    def deadline(self) -> float: ...


R = TypeVar("R", bound=Sized)


class Producer(NamedTuple):
    """A producer id as a broker gave it out."""

    id: int
    epoch: int


class Batch(Generic[R]):
    """Records that go together, under one sequence number; `data` is theirs for the wire, the same on every repeat."""

    __slots__ = ("answered", "data", "producer", "records", "sequence")

    def __init__(self, records: list[R], producer: Producer, sequence: int) -> None:
        self.records = records
        self.producer = producer
        self.sequence = sequence
        self.data = b""
        self.answered = False


class Lane(Generic[R]):
    """One partition: what waits, what is under way, in the order of the appends.

    producer    None while the partition has no producer id: nothing is sent
    """

    __slots__ = (
        "_again",
        "_known_until",
        "_queue",
        "_room",
        "_sequence",
        "_unanswered",
        "_under_way",
        "held_until",
        "partition",
        "producer",
    )

    def __init__(self, partition: int, max_batch_bytes: int) -> None:
        self.partition = partition
        self.producer: Producer | None = None
        self.held_until = 0.0
        self._room = max_batch_bytes
        self._queue: deque[R] = deque()
        self._unanswered: deque[Batch[R]] = deque()
        # None: nothing failed. Empty: something did, and what was sent behind it has not been answered yet.
        self._again: deque[Batch[R]] | None = None
        self._under_way = 0
        self._sequence = 0
        self._known_until = 0.0

    def put(self, record: R) -> None:
        """Behind everything that was put before."""
        self._queue.append(record)

    def begin(self, producer: Producer) -> None:
        """Sequence numbers start anew under this id."""
        self.producer = producer
        self._sequence = 0
        self._known_until = 0.0

    @property
    def waits(self) -> bool:
        """Whether anything in it has no answer."""
        return bool(self._unanswered or self._queue)

    @property
    def under_way(self) -> int:
        """Requests without an answer that hold a batch of this lane's present producer."""
        return self._under_way

    def waiting(self) -> list[R]:
        """Every record without an acknowledgement, oldest first."""
        return [record for batch in self._unanswered for record in batch.records] + list(self._queue)

    def deadline(self) -> float | None:
        """Of the oldest record without an answer; None: there is none."""
        if self._unanswered:
            return self._unanswered[0].records[0].deadline
        return self._queue[0].deadline if self._queue else None

    def may_send(self, now: float) -> bool:
        """Whether `take` has something to give now."""
        if self.producer is None or now < self.held_until:
            return False
        if self._again is not None:
            return bool(self._again)
        most = MAX_UNDER_WAY if now < self._known_until else 1
        return bool(self._queue) and len(self._unanswered) < most

    def take(self) -> Batch[R]:
        """The next batch to send: one to be repeated, or as much of the queue as fits into one. Ask `may_send` first."""
        self._under_way += 1
        if self._again:
            batch = self._again.popleft()
            if not self._again:
                self._again = None
            return batch
        assert self.producer is not None
        queue, room = self._queue, self._room
        records: list[R] = []
        while queue and (not records or room >= queue[0].size):
            room -= queue[0].size
            records.append(queue.popleft())
        batch = Batch(records, self.producer, self._sequence)
        self._sequence = (self._sequence + len(records)) % _SEQUENCES
        self._unanswered.append(batch)
        return batch

    def taken(self, batch: Batch[R], now: float) -> list[R]:
        """The log has this batch. Gives the records that are acknowledged now, in their order."""
        if not self._is_present(batch):
            return []
        self._under_way -= 1
        self._known_until = now + _REMEMBERED_S
        batch.answered = True
        acknowledged: list[R] = []
        while self._unanswered and self._unanswered[0].answered:
            acknowledged += self._unanswered.popleft().records
        self._settle()
        return acknowledged

    def again(self, batch: Batch[R], held_until: float) -> None:
        """It is to be sent once more, and all that was sent behind it, once those have been answered too."""
        if not self._is_present(batch):
            return
        self._under_way -= 1
        self.held_until = max(self.held_until, held_until)
        self._again = deque()
        self._settle()

    def is_first(self, batch: Batch[R]) -> bool:
        """Whether nothing older is without an answer."""
        return bool(self._unanswered) and self._unanswered[0] is batch

    def fail(self) -> list[R]:
        """Give up all that waits and is under way, and the producer id: later answers say nothing to this lane."""
        failed = self.waiting()
        self._unanswered.clear()
        self._queue.clear()
        self._again = None
        self._under_way = 0
        self.producer = None
        return failed

    def _settle(self) -> None:
        if self._again is not None and self._under_way == 0:
            self._again = deque(batch for batch in self._unanswered if not batch.answered)
            if not self._again:
                self._again = None

    def _is_present(self, batch: Batch[R]) -> bool:
        return self.producer is not None and batch.producer == self.producer


class Pace:
    """When the next request may go to one broker: at once when none is under way, else evenly over a round trip."""

    __slots__ = ("_last", "_times", "under_way")

    def __init__(self) -> None:
        self.under_way = 0
        self._last = 0.0
        self._times: deque[float] = deque(maxlen=_LAST_TIMES)

    def wait(self, now: float) -> float | None:
        """Seconds until the next request may be sent, 0.0: now; None: not before an answer."""
        if not self.under_way:
            return 0.0
        if self.under_way >= MAX_UNDER_WAY:
            return None
        return max(0.0, self._last + self.spacing - now)

    @property
    def spacing(self) -> float:
        """Seconds between two requests of which the first has no answer yet."""
        round_trip = min(self._times, default=0.0)
        return max(EARLIEST_S, round_trip / MAX_UNDER_WAY)

    def sent(self, now: float) -> None:
        self.under_way += 1
        self._last = now

    def ended(self, seconds: float | None) -> None:
        """A request was answered after so many seconds; None: it failed."""
        self.under_way -= 1
        if seconds is not None:
            self._times.append(seconds)
