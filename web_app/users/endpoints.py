"""/v1/me, /v1/users and /v1/invites."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from web_app.auth.schemas import SignedUp
from web_app.auth.service import user_shown, workspace_shown
from web_app.dependencies import ClientAddress, PartsOfApp, Reading, ReadingViewer, Transaction, WritingViewer
from web_app.fields import InvitePath, Listing, UserPath
from web_app.paging import PageQuery, listing
from web_app.permissions import acts
from web_app.problems import problems
from web_app.replies import reply
from web_app.users import repository, service
from web_app.users.schemas import (
    AcceptInvite,
    Invite,
    InviteCreated,
    Me,
    NewInvite,
    User,
    UserChange,
    UserChanged,
)

router = APIRouter(prefix="/v1", tags=["users"])


@router.get(
    "/me",
    operation_id="get_me",
    openapi_extra=acts("self"),
    summary="Who you are",
    response_model=Me,
    responses=problems(),
)
async def get_me(viewer: ReadingViewer, db: Reading) -> Response:
    """You, your workspace, and the session of the access token."""
    row = await repository.find_with_workspace(db, viewer.user_id)
    return reply(Me(user=user_shown(row), workspace=workspace_shown(row), session_id=viewer.session_id))


@router.get(
    "/users",
    operation_id="list_users",
    openapi_extra=acts("people.see"),
    summary="List the workspace's people",
    response_model=Listing[User],
    responses=problems(),
)
async def list_users(page: PageQuery, viewer: ReadingViewer, db: Reading) -> Response:
    """Everybody, also the deactivated, oldest first."""
    rows = await repository.list_users(db, viewer.workspace_id, page.after("usr"), page.limit)
    return reply(listing(rows, page.limit, lambda row: str(row.id), user_shown))


@router.post(
    "/invites",
    operation_id="create_invite",
    openapi_extra=acts("invite.create"),
    summary="Invite somebody",
    status_code=201,
    response_model=InviteCreated,
    responses=problems("forbidden", "name_taken", "too_large"),
)
async def create_invite(
    wanted: NewInvite, viewer: WritingViewer, db: Transaction, parts: PartsOfApp
) -> Response:
    """For owners and admins. The token is good once, for some days; Lockstep sends no e-mail."""
    return reply(await service.invite(db, viewer, wanted, parts.settings.web_invite_s), 201)


@router.get(
    "/invites",
    operation_id="list_invites",
    openapi_extra=acts("invite.manage"),
    summary="List open invitations",
    response_model=Listing[Invite],
    responses=problems("forbidden"),
)
async def list_invites(page: PageQuery, viewer: ReadingViewer, db: Reading) -> Response:
    """For owners and admins: what can still be accepted, oldest first. The tokens are not shown again."""
    service.require_admin(viewer)
    rows = await repository.list_invites(db, viewer.workspace_id, page.after("inv"), page.limit)
    return reply(listing(rows, page.limit, lambda row: str(row.id), service.invite_shown))


@router.delete(
    "/invites/{invite_id}",
    operation_id="withdraw_invite",
    openapi_extra=acts("invite.manage"),
    summary="Withdraw an invitation",
    status_code=204,
    responses=problems("forbidden", "not_found"),
)
async def withdraw_invite(invite_id: InvitePath, viewer: WritingViewer, db: Transaction) -> None:
    """For owners and admins. Its token is worthless at once; who has accepted it already stays."""
    await service.withdraw_invite(db, viewer, invite_id)


@router.post(
    "/invites/accept",
    operation_id="accept_invite",
    openapi_extra=acts("anybody"),
    summary="Accept an invitation",
    status_code=201,
    response_model=SignedUp,
    responses=problems("not_found", "name_taken", "slow_down", "too_large", public=True),
)
async def accept_invite(wanted: AcceptInvite, parts: PartsOfApp, address: ClientAddress) -> Response:
    """Makes the account, joins it to the workspace's first channel (guests to none), and starts a session."""
    return reply(await service.accept_invite(parts, wanted, address), 201)


@router.patch(
    "/users/{user_id}",
    operation_id="change_user",
    openapi_extra=acts("people.change_role"),
    summary="Change somebody's role",
    response_model=UserChanged,
    responses=problems("forbidden", "not_found", "conflict", "too_large"),
)
async def change_user(
    user_id: UserPath, wanted: UserChange, viewer: WritingViewer, db: Transaction
) -> Response:
    """For owners and admins; only owners make owners, and change what owners are. The last owner stays one."""
    return reply(await service.change_role(db, viewer, user_id, wanted.role))


@router.post(
    "/users/{user_id}/deactivate",
    operation_id="deactivate_user",
    openapi_extra=acts("people.deactivate"),
    summary="Deactivate somebody",
    response_model=UserChanged,
    responses=problems("forbidden", "not_found", "conflict"),
)
async def deactivate_user(user_id: UserPath, viewer: WritingViewer, db: Transaction) -> Response:
    """For owners and admins. Ends all their sessions at once. The last owner stays."""
    return reply(await service.set_active(db, viewer, user_id, False))


@router.post(
    "/users/{user_id}/reactivate",
    operation_id="reactivate_user",
    openapi_extra=acts("people.deactivate"),
    summary="Reactivate somebody",
    response_model=UserChanged,
    responses=problems("forbidden", "not_found"),
)
async def reactivate_user(user_id: UserPath, viewer: WritingViewer, db: Transaction) -> Response:
    """For owners and admins. They can log in again."""
    return reply(await service.set_active(db, viewer, user_id, True))
