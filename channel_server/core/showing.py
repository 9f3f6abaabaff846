"""Showing: whose turn it is to be written to.

A channel's events cost a write for each connection of its audience: for ten that is nothing, for fifteen thousand a
tenth of a second. Nobody else is to wait for that, and the many need not be written to for every single event:

- An audience of up to `Limits.slice` connections, and whatever concerns one connection alone, is written to at the next step.
- A larger one is written to a slice at a time, in turn with other large ones, and after the small.
- Then it rests: its next turn comes `REST_SHARE` times as long after as this one took. What is said meanwhile is written
  together, and a write costs much the same for one event and for twenty. So a busy channel takes a bounded part of the
  node, and one in which little is said is shown it at once.

Pure: time is that of the clock it is given.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count
from typing import Final

from channel_server.core.audience import Audience, Lane, Subscriber
from channel_server.core.counts import DeliveryCounts
from channel_server.core.limits import Limits
from channel_server.core.ports import Clock

REST_SHARE: Final = 1.25
REST_AT_MOST: Final = 0.02
"""Seconds."""


class Showing:
    """`settle(audience)` puts what is unshown before its live connections: as their `pending`, and to be written by
    `touch` or, when they are many, by the audience's lane. `fall_behind(subscriber)`: a write left too much in its buffer.
    """

    def __init__(
        self,
        clock: Clock,
        limits: Limits,
        counts: DeliveryCounts,
        settle: Callable[[Audience], None],
        fall_behind: Callable[[Subscriber], None],
    ) -> None:
        self._clock = clock
        self._limits = limits
        self._counts = counts
        self._settle = settle
        self._fall_behind = fall_behind
        self._prompt: deque[Subscriber] = deque()
        self._lanes: deque[Audience] = deque()
        self._queue: list[tuple[float, int, Audience]] = []
        self._order = count()
        self._crowded: set[Audience] = set()
        self.touch = self._prompt.append
        """Have a connection's `pending` written with the next steps; harmless when there is none."""

    def published(self, audience: Audience, size: int) -> None:
        """So many bytes are unshown there from now on."""
        audience.size += size
        if audience.size > self._limits.unshown:
            self._crowded.add(audience)
        if not audience.queued:
            audience.queued = True
            self._enqueue(audience)

    def lane_of(self, audience: Audience) -> deque[Subscriber] | None:
        """Where those are noted whom it will be written to in its turn; None: it has few, `touch` them."""
        if audience.lane is None:
            if len(audience.live) <= self._limits.slice:
                return None
            audience.lane = Lane()
        return audience.lane.waiting

    @property
    def is_crowded(self) -> bool:
        """Whether so much is unshown in a channel that nothing more should come before it has been shown."""
        return bool(self._crowded)

    @property
    def next_turn(self) -> float:
        """When there will be something to do again, monotonic seconds, if nothing happens until then; infinity: never."""
        if self._prompt or self._lanes:
            return 0.0
        return self._queue[0][0] if self._queue else math.inf

    def step(self) -> bool:
        """Write to some connections, once to each. True while there are more whose turn it is."""
        queue = self._queue
        if queue:
            now = math.inf if self._crowded else self._clock.monotonic()
            while queue and queue[0][0] <= now:
                self._begin(heappop(queue)[2])
        if self._prompt:
            self._write(self._prompt)
        if self._lanes:
            self._serve(self._lanes.popleft())
        return bool(self._prompt or self._lanes)

    def _enqueue(self, audience: Audience) -> None:
        heappush(self._queue, (audience.rests_until, next(self._order), audience))

    def _begin(self, audience: Audience) -> None:
        began = self._clock.monotonic()
        self._settle(audience)
        audience.size = 0
        self._crowded.discard(audience)
        if audience.lane is None:
            audience.queued = False
        else:
            audience.lane.cost = self._clock.monotonic() - began
            self._lanes.append(audience)

    def _serve(self, audience: Audience) -> None:
        lane = audience.lane
        assert lane is not None
        began = self._clock.monotonic()
        self._write(lane.waiting)
        now = self._clock.monotonic()
        lane.cost += now - began
        if lane.waiting:
            self._lanes.append(audience)
            return
        audience.lane = None
        audience.rests_until = now + min(lane.cost * REST_SHARE, REST_AT_MOST)
        audience.queued = bool(audience.unshown)
        if audience.queued:
            self._enqueue(audience)

    def _write(self, waiting: deque[Subscriber]) -> None:
        """To the next slice of them, one write each."""
        high_water = self._limits.high_water
        written = 0
        for _ in range(min(self._limits.slice, len(waiting))):
            subscriber = waiting.popleft()
            pending = subscriber.pending
            if pending:
                subscriber.pending = b""
                written += 1
                if subscriber.link.write_prepared(pending) > high_water:
                    self._fall_behind(subscriber)
        self._counts.writes += written
