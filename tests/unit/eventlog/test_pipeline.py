"""The lanes of an appender against a leader as Kafka's idempotence makes it: whatever is lost, late or refused, records
enter once and in order."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from services.eventlog.pipeline import EARLIEST_S, MAX_UNDER_WAY, Batch, Lane, Pace, Producer

ROOM = 10


class Record(NamedTuple):
    number: int
    size: int
    deadline: float


class Leader:
    """Takes a batch behind the one before it, knows the last five again, refuses the rest (KIP-98).

    From a producer that it does not know, or no longer, it takes any number (Kafka's ProducerAppendInfo.checkSequence).
    """

    def __init__(self) -> None:
        self.log: list[int] = []
        self._next: dict[Producer, int] = {}
        self._known: dict[Producer, deque[int]] = {}

    def take(self, batch: Batch[Record]) -> str:
        known = self._known.setdefault(batch.producer, deque(maxlen=5))
        if batch.sequence in known:
            return "taken"
        following = self._next.get(batch.producer, batch.sequence)
        if batch.sequence != following:
            return "out of order"
        self.log += [record.number for record in batch.records]
        self._next[batch.producer] = following + len(batch.records)
        known.append(batch.sequence)
        return "taken"

    def forget(self) -> None:
        """Producers that have written nothing for a day (producer.id.expiration.ms)."""
        self._next.clear()
        self._known.clear()


class Sending(RuleBasedStateMachine):
    """One lane, a connection that keeps its order until it is cut, copies that arrive after the cut."""

    def __init__(self) -> None:
        super().__init__()
        self.lane = Lane[Record](0, ROOM)
        self.leader = Leader()
        self.producers = 0
        self.put = 0
        self.now = 0.0
        self.sent: deque[Batch[Record]] = deque()
        self.answers: deque[tuple[Batch[Record], str]] = deque()
        self.stray: list[Batch[Record]] = []
        self.acknowledged: list[int] = []
        self.failed: set[int] = set()
        self._begin()

    def _begin(self) -> None:
        self.producers += 1
        self.lane.begin(Producer(self.producers, 0))

    @rule(size=st.integers(1, ROOM))
    def append(self, size: int) -> None:
        self.lane.put(Record(self.put, size, self.now + 10))
        self.put += 1

    @precondition(lambda self: self.lane.may_send(self.now))
    @rule()
    def send(self) -> None:
        batch = self.lane.take()
        assert sum(record.size for record in batch.records) <= ROOM
        self.sent.append(batch)

    @precondition(lambda self: self.sent)
    @rule(refused=st.integers(0, 3).map(lambda dice: dice == 3))
    def arrive(self, refused: bool) -> None:
        """`refused`: not enough replicas; nothing was taken."""
        batch = self.sent.popleft()
        self.answers.append((batch, "refused" if refused else self.leader.take(batch)))

    @precondition(lambda self: self.answers)
    @rule()
    def answer(self) -> None:
        batch, outcome = self.answers.popleft()
        if outcome == "taken":
            self.acknowledged += [record.number for record in self.lane.taken(batch, self.now)]
        elif outcome == "refused" or not self.lane.is_first(batch):
            self.lane.again(batch, self.now + 0.1)
        elif batch.producer == self.lane.producer:
            raise AssertionError("a leader that forgot nothing finds the oldest one out of order")

    @precondition(lambda self: self.sent or self.answers)
    @rule()
    def cut(self) -> None:
        """Neither requests nor answers on their way come through; requests may all the same arrive, much later."""
        lost = [batch for batch, _ in self.answers] + list(self.sent)
        self.stray += self.sent
        self.sent.clear()
        self.answers.clear()
        for batch in lost:
            self.lane.again(batch, self.now + 0.1)

    @precondition(lambda self: self.stray)
    @rule(data=st.data())
    def late_copy(self, data: st.DataObject) -> None:
        self.leader.take(self.stray.pop(data.draw(st.integers(0, len(self.stray) - 1))))

    @rule()
    def time_passes(self) -> None:
        self.now += 0.06

    @precondition(lambda self: not (self.lane.waits or self.stray or self.sent or self.answers))
    @rule()
    def a_day_passes(self) -> None:
        self.now += 86_400
        self.leader.forget()

    @precondition(lambda self: self.lane.waits)
    @rule(overdue=st.integers(0, 9))
    def give_up(self, overdue: int) -> None:
        if overdue < 9:
            return
        self.failed |= {record.number for record in self.lane.fail()}
        assert not self.lane.waits
        assert not self.lane.may_send(self.now)
        self._begin()

    @invariant()
    def in_order_and_once(self) -> None:
        log = self.leader.log
        assert len(set(log)) == len(log)
        certain = [number for number in log if number not in self.failed]
        assert certain == sorted(certain)
        assert set(self.acknowledged) <= set(log)
        assert self.acknowledged == sorted(self.acknowledged)

    @invariant()
    def not_more_than_a_leader_knows(self) -> None:
        assert self.lane.under_way <= MAX_UNDER_WAY

    def teardown(self) -> None:
        """Left alone, everything is acknowledged."""
        for _ in range(10_000):
            if not self.lane.waits:
                break
            self.now += 0.2
            while self.lane.may_send(self.now):
                self.send()
            while self.sent:
                self.arrive(refused=False)
            while self.answers:
                self.answer()
        assert {*self.acknowledged, *self.failed} == set(range(self.put))


TestSending = Sending.TestCase
TestSending.settings = settings(max_examples=200, stateful_step_count=50, deadline=None)


def test_a_broker_nearby_has_one_request_at_a_time() -> None:
    pace = Pace()
    assert pace.wait(0.0) == 0.0
    pace.sent(0.0)
    assert pace.wait(0.002) == EARLIEST_S - 0.002
    pace.ended(0.003)
    assert pace.wait(0.003) == 0.0


def test_far_from_a_broker_requests_are_spread_over_the_round_trip() -> None:
    pace = Pace()
    pace.sent(0.0)
    pace.ended(0.2)
    at = [1.0]
    pace.sent(1.0)
    while (wait := pace.wait(at[-1])) is not None:
        at.append(at[-1] + wait)
        pace.sent(at[-1])
    assert [round(each - 1.0, 3) for each in at] == [0.0, 0.04, 0.08, 0.12, 0.16]
    pace.ended(None)
    assert pace.wait(1.25) == 0.0


def test_no_second_batch_before_a_leader_knows_the_producer() -> None:
    """It would take the second for the first, should the first be refused; and so after a long silence."""
    lane = Lane[Record](0, ROOM)
    lane.begin(Producer(1, 0))
    for number in range(6):
        lane.put(Record(number, ROOM, 10.0))
    first = lane.take()
    assert not lane.may_send(0.0)
    lane.again(first, 0.1)
    assert not lane.may_send(0.05)
    assert lane.take() is first
    assert lane.taken(first, 0.3) == first.records
    second, third = lane.take(), lane.take()
    assert lane.may_send(0.4)
    assert lane.taken(third, 0.4) == []
    assert lane.taken(second, 0.4) == [*second.records, *third.records]
    lane.take()
    assert lane.may_send(0.5)
    assert not lane.may_send(86_400.0)
