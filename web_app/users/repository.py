"""People and invitations in PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, and_, exists, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.orm import aliased

from services.database.tables import Membership, User, Workspace, row_version
from web_app.auth.repository import Viewer
from web_app.database import AnyRow

COLUMNS = (
    User.id,
    User.name,
    User.email,
    User.role,
    User.active,
    User.created_at,
    User.version,
    User.display_name,
    User.title,
    User.avatar_url,
    User.time_zone,
    User.status_text,
    User.status_emoji,
    User.status_expires_at,
)

WITH_WORKSPACE: Final = (
    *COLUMNS,
    User.workspace_id,
    Workspace.slug,
    Workspace.name.label("workspace_name"),
    Workspace.created_at.label("workspace_created_at"),
)
"""Of a person and of the workspace joined to them."""


def _visible(viewer: Viewer) -> ColumnElement[bool]:
    """Everybody in the workspace; for guests themselves and those with whom they share a channel."""
    here = User.workspace_id == viewer.workspace_id
    return and_(here, _shares_with(viewer)) if viewer.is_guest else here


def _shares_with(viewer: Viewer) -> ColumnElement[bool]:
    mine, theirs = aliased(Membership), aliased(Membership)
    shared = (
        select(theirs.user_id)
        .join(mine, mine.channel_id == theirs.channel_id)
        .where(mine.user_id == viewer.user_id, mine.member, theirs.user_id == User.id, theirs.member)
    )
    return or_(User.id == viewer.user_id, exists(shared))


async def list_users(db: AsyncConnection, viewer: Viewer, after: str, limit: int) -> Sequence[AnyRow]:
    """Up to `limit` + 1 people whom the viewer may see, oldest first."""
    found = await db.execute(
        select(*COLUMNS).where(_visible(viewer), User.id > after).order_by(User.id).limit(limit + 1)
    )
    return found.all()


async def find_user(db: AsyncConnection, viewer: Viewer, user_id: str) -> AnyRow | None:
    """Somebody whom the viewer may see."""
    found = await db.execute(select(*COLUMNS).where(User.id == user_id, _visible(viewer)))
    return found.one_or_none()


async def visible_among(db: AsyncConnection, viewer: Viewer, user_ids: Sequence[str]) -> set[str]:
    """Those of these people whom the viewer may see."""
    found = await db.execute(select(User.id).where(User.id.in_(user_ids), _visible(viewer)))
    return set(found.scalars())


async def find_with_workspace(db: AsyncConnection, user_id: str) -> AnyRow:
    found = await db.execute(
        select(*WITH_WORKSPACE).join(Workspace, Workspace.id == User.workspace_id).where(User.id == user_id)
    )
    return found.one()


async def lock_staff(db: AsyncConnection, workspace_id: str) -> None:
    """One change at a time of who is active in a workspace, and as what: so that the last two owners cannot deactivate
    each other.

    FOR NO KEY UPDATE: nobody who only refers to the workspace has to wait.
    """
    await db.execute(select(Workspace.id).where(Workspace.id == workspace_id).with_for_update(key_share=True))


async def lock_user(db: AsyncConnection, workspace_id: str, user_id: str) -> AnyRow | None:
    found = await db.execute(
        select(*COLUMNS)
        .where(User.id == user_id, User.workspace_id == workspace_id)
        .with_for_update(key_share=True)
    )
    return found.one_or_none()


async def has_other_owner(db: AsyncConnection, workspace_id: str, user_id: str) -> bool:
    """Whether somebody else is an active owner."""
    others = select(User.id).where(
        User.workspace_id == workspace_id, User.role == "owner", User.active, User.id != user_id
    )
    return bool(await db.scalar(select(exists(others))))


async def find_acting(db: AsyncConnection, viewer: Viewer) -> Viewer:
    """The viewer with their role as it is now, after having waited for a lock; guests may do least.

    Somebody who has been deactivated meanwhile has no say any more.
    """
    found = await db.execute(select(User.role, User.active).where(User.id == viewer.user_id))
    row = found.one()
    return viewer._replace(role=row.role if row.active else "guest")


async def set_role(db: AsyncConnection, user_id: str, role: str) -> int:
    """Gives the row's new version. The caller holds its lock, or the workspace's."""
    return await change_user(db, user_id, role=role)


async def set_active(db: AsyncConnection, user_id: str, active: bool) -> int:
    """Gives the row's new version. The caller holds its lock, or the workspace's."""
    return await change_user(db, user_id, active=active)


async def change_user(db: AsyncConnection, user_id: str, **values: Any) -> int:
    """What channel servers hear of, too: gives the row's new version."""
    version = await db.scalar(
        update(User)
        .where(User.id == user_id)
        .values(**values, version=row_version.next_value())
        .returning(User.version)
    )
    assert isinstance(version, int)
    return version


async def add_user(
    db: AsyncConnection,
    *,
    user_id: str,
    workspace_id: str,
    email: str,
    name: str,
    password_hash: str,
    role: str,
) -> AnyRow | None:
    """The new row; None when the workspace has somebody with this e-mail address."""
    added = await db.execute(
        insert(User)
        .values(
            id=user_id,
            workspace_id=workspace_id,
            email=email,
            name=name,
            password_hash=password_hash,
            role=role,
            version=row_version.next_value(),
        )
        .on_conflict_do_nothing()
        .returning(*COLUMNS)
    )
    return added.one_or_none()


async def email_is_taken(db: AsyncConnection, workspace_id: str, email: str) -> bool:
    somebody = select(User.id).where(
        User.workspace_id == workspace_id, func.lower(User.email) == func.lower(email)
    )
    return bool(await db.scalar(select(exists(somebody))))
