"""/v1/me/notices and /v1/announcements."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from web_app.dependencies import ACTING, AccessClaims, PartsOfApp, Transaction, WritingViewer
from web_app.notices import service
from web_app.notices.schemas import Announced, NewAnnouncement, NoticePage, NoticesQuery
from web_app.permissions import acts
from web_app.problems import problems
from web_app.replies import DoneOnce, written

router = APIRouter(prefix="/v1", tags=["notices"])


@router.get(
    "/me/notices",
    operation_id="list_notices",
    openapi_extra=acts("self"),
    summary="What was addressed to you",
    response_model=NoticePage,
    responses=problems("not_yet"),
)
async def list_notices(
    wanted: Annotated[NoticesQuery, Query()], claims: AccessClaims, parts: PartsOfApp
) -> Response:
    """For what a channel server no longer holds (`notices_gap`)."""
    return written(await service.notice_page(parts, claims, wanted))


@router.post(
    "/announcements",
    operation_id="announce",
    dependencies=ACTING,
    openapi_extra=acts("announcement.post"),
    summary="Announce something",
    status_code=201,
    response_model=Announced,
    responses=problems("forbidden", "not_found", "too_large", "id_reused", "slow_down"),
)
async def announce(
    wanted: NewAnnouncement, viewer: WritingViewer, db: Transaction, once: DoneOnce
) -> Response:
    """To everybody in the workspace, or to up to 1,000 people, on all their devices, also when they come back later."""
    return await once(lambda: service.announce(db, viewer, wanted), 201)
