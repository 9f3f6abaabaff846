"""The ring: the recent events of all channels, framed once and shared by every reader, bounded in bytes.

A reader's place in a channel is one number, the last seq it was shown; seqs are dense, so the place of an event in
its channel's list is a subtraction. Events leave in the order in which they came, whatever channel they are of.
"""

from __future__ import annotations

from collections import deque
from typing import Final, NamedTuple

ENTRY_OVERHEAD: Final = 64
"""Bytes counted for each event on top of its frame: the object's header and the two references to it."""

_COMPACT_AFTER: Final = 64


class Stretch(NamedTuple):
    """Consecutive events of one channel, `first` .. `last`, framed and joined."""

    first: int
    last: int
    frames: bytes


class _Track:
    """One channel's frames; `frames[start]` has the seq `first`."""

    __slots__ = ("channel", "first", "frames", "start")

    def __init__(self, channel: str, first: int) -> None:
        self.channel = channel
        self.first = first
        self.frames: list[bytes | None] = []
        self.start = 0


class Ring:
    """Guarantees: `since` never skips an event that is held, and what `oldest` says is held from there to the head."""

    def __init__(self, capacity: int) -> None:
        """`capacity`: bytes, `ENTRY_OVERHEAD` counted for each event. The newest event is always held."""
        self._capacity = capacity
        self._tracks: dict[str, _Track] = {}
        self._order: deque[_Track] = deque()
        self.bytes = 0
        self.evicted = 0

    def __len__(self) -> int:
        return len(self._order)

    def add(self, channel: str, seq: int, frame: bytes) -> None:
        """Take the next event of a channel. Raises ValueError when `seq` is not the one after the newest held."""
        track = self._tracks.get(channel)
        if track is None:
            track = self._tracks[channel] = _Track(channel, seq)
        elif seq != track.first + len(track.frames) - track.start:
            raise ValueError(
                f"{channel}: {seq} does not follow {track.first + len(track.frames) - track.start - 1}"
            )
        track.frames.append(frame)
        self._order.append(track)
        self.bytes += len(frame) + ENTRY_OVERHEAD
        while self.bytes > self._capacity and len(self._order) > 1:
            self._evict()

    def oldest(self, channel: str) -> int | None:
        """The first seq that is held; None when nothing of the channel is."""
        track = self._tracks.get(channel)
        return None if track is None else track.first

    def get(self, channel: str, seq: int) -> bytes | None:
        """One event's frame, if it is held."""
        track = self._tracks.get(channel)
        if track is None or seq < track.first:
            return None
        place = track.start + seq - track.first
        return track.frames[place] if place < len(track.frames) else None

    def replace(self, channel: str, seq: int, frame: bytes) -> None:
        """Put another frame in place of one that is held. Raises KeyError when it is not."""
        held = self.get(channel, seq)
        if held is None:
            raise KeyError((channel, seq))
        track = self._tracks[channel]
        track.frames[track.start + seq - track.first] = frame
        self.bytes += len(frame) - len(held)

    def since(self, channel: str, seq: int, max_bytes: int) -> Stretch | None:
        """Events after `seq`, oldest first: at least one, then as many as fit in `max_bytes`. None: none is held.

        Starts at the oldest held when the ring has moved past `seq`: compare `first` with `seq + 1`.
        """
        track = self._tracks.get(channel)
        if track is None:
            return None
        first = max(seq + 1, track.first)
        begin = place = track.start + first - track.first
        frames = track.frames
        size = 0
        while place < len(frames):
            frame = frames[place]
            assert frame is not None
            size += len(frame)
            if size > max_bytes and place > begin:
                break
            place += 1
        if place == begin:
            return None
        return Stretch(first, first + place - begin - 1, b"".join(frames[begin:place]))  # type: ignore[arg-type]

    def _evict(self) -> None:
        track = self._order.popleft()
        frame = track.frames[track.start]
        assert frame is not None
        self.bytes -= len(frame) + ENTRY_OVERHEAD
        self.evicted += 1
        track.frames[track.start] = None
        track.start += 1
        track.first += 1
        if track.start == len(track.frames):
            del self._tracks[track.channel]
        elif track.start >= _COMPACT_AFTER and track.start * 2 >= len(track.frames):
            del track.frames[: track.start]
            track.start = 0
