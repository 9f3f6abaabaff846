"""/v1/channels/{channel_id}/preferences and /v1/me/do-not-disturb."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from web_app.dependencies import MARKING, Reading, ReadingViewer, Transaction, WritingViewer
from web_app.fields import ChannelPath
from web_app.permissions import acts
from web_app.preferences import service
from web_app.preferences.schemas import (
    ChannelPreferences,
    DoNotDisturb,
    NewChannelPreferences,
    NewSchedule,
    Snooze,
)
from web_app.problems import problems
from web_app.replies import reply

router = APIRouter(prefix="/v1", tags=["preferences"])


@router.get(
    "/channels/{channel_id}/preferences",
    operation_id="get_channel_preferences",
    openapi_extra=acts("channel.prefer"),
    summary="What you want to hear of a channel",
    response_model=ChannelPreferences,
    responses=problems("not_found", "not_a_member"),
)
async def get_channel_preferences(channel_id: ChannelPath, viewer: ReadingViewer, db: Reading) -> Response:
    """Not muted and `all`, until you say otherwise."""
    return reply(await service.of_channel(db, viewer, channel_id))


@router.patch(
    "/channels/{channel_id}/preferences",
    operation_id="set_channel_preferences",
    dependencies=MARKING,
    openapi_extra=acts("channel.prefer"),
    summary="Mute a channel, choose what to be notified of",
    response_model=ChannelPreferences,
    responses=problems("not_found", "not_a_member", "too_large", "slow_down"),
)
async def set_channel_preferences(
    channel_id: ChannelPath, wanted: NewChannelPreferences, viewer: WritingViewer, db: Transaction
) -> Response:
    """Kept when you leave and come back. Your other devices are told by a notice."""
    return reply(await service.set_of_channel(db, viewer, channel_id, wanted))


@router.get(
    "/me/do-not-disturb",
    operation_id="get_do_not_disturb",
    openapi_extra=acts("self"),
    summary="When you want to be left alone",
    response_model=DoNotDisturb,
    responses=problems(),
)
async def get_do_not_disturb(viewer: ReadingViewer, db: Reading) -> Response:
    """And whether that is now. The time zone is that of your profile."""
    return reply(await service.do_not_disturb(db, viewer))


@router.put(
    "/me/do-not-disturb",
    operation_id="set_do_not_disturb",
    dependencies=MARKING,
    openapi_extra=acts("self"),
    summary="Be left alone every day",
    response_model=DoNotDisturb,
    responses=problems("too_large", "slow_down"),
)
async def set_do_not_disturb(wanted: NewSchedule, viewer: WritingViewer, db: Transaction) -> Response:
    """Between two times of the day, by the clock on your wall."""
    return reply(await service.set_schedule(db, viewer, wanted))


@router.put(
    "/me/do-not-disturb/snooze",
    operation_id="snooze",
    dependencies=MARKING,
    openapi_extra=acts("self"),
    summary="Be left alone until a moment",
    response_model=DoNotDisturb,
    responses=problems("too_large", "slow_down"),
)
async def snooze(wanted: Snooze, viewer: WritingViewer, db: Transaction) -> Response:
    """Within the next 31 days."""
    return reply(await service.snooze(db, viewer, wanted.until))


@router.delete(
    "/me/do-not-disturb/snooze",
    operation_id="end_snooze",
    dependencies=MARKING,
    openapi_extra=acts("self"),
    summary="Be there again",
    response_model=DoNotDisturb,
    responses=problems("slow_down"),
)
async def end_snooze(viewer: WritingViewer, db: Transaction) -> Response:
    """The schedule goes on."""
    return reply(await service.snooze(db, viewer, None))
