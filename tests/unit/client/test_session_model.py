"""The core against a model of the server, whatever breaks and in whatever order.

Shown: per channel exactly the log, from where it was opened, without hole or repeat. Sent: each text numbered at most
once, in the order of posting, and every acknowledgement true.
"""

from __future__ import annotations

import random
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from client.effects import Effect, FillGap, Leave, LookUp, Reborn, Reject, Resolve, Show
from client.model import Closed, Gap, MessageEvent, Opened
from client.sends import Found
from client.session import Session
from services.contract import frames
from services.contract.ids import new_event_id
from tests.unit.client.server_model import CHANNELS, ME, OTHER, Gone, NotYet, ServerModel

channels = st.sampled_from(CHANNELS)
few = st.integers(1, 4)


class Conversation(RuleBasedStateMachine):
    @initialize(
        seed=st.integers(0, 1 << 32),
        backlog=st.integers(0, 3),
    )
    def begin(self, seed: int, backlog: int) -> None:
        self.server = ServerModel()
        for channel in CHANNELS:
            for n in range(backlog):
                self.others_say(channel, f"before {n}")
        self.session = Session(rng=random.Random(seed))
        self.up: list[frames.ClientFrame] = []
        self.filling: list[str] = []
        self.asked: list[int] = []
        self.posted: dict[str, list[str]] = {channel: [] for channel in CHANNELS}
        self.texts: dict[int, tuple[str, str]] = {}
        self.outcomes: dict[int, Effect] = {}
        self.view: dict[str, int] = {}
        self.shown: set[tuple[str, int]] = set()
        self.reborn: list[str] = []
        self.connect(0)

    @property
    def now(self) -> float:
        return self.server.t / 1000

    # --- what may happen --------------------------------------------------------------------------------------

    @rule(channel=channels)
    def post(self, channel: str) -> None:
        text = f"mine {len(self.texts)}"
        ticket = self.session.post(channel, text)
        self.posted[channel].append(text)
        self.texts[ticket] = (channel, text)
        self.flush()

    @rule(channel=channels, said=few, written=st.integers(0, 8), read=st.integers(0, 8))
    def traffic(self, channel: str, said: int, written: int, read: int) -> None:
        for n in range(said):
            self.others_say(channel, f"other {self.server.head(channel)} {n}")
        self.server.write(channel, written)
        self.read(read)

    @rule(step=st.sampled_from([1, 300, 4_000, 8_000]))
    def time_passes(self, step: int) -> None:
        self.server.t += step
        if self.session.given_up(self.now) is not None:
            self.break_connection()
        self.flush()

    @rule(step=st.sampled_from([40_000, 95_000, 130_000]))
    def nothing_works_for_a_while(self, step: int) -> None:
        self.break_connection()
        self.time_passes(step)

    @precondition(lambda self: not self.server.connected)
    @rule(lost=st.sampled_from([0, 0, 1, 3]), lag=st.sampled_from([0, 0, 2]))
    def connect(self, lost: int, lag: int = 0) -> None:
        self.server.connect(self.session.connecting("token", "model", self.now), lost=lost, lag=lag)
        self.read(2 if lag else 1)

    def break_connection(self) -> None:
        self.server.connected = False
        self.server.down.clear()
        self.server.position.clear()
        # Whatever was on its way up may have reached a node that is only slow.
        for frame in self.up:
            if isinstance(frame, frames.Send):
                self.server.adrift.append((frame.channel, frame.id, frame.text))
        self.up.clear()
        self.filling.clear()
        self.session.disconnected()

    @precondition(lambda self: self.server.adrift)
    @rule(data=st.data())
    def a_slow_node_appends(self, data: st.DataObject) -> None:
        adrift = self.server.adrift
        channel, id, text = adrift.pop(data.draw(st.integers(0, len(adrift) - 1)))
        self.server.append(channel, ME, id, text)

    @precondition(lambda self: self.up)
    @rule(
        fate=st.sampled_from(
            ["append", "append", "append", "slow_down", "log_unavailable", "lost_answer", "silent"]
        )
    )
    def server_takes(self, fate: str) -> None:
        frame = self.up.pop(0)
        if not isinstance(frame, frames.Send):
            self.server.down.append(frames.Pong())
            return
        if fate == "append":
            self.server.take(frame)
        elif fate == "slow_down":
            self.server.down.append(self.server.refusal(frame.channel, frame.id, "slow_down", after=500))
        elif fate == "log_unavailable":  # and yet it may still come to stand in the log
            self.server.adrift.append((frame.channel, frame.id, frame.text))
            self.server.down.append(self.server.refusal(frame.channel, frame.id, "log_unavailable"))
        elif fate == "lost_answer":
            self.server.append(frame.channel, ME, frame.id, frame.text)
        else:
            self.server.adrift.append((frame.channel, frame.id, frame.text))

    @rule(channel=channels, count=few)
    def ring_moves_on(self, channel: str, count: int) -> None:
        if channel in self.server.position:
            self.server.skip(channel, count)

    @precondition(lambda self: self.server.down)
    @rule(count=st.integers(1, 20))
    def read(self, count: int) -> None:
        for _ in range(count):
            if not self.server.down or not self.server.connected:
                return
            self.read_one()

    @rule(channel=channels, place=st.integers(0, 3))
    def an_event_is_swallowed(self, channel: str, place: int) -> None:
        """A defect of a server: the client must notice at the next event, and not pass over it."""
        before = len(self.server.down)
        self.traffic(channel, 4, 8, 0)
        if len(self.server.down) > before + place:
            del self.server.down[before + place]
        self.read(20)

    @rule(channel=channels, place=st.integers(0, 3), later=st.integers(0, 3))
    def an_event_is_repeated(self, channel: str, place: int, later: int) -> None:
        before = len(self.server.down)
        self.traffic(channel, 4, 8, 0)
        if len(self.server.down) > before + place:
            self.server.down.insert(before + place + later + 1, self.server.down[before + place])
        self.read(20)

    @rule(channel=channels)
    def removed(self, channel: str) -> None:
        self.server.remove(channel)

    @rule(channel=channels, lag=st.integers(0, 2))
    def added(self, channel: str, lag: int) -> None:
        """Perhaps by a node that is a little behind what another one has shown."""
        self.server.add(channel, lag)

    @rule(channel=channels, count=st.integers(0, 20))
    def persister_stores(self, channel: str, count: int) -> None:
        self.server.stored[channel] = min(self.server.head(channel), self.server.stored[channel] + count)

    @precondition(lambda self: self.filling)
    @rule(limit=few, early=st.booleans())
    def gap_page(self, limit: int, early: bool) -> None:
        channel = self.filling[0]
        lacking = self.session.lacking(channel)
        if lacking is None:
            self.filling.remove(channel)
            return
        try:
            page = self.server.history(channel, lacking.after, limit, min(lacking.to, lacking.after + limit))
        except (NotYet, Gone):
            return
        if early:
            page = page[1:] + page[:1]  # not what was asked for
        self.carry_out(self.session.filled(channel, lacking.epoch, page))

    @precondition(lambda self: self.asked)
    @rule()
    def history_answers(self) -> None:
        ticket = self.asked[0]
        question = self.session.look_up(ticket)
        assert question is not None
        try:
            events = self.server.history(question.channel, question.after, 10_000, question.head or 0)
        except NotYet:
            return
        except Gone:
            self.asked.remove(ticket)
            self.carry_out(self.session.unanswerable(ticket, "not_a_member", ""))
            return
        self.asked.remove(ticket)
        for event in events:
            if event.id == question.id and event.sender == ME:
                self.carry_out(
                    self.session.found(ticket, Found(self.server.epoch, event.seq, event.at, None))
                )
                break
        else:
            self.carry_out(self.session.absent(ticket, self.now))
        self.flush()

    @precondition(lambda self: self.server.connected and self.session.connected)
    @rule(channel=channels)
    def application_is_too_slow(self, channel: str) -> None:
        self.session.go_deaf()
        self.traffic(channel, 2, 8, 8)
        self.break_connection()

    # --- how --------------------------------------------------------------------------------------------------

    def others_say(self, channel: str, text: str) -> None:
        self.server.append(channel, OTHER, new_event_id(self.server.t), text)

    def flush(self) -> None:
        if not self.server.connected:
            return
        ping = self.session.heartbeat(self.now)
        if ping is not None:
            self.up.append(ping)
        self.up += [outgoing.frame for outgoing in self.session.sendable(self.now)]

    def read_one(self) -> None:
        frame = self.server.down.pop(0)
        leave = self.carry_out(self.session.received(frame, self.now))
        if leave is not None:
            self.break_connection()
        self.flush()

    def carry_out(self, effects: Any) -> Leave | None:
        for effect in effects:
            match effect:
                case Show(event):
                    self.show(event)
                case FillGap(channel):
                    self.filling.append(channel)
                case LookUp(ticket):
                    self.asked.append(ticket)
                case Resolve(ticket, ack):
                    channel, text = self.texts[ticket]
                    assert ticket not in self.outcomes
                    stored = self.server.log[channel][ack.seq - 1]
                    assert (stored.sender, stored.text, stored.id) == (ME, text, ack.id)
                    self.outcomes[ticket] = effect
                case Reject(ticket):
                    assert ticket not in self.outcomes
                    self.outcomes[ticket] = effect
                case Reborn(_, old, _):
                    self.reborn.append(old)
                case Leave():
                    return effect
        return None

    def show(self, event: Any) -> None:
        match event:
            case MessageEvent():
                assert event.seq == self.view[event.channel] + 1, "a hole or a repeat was shown"
                assert (event.channel, event.seq) not in self.shown
                stored = self.server.log[event.channel][event.seq - 1]
                assert (stored.id, stored.sender, stored.text) == (event.id, event.sender, event.text)
                self.view[event.channel] = event.seq
                self.shown.add((event.channel, event.seq))
            case Opened():
                self.view[event.channel] = event.head
            case Closed():
                assert event.last_seq == self.view.pop(event.channel)
            case Gap():
                assert event.first <= event.last

    @invariant()
    def each_text_stands_once_and_in_order(self) -> None:
        for channel, events in self.server.log.items():
            mine = [event.text for event in events if event.sender == ME]
            order = [self.posted[channel].index(text) for text in mine]
            assert order == sorted(set(order)), f"numbered twice or out of order: {mine}"

    @invariant()
    def proven_absent_stays_absent(self) -> None:
        stored = {event.id for events in self.server.log.values() for event in events}
        assert not stored & set(self.reborn)

    def teardown(self) -> None:
        """When everything works again, everything is settled and everything is shown."""
        if not hasattr(self, "server"):
            return
        for channel in CHANNELS:
            self.server.add(channel)
            # A swallowed event shows at the next one, so there has to be a next one.
            self.others_say(channel, "the last word")
        for _ in range(400):
            if not self.server.connected:
                self.connect(0)
            self.time_passes(100)
            while self.up:
                self.server_takes("append")
            for channel in CHANNELS:
                self.server.write(channel, 1000)
                self.server.stored[channel] = self.server.head(channel)
            while self.server.down and self.server.connected:
                self.read_one()
            for _ in range(10):
                if self.filling:
                    self.gap_page(1000, False)
                if self.asked:
                    self.history_answers()
            caught_up = all(self.view.get(channel) == self.server.head(channel) for channel in CHANNELS)
            if not self.session.unsettled and caught_up:
                break
        assert self.session.unsettled == []
        assert {channel: self.server.head(channel) for channel in CHANNELS} == self.view
        for ticket, (channel, text) in self.texts.items():
            outcome = self.outcomes[ticket]
            if isinstance(outcome, Resolve):
                assert sum(event.text == text for event in self.server.log[channel]) == 1
            else:
                assert isinstance(outcome, Reject)
                assert outcome.code == "not_a_member"
        self.each_text_stands_once_and_in_order()


TestConversation = Conversation.TestCase
TestConversation.settings = settings(max_examples=200, stateful_step_count=50, deadline=None)
