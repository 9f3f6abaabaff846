"""Turns: who is few waits for nobody, who is many is written to in slices and then rests."""

from __future__ import annotations

import math

import pytest

from channel_server.core.audience import Subscriber
from channel_server.core.delivery import Delivery
from channel_server.core.directory import Directory
from channel_server.core.limits import Limits
from channel_server.core.ring import Ring
from channel_server.core.showing import REST_AT_MOST, REST_SHARE
from services.contract.directory import UserRecord
from tests.unit.channel_server.fakes import FakeClock, FakeLink, channel_id, user_id

SLICE = 10
HERE, CROWD, OTHER_CROWD = channel_id(1), channel_id(2), channel_id(3)
A_WRITE = 0.001


class Link(FakeLink):
    """A write takes a millisecond."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__()
        self._clock = clock

    def write_prepared(self, frames: bytes) -> int:
        self._clock.now += A_WRITE
        return super().write_prepared(frames)


class Room:
    """A delivery, and people who are connected to it, each by one connection."""

    def __init__(self, unshown: int = 1000) -> None:
        self.clock = FakeClock()
        self.directory = Directory()
        self.heads: dict[str, int] = {}
        self.delivery = Delivery(
            Ring(10_000),
            self.directory,
            lambda channel: self.heads.get(channel, 0),
            Limits(slice=SLICE, unshown=unshown),
            self.clock,
        )
        self.people = 0

    def come(self, count: int, *channels: str) -> list[Link]:
        links = []
        for _ in range(count):
            self.people += 1
            user = user_id(self.people)
            self.directory.apply(UserRecord(id=user, workspace_id="ws", name="", active=True, version=1))
            for channel in channels:
                self.directory.set_member(channel, user, 1, True)
            link = Link(self.clock)
            subscriber = Subscriber(link)
            self.delivery.join(subscriber, self.directory.users[user], {})
            assert not self.delivery.join_some(subscriber, len(channels))
            links.append(link)
        return links

    def say(self, channel: str, text: bytes) -> None:
        shown = self.heads.get(channel, 0)
        self.heads[channel] = shown + 1
        self.delivery.publish(channel, shown, [text])

    def steps(self) -> int:
        """Until nobody's turn is left now; gives how many."""
        count = 1
        while self.delivery.showing.step():
            count += 1
        return count


@pytest.fixture
def room() -> Room:
    return Room()


def written(links: list[Link]) -> list[bytes]:
    return [bytes(link.written) for link in links]


def test_few_are_written_to_at_once_and_never_rest(room: Room) -> None:
    few = room.come(SLICE, HERE)
    for text in (b"1", b"2", b"3"):
        room.say(HERE, text)
        assert not room.delivery.showing.step()
    assert written(few) == [b"123"] * SLICE
    assert [link.writes for link in few] == [3] * SLICE


def test_few_do_not_wait_for_many(room: Room) -> None:
    many, few = room.come(100, CROWD), room.come(3, HERE)
    room.say(CROWD, b"crowd")
    room.delivery.showing.step()
    room.say(HERE, b"here")
    room.delivery.showing.step()
    assert written(few) == [b"here"] * 3
    assert sum(map(bool, written(many))) == 2 * SLICE
    room.steps()
    assert written(many) == [b"crowd"] * 100


def test_one_of_the_many_is_shown_what_concerns_few_at_once(room: Room) -> None:
    """With what was before it in the same connection, in the same write."""
    room.come(99, CROWD)
    (both,) = room.come(1, CROWD, HERE)
    room.say(CROWD, b"crowd,")
    room.delivery._settled(CROWD)
    room.say(HERE, b"here")
    room.delivery.showing.step()
    assert (bytes(both.written), both.writes) == (b"crowd,here", 1)
    room.steps()
    assert both.writes == 1


def test_two_crowds_take_turns(room: Room) -> None:
    ones, others = room.come(50, CROWD), room.come(50, OTHER_CROWD)
    room.say(CROWD, b"1")
    room.say(OTHER_CROWD, b"2")
    for _ in range(4):
        room.delivery.showing.step()
    assert sum(map(bool, written(ones))) == sum(map(bool, written(others))) == 2 * SLICE


def test_what_is_said_while_a_crowd_is_written_to_or_rests_shares_its_writes(room: Room) -> None:
    showing = room.delivery.showing
    crowd = room.come(12, CROWD)
    room.say(CROWD, b"1")
    assert showing.step(), "a slice, and there are more"
    room.say(CROWD, b"2")
    assert not showing.step()
    assert written(crowd) == [b"1"] * 12
    rests = showing.next_turn - room.clock.now
    assert rests == pytest.approx(min(12 * A_WRITE * REST_SHARE, REST_AT_MOST))
    room.say(CROWD, b"3")
    assert not showing.step()
    assert written(crowd) == [b"1"] * 12, "it rests"
    room.clock.now += rests
    room.steps()
    assert written(crowd) == [b"123"] * 12
    assert [link.writes for link in crowd] == [2] * 12


def test_nobody_rests_for_long(room: Room) -> None:
    room.come(200, CROWD)
    room.say(CROWD, b"1")
    room.steps()
    room.say(CROWD, b"2")
    assert room.delivery.showing.next_turn - room.clock.now == pytest.approx(REST_AT_MOST)


def test_when_too_much_is_unshown_nobody_rests(room: Room) -> None:
    showing = room.delivery.showing
    crowd = room.come(20, CROWD)
    room.say(CROWD, b"1")
    room.steps()
    room.say(CROWD, b"x" * 600)
    assert not showing.step()
    crowded = [showing.is_crowded]
    room.say(CROWD, b"x" * 600)
    crowded.append(showing.is_crowded)
    room.steps()
    crowded.append(showing.is_crowded)
    assert crowded == [False, True, False]
    assert {len(link.written) for link in crowd} == {1201}


def test_who_comes_while_something_is_unshown_is_not_shown_it(room: Room) -> None:
    crowd = room.come(20, CROWD)
    room.say(CROWD, b"1")
    (late,) = room.come(1, CROWD)
    room.say(CROWD, b"2")
    room.steps()
    assert bytes(late.written) == b"2"
    assert written(crowd) == [b"12"] * 20


def test_once_all_is_shown_there_is_nothing_to_do(room: Room) -> None:
    crowd = room.come(20, CROWD)
    room.say(CROWD, b"1")
    assert room.delivery.showing.next_turn < math.inf
    room.steps()
    assert room.delivery.showing.next_turn == math.inf
    assert written(crowd) == [b"1"] * 20
