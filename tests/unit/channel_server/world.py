"""A node without a world around it: its log is a list, its clients are fake links, its time stands until told."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Container, Mapping, Sequence
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from channel_server.core.limits import Limits
from channel_server.core.node import Node
from channel_server.core.session import Session
from services.contract.directory import KeyRecord, MemberRecord, RevokedRecord, UserRecord
from services.contract.envelope import Envelope, digest_of, partition_of
from services.contract.events import Event, encode_event
from services.contract.generation import Generation
from services.contract.ids import born_ms, new_event_id
from services.contract.notices import Notice, encode_notice, notices_channel
from services.contract.tokens import Audience, Claims, sign_token
from services.eventlog.records import LogRecord
from services.eventlog.sequencer import Sequencer
from tests.unit.channel_server.fakes import FakeClock, FakeLink, FakeLog

WORKSPACE = "ws_" + "f" * 32
SENDER = "usr_" + "e" * 32
GENERATION = Generation(epoch=7, partitions=2)
KEY = Ed25519PrivateKey.generate()
PEM = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


class Client:
    def __init__(self, world: World, user: str, session: str) -> None:
        self.world = world
        self.user = user
        self.session_id = session
        self.link = FakeLink()
        self.session: Session = world.node.connected(self.link)
        self.frames: list[dict[str, Any]] = []

    def says(self, frame: Mapping[str, object] | str) -> list[dict[str, Any]]:
        """Receive a message from it; gives what it was answered at once."""
        self.session.received(frame if isinstance(frame, str) else json.dumps(frame))
        return self.hears()

    def hears(self) -> list[dict[str, Any]]:
        """What it has been sent since the last time."""
        self.world.settle()
        heard = self.link.take()
        self.frames += heard
        return heard

    def connects(
        self, resume: Mapping[str, int] | None = None, notices: int | None = None, **claims: Any
    ) -> list[dict[str, Any]]:
        frame: dict[str, object] = {
            "type": "connect",
            "token": self.world.token(self.user, self.session_id, **claims),
        }
        if resume is not None or notices is not None:
            frame["resume"] = {"epoch": GENERATION.epoch, "channels": dict(resume or {}), "notices": notices}
        return self.says(frame)

    def ended(self) -> int | None:
        """The close code, when the node has closed."""
        return self.link.closed

    def sends(self, channel: str, text: str = "x", id: str = "", **more: object) -> list[dict[str, Any]]:
        chosen = id or self.world.id()
        return self.says({"type": "send", "channel": channel, "id": chosen, "text": text, **more})


class World:
    def __init__(
        self, limits: Limits | None = None, ring_bytes: int = 1 << 20, incarnation: str = "1"
    ) -> None:
        self.clock = FakeClock()
        self.log = FakeLog()
        self.sequencers = {p: Sequencer(GENERATION) for p in range(GENERATION.partitions)}
        self.node = Node(
            epoch=GENERATION.epoch,
            sequencers=self.sequencers,
            clock=self.clock,
            log=self.log,
            limits=limits or Limits(),
            ring_bytes=ring_bytes,
            other_nodes=["ws://other"],
            rng=random.Random(1),
            incarnation=incarnation,
        )
        self.offsets = {p: itertools.count() for p in range(GENERATION.partitions)}
        self.versions = itertools.count(1)
        self.current()
        self.tell(KeyRecord(kid="k", public_key=PEM, active=True, version=next(self.versions)))

    # the directory

    def tell(self, *records: Any) -> None:
        self.node.directory_records(records)

    def user(self, user: str, active: bool = True, workspace: str = WORKSPACE) -> None:
        self.tell(
            UserRecord(id=user, workspace_id=workspace, name="", active=active, version=next(self.versions))
        )

    def member(self, channel: str, user: str, member: bool = True) -> int:
        version = next(self.versions)
        self.tell(MemberRecord(channel_id=channel, user_id=user, member=member, version=version))
        return version

    def revoke(self, session: str) -> None:
        self.tell(RevokedRecord(session_id=session, until_ms=1 << 50, version=next(self.versions)))

    def token(
        self,
        user: str,
        session: str,
        lifetime: int = 3600,
        workspace: str = WORKSPACE,
        kid: str = "k",
        audience: Audience = "realtime",
    ) -> str:
        now = self.clock.wall_ms() // 1000
        return sign_token(KEY, kid, audience, Claims(user, workspace, session, now + lifetime), now=now)

    # the log

    def id(self) -> str:
        return new_event_id(self.clock.wall_ms())

    def append(
        self, channel: str, sender: str, event: Event | bytes, id: str = "", mentions: Sequence[str] = ()
    ) -> None:
        """A record that another node appended comes along in the tail."""
        chosen = id or self.id()
        value = event if isinstance(event, bytes) else encode_event(event)
        now = self.clock.wall_ms()
        partition = partition_of(channel, GENERATION.partitions)
        envelope = Envelope(channel, sender, chosen, now, born_ms(chosen))
        offset = next(self.offsets[partition])
        record = LogRecord(partition, offset, now, envelope, value, digest_of(value), tuple(mentions))
        self.node.records(partition, [record])
        self.settle()

    def notice(self, notice: Notice, workspace: str = WORKSPACE) -> None:
        """A notice comes along in the tail."""
        self.append(notices_channel(workspace), SENDER, encode_notice(notice))

    def gossip(self) -> int:
        """What the node tells in the topics of the moment comes back; gives how many records that were."""
        company = self.node.state.company
        told = company.tell(self.clock.now, self.clock.wall_ms())
        for record in told:
            company.presence.heard(record.key, record.value, self.clock.now)
        fleeting = company.take_fleeting()
        for typed in fleeting:
            company.typing_heard(typed.key, typed.value, self.clock.now)
        return len(told) + len(fleeting)

    def tail(self) -> None:
        """Everything that this node appended comes back."""
        appended, self.log.appended = self.log.appended, []
        for outgoing, _, value in appended:
            self.append(outgoing.channel, outgoing.sender, value, outgoing.id, outgoing.mentions)

    # time

    def current(self) -> None:
        """Both tails are proven to be at their ends now."""
        self.node.proven(self.proofs(), self.clock.now)

    def proofs(self, silent: Container[int] = ()) -> dict[int, float]:
        """Of every partition but the silent ones, whose proofs stay as they are."""
        before = self.node.state.freshness.events_proven
        return {
            partition: before.get(partition, 0.0) if partition in silent else self.clock.now
            for partition in self.node.state.numbering.sequencers
        }

    def passes(self, seconds: float, events: bool = True, directory: bool = True) -> None:
        """Time passes in ticks, with proofs of either tail or without."""
        until = self.clock.now + seconds
        while self.clock.now < until:
            self.clock.now = min(self.clock.now + 0.25, until)
            fresh = self.node.state.freshness
            self.node.proven(
                self.proofs() if events else fresh.events_proven,
                self.clock.now if directory else fresh.directory_proven,
            )
            self.node.tick()
        self.settle()

    def settle(self) -> None:
        while self.node.show():
            pass
        while self.node.catch_up():
            pass

    # clients

    def client(self, user: str, session: str = "ses_1") -> Client:
        return Client(self, user, session)

    def connected(self, user: str, session: str = "ses_1", **options: Any) -> Client:
        client = self.client(user, session)
        answer = client.connects(**options)
        assert "welcome" in types(answer), answer
        return client


def types(frames: list[dict[str, Any]]) -> list[str]:
    return [frame["type"] for frame in frames]
