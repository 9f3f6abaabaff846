"""People at a node: their sessions as the registry tells of them, who watches whom, who is typing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple, Protocol

from channel_server.core.audience import Subscriber
from channel_server.core.delivery import Delivery
from channel_server.core.directory import Directory
from channel_server.core.presence import Presence, Told
from channel_server.core.registry import Registry
from channel_server.core.typing import Typists
from services.contract.frames import Activity, SetAway, Typing, Watch
from services.contract.presence import LiveSession, TypingRecord, decode, encode

IDLE: Final = 1_800.0
"""Seconds without anything but heartbeats after which a session is taken for idle."""

_LOOK_EVERY: Final = 10.0
_JUDGE_EVERY: Final = 1.0


MOST_FLEETING: Final = 2_000
"""Records for `ephemeral` that wait to be written: when nobody takes them, because the log is away, there are no more."""


class Member(Protocol):
    """A connection, as its person is told of by the registry (`session.Session`)."""

    active: bool
    active_at: float
    user_id: str

    @property
    def told(self) -> LiveSession: ...


class Fleeting(NamedTuple):
    """A record of the topic `ephemeral`; the key is a channel."""

    key: str
    value: bytes


class Company:
    """`members_of(user_id)`: the person's connections here that are up."""

    def __init__(
        self,
        *,
        incarnation: str,
        node_name: str,
        directory: Directory,
        delivery: Delivery,
        members_of: Callable[[str], Sequence[Member]],
    ) -> None:
        self._directory = directory
        self._delivery = delivery
        self._members_of = members_of
        self.presence = Presence(
            Registry(incarnation),
            directory,
            node_name,
            self._sessions_of,
            lambda: delivery.users,
            delivery.put,
        )
        self.typists = Typists(delivery.live_in, delivery.put)
        self._fleeting: list[Fleeting] = []
        self._look_at = 0.0
        self._judge_at = 0.0

    def _sessions_of(self, user_id: str) -> list[LiveSession]:
        return [member.told for member in self._members_of(user_id)]

    def here(self, channel: str) -> list[str]:
        """The members of a channel who are active, at whatever node."""
        return self.presence.active_in(channel, self._directory.workspace_id_of(channel))

    # --- sessions ----------------------------------------------------------------------------------------------------

    def joined(self, member: Member) -> None:
        self.presence.changed(member.user_id)

    def left(self, member: Member, subscriber: Subscriber) -> None:
        self.presence.unwatch(subscriber)
        self.presence.changed(member.user_id)

    def is_active(self, member: Member, now: float, active: bool = True) -> None:
        """The person has done something at this session, or says that they are not at it."""
        member.active_at = now
        if member.active != active:
            member.active = active
            self.presence.changed(member.user_id)

    def received(
        self,
        member: Member,
        subscriber: Subscriber,
        frame: Watch | Activity | SetAway | Typing,
        now: float,
        wall_ms: int,
    ) -> None:
        """A frame about people."""
        match frame:
            case Watch(users=users):
                self.presence.watch(subscriber, users, now)
            case Activity(active=active):
                self.is_active(member, now, active)
            case SetAway(away=away):
                self.presence.set_away(member.user_id, away, wall_ms)
            case Typing(channel=channel, thread=thread):
                self.is_active(member, now)
                self._types(member.user_id, channel, thread, now)

    def _types(self, user_id: str, channel: str, thread: int | None, now: float) -> None:
        directory, counts = self._directory, self.typists.counts
        if not directory.may_post(channel, user_id) or directory.is_archived(channel):
            counts["not_allowed"] += 1
        elif directory.members_in(channel) > directory.workspace_of(user_id).typing_limit:
            counts["too_many_members"] += 1
        elif len(self._fleeting) >= MOST_FLEETING:
            counts["crowded"] += 1
        elif self.typists.tells(user_id, (channel, thread), now):
            self._fleeting.append(Fleeting(channel, encode(TypingRecord(user=user_id, thread=thread))))

    # --- the topics --------------------------------------------------------------------------------------------------

    def tell(self, now: float, wall_ms: int) -> list[Told]:
        """Records for `sessions`."""
        return self.presence.tell(now, wall_ms)

    def take_fleeting(self) -> list[Fleeting]:
        """Records for `ephemeral`; whoever cannot write them throws them away."""
        taken, self._fleeting = self._fleeting, []
        return taken

    def typing_heard(self, channel: str, value: bytes, now: float) -> None:
        """A record of `ephemeral`. It is shown only of who is in the channel."""
        record = decode(value, TypingRecord)
        if record is not None and self._directory.membership(channel, record.user) & 1:
            self.typists.heard(record.user, (channel, record.thread), now)

    # --- time --------------------------------------------------------------------------------------------------------

    def tick(self, now: float, members: Iterable[Member]) -> None:
        """Several times a second; `show` follows."""
        self.presence.show(now)
        self.typists.show(now)
        if now >= self._judge_at:
            self._judge_at = now + _JUDGE_EVERY
            self.presence.judge(now)
        if now >= self._look_at:
            self._look_at = now + _LOOK_EVERY
            for member in members:
                if member.user_id and member.active and now - member.active_at > IDLE:
                    member.active = False
                    self.presence.changed(member.user_id)
