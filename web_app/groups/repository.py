"""User groups in PostgreSQL. Members are written only while the group's row is locked, or in the transaction that adds it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ARRAY, Text, bindparam, delete, func, literal, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from services.database.tables import User, UserGroup, UserGroupMember, row_version
from web_app.database import AnyRow

_COUNT = (
    select(func.count())
    .where(UserGroupMember.group_id == UserGroup.id)
    .correlate(UserGroup)
    .scalar_subquery()
    .label("member_count")
)
_COLUMNS = (
    UserGroup.id,
    UserGroup.handle,
    UserGroup.name,
    UserGroup.description,
    UserGroup.created_by,
    UserGroup.created_at,
    UserGroup.version,
)


async def list_groups(db: AsyncConnection, workspace_id: str, after: str, limit: int) -> Sequence[AnyRow]:
    """Up to `limit` + 1 groups, oldest first."""
    found = await db.execute(
        select(*_COLUMNS, _COUNT)
        .where(UserGroup.workspace_id == workspace_id, UserGroup.active, UserGroup.id > after)
        .order_by(UserGroup.id)
        .limit(limit + 1)
    )
    return found.all()


async def find_group(db: AsyncConnection, workspace_id: str, group_id: str) -> AnyRow | None:
    found = await db.execute(
        select(*_COLUMNS, _COUNT).where(
            UserGroup.id == group_id, UserGroup.workspace_id == workspace_id, UserGroup.active
        )
    )
    return found.one_or_none()


async def lock_group(db: AsyncConnection, workspace_id: str, group_id: str) -> AnyRow | None:
    """As `find_group`, with the row locked.

    Two statements: a single one would count the members as they were before the wait for the lock.
    """
    await db.execute(
        select(UserGroup.id)
        .where(UserGroup.id == group_id, UserGroup.workspace_id == workspace_id)
        .with_for_update(key_share=True)
    )
    return await find_group(db, workspace_id, group_id)


async def members_of(db: AsyncConnection, group_id: str) -> list[str]:
    found = await db.execute(
        select(UserGroupMember.user_id)
        .where(UserGroupMember.group_id == group_id)
        .order_by(UserGroupMember.user_id)
    )
    return list(found.scalars())


async def active_people(db: AsyncConnection, workspace_id: str, user_ids: Sequence[str]) -> set[str]:
    """Those of these ids who are active people of the workspace."""
    found = await db.execute(
        select(User.id).where(
            User.id == func.any(_ids(user_ids)), User.workspace_id == workspace_id, User.active
        )
    )
    return set(found.scalars())


async def add_group(
    db: AsyncConnection,
    *,
    group_id: str,
    workspace_id: str,
    handle: str,
    name: str,
    description: str,
    created_by: str,
) -> int | None:
    """The new row's version; None when another group has the handle."""
    added = await db.execute(
        insert(UserGroup)
        .values(
            id=group_id,
            workspace_id=workspace_id,
            handle=handle,
            name=name,
            description=description,
            created_by=created_by,
            version=row_version.next_value(),
        )
        .on_conflict_do_nothing()
        .returning(UserGroup.version)
    )
    version: int | None = added.scalar_one_or_none()
    return version


async def change_group(db: AsyncConnection, group_id: str, **values: Any) -> int:
    """Gives the row's new version. Raises sqlalchemy.exc.IntegrityError when another group has the handle."""
    version = await db.scalar(
        update(UserGroup)
        .where(UserGroup.id == group_id)
        .values(**values, version=row_version.next_value())
        .returning(UserGroup.version)
    )
    assert isinstance(version, int)
    return version


async def add_members(db: AsyncConnection, group_id: str, user_ids: Sequence[str]) -> list[str]:
    """Those who were not in it before."""
    people = select(literal(group_id), func.unnest(_ids(user_ids)))
    added = await db.execute(
        insert(UserGroupMember)
        .from_select(["group_id", "user_id"], people)
        .on_conflict_do_nothing()
        .returning(UserGroupMember.user_id)
    )
    return sorted(added.scalars())


async def remove_member(db: AsyncConnection, group_id: str, user_id: str) -> bool:
    """False when they were not in it."""
    removed = await db.execute(
        delete(UserGroupMember).where(
            UserGroupMember.group_id == group_id, UserGroupMember.user_id == user_id
        )
    )
    return bool(removed.rowcount)


def _ids(user_ids: Sequence[str]) -> Any:
    return bindparam("user_ids", list(user_ids), type_=ARRAY(Text), unique=True)
