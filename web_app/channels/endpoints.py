"""/v1/channels: the channels themselves."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field
from starlette.responses import Response

from web_app.channels import repository, service
from web_app.channels.schemas import Channel, ChannelChange, ChannelChanged, NewChannel, NewDirectChannel
from web_app.dependencies import Reading, ReadingViewer, Transaction, WritingViewer
from web_app.fields import ChannelPath, Listing
from web_app.paging import Page, listing
from web_app.permissions import acts
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
    responses=problems("forbidden", "name_taken", "id_reused", "too_large"),
)
async def create_channel(
    wanted: NewChannel, viewer: WritingViewer, db: Transaction, once: DoneOnce
) -> Response:
    """You are its first member. Guests cannot."""

    async def command() -> tuple[int, BaseModel]:
        return 201, await service.create(db, viewer, wanted)

    return await once(command)


@router.post(
    "/direct",
    operation_id="open_direct_channel",
    openapi_extra=acts("direct.open"),
    summary="Open the channel of a set of people",
    status_code=201,
    response_model=ChannelChanged,
    responses={
        200: {"model": ChannelChanged, "description": "It was there already."},
        **problems("not_found", "id_reused", "too_large"),
    },
)
async def open_direct_channel(
    wanted: NewDirectChannel, viewer: WritingViewer, db: Transaction, once: DoneOnce
) -> Response:
    """There is one channel for each set of people, whoever opens it first."""

    async def command() -> tuple[int, BaseModel]:
        return await service.open_direct(db, viewer, wanted)

    return await once(command)


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
    ),
)
async def change_channel(
    channel_id: ChannelPath, wanted: ChannelChange, viewer: WritingViewer, db: Transaction, once: DoneOnce
) -> Response:
    """Any member may, except guests. What already is so causes no event."""

    async def command() -> tuple[int, BaseModel]:
        return 200, await service.change(db, viewer, channel_id, wanted)

    return await once(command)


@router.post(
    "/{channel_id}/archive",
    operation_id="archive_channel",
    openapi_extra=acts("channel.manage"),
    summary="Archive a channel",
    response_model=ChannelChanged,
    responses=problems("not_found", "not_a_member", "forbidden", "conflict", "id_reused"),
)
async def archive_channel(
    channel_id: ChannelPath, viewer: WritingViewer, db: Transaction, once: DoneOnce
) -> Response:
    """Nothing can be posted there any more; it can still be read. For its maker, owners and admins."""

    async def command() -> tuple[int, BaseModel]:
        return 200, await service.set_archived(db, viewer, channel_id, True)

    return await once(command)


@router.post(
    "/{channel_id}/unarchive",
    operation_id="unarchive_channel",
    openapi_extra=acts("channel.manage"),
    summary="Bring an archived channel back",
    response_model=ChannelChanged,
    responses=problems("not_found", "not_a_member", "forbidden", "conflict", "id_reused"),
)
async def unarchive_channel(
    channel_id: ChannelPath, viewer: WritingViewer, db: Transaction, once: DoneOnce
) -> Response:
    """For its maker, owners and admins."""

    async def command() -> tuple[int, BaseModel]:
        return 200, await service.set_archived(db, viewer, channel_id, False)

    return await once(command)
