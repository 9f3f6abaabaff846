"""Sessions, refresh tokens, and the one query behind every authenticated request."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import bindparam, exists, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from services.contract.tokens import Claims
from services.database.tables import RefreshToken, Session, User, Workspace, row_version
from web_app.database import AnyRow, AnySelect
from web_app.problems import ApiError


class Viewer(NamedTuple):
    """Who asks, as the database knows them now."""

    user_id: str
    workspace_id: str
    session_id: str
    role: str

    @property
    def is_admin(self) -> bool:
        return self.role in ("owner", "admin")

    @property
    def is_guest(self) -> bool:
        return self.role == "guest"


VIEWER_COLUMNS = (
    User.id.label("user_id"),
    User.workspace_id,
    Session.id.label("session_id"),
    User.role,
    User.active,
    Session.revoked_at,
    select(Workspace.active)
    .where(Workspace.id == User.workspace_id)
    .correlate(User)
    .scalar_subquery()
    .label("workspace_active"),
)
_VIEWER: AnySelect = (
    select(*VIEWER_COLUMNS)
    .join_from(Session, User, User.id == Session.user_id)
    .where(Session.id == bindparam("session_id"))
)


async def find_viewer(db: AsyncConnection, claims: Claims) -> Viewer:
    """Raises ApiError unauthenticated when the session has ended or the person is deactivated."""
    return viewer_of((await db.execute(_VIEWER, {"session_id": claims.session_id})).one_or_none(), claims)


def viewer_of(row: AnyRow | None, claims: Claims) -> Viewer:
    """From a row with VIEWER_COLUMNS. Raises ApiError unauthenticated."""
    if row is None or row.user_id != claims.user_id or row.workspace_id != claims.workspace_id:
        raise ApiError("unauthenticated", "The session is unknown.")
    if row.revoked_at is not None:
        raise ApiError("unauthenticated", "The session has ended.")
    if not row.workspace_active:
        raise ApiError("unauthenticated", "The workspace was deleted.")
    if not row.active:
        raise ApiError("unauthenticated", "The account is deactivated.")
    return Viewer(row.user_id, row.workspace_id, row.session_id, row.role)


async def find_account(db: AsyncConnection, workspace_slug: str, email: str) -> AnyRow | None:
    """The person with this e-mail address in this workspace: id, password_hash, active."""
    found = await db.execute(
        select(User.id, User.password_hash, User.active)
        .join(Workspace, Workspace.id == User.workspace_id)
        .where(
            Workspace.slug == workspace_slug, Workspace.active, func.lower(User.email) == func.lower(email)
        )
    )
    return found.one_or_none()


async def lock_user(db: AsyncConnection, user_id: str) -> AnyRow | None:
    """The person and their workspace; nobody deactivates them before this transaction ends."""
    found = await db.execute(
        select(
            User,
            Workspace.slug,
            Workspace.name.label("workspace_name"),
            Workspace.created_at.label("workspace_created_at"),
        )
        .join(Workspace, Workspace.id == User.workspace_id)
        .where(User.id == user_id, Workspace.active)
        .with_for_update(of=User, read=True)
    )
    return found.one_or_none()


async def find_password_hash(db: AsyncConnection, user_id: str, *, lock: bool = False) -> str:
    """`lock`: nobody logs in to the account or changes it before this transaction ends."""
    wanted = select(User.password_hash).where(User.id == user_id)
    found = await db.scalar(wanted.with_for_update(key_share=True) if lock else wanted)
    assert isinstance(found, str)
    return found


async def set_password_hash(db: AsyncConnection, user_id: str, password_hash: str) -> None:
    await db.execute(update(User).where(User.id == user_id).values(password_hash=password_hash))


async def add_session(db: AsyncConnection, session_id: str, user_id: str, device: str) -> None:
    await db.execute(
        insert(Session).values(
            id=session_id, user_id=user_id, device=device, version=row_version.next_value()
        )
    )


async def add_refresh_token(
    db: AsyncConnection,
    token_hash: bytes,
    session_id: str,
    expires_at: dt.datetime,
    parent_hash: bytes | None,
) -> None:
    await db.execute(
        insert(RefreshToken).values(
            token_hash=token_hash, session_id=session_id, expires_at=expires_at, parent_hash=parent_hash
        )
    )


async def lock_refresh_token(db: AsyncConnection, token_hash: bytes, grace_s: int) -> AnyRow | None:
    """The token with its session, both locked, and person; `just_used`: used, at most `grace_s` seconds ago.

    Another use of any of the session's tokens waits here until this one has committed.
    """
    just_used = RefreshToken.used_at > func.now() - func.make_interval(0, 0, 0, 0, 0, 0, grace_s)
    found = await db.execute(
        select(
            RefreshToken.session_id,
            RefreshToken.parent_hash,
            RefreshToken.used_at,
            func.coalesce(just_used, False).label("just_used"),
            (RefreshToken.expires_at <= func.now()).label("expired"),
            Session.user_id,
            Session.revoked_at,
            User.workspace_id,
            User.active,
        )
        .join(Session, Session.id == RefreshToken.session_id)
        .join(User, User.id == Session.user_id)
        .where(RefreshToken.token_hash == token_hash)
        .with_for_update(of=(RefreshToken, Session))
    )
    return found.one_or_none()


async def successor_was_used(db: AsyncConnection, token_hash: bytes) -> bool:
    """Whether any token that was given for this one has been used. The caller holds the session's lock."""
    used = select(RefreshToken.token_hash).where(
        RefreshToken.parent_hash == token_hash, RefreshToken.used_at.is_not(None)
    )
    return bool(await db.scalar(select(exists(used))))


async def use_refresh_token(db: AsyncConnection, token_hash: bytes, session_id: str) -> None:
    """Mark the token used, unless it is already, and its session alive. The caller holds their locks."""
    await db.execute(update(Session).where(Session.id == session_id).values(last_used_at=func.now()))
    await db.execute(
        update(RefreshToken)
        .where(RefreshToken.token_hash == token_hash, RefreshToken.used_at.is_(None))
        .values(used_at=func.now())
    )


async def list_sessions(db: AsyncConnection, user_id: str, after: str, limit: int) -> Sequence[AnyRow]:
    """Up to `limit` + 1 sessions that have not ended, oldest first."""
    found = await db.execute(
        select(Session.id, Session.device, Session.created_at, Session.last_used_at)
        .where(Session.user_id == user_id, Session.revoked_at.is_(None), Session.id > after)
        .order_by(Session.id)
        .limit(limit + 1)
    )
    return found.all()


async def revoke_sessions(
    db: AsyncConnection, user_id: str, session_id: str | None = None, *, but: str | None = None
) -> list[tuple[str, int]]:
    """End one session of this person, or all, or all `but` one: those that had not ended yet, with their new versions."""
    wanted = select(Session.id).where(Session.user_id == user_id, Session.revoked_at.is_(None))
    if session_id is not None:
        wanted = wanted.where(Session.id == session_id)
    if but is not None:
        wanted = wanted.where(Session.id != but)
    locked = (await db.execute(wanted.order_by(Session.id).with_for_update())).scalars().all()
    if not locked:
        return []
    ended = await db.execute(
        update(Session)
        .where(Session.id.in_(locked))
        .values(revoked_at=func.now(), version=row_version.next_value())
        .returning(Session.id, Session.version)
    )
    return sorted(((row.id, row.version) for row in ended), key=lambda pair: pair[1])
