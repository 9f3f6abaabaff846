"""Notices on a node: the recent ones of each workspace, and who of those connected has been shown how far.

One numbered stream a workspace, of which each connection is shown what addresses its person. A connection is *live*
(shown each notice as it comes) or *lagging*: a number, up to which it has been shown everything of its own. It lags
because it resumed, because it is behind, or because the node holds everything back; nothing is copied for it, and
`advance` brings it to the head in bounded steps.

Guarantees, per connection: every notice that addresses its person, above the number it came with, is shown once, in
the order of the numbers, or lies in a `notices_gap`; no notice of another workspace or to somebody else ever is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple, Protocol

from channel_server.core.audience import Subscriber
from channel_server.core.compose import notices_gap_frame

_ENTRY_BYTES: Final = 200
"""Counted for each notice on top of its frame, and for each person that it names `_PERSON_BYTES`."""

_PERSON_BYTES: Final = 120

_COMPACT_AFTER: Final = 64

SCANNED: Final = 2_000
"""Notices looked at for one connection before others get their turn."""


class Told(NamedTuple):
    """One notice: its frame, and whom it addresses (None: everybody; nobody: it could not be read)."""

    seq: int
    frame: bytes
    to: frozenset[str] | None


class Found(NamedTuple):
    """What a look at the stream gave: from `first` to `last` everything was looked at, `frames` are the person's."""

    first: int
    last: int
    frames: list[bytes]


class _Track:
    __slots__ = ("first", "start", "stream", "told")

    def __init__(self, stream: str, first: int) -> None:
        self.stream = stream
        self.first = first
        self.told: list[Told | None] = []
        self.start = 0

    @property
    def next(self) -> int:
        return self.first + len(self.told) - self.start


class NoticeRing:
    """The recent notices of all workspaces, bounded in bytes; those of one are held without a hole up to the newest."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._tracks: dict[str, _Track] = {}
        self._order: deque[_Track] = deque()
        self.bytes = 0
        self.evicted = 0

    def __len__(self) -> int:
        return len(self._order)

    def add(self, stream: str, told: Told) -> None:
        """Take the next notice of a stream. If there is a hole before it, what was before the hole is let go."""
        track = self._tracks.get(stream)
        if track is None or track.next != told.seq:
            track = self._tracks[stream] = _Track(stream, told.seq)
        track.told.append(told)
        self._order.append(track)
        self.bytes += _size(told)
        while self.bytes > self._capacity and len(self._order) > 1:
            self._evict()

    def since(self, stream: str, seq: int, user_id: str, max_bytes: int) -> Found | None:
        """What addresses the person after `seq`, of `SCANNED` notices at most and about `max_bytes`. None: none is held.

        Begins at the oldest held when the ring has moved past `seq`: compare `first` with `seq + 1`.
        """
        track = self._tracks.get(stream)
        if track is None or track.next <= seq + 1:
            return None
        first = max(seq + 1, track.first)
        begin = place = track.start + first - track.first
        end = min(len(track.told), begin + SCANNED)
        frames: list[bytes] = []
        size = 0
        while place < end and size < max_bytes:
            told = track.told[place]
            assert told is not None
            if told.to is None or user_id in told.to:
                frames.append(told.frame)
                size += len(told.frame)
            place += 1
        return Found(first, first + place - begin - 1, frames)

    def _evict(self) -> None:
        track = self._order.popleft()
        told = track.told[track.start]
        assert told is not None
        self.bytes -= _size(told)
        self.evicted += 1
        track.told[track.start] = None
        track.start += 1
        track.first += 1
        if track.start == len(track.told):
            if self._tracks.get(track.stream) is track:
                del self._tracks[track.stream]
        elif track.start >= _COMPACT_AFTER and track.start * 2 >= len(track.told):
            del track.told[: track.start]
            track.start = 0


def _size(told: Told) -> int:
    return len(told.frame) + _ENTRY_BYTES + (0 if told.to is None else _PERSON_BYTES * len(told.to))


class Screen(Protocol):
    """Who puts frames before connections (`delivery.Delivery`)."""

    def put(self, subscriber: Subscriber, frame: bytes, *, many: bool = False) -> bool:
        """Show a frame with the next write, or when those who concern few have been written to. False: not now."""

    def of_user(self, user_id: str) -> Sequence[Subscriber]: ...

    def schedule(self, subscriber: Subscriber) -> None:
        """Have `advance` called for it."""


class Noticeboard:
    """All connections' places in their streams. `head_of(stream)` is the last number that was published (0: none)."""

    def __init__(self, ring: NoticeRing, head_of: Callable[[str], int]) -> None:
        self.ring = ring
        self._head_of = head_of
        self._readers: dict[str, dict[Subscriber, None]] = {}
        self._ahead: dict[str, set[Subscriber]] = {}
        self.shown = 0
        """Notices shown live, counted once for each connection."""
        self.replayed = 0
        self.gaps = 0

    def join(self, subscriber: Subscriber, stream: str, last: int | None) -> int:
        """Show it its notices after `last` (None: those from now on); gives the stream's head."""
        head = self._head_of(stream)
        subscriber.stream = stream
        self._readers.setdefault(stream, {})[subscriber] = None
        if last is not None and last != head:
            subscriber.notices = last
        return head

    def leave(self, subscriber: Subscriber) -> None:
        """The connection is over."""
        stream, subscriber.stream, subscriber.notices = subscriber.stream, "", None
        for groups in (self._readers, self._ahead):
            group = groups.get(stream)
            if group is not None:
                if isinstance(group, dict):
                    group.pop(subscriber, None)
                else:
                    group.discard(subscriber)
                if not group:
                    del groups[stream]

    def position(self, subscriber: Subscriber) -> int:
        """Up to where it has been shown its notices."""
        return self._head_of(subscriber.stream) if subscriber.notices is None else subscriber.notices

    def lacking(self, subscriber: Subscriber) -> int:
        """How many of its stream's numbers it has not been brought past, whomever they address."""
        return max(self._head_of(subscriber.stream) - self.position(subscriber), 0)

    def publish(self, stream: str, told: Sequence[Told], screen: Screen) -> None:
        """Show the stream's next notices to those whom they address. They are in the ring already."""
        readers = self._readers.get(stream)
        if not readers:
            return
        for one in told:
            for subscriber in self._addressed(one, stream, readers, screen):
                if subscriber.notices is not None:
                    continue
                if screen.put(subscriber, one.frame, many=one.to is None):
                    self.shown += 1
                else:
                    subscriber.notices = one.seq - 1
                    screen.schedule(subscriber)
        ahead = self._ahead.get(stream)
        if ahead:
            head = told[-1].seq
            for subscriber in [s for s in ahead if s.notices is not None and s.notices <= head]:
                ahead.discard(subscriber)
                screen.schedule(subscriber)

    @staticmethod
    def _addressed(
        one: Told, stream: str, readers: Iterable[Subscriber], screen: Screen
    ) -> Iterable[Subscriber]:
        if one.to is None:
            return list(readers)
        return [s for user_id in one.to for s in screen.of_user(user_id) if s.stream == stream]

    def advance(self, subscriber: Subscriber, room: int, parts: list[bytes]) -> int:
        """Take a lagging connection towards the head; gives the bytes added to `parts`."""
        last = subscriber.notices
        if last is None or subscriber.user is None:
            return 0
        stream = subscriber.stream
        head = self._head_of(stream)
        size = 0
        if last < head:
            found = self.ring.since(stream, last, subscriber.user.id, room)
            first = head + 1 if found is None else found.first
            if first > last + 1:
                parts.append(notices_gap_frame(last + 1, first - 1))
                self.gaps += 1
                size += 100
            if found is not None:
                parts += found.frames
                self.replayed += len(found.frames)
                size += sum(map(len, found.frames))
            last = head if found is None else found.last
        subscriber.notices = None if last == head else last
        if last > head:
            self._ahead.setdefault(stream, set()).add(subscriber)
        return size

    def lags(self, subscriber: Subscriber) -> bool:
        """Whether `advance` would take it further now."""
        return subscriber.notices is not None and subscriber.notices < self._head_of(subscriber.stream)
