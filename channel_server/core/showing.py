"""Showing: whose turn it is to be written to.

A channel's events cost a write for each connection of its audience: for ten that is nothing, for fifteen thousand a
tenth of a second. Nobody else is to wait for that, and the many need not be written to for every single event:

- An audience of up to `Limits.slice` connections, and what concerns few, is written to with the next steps: `prompt`.
- A larger one is written to a slice at a time, in turn with other large ones; each step serves the prompt first.
- Then it rests (`rest`). What is said meanwhile is written together, and a write costs much the same for one event and
  for twenty. So a busy channel takes a bounded part of the node, and one in which little is said is shown it at once.

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

PERIOD: Final = 0.022
"""Seconds from turn to turn of an audience whose turns take about a third of that."""

REST_LEAST: Final = 0.4
REST_MOST: Final = 2.2
"""How long a rest may be, as a multiple of what the turn took."""

REST_AT_MOST: Final = 0.015
"""Seconds."""


def rest(took: float) -> float:
    """Seconds until the next turn of an audience whose last one took so many.

    What fills up the `PERIOD`. When a write is dear, because of many members or of a busy machine, turns are long and
    join much anyway, and longer rests would only be lateness; when it is cheap, longer ones save the more writes.
    """
    return min(max(PERIOD - took, REST_LEAST * took), REST_MOST * took, REST_AT_MOST)


class Showing:
    """`settle(audience)` puts what is unshown before its live connections, as their `pending`, and notes them to be written
    to: in `prompt` or, when they are many, in the audience's lane. `fall_behind(subscriber)`: a write left too much in its
    buffer.
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
        self.prompt: deque[Subscriber] = deque()
        """To be written to with the next steps: those of whom `prompt` is set."""
        self.unwritten = 0
        """Bytes put before them since there were none."""
        self._many: deque[Subscriber] = deque()
        """To be written to because of something else than a channel's event, and too many to be prompt."""
        self._turns: deque[Audience] = deque()
        """The large ones whose turn it is."""
        self._fresh: list[Audience] = []
        """Those that have something to show, and never had to rest."""
        self._resting: list[tuple[float, int, Audience]] = []
        """Those that have something to show and did: a heap, by the end of the rest."""
        self._order = count()
        self._crowded: set[Audience] = set()

    def published(self, audience: Audience, size: int) -> None:
        """So many bytes more are unshown there."""
        audience.size += size
        if audience.size > self._limits.unshown:
            self._crowded.add(audience)
        if not audience.queued:
            audience.queued = True
            self._enqueue(audience)

    def settled(self, audience: Audience) -> None:
        """Nothing is unshown there any more."""
        audience.size = 0
        self._crowded.discard(audience)

    def lane_of(self, audience: Audience) -> Lane | None:
        """Where those are noted whom it will be written to in its turn; None: it has few, and they are `prompt`."""
        if audience.lane is None and len(audience.live) > self._limits.slice:
            audience.lane = Lane()
        return audience.lane

    def touch(self, subscriber: Subscriber, size: int) -> None:
        """So many bytes were added to its `pending`, to be written with the next steps."""
        self.unwritten += size
        if not subscriber.prompt:
            subscriber.prompt = True
            self.prompt.append(subscriber)

    def touch_as_one_of_many(self, subscriber: Subscriber) -> None:
        """It has something pending now, and had nothing before. Who is prompt does not wait for it."""
        self._many.append(subscriber)

    @property
    def is_crowded(self) -> bool:
        """Whether so much waits to be shown or written that nothing more should come before. Steps end that."""
        return bool(self._crowded) or self.unwritten > self._limits.unwritten

    @property
    def waiting(self) -> int:
        """Connections to be written to, as far as that is known; one may be counted twice."""
        lanes = sum(audience.lane.left for audience in self._turns if audience.lane is not None)
        return len(self.prompt) + len(self._many) + lanes

    @property
    def next_turn(self) -> float:
        """When there will be something to do again, monotonic seconds, if nothing happens until then; infinity: never."""
        if self.prompt or self._many or self._turns or self._fresh:
            return 0.0
        return self._resting[0][0] if self._resting else math.inf

    def step(self, *, turns: bool = True) -> bool:
        """Write to a slice of each kind, without `turns` only of the prompt. True while there are more whose turn it is."""
        if self._fresh:
            fresh, self._fresh = self._fresh, []
            for audience in fresh:
                self._begin(audience)
        resting = self._resting
        if resting:
            now = math.inf if self._crowded else self._clock.monotonic()
            while resting and resting[0][0] <= now:
                self._begin(heappop(resting)[2])
        if self.prompt:
            self._write(self.prompt, min(self._limits.slice, len(self.prompt)), prompt=True)
        if not self.prompt:
            self.unwritten = 0
        if self._many and turns:
            self._write(self._many, min(self._limits.slice, len(self._many)))
        if self._turns and turns:
            self._serve(self._turns.popleft())
        return bool(self.prompt or self._many or self._turns)

    def _enqueue(self, audience: Audience) -> None:
        if audience.rests_until:
            heappush(self._resting, (audience.rests_until, next(self._order), audience))
        else:
            self._fresh.append(audience)

    def _begin(self, audience: Audience) -> None:
        began = self._clock.monotonic() if len(audience.live) > self._limits.slice else None
        self._settle(audience)
        lane = audience.lane
        if lane is None:
            audience.queued = False
            return
        lane.left = len(lane.waiting)
        lane.cost = 0.0 if began is None else self._clock.monotonic() - began
        self._turns.append(audience)

    def _serve(self, audience: Audience) -> None:
        lane = audience.lane
        assert lane is not None
        began = self._clock.monotonic()
        most = min(self._limits.slice, lane.left)
        self._write(lane.waiting, most)
        now = self._clock.monotonic()
        lane.cost += now - began
        lane.left -= most
        if lane.left:
            self._turns.append(audience)
            return
        audience.rests_until = now + rest(lane.cost)
        if not lane.waiting:
            audience.lane = None
        audience.queued = bool(audience.unshown or lane.waiting)
        if audience.queued:
            self._enqueue(audience)

    def _write(self, waiting: deque[Subscriber], most: int, *, prompt: bool = False) -> None:
        """To the next of them, one write each."""
        high_water = self._limits.high_water
        written = 0
        for _ in range(most):
            subscriber = waiting.popleft()
            if prompt:
                subscriber.prompt = False
            pending = subscriber.pending
            if pending:
                subscriber.pending = b""
                written += 1
                if subscriber.link.write_prepared(pending) > high_water:
                    self._fall_behind(subscriber)
        self._counts.writes += written
