"""The relay's decisions: one row a channel at a time, in order, until it is gone; a new id only when that is safe."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from services.relay.schedule import (
    ACKNOWLEDGED_RETRY_S,
    FAILED_RETRY_S,
    MAX_RETRY_S,
    Append,
    Renew,
    Schedule,
    Waiting,
)

RETRY_MS = 120_000


def row(
    position: int = 1, channel: str = "a", *, id: str = "", born: int = 1_000_000, partition: int = 0
) -> Waiting:
    return Waiting(position, channel, partition, id or f"id-{position}", born, born)


def test_a_row_is_appended_at_once_and_only_once() -> None:
    schedule = Schedule(RETRY_MS)
    schedule.observe([row()], {}, 0.0)
    assert schedule.take(0.0) == [Append(row(), again=False)]
    schedule.observe([row()], {}, 0.1)
    assert schedule.take(0.1) == []


def test_the_next_row_of_a_channel_waits_until_the_first_is_gone() -> None:
    schedule = Schedule(RETRY_MS)
    schedule.observe([row(1)], {}, 0.0)
    schedule.take(0.0)
    schedule.done(row(1), True, 0.0)
    schedule.observe([row(1)], {}, 0.5)
    assert schedule.take(0.5) == []
    schedule.observe([row(2)], {}, 0.6)
    assert schedule.take(0.6) == [Append(row(2), again=False)]


def test_channels_do_not_wait_for_each_other() -> None:
    schedule = Schedule(RETRY_MS)
    schedule.observe([row(2, "b"), row(1, "a"), row(3, "c")], {}, 0.0)
    assert [action.row.channel for action in schedule.take(0.0)] == ["a", "b", "c"]


def test_an_acknowledged_row_that_stays_is_appended_again_ever_more_rarely() -> None:
    schedule = Schedule(RETRY_MS)
    schedule.observe([row()], {}, 0.0)
    now, waits = 0.0, []
    for _ in range(8):
        (action,) = schedule.take(now)
        schedule.done(action.row, True, now)
        due = schedule.next_due()
        assert due is not None
        waits.append(due - now)
        assert schedule.take(due - 0.001) == []
        now = due
    assert waits[0] == ACKNOWLEDGED_RETRY_S
    assert waits == sorted(waits)
    assert waits[-1] == MAX_RETRY_S


def test_an_append_of_unknown_outcome_is_repeated_soon() -> None:
    schedule = Schedule(RETRY_MS)
    schedule.observe([row()], {}, 0.0)
    schedule.take(0.0)
    schedule.done(row(), False, 0.0)
    assert schedule.next_due() == FAILED_RETRY_S
    assert schedule.take(FAILED_RETRY_S) == [Append(row(), again=True)]


def test_a_new_id_only_when_the_persisters_clock_is_past_the_expiry() -> None:
    schedule = Schedule(RETRY_MS)
    old = row(born=1_000_000)
    schedule.observe([old], {0: 1_000_000 + RETRY_MS}, 0.0)
    assert schedule.take(0.0) == [Append(old, again=False)]
    schedule.done(old, True, 0.0)
    schedule.observe([old], {0: 1_000_000 + RETRY_MS + 1}, 0.1)
    assert schedule.take(0.1) == [Renew(old)]
    # asked once; asked again only if the row is still seen as it was after a while
    schedule.observe([old], {0: 1_000_000 + RETRY_MS + 1}, 0.2)
    assert schedule.take(0.2) == []
    assert schedule.take(0.1 + ACKNOWLEDGED_RETRY_S) == [Renew(old)]
    new = row(born=1_200_000, id="new")
    schedule.observe([new], {0: 1_000_000 + RETRY_MS + 1}, 3.0)
    assert schedule.take(3.0) == [Append(new, again=False)]


def test_another_partitions_clock_expires_nothing() -> None:
    schedule = Schedule(RETRY_MS)
    schedule.observe([row(partition=1)], {0: 10**12}, 0.0)
    assert schedule.take(0.0) == [Append(row(partition=1), again=False)]


def test_no_more_appends_under_way_than_allowed() -> None:
    schedule = Schedule(RETRY_MS, max_in_flight=2)
    rows = [row(n, f"c{n}") for n in range(5)]
    schedule.observe(rows, {}, 0.0)
    assert [action.row for action in schedule.take(0.0)] == rows[:2]
    assert schedule.full
    assert schedule.next_due() is None
    schedule.done(rows[0], True, 0.0)
    assert [action.row for action in schedule.take(0.0)] == rows[2:3]


class Relaying(RuleBasedStateMachine):
    """A relay that crashes and appends that fail, against an outbox, a log and a persister modelled as plainly as can be."""

    CHANNELS = ("a", "b", "c")

    @initialize()
    def begin(self) -> None:
        self.now = 0.0
        self.wall = 1_000_000
        self.clock = 1_000_000  # the persister's, of the one partition
        self.outbox: dict[int, Waiting] = {}
        self.log: list[tuple[int, str, str, int, int]] = []  # position, channel, id, born, stamped
        self.persisted = 0
        self.stored: dict[str, list[int]] = {channel: [] for channel in self.CHANNELS}
        self.order: dict[str, list[int]] = {channel: [] for channel in self.CHANNELS}
        self.ids: set[str] = set()
        self.schedule = Schedule(RETRY_MS, max_in_flight=2)
        self.under_way: list[Waiting] = []
        self.late: list[tuple[int, str, str, int]] = []
        self.count = 0

    @rule(channel=st.sampled_from(CHANNELS))
    def transaction_commits(self, channel: str) -> None:
        self.count += 1
        self.outbox[self.count] = Waiting(self.count, channel, 0, f"id-{self.count}", self.wall, self.wall)
        self.order[channel].append(self.count)

    @rule(seconds=st.sampled_from([0.1, 3.0, 40.0, 130.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.wall += int(seconds * 1000)

    @rule()
    def relay_looks_and_acts(self) -> None:
        first: dict[str, Waiting] = {}
        for position in sorted(self.outbox):
            first.setdefault(self.outbox[position].channel, self.outbox[position])
        self.schedule.observe(first.values(), {0: self.clock}, self.now)
        for action in self.schedule.take(self.now):
            if isinstance(action, Append):
                assert action.row.channel not in {row.channel for row in self.under_way} or any(
                    row.position < action.row.position for row in self.under_way
                )
                self.under_way.append(action.row)
            else:
                self._renew(action.row)

    def _renew(self, row: Waiting) -> None:
        # the statement's own condition, in one snapshot
        if self.outbox.get(row.position) == row and self.clock - row.born > RETRY_MS:
            self.count += 1
            self.outbox[row.position] = row._replace(
                event_id=f"id-{self.count}", born=max(self.wall, self.clock)
            )

    @precondition(lambda self: self.under_way)
    @rule(outcome=st.sampled_from(["stored", "lost", "unknown", "late"]))
    def an_append_ends(self, outcome: str) -> None:
        row = self.under_way.pop(0)
        record = (row.position, row.channel, row.event_id, row.born)
        if outcome in ("stored", "unknown"):
            self.log.append((*record, self.wall))
        elif outcome == "late":
            self.late.append(record)
        self.schedule.done(row, outcome == "stored", self.now)

    @precondition(lambda self: self.late)
    @rule()
    def a_late_copy_arrives(self) -> None:
        self.log.append((*self.late.pop(), self.wall))

    @rule()
    def relay_crashes(self) -> None:
        self.late += [(row.position, row.channel, row.event_id, row.born) for row in self.under_way]
        self.under_way = []
        self.schedule = Schedule(RETRY_MS, max_in_flight=2)

    @precondition(lambda self: self.persisted < len(self.log))
    @rule(records=st.integers(1, 5))
    def persister_stores(self, records: int) -> None:
        for position, channel, id, born, stamped in self.log[self.persisted : self.persisted + records]:
            self.clock = max(self.clock, stamped)
            if self.clock - born <= RETRY_MS and id not in self.ids:
                self.ids.add(id)
                self.stored[channel].append(position)
                waiting = self.outbox.get(position)
                if waiting is not None and waiting.event_id == id:
                    del self.outbox[position]
        self.persisted = min(len(self.log), self.persisted + records)

    @invariant()
    def each_channel_holds_its_rows_in_order_each_once(self) -> None:
        for channel, positions in getattr(self, "stored", {}).items():
            assert positions == self.order[channel][: len(positions)]

    def teardown(self) -> None:
        """Left alone, everything gets through."""
        for _ in range(400):
            if not self.outbox:
                break
            self.time_passes(3.0)
            self.relay_looks_and_acts()
            while self.under_way:
                self.an_append_ends("stored")
            if self.persisted < len(self.log):
                self.persister_stores(len(self.log))
        assert not self.outbox
        assert self.stored == self.order


TestRelaying = Relaying.TestCase
