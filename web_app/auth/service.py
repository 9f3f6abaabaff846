"""Logging in, refreshing, logging out."""

from __future__ import annotations

from web_app.auth import repository
from web_app.auth.schemas import LoggedIn, LogIn, Refresh, Tokens
from web_app.auth.sessions import end_sessions, hash_of_sent, issue_tokens, start_session
from web_app.database import AnyRow
from web_app.parts import Parts
from web_app.problems import ApiError
from web_app.users.schemas import User
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
    """Raises ApiError refresh_invalid, refresh_reused; the latter after having ended the session."""
    token_hash = hash_of_sent(wanted.refresh_token)
    async with parts.database.transaction() as db:
        found = await repository.lock_refresh_token(db, token_hash)
        if found is None or found.expired or found.revoked_at is not None or not found.active:
            raise ApiError("refresh_invalid")
        if found.used_at is None:
            if not await repository.use_refresh_token(db, token_hash, found.session_id):
                raise ApiError("refresh_invalid")
            return await issue_tokens(
                db, parts.keys, parts.settings, found.user_id, found.workspace_id, found.session_id
            )
        await end_sessions(db, found.user_id, "reuse", found.session_id)
    # Only now, when that is committed.
    raise ApiError("refresh_reused")


def user_shown(row: AnyRow) -> User:
    return User(
        id=row.id, name=row.name, email=row.email, role=row.role, active=row.active, created_at=row.created_at
    )


def workspace_shown(row: AnyRow) -> Workspace:
    return Workspace(
        id=row.workspace_id, slug=row.slug, name=row.workspace_name, created_at=row.workspace_created_at
    )
