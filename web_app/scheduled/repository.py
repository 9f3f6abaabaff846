"""Scheduled messages in PostgreSQL."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Sequence
from typing import Any, Final

from sqlalchemy import and_, delete, func, insert, select, true, update
from sqlalchemy.ext.asyncio import AsyncConnection

from services.contract.mentions import MAX_MENTIONS
from services.database.tables import (
    Channel,
    Membership,
    ScheduledMessage,
    User,
    UserGroup,
    UserGroupMember,
    Workspace,
)
from web_app.database import AnyRow

COLUMNS: Final = (
    ScheduledMessage.id,
    ScheduledMessage.channel_id,
    ScheduledMessage.text,
    ScheduledMessage.thread,
    ScheduledMessage.also_to_channel,
    ScheduledMessage.send_at,
    ScheduledMessage.failed,
)


async def count(db: AsyncConnection, user_id: str) -> int:
    found = await db.scalar(
        select(func.count()).select_from(ScheduledMessage).where(ScheduledMessage.user_id == user_id)
    )
    return int(found or 0)


async def add(db: AsyncConnection, **values: Any) -> AnyRow:
    return (await db.execute(insert(ScheduledMessage).values(**values).returning(*COLUMNS))).one()


async def list_scheduled(db: AsyncConnection, user_id: str, after: str, limit: int) -> Sequence[AnyRow]:
    """Up to `limit` + 1, in the order in which they were made: COLUMNS."""
    found = await db.execute(
        select(*COLUMNS)
        .where(ScheduledMessage.user_id == user_id, ScheduledMessage.id > after)
        .order_by(ScheduledMessage.id)
        .limit(limit + 1)
    )
    return found.all()


async def lock(db: AsyncConnection, user_id: str, id: str) -> AnyRow | None:
    """One's own, locked; None when there is none, or it has been posted by now."""
    found = await db.execute(
        select(*COLUMNS)
        .where(ScheduledMessage.id == id, ScheduledMessage.user_id == user_id)
        .with_for_update()
    )
    return found.one_or_none()


async def change(db: AsyncConnection, id: str, **values: Any) -> AnyRow:
    wanted = update(ScheduledMessage).where(ScheduledMessage.id == id).values(**values).returning(*COLUMNS)
    return (await db.execute(wanted)).one()


async def remove(db: AsyncConnection, ids: Collection[str]) -> None:
    await db.execute(delete(ScheduledMessage).where(ScheduledMessage.id.in_(ids)))


async def set_failed(db: AsyncConnection, ids: Collection[str], code: str) -> None:
    await db.execute(update(ScheduledMessage).where(ScheduledMessage.id.in_(ids)).values(failed=code))


async def lock_due(db: AsyncConnection, limit: int, now: dt.datetime | None = None) -> dict[str, str]:
    """What is due, locked, without what another web app has locked: the channel of each, by id."""
    found = await db.execute(
        select(ScheduledMessage.id, ScheduledMessage.channel_id)
        .where(ScheduledMessage.send_at <= (now or func.now()), ScheduledMessage.failed.is_(None))
        .order_by(ScheduledMessage.send_at, ScheduledMessage.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return {row.id: row.channel_id for row in found}


async def read_due(db: AsyncConnection, ids: Collection[str]) -> Sequence[AnyRow]:
    """These with what decides whether they may be posted, in the order of their times.

    The caller holds the locks of their channels: who is in them and whether they are archived stays so.
    """
    found = await db.execute(
        select(
            *COLUMNS,
            ScheduledMessage.user_id,
            User.active,
            User.role,
            User.workspace_id,
            Workspace.active.label("workspace_active"),
            Workspace.max_text,
            func.coalesce(Membership.member, False).label("member"),
            Channel.archived_at,
            Channel.posting,
        )
        .join(User, User.id == ScheduledMessage.user_id)
        .join(Workspace, Workspace.id == User.workspace_id)
        .join(Channel, Channel.id == ScheduledMessage.channel_id)
        .outerjoin(
            Membership,
            and_(
                Membership.channel_id == ScheduledMessage.channel_id,
                Membership.user_id == ScheduledMessage.user_id,
            ),
        )
        .where(ScheduledMessage.id.in_(ids))
        .order_by(ScheduledMessage.send_at, ScheduledMessage.id)
    )
    return found.all()


async def lock_channels(db: AsyncConnection, ids: Collection[str]) -> None:
    """The order of what is put into the outbox follows that of the commits."""
    await db.execute(
        select(Channel.id).where(Channel.id.in_(sorted(ids))).order_by(Channel.id).with_for_update()
    )


async def people_of(
    db: AsyncConnection, workspace_id: str, channel_id: str, groups: Collection[str], *, everybody: bool
) -> list[str]:
    """The people in a channel who are in any of these groups, or all of them; MAX_MENTIONS at most."""
    in_groups = (
        select(UserGroupMember.user_id)
        .join(UserGroup, UserGroup.id == UserGroupMember.group_id)
        .where(UserGroup.id.in_(groups), UserGroup.workspace_id == workspace_id, UserGroup.active)
    )
    meant = true() if everybody else Membership.user_id.in_(in_groups)
    found = await db.execute(
        select(Membership.user_id)
        .where(Membership.channel_id == channel_id, Membership.member)
        .where(meant)
        .order_by(Membership.user_id)
        .limit(MAX_MENTIONS)
    )
    return list(found.scalars())
