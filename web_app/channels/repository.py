"""Channels in PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, and_, exists, func, literal_column, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from services.database.tables import Channel, Membership, row_version
from web_app.auth.repository import Viewer
from web_app.database import AnyRow, AnySelect

_LAST = "\U0010ffff"
"""The greatest character."""

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
    Channel.is_default,
    Channel.posting,
    Channel.adding,
    Channel.member_count,
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


async def find_channels(db: AsyncConnection, viewer: Viewer, channel_ids: Sequence[str]) -> Sequence[AnyRow]:
    """Those of these channels that the viewer may see."""
    found = await db.execute(
        _with_membership(viewer).where(Channel.id.in_(channel_ids), _visible(viewer)).order_by(Channel.id)
    )
    return found.all()


async def lock_first_channels(
    db: AsyncConnection, inviter: Viewer, channel_ids: Sequence[str], *, default: bool
) -> Sequence[AnyRow]:
    """(id, is_default) of these channels, as far as the inviter may add people to them, and, if `default`, of the
    default ones, with their rows locked.

    Archived ones are left out. In the order of their ids, so that two newcomers never wait for each other.
    """
    every: ColumnElement[bool] = Channel.id.in_(channel_ids)
    if default:
        every = or_(every, Channel.is_default)
    locked = await db.execute(
        select(Channel.id)
        .where(Channel.workspace_id == inviter.workspace_id, every)
        .order_by(Channel.id)
        .with_for_update()
    )
    inside = exists().where(
        Membership.channel_id == Channel.id, Membership.user_id == inviter.user_id, Membership.member
    )
    adds = inside if inviter.is_admin else and_(inside, Channel.adding == "everyone")
    named = and_(Channel.id.in_(channel_ids), adds)
    found = await db.execute(
        select(Channel.id, Channel.is_default)
        .where(Channel.id.in_(locked.scalars().all()), Channel.archived_at.is_(None))
        .where(or_(named, Channel.is_default) if default else named)
        .order_by(Channel.id)
    )
    return found.all()


async def browse(
    db: AsyncConnection, viewer: Viewer, *, prefix: str, after: str, limit: int
) -> Sequence[AnyRow]:
    """Up to `limit` + 1 public channels that are not archived, in the order of their names in lower case (`key`).

    One range of an index, whose collation makes a prefix a range.
    """
    key = func.lower(Channel.name).collate("C")
    # A literal, not a parameter: a generic plan can use the partial index only if it sees the word.
    public = Channel.kind == literal_column("'public'")
    wanted = _with_membership(viewer).add_columns(key.label("key")).where(public)
    wanted = wanted.where(Channel.archived_at.is_(None), key > after)
    if prefix:
        lower = func.lower(prefix)
        wanted = wanted.where(key >= lower, key < func.concat(lower, _LAST))
    return (await db.execute(wanted.order_by(key).limit(limit + 1))).all()


async def count_members(db: AsyncConnection, channel_id: str, change: int) -> int:
    """Note how many members come (or, negative, go): gives the version of their memberships.

    The caller holds the row's lock.
    """
    version = await db.scalar(
        update(Channel)
        .where(Channel.id == channel_id)
        .values(member_count=Channel.member_count + change)
        .returning(row_version.next_value())
    )
    assert isinstance(version, int)
    return version


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
    member_count: int,
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
            member_count=member_count,
            version=version,
        )
        .on_conflict_do_nothing()
        .returning(Channel.id)
    )
    return added.one_or_none() is not None


async def change_channel(db: AsyncConnection, channel_id: str, **values: Any) -> None:
    """Raises sqlalchemy.exc.IntegrityError when another channel has the name."""
    await db.execute(update(Channel).where(Channel.id == channel_id).values(**values))
