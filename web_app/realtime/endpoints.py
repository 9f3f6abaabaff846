"""/v1/realtime."""

from __future__ import annotations

import time

from fastapi import APIRouter
from starlette.responses import Response

from services.contract.directory import directory_at
from services.contract.tokens import Claims
from web_app.dependencies import PartsOfApp, Reading, ReadingViewer
from web_app.permissions import acts
from web_app.problems import ApiError, problems
from web_app.realtime import repository
from web_app.realtime.schemas import Realtime
from web_app.replies import reply
from web_app.users.service import user_key

router = APIRouter(prefix="/v1/realtime", tags=["realtime"])


@router.post(
    "",
    operation_id="get_realtime",
    openapi_extra=acts("self"),
    summary="Get a realtime token and the nodes' addresses",
    response_model=Realtime,
    responses=problems("not_yet"),
)
async def get_realtime(viewer: ReadingViewer, db: Reading, parts: PartsOfApp) -> Response:
    """Connect to any of the nodes, and say the token in the first frame."""
    version, epoch = await repository.find_state(db, viewer.user_id)
    if epoch is None:
        raise ApiError("not_yet", "The log has not been made yet.", retry_after_ms=1000)
    now = int(time.time())
    lifetime = parts.settings.web_realtime_token_s
    claims = Claims(viewer.user_id, viewer.workspace_id, viewer.session_id, now + lifetime)
    token = parts.keys.sign("realtime", claims, now=now)
    key = parts.keys.signs_with
    # The later of the two: what was written before it is published before it.
    last = (f"key:{key.kid}", key.version) if key.version > version else (user_key(viewer.user_id), version)
    return reply(
        Realtime(
            token=token,
            expires_in=lifetime,
            epoch=epoch,
            nodes=parts.channel_servers.websockets(),
            directory_at=directory_at(*last),
        )
    )
