"""People and invitations in PostgreSQL."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from sqlalchemy import delete, exists, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from services.database.tables import Invite, User, Workspace, row_version
from web_app.auth.repository import Viewer
from web_app.database import AnyRow

COLUMNS = (User.id, User.name, User.email, User.role, User.active, User.created_at, User.version)


async def list_users(db: AsyncConnection, workspace_id: str, after: str, limit: int) -> Sequence[AnyRow]:
    """Up to `limit` + 1 people, oldest first."""
    found = await db.execute(
        select(*COLUMNS)
        .where(User.workspace_id == workspace_id, User.id > after)
        .order_by(User.id)
        .limit(limit + 1)
    )
    return found.all()


async def find_with_workspace(db: AsyncConnection, user_id: str) -> AnyRow:
    found = await db.execute(
        select(
            *COLUMNS,
            User.workspace_id,
            Workspace.slug,
            Workspace.name.label("workspace_name"),
            Workspace.created_at.label("workspace_created_at"),
        )
        .join(Workspace, Workspace.id == User.workspace_id)
        .where(User.id == user_id)
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


async def set_role(db: AsyncConnection, user_id: str, role: str) -> None:
    """Roles are not told to channel servers, so the version stays. The caller holds the row's lock."""
    await db.execute(update(User).where(User.id == user_id).values(role=role))


async def set_active(db: AsyncConnection, user_id: str, active: bool) -> int:
    """Gives the row's new version. The caller holds its lock."""
    version = await db.scalar(
        update(User)
        .where(User.id == user_id)
        .values(active=active, version=row_version.next_value())
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


async def add_invite(
    db: AsyncConnection,
    *,
    invite_id: str,
    workspace_id: str,
    email: str,
    role: str,
    token_hash: bytes,
    invited_by: str,
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
            expires_at=expires_at,
        )
    )


async def find_open_invite(db: AsyncConnection, token_hash: bytes, *, lock: bool = False) -> AnyRow | None:
    """An invitation that is neither used nor expired, with its workspace."""
    wanted = (
        select(
            Invite.id,
            Invite.email,
            Invite.role,
            Invite.workspace_id,
            Workspace.slug,
            Workspace.name.label("workspace_name"),
            Workspace.created_at.label("workspace_created_at"),
        )
        .join(Workspace, Workspace.id == Invite.workspace_id)
        .where(Invite.token_hash == token_hash, Invite.accepted_at.is_(None), Invite.expires_at > func.now())
    )
    found = await db.execute(wanted.with_for_update(of=Invite) if lock else wanted)
    return found.one_or_none()


async def list_invites(db: AsyncConnection, workspace_id: str, after: str, limit: int) -> Sequence[AnyRow]:
    """Up to `limit` + 1 invitations that can still be accepted, oldest first."""
    found = await db.execute(
        select(Invite.id, Invite.email, Invite.role, Invite.invited_by, Invite.expires_at)
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
    """An invitation that nobody has accepted, and nobody accepts before this transaction ends: its role."""
    found = await db.execute(
        select(Invite.role)
        .where(Invite.id == invite_id, Invite.workspace_id == workspace_id, Invite.accepted_at.is_(None))
        .with_for_update()
    )
    return found.one_or_none()


async def remove_invite(db: AsyncConnection, invite_id: str) -> None:
    await db.execute(delete(Invite).where(Invite.id == invite_id))


async def use_invite(db: AsyncConnection, invite_id: str) -> None:
    await db.execute(update(Invite).where(Invite.id == invite_id).values(accepted_at=func.now()))
