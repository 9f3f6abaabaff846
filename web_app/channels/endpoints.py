"""/v1/channels: the channels themselves."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field
from starlette.responses import Response

from web_app.channels import repository, service, settings
from web_app.channels.schemas import (
    Channel,
    ChannelChange,
    ChannelChanged,
    ChannelSettings,
    DirectoryPage,
    NewChannel,
    NewDirectChannel,
)
from web_app.dependencies import ACTING, PartsOfApp, Reading, ReadingViewer, Transaction, WritingViewer
from web_app.fields import ChannelPath, Listing
from web_app.paging import Page, decode_name, encode_name, listing
from web_app.permissions import acts, require
from web_app.problems import problems
from web_app.replies import DoneOnce, reply

router = APIRouter(prefix="/v1/channels", tags=["channels"])


class ChannelPage(Page):
    member: Annotated[bool | None, Field(description="`true`: only channels that you are in.")] = None


@router.post(
    "",
    operation_id="create_channel",
    openapi_extra=acts("channel.create"),
    summary="Make a channel",
    status_code=201,
    response_model=ChannelChanged,
    responses=problems("forbidden", "name_taken", "slow_down", "id_reused", "too_large"),
)
async def create_channel(
    wanted: NewChannel, viewer: WritingViewer, db: Transaction, once: DoneOnce, parts: PartsOfApp
) -> Response:
    """You are its first member. Guests cannot, and members only if the workspace's settings say so."""
    parts.attempts.create(viewer.user_id)
    return await once(lambda: service.create(db, viewer, wanted), 201)


@router.post(
    "/direct",
    operation_id="open_direct_channel",
    openapi_extra=acts("direct.open"),
    summary="Open the channel of a set of people",
    status_code=201,
    response_model=ChannelChanged,
    responses={
        200: {"model": ChannelChanged, "description": "It was there already."},
        **problems("not_found", "slow_down", "id_reused", "too_large"),
    },
)
async def open_direct_channel(
    wanted: NewDirectChannel, viewer: WritingViewer, db: Transaction, once: DoneOnce, parts: PartsOfApp
) -> Response:
    """There is one channel for each set of people, whoever opens it first. The others are told by a notice."""
    parts.attempts.create(viewer.user_id)
    return await once.answer(lambda: service.open_direct(db, viewer, wanted))


@router.get(
    "",
    operation_id="list_channels",
    openapi_extra=acts("channel.list"),
    summary="List channels",
    response_model=Listing[Channel],
    responses=problems(),
)
async def list_channels(
    page: Annotated[ChannelPage, Query()], viewer: ReadingViewer, db: Reading
) -> Response:
    """Your channels and the public ones, oldest first. Guests see only their own."""
    rows = await repository.list_channels(
        db, viewer, page.after("ch"), page.limit, only_mine=page.member is True
    )
    return reply(listing(rows, page.limit, lambda row: str(row.id), service.shown))


@router.get(
    "/directory",
    operation_id="browse_channels",
    openapi_extra=acts("channel.browse"),
    summary="Browse the public channels",
    response_model=Listing[Channel],
    responses=problems("forbidden"),
)
async def browse_channels(
    page: Annotated[DirectoryPage, Query()], viewer: ReadingViewer, db: Reading
) -> Response:
    """In the order of their names, with how many are in each; without the archived. Not for guests."""
    require("channel.browse", viewer.role)
    after = "" if page.cursor is None else decode_name(page.cursor)
    rows = await repository.browse(db, viewer, prefix=page.prefix, after=after, limit=page.limit)
    items = [service.shown(row) for row in rows[: page.limit]]
    more = encode_name(rows[page.limit - 1].key) if len(rows) > page.limit else None
    return reply(Listing(items=items, next_cursor=more))


@router.get(
    "/{channel_id}",
    operation_id="get_channel",
    openapi_extra=acts("channel.see"),
    summary="Show a channel",
    response_model=Channel,
    responses=problems("not_found"),
)
async def get_channel(channel_id: ChannelPath, viewer: ReadingViewer, db: Reading) -> Response:
    """One of your channels, or a public one."""
    return reply(service.shown(await service.found(db, viewer, channel_id)))


@router.patch(
    "/{channel_id}",
    operation_id="change_channel",
    dependencies=ACTING,
    openapi_extra=acts("channel.change"),
    summary="Rename a channel, set its topic",
    response_model=ChannelChanged,
    responses=problems(
        "not_found",
        "not_a_member",
        "forbidden",
        "conflict",
        "archived",
        "name_taken",
        "id_reused",
        "too_large",
        "slow_down",
    ),
)
async def change_channel(
    channel_id: ChannelPath, wanted: ChannelChange, viewer: WritingViewer, db: Transaction, once: DoneOnce
) -> Response:
    """Any member may, except guests. What already is so causes no event."""
    return await once(lambda: service.change(db, viewer, channel_id, wanted))


@router.patch(
    "/{channel_id}/settings",
    operation_id="change_channel_settings",
    dependencies=ACTING,
    openapi_extra=acts("channel.manage"),
    summary="Say who may post and add people",
    response_model=ChannelChanged,
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
async def change_channel_settings(
    channel_id: ChannelPath, wanted: ChannelSettings, viewer: WritingViewer, db: Transaction, once: DoneOnce
) -> Response:
    """For the channel's maker, owners and admins; `default` for owners and admins, of public channels."""
    return await once(lambda: settings.change_settings(db, viewer, channel_id, wanted))


@router.post(
    "/{channel_id}/make-private",
    operation_id="make_channel_private",
    dependencies=ACTING,
    openapi_extra=acts("channel.manage"),
    summary="Make a public channel private",
    response_model=ChannelChanged,
    responses=problems(
        "not_found", "not_a_member", "forbidden", "conflict", "archived", "id_reused", "slow_down"
    ),
)
async def make_channel_private(
    channel_id: ChannelPath, viewer: WritingViewer, db: Transaction, once: DoneOnce
) -> Response:
    """Who is in it stays in it; nobody else finds it any more. There is no way back."""
    return await once(lambda: settings.make_private(db, viewer, channel_id))


@router.post(
    "/{channel_id}/archive",
    operation_id="archive_channel",
    dependencies=ACTING,
    openapi_extra=acts("channel.manage"),
    summary="Archive a channel",
    response_model=ChannelChanged,
    responses=problems("not_found", "not_a_member", "forbidden", "conflict", "id_reused", "slow_down"),
)
async def archive_channel(
    channel_id: ChannelPath, viewer: WritingViewer, db: Transaction, once: DoneOnce
) -> Response:
    """Nothing can be posted there any more; it can still be read. For its maker, owners and admins."""
    return await once(lambda: service.set_archived(db, viewer, channel_id, True))


@router.post(
    "/{channel_id}/unarchive",
    operation_id="unarchive_channel",
    dependencies=ACTING,
    openapi_extra=acts("channel.manage"),
    summary="Bring an archived channel back",
    response_model=ChannelChanged,
    responses=problems("not_found", "not_a_member", "forbidden", "conflict", "id_reused", "slow_down"),
)
async def unarchive_channel(
    channel_id: ChannelPath, viewer: WritingViewer, db: Transaction, once: DoneOnce
) -> Response:
    """For its maker, owners and admins."""
    return await once(lambda: service.set_archived(db, viewer, channel_id, False))
