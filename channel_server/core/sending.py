"""The sends of one connection, from the frame to the answer.

Sends of one channel are decided strictly in the order in which they came: one that has to wait holds those behind it,
and those of no other channel.
"""

from __future__ import annotations

from collections import deque
from typing import Protocol

from channel_server.core.posting import Await, Request, decide, note_built
from channel_server.core.sends import Accepted, Answer, LogFailed, Refusal
from channel_server.core.state import State
from channel_server.core.waits import Resume, Wait
from services.contract.frames import Send


class Sender(Protocol):
    """Who is told what became of its sends."""

    def acknowledge(self, channel: str, id: str, accepted: Accepted, *, with_batch: bool) -> None:
        """`with_batch`: while records are taken in, so that `show` follows."""

    def refuse(self, channel: str, id: str, refusal: Refusal) -> None: ...

    def append_failed(self) -> None: ...


class Sending:
    """`sends.Waiter` for all sends of one connection."""

    __slots__ = ("_ended", "_parked", "_sender", "_state", "_under_way", "_user_id", "_waits")

    def __init__(self, state: State, user_id: str, sender: Sender) -> None:
        self._state = state
        self._user_id = user_id
        self._sender = sender
        self._parked: dict[str, deque[Request]] = {}
        self._waits: dict[str, Wait] = {}
        """For each channel in `_parked`, what its first send waits for."""
        self._under_way = 0
        self._ended = False

    @property
    def unacknowledged(self) -> int:
        """Sends that wait for the log or the directory."""
        return self._under_way + sum(map(len, self._parked.values()))

    def take(self, send: Send, now: float) -> None:
        """Decide about a send now, or once the directory or the tail has come far enough."""
        request = Request(send, now)
        queue = self._parked.get(send.channel)
        lacking = self._decide(request, now) if queue is None else None
        if queue is None and lacking is None:
            return
        limits = self._state.limits
        if self.unacknowledged >= limits.sends_per_connection or self._state.parked >= limits.waits_per_node:
            refusal = Refusal("slow_down", "too many sends wait", retry_after_ms=1000, because="waiting")
            self._sender.refuse(send.channel, send.id, refusal)
            return
        if queue is None:
            queue = self._parked[send.channel] = deque()
        else:
            note_built(self._state, request, now)
        queue.append(request)
        self._state.parked += 1
        if lacking is not None:
            self._wait(send.channel, lacking)

    def answered(self, channel: str, id: str, answer: Answer) -> None:
        """The verdict on one of them."""
        self._under_way -= 1
        if not self._ended:
            self._tell(channel, id, answer, with_batch=True)

    def end(self) -> None:
        """The connection is over: what waits for the directory is forgotten, what is in the log's hands is not told."""
        self._ended = True
        for wait in self._waits.values():
            self._state.waits.cancel(wait)
        self._waits.clear()
        self._state.parked -= sum(map(len, self._parked.values()))
        self._parked.clear()

    def _tell(self, channel: str, id: str, answer: Answer, *, with_batch: bool) -> None:
        if isinstance(answer, Accepted):
            self._sender.acknowledge(channel, id, answer, with_batch=with_batch)
        elif isinstance(answer, LogFailed):
            self._sender.append_failed()
        else:
            self._sender.refuse(channel, id, answer)

    def _decide(self, request: Request, now: float) -> Await | None:
        """Answer or append. `Await`: neither; it has to wait."""
        send = request.send
        answer: Answer | Await | None
        if self._under_way >= self._state.limits.sends_per_connection:
            answer = Refusal(
                "slow_down", "too many sends are unacknowledged", retry_after_ms=500, because="unacknowledged"
            )
        else:
            self._under_way += 1
            answer = decide(self._state, self._user_id, request, self, now)
            if answer is not None:
                self._under_way -= 1
        if isinstance(answer, Await):
            return answer
        if answer is not None:
            self._tell(send.channel, send.id, answer, with_batch=False)
        return None

    def _wait(self, channel: str, lacking: Await) -> None:
        self._waits[channel] = self._state.waits.wait(lacking.key, lacking.deadline, self._resume(channel))

    def _resume(self, channel: str) -> Resume:
        def resume(_: bool) -> None:
            del self._waits[channel]
            queue = self._parked[channel]
            now = self._state.clock.monotonic()
            # What came for the first may be what others behind it wait for: their next wait begins now as well.
            for request in queue:
                note_built(self._state, request, now)
            while queue:
                lacking = self._decide(queue[0], now)
                if lacking is not None:
                    self._wait(channel, lacking)
                    return
                if self._ended:
                    return
                queue.popleft()
                self._state.parked -= 1
            del self._parked[channel]

        return resume
