"""Delivery against a model: whatever happens, each client's view is exact, and nobody sees what is not theirs."""

from __future__ import annotations

import math
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from channel_server.core.audience import Joining, Subscriber, Turn
from channel_server.core.compose import event_frame
from channel_server.core.delivery import Delivery
from channel_server.core.directory import Directory
from channel_server.core.limits import Limits
from channel_server.core.ring import ENTRY_OVERHEAD, Ring
from services.contract.directory import UserRecord
from tests.unit.channel_server.fakes import FakeClock, FakeLink, channel_id, user_id

CHANNELS = [channel_id(n) for n in range(3)]
USERS = [user_id(n) for n in range(3)]
ID = "0" * 36
FRAME = len(event_frame(CHANNELS[0], 1, ID, USERS[0], 1, b"{}")) + ENTRY_OVERHEAD

channels = st.sampled_from(CHANNELS)
users = st.sampled_from(USERS)


class SlowLink(FakeLink):
    """Every write takes so many seconds."""

    def __init__(self, clock: FakeClock, seconds: float) -> None:
        super().__init__()
        self._clock = clock
        self._seconds = seconds

    def write_prepared(self, frames: bytes) -> int:
        self._clock.now += self._seconds
        return super().write_prepared(frames)


class Connection:
    """A client: its link, and what it makes of the frames. `views`: channel -> last seq, of the open ones."""

    def __init__(self, user: str, named: dict[str, int], link: FakeLink) -> None:
        self.user = user
        self.named = dict(named)
        self.link = link
        self.subscriber = Subscriber(self.link)
        self.views: dict[str, int] = {}
        self.heads_at_join: dict[str, int] = {}

    def read(self, permitted: dict[tuple[str, str], set[int]]) -> None:
        for frame in self.link.take():
            self.read_one(frame, permitted)

    def read_one(self, frame: dict[str, Any], permitted: dict[tuple[str, str], set[int]]) -> None:
        channel = frame["channel"]
        if frame["type"] == "opened":
            assert channel not in self.views
            self.views[channel] = frame["head"]
        elif frame["type"] == "closed":
            assert frame["last_seq"] == self.views.pop(channel)
        elif frame["type"] == "gap":
            assert frame["from"] == self.views[channel] + 1
            assert frame["to"] >= frame["from"]
            self.views[channel] = frame["to"]
        else:
            seq = frame["seq"]
            assert seq == self.views[channel] + 1, "a hole, a repetition, or an event after `closed`"
            self.views[channel] = seq
            replay = seq <= self.heads_at_join[channel] and channel in self.named
            assert replay or seq in permitted[channel, self.user], (
                "shown to somebody who was not a member then"
            )


class DeliveryMachine(RuleBasedStateMachine):
    @initialize(
        ring=st.integers(2, 12),
        slice_=st.integers(1, 3),
        chunk=st.integers(1, 4),
        cost=st.sampled_from([0.0, 0.0001, 0.005]),
        unshown=st.integers(1, 6),
        unwritten=st.integers(1, 12),
        channels_at_once=st.sampled_from([0, len(CHANNELS)]),
        outsiders=st.sets(st.tuples(channels, users), max_size=4),
    )
    def start(
        self,
        ring: int,
        slice_: int,
        chunk: int,
        cost: float,
        unshown: int,
        unwritten: int,
        channels_at_once: int,
        outsiders: set[tuple[str, str]],
    ) -> None:
        self.clock = FakeClock()
        self.cost = cost
        self.heads = dict.fromkeys(CHANNELS, 0)
        self.directory = Directory()
        for user in USERS:
            self.directory.apply(UserRecord(id=user, workspace_id="ws", name="", active=True, version=1))
        self.ring = Ring(ring * FRAME)
        limits = Limits(
            high_water=FRAME,
            chunk=chunk * FRAME,
            slice=slice_,
            unshown=unshown * FRAME,
            unwritten=unwritten * FRAME,
            channels_at_once=channels_at_once,
        )
        self.delivery = Delivery(
            self.ring, self.directory, lambda channel: self.heads[channel], limits, self.clock
        )
        self.version = 1
        self.connections: list[Connection] = []
        self.joining: list[tuple[Connection, Joining]] = []
        self.gone: list[Connection] = []
        self.lost: list[tuple[str, dict[str, int]]] = []
        self.members: set[tuple[str, str]] = set()
        for channel in CHANNELS:
            for user in USERS:
                if (channel, user) not in outsiders:
                    self.directory.set_member(channel, user, 1, True)
                    self.members.add((channel, user))
        self.permitted: dict[tuple[str, str], set[int]] = {(c, u): set() for c in CHANNELS for u in USERS}

    # coming and going

    @precondition(lambda self: not self.delivery.held and len(self.connections) < 6)
    @rule(
        user=users,
        past=st.integers(0, 5),
        ahead=st.integers(0, 2),
        resumes=st.booleans(),
        slowly=st.booleans(),
    )
    def connect(self, user: str, past: int, ahead: int, resumes: bool, slowly: bool) -> None:
        named: dict[str, int] = {}
        if resumes:
            earlier = [views for u, views in self.lost if u == user]
            if earlier and past < 4:
                named = dict(earlier[-1])
            else:
                named = {c: max(head - past, 0) for c, head in self.heads.items() if past or head}
            if named and ahead:
                first = next(iter(named))
                named[first] = self.heads[first] + ahead
        connection = Connection(user, named, SlowLink(self.clock, self.cost))
        joining = self.delivery.join(connection.subscriber, self.directory.users[user], named)
        if slowly:
            self.joining.append((connection, joining))
            return
        assert not self.delivery.join_some(connection.subscriber, len(CHANNELS))
        for channel in CHANNELS:
            is_member = (channel, user) in self.members
            assert (channel in joining.heads) == (is_member and named.get(channel) != self.heads[channel])
        self._welcome(connection, joining)

    def _welcome(self, connection: Connection, joining: Joining) -> None:
        assert not connection.link.written, "the welcome is the first that it hears"
        for channel in CHANNELS:
            connection.heads_at_join[channel] = self.heads[channel]
            if channel in connection.named:
                connection.views[channel] = connection.named[channel]
            elif channel in joining.heads:
                connection.views[channel] = joining.heads[channel]
        self.connections.append(connection)

    @precondition(lambda self: self.joining)
    @rule(data=st.data(), gives_up=st.booleans())
    def come_in_further(self, data: st.DataObject, gives_up: bool) -> None:
        entry = data.draw(st.sampled_from(self.joining))
        connection, joining = entry
        if gives_up:
            self._leave(connection)
            assert not self.delivery.join_some(connection.subscriber, 1)
            self.joining.remove(entry)
        elif not self.delivery.join_some(connection.subscriber, 1):
            self.joining.remove(entry)
            self._welcome(connection, joining)

    @precondition(lambda self: self.connections)
    @rule(data=st.data())
    def disconnect(self, data: st.DataObject) -> None:
        connection = data.draw(st.sampled_from(self.connections))
        connection.read(self.permitted)
        self._leave(connection)
        self.connections.remove(connection)
        self.lost.append((connection.user, connection.views))

    def _leave(self, connection: Connection) -> None:
        self.delivery.leave(connection.subscriber)
        self.gone.append(connection)

    @rule(most=st.integers(1, 4))
    def leave_further(self, most: int) -> None:
        self.delivery.leave_some(most)

    @precondition(lambda self: self.gone)
    @rule(data=st.data())
    def what_comes_too_late(self, data: st.DataObject) -> None:
        connection = data.draw(st.sampled_from(self.gone))
        self.delivery.leave(connection.subscriber)
        self.delivery.settle_unresolved(connection.subscriber)
        self._drain(connection)
        assert not self.delivery.put(connection.subscriber, b"x")

    @precondition(lambda self: self.connections)
    @rule(data=st.data())
    def settle_unresolved(self, data: st.DataObject) -> None:
        self.delivery.settle_unresolved(data.draw(st.sampled_from(self.connections)).subscriber)

    # what happens in channels

    @rule(
        channel=channels,
        script=st.lists(st.one_of(st.none(), st.tuples(users, st.booleans())), min_size=1, max_size=6),
    )
    def publish(self, channel: str, script: list[tuple[str, bool] | None]) -> None:
        self._to_the_end(self._relieve)
        shown = self.heads[channel]
        frames, turns = [], []
        for place, act in enumerate(script):
            seq = shown + place + 1
            frame = event_frame(channel, seq, ID, USERS[0], 1, b"{}")
            frames.append(frame)
            self.ring.add(channel, seq, frame)
            if act is not None:
                user, member = act
                self.version += 1
                turns.append(Turn(place, [user], self.version, member))
                if not member:
                    self.members.discard((channel, user))
            for user in USERS:
                if (channel, user) in self.members:
                    self.permitted[channel, user].add(seq)
            if act is not None and act[1]:
                self.members.add((channel, act[0]))
        self.heads[channel] = shown + len(frames)
        self.delivery.publish(channel, shown, frames, turns)

    @rule(channel=channels, user=users, member=st.booleans())
    def directory_says(self, channel: str, user: str, member: bool) -> None:
        self.version += 1
        change = self.directory.set_member(channel, user, self.version, member)
        assert change is not None
        (self.members.add if member else self.members.discard)((channel, user))
        for connection in self.connections:
            if member and connection.user == user and channel in connection.subscriber.unresolved:
                connection.heads_at_join[channel] = self.heads[channel]  # the resume begins only now
        self.delivery.membership_changed(change)

    @rule(channel=channels, user=users, member=st.booleans())
    def directory_says_something_old(self, channel: str, user: str, member: bool) -> None:
        version = self.directory.membership(channel, user) >> 1
        assert self.directory.set_member(channel, user, version, member) is None

    # time and sockets

    @rule(seconds=st.sampled_from([0.0, 0.001, 0.1]))
    def show(self, seconds: float) -> None:
        self.clock.now += seconds
        showing = self.delivery.showing
        showing.step()
        if not showing.prompt:
            assert not showing.unwritten, "nobody is left whose writing would end it"

    @rule()
    def catch_up(self) -> None:
        self.delivery.catch_up()

    @precondition(lambda self: self.connections)
    @rule(data=st.data())
    def stop_reading(self, data: st.DataObject) -> None:
        data.draw(st.sampled_from(self.connections)).link.reads = False

    @precondition(lambda self: self.joining)
    @rule(data=st.data())
    def drains_before_it_is_in(self, data: st.DataObject) -> None:
        connection, _ = data.draw(st.sampled_from(self.joining))
        self.delivery.drained(connection.subscriber)

    @precondition(lambda self: self.connections)
    @rule(data=st.data())
    def read_again(self, data: st.DataObject) -> None:
        self._drain(data.draw(st.sampled_from(self.connections)))

    @rule(held=st.booleans())
    def hold(self, held: bool) -> None:
        self.delivery.held = held

    # what must be true

    @invariant()
    def views_are_exact(self) -> None:
        for connection in getattr(self, "connections", ()):
            connection.read(self.permitted)

    @invariant()
    def who_is_gone_is_shown_nothing(self) -> None:
        for connection in getattr(self, "gone", ()):
            assert not connection.link.written
            for channel in CHANNELS:
                assert connection.subscriber not in self.delivery.live_in(channel)

    @invariant()
    def memory_is_bounded(self) -> None:
        for connection in getattr(self, "connections", ()):
            assert len(connection.subscriber.lag) <= len(CHANNELS)
            assert connection.link.unread <= 25 * FRAME

    def teardown(self) -> None:
        if not hasattr(self, "delivery"):
            return
        self.delivery.held = False
        for connection, joining in self.joining:
            while self.delivery.join_some(connection.subscriber, 1):
                pass
            self._welcome(connection, joining)
        for connection in self.connections:
            self._drain(connection)
            self.delivery.settle_unresolved(connection.subscriber)
        self._show_all()
        self._to_the_end(self.delivery.catch_up)
        for connection in self.connections:
            connection.read(self.permitted)
            for channel, head in self.heads.items():
                if (channel, connection.user) not in self.members:
                    assert channel not in connection.views
                elif connection.named.get(channel, 0) <= head:
                    assert connection.views[channel] == head, "everything that came is shown in the end"
                else:
                    assert connection.views[channel] in (head, connection.named[channel])
        for connection in self.connections:
            self._leave(connection)
        self._to_the_end(lambda: self.delivery.leave_some(1))
        assert not self.delivery._audiences, "nobody left, nothing kept"
        assert not any(connection.subscriber.lag for connection in self.gone)
        assert not self.delivery.behind
        assert self.delivery.showing.next_turn == math.inf
        assert not self.delivery.showing.is_crowded

    def _drain(self, connection: Connection) -> None:
        connection.link.reads = True
        connection.link.unread = 0
        self.delivery.drained(connection.subscriber)

    def _relieve(self) -> bool:
        self.delivery.showing.step()
        return self.delivery.showing.is_crowded

    def _show_all(self) -> None:
        while self.delivery.showing.next_turn < math.inf:
            self.clock.now = max(self.clock.now, self.delivery.showing.next_turn)
            self._to_the_end(self.delivery.showing.step)

    @staticmethod
    def _to_the_end(step: Any) -> None:
        for _ in range(1000):
            if not step():
                return
        raise AssertionError("it never ends")


TestDelivery = DeliveryMachine.TestCase
TestDelivery.settings = settings(
    max_examples=200, stateful_step_count=50, deadline=None, print_blob=False, report_multiple_bugs=False
)
