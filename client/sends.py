"""The sending half of the core: what was posted and has no final verdict yet, in order. No I/O, clock passed in.

Per channel, messages are numbered in the order in which they were posted. An id stays the same on every retry, to
any node, after any break. What is older than `OLD_S` without a verdict goes out one at a time, each after the
verdict on the one before, because its id may have expired and its text may have to be born again under a new id,
which must not come to stand behind what was posted later. With `pipeline` above 1 several messages of a channel are
under way at once; the server keeps their order, except around one it refuses for now (`slow_down`).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from enum import Enum
from typing import Final, NamedTuple

import msgspec

from client.backoff import delay_s
from client.effects import Effect, LookUp, Postponed, Reborn, Reject, Resolve
from client.errors import InvalidMessage
from client.model import Ack
from services.contract import frames
from services.contract.codes import ERRORS
from services.contract.events import MAX_TEXT

OLD_S: Final = 90.0
VERDICT_S: Final = 15.0
"""A send without any verdict for this long means that the connection is given up and the send repeated elsewhere."""

_REPLACED: Final = "log_replaced"
"""Why a message is looked for, where other reasons are the codes of refusals."""

_ASK_HISTORY: Final = frozenset({"expired", "number_unknown", "id_reused"})
"""Only history knows whether the message is stored."""

_ANY_ID: Final = "00000000-0000-7000-8000-000000000000"


def check(channel: str, text: str) -> None:
    """Raises InvalidMessage for what every server would refuse."""
    if not text:
        raise InvalidMessage("An empty message cannot be sent.")
    if len(text) > MAX_TEXT:
        raise InvalidMessage(f"The message has {len(text):,} characters; {MAX_TEXT:,} is the most.")
    try:
        frame = msgspec.convert(
            {"type": "send", "channel": channel, "id": _ANY_ID, "text": text}, frames.Send
        )
        size = len(frames.encode_frame(frame))
    except (msgspec.ValidationError, UnicodeError) as error:
        raise InvalidMessage(
            f"The message or its channel has characters that cannot be sent: {error}."
        ) from error
    if size > frames.MAX_MESSAGE_BYTES:
        raise InvalidMessage(f"The message takes {size} bytes, more than {frames.MAX_MESSAGE_BYTES}.")


class _Is(Enum):
    QUEUED = 1
    UNDER_WAY = 2
    WAITING = 3  # for its time to be tried again
    ASKED = 4  # after, in history


class Outgoing(NamedTuple):
    """One frame to write now, and which try this is (1, 2, ...)."""

    frame: frames.Send
    attempt: int


class Question(NamedTuple):
    """Is `id` of `channel` in history, in `after` + 1 .. `head`? `head` None: up to wherever history goes by now."""

    channel: str
    id: str
    after: int
    head: int | None


class Found(NamedTuple):
    """Where a message stands in history. `text` None: the event is no message (any more)."""

    epoch: int
    seq: int
    at: int
    text: str | None


class _Post:
    __slots__ = (
        "after", "also_to_channel", "attempts", "born", "channel", "directory_at", "due", "head", "id", "is_", "now_ms",
        "refusals", "refused", "refused_at", "text", "thread", "ticket",
    )  # fmt: skip

    def __init__(self, ticket: int, channel: str, text: str, *, after: int, directory_at: str | None) -> None:
        self.ticket = ticket
        self.channel = channel
        self.id = ""  # born when it is sent for the first time, by the clock of the server that it is sent to
        self.text = text
        self.thread: int | None = None
        self.also_to_channel = False
        self.born = 0.0
        self.after = (
            after  # the channel's last seq known before the first try: the message can only stand later
        )
        self.directory_at = directory_at
        self.attempts = 0
        self.refusals = 0
        self.is_ = _Is.QUEUED
        self.due = 0.0
        # of the refusal that history is asked about
        self.refused = ""
        self.head: int | None = None
        self.now_ms: int | None = None
        self.refused_at = 0.0


class Sends:
    """All posts without a final verdict. Times in seconds of the caller's monotonic clock.

    new_id    makes an event id; given Unix milliseconds, one born then
    """

    def __init__(self, *, rng: random.Random, new_id: Callable[[int], str], pipeline: int = 1) -> None:
        if pipeline < 1:
            raise ValueError(f"pipeline must be at least 1, not {pipeline}")
        self._rng = rng
        self._new_id = new_id
        self._pipeline = pipeline
        self._by_channel: dict[str, list[_Post]] = {}
        self._by_id: dict[str, _Post] = {}
        self._by_ticket: dict[int, _Post] = {}
        self._tickets = 0
        self._hold_until = 0.0

    def __len__(self) -> int:
        return len(self._by_ticket)

    def post(
        self,
        channel: str,
        text: str,
        *,
        after: int = 0,
        directory_at: str | None = None,
        thread: int | None = None,
        also_to_channel: bool = False,
    ) -> int:
        """Queue a message; gives its ticket. `after`: the channel's last seq that is known."""
        self._tickets += 1
        post = _Post(self._tickets, channel, text, after=after, directory_at=directory_at)
        post.thread, post.also_to_channel = thread, also_to_channel
        self._by_channel.setdefault(channel, []).append(post)
        self._by_ticket[post.ticket] = post
        return post.ticket

    def sendable(self, now: float, now_ms: int) -> list[Outgoing]:
        """What is to be written now, in this order; it counts as under way from here on.

        `now_ms`: the server's clock, Unix ms, as well as it is known; new ids are born then.
        """
        if now < self._hold_until:
            return []
        out = []
        for queue in self._by_channel.values():
            for post in self._of_channel(queue, now):
                if not post.id:
                    self._give_id(post, now, now_ms)
                post.is_ = _Is.UNDER_WAY
                post.attempts += 1
                post.due = now + VERDICT_S
                frame = frames.Send(
                    channel=post.channel,
                    id=post.id,
                    text=post.text,
                    thread=post.thread,
                    also_to_channel=post.also_to_channel,
                    directory_at=post.directory_at,
                )
                out.append(Outgoing(frame, post.attempts))
        return out

    def _give_id(self, post: _Post, now: float, now_ms: int) -> None:
        post.id = self._new_id(now_ms)
        post.born = now
        self._by_id[post.id] = post

    def _of_channel(self, queue: list[_Post], now: float) -> Iterator[_Post]:
        room = self._pipeline
        for post in queue:
            old = post.attempts > 0 and now - post.born > OLD_S
            if post.is_ is not _Is.UNDER_WAY:
                if post.is_ is _Is.ASKED or (post.is_ is _Is.WAITING and now < post.due):
                    return
                if room == 0 or (old and post is not queue[0]):
                    return
                yield post
            room -= 1
            if old or room <= 0:
                return

    def next_due(self, now: float) -> float | None:
        """When `sendable` or `overdue` may have something new to say; None when only an input can change that."""
        times = [
            max(post.due, self._hold_until) if post.is_ is _Is.WAITING else post.due
            for post in self._tried()
            if post.is_ in (_Is.WAITING, _Is.UNDER_WAY)
        ]
        if self._by_ticket and self._hold_until > now:
            times.append(self._hold_until)
        return min(times, default=None)

    def overdue(self, now: float) -> bool:
        """Some send has waited too long for its verdict."""
        return any(post.is_ is _Is.UNDER_WAY and now >= post.due for post in self._tried())

    def excuse(self, now: float) -> None:
        """Nothing could be read until now: the verdicts' time starts again."""
        for post in self._tried():
            if post.is_ is _Is.UNDER_WAY:
                post.due = now + VERDICT_S

    def acked(self, frame: frames.Ack, epoch: int) -> list[Effect]:
        post = self._by_id.get(frame.id)
        if post is None or post.channel != frame.channel:
            return []
        if post.is_ is _Is.ASKED and post.refused == _REPLACED:
            return []  # of the log that is gone: nothing has been sent to the new one yet
        self._drop(post)
        ack = Ack(
            epoch=epoch,
            channel=frame.channel,
            id=frame.id,
            seq=frame.seq,
            at=frame.at,
            duplicate=frame.duplicate,
        )
        return [Resolve(post.ticket, ack)]

    def refused(self, frame: frames.Refused, now: float) -> list[Effect]:
        post = self._by_id.get(frame.id)
        if post is None or post.channel != frame.channel or post.is_ is _Is.ASKED:
            return []
        proof_lacks = frame.code == "expired" and (frame.head is None or frame.now is None)
        if frame.code in _ASK_HISTORY and not proof_lacks:
            return [Postponed(post.channel, post.id, frame.code), self._ask(post, frame, now)]
        known = ERRORS.get(frame.code)
        if proof_lacks or (known is not None and known.retry):
            return [self._postpone(post, frame, now)]
        self._drop(post)
        return [Reject(post.ticket, post.channel, post.id, frame.code, frame.message)]

    def _ask(self, post: _Post, frame: frames.Refused, now: float) -> LookUp:
        post.is_ = _Is.ASKED
        post.refused = frame.code
        post.head = frame.head
        post.now_ms = frame.now
        post.refused_at = now
        return LookUp(post.ticket)

    def _postpone(self, post: _Post, frame: frames.Refused, now: float) -> Postponed:
        post.is_ = _Is.WAITING
        post.due = now + delay_s(post.refusals, self._rng, dictated_ms=frame.retry_after_ms)
        post.refusals += 1
        if frame.code == "slow_down":
            # The limit is the connection's, so the other channels' sends would only be refused too.
            self._hold_until = max(self._hold_until, post.due)
        return Postponed(post.channel, post.id, frame.code)

    def look_up(self, ticket: int) -> Question | None:
        """What to look for; None when the question is settled."""
        post = self._by_ticket.get(ticket)
        if post is None or post.is_ is not _Is.ASKED:
            return None
        return Question(post.channel, post.id, post.after, post.head)

    def found(self, ticket: int, where: Found) -> list[Effect]:
        """History has the id."""
        post = self._by_ticket.get(ticket)
        if post is None or post.is_ is not _Is.ASKED:
            return []
        self._drop(post)
        if post.refused == "id_reused" and where.text is not None and where.text != post.text:
            message = ERRORS["id_reused"].meaning
            return [Reject(post.ticket, post.channel, post.id, "id_reused", message)]
        ack = Ack(
            epoch=where.epoch, channel=post.channel, id=post.id, seq=where.seq, at=where.at, duplicate=True
        )
        return [Resolve(post.ticket, ack, asked=True)]

    def absent(self, ticket: int, now: float) -> list[Effect]:
        """History does not have the id: for an expired one this is the proof, and its text goes out under a new id."""
        post = self._by_ticket.get(ticket)
        if post is None or post.is_ is not _Is.ASKED:
            return []
        if post.refused != "expired":
            # Under the same id again: nothing has proven that no copy of it can still be numbered.
            post.is_ = _Is.WAITING
            post.due = now + delay_s(post.refusals, self._rng)
            post.refusals += 1
            return []
        post.is_ = _Is.QUEUED
        # The log's clock has gone on since it said so.
        since = int((now - post.refused_at) * 1000)
        old = post.id
        del self._by_id[old]
        assert post.now_ms is not None  # an `expired` without it is not taken for one
        self._give_id(post, now, post.now_ms + since)
        return [Reborn(post.channel, old, post.id)]

    def unanswerable(self, ticket: int, code: str, message: str) -> list[Effect]:
        """History may not be read any more (no longer a member): the message's fate cannot be known."""
        post = self._by_ticket.get(ticket)
        if post is None or post.is_ is not _Is.ASKED:
            return []
        self._drop(post)
        return [Reject(post.ticket, post.channel, post.id, code, message)]

    def disconnected(self) -> None:
        """No verdict will come any more on what was under way; it goes first on the next connection."""
        self._hold_until = 0.0
        for post in self._tried():
            if post.is_ in (_Is.UNDER_WAY, _Is.WAITING):
                post.is_ = _Is.QUEUED

    def log_replaced(self, now: float) -> list[Effect]:
        """Another epoch, whose window knows nothing of earlier ids: what was tried before is looked for in history.

        Verdicts of the old epoch are void, also that an id has expired: `head` and `now` belong to a log that is gone.
        What is being looked for already is looked for anew: whoever asks must compare `look_up` before he answers.
        """
        effects: list[Effect] = []
        for post in self._by_ticket.values():
            post.after = 0
            if not post.attempts:
                continue
            if post.is_ is not _Is.ASKED:
                post.is_ = _Is.ASKED
                effects.append(LookUp(post.ticket))
            post.refused = _REPLACED
            post.head = post.now_ms = None
            post.refused_at = now
        return effects

    def unsettled(self) -> list[tuple[int, str, str]]:
        """(ticket, channel, id) of every post without a final verdict, oldest first; no id yet: never sent."""
        return [(post.ticket, post.channel, post.id) for post in self._by_ticket.values()]

    def forget(self) -> None:
        """Drop everything: the client is closing."""
        self._by_channel.clear()
        self._by_id.clear()
        self._by_ticket.clear()

    def _tried(self) -> Iterator[_Post]:
        # Sending begins at the front of each channel's queue, so nothing behind its first `pipeline` was ever tried.
        for queue in self._by_channel.values():
            yield from queue[: self._pipeline]

    def _drop(self, post: _Post) -> None:
        queue = self._by_channel[post.channel]
        queue.remove(post)
        if not queue:
            del self._by_channel[post.channel]
        self._by_id.pop(post.id, None)
        del self._by_ticket[post.ticket]
