"""Turns: who is few waits for nobody, who is many is written to in slices and then rests."""

from __future__ import annotations

import math

import pytest

from channel_server.core.audience import Subscriber
from channel_server.core.delivery import Delivery
from channel_server.core.directory import Directory
from channel_server.core.limits import Limits
from channel_server.core.ring import Ring
from channel_server.core.showing import PERIOD, REST_AT_MOST, REST_LEAST, REST_MOST, rest
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

    def __init__(self, unshown: int = 1000, unwritten: int = 100_000) -> None:
        self.clock = FakeClock()
        self.directory = Directory()
        self.heads: dict[str, int] = {}
        self.ring = Ring(10_000)
        self.delivery = Delivery(
            self.ring,
            self.directory,
            lambda channel: self.heads.get(channel, 0),
            Limits(slice=SLICE, unshown=unshown, unwritten=unwritten),
            self.clock,
        )
        self.people = 0
        self.subscribers: list[Subscriber] = []

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
            self.subscribers.append(subscriber)
            self.delivery.join(subscriber, self.directory.users[user], {})
            assert not self.delivery.join_some(subscriber, len(channels))
            links.append(link)
        return links

    def say(self, channel: str, text: bytes) -> None:
        shown = self.heads.get(channel, 0)
        self.heads[channel] = shown + 1
        self.delivery.publish(channel, shown, [text])

    def steps(self) -> None:
        """Until it is nobody's turn now."""
        while self.delivery.showing.step():
            pass

    def show_all(self) -> None:
        """Until nothing is left to be shown, however long everybody rests."""
        while self.delivery.showing.next_turn < math.inf:
            self.clock.now = max(self.clock.now, self.delivery.showing.next_turn)
            self.steps()


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
    room.delivery._audiences.settled(CROWD)
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
    assert rests == pytest.approx(rest(12 * A_WRITE))
    room.say(CROWD, b"3")
    assert not showing.step()
    assert written(crowd) == [b"1"] * 12, "it rests"
    room.clock.now += rests
    room.steps()
    assert written(crowd) == [b"123"] * 12
    assert [link.writes for link in crowd] == [2] * 12


@pytest.mark.parametrize(
    ("took", "rests"),
    [
        (0.001, 0.001 * REST_MOST),  # a few hundred: they are not kept waiting for the sake of so little
        (0.008, PERIOD - 0.008),
        (0.011, PERIOD - 0.011),
        (0.020, 0.020 * REST_LEAST),  # a busy machine: late already
        (0.15, REST_AT_MOST),
    ],
)
def test_a_rest_fills_up_the_period_within_its_bounds(took: float, rests: float) -> None:
    assert rest(took) == pytest.approx(rests)


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


def test_what_is_put_before_the_crowd_early_is_unshown_no_more(room: Room) -> None:
    """Somebody comes in the middle of its turn, when so much is unshown that nothing more is read."""
    showing = room.delivery.showing
    room.come(20, CROWD)
    room.say(CROWD, b"1")
    showing.step()
    room.say(CROWD, b"x" * 1200)
    crowded = [showing.is_crowded]
    room.come(1, CROWD)
    crowded.append(showing.is_crowded)
    assert crowded == [True, False]
    room.show_all()
    assert showing.waiting == 0


def test_a_crowd_into_which_people_keep_coming_rests_all_the_same(room: Room) -> None:
    showing = room.delivery.showing
    crowd = room.come(40, CROWD)
    rested = 0
    for _ in range(40):
        room.say(CROWD, b"x" * 10)
        room.come(1, CROWD)
        rested += not showing.step()
    room.show_all()
    assert rested > 5
    assert {len(link.written) for link in crowd} == {400}


def test_who_is_written_to_anyway_stands_there_once(room: Room) -> None:
    """However much comes before it is written: the queue is no longer than there are connections."""
    few = room.come(SLICE, HERE)
    for _ in range(50):
        room.say(HERE, b"1")
        room.delivery._audiences.settled(HERE)
    assert room.delivery.showing.waiting == SLICE
    room.steps()
    assert written(few) == [b"1" * 50] * SLICE


def test_what_waits_to_be_written_at_once_is_bounded_too(room: Room) -> None:
    room.delivery.showing._limits = room.delivery.showing._limits._replace(unwritten=1000)
    showing = room.delivery.showing
    room.come(5, HERE)
    room.come(30, CROWD, HERE)
    room.say(HERE, b"x" * 100)
    crowded = []
    for number in range(20):
        few = room.come(1, channel_id(10 + number))
        room.say(channel_id(10 + number), b"x" * 100)
        room.delivery._audiences.settled(channel_id(10 + number))
        crowded.append(showing.is_crowded)
        assert few
    assert crowded == [False] * 10 + [True] * 10
    room.steps()
    assert not showing.is_crowded


def test_who_has_too_much_pending_lags_and_is_caught_up(room: Room) -> None:
    (slow,) = room.come(1, HERE)
    for text in (b"x" * 600, b"y" * 600, b"z" * 600):
        room.say(HERE, text)
        room.ring.add(HERE, room.heads[HERE], text)
        room.delivery._audiences.settled(HERE)
    room.steps()
    assert bytes(slow.written) == b"x" * 600 + b"y" * 600
    while room.delivery.catch_up():
        pass
    assert bytes(slow.written) == b"x" * 600 + b"y" * 600 + b"z" * 600


def test_what_is_told_to_everybody_keeps_few_waiting(room: Room) -> None:
    everybody = [Subscriber(Link(room.clock)) for _ in range(100)]
    for subscriber in everybody:
        assert room.delivery.put(subscriber, b"all", many=True)
    few = room.come(3, HERE)
    room.say(HERE, b"here")
    room.delivery.showing.step()
    assert written(few) == [b"here"] * 3
    room.steps()
    assert all(subscriber.pending == b"" for subscriber in everybody)


def test_only_what_is_unshown_crowds(room: Room) -> None:
    room.come(3, HERE)
    room.come(30, CROWD)
    for _ in range(5):
        for channel in (HERE, CROWD):
            room.say(channel, b"x" * 900)
            assert not room.delivery.showing.is_crowded
        room.show_all()


def test_who_is_removed_while_something_is_unshown_and_held_is_told_where_it_ended(room: Room) -> None:
    (link,) = room.come(1, HERE)
    room.delivery.held = True
    room.say(HERE, b"1")
    change = room.directory.set_member(HERE, user_id(1), 2, False)
    assert change is not None
    room.delivery.membership_changed(change)
    room.delivery.held = False
    while room.delivery.catch_up():
        pass
    assert b'"type":"closed"' in link.written
    assert b'"last_seq":0' in link.written


def test_the_few_can_be_served_alone(room: Room) -> None:
    many, few = room.come(100, CROWD), room.come(3, HERE)
    room.say(CROWD, b"crowd")
    room.say(HERE, b"here")
    assert room.delivery.showing.step(turns=False), "there is more"
    assert written(few) == [b"here"] * 3
    assert not any(written(many))
    room.steps()
    assert written(many) == [b"crowd"] * 100


def test_what_nobody_is_to_be_written_keeps_nobody_waiting() -> None:
    room = Room(unwritten=100)
    room.come(5, HERE)
    for subscriber in room.subscribers:
        room.delivery.fall_behind(subscriber)
    room.say(HERE, b"x" * 50)
    room.steps()
    assert room.delivery.showing.unwritten == 0
    assert not room.delivery.showing.is_crowded


def test_only_what_is_to_be_written_counts_as_unwritten() -> None:
    room = Room(unwritten=100)
    room.come(3, HERE)
    for subscriber in room.subscribers[1:]:
        room.delivery.fall_behind(subscriber)
    room.say(HERE, b"x" * 50)
    room.come(1, HERE)  # before which what is unshown is put before those who are there
    assert room.delivery.showing.unwritten == 50
    assert not room.delivery.showing.is_crowded


def test_one_that_was_behind_before_it_came_in_is_not_behind_afterwards(room: Room) -> None:
    subscriber = Subscriber(Link(room.clock))
    room.delivery.fall_behind(subscriber)
    room.come(1, HERE)
    room.delivery.join(subscriber, room.directory.users[user_id(1)], {})
    room.delivery.drained(subscriber)
    assert not room.delivery.put(subscriber, b"x"), "nothing before its welcome"
    room.delivery.join_some(subscriber, 1)
    assert room.delivery.put(subscriber, b"x")
    assert not room.delivery.behind
