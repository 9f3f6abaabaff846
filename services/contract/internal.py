"""The channel server's internal API, through which web_app appends: what goes in and what comes out.

`POST /internal/v1/events` with `Authorization: Bearer <service token>`: 201 and `AppendReply`, or a problem
detail (RFC 9457) whose `code` is one of `codes.ERRORS`, with `head`, `now` and `retry_after_ms` as in `Refused`.
Safe to repeat with the same id.

`GET /internal/v1/presence?user=`, `POST /internal/v1/presence` and `GET /internal/v1/nodes`, likewise authorized: what the
session registry knows, the same at every node, and a person's word on whether they are away.

`GET /internal/v1/connections?limit=&cursor=&state=&user=&workspace=`, likewise authorized: 200 and `ConnectionPage`, a look at one
node's connections, those first that are worst off.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from services.contract.events import ChannelId, EventId, UserId
from services.contract.presence import PresenceState


class AppendRequest(msgspec.Struct, frozen=True, kw_only=True):
    """`event` is an event's JSON. The caller has decided that `sender` may do this."""

    channel: ChannelId
    sender: UserId
    id: EventId
    event: msgspec.Raw


class AppendReply(msgspec.Struct, frozen=True, kw_only=True):
    epoch: int
    channel: str
    id: str
    seq: int
    at: int
    duplicate: bool = False


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """RFC 9457 problem details with our stable `code`."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    head: int | None = None
    now: int | None = None
    retry_after_ms: int | None = None


ConnectionState = Literal["connecting", "admitting", "live", "behind", "held", "draining", "closing"]
"""connecting: nothing said yet. admitting: its token waits for the directory. live: shown everything as it comes, or
catching up. behind: its buffer is above the high-water mark, nothing is written to it. held: this node shows nothing to
anybody, because its directory may be out of date. draining: the node is leaving. closing: it was sent a CLOSE."""


class ChannelLag(msgspec.Struct, frozen=True, kw_only=True):
    """One channel in which a connection has not been shown everything. `last`: the seq it was shown last, None before
    the channel was opened to it. `events`: how many are between that and `head`."""

    channel: str
    last: int | None
    head: int
    events: int


class ConnectionInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One connection, as it is at this moment. Times are Unix milliseconds, ages seconds.

    number                  of the connection, counted since the node started
    remote                  address and port of its peer (a proxy's, where there is one)
    since                   when it came into this state
    lagging_channels, lagging_events    where it stands: channels in which it is behind, and events that it lacks there
    lag                     at most five of those channels, the longest first; `lagging_channels` says whether there are
                            more. In every other channel of its person it has been shown everything, up to the head
    notices                 the number in its workspace's notices up to which it has been shown its own; None before its
                            `welcome`, and where the workspace is not known here yet
    lagging_notices         numbers between that and the newest notice, whomever they address; 0: it is at the head
    buffered_bytes          written, and not taken by the kernel: bounded
    kernel_bytes            taken by the kernel, and not acknowledged by the client's: bounded by the socket's buffer
    oldest_unsent_seconds   age of the oldest thing that it has not been sent: bytes in its buffer, or an event
    unacknowledged          its sends without an answer
    heard_seconds           since its last message
    """

    number: int
    user: str
    session: str
    remote: str
    state: ConnectionState
    since: int
    opened_at: int
    lagging_channels: int
    lagging_events: int
    lag: tuple[ChannelLag, ...]
    notices: int | None
    lagging_notices: int
    buffered_bytes: int
    kernel_bytes: int
    oldest_unsent_seconds: float
    unacknowledged: int
    heard_seconds: float


class ConnectionPage(msgspec.Struct, frozen=True, kw_only=True):
    """`total`: connections that fit the question. `next_cursor`: None on the last page. The order is that of the moment,
    so that between two pages a connection may change places."""

    items: tuple[ConnectionInfo, ...]
    total: int
    next_cursor: str | None


class SessionInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One live connection of a person, at whatever node. `since`: Unix milliseconds."""

    session: str
    node: str
    device: str
    address: str
    since: int
    active: bool


class UserPresence(msgspec.Struct, frozen=True, kw_only=True):
    """Answer of `GET /internal/v1/presence?user=`: what any node knows of a person. `away`: they say so themselves."""

    user: str
    state: PresenceState
    away: bool
    sessions: tuple[SessionInfo, ...]


class SetPresence(msgspec.Struct, frozen=True, kw_only=True):
    """Body of `POST /internal/v1/presence`: a person says whether they are away. 202."""

    user: UserId
    away: bool


class NodeInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A living node: seconds since its heartbeat was heard, people connected to it (of all workspaces)."""

    name: str
    heard_seconds: float
    people: int


class NodeList(msgspec.Struct, frozen=True, kw_only=True):
    """Answer of `GET /internal/v1/nodes`."""

    items: tuple[NodeInfo, ...]
