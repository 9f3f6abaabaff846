"""Sessions and connections as they travel."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any, Final

from pydantic import Field, StrictBool

from services.contract.internal import ConnectionState
from services.contract.presence import PresenceState
from web_app.fields import Body, Reply, UserId, examples

_CONNECTION: Final[dict[str, Any]] = {
    "node": "node-1",
    "device": "lockstep-python",
    "address": "192.0.2.7:50312",
    "since": 1_767_605_400_000,
    "active": True,
}
_SESSION: Final[dict[str, Any]] = {
    "id": "ses_0193a1b2c3d47e5f8a9b0c1d2e3f4a5b",
    "device": "laptop",
    "current": True,
    "created_at": "2026-01-05T09:30:00Z",
    "last_used_at": "2026-01-05T10:00:00Z",
    "connections": [_CONNECTION],
}
_OPEN: Final[dict[str, Any]] = {
    "user": "usr_0193a1b2c3d47e5f8a9b0c1d2e3f4a5b",
    "session": "ses_0193a1b2c3d47e5f8a9b0c1d2e3f4a5b",
    "remote": "192.0.2.7:50312",
    "state": "live",
    "since": 1_767_605_400_000,
    "opened_at": 1_767_605_400_000,
    "buffered_bytes": 0,
    "lagging_events": 0,
    "heard_seconds": 3.1,
}


class LiveConnection(Reply):
    """One connection to a channel server. `since`: Unix milliseconds. `active`: whether somebody is at it."""

    model_config = examples(_CONNECTION)

    node: str
    device: str
    address: str
    since: int
    active: bool


class LiveSession(Reply):
    """A log-in that has not ended, and its connections now."""

    model_config = examples(_SESSION)

    id: str
    device: str
    current: bool
    created_at: dt.datetime
    last_used_at: dt.datetime
    connections: list[LiveConnection]


class MySessions(Reply):
    """`presence`: as others see you. `away`: you say so yourself."""

    model_config = examples({"presence": "active", "away": False, "sessions": [_SESSION]})

    presence: PresenceState
    away: bool
    sessions: list[LiveSession]


class PresenceChange(Body):
    model_config = examples({"away": True})

    away: StrictBool


class NodeItem(Reply):
    """A living channel server. `heard_seconds`: since its last heartbeat."""

    model_config = examples({"name": "node-1", "heard_seconds": 1.2})

    name: str
    heard_seconds: float


class Nodes(Reply):
    model_config = examples({"items": [{"name": "node-1", "heard_seconds": 1.2}]})

    items: list[NodeItem]


class ConnectionsQuery(Body):
    """Of one channel server."""

    node: Annotated[str, Field(min_length=1, max_length=100, description="Its name (`GET /v1/nodes`).")]
    user: UserId | None = None
    state: ConnectionState | None = None
    limit: Annotated[int, Field(ge=1, le=200, description="How many at most.")] = 50
    cursor: Annotated[int, Field(ge=0, le=1_000_000, description="`next_cursor` of the page before.")] = 0


class OpenConnection(Reply):
    """A connection of somebody of the workspace. Times are Unix milliseconds."""

    model_config = examples(_OPEN)

    user: str
    session: str
    remote: str
    state: ConnectionState
    since: int
    opened_at: int
    buffered_bytes: int
    lagging_events: int
    heard_seconds: float


class OpenConnections(Reply):
    """Those first that are worst off."""

    model_config = examples({"items": [_OPEN], "next_cursor": None})

    items: list[OpenConnection]
    next_cursor: int | None = None
