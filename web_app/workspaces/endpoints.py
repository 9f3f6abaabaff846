"""/v1/workspaces."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from web_app.auth.schemas import SignedUp
from web_app.dependencies import ClientAddress, PartsOfApp
from web_app.permissions import acts
from web_app.problems import problems
from web_app.replies import reply
from web_app.workspaces import service
from web_app.workspaces.schemas import SignUp

router = APIRouter(prefix="/v1/workspaces", tags=["workspaces"])


@router.post(
    "",
    operation_id="sign_up",
    openapi_extra=acts("anybody"),
    summary="Sign up a workspace",
    status_code=201,
    response_model=SignedUp,
    responses=problems("name_taken", "slow_down", "too_large", public=True),
)
async def sign_up(wanted: SignUp, parts: PartsOfApp, address: ClientAddress) -> Response:
    """Makes the workspace, its owner, a first channel `general` that the owner is in, and a session."""
    return reply(await service.sign_up(parts, wanted, address), 201)
