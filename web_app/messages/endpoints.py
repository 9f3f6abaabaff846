"""/v1/channels/{channel_id}: messages, what is done to them, and history."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Path, Query, Request
from pydantic import Field
from starlette.responses import Response

from web_app.dependencies import ACTING, AccessClaims, PartsOfApp
from web_app.fields import Body, ChannelPath, EmojiPath, SeqPath
from web_app.messages import commands, service
from web_app.messages.schemas import (
    EditedMessage,
    EventPage,
    HistoryQuery,
    MessageAccepted,
    MessagePage,
    MessagesQuery,
    NewMessage,
    OneMessage,
    PinsQuery,
    VersionPage,
    VersionsQuery,
)
from web_app.permissions import acts
from web_app.problems import problems, request_id_of
from web_app.replies import IdempotencyHeader, reply, written

router = APIRouter(prefix="/v1", tags=["messages"])

CHANNEL: Final = "/channels/{channel_id}"
MESSAGE: Final = CHANNEL + "/messages/{seq}"
_APPENDED: Final = (
    "not_a_member", "archived", "expired", "future", "id_reused", "number_unknown", "slow_down",
    "not_yet", "log_unavailable", "no_channel_server",
)  # fmt: skip
COMMAND: Final[dict[int | str, dict[str, Any]]] = problems(*_APPENDED, "forbidden", "not_found", "conflict")

History = Annotated[HistoryQuery, Query()]


async def command_of(
    channel_id: ChannelPath,
    seq: SeqPath,
    claims: AccessClaims,
    parts: PartsOfApp,
    request: Request,
    key: IdempotencyHeader = None,
) -> commands.Command:
    return commands.Command(parts, claims, channel_id, seq, key, request_id_of(request))


CommandOf = Annotated[commands.Command, Depends(command_of)]


class _Shape(Body):
    structured: Annotated[bool, Field(description="Give the text's tree as `content`.")] = False


@router.post(
    CHANNEL + "/messages",
    operation_id="post_message",
    dependencies=ACTING,
    openapi_extra=acts("message.post"),
    summary="Post a message",
    status_code=201,
    response_model=MessageAccepted,
    responses=problems(*_APPENDED, "too_large", "forbidden", "not_found"),
)
async def post_message(
    channel_id: ChannelPath,
    wanted: NewMessage,
    claims: AccessClaims,
    parts: PartsOfApp,
    request: Request,
    key: IdempotencyHeader = None,
) -> Response:
    """Through a channel server into the log. Repeating it with the same id posts it once and gives its number."""
    accepted = await service.post_message(parts, claims, channel_id, wanted, key, request_id_of(request))
    return written(accepted, 201)


@router.get(
    CHANNEL + "/events",
    operation_id="list_events",
    openapi_extra=acts("history.read"),
    summary="History: the raw events",
    response_model=EventPage,
    responses=problems("not_a_member", "not_yet"),
)
async def list_events(
    channel_id: ChannelPath, wanted: History, claims: AccessClaims, parts: PartsOfApp
) -> Response:
    """Everything that was numbered in the channel, also of kinds that this release does not know. For members."""
    return written(await service.event_page(parts, claims, channel_id, wanted))


@router.get(
    CHANNEL + "/messages",
    operation_id="list_messages",
    openapi_extra=acts("history.read"),
    summary="History: the messages as they are now",
    response_model=MessagePage,
    responses=problems("not_a_member", "not_yet"),
)
async def list_messages(
    channel_id: ChannelPath,
    wanted: Annotated[MessagesQuery, Query()],
    claims: AccessClaims,
    parts: PartsOfApp,
) -> Response:
    """With edits, reactions and the summaries of their threads, as of `head`. For members."""
    return written(await service.message_page(parts, claims, channel_id, wanted))


@router.get(
    MESSAGE,
    operation_id="get_message",
    openapi_extra=acts("history.read"),
    summary="Show a message",
    response_model=OneMessage,
    responses=problems("not_a_member", "not_found", "not_yet"),
)
async def get_message(
    channel_id: ChannelPath,
    seq: SeqPath,
    shape: Annotated[_Shape, Query()],
    claims: AccessClaims,
    parts: PartsOfApp,
) -> Response:
    """As it is now, with its permalink. For members."""
    return written(await service.one_message(parts, claims, channel_id, seq, structured=shape.structured))


@router.get(
    "/permalinks/{permalink}",
    operation_id="resolve_permalink",
    openapi_extra=acts("history.read"),
    summary="Find the message of a permalink",
    response_model=OneMessage,
    responses=problems("not_found", "not_yet"),
)
async def resolve_permalink(
    permalink: Annotated[
        str,
        Path(
            pattern=r"^p_[0-9a-f]{32}_[1-9][0-9]{0,15}$", examples=["p_0193a1b2c3d47e5f8a9b0c1d2e3f4a5b_17"]
        ),
    ],
    claims: AccessClaims,
    parts: PartsOfApp,
) -> Response:
    """For members of its channel."""
    return written(await service.resolved(parts, claims, permalink))


@router.patch(
    MESSAGE,
    operation_id="edit_message",
    dependencies=ACTING,
    openapi_extra=acts("message.edit"),
    summary="Edit a message",
    response_model=MessageAccepted,
    responses=problems(*_APPENDED, "forbidden", "not_found", "conflict", "too_large"),
)
async def edit_message(command: CommandOf, wanted: EditedMessage) -> Response:
    """For its author, as long as the workspace allows it. `seq` in the answer is that of the edit."""
    return written(await commands.edit(command, wanted))


@router.delete(
    MESSAGE,
    operation_id="delete_message",
    dependencies=ACTING,
    openapi_extra=acts("message.delete"),
    summary="Delete a message",
    response_model=MessageAccepted,
    responses=COMMAND,
)
async def delete_message(command: CommandOf) -> Response:
    """What it said, and had said before its edits, can be read nowhere any more. For its author, owners and admins."""
    return written(await commands.delete(command))


@router.get(
    MESSAGE + "/versions",
    operation_id="list_versions",
    openapi_extra=acts("message.edits"),
    summary="What a message has said",
    response_model=VersionPage,
    responses=problems("not_a_member", "forbidden", "not_found", "not_yet"),
)
async def list_versions(
    channel_id: ChannelPath,
    seq: SeqPath,
    wanted: Annotated[VersionsQuery, Query()],
    claims: AccessClaims,
    parts: PartsOfApp,
) -> Response:
    """The first text and every edit, for its author, owners and admins. Nothing is left of a deleted one."""
    return reply(await service.versions(parts, claims, channel_id, seq, wanted))


@router.put(
    MESSAGE + "/reactions/{emoji}",
    operation_id="add_reaction",
    dependencies=ACTING,
    openapi_extra=acts("message.react"),
    summary="React to a message",
    response_model=MessageAccepted,
    responses=COMMAND,
)
async def add_reaction(command: CommandOf, emoji: EmojiPath) -> Response:
    """You have it once, however often you add it. 50 different ones and 1,000 in all on a message at most."""
    return written(await commands.react(command, emoji, add=True))


@router.delete(
    MESSAGE + "/reactions/{emoji}",
    operation_id="remove_reaction",
    dependencies=ACTING,
    openapi_extra=acts("message.react"),
    summary="Take a reaction back",
    response_model=MessageAccepted,
    responses=COMMAND,
)
async def remove_reaction(command: CommandOf, emoji: EmojiPath) -> Response:
    """Your own. Without one nothing changes."""
    return written(await commands.react(command, emoji, add=False))


@router.put(
    MESSAGE + "/pin",
    operation_id="pin_message",
    dependencies=ACTING,
    openapi_extra=acts("message.pin"),
    summary="Pin a message",
    response_model=MessageAccepted,
    responses=COMMAND,
)
async def pin_message(command: CommandOf) -> Response:
    """For everybody in the channel to find. It stays pinned by whom it was pinned first."""
    return written(await commands.pin(command, add=True))


@router.delete(
    MESSAGE + "/pin",
    operation_id="unpin_message",
    dependencies=ACTING,
    openapi_extra=acts("message.pin"),
    summary="Unpin a message",
    response_model=MessageAccepted,
    responses=COMMAND,
)
async def unpin_message(command: CommandOf) -> Response:
    """Whoever pinned it."""
    return written(await commands.pin(command, add=False))


@router.get(
    CHANNEL + "/pins",
    operation_id="list_pins",
    openapi_extra=acts("history.read"),
    summary="List the pinned messages",
    response_model=MessagePage,
    responses=problems("not_a_member", "not_yet"),
)
async def list_pins(
    channel_id: ChannelPath,
    wanted: Annotated[PinsQuery, Query()],
    claims: AccessClaims,
    parts: PartsOfApp,
) -> Response:
    """Ascending by seq, the newest page first. For members."""
    return written(await service.pinned_page(parts, claims, channel_id, wanted))
