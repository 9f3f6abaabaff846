"""Workspaces in PostgreSQL."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import exists, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from services.database.tables import Session, User, Workspace, row_version
from web_app.database import AnyRow

_COLUMNS = (
    Workspace.id,
    Workspace.slug,
    Workspace.name,
    Workspace.created_at,
    Workspace.max_text,
    Workspace.edit_window_s,
    Workspace.delete_window_s,
    Workspace.typing_limit,
    Workspace.who_may_create_channels,
    Workspace.who_may_invite,
    Workspace.who_may_manage_groups,
    Workspace.active,
    Workspace.version,
)


async def slug_is_taken(db: AsyncConnection, slug: str) -> bool:
    return bool(await db.scalar(select(exists(select(Workspace.id).where(Workspace.slug == slug)))))


async def add_workspace(db: AsyncConnection, workspace_id: str, slug: str, name: str) -> AnyRow | None:
    """The new row; None when another workspace has the slug."""
    added = await db.execute(
        insert(Workspace)
        .values(id=workspace_id, slug=slug, name=name, version=row_version.next_value())
        .on_conflict_do_nothing()
        .returning(Workspace.id, Workspace.created_at, Workspace.version)
    )
    return added.one_or_none()


async def find_workspace(db: AsyncConnection, workspace_id: str) -> AnyRow:
    return (await db.execute(select(*_COLUMNS).where(Workspace.id == workspace_id))).one()


async def lock_workspace(db: AsyncConnection, workspace_id: str) -> AnyRow:
    """One change at a time of a workspace, and of who is active in it as what.

    FOR NO KEY UPDATE: nobody who only refers to the workspace has to wait.
    """
    found = await db.execute(
        select(*_COLUMNS).where(Workspace.id == workspace_id).with_for_update(key_share=True)
    )
    return found.one()


async def change_workspace(db: AsyncConnection, workspace_id: str, values: Mapping[str, Any]) -> int:
    """Gives the row's new version. The caller holds its lock."""
    version = await db.scalar(
        update(Workspace)
        .where(Workspace.id == workspace_id)
        .values(**values, version=row_version.next_value())
        .returning(Workspace.version)
    )
    assert isinstance(version, int)
    return version


async def end_all_sessions(db: AsyncConnection, workspace_id: str) -> int:
    """End every session of everybody; gives how many. Their nodes end them because the workspace does."""
    people = select(User.id).where(User.workspace_id == workspace_id)
    ended = await db.execute(
        update(Session)
        .where(Session.user_id.in_(people), Session.revoked_at.is_(None))
        .values(revoked_at=func.now(), version=row_version.next_value())
    )
    return ended.rowcount
