"""/v1/me/sync."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from web_app.dependencies import AccessClaims, PartsOfApp
from web_app.permissions import acts
from web_app.problems import problems
from web_app.replies import written
from web_app.sync import service
from web_app.sync.schemas import Sync, SyncQuery

router = APIRouter(prefix="/v1", tags=["read state"])


@router.get(
    "/me/sync",
    operation_id="sync",
    openapi_extra=acts("self"),
    summary="Everything that a client starts with",
    response_model=Sync,
    responses=problems("not_yet"),
)
async def sync(wanted: Annotated[SyncQuery, Query()], claims: AccessClaims, parts: PartsOfApp) -> Response:
    """You, your channels with heads, markers and what is unread, and where to resume from."""
    return written(await service.sync(parts, claims, wanted.at_least or 0))
