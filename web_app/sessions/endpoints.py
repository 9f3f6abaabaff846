"""/v1/me/sessions, /v1/me/presence, /v1/nodes and /v1/connections."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from web_app.dependencies import AccessClaims, PartsOfApp
from web_app.permissions import acts
from web_app.problems import problems
from web_app.replies import reply
from web_app.sessions import service
from web_app.sessions.schemas import ConnectionsQuery, MySessions, Nodes, OpenConnections, PresenceChange

router = APIRouter(prefix="/v1", tags=["sessions"])


@router.get(
    "/me/sessions",
    operation_id="list_live_sessions",
    openapi_extra=acts("self"),
    summary="Your log-ins, and where they are connected",
    response_model=MySessions,
    responses=problems("no_channel_server"),
)
async def list_live_sessions(claims: AccessClaims, parts: PartsOfApp) -> Response:
    """`DELETE /v1/sessions/{session_id}` ends one, and closes its connections within a second."""
    return reply(await service.my_sessions(parts, claims))


@router.put(
    "/me/presence",
    operation_id="set_presence",
    openapi_extra=acts("self"),
    summary="Say whether you are away",
    status_code=204,
    responses=problems("no_channel_server", "too_large"),
)
async def set_presence(wanted: PresenceChange, claims: AccessClaims, parts: PartsOfApp) -> None:
    """On all devices, until you take it back."""
    await service.set_away(parts, claims, wanted.away)


@router.get(
    "/nodes",
    operation_id="list_nodes",
    openapi_extra=acts("connections.see"),
    summary="The channel servers",
    response_model=Nodes,
    responses=problems("forbidden", "no_channel_server"),
)
async def list_nodes(claims: AccessClaims, parts: PartsOfApp) -> Response:
    """For owners and admins: those that are alive."""
    return reply(await service.nodes(parts, claims))


@router.get(
    "/connections",
    operation_id="list_connections",
    openapi_extra=acts("connections.see"),
    summary="The workspace's connections at one channel server",
    response_model=OpenConnections,
    responses=problems("forbidden", "not_found", "no_channel_server"),
)
async def list_connections(
    wanted: Annotated[ConnectionsQuery, Query()], claims: AccessClaims, parts: PartsOfApp
) -> Response:
    """For owners and admins; those first that are worst off."""
    return reply(await service.connections(parts, claims, wanted))
