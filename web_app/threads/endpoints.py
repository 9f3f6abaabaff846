"""/v1/channels/{channel_id}/threads/{root} and /v1/me/threads."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from web_app.dependencies import AccessClaims, PartsOfApp, Reading, ReadingViewer
from web_app.fields import ChannelPath, Listing, SeqPath
from web_app.messages.schemas import HistoryQuery
from web_app.permissions import acts
from web_app.problems import problems
from web_app.replies import written
from web_app.threads import service
from web_app.threads.schemas import FollowedThread, ThreadPage, ThreadsQuery

router = APIRouter(prefix="/v1", tags=["threads"])


@router.get(
    "/channels/{channel_id}/threads/{root}",
    operation_id="get_thread",
    openapi_extra=acts("history.read"),
    summary="A thread: its first message and a page of replies",
    response_model=ThreadPage,
    responses=problems("not_a_member", "not_yet"),
)
async def get_thread(
    channel_id: ChannelPath,
    root: SeqPath,
    wanted: Annotated[HistoryQuery, Query()],
    claims: AccessClaims,
    parts: PartsOfApp,
) -> Response:
    """Paged as history is. For members of the channel."""
    return written(await service.page(parts, claims, channel_id, root, wanted))


@router.get(
    "/me/threads",
    operation_id="list_threads",
    openapi_extra=acts("self"),
    summary="The threads that you follow",
    response_model=Listing[FollowedThread],
    responses=problems(),
)
async def list_threads(
    wanted: Annotated[ThreadsQuery, Query()], viewer: ReadingViewer, db: Reading
) -> Response:
    """Those with unread replies, or all; the one with the newest reply first."""
    return written(await service.followed(db, viewer, wanted))
