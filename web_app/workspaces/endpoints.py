"""/v1/workspaces for signing up, /v1/workspace for one's own."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from web_app.auth.schemas import SignedUp
from web_app.dependencies import ClientAddress, PartsOfApp, Reading, ReadingViewer, Transaction, WritingViewer
from web_app.permissions import acts, require
from web_app.problems import problems
from web_app.replies import DoneOnce, reply
from web_app.users.schemas import UserChanged
from web_app.workspaces import repository, service
from web_app.workspaces.schemas import (
    SignUp,
    Transfer,
    WorkspaceChange,
    WorkspaceChanged,
    WorkspaceDeletion,
    WorkspaceSettings,
)

router = APIRouter(prefix="/v1", tags=["workspaces"])


@router.post(
    "/workspaces",
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


@router.get(
    "/workspace",
    operation_id="get_workspace",
    openapi_extra=acts("workspace.see"),
    summary="Show your workspace",
    response_model=WorkspaceSettings,
    responses=problems(),
)
async def get_workspace(viewer: ReadingViewer, db: Reading) -> Response:
    """With its settings."""
    require("workspace.see", viewer.role)
    return reply(service.settings_shown(await repository.find_workspace(db, viewer.workspace_id)))


@router.patch(
    "/workspace",
    operation_id="change_workspace",
    openapi_extra=acts("workspace.change"),
    summary="Rename the workspace, change its settings",
    response_model=WorkspaceChanged,
    responses=problems("forbidden", "id_reused", "too_large"),
)
async def change_workspace(
    wanted: WorkspaceChange, viewer: WritingViewer, db: Transaction, once: DoneOnce
) -> Response:
    """For owners and admins. A lower `max_text` holds for new messages only."""
    return await once(lambda: service.change(db, viewer, wanted))


@router.post(
    "/workspace/transfer",
    operation_id="transfer_ownership",
    openapi_extra=acts("workspace.transfer"),
    summary="Hand your ownership over",
    response_model=UserChanged,
    responses=problems("forbidden", "not_found", "conflict", "id_reused", "too_large"),
)
async def transfer_ownership(
    wanted: Transfer, viewer: WritingViewer, db: Transaction, once: DoneOnce
) -> Response:
    """The other becomes an owner, and you an admin. For owners."""
    return await once(lambda: service.transfer(db, viewer, wanted.user_id))


@router.post(
    "/workspace/leave",
    operation_id="leave_workspace",
    openapi_extra=acts("workspace.leave"),
    summary="Leave the workspace",
    status_code=204,
    responses=problems("conflict"),
)
async def leave_workspace(viewer: WritingViewer, db: Transaction) -> None:
    """Deactivates your account there and ends all your sessions; an admin can reactivate it. The last owner stays."""
    await service.leave(db, viewer)


@router.post(
    "/workspace/delete",
    operation_id="delete_workspace",
    openapi_extra=acts("workspace.delete"),
    summary="Delete the workspace",
    status_code=204,
    responses=problems("forbidden", "conflict", "too_large"),
)
async def delete_workspace(wanted: WorkspaceDeletion, viewer: WritingViewer, db: Transaction) -> None:
    """For good, for everybody: sessions end, nobody can log in, nothing can be read or posted. For owners."""
    await service.delete(db, viewer, wanted.slug)
