"""The receiving half of the core: which event may be shown next, channel by channel. No I/O, no clock.

The application is shown exactly last+1, last+2, ... of each channel that is open to it. A copy of what it has seen
is dropped. A hole in the stream is never shown and never passed over: the connection is given up, and the resume
from the last number shown brings what was missing. What the server says it no longer holds (`gap`) is fetched by
REST and shown before anything later of that channel; meanwhile the channel's live events are held back, and when
that grows too much, dropped and added to what is fetched. Other channels go on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from client.effects import Effect, FillGap, Lacks, Leave, Show
from client.model import Closed, Gap, Opened, RawEvent, Reset, Via, shown_event
from services.contract import frames

HELD_EVENTS: Final = 500
HELD_BYTES: Final = 1 << 20
"""How much of one channel is held back while a gap before it is filled."""

RESUME_BYTES: Final = frames.MAX_MESSAGE_BYTES - 8 * 1024
"""What the channels named in one `connect` may take of the largest message; the token needs the rest."""

_LEFT: Final = "You were no longer in the channel."
_OVERHEAD: Final = 200  # bytes that an event holds beside its body: ids, object headers


class Lacking(NamedTuple):
    """Fetch `after` + 1 .. `to` of a channel, in this epoch."""

    epoch: int
    after: int
    to: int


class _Filling:
    """A gap being filled: up to where, up to where it was said that it lacks, and what came live behind it."""

    __slots__ = ("held", "held_bytes", "said", "to")

    def __init__(self, to: int) -> None:
        self.to = self.said = to
        self.held: list[frames.EventFrame] = []
        self.held_bytes = 0

    def hold(self, frame: frames.EventFrame) -> None:
        self.held.append(frame)
        self.held_bytes += len(memoryview(frame.event)) + _OVERHEAD
        if len(self.held) > HELD_EVENTS or self.held_bytes > HELD_BYTES:
            self.extend(frame.seq)

    def extend(self, to: int) -> None:
        self.to = to
        self.held.clear()
        self.held_bytes = 0

    @property
    def end(self) -> int:
        return self.held[-1].seq if self.held else self.to


class Streams:
    """The client's view of every channel, within one epoch of the log.

    `deaf`: the application is too slow, but the connection is still needed for answers to sends. Everything that
    would have to be shown is ignored until the next connection resumes from what was shown last.
    """

    def __init__(self) -> None:
        self.epoch: int | None = None
        self.cursors: dict[str, int] = {}  # open channels: the last seq shown
        self.deaf = False
        self._seen: dict[
            str, int
        ] = {}  # every channel of this epoch, closed ones too: nothing is shown twice
        self._named: dict[str, int] = {}  # what this connection's resume named
        self._replay_to: dict[str, int] = {}
        self._filling: dict[str, _Filling] = {}
        self._reset_by_welcome: int | None = None

    def begin_at(self, epoch: int, channels: Mapping[str, int]) -> None:
        """Before the first connection: these channels were shown up to here."""
        self.epoch = epoch
        self.cursors = dict(channels)
        self._seen = dict(channels)

    def resume(self) -> frames.Resume | None:
        """What the next `connect` names: as many channels as fit into one message, the rest is caught up by REST."""
        self.deaf = False
        self._filling.clear()
        self._replay_to.clear()
        self._reset_by_welcome = None
        self._named = {}
        if self.epoch is None:
            return None
        size = 0
        for channel, seq in self.cursors.items():
            size += len(channel) + len(str(seq)) + 4
            if size > RESUME_BYTES or len(self._named) == frames.MAX_RESUME_CHANNELS:
                break
            self._named[channel] = seq
        return frames.Resume(epoch=self.epoch, channels=dict(self._named))

    def welcome(self, frame: frames.Welcome) -> list[Effect]:
        effects: list[Effect] = []
        if self.epoch is not None and frame.epoch != self.epoch:
            effects += self._forget(frame.epoch)
            self._reset_by_welcome = frame.epoch
        self.epoch = frame.epoch
        for channel, head in frame.heads.items():
            if channel in self._named:
                self._replay_to[channel] = head
            elif channel in self.cursors:
                # Open before, but there was no room to name it: the stream goes on at head + 1.
                if head > self.cursors[channel]:
                    effects += self._lack(channel, head)
            else:
                effects += self._open(channel, head)
        # A channel that was not named is always listed while one is a member of it.
        for channel in [c for c in self.cursors if c not in self._named and c not in frame.heads]:
            effects += self._close(channel, last_seq=self.cursors[channel])
        return effects

    def opened(self, frame: frames.Opened) -> list[Effect]:
        return [] if self.deaf else self._open(frame.channel, frame.head)

    def closed(self, frame: frames.Closed) -> list[Effect]:
        if self.deaf:
            return []
        cursor = self.cursors.get(frame.channel)
        if cursor is None:
            return []
        filling = self._filling.get(frame.channel)
        if filling is None and frame.last_seq > cursor:
            return [Leave(f"closed at {frame.last_seq} with {cursor} shown: a hole in {frame.channel}")]
        return self._close(frame.channel, last_seq=frame.last_seq)

    def gap(self, frame: frames.Gap) -> list[Effect]:
        if self.deaf:
            return []
        cursor = self.cursors.get(frame.channel)
        if cursor is None:
            return [Leave(f"a gap in {frame.channel}, which is not open")]
        end = self._filling[frame.channel].end if frame.channel in self._filling else cursor
        if frame.from_ > end + 1:
            return [Leave(f"a gap from {frame.from_} after {end}: a hole in {frame.channel}")]
        return self._lack(frame.channel, frame.to) if frame.to > end else []

    def reset(self, frame: frames.Reset) -> list[Effect]:
        if self._reset_by_welcome == frame.epoch:
            self._reset_by_welcome = None  # the frame that says what `welcome` has said already
            return []
        return self._forget(frame.epoch)

    def event(self, frame: frames.EventFrame) -> list[Effect]:
        if self.deaf:
            return []
        channel = frame.channel
        cursor = self.cursors.get(channel)
        if cursor is None:
            return [Leave(f"event {frame.seq} of {channel}, which is not open")]
        filling = self._filling.get(channel)
        end = cursor if filling is None else filling.end
        if frame.seq <= end:
            return []
        if frame.seq != end + 1:
            return [Leave(f"event {frame.seq} after {end}: a hole in {channel}")]
        if filling is not None:
            filling.hold(frame)
            return []
        return [self._show(frame, "replay" if frame.seq <= self._replay_to.get(channel, 0) else "live")]

    def lacking(self, channel: str) -> Lacking | None:
        """What is to be fetched next for the gap in this channel; None when there is none (any more)."""
        filling = self._filling.get(channel)
        if filling is None or self.epoch is None or self.deaf:
            return None
        return Lacking(self.epoch, self.cursors[channel], filling.to)

    def filled(self, channel: str, epoch: int, events: Iterable[RawEvent]) -> list[Effect]:
        """Take a page of history for the gap in `channel`, ascending. Behind a hole nothing is taken: ask `lacking` again."""
        filling = self._filling.get(channel)
        if filling is None or epoch != self.epoch or self.deaf:
            return []
        effects: list[Effect] = []
        for event in events:
            if event.seq == self.cursors[channel] + 1:
                effects.append(self._show_raw(channel, event))
        if self.cursors[channel] >= filling.to:
            del self._filling[channel]
            effects += [
                self._show(held, "live") for held in filling.held if held.seq == self.cursors[channel] + 1
            ]
        return effects

    def unfillable(self, channel: str, reason: str = "") -> list[Effect]:
        """History does not give what is lacking, because of `reason`: say so, and go on behind the gap."""
        filling = self._filling.pop(channel, None)
        if filling is None or self.deaf:
            return []
        gap = Gap(channel=channel, first=self.cursors[channel] + 1, last=filling.to, reason=reason)
        self.cursors[channel] = self._seen[channel] = filling.to
        return [Show(gap, _OVERHEAD), *(self._show(held, "live") for held in filling.held)]

    def disconnected(self) -> None:
        """What was held back is forgotten: the next connection resumes from what was shown."""
        self._filling.clear()

    def _open(self, channel: str, head: int) -> list[Effect]:
        filling = self._filling.pop(channel, None)
        shown = self._seen.get(channel, 0)
        effects: list[Effect] = []
        if filling is not None:
            gap = Gap(channel=channel, first=shown + 1, last=filling.end, reason=_LEFT)
            effects.append(Show(gap, _OVERHEAD))
        assert self.epoch is not None
        start = max(head, shown)  # a node a little behind must not show again what another one has shown
        self.cursors[channel] = self._seen[channel] = start
        effects.append(Show(Opened(epoch=self.epoch, channel=channel, head=start), _OVERHEAD))
        return effects

    def _close(self, channel: str, *, last_seq: int) -> list[Effect]:
        cursor = self.cursors.pop(channel)
        filling = self._filling.pop(channel, None)
        effects: list[Effect] = []
        if filling is not None:
            last = max(filling.end, last_seq)
            gap = Gap(channel=channel, first=cursor + 1, last=last, reason=_LEFT)
            effects.append(Show(gap, _OVERHEAD))
        effects.append(Show(Closed(channel=channel, last_seq=cursor), _OVERHEAD))
        return effects

    def _lack(self, channel: str, to: int) -> list[Effect]:
        filling = self._filling.get(channel)
        if filling is not None:
            # What was held back in between is fetched with the rest, and so it is lacking, too.
            lacks = Lacks(channel, max(filling.said, self.cursors[channel]) + 1, to)
            filling.said = to
            filling.extend(to)
            return [lacks]
        self._filling[channel] = _Filling(to)
        return [Lacks(channel, self.cursors[channel] + 1, to), FillGap(channel)]

    def _forget(self, epoch: int) -> list[Effect]:
        self.epoch = epoch
        self.cursors.clear()
        self._seen.clear()
        self._named = {}
        self._replay_to.clear()
        self._filling.clear()
        return [Show(Reset(epoch=epoch), _OVERHEAD)]

    def _show(self, frame: frames.EventFrame, via: Via) -> Show:
        assert self.epoch is not None
        self.cursors[frame.channel] = self._seen[frame.channel] = frame.seq
        raw = bytes(frame.event)
        event = shown_event(
            self.epoch, frame.channel, frame.seq, frame.id, frame.sender, frame.at, raw, via, frame.mentions
        )
        return Show(event, len(raw) + _OVERHEAD)

    def _show_raw(self, channel: str, event: RawEvent) -> Show:
        assert self.epoch is not None
        self.cursors[channel] = self._seen[channel] = event.seq
        raw = bytes(event.event)
        return Show(
            shown_event(
                self.epoch, channel, event.seq, event.id, event.sender, event.at, raw, "gap", event.mentions
            ),
            len(raw) + _OVERHEAD,
        )
