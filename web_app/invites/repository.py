"""Invitations in PostgreSQL."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from services.database.tables import Invite, User, Workspace
from web_app.database import AnyRow

_COLUMNS = (
    Invite.id,
    Invite.email,
    Invite.role,
    Invite.invited_by,
    Invite.channel_ids,
    Invite.expires_at,
)
_INVITER = (Workspace.who_may_invite, User.role.label("inviter_role"), User.active.label("inviter_active"))
"""What decides whether who made it could still make it."""


async def add_invite(
    db: AsyncConnection,
    *,
    invite_id: str,
    workspace_id: str,
    email: str,
    role: str,
    token_hash: bytes,
    invited_by: str,
    channel_ids: Sequence[str],
    expires_at: dt.datetime,
) -> None:
    await db.execute(
        insert(Invite).values(
            id=invite_id,
            workspace_id=workspace_id,
            email=email,
            role=role,
            token_hash=token_hash,
            invited_by=invited_by,
            channel_ids=list(channel_ids),
            expires_at=expires_at,
        )
    )


async def find_open_invite(db: AsyncConnection, token_hash: bytes, *, lock: bool = False) -> AnyRow | None:
    """An invitation that is neither used nor expired, with its workspace, and who made it as they are now."""
    wanted = (
        select(
            Invite.id,
            Invite.email,
            Invite.role,
            Invite.workspace_id,
            Invite.invited_by,
            Invite.channel_ids,
            Workspace.slug,
            Workspace.name.label("workspace_name"),
            Workspace.created_at.label("workspace_created_at"),
            *_INVITER,
        )
        .join(Workspace, Workspace.id == Invite.workspace_id)
        .join(User, User.id == Invite.invited_by)
        .where(
            Invite.token_hash == token_hash,
            Invite.accepted_at.is_(None),
            Invite.expires_at > func.now(),
            Workspace.active,
        )
    )
    found = await db.execute(wanted.with_for_update(of=Invite) if lock else wanted)
    return found.one_or_none()


async def list_invites(db: AsyncConnection, workspace_id: str, after: str, limit: int) -> Sequence[AnyRow]:
    """Up to `limit` + 1 invitations that can still be accepted, oldest first."""
    found = await db.execute(
        select(*_COLUMNS)
        .where(
            Invite.workspace_id == workspace_id,
            Invite.id > after,
            Invite.accepted_at.is_(None),
            Invite.expires_at > func.now(),
        )
        .order_by(Invite.id)
        .limit(limit + 1)
    )
    return found.all()


async def lock_invite(db: AsyncConnection, workspace_id: str, invite_id: str) -> AnyRow | None:
    """An invitation that nobody has accepted, and nobody accepts before this transaction ends; and who made it."""
    found = await db.execute(
        select(*_COLUMNS, *_INVITER)
        .join(Workspace, Workspace.id == Invite.workspace_id)
        .join(User, User.id == Invite.invited_by)
        .where(Invite.id == invite_id, Invite.workspace_id == workspace_id, Invite.accepted_at.is_(None))
        .with_for_update(of=Invite)
    )
    return found.one_or_none()


async def renew_invite(
    db: AsyncConnection, invite_id: str, token_hash: bytes, invited_by: str, expires_at: dt.datetime
) -> None:
    """Another token and another end, and who answers for it; the token of before is worthless."""
    await db.execute(
        update(Invite)
        .where(Invite.id == invite_id)
        .values(token_hash=token_hash, invited_by=invited_by, expires_at=expires_at)
    )


async def remove_invite(db: AsyncConnection, invite_id: str) -> None:
    await db.execute(delete(Invite).where(Invite.id == invite_id))


async def use_invite(db: AsyncConnection, invite_id: str) -> None:
    await db.execute(update(Invite).where(Invite.id == invite_id).values(accepted_at=func.now()))
