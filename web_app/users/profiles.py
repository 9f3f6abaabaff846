"""What people say of themselves: names, title, avatar, time zone, status."""

from __future__ import annotations

import datetime as dt
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from services.contract.directory import directory_at
from services.contract.notices import ProfileChanged
from services.database.outbox import enqueue_directory, enqueue_notice
from web_app.auth.repository import Viewer
from web_app.auth.service import user_shown
from web_app.problems import ApiError, invalid_field
from web_app.users import repository
from web_app.users.schemas import NewStatus, ProfileChange, UserChanged
from web_app.users.service import user_key

NO_STATUS = {"status_text": "", "status_emoji": "", "status_expires_at": None}


async def change_profile(db: AsyncConnection, viewer: Viewer, wanted: ProfileChange) -> UserChanged:
    return await _change(db, viewer, wanted.model_dump(exclude_none=True))


async def set_status(db: AsyncConnection, viewer: Viewer, wanted: NewStatus) -> UserChanged:
    """Raises ApiError invalid_request for a status that would be over already."""
    if wanted.expires_at is not None and wanted.expires_at <= dt.datetime.now(dt.UTC):
        raise invalid_field("body.expires_at", "is over already")
    values = {
        "status_text": wanted.text,
        "status_emoji": wanted.emoji,
        "status_expires_at": wanted.expires_at,
    }
    return await _change(db, viewer, values)


async def clear_status(db: AsyncConnection, viewer: Viewer) -> UserChanged:
    return await _change(db, viewer, NO_STATUS)


async def _change(db: AsyncConnection, viewer: Viewer, values: dict[str, Any]) -> UserChanged:
    """Everybody in the workspace is told; what already is so is told to nobody."""
    before = await repository.lock_user(db, viewer.workspace_id, viewer.user_id)
    if before is None or not before.active:
        raise ApiError("unauthenticated", "The account is deactivated.")
    key = user_key(viewer.user_id)
    changed = {name: value for name, value in values.items() if getattr(before, name) != value}
    if not changed:
        return UserChanged(user=user_shown(before), directory_at=directory_at(key, before.version))
    version = await repository.change_user(db, viewer.user_id, **changed)
    await enqueue_directory(db, [key])
    told = ProfileChanged(user=viewer.user_id, all=True)
    await enqueue_notice(db, viewer.workspace_id, viewer.user_id, told)
    after = await repository.find_user(db, viewer, viewer.user_id)
    assert after is not None
    return UserChanged(user=user_shown(after), directory_at=directory_at(key, version))
