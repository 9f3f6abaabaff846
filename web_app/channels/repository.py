"""Channels in PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, and_, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from services.database.tables import Channel, Membership, row_version
from web_app.auth.repository import Viewer
from web_app.database import AnyRow, AnySelect

_COLUMNS = (
    Channel.id,
    Channel.kind,
    Channel.name,
    Channel.topic,
    Channel.direct_key,
    Channel.created_by,
    Channel.created_at,
    Channel.archived_at,
    Channel.version,
)


def _with_membership(viewer: Viewer) -> AnySelect:
    """Channels of the viewer's workspace with `member` and `member_version` of the viewer."""
    return (
        select(
            *_COLUMNS,
            func.coalesce(Membership.member, False).label("member"),
            func.coalesce(Membership.version, 0).label("member_version"),
        )
        .outerjoin(
            Membership, and_(Membership.channel_id == Channel.id, Membership.user_id == viewer.user_id)
        )
        .where(Channel.workspace_id == viewer.workspace_id)
    )


def _visible(viewer: Viewer) -> ColumnElement[bool]:
    if viewer.is_guest:
        return Membership.member.is_(True)
    return or_(Channel.kind == "public", Membership.member.is_(True))


async def list_channels(
    db: AsyncConnection, viewer: Viewer, after: str, limit: int, *, only_mine: bool
) -> Sequence[AnyRow]:
    """Up to `limit` + 1 channels that the viewer may see, oldest first."""
    wanted = Membership.member.is_(True) if only_mine else _visible(viewer)
    found = await db.execute(
        _with_membership(viewer).where(wanted, Channel.id > after).order_by(Channel.id).limit(limit + 1)
    )
    return found.all()


async def find_channel(db: AsyncConnection, viewer: Viewer, channel_id: str) -> AnyRow | None:
    """The channel, if the viewer may see it."""
    found = await db.execute(_with_membership(viewer).where(Channel.id == channel_id, _visible(viewer)))
    return found.one_or_none()


async def lock_channel(db: AsyncConnection, viewer: Viewer, channel_id: str) -> AnyRow | None:
    """As `find_channel`, with the channel's row locked until the transaction ends.

    Two statements: a single one would read the membership as it was before the wait for the lock.
    """
    await db.execute(
        select(Channel.id)
        .where(Channel.id == channel_id, Channel.workspace_id == viewer.workspace_id)
        .with_for_update()
    )
    return await find_channel(db, viewer, channel_id)


async def lock_default_channel(db: AsyncConnection, workspace_id: str) -> str | None:
    """The id of the channel that new people are put into, with its row locked; None when it is archived."""
    found = await db.execute(
        select(Channel.id)
        .where(Channel.workspace_id == workspace_id, Channel.is_default, Channel.archived_at.is_(None))
        .with_for_update()
    )
    return found.scalar_one_or_none()


async def find_direct(db: AsyncConnection, viewer: Viewer, direct_key: str) -> AnyRow | None:
    found = await db.execute(_with_membership(viewer).where(Channel.direct_key == direct_key))
    return found.one_or_none()


async def draw_version(db: AsyncConnection) -> int:
    """The next row version. Only while the row that gets it is locked, or not yet there."""
    version = await db.scalar(select(row_version.next_value()))
    assert isinstance(version, int)
    return version


async def add_channel(
    db: AsyncConnection,
    *,
    channel_id: str,
    workspace_id: str,
    kind: str,
    name: str,
    topic: str,
    direct_key: str | None,
    created_by: str,
    is_default: bool,
    version: int,
) -> bool:
    """False when another one has the name, or is the direct channel of the same people.

    Another transaction that is just about to add that one is waited for.
    """
    added = await db.execute(
        insert(Channel)
        .values(
            id=channel_id,
            workspace_id=workspace_id,
            kind=kind,
            name=name,
            topic=topic,
            direct_key=direct_key,
            created_by=created_by,
            is_default=is_default,
            version=version,
        )
        .on_conflict_do_nothing()
        .returning(Channel.id)
    )
    return added.one_or_none() is not None


async def change_channel(db: AsyncConnection, channel_id: str, **values: Any) -> None:
    """Raises sqlalchemy.exc.IntegrityError when another channel has the name."""
    await db.execute(update(Channel).where(Channel.id == channel_id).values(**values))
