"""What the relay does next with the events in the outbox. Pure: time and what is known come in, actions go out.

Per channel only the first waiting row is worked on; the next one's turn comes when the persister has deleted it:
the order of the rows is the order in the log, whatever fails. A row is appended again and again under its id until
it is gone. Only when the persister's stored clock says that the id has expired, and the row is still there, can the
event never have been numbered and never be: then, and only then, it gets a new id.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

ACKNOWLEDGED_RETRY_S: Final = 2.0
"""First wait for the persister after the log has the record; then doubled. Far above its usual few milliseconds."""

FAILED_RETRY_S: Final = 0.1
"""First wait after an append of unknown outcome; then doubled."""

MAX_RETRY_S: Final = 30.0


class Waiting(NamedTuple):
    """A channel's first row in the outbox.

    `born` is the time inside `event_id`, `created` when the row's transaction began; both Unix milliseconds.
    """

    position: int
    channel: str
    partition: int
    event_id: str
    born: int
    created: int


class Append(NamedTuple):
    """Append the row's event under its id. `again`: it was appended before under this id."""

    row: Waiting
    again: bool


class Renew(NamedTuple):
    """Give the row a new id, if it is still there under this one."""

    row: Waiting


Action = Append | Renew


@dataclass(slots=True)
class _Turn:
    """What was done with one row. `due` None: an append is under way."""

    row: Waiting
    due: float | None
    expired: bool = False
    attempts: int = 0
    failures: int = 0


class Schedule:
    """The rows at work, one a channel at most. `now` is any monotonic clock in seconds.

    retry_ms        of the epoch: an id is expired when the log's clock is more than this past its birth
    max_in_flight   how many appends may be under way at once
    """

    def __init__(self, retry_ms: int, max_in_flight: int = 1_000) -> None:
        self._retry_ms = retry_ms
        self._max_in_flight = max_in_flight
        self._turns: dict[str, _Turn] = {}
        self._clocks: Mapping[int, int] = {}
        self._in_flight = 0

    def observe(self, rows: Iterable[Waiting], clocks: Mapping[int, int], now: float) -> None:
        """Take in what one snapshot of PostgreSQL shows: every channel's first row, the persister's clocks.

        `clocks`: partition -> Unix milliseconds. Snapshots must come in their order in time.
        """
        self._clocks = clocks
        before = self._turns
        self._turns = {}
        for row in rows:
            turn = before.get(row.channel)
            if turn is None or turn.row != row:
                turn = _Turn(row, due=now)
            if not turn.expired and self._expired(row):
                turn.expired = True
                if turn.due is not None:
                    turn.due = now
            self._turns[row.channel] = turn

    def take(self, now: float) -> list[Action]:
        """What is to be done now, oldest row first. An action is given once; `done` says how an append went.

        A renewal needs no answer: the next snapshot shows the row under its new id, or that it is gone; if it
        shows neither, the renewal is given again after a while.
        """
        due = [turn for turn in self._turns.values() if turn.due is not None and turn.due <= now]
        due.sort(key=lambda turn: turn.row.position)
        return list(self._actions(due, now))

    def _actions(self, due: list[_Turn], now: float) -> Iterator[Action]:
        for turn in due:
            if turn.expired:
                turn.due = now + ACKNOWLEDGED_RETRY_S
                yield Renew(turn.row)
            elif not self.full:
                self._in_flight += 1
                turn.due = None
                turn.attempts += 1
                yield Append(turn.row, again=turn.attempts > 1)

    def _expired(self, row: Waiting) -> bool:
        clock = self._clocks.get(row.partition)
        return clock is not None and clock - row.born > self._retry_ms

    def done(self, row: Waiting, acknowledged: bool, now: float) -> None:
        """The append of this row has ended: the log has it, or the outcome is not known."""
        self._in_flight -= 1
        turn = self._turns.get(row.channel)
        if turn is None or turn.row != row:
            return  # stored and deleted before the answer came, or under a new id
        if acknowledged:
            turn.failures = 0
            turn.due = now + min(MAX_RETRY_S, ACKNOWLEDGED_RETRY_S * 2 ** min(turn.attempts - 1, 10))
        else:
            turn.due = now + min(MAX_RETRY_S, FAILED_RETRY_S * 2 ** min(turn.failures, 10))
            turn.failures += 1

    @property
    def full(self) -> bool:
        """Whether as many appends are under way as there may be."""
        return self._in_flight >= self._max_in_flight

    def clock(self, partition: int) -> int:
        """The persister's clock of a partition as last observed, Unix milliseconds; 0 when unknown."""
        return self._clocks.get(partition, 0)

    def next_due(self) -> float | None:
        """When `take` will next have something to give, unless a snapshot or an answer comes first; None: never."""
        if self.full:
            return None
        return min((turn.due for turn in self._turns.values() if turn.due is not None), default=None)
