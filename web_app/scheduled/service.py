"""Making, changing and taking back scheduled messages."""

from __future__ import annotations

import datetime as dt
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from services.contract.ids import new_entity_id
from services.contract.tokens import Claims
from web_app.auth.repository import Viewer
from web_app.database import AnyRow
from web_app.messages.repository import find_access, find_meant
from web_app.messages.service import require_may_post, require_root
from web_app.permissions import require
from web_app.problems import ApiError, invalid_field
from web_app.scheduled import repository
from web_app.scheduled.schemas import NewScheduled, Scheduled, ScheduledChange

MAX_SCHEDULED: Final = 200
"""That one person may have."""

AHEAD: Final = dt.timedelta(days=366)


def shown(row: AnyRow) -> Scheduled:
    return Scheduled(
        id=row.id,
        channel=row.channel_id,
        text=row.text,
        thread=row.thread,
        also_to_channel=row.also_to_channel,
        send_at=round(row.send_at.timestamp() * 1000),
        failed=row.failed,
    )


async def create(db: AsyncConnection, claims: Claims, channel_id: str, wanted: NewScheduled) -> Scheduled:
    """Raises ApiError not_a_member, forbidden, archived, too_large, not_found, not_yet, invalid_request, conflict."""
    if wanted.thread is None:
        access = await find_access(db, claims, channel_id)
    else:
        meant = await find_meant(db, claims, channel_id, wanted.thread)
        access = meant.access
        require("message.post", access.viewer.role, access.facts)
        if access.head < wanted.thread:
            raise ApiError("not_yet", f"What is stored has come to {access.head}.", retry_after_ms=1000)
        require_root(meant, "body.thread")
    require_may_post(access, wanted.text)
    if await repository.count(db, access.viewer.user_id) >= MAX_SCHEDULED:
        raise ApiError("conflict", f"You have {MAX_SCHEDULED} scheduled messages; more cannot wait.")
    row = await repository.add(
        db,
        id=new_entity_id("sch"),
        user_id=access.viewer.user_id,
        channel_id=channel_id,
        text=wanted.text,
        thread=wanted.thread,
        also_to_channel=wanted.also_to_channel,
        send_at=_time(wanted.send_at),
    )
    return shown(row)


async def change(
    db: AsyncConnection, claims: Claims, viewer: Viewer, id: str, wanted: ScheduledChange
) -> Scheduled:
    """Raises ApiError not_found, also for one that has been posted by now; else as `create`."""
    row = await _found(db, viewer, id)
    access = await find_access(db, claims, row.channel_id)
    require_may_post(access, wanted.text or row.text)
    values: dict[str, Any] = {"failed": None}
    if wanted.text is not None:
        values["text"] = wanted.text
    if wanted.send_at is not None:
        values["send_at"] = _time(wanted.send_at)
    return shown(await repository.change(db, id, **values))


async def remove(db: AsyncConnection, viewer: Viewer, id: str) -> None:
    """Raises ApiError not_found, also for one that has been posted by now."""
    await _found(db, viewer, id)
    await repository.remove(db, [id])


async def _found(db: AsyncConnection, viewer: Viewer, id: str) -> AnyRow:
    row = await repository.lock(db, viewer.user_id, id)
    if row is None:
        raise ApiError("not_found", "There is no such scheduled message of yours; it may have been posted.")
    return row


def _time(ms: int) -> dt.datetime:
    now = dt.datetime.now(dt.UTC)
    if ms > (now + AHEAD).timestamp() * 1000:
        raise invalid_field("body.send_at", f"is more than {AHEAD.days} days ahead")
    return dt.datetime.fromtimestamp(ms / 1000, dt.UTC)
