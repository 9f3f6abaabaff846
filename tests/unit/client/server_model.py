"""A server made of lists: one partition folded by the real sequencer, one WebSocket, and history that lags behind.

Everything that goes wrong between a client and Lockstep can be done to it by hand: frames lost with their connection,
records that a frozen node appends long after, answers that never come, a ring that has moved on, a slow persister.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from client.model import RawEvent
from services.contract import frames
from services.contract.envelope import Envelope, digest_of
from services.contract.events import MessagePosted, encode_event
from services.contract.generation import Generation
from services.contract.ids import born_ms
from services.eventlog.sequencer import Kind, Sequencer

ME = "usr_" + "1" * 32
OTHER = "usr_" + "2" * 32
CHANNELS = ("ch_" + "a" * 32, "ch_" + "b" * 32)


class Stored(NamedTuple):
    seq: int
    id: str
    sender: str
    at: int
    text: str


class NotYet(Exception):
    """History does not reach so far yet."""


class Gone(Exception):
    """Not a member."""


class ServerModel:
    """`t` is everybody's true time, Unix ms."""

    def __init__(self, epoch: int = 1) -> None:
        self.epoch = epoch
        self.t = 1_700_000_000_000
        self._fold = Sequencer(Generation(epoch=epoch), now=self.t)
        self._offset = 0
        self.log: dict[str, list[Stored]] = {channel: [] for channel in CHANNELS}
        self.stored = dict.fromkeys(CHANNELS, 0)  # how far history reaches
        self.members = set(CHANNELS)
        self.connected = False
        self.down: list[frames.ServerFrame] = []
        self.position: dict[str, int] = {}  # of each open channel, what was written to the connection
        self.adrift: list[tuple[str, str, str]] = []  # (channel, id, text) that some node may still append

    def head(self, channel: str) -> int:
        return len(self.log[channel])

    # --- the log ----------------------------------------------------------------------------------------------

    def append(self, channel: str, sender: str, id: str, text: str) -> frames.Ack | frames.Refused | None:
        """The record is in the log; gives the frame that answers it."""
        body = encode_event(MessagePosted(text=text))
        envelope = Envelope(channel, sender, id, self.t, born_ms(id))
        verdict = self._fold.apply(self._offset, self.t, envelope, digest_of(body))
        self._offset += 1
        match verdict.kind:
            case Kind.NUMBERED:
                assert verdict.seq is not None
                self.log[channel].append(Stored(verdict.seq, id, sender, verdict.now, text))
                return frames.Ack(channel=channel, id=id, seq=verdict.seq, at=verdict.now)
            case Kind.DUPLICATE:
                assert verdict.seq is not None
                return frames.Ack(channel=channel, id=id, seq=verdict.seq, at=verdict.now, duplicate=True)
            case Kind.EXPIRED:
                return self.refusal(channel, id, "expired", head=verdict.head, now=verdict.now)
            case Kind.FUTURE:
                return self.refusal(channel, id, "future", now=verdict.now)
            case Kind.ID_REUSED:
                return self.refusal(channel, id, "id_reused")

    @staticmethod
    def refusal(
        channel: str,
        id: str,
        code: str,
        *,
        head: int | None = None,
        now: int | None = None,
        after: int | None = None,
    ) -> frames.Refused:
        return frames.Refused(
            channel=channel, id=id, code=code, message=code, head=head, now=now, retry_after_ms=after
        )

    # --- the connection ---------------------------------------------------------------------------------------

    def connect(self, frame: frames.Connect, *, lost: int = 0, lag: int = 0) -> None:
        """`lost`: how many events of what a resume lacks the ring no longer holds. `lag`: how far this node is behind."""
        self.connected = True
        self.down.clear()
        self.position.clear()
        named: dict[str, int] = {}
        if frame.resume is not None:
            if frame.resume.epoch == self.epoch:
                named = frame.resume.channels
            else:
                self.down.append(frames.Reset(epoch=self.epoch))
        known = {channel: max(0, self.head(channel) - lag) for channel in sorted(self.members)}
        heads = {channel: head for channel, head in known.items() if named.get(channel) != head}
        self.down.append(
            frames.Welcome(
                session="ses",
                user=ME,
                epoch=self.epoch,
                server_time=self.t,
                heartbeat_ms=10_000,
                first_heartbeat_ms=5_000,
                heads=heads,
                nodes=[],
            )
        )
        for channel, cursor in named.items():
            if channel not in self.members:
                self.down.append(frames.Closed(channel=channel, last_seq=0))
                continue
            self.position[channel] = cursor
            self.skip(channel, lost)
        for channel, head in heads.items():
            self.position.setdefault(channel, head)

    def skip(self, channel: str, count: int) -> None:
        """The ring has moved past the next `count` events of this channel (or fewer, if there are fewer)."""
        position = self.position[channel]
        to = min(position + count, self.head(channel))
        if to > position:
            self.down.append(frames.Gap(channel=channel, from_=position + 1, to=to))
            self.position[channel] = to

    def write(self, channel: str, count: int) -> None:
        """Write the next `count` events of a channel to the connection."""
        if channel not in self.position:
            return
        position = self.position[channel]
        for event in self.log[channel][position : position + count]:
            self.down.append(event_frame(channel, event))
            self.position[channel] = event.seq

    def remove(self, channel: str) -> None:
        self.members.discard(channel)
        if channel in self.position:
            self.down.append(frames.Closed(channel=channel, last_seq=self.position.pop(channel)))

    def add(self, channel: str, lag: int = 0) -> None:
        self.members.add(channel)
        if self.connected and channel not in self.position:
            head = self.position[channel] = max(0, self.head(channel) - lag)
            self.down.append(frames.Opened(channel=channel, head=head))

    def take(self, send: frames.Send) -> None:
        """A send arrives and is appended at once."""
        if send.channel not in self.members:
            self.down.append(self.refusal(send.channel, send.id, "not_a_member"))
            return
        answer = self.append(send.channel, ME, send.id, send.text)
        if answer is not None:
            self.down.append(answer)

    # --- history ----------------------------------------------------------------------------------------------

    def history(self, channel: str, after: int, limit: int, at_least: int) -> list[RawEvent]:
        if channel not in self.members:
            raise Gone
        if self.stored[channel] < at_least:
            raise NotYet
        return [
            raw_event(event) for event in self.log[channel][: self.stored[channel]][after : after + limit]
        ]


def body_of(event: Stored) -> msgspec.Raw:
    return msgspec.Raw(encode_event(MessagePosted(text=event.text)))


def event_frame(channel: str, event: Stored) -> frames.EventFrame:
    return frames.EventFrame(
        channel=channel, seq=event.seq, id=event.id, sender=event.sender, at=event.at, event=body_of(event)
    )


def raw_event(event: Stored) -> RawEvent:
    return RawEvent(seq=event.seq, id=event.id, sender=event.sender, at=event.at, event=body_of(event))
