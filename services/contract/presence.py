"""Records of the topics `sessions.<epoch>` and `ephemeral.<epoch>`: who is connected where, and who is typing.

`sessions` (one partition, compacted) is a view of the moment, by key:

    usr_...:<incarnation>   that node's live sessions of the person; a tombstone when there are none
    node:<incarnation>      the node's heartbeat
    away:usr_...            the person says that they are away, on whatever device; a tombstone when no longer

An incarnation is one run of a channel server. What dead ones left behind is removed by the living. `ephemeral` (key:
channel) is kept for minutes and never replayed: what is late is of no use.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal, TypeVar

import msgspec
from msgspec import Meta

from services.contract.events import UserId

PresenceState = Literal["active", "away", "offline"]

AWAY: Final = "away"
"""What the keys begin with that say of a person that they are away."""

MAX_SESSIONS: Final = 50
"""Live sessions of one person that one node tells of."""


class LiveSession(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One connection. `device`: what the client calls itself. `address`: of its peer. `since`: Unix milliseconds."""

    session: str
    device: str = ""
    address: str = ""
    since: int = 0
    active: bool = True


class UserSessions(msgspec.Struct, frozen=True, kw_only=True):
    """All live sessions that one person has at one node."""

    sessions: Annotated[list[LiveSession], Meta(max_length=MAX_SESSIONS)]


class NodeBeat(msgspec.Struct, frozen=True, kw_only=True):
    """A node lives. `at`: its clock, Unix milliseconds, for people to read."""

    name: str
    at: int


class Away(msgspec.Struct, frozen=True, kw_only=True):
    since: int


class TypingRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Somebody types in a channel (the record's key), or in the thread of the message `thread`."""

    user: UserId
    thread: int | None = None


Record = TypeVar("Record")

_encoder = msgspec.json.Encoder()


def encode(record: UserSessions | NodeBeat | Away | TypingRecord) -> bytes:
    """The record's value."""
    return _encoder.encode(record)


def decode(value: bytes, kind: type[Record]) -> Record | None:
    """None for what is no such record: of a later release, or not ours. It concerns nobody then."""
    try:
        return msgspec.json.decode(value, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def sessions_key(user_id: str, incarnation: str) -> str:
    return f"{user_id}:{incarnation}"


def node_key(incarnation: str) -> str:
    return f"node:{incarnation}"


def away_key(user_id: str) -> str:
    return f"{AWAY}:{user_id}"
