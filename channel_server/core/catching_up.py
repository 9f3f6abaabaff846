"""Catching up: those who lag in channels are brought to their heads in bounded steps, and made live again.

Here, and only here, a gap is found: what lies behind the last seq that somebody was shown and is no longer in the ring.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from channel_server.core.audience import Audiences, Lag, Subscriber
from channel_server.core.compose import closed_frame, gap_frame, opened_frame
from channel_server.core.counts import DeliveryCounts
from channel_server.core.directory import User
from channel_server.core.limits import Limits
from channel_server.core.noticeboard import Noticeboard
from channel_server.core.ring import Ring, Stretch

NOT_OPEN: Final = -1
"""In place of a last seq: the client has not been told of the channel."""


class Laggards:
    """Those who lag, in channels or in their notices, and can be brought further now. True while there are any."""

    def __init__(
        self,
        ring: Ring,
        audiences: Audiences,
        head_of: Callable[[str], int],
        limits: Limits,
        counts: DeliveryCounts,
        board: Noticeboard,
        fall_behind: Callable[[Subscriber], None],
    ) -> None:
        self._ring = ring
        self._audiences = audiences
        self._head_of = head_of
        self._limits = limits
        self._counts = counts
        self._board = board
        self._fall_behind = fall_behind
        self._ready: deque[Subscriber] = deque()
        self._stretches: dict[tuple[str, int], Stretch | None] = {}

    def __bool__(self) -> bool:
        return bool(self._ready)

    def schedule(self, subscriber: Subscriber) -> None:
        """Have `advance` look at it, unless it is behind."""
        if not subscriber.scheduled and subscriber.pending is not None:
            subscriber.scheduled = True
            self._ready.append(subscriber)

    def advance(self) -> bool:
        """Bring some of them one step further. True while there is more to do now."""
        written = 0
        self._stretches.clear()
        while self._ready and written < self._limits.chunk * 4:
            subscriber = self._ready.popleft()
            subscriber.scheduled = False
            if subscriber.user is not None and subscriber.pending is not None:
                written += 1024 + self._step(subscriber, subscriber.user)
        return bool(self._ready)

    def _step(self, subscriber: Subscriber, user: User) -> int:
        """One write of about `Limits.chunk` bytes at most; gives its size."""
        parts: list[bytes] = [subscriber.pending] if subscriber.pending else []
        subscriber.pending = b""
        room = self._limits.chunk - self._board.advance(subscriber, self._limits.chunk, parts)
        unfinished = self._board.lags(subscriber)
        for channel in list(subscriber.lag):
            if room <= 0:
                unfinished = True
                break
            room -= self._advance(subscriber, user, channel, room, parts)
            lag = subscriber.lag.get(channel)
            if lag is not None and lag.last < self._head_of(channel):
                unfinished = True
        size = 0
        if parts:
            data = b"".join(parts)
            size = len(data)
            self._counts.replays += 1
            if subscriber.link.write_prepared(data) > self._limits.high_water:
                self._fall_behind(subscriber)
                return size
        if unfinished:
            self.schedule(subscriber)
        return size

    def _advance(
        self, subscriber: Subscriber, user: User, channel: str, room: int, parts: list[bytes]
    ) -> int:
        """Take one lagging channel towards its head; gives the bytes added to `parts`."""
        last, membership = subscriber.lag[channel]
        head = self._head_of(channel)
        now = user.memberships.get(channel, 0)
        size = 0
        if membership != now:
            # Whatever happened meanwhile, it was not this membership all along.
            if last != NOT_OPEN:
                parts.append(closed_frame(channel, last))
                self._counts.closed += 1
            self._caught_up(subscriber, channel, live=bool(now & 1))
            if now & 1:
                parts.append(opened_frame(channel, head))
                self._counts.opened += 1
            return 200
        if last < head:
            stretch = self._since(channel, last, room)
            first = head + 1 if stretch is None else stretch.first
            if first > last + 1:
                parts.append(gap_frame(channel, last + 1, first - 1))
                self._counts.gaps += 1
                size += 150
            if stretch is not None:
                parts.append(stretch.frames)
                self._counts.replayed += stretch.last - stretch.first + 1
                size += len(stretch.frames)
            last = head if stretch is None else stretch.last
            subscriber.lag[channel] = Lag(last, membership)
        if last == head:
            self._caught_up(subscriber, channel, live=True)
        elif last > head:
            self._audiences.of(channel).ahead.add(subscriber)
        return size

    def _since(self, channel: str, last: int, room: int) -> Stretch | None:
        # After a hold or a restart many connections ask for the same: it is joined once a round.
        key = (channel, last)
        stretch = self._stretches.get(key)
        if stretch is None or len(stretch.frames) > room:
            stretch = self._stretches[key] = self._ring.since(channel, last, room)
        return stretch

    def _caught_up(self, subscriber: Subscriber, channel: str, live: bool) -> None:
        del subscriber.lag[channel]
        audience = self._audiences.settled(channel) if live else self._audiences.of(channel)
        audience.ahead.discard(subscriber)
        if live:
            audience.live.add(subscriber)
        else:
            self._audiences.drop_if_empty(audience)
