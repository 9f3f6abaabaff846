"""What REST replies hold. Fields that a newer server adds are ignored."""

from __future__ import annotations

from typing import Generic, TypeVar

import msgspec

from client.model import RawEvent, RawNotice
from services.contract.events import ChannelKind

T = TypeVar("T")


class _Record(msgspec.Struct, frozen=True, kw_only=True):
    pass


class Workspace(_Record, frozen=True, kw_only=True):
    id: str
    slug: str
    name: str


class Status(_Record, frozen=True, kw_only=True):
    text: str = ""
    emoji: str = ""
    expires_at: str | None = None


class User(_Record, frozen=True, kw_only=True):
    """`display_name`: what they would like to be called; empty: their `name`."""

    id: str
    name: str
    role: str
    active: bool = True
    email: str | None = None
    display_name: str = ""
    title: str = ""
    avatar_url: str = ""
    time_zone: str = "UTC"
    status: Status | None = None


class TokenReply(_Record, frozen=True, kw_only=True):
    """`expires_in`: seconds until the access token ends."""

    access_token: str
    refresh_token: str
    expires_in: int


class Login(_Record, frozen=True, kw_only=True):
    """The answer to signing up, logging in and accepting an invitation."""

    workspace: Workspace
    user: User
    tokens: TokenReply
    directory_at: str | None = None


class Me(_Record, frozen=True, kw_only=True):
    user: User
    workspace: Workspace


class LoginSession(_Record, frozen=True, kw_only=True):
    id: str
    device: str = ""
    current: bool = False
    created_at: str = ""
    last_used_at: str = ""


class Invite(_Record, frozen=True, kw_only=True):
    id: str
    email: str
    role: str
    expires_at: str = ""
    channel_ids: list[str] = []


class Invited(_Record, frozen=True, kw_only=True):
    """`token` is what the invited person accepts with; it is shown this once. `link` ends in it."""

    invite: Invite
    token: str
    link: str = ""


class Channel(_Record, frozen=True, kw_only=True):
    """`name` is empty for direct and group channels, and `user_ids` says who is in them; `member`: whether you are."""

    id: str
    kind: ChannelKind
    name: str = ""
    topic: str = ""
    archived: bool = False
    member: bool = True
    user_ids: list[str] | None = None
    default: bool = False
    posting: str = "everyone"
    adding: str = "everyone"
    member_count: int = 0


class ChannelReply(_Record, frozen=True, kw_only=True):
    channel: Channel
    directory_at: str | None = None


class Member(_Record, frozen=True, kw_only=True):
    user_id: str
    name: str
    role: str
    active: bool = True


class MembersAdded(_Record, frozen=True, kw_only=True):
    added: list[str]
    directory_at: str | None = None


class Changed(_Record, frozen=True, kw_only=True):
    """`directory_at`: give it to a send, and the node that takes it waits until it knows of this change."""

    directory_at: str | None = None


class Posted(_Record, frozen=True, kw_only=True):
    epoch: int
    channel: str
    id: str
    seq: int
    at: int
    duplicate: bool = False


class EventPage(_Record, frozen=True, kw_only=True):
    """Ascending by seq. `head`: the channel's newest number, as far as it is stored."""

    epoch: int
    channel: str
    head: int
    events: list[RawEvent]
    has_more_before: bool = False
    has_more_after: bool = False


class LiveConnection(_Record, frozen=True, kw_only=True):
    """`since`: Unix milliseconds. `active`: whether somebody is at it."""

    node: str
    device: str = ""
    address: str = ""
    since: int = 0
    active: bool = True


class LiveSession(_Record, frozen=True, kw_only=True):
    """A log-in, and its connections now."""

    id: str
    device: str = ""
    current: bool = False
    created_at: str = ""
    last_used_at: str = ""
    connections: list[LiveConnection] = []


class MySessions(_Record, frozen=True, kw_only=True):
    """`presence`: active, away or offline, as others see you."""

    presence: str
    away: bool
    sessions: list[LiveSession]


class Node(_Record, frozen=True, kw_only=True):
    name: str
    heard_seconds: float


class Nodes(_Record, frozen=True, kw_only=True):
    items: list[Node]


class OpenConnection(_Record, frozen=True, kw_only=True):
    """A connection of somebody of the workspace at one node."""

    user: str
    session: str
    remote: str
    state: str
    since: int
    buffered_bytes: int = 0
    lagging_events: int = 0


class OpenConnections(_Record, frozen=True, kw_only=True):
    items: list[OpenConnection]
    next_cursor: int | None = None


class Marker(_Record, frozen=True, kw_only=True):
    """What comes after `seq` is unread. `notices`: the number of the notice that says so, if anything has changed."""

    seq: int
    head: int
    notices: int | None = None


class Followed(_Record, frozen=True, kw_only=True):
    following: bool
    notices: int | None = None


class SyncedChannel(_Record, frozen=True, kw_only=True):
    """A channel that you are in. `unread`, `mentions`: after `marker`; 1,000 means more than 999."""

    id: str
    kind: ChannelKind
    head: int
    marker: int
    unread: int
    mentions: int
    name: str = ""
    topic: str = ""
    archived: bool = False
    user_ids: list[str] | None = None
    muted: bool = False
    level: str = "all"


class Sync(_Record, frozen=True, kw_only=True):
    """Everything that a client starts with; `LockstepClient.begin_at` goes on from here."""

    me: Me
    epoch: int
    notices: int
    channels: list[SyncedChannel]
    threads_unread: int = 0


class Announced(_Record, frozen=True, kw_only=True):
    """`addressed`: how many people; None for everybody."""

    addressed: int | None = None


class NoticePage(_Record, frozen=True, kw_only=True):
    """Your notices, ascending; everything up to `position` was looked at, of a stream that goes up to `head`."""

    epoch: int
    position: int
    head: int
    notices: list[RawNotice]


class Realtime(_Record, frozen=True, kw_only=True):
    """`token` opens WebSocket connections to any of `nodes` for `expires_in` seconds, without the web app's help."""

    token: str
    expires_in: int
    epoch: int
    nodes: list[str]
    directory_at: str | None = None


class Page(_Record, Generic[T], frozen=True, kw_only=True):
    """One page of a list; `next_cursor` is None on the last."""

    items: list[T]
    next_cursor: str | None = None
