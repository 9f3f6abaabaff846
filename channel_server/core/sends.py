"""Sends under way: from the append to the verdict of this node's own fold.

A send is answered by what the node's tail says of *a* record with its key and its body, be it its own copy or one
that another node appended; never by the log's acknowledgement. Equal sends that meet here share one append.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import NamedTuple, Protocol

from services.contract.envelope import digest_of
from services.eventlog.sequencer import Kind, Verdict


class Accepted(NamedTuple):
    """The message has this number. `duplicate`: an earlier copy got it."""

    seq: int
    at: int
    duplicate: bool


class Refusal(NamedTuple):
    """`code` is one of `contract.codes.ERRORS`; the rest as in `frames.Refused`. `because`: which limit said `slow_down`,
    or sent a post by REST to another node: one of `state.SLOW_DOWNS`."""

    code: str
    message: str
    head: int | None = None
    now: int | None = None
    retry_after_ms: int | None = None
    because: str = ""


class LogFailed(NamedTuple):
    """The append failed, its outcome unknown: later sends of the same connection must not overtake it."""


Answer = Accepted | Refusal | LogFailed


class Waiter(Protocol):
    def answered(self, channel: str, id: str, answer: Answer) -> None:
        """Called exactly once for each send."""


class Outgoing:
    """One record on its way. `confirmed`: the log has it; only the verdict is outstanding. `mentions`: its header."""

    __slots__ = ("channel", "confirmed", "deadline", "digest", "id", "mentions", "sender", "waiters")

    def __init__(self, channel: str, sender: str, id: str, digest: int, deadline: float) -> None:
        self.channel = channel
        self.sender = sender
        self.id = id
        self.digest = digest
        self.deadline = deadline
        self.confirmed = False
        self.mentions: tuple[str, ...] = ()
        self.waiters: list[Waiter] = []

    def answer(self, answer: Answer) -> None:
        waiters, self.waiters = self.waiters, []
        for waiter in waiters:
            waiter.answered(self.channel, self.id, answer)


_Key = tuple[str, str, str]

TIMED_OUT = Refusal(
    "log_unavailable", "the log did not answer in time; retry under the same id", None, None, 1000
)


class Sends:
    """All sends under way on a node, by (channel, sender, id), and by body where the same id was used for several."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._under_way: dict[_Key, list[Outgoing]] = {}
        self._deadlines: deque[Outgoing] = deque()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    @property
    def is_full(self) -> bool:
        return self._count >= self._capacity

    def begin(
        self, channel: str, sender: str, id: str, value: bytes, deadline: float, waiter: Waiter
    ) -> Outgoing | None:
        """Wait for the verdict on a message; gives what must be appended, None when an equal send is under way.

        Deadlines (monotonic seconds) must not decrease from call to call.
        """
        digest = digest_of(value)
        if self.join(channel, sender, id, digest, waiter):
            return None
        outgoing = Outgoing(channel, sender, id, digest, deadline)
        outgoing.waiters.append(waiter)
        self._under_way.setdefault((channel, sender, id), []).append(outgoing)
        self._deadlines.append(outgoing)
        self._count += 1
        return outgoing

    def join(self, channel: str, sender: str, id: str, digest: int, waiter: Waiter) -> bool:
        """Wait for the verdict on an equal send, if one is under way."""
        for other in self._under_way.get((channel, sender, id), ()):
            if other.digest == digest:
                other.waiters.append(waiter)
                return True
        return False

    def withdraw(self, outgoing: Outgoing) -> None:
        """It was not handed to the log after all; its waiters are not answered from here."""
        outgoing.waiters.clear()
        self._remove(outgoing)

    def judged(
        self, channel: str, sender: str, id: str, digest: int, verdict: Verdict
    ) -> tuple[list[Outgoing], Answer] | None:
        """The tail's verdict on a record: the sends it answers, and how; None when it answers none.

        The caller answers, after the batch has been shown. A copy with another body than a send's says nothing of
        that send: its own copy will.
        """
        same_key = self._under_way.get((channel, sender, id))
        if same_key is None:
            return None
        # EXPIRED and FUTURE judge the id alone.
        judges_id = verdict.kind is Kind.EXPIRED or verdict.kind is Kind.FUTURE
        answered = [o for o in same_key if judges_id or o.digest == digest]
        if not answered:
            return None
        for outgoing in answered:
            self._remove(outgoing)
        return answered, answer_of(verdict)

    def failed(self, outgoing: Outgoing) -> None:
        """The append of this one failed. Harmless when it has been answered."""
        if outgoing.waiters:
            self._remove(outgoing)
            outgoing.answer(LogFailed())

    def fail_unconfirmed(self, concerns: Callable[[str], bool]) -> int:
        """Every append to these channels that the log has not confirmed has failed; gives how many."""
        failed = [
            outgoing
            for (channel, _, _), same_key in self._under_way.items()
            if concerns(channel)
            for outgoing in same_key
            if not outgoing.confirmed
        ]
        for outgoing in failed:
            self.failed(outgoing)
        return len(failed)

    def expire(self, now: float) -> int:
        """Answer the sends whose deadline has passed; gives how many."""
        expired = 0
        while self._deadlines and (not self._deadlines[0].waiters or self._deadlines[0].deadline <= now):
            outgoing = self._deadlines.popleft()
            if outgoing.waiters:
                self._remove(outgoing)
                outgoing.answer(TIMED_OUT)
                expired += 1
        return expired

    def _remove(self, outgoing: Outgoing) -> None:
        key = (outgoing.channel, outgoing.sender, outgoing.id)
        same_key = self._under_way.get(key)
        if same_key is not None and outgoing in same_key:
            same_key.remove(outgoing)
            self._count -= 1
            if not same_key:
                del self._under_way[key]


def answer_of(verdict: Verdict) -> Answer:
    """What the fold's word on a record means for who sent it."""
    if verdict.seq is not None and verdict.kind in (Kind.NUMBERED, Kind.DUPLICATE):
        return Accepted(verdict.seq, verdict.now, verdict.kind is Kind.DUPLICATE)
    if verdict.kind is Kind.EXPIRED:
        return expired(verdict.head, verdict.now)
    if verdict.kind is Kind.FUTURE:
        return Refusal("future", "the id was born too far ahead of the log's clock", now=verdict.now)
    if verdict.kind is Kind.ID_REUSED:
        return Refusal("id_reused", "another message of yours already has this id")
    return Refusal("number_unknown", "the message is stored, but its number is no longer known here")


def expired(head: int, now: int) -> Refusal:
    return Refusal("expired", "the id is too old; no copy of it will be numbered from here on", head, now)
