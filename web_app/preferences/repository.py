"""Preferences in PostgreSQL."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from services.database.tables import ChannelPreference, DoNotDisturb, User
from web_app.database import AnyRow


async def find_channel_preferences(db: AsyncConnection, user_id: str, channel_id: str) -> AnyRow | None:
    """muted, level."""
    found = await db.execute(
        select(ChannelPreference.muted, ChannelPreference.level).where(
            ChannelPreference.user_id == user_id, ChannelPreference.channel_id == channel_id
        )
    )
    return found.one_or_none()


async def set_channel_preferences(
    db: AsyncConnection, user_id: str, channel_id: str, values: dict[str, Any]
) -> AnyRow:
    """muted, level as they are now."""
    changed = await db.execute(
        insert(ChannelPreference)
        .values(user_id=user_id, channel_id=channel_id, **values)
        .on_conflict_do_update(index_elements=["user_id", "channel_id"], set_=values)
        .returning(ChannelPreference.muted, ChannelPreference.level)
    )
    return changed.one()


async def find_do_not_disturb(db: AsyncConnection, user_id: str) -> AnyRow:
    """starts, ends, snoozed_until (null when it is over), time_zone."""
    found = await db.execute(
        select(DoNotDisturb.starts, DoNotDisturb.ends, DoNotDisturb.snoozed_until, User.time_zone)
        .select_from(User)
        .outerjoin(DoNotDisturb, DoNotDisturb.user_id == User.id)
        .where(User.id == user_id)
    )
    return found.one()


async def set_do_not_disturb(db: AsyncConnection, user_id: str, values: dict[str, Any]) -> None:
    await db.execute(
        insert(DoNotDisturb)
        .values(user_id=user_id, **values)
        .on_conflict_do_update(index_elements=["user_id"], set_=values)
    )
