"""Who is typing: told at most so often by each, shown at most once a second in each channel, forgotten after seconds.

Nothing here is kept for anybody: who cannot be shown it at once is not shown it at all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Final

from channel_server.core.audience import Subscriber
from channel_server.core.compose import prepared
from services.contract.frames import TypingFrame

TELL_EVERY: Final = 2.0
"""Seconds in which one person typing in one place makes at most one record."""

SHOW_EVERY: Final = 1.0
FORGET_AFTER: Final = 5.0
MOST_NAMED: Final = 20
"""People that one frame names; more than that is "several people"."""

TOLD_AT_ONCE: Final = 20_000
"""Places of people remembered for `TELL_EVERY`; when there are more, nobody new is told of."""

Place = tuple[str, int | None]
"""Channel, and the root of a thread."""


class Typists:
    """`live(channel)`: the connections that are shown what happens there. `put`: as `delivery.Delivery.put`."""

    def __init__(
        self,
        live: Callable[[str], Iterable[Subscriber]],
        put: Callable[[Subscriber, bytes], bool],
    ) -> None:
        self._live = live
        self._put = put
        self._told: dict[tuple[str, Place], float] = {}
        self._typing: dict[Place, dict[str, float]] = {}
        self._due: dict[Place, float] = {}
        self.counts: Counter[str] = Counter()
        """records, frames; coalesced (into a record or a frame that goes anyway), dropped (not shown: behind or held),
        crowded (too many at once)."""

    def tells(self, user_id: str, place: Place, now: float) -> bool:
        """Somebody of this node types; whether that is worth a record."""
        key = (user_id, place)
        if now < self._told.get(key, now):
            self.counts["coalesced"] += 1
            return False
        if len(self._told) >= TOLD_AT_ONCE:
            self.counts["crowded"] += 1
            return False
        self._told[key] = now + TELL_EVERY
        self.counts["records"] += 1
        return True

    def heard(self, user_id: str, place: Place, now: float) -> None:
        """A record came: somebody types, here or at another node."""
        if not any(True for _ in self._live(place[0])):
            return
        people = self._typing.setdefault(place, {})
        people[user_id] = now + FORGET_AFTER
        if place in self._due:
            self.counts["coalesced"] += 1
        else:
            self._due[place] = now

    def show(self, now: float) -> None:
        """Show what is due. Call it several times a second, and then `show`."""
        for place, at in list(self._due.items()):
            if now < at:
                continue
            people = self._typing.get(place, {})
            for user_id in [user for user, until in people.items() if until <= now]:
                del people[user_id]
            if not people:
                self._typing.pop(place, None)
                del self._due[place]
                continue
            fresh = max(people.values()) - FORGET_AFTER
            if fresh > at - SHOW_EVERY:
                self._show(place, list(people)[-MOST_NAMED:])
            self._due[place] = now + SHOW_EVERY
        if self._told:
            for key in [key for key, until in self._told.items() if until <= now]:
                del self._told[key]

    def _show(self, place: Place, users: list[str]) -> None:
        channel, thread = place
        frame = prepared(TypingFrame(channel=channel, users=users, thread=thread))
        for subscriber in self._live(channel):
            if self._put(subscriber, frame):
                self.counts["frames"] += 1
            else:
                self.counts["dropped"] += 1
