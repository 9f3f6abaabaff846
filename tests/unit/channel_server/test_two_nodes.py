"""Two nodes on one log, clients that move between them: everybody is shown the same, exactly, whatever the pace.

The log is a list; each node reads it, and the directory, at a pace of its own. Clients connect to either node with
what they have, send, read slowly, go away and come back. Long random runs, each repeatable by its seed: what goes wrong
here takes many steps to come about.
"""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from channel_server.core.limits import Limits
from channel_server.core.node import Node
from channel_server.core.session import Session
from services.contract.directory import DirectoryRecord, KeyRecord, MemberRecord, UserRecord
from services.contract.envelope import Envelope, digest_of, partition_of
from services.contract.events import MembersAdded, MembersRemoved, encode_event
from services.contract.ids import born_ms, new_event_id
from services.contract.tokens import Claims, sign_token
from services.eventlog.records import LogRecord
from services.eventlog.sequencer import Sequencer
from tests.unit.channel_server.fakes import FakeClock, FakeLink, FakeLog, channel_id, user_id
from tests.unit.channel_server.world import GENERATION, KEY, PEM, WORKSPACE

CHANNELS = [channel_id(n) for n in range(2)]
USERS = [user_id(n) for n in range(3)]


class Reader:
    """One of the two nodes: how far it has read."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.log = FakeLog()
        self.start()

    def start(self) -> None:
        """Also after a crash: everything from the beginning."""
        self.log.appended.clear()
        self.read = dict.fromkeys(range(GENERATION.partitions), 0)
        self.read_directory = 0
        self.node = Node(
            epoch=GENERATION.epoch,
            sequencers={p: Sequencer(GENERATION) for p in range(GENERATION.partitions)},
            clock=self.clock,
            log=self.log,
            limits=Limits(high_water=600, chunk=900, slice=2, connection_burst=1e6, user_burst=1e6),
            ring_bytes=4000,
            other_nodes=[],
            rng=random.Random(1),
        )


class Person:
    """A client program: where its view stands, and what it was told of its sends."""

    def __init__(self, user: str) -> None:
        self.user = user
        self.views: dict[str, int] = {}
        self.session: Session | None = None
        self.link = FakeLink()
        self.node: Reader | None = None
        self.acked: dict[str, int] = {}
        self.unanswered: dict[str, tuple[str, str]] = {}


class TwoNodes:
    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.clock = FakeClock()
        self.nodes = [Reader(self.clock), Reader(self.clock)]
        self.log: dict[int, list[LogRecord]] = {p: [] for p in range(GENERATION.partitions)}
        self.directory: list[DirectoryRecord] = [KeyRecord(kid="k", public_key=PEM, active=True, version=1)]
        self.version = 1
        for user in USERS:
            self.directory.append(
                UserRecord(id=user, workspace_id=WORKSPACE, name="", active=True, version=self._next())
            )
            for channel in CHANNELS:
                self.directory.append(
                    MemberRecord(channel_id=channel, user_id=user, member=True, version=self._next())
                )
        for reader in self.nodes:
            self._read_directory(reader)
        self.people = [Person(user) for user in USERS]
        self.shown: dict[tuple[str, int], dict[str, Any]] = {}

    def _next(self) -> int:
        self.version += 1
        return self.version

    # clients

    def connect(self) -> None:
        person, reader, resumes = self._person(), self._node(), self.rng.random() < 0.85
        self._disconnect(person)
        person.link, person.node = FakeLink(), reader
        person.session = reader.node.connected(person.link)
        now = self.clock.wall_ms() // 1000
        token = sign_token(KEY, "k", "realtime", Claims(person.user, WORKSPACE, "s", now + 3600), now=now)
        frame: dict[str, object] = {"type": "connect", "token": token}
        if resumes:
            frame["resume"] = {"epoch": GENERATION.epoch, "channels": person.views}
        else:
            person.views = {}
        person.session.received(json.dumps(frame))
        self._hear(person)
        for id, (channel, text) in person.unanswered.items():
            self._say(person, channel, text, id)

    def disconnect(self) -> None:
        self._disconnect(self._person())

    def say(self) -> None:
        person, channel = self._person(), self._channel()
        for _ in range(self.rng.randint(1, 4)):
            if person.session is not None:
                id = new_event_id(self.clock.wall_ms())
                person.unanswered[id] = (channel, "words")
                self._say(person, channel, "words", id)

    def _say(self, person: Person, channel: str, text: str, id: str) -> None:
        assert person.session is not None
        person.session.received(json.dumps({"type": "send", "channel": channel, "id": id, "text": text}))

    def stop_reading(self) -> None:
        self._person().link.reads = False

    def read_again(self) -> None:
        self._drain(self._person())

    # the log and the directory

    def the_log_takes(self) -> None:
        """What a node has handed over enters the log; sometimes twice, because an answer was lost."""
        self._take(self._node(), self.rng.choice((1, 1, 2)), self.rng.random() < 0.8)

    def _take(self, reader: Reader, copies: int, confirmed: bool) -> None:
        appended, reader.log.appended = reader.log.appended, []
        for outgoing, stamped, value in appended:
            for _ in range(copies):
                self._append(outgoing.channel, outgoing.sender, outgoing.id, stamped, value)
            outgoing.confirmed = confirmed

    def _append(self, channel: str, sender: str, id: str, stamped: int, value: bytes) -> None:
        partition = partition_of(channel, GENERATION.partitions)
        records = self.log[partition]
        envelope = Envelope(channel, sender, id, stamped, born_ms(id))
        now = self.clock.wall_ms()
        records.append(LogRecord(partition, len(records), now, envelope, value, digest_of(value)))

    def an_append_fails(self) -> None:
        reader = self._node()
        partition = self.rng.randrange(GENERATION.partitions)
        reader.log.appended = [
            each
            for each in reader.log.appended
            if partition_of(each[0].channel, GENERATION.partitions) != partition
        ]
        reader.node.appends_failed(partition)

    def membership(self) -> None:
        channel, user, member = self._channel(), self.rng.choice(USERS), self.rng.random() < 0.65
        version = self._next()
        self.directory.append(MemberRecord(channel_id=channel, user_id=user, member=member, version=version))
        kind = MembersAdded if member else MembersRemoved
        event = encode_event(kind(user_ids=[user], version=version))
        self._append(channel, USERS[0], new_event_id(self.clock.wall_ms()), self.clock.wall_ms(), event)
        if self.rng.random() < 0.3:
            self._read_directory(self._node())

    def tail(self) -> None:
        reader, partition, records = self._node(), self.rng.choice(list(self.log)), self.rng.randint(1, 6)
        self._to_the_end(reader.node.show)
        begin = reader.read[partition]
        batch = self.log[partition][begin : begin + records]
        reader.read[partition] += len(batch)
        reader.node.records(partition, batch)

    def directory_tail(self) -> None:
        self._read_directory(self._node())

    def _read_directory(self, reader: Reader) -> None:
        reader.node.directory_records(self.directory[reader.read_directory :])
        reader.read_directory = len(self.directory)
        reader.node.proven(dict.fromkeys(range(GENERATION.partitions), self.clock.now), self.clock.now)

    def step(self) -> None:
        reader = self._node()
        reader.node.show()
        reader.node.catch_up()

    def crash(self) -> None:
        reader = self._node()
        for person in self.people:
            if person.node is reader:
                self._disconnect(person)
        reader.start()
        self._read_all(reader)

    def time_passes(self) -> None:
        self.clock.now += self.rng.choice((0.1, 1.1, 3.0))
        for reader in self.nodes:
            reader.node.proven(dict.fromkeys(range(GENERATION.partitions), self.clock.now), self.clock.now)
            reader.node.tick()

    # what must be true

    def everybody_is_shown_the_same_exactly(self) -> None:
        for person in self.people:
            self._hear(person)

    def _hear(self, person: Person) -> None:
        for frame in person.link.take():
            channel = frame.get("channel", "")
            if frame["type"] == "welcome":
                for opened, head in frame["heads"].items():
                    person.views.setdefault(opened, head)
            elif frame["type"] == "event":
                assert frame["seq"] == person.views[channel] + 1
                person.views[channel] = frame["seq"]
                known = self.shown.setdefault((channel, frame["seq"]), frame)
                assert frame == known, "two people were shown different events under one number"
            elif frame["type"] == "gap":
                assert frame["from"] == person.views[channel] + 1
                person.views[channel] = frame["to"]
            elif frame["type"] == "opened":
                assert channel not in person.views
                person.views[channel] = frame["head"]
            elif frame["type"] == "closed":
                assert frame["last_seq"] == person.views.pop(channel)
            elif frame["type"] == "ack":
                id = frame["id"]
                assert person.acked.setdefault(id, frame["seq"]) == frame["seq"]
                person.unanswered.pop(id, None)
            elif frame["type"] == "refused":
                assert frame["code"] in ("not_a_member", "log_unavailable")
                if frame["code"] == "not_a_member":
                    person.unanswered.pop(frame["id"], None)
            else:
                raise AssertionError(frame)

    def quiet_in_the_end(self) -> None:
        """Everything arrives everywhere; then every view is complete and every send answered."""
        for _ in range(3):
            for reader in self.nodes:
                self._take(reader, 1, True)
            for reader in self.nodes:
                self._read_all(reader)
            self.clock.now += 1.5
            for person in self.people:
                self._drain(person)
            for reader in self.nodes:
                reader.node.proven(
                    dict.fromkeys(range(GENERATION.partitions), self.clock.now), self.clock.now
                )
                reader.node.tick()
                self._to_the_end(reader.node.catch_up)
        for person in self.people:
            self._hear(person)
            for id, seq in person.acked.items():
                (number,) = [n for (_, n), frame in self.shown.items() if frame["id"] == id] or [seq]
                assert number == seq, "an ack is the number that everybody is shown"
            if person.session is None or person.link.closed is not None:
                continue
            assert not person.unanswered, "every send is answered"
            assert person.node is not None
            state = person.node.node.state
            for channel in CHANNELS:
                if state.directory.membership(channel, person.user) & 1:
                    assert person.views[channel] == state.numbering.head(channel)
                else:
                    assert channel not in person.views

    def _read_all(self, reader: Reader) -> None:
        self._read_directory(reader)
        for partition, records in self.log.items():
            self._to_the_end(reader.node.show)
            reader.node.records(partition, records[reader.read[partition] :])
            reader.read[partition] = len(records)
        self._to_the_end(reader.node.show)
        self._to_the_end(reader.node.catch_up)

    def _disconnect(self, person: Person) -> None:
        self._hear(person)
        if person.session is not None and person.node is not None:
            person.node.node.disconnected(person.session)
        person.session = None

    def _drain(self, person: Person) -> None:
        person.link.reads, person.link.unread = True, 0
        if person.session is not None and person.node is not None:
            person.node.node.drained(person.session)

    @staticmethod
    def _to_the_end(step: Any) -> None:
        for _ in range(1000):
            if not step():
                return
        raise AssertionError("it never ends")

    def _person(self) -> Person:
        return self.rng.choice(self.people)

    def _node(self) -> Reader:
        return self.rng.choice(self.nodes)

    def _channel(self) -> str:
        return self.rng.choice(CHANNELS)


@pytest.mark.parametrize("seed", range(80))
def test_everybody_is_shown_the_same_whatever_happens(seed: int) -> None:
    run = TwoNodes(random.Random(seed))
    weights = {
        run.say: 12,
        run.the_log_takes: 12,
        run.tail: 24,
        run.step: 16,
        run.connect: 8,
        run.disconnect: 1,
        run.stop_reading: 4,
        run.read_again: 6,
        run.membership: 3,
        run.directory_tail: 4,
        run.an_append_fails: 1,
        run.crash: 1,
        run.time_passes: 3,
    }
    acts = list(weights)
    for act in run.rng.choices(acts, list(weights.values()), k=400):
        act()
        run.everybody_is_shown_the_same_exactly()
    run.quiet_in_the_end()
    assert run.shown, "a run in which nothing happens proves nothing"
