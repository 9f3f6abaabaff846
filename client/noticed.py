"""The receiving half of the core for notices: each of one's own is shown once, in the order of their numbers.

Unlike a channel's, their numbers have holes, because what lies between is addressed to others. Where the client stands
is told by the last notice, by `pong` and by what REST has looked at. A gap is filled by REST before anything later is
shown; one after a long absence is only told: what all those notices have come to is in `GET /v1/me/sync`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from client.effects import Effect, FillGap, Lacks, Show
from client.model import Noticed, NoticeGap, RawNotice, Via, shown_notice
from client.streams import Lacking
from services.contract import frames

NOTICES: Final = "notices"
"""In place of a channel, where gaps are spoken of: the person's notices."""

MOST_FILLED: Final = 20_000
"""Numbers in a gap that is filled. REST looks at 500 a request, whomever they address: after a week's absence from a large
workspace it would be thousands of requests before the first new notice is shown."""

_HELD: Final = 200
_OVERHEAD: Final = 200
_LONG_AGO: Final = "There were too many meanwhile. Fetch how things stand now."


class NoticeStream:
    """`cursor`: everything of one's own up to here has been shown; None before the first connection."""

    def __init__(self) -> None:
        self.cursor: int | None = None
        self._replay_to = 0
        self._to: int | None = None  # the end of the gap that is being filled
        self._held: list[frames.NoticeFrame] = []

    def resume(self) -> int | None:
        """What the next `connect` names."""
        self.disconnected()
        return self.cursor

    def disconnected(self) -> None:
        self._to = None
        self._held.clear()

    def forget(self) -> None:
        """The log was replaced."""
        self.disconnected()
        self.cursor = None

    def welcome(self, head: int | None) -> None:
        self._replay_to = head or 0
        if self.cursor is None:
            self.cursor = head

    def notice(self, epoch: int, frame: frames.NoticeFrame) -> list[Effect]:
        if self._to is not None:
            if frame.seq > self._to:
                self._held.append(frame)
                if len(self._held) > _HELD:
                    self._to = frame.seq
                    self._held.clear()
            return []
        if self.cursor is not None and frame.seq <= self.cursor:
            return []
        return [self._show(epoch, frame, "replay" if frame.seq <= self._replay_to else "live")]

    def gap(self, frame: frames.NoticesGap) -> list[Effect]:
        if self.cursor is None or frame.to <= self.cursor:
            return []
        if self._to is not None:
            self._to = max(self._to, frame.to)
            self._held.clear()
            return []
        if frame.to - self.cursor > MOST_FILLED:
            gap = NoticeGap(first=self.cursor + 1, last=frame.to, reason=_LONG_AGO)
            self.cursor = frame.to
            return [Show(gap, _OVERHEAD)]
        self._to = frame.to
        return [Lacks(NOTICES, self.cursor + 1, frame.to), FillGap(NOTICES)]

    def pong(self, position: int | None) -> None:
        """Everything up to `position` has been sent before it."""
        if position is not None and self._to is None and self.cursor is not None:
            self.cursor = max(self.cursor, position)

    def lacking(self, epoch: int) -> Lacking | None:
        """What is to be looked at next for the gap; None when there is none (any more)."""
        if self._to is None or self.cursor is None:
            return None
        return Lacking(epoch, self.cursor, self._to)

    def filled(self, epoch: int, position: int, notices: Iterable[RawNotice]) -> list[Effect]:
        """A page that REST gave: one's own, ascending, of everything up to `position`."""
        if self._to is None or self.cursor is None:
            return []
        effects: list[Effect] = []
        for notice in notices:
            if notice.seq > self.cursor:
                effects.append(self._show(epoch, notice, "gap"))
        self.cursor = max(self.cursor, position)
        if self.cursor >= self._to:
            effects += self._go_on(epoch)
        return effects

    def unfillable(self, epoch: int, reason: str) -> list[Effect]:
        """REST does not give them: say so, and go on behind the gap."""
        if self._to is None or self.cursor is None:
            return []
        gap = NoticeGap(first=self.cursor + 1, last=self._to, reason=reason)
        self.cursor = self._to
        return [Show(gap, _OVERHEAD), *self._go_on(epoch)]

    def _go_on(self, epoch: int) -> list[Effect]:
        self._to = None
        held, self._held = self._held, []
        return [self._show(epoch, frame, "live") for frame in held if frame.seq > (self.cursor or 0)]

    def _show(self, epoch: int, notice: frames.NoticeFrame | RawNotice, via: Via) -> Show:
        self.cursor = notice.seq
        raw = bytes(notice.notice)
        shown: Noticed = shown_notice(epoch, notice.seq, notice.id, notice.sender, notice.at, raw, via)
        return Show(shown, len(raw) + _OVERHEAD)
