"""Logging in, refreshing, changing the password."""

from __future__ import annotations

import datetime as dt

from sqlalchemy.ext.asyncio import AsyncConnection

from services.contract.tokens import Claims
from web_app.auth import repository
from web_app.auth.schemas import LoggedIn, LogIn, PasswordChange, Refresh, Tokens
from web_app.auth.sessions import end_sessions, hash_of_sent, issue_tokens, start_session
from web_app.database import AnyRow
from web_app.parts import Parts
from web_app.problems import ApiError
from web_app.users.schemas import Status, User
from web_app.workspaces.schemas import Workspace


async def log_in(parts: Parts, wanted: LogIn, address: str) -> LoggedIn:
    """Raises ApiError invalid_credentials, slow_down.

    The password's work is done outside of any transaction, and takes the same time whoever is meant.
    """
    parts.attempts.log_in(wanted.workspace_slug, wanted.email, address)
    password = wanted.password.get_secret_value()
    async with parts.database.reading() as db:
        account = await repository.find_account(db, wanted.workspace_slug, wanted.email)
    matches = await parts.passwords.verify(account.password_hash if account else None, password)
    if account is None or not matches or not account.active:
        parts.attempts.failed(wanted.workspace_slug, wanted.email)
        raise ApiError("invalid_credentials")
    renewed = (
        await parts.passwords.hash(password) if parts.passwords.is_outdated(account.password_hash) else None
    )
    async with parts.database.transaction() as db:
        user = await repository.lock_user(db, account.id)
        if user is None or not user.active or user.password_hash != account.password_hash:
            raise ApiError("invalid_credentials")
        if renewed is not None:
            await repository.set_password_hash(db, user.id, renewed)
        tokens = await start_session(
            db, parts.keys, parts.settings, user.id, user.workspace_id, wanted.device
        )
    return LoggedIn(user=user_shown(user), workspace=workspace_shown(user), tokens=tokens)


async def refresh(parts: Parts, wanted: Refresh) -> Tokens:
    """Trade a refresh token for new tokens.

    A token is good for one use, and a second one is taken for theft, because two hold it (RFC 9700, 4.14.2): the
    session ends. But an answer can be lost, and two processes with one token store can ask at once; so a token used
    at most `web_refresh_grace_s` ago is traded again as long as no successor of it has been used. All successors
    stay good until one is used, since nobody knows which of them arrived; from then on the token and the other
    successors are outdated, and presenting any of them ends the session. So two who hold a session between them
    cannot both go on: when the second one trades a token of theirs, at the next refresh at the latest, both are out.

    Raises ApiError refresh_invalid, refresh_reused; the latter after having ended the session.
    """
    token_hash = hash_of_sent(wanted.refresh_token)
    async with parts.database.transaction() as db:
        found = await repository.lock_refresh_token(db, token_hash, parts.settings.web_refresh_grace_s)
        if found is None or found.expired or found.revoked_at is not None or not found.active:
            raise ApiError("refresh_invalid")
        if await _is_current(db, token_hash, found):
            await repository.use_refresh_token(db, token_hash, found.session_id)
            return await issue_tokens(
                db,
                parts.keys,
                parts.settings,
                found.user_id,
                found.workspace_id,
                found.session_id,
                token_hash,
            )
        await end_sessions(db, found.user_id, "reuse", found.session_id)
    # Only now, when that is committed.
    raise ApiError("refresh_reused")


async def change_password(parts: Parts, claims: Claims, wanted: PasswordChange, address: str) -> None:
    """Set another password, and end every session but the one that asks: a password is changed because somebody may
    know it. Whoever logs in with the old one at the same moment either fails or has that session ended.

    Raises ApiError unauthenticated, invalid_credentials, slow_down, conflict.
    """
    async with parts.database.reading() as db:
        viewer = await repository.find_viewer(db, claims)
        before = await repository.find_password_hash(db, viewer.user_id)
    parts.attempts.own_password(viewer.user_id, address)
    if not await parts.passwords.verify(before, wanted.current_password.get_secret_value()):
        raise ApiError("invalid_credentials", "The current password is wrong.")
    after = await parts.passwords.hash(wanted.new_password.get_secret_value())
    async with parts.database.transaction() as db:
        now = await repository.find_password_hash(db, viewer.user_id, lock=True)
        viewer = await repository.find_viewer(
            db, claims
        )  # it may have ended while the password was worked on
        if now != before:
            raise ApiError("conflict", "The password was changed by another request at the same moment.")
        await repository.set_password_hash(db, viewer.user_id, after)
        await end_sessions(db, viewer.user_id, "password", but=viewer.session_id)


async def _is_current(db: AsyncConnection, token_hash: bytes, found: AnyRow) -> bool:
    """Whether nobody has gone on from a token that excludes this one."""
    if found.used_at is None:
        return found.parent_hash is None or not await repository.successor_was_used(db, found.parent_hash)
    return found.just_used and not await repository.successor_was_used(db, token_hash)


def user_shown(row: AnyRow) -> User:
    return User(
        id=row.id,
        name=row.name,
        email=row.email,
        role=row.role,
        active=row.active,
        created_at=row.created_at,
        display_name=row.display_name,
        title=row.title,
        avatar_url=row.avatar_url,
        time_zone=row.time_zone,
        status=status_shown(row),
    )


def status_shown(row: AnyRow) -> Status | None:
    """None also for a status whose time is over."""
    expires_at = row.status_expires_at
    if not (row.status_text or row.status_emoji):
        return None
    if expires_at is not None and expires_at <= dt.datetime.now(dt.UTC):
        return None
    return Status(text=row.status_text, emoji=row.status_emoji, expires_at=expires_at)


def workspace_shown(row: AnyRow) -> Workspace:
    return Workspace(
        id=row.workspace_id, slug=row.slug, name=row.workspace_name, created_at=row.workspace_created_at
    )
