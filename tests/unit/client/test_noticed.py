"""A client's notices against a model of a node: each of one's own is shown once and in order, whatever is lost."""

from __future__ import annotations

import random

import msgspec
import pytest

from client.effects import FillGap, Show
from client.model import Noticed, NoticeGap, RawNotice
from client.noticed import MOST_FILLED, NoticeStream
from services.contract import frames
from services.contract.events import UnknownEvent
from services.contract.notices import AnnouncementPosted

ID = "00000000-0000-7000-8000-000000000000"
BODY = msgspec.Raw(b'{"type":"announcement.posted","text":"Tea"}')


def frame(seq: int, body: msgspec.Raw = BODY) -> frames.NoticeFrame:
    return frames.NoticeFrame(seq=seq, id=ID, sender="usr", at=seq, notice=body)


class World:
    """One stream; some of its notices are mine. A node shows them from a position on, and may have lost the oldest."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.mine: list[bool] = []
        self.stream = NoticeStream()
        self.position: int | None = None  # of the node, for this connection
        self.way: list[frames.NoticeFrame | frames.NoticesGap | frames.Pong] = []
        self.shown: list[int] = []
        self.first: int | None = None
        self.filling = False

    def take(self, effects: object) -> None:
        assert isinstance(effects, list)
        for effect in effects:
            if isinstance(effect, Show):
                assert isinstance(effect.event, Noticed)
                self.shown.append(effect.event.seq)
            self.filling |= isinstance(effect, FillGap)

    def connect(self) -> None:
        named = self.stream.resume()
        self.way.clear()
        self.filling = False
        self.stream.welcome(len(self.mine))
        if self.first is None:
            self.first = len(self.mine)
        self.position = len(self.mine) if named is None else named

    def write(self) -> None:
        """The node goes on by some notices, or tells a gap."""
        if self.position is None or self.position >= len(self.mine):
            return
        to = self.rng.randint(self.position + 1, len(self.mine))
        if self.rng.random() < 0.3:
            self.way.append(frames.NoticesGap(from_=self.position + 1, to=to))
        else:
            self.way += [frame(s) for s in range(self.position + 1, to + 1) if self.mine[s - 1]]
        self.position = to

    def deliver(self) -> None:
        if self.way:
            match self.way.pop(0):
                case frames.NoticeFrame() as notice:
                    self.take(self.stream.notice(1, notice))
                case frames.NoticesGap() as gap:
                    self.take(self.stream.gap(gap))
                case frames.Pong(notices=position):
                    self.stream.pong(position)

    def fill(self) -> None:
        lacking = self.stream.lacking(1)
        if lacking is None:
            return
        position = self.rng.randint(lacking.after + 1, len(self.mine))
        page = [
            RawNotice(s, ID, "usr", s, BODY)
            for s in range(lacking.after + 1, position + 1)
            if self.mine[s - 1]
        ]
        self.take(self.stream.filled(1, position, page))

    def step(self) -> None:
        act = self.rng.random()
        if act < 0.3:
            self.mine += [self.rng.random() < 0.4 for _ in range(self.rng.randint(1, 4))]
        elif act < 0.5:
            self.write()
        elif act < 0.8:
            self.deliver()
        elif act < 0.9:
            self.fill()
        elif act < 0.95 and self.position is not None:
            self.way.append(frames.Pong(notices=self.position))
        elif act < 0.98:
            self.connect()
        else:
            self.stream.disconnected()
            self.way.clear()
            self.position = None


@pytest.mark.parametrize("seed", range(150))
def test_every_notice_of_ones_own_is_shown_once_and_in_order(seed: int) -> None:
    world = World(random.Random(seed))
    world.connect()
    for _ in range(300):
        world.step()
        assert world.shown == sorted(set(world.shown))
    world.connect()
    while world.position is not None and world.position < len(world.mine):
        world.write()
    for _ in range(500):
        world.deliver()
        world.fill()
    assert world.first is not None
    assert world.shown == [s for s in range(world.first + 1, len(world.mine) + 1) if world.mine[s - 1]]


def test_a_gap_that_cannot_be_filled_is_said_and_what_came_behind_it_shown() -> None:
    stream = NoticeStream()
    stream.welcome(4)
    stream.gap(frames.NoticesGap(from_=5, to=9))
    assert stream.notice(1, frame(11)) == []
    gap, shown = (effect.event for effect in stream.unfillable(1, "gone") if isinstance(effect, Show))
    assert gap == NoticeGap(first=5, last=9, reason="gone")
    assert isinstance(shown, Noticed)
    assert (shown.seq, stream.cursor) == (11, 11)


def test_too_many_behind_a_gap_are_fetched_rather_than_kept() -> None:
    stream = NoticeStream()
    stream.welcome(0)
    stream.gap(frames.NoticesGap(from_=1, to=2))
    for seq in range(3, 400):
        stream.notice(1, frame(seq))
    lacking = stream.lacking(1)
    assert lacking is not None
    assert lacking.to >= 200


def test_a_kind_of_a_later_release_is_shown_as_such() -> None:
    stream = NoticeStream()
    stream.welcome(0)
    (known,) = stream.notice(1, frame(1))
    (later,) = stream.notice(1, frame(2, msgspec.Raw(b'{"type":"moon.risen"}')))
    assert isinstance(known, Show)
    assert isinstance(known.event, Noticed)
    assert known.event.notice == AnnouncementPosted(text="Tea")
    assert isinstance(later, Show)
    assert isinstance(later.event, Noticed)
    assert later.event.notice == UnknownEvent(type="moon.risen")


def test_a_gap_after_a_long_absence_is_told_rather_than_filled() -> None:
    stream = NoticeStream()
    stream.cursor = 10
    (filled, _) = stream.gap(frames.NoticesGap(from_=11, to=10 + MOST_FILLED))
    assert not isinstance(filled, Show)
    stream.disconnected()
    (told,) = stream.gap(frames.NoticesGap(from_=11, to=11 + MOST_FILLED))
    assert isinstance(told, Show)
    assert isinstance(told.event, NoticeGap)
    assert (told.event.first, told.event.last) == (11, 11 + MOST_FILLED)
    assert told.event.reason
    assert stream.lacking(1) is None
    (live,) = stream.notice(1, frame(12 + MOST_FILLED))
    assert isinstance(live, Show)
    assert isinstance(live.event, Noticed), "and it goes on behind it"
