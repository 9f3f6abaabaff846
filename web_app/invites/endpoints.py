"""/v1/invites."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from web_app.auth.schemas import SignedUp
from web_app.dependencies import ClientAddress, PartsOfApp, Reading, ReadingViewer, Transaction, WritingViewer
from web_app.fields import InvitePath, Listing
from web_app.invites import repository, service
from web_app.invites.schemas import AcceptInvite, Invite, InviteCreated, NewInvite
from web_app.paging import PageQuery, listing
from web_app.permissions import acts, require
from web_app.problems import problems
from web_app.replies import DoneOnce, reply

router = APIRouter(prefix="/v1", tags=["invites"])


@router.post(
    "/invites",
    operation_id="create_invite",
    openapi_extra=acts("invite.create"),
    summary="Invite somebody",
    status_code=201,
    response_model=InviteCreated,
    responses=problems(
        "forbidden", "name_taken", "not_found", "not_a_member", "slow_down", "id_reused", "too_large"
    ),
)
async def create_invite(
    wanted: NewInvite, viewer: WritingViewer, db: Transaction, once: DoneOnce, parts: PartsOfApp
) -> Response:
    """For owners and admins, and for members if the workspace's settings say so. The link is good once, for some days;
    Lockstep sends no e-mail. A repeat gives the same invitation with another link: tokens are not stored.
    """
    parts.attempts.invite(viewer.user_id)

    async def command() -> tuple[str, InviteCreated]:
        made = await service.invite(db, viewer, wanted, parts.settings)
        return made.invite.id, made

    async def again(invite_id: str) -> InviteCreated:
        return await service.again(db, viewer, invite_id, parts.settings)

    return await once.secret(command, again, 201)


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
    require("invite.manage", viewer.role, {"lesser"})
    rows = await repository.list_invites(db, viewer.workspace_id, page.after("inv"), page.limit)
    return reply(listing(rows, page.limit, lambda row: str(row.id), service.shown))


@router.delete(
    "/invites/{invite_id}",
    operation_id="withdraw_invite",
    openapi_extra=acts("invite.manage"),
    summary="Withdraw an invitation",
    status_code=204,
    response_class=Response,
    responses=problems("forbidden", "not_found", "id_reused"),
)
async def withdraw_invite(
    invite_id: InvitePath, viewer: WritingViewer, db: Transaction, once: DoneOnce
) -> Response:
    """For owners and admins. Its token is worthless at once; who has accepted it already stays."""
    return await once.nothing(lambda: service.withdraw(db, viewer, invite_id))


@router.post(
    "/invites/{invite_id}/renew",
    operation_id="renew_invite",
    openapi_extra=acts("invite.manage"),
    summary="Make another link for an invitation",
    response_model=InviteCreated,
    responses=problems("forbidden", "not_found", "slow_down"),
)
async def renew_invite(
    invite_id: InvitePath, viewer: WritingViewer, db: Transaction, parts: PartsOfApp
) -> Response:
    """For one that was lost, or is over. The link of before is worthless at once. For owners and admins."""
    parts.attempts.invite(viewer.user_id)
    return reply(await service.renew(db, viewer, invite_id, parts.settings))


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
    """Makes the account, joins it to the channels that the invitation names and to the workspace's default ones (guests
    only to the former), and starts a session.
    """
    return reply(await service.accept(parts, wanted, address), 201)
