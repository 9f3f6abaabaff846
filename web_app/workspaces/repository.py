"""Workspaces in PostgreSQL."""

from __future__ import annotations

from sqlalchemy import exists, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from services.database.tables import Workspace, row_version
from web_app.database import AnyRow


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
