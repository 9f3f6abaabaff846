"""Notices against a model: each client is shown all of its own, once and in order, or told exactly what may be lacking."""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from channel_server.core.audience import Subscriber
from channel_server.core.compose import notice_frame
from channel_server.core.delivery import Delivery
from channel_server.core.directory import Directory
from channel_server.core.limits import Limits
from channel_server.core.noticeboard import Noticeboard, NoticeRing, Told
from channel_server.core.ring import Ring
from services.contract.directory import UserRecord
from tests.unit.channel_server.fakes import FakeClock, FakeLink, user_id

WORKSPACES = ["ws_" + "a" * 32, "ws_" + "b" * 32]
USERS = [user_id(n) for n in range(4)]
HOME = {user: WORKSPACES[n // 3] for n, user in enumerate(USERS)}  # three in one workspace, one in the other
ID = "0" * 36
FRAME = notice_frame(1, ID, USERS[0], 1, b"{}")


class Device:
    """A client: what it was shown, and what it was told that it lacks."""

    def __init__(self, user: str, cursor: int) -> None:
        self.user = user
        self.link = FakeLink()
        self.subscriber = Subscriber(self.link)
        self.cursor = self.start = cursor
        self.shown: list[int] = []
        self.gaps: list[tuple[int, int]] = []

    def read(self) -> None:
        for frame in self.link.take():
            if frame["type"] == "notices_gap":
                assert self.cursor < frame["from"] <= frame["to"]
                self.gaps.append((frame["from"], frame["to"]))
                self.cursor = frame["to"]
            else:
                assert frame["seq"] > self.cursor, "repeated, or out of order"
                self.shown.append(frame["seq"])
                self.cursor = frame["seq"]


class NoticesMachine(RuleBasedStateMachine):
    @initialize(ring=st.integers(2, 12), slice_=st.integers(1, 3), chunk=st.integers(1, 4))
    def start(self, ring: int, slice_: int, chunk: int) -> None:
        directory = Directory()
        for user in USERS:
            directory.apply(UserRecord(id=user, workspace_id=HOME[user], name="", active=True, version=1))
        self.directory = directory
        self.heads = {directory.streams[workspace]: 0 for workspace in WORKSPACES}
        self.held: dict[str, dict[int, frozenset[str] | None]] = {stream: {} for stream in self.heads}
        self.board = Noticeboard(NoticeRing(ring * (len(FRAME) + 400)), lambda stream: self.heads[stream])
        limits = Limits(high_water=len(FRAME), chunk=chunk * len(FRAME), slice=slice_)
        self.delivery = Delivery(Ring(0), directory, lambda _: 0, limits, FakeClock(), self.board)
        self.devices: list[Device] = []
        self.lost: list[tuple[str, int]] = []

    def stream(self, user: str) -> str:
        return self.directory.streams[HOME[user]]

    @precondition(lambda self: len(self.devices) < 6)
    @rule(user=st.sampled_from(USERS), back=st.integers(-2, 8), resumes=st.booleans())
    def connect(self, user: str, back: int, resumes: bool) -> None:
        stream = self.stream(user)
        head = self.heads[stream]
        earlier = [cursor for u, cursor in self.lost if u == user]
        named = (earlier[-1] if earlier and back > 5 else max(head - back, 0)) if resumes else None
        device = Device(user, head if named is None else named)
        self.delivery.join(device.subscriber, self.directory.users[user], {})
        assert not self.delivery.join_some(device.subscriber, 1)
        assert self.board.join(device.subscriber, stream, named) == head
        if device.subscriber.notices is not None:
            self.delivery.schedule(device.subscriber)
        self.devices.append(device)

    @precondition(lambda self: self.devices)
    @rule(data=st.data())
    def disconnect(self, data: st.DataObject) -> None:
        device = data.draw(st.sampled_from(self.devices))
        device.read()
        self.check(device, self.board.position(device.subscriber))
        self.lost.append((device.user, device.cursor))
        self.delivery.leave(device.subscriber)
        self.devices.remove(device)

    @rule(
        workspace=st.sampled_from(WORKSPACES),
        script=st.lists(st.one_of(st.none(), st.frozensets(st.sampled_from(USERS))), min_size=1, max_size=5),
    )
    def publish(self, workspace: str, script: list[frozenset[str] | None]) -> None:
        self._to_the_end(self.delivery.showing.step)
        stream = self.directory.streams[workspace]
        told = []
        for to in script:
            self.heads[stream] += 1
            seq = self.heads[stream]
            self.held[stream][seq] = to
            told.append(Told(seq, notice_frame(seq, ID, USERS[0], 1, b"{}"), to))
            self.board.ring.add(stream, told[-1])
        self.board.publish(stream, told, self.delivery)

    @rule()
    def show(self) -> None:
        self.delivery.showing.step()

    @rule()
    def catch_up(self) -> None:
        self._to_the_end(self.delivery.showing.step)
        self.delivery.catch_up()

    @rule(held=st.booleans())
    def hold(self, held: bool) -> None:
        self._to_the_end(self.delivery.showing.step)
        self.delivery.held = held

    @precondition(lambda self: self.devices)
    @rule(data=st.data(), reads=st.booleans())
    def slow_or_not(self, data: st.DataObject, reads: bool) -> None:
        device = data.draw(st.sampled_from(self.devices))
        device.link.reads = reads
        if reads:
            device.link.unread = 0
            self.delivery.drained(device.subscriber)

    @invariant()
    def all_views_are_exact(self) -> None:
        for device in getattr(self, "devices", ()):
            device.read()
            if device.subscriber.pending in (None, b""):
                # What a pong would say now.
                self.check(device, self.board.position(device.subscriber))

    def check(self, device: Device, position: int) -> None:
        stream = self.stream(device.user)
        mine = [s for s, to in self.held[stream].items() if to is None or device.user in to]
        lacking = {s for first, last in device.gaps for s in range(first, last + 1)}
        expected = [s for s in mine if device.start < s <= position and s not in lacking]
        if device.subscriber.pending:
            assert device.shown == expected[: len(device.shown)]
        else:
            assert device.shown == expected, "lost, or shown to somebody else"

    def teardown(self) -> None:
        if not hasattr(self, "delivery"):
            return
        self.delivery.held = False
        for _ in range(100):
            self._to_the_end(self.delivery.showing.step)
            for device in self.devices:
                device.link.reads = True
                device.link.unread = 0
                self.delivery.drained(device.subscriber)
            self._to_the_end(self.delivery.catch_up)
        for device in self.devices:
            device.read()
            head = self.heads[self.stream(device.user)]
            assert self.board.position(device.subscriber) == max(head, device.start)
            self.check(device, head)
            self.delivery.leave(device.subscriber)
        assert not self.board._readers, "nobody left, nothing kept"
        assert not self.board._ahead

    @staticmethod
    def _to_the_end(step: Any) -> None:
        for _ in range(1000):
            if not step():
                return
        raise AssertionError("it never ends")


TestNotices = NoticesMachine.TestCase
TestNotices.settings = settings(
    max_examples=150, stateful_step_count=40, deadline=None, print_blob=False, report_multiple_bugs=False
)
