"""Changing preferences; one's other devices are told by a notice."""

from __future__ import annotations

import datetime as dt
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from services.contract.notices import PreferencesChanged
from services.database.outbox import enqueue_notice
from web_app.auth.repository import Viewer
from web_app.channels import service as channels
from web_app.preferences import repository
from web_app.preferences.quiet import is_quiet, minutes_of, time_of_day
from web_app.preferences.schemas import (
    MAX_SNOOZE_DAYS,
    ChannelPreferences,
    DoNotDisturb,
    NewChannelPreferences,
    NewSchedule,
)
from web_app.problems import invalid_field


async def of_channel(db: AsyncConnection, viewer: Viewer, channel_id: str) -> ChannelPreferences:
    """Raises ApiError not_found, not_a_member."""
    channels.require_action("channel.prefer", viewer, await channels.found(db, viewer, channel_id))
    row = await repository.find_channel_preferences(db, viewer.user_id, channel_id)
    if row is None:
        return ChannelPreferences(muted=False, level="all")
    return ChannelPreferences(muted=row.muted, level=row.level)


async def set_of_channel(
    db: AsyncConnection, viewer: Viewer, channel_id: str, wanted: NewChannelPreferences
) -> ChannelPreferences:
    """Raises ApiError not_found, not_a_member."""
    before = await of_channel(db, viewer, channel_id)
    values = wanted.model_dump(exclude_none=True)
    row = await repository.set_channel_preferences(db, viewer.user_id, channel_id, values)
    after = ChannelPreferences(muted=row.muted, level=row.level)
    if after != before:
        await _tell(db, viewer, channel_id)
    return after


async def do_not_disturb(db: AsyncConnection, viewer: Viewer) -> DoNotDisturb:
    row = await repository.find_do_not_disturb(db, viewer.user_id)
    now = dt.datetime.now(dt.UTC)
    snoozed = row.snoozed_until is not None and row.snoozed_until > now
    return DoNotDisturb(
        active=is_quiet(
            now,
            starts=row.starts,
            ends=row.ends,
            snoozed_until=row.snoozed_until,
            time_zone=row.time_zone,
        ),
        starts=None if row.starts is None else time_of_day(row.starts),
        ends=None if row.ends is None else time_of_day(row.ends),
        snoozed_until=row.snoozed_until if snoozed else None,
        time_zone=row.time_zone,
    )


async def set_schedule(db: AsyncConnection, viewer: Viewer, wanted: NewSchedule) -> DoNotDisturb:
    starts = None if wanted.starts is None else minutes_of(wanted.starts)
    ends = None if wanted.ends is None else minutes_of(wanted.ends)
    return await _set(db, viewer, {"starts": starts, "ends": ends})


async def snooze(db: AsyncConnection, viewer: Viewer, until: dt.datetime | None) -> DoNotDisturb:
    """`until` None: no longer. Raises ApiError invalid_request for a moment that is over, or far away."""
    now = dt.datetime.now(dt.UTC)
    if until is not None and not now < until <= now + dt.timedelta(days=MAX_SNOOZE_DAYS):
        raise invalid_field("body.until", f"must lie within the next {MAX_SNOOZE_DAYS} days")
    return await _set(db, viewer, {"snoozed_until": until})


async def _set(db: AsyncConnection, viewer: Viewer, values: dict[str, Any]) -> DoNotDisturb:
    await repository.set_do_not_disturb(db, viewer.user_id, values)
    await _tell(db, viewer, None)
    return await do_not_disturb(db, viewer)


async def _tell(db: AsyncConnection, viewer: Viewer, channel_id: str | None) -> None:
    told = PreferencesChanged(channel=channel_id, user_ids=[viewer.user_id])
    await enqueue_notice(db, viewer.workspace_id, viewer.user_id, told)
