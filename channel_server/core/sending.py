"""The sends of one connection, from the frame to the answer.

Sends of one channel are decided strictly in the order in which they came: one that has to wait for the directory
holds those behind it, and those of no other channel.
"""

from __future__ import annotations

import math
from collections import deque
from typing import NamedTuple, Protocol

from channel_server.core.posting import may_post, post_message
from channel_server.core.sends import Accepted, Answer, LogFailed, Refusal
from channel_server.core.state import State
from channel_server.core.waits import Resume, Wait
from services.contract.frames import Send


class Sender(Protocol):
    """Who is told what became of its sends."""

    def acknowledge(self, channel: str, id: str, accepted: Accepted) -> None: ...

    def refuse(self, channel: str, id: str, refusal: Refusal) -> None: ...

    def append_failed(self) -> None: ...


class _Parked(NamedTuple):
    send: Send
    since: float


class Sending:
    """`sends.Waiter` for all sends of one connection."""

    __slots__ = ("_ended", "_parked", "_sender", "_state", "_under_way", "_user_id", "_waits")

    def __init__(self, state: State, user_id: str, sender: Sender) -> None:
        self._state = state
        self._user_id = user_id
        self._sender = sender
        self._parked: dict[str, deque[_Parked]] = {}
        self._waits: dict[str, Wait] = {}
        """For each channel in `_parked`, what its first send waits for."""
        self._under_way = 0
        self._ended = False

    @property
    def unacknowledged(self) -> int:
        """Sends that wait for the log or the directory."""
        return self._under_way + sum(map(len, self._parked.values()))

    def take(self, send: Send, now: float) -> None:
        """Decide about a send now, or once the directory has come far enough."""
        parked = _Parked(send, now)
        queue = self._parked.get(send.channel)
        key = self._decide(parked, 0.0) if queue is None else None
        if queue is None and key is None:
            return
        limits = self._state.limits
        if self.unacknowledged >= limits.sends_per_connection or self._state.parked >= limits.waits_per_node:
            refusal = Refusal("slow_down", "too many sends wait", retry_after_ms=1000)
            self._sender.refuse(send.channel, send.id, refusal)
            return
        if queue is None:
            queue = self._parked[send.channel] = deque()
        queue.append(parked)
        self._state.parked += 1
        if key is not None:
            self._wait(parked, key)

    def answered(self, channel: str, id: str, answer: Answer) -> None:
        """The verdict on one of them."""
        self._under_way -= 1
        if self._ended:
            return
        if isinstance(answer, Accepted):
            self._sender.acknowledge(channel, id, answer)
        elif isinstance(answer, LogFailed):
            self._sender.append_failed()
        else:
            self._sender.refuse(channel, id, answer)

    def end(self) -> None:
        """The connection is over: what waits for the directory is forgotten, what is in the log's hands is not told."""
        self._ended = True
        for wait in self._waits.values():
            self._state.waits.cancel(wait)
        self._waits.clear()
        self._state.parked -= sum(map(len, self._parked.values()))
        self._parked.clear()

    def _decide(self, parked: _Parked, waited: float) -> str | None:
        """Refuse or append. A string: neither; it has to wait for this key of the directory."""
        state, send = self._state, parked.send
        verdict = may_post(state, self._user_id, send, waited)
        if isinstance(verdict, str):
            return verdict
        if verdict is None:
            if self._under_way >= state.limits.sends_per_connection:
                verdict = Refusal("slow_down", "too many sends are unacknowledged", retry_after_ms=500)
            else:
                self._under_way += 1
                verdict = post_message(state, self._user_id, send, self)
                if verdict is not None:
                    self._under_way -= 1
        if verdict is not None:
            self._sender.refuse(send.channel, send.id, verdict)
        return None

    def _wait(self, parked: _Parked, key: str) -> None:
        send, limits = parked.send, self._state.limits
        named = send.directory_at is not None and send.directory_at.startswith(key + "@")
        patience = limits.directory_wait if named else limits.member_wait
        resume = self._resume(send.channel)
        self._waits[send.channel] = self._state.waits.wait(key, parked.since + patience, resume)

    def _resume(self, channel: str) -> Resume:
        def resume(timed_out: bool) -> None:
            del self._waits[channel]
            queue = self._parked[channel]
            now = self._state.clock.monotonic()
            waited = math.inf if timed_out else now - queue[0].since
            while queue:
                key = self._decide(queue[0], waited)
                if key is not None:
                    self._wait(queue[0], key)
                    return
                if self._ended:
                    return
                queue.popleft()
                self._state.parked -= 1
                waited = now - queue[0].since if queue else 0.0
            del self._parked[channel]

        return resume
