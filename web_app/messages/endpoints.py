"""/v1/channels/{channel_id}: messages and history."""

from __future__ import annotations

from typing import Annotated

import msgspec
from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from web_app.dependencies import AccessClaims, PartsOfApp
from web_app.fields import ChannelPath
from web_app.messages import service
from web_app.messages.schemas import EventPage, HistoryQuery, MessageAccepted, MessagePage, NewMessage
from web_app.permissions import acts
from web_app.problems import problems, request_id_of
from web_app.replies import JSON, IdempotencyHeader

router = APIRouter(prefix="/v1/channels/{channel_id}", tags=["messages"])

History = Annotated[HistoryQuery, Query()]


@router.post(
    "/messages",
    operation_id="post_message",
    openapi_extra=acts("message.post"),
    summary="Post a message",
    status_code=201,
    response_model=MessageAccepted,
    responses=problems(
        "not_a_member", "forbidden", "archived", "expired", "future", "id_reused", "number_unknown", "slow_down",
        "not_yet", "log_unavailable", "no_channel_server", "too_large",
    ),
)  # fmt: skip
async def post_message(
    channel_id: ChannelPath,
    wanted: NewMessage,
    claims: AccessClaims,
    parts: PartsOfApp,
    request: Request,
    key: IdempotencyHeader = None,
) -> Response:
    """Through a channel server into the log. Repeating it with the same id posts it once and gives its number."""
    accepted = await service.post_message(parts, claims, channel_id, wanted, key, request_id_of(request))
    return _written(accepted, 201)


@router.get(
    "/events",
    operation_id="list_events",
    openapi_extra=acts("history.read"),
    summary="History: the raw events",
    response_model=EventPage,
    responses=problems("not_a_member", "not_yet"),
)
async def list_events(
    channel_id: ChannelPath, wanted: History, claims: AccessClaims, parts: PartsOfApp
) -> Response:
    """Everything that was numbered in the channel, also of kinds that this release does not know. For members."""
    return _written(await service.event_page(parts, claims, channel_id, wanted))


@router.get(
    "/messages",
    operation_id="list_messages",
    openapi_extra=acts("history.read"),
    summary="History: the messages as they are now",
    response_model=MessagePage,
    responses=problems("not_a_member", "not_yet"),
)
async def list_messages(
    channel_id: ChannelPath, wanted: History, claims: AccessClaims, parts: PartsOfApp
) -> Response:
    """For members."""
    return _written(await service.message_page(parts, claims, channel_id, wanted))


def _written(page: msgspec.Struct, status: int = 200) -> Response:
    return Response(msgspec.json.encode(page), status_code=status, media_type=JSON)
