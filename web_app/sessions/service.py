"""What the database knows of log-ins, joined with what the channel servers know of connections."""

from __future__ import annotations

from collections import defaultdict
from typing import Final

import msgspec

from services.contract.internal import ConnectionPage, NodeList, SetPresence, UserPresence
from services.contract.tokens import Claims
from web_app.auth import repository
from web_app.auth.repository import Viewer, find_viewer
from web_app.parts import Parts
from web_app.permissions import require
from web_app.sessions.schemas import (
    ConnectionsQuery,
    LiveConnection,
    LiveSession,
    MySessions,
    NodeItem,
    Nodes,
    OpenConnection,
    OpenConnections,
)

_MOST: Final = 500
"""Log-ins that are shown."""


async def my_sessions(parts: Parts, claims: Claims) -> MySessions:
    """Raises ApiError no_channel_server."""
    async with parts.database.reading() as db:
        viewer = await find_viewer(db, claims)
        rows = await repository.list_sessions(db, viewer.user_id, "", _MOST)
    known = await parts.channel_servers.ask(
        "GET", "/internal/v1/presence", UserPresence, params={"user": viewer.user_id}
    )
    connections: defaultdict[str, list[LiveConnection]] = defaultdict(list)
    for live in known.sessions:
        connections[live.session].append(
            LiveConnection(
                node=live.node,
                device=live.device,
                address=live.address,
                since=live.since,
                active=live.active,
            )
        )
    sessions = [
        LiveSession(
            id=row.id,
            device=row.device,
            current=row.id == viewer.session_id,
            created_at=row.created_at,
            last_used_at=row.last_used_at,
            connections=connections[row.id],
        )
        for row in rows[:_MOST]
    ]
    return MySessions(presence=known.state, away=known.away, sessions=sessions)


async def set_away(parts: Parts, claims: Claims, away: bool) -> None:
    """Raises ApiError no_channel_server."""
    async with parts.database.reading() as db:
        viewer = await find_viewer(db, claims)
    body = msgspec.json.encode(SetPresence(user=viewer.user_id, away=away))
    await parts.channel_servers.ask("POST", "/internal/v1/presence", type(None), content=body)


async def nodes(parts: Parts, claims: Claims) -> Nodes:
    """Raises ApiError forbidden, no_channel_server."""
    await _admin(parts, claims)
    found = await parts.channel_servers.ask("GET", "/internal/v1/nodes", NodeList)
    return Nodes(items=[NodeItem(name=each.name, heard_seconds=each.heard_seconds) for each in found.items])


async def connections(parts: Parts, claims: Claims, wanted: ConnectionsQuery) -> OpenConnections:
    """Of the viewer's workspace, and of no other. Raises ApiError forbidden, not_found, no_channel_server."""
    viewer = await _admin(parts, claims)
    asked = {
        "workspace": viewer.workspace_id,
        "limit": str(wanted.limit),
        "cursor": str(wanted.cursor),
        "user": wanted.user,
        "state": wanted.state,
    }
    page = await parts.channel_servers.ask(
        "GET",
        "/internal/v1/connections",
        ConnectionPage,
        params={name: value for name, value in asked.items() if value is not None},
        node=wanted.node,
    )
    items = [
        OpenConnection(
            user=each.user,
            session=each.session,
            remote=each.remote,
            state=each.state,
            since=each.since,
            opened_at=each.opened_at,
            buffered_bytes=each.buffered_bytes,
            lagging_events=each.lagging_events,
            heard_seconds=each.heard_seconds,
        )
        for each in page.items
    ]
    following = int(page.next_cursor) if page.next_cursor is not None else None
    return OpenConnections(items=items, next_cursor=following)


async def _admin(parts: Parts, claims: Claims) -> Viewer:
    async with parts.database.reading() as db:
        viewer = await find_viewer(db, claims)
    require("connections.see", viewer.role)
    return viewer
