"""/v1/me/notices."""

from __future__ import annotations

from typing import Annotated

import msgspec
from fastapi import APIRouter, Query
from starlette.responses import Response

from web_app.dependencies import AccessClaims, PartsOfApp
from web_app.notices import service
from web_app.notices.schemas import NoticePage, NoticesQuery
from web_app.permissions import acts
from web_app.problems import problems
from web_app.replies import JSON

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
    return Response(msgspec.json.encode(await service.notice_page(parts, claims, wanted)), media_type=JSON)
