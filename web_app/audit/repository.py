"""The audit log in PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from services.contract.ids import new_entity_id
from services.database.tables import AuditEntry
from web_app.audit.schemas import AuditAction
from web_app.auth.repository import Viewer
from web_app.database import AnyRow


async def record(
    db: AsyncConnection, viewer: Viewer, action: AuditAction, target: str | None = None, **details: Any
) -> None:
    """Note an administrative act of the viewer's. `details` are JSON and never a secret; None is left out."""
    await db.execute(
        insert(AuditEntry).values(
            id=new_entity_id("aud"),
            workspace_id=viewer.workspace_id,
            actor_id=viewer.user_id,
            action=action,
            target=target,
            details={name: value for name, value in details.items() if value is not None},
        )
    )


async def list_entries(
    db: AsyncConnection,
    workspace_id: str,
    *,
    before: str | None,
    limit: int,
    action: str | None,
    actor_id: str | None,
    target: str | None,
) -> Sequence[AnyRow]:
    """Up to `limit` + 1 entries, the newest first."""
    wanted = select(
        AuditEntry.id,
        AuditEntry.actor_id,
        AuditEntry.action,
        AuditEntry.target,
        AuditEntry.details,
        AuditEntry.created_at,
    ).where(AuditEntry.workspace_id == workspace_id)
    if before is not None:
        wanted = wanted.where(AuditEntry.id < before)
    for column, value in (
        (AuditEntry.action, action),
        (AuditEntry.actor_id, actor_id),
        (AuditEntry.target, target),
    ):
        if value is not None:
            wanted = wanted.where(column == value)
    return (await db.execute(wanted.order_by(AuditEntry.id.desc()).limit(limit + 1))).all()
