"""/v1/channels/{channel_id}/read, /unread and /threads/{root}."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path
from starlette.responses import Response

from web_app.dependencies import MARKING, AccessClaims, PartsOfApp
from web_app.fields import MAX_SEQ, ChannelPath
from web_app.permissions import acts
from web_app.problems import problems
from web_app.read_state import service
from web_app.read_state.schemas import Followed, Following, Marker, ReadTo, UnreadFrom
from web_app.replies import reply

router = APIRouter(prefix="/v1/channels/{channel_id}", tags=["read state"])

RootPath = Annotated[
    int, Path(ge=1, le=MAX_SEQ, examples=[42], description="The seq of the thread's first message.")
]

_WRITTEN = ("not_a_member", "not_yet", "slow_down", "log_unavailable", "no_channel_server", "too_large")
_THREAD = problems("not_found", *_WRITTEN)


@router.put(
    "/read",
    operation_id="mark_read",
    dependencies=MARKING,
    openapi_extra=acts("history.read"),
    summary="Mark a channel read",
    response_model=Marker,
    responses=problems(*_WRITTEN),
)
async def mark_read(
    channel_id: ChannelPath, wanted: ReadTo, claims: AccessClaims, parts: PartsOfApp
) -> Response:
    """Up to a message, on all your devices. A number that you have read already changes nothing."""
    return reply(await service.read(parts, claims, channel_id, None, wanted))


@router.put(
    "/unread",
    operation_id="mark_unread",
    dependencies=MARKING,
    openapi_extra=acts("history.read"),
    summary="Mark a channel unread",
    response_model=Marker,
    responses=problems(*_WRITTEN),
)
async def mark_unread(
    channel_id: ChannelPath, wanted: UnreadFrom, claims: AccessClaims, parts: PartsOfApp
) -> Response:
    """From a message on, until you post or read again."""
    return reply(await service.unread(parts, claims, channel_id, None, wanted))


@router.put(
    "/threads/{root}/read",
    operation_id="mark_thread_read",
    dependencies=MARKING,
    openapi_extra=acts("history.read"),
    summary="Mark a thread read",
    response_model=Marker,
    responses=_THREAD,
)
async def mark_thread_read(
    channel_id: ChannelPath, root: RootPath, wanted: ReadTo, claims: AccessClaims, parts: PartsOfApp
) -> Response:
    """Up to a reply, on all your devices."""
    return reply(await service.read(parts, claims, channel_id, root, wanted))


@router.put(
    "/threads/{root}/unread",
    operation_id="mark_thread_unread",
    dependencies=MARKING,
    openapi_extra=acts("history.read"),
    summary="Mark a thread unread",
    response_model=Marker,
    responses=_THREAD,
)
async def mark_thread_unread(
    channel_id: ChannelPath, root: RootPath, wanted: UnreadFrom, claims: AccessClaims, parts: PartsOfApp
) -> Response:
    """From a reply on."""
    return reply(await service.unread(parts, claims, channel_id, root, wanted))


@router.put(
    "/threads/{root}/follow",
    operation_id="follow_thread",
    dependencies=MARKING,
    openapi_extra=acts("history.read"),
    summary="Follow a thread, or no longer",
    response_model=Followed,
    responses=_THREAD,
)
async def follow_thread(
    channel_id: ChannelPath, root: RootPath, wanted: Following, claims: AccessClaims, parts: PartsOfApp
) -> Response:
    """Whoever wrote a thread's first message, replied, or was mentioned follows it, until they say otherwise here."""
    return reply(await service.follow(parts, claims, channel_id, root, wanted))
