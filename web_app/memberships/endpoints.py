"""/v1/channels/{channel_id}: who is in it."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from web_app.channels import service as channels
from web_app.channels.schemas import ChannelChanged
from web_app.dependencies import ACTING, Reading, ReadingViewer, Transaction, WritingViewer
from web_app.fields import ChannelPath, Listing, UserPath
from web_app.memberships import repository, service
from web_app.memberships.schemas import AddMembers, Member, MembersAdded, MembershipChanged
from web_app.paging import PageQuery, listing
from web_app.permissions import acts
from web_app.problems import problems
from web_app.replies import DoneOnce, reply

router = APIRouter(prefix="/v1/channels/{channel_id}", tags=["memberships"])


@router.get(
    "/members",
    operation_id="list_members",
    openapi_extra=acts("channel.see"),
    summary="List a channel's members",
    response_model=Listing[Member],
    responses=problems("not_found"),
)
async def list_members(
    channel_id: ChannelPath, page: PageQuery, viewer: ReadingViewer, db: Reading
) -> Response:
    """Of one of your channels, or of a public one."""
    await channels.found(db, viewer, channel_id)
    rows = await repository.list_members(db, channel_id, page.after("usr"), page.limit)
    return reply(
        listing(
            rows,
            page.limit,
            lambda row: str(row.user_id),
            lambda row: Member(
                user_id=row.user_id, name=row.name, role=row.role, active=row.active, since=row.changed_at
            ),
        )
    )


@router.post(
    "/members",
    operation_id="add_members",
    dependencies=ACTING,
    openapi_extra=acts("member.add"),
    summary="Add people to a channel",
    response_model=MembersAdded,
    responses=problems(
        "not_found",
        "not_a_member",
        "forbidden",
        "conflict",
        "archived",
        "id_reused",
        "too_large",
        "slow_down",
    ),
)
async def add_members(
    channel_id: ChannelPath, wanted: AddMembers, viewer: WritingViewer, db: Transaction, once: DoneOnce
) -> Response:
    """Any member may, except guests: up to 1,000 people in one event. Who is in already, stays in."""
    return await once(lambda: service.add_members(db, viewer, channel_id, wanted.user_ids))


@router.delete(
    "/members/{user_id}",
    operation_id="remove_member",
    dependencies=ACTING,
    openapi_extra=acts("member.remove"),
    summary="Remove somebody from a channel",
    response_model=MembershipChanged,
    responses=problems("not_found", "not_a_member", "forbidden", "conflict", "id_reused", "slow_down"),
)
async def remove_member(
    channel_id: ChannelPath, user_id: UserPath, viewer: WritingViewer, db: Transaction, once: DoneOnce
) -> Response:
    """For the channel's maker, owners and admins; yourself you may always remove. They see nothing after it."""
    return await once(lambda: service.remove_member(db, viewer, channel_id, user_id))


@router.post(
    "/join",
    operation_id="join_channel",
    dependencies=ACTING,
    openapi_extra=acts("channel.join"),
    summary="Join a public channel",
    response_model=ChannelChanged,
    responses=problems("not_found", "archived", "id_reused", "slow_down"),
)
async def join_channel(
    channel_id: ChannelPath, viewer: WritingViewer, db: Transaction, once: DoneOnce
) -> Response:
    """Joining a channel that you are in changes nothing. Guests have to be added."""
    return await once(lambda: service.join(db, viewer, channel_id))


@router.post(
    "/leave",
    operation_id="leave_channel",
    dependencies=ACTING,
    openapi_extra=acts("channel.leave"),
    summary="Leave a channel",
    response_model=MembershipChanged,
    responses=problems("not_a_member", "conflict", "id_reused", "slow_down"),
)
async def leave_channel(
    channel_id: ChannelPath, viewer: WritingViewer, db: Transaction, once: DoneOnce
) -> Response:
    """You see nothing of what comes after. Direct and group channels cannot be left."""
    return await once(lambda: service.leave(db, viewer, channel_id))
