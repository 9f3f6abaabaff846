"""Starting and ending sessions: the tokens of one, and what everybody must hear when it is over."""

from __future__ import annotations

import datetime as dt
import hashlib
import secrets
import time

from pydantic import SecretStr
from sqlalchemy.ext.asyncio import AsyncConnection

from services.contract.ids import new_entity_id
from services.contract.tokens import Claims
from services.database.outbox import enqueue_directory
from web_app import metrics
from web_app.auth import repository
from web_app.auth.keys import KeyRing
from web_app.auth.schemas import Tokens
from web_app.settings import WebSettings


def new_secret() -> str:
    """256 random bits, in 43 characters that need no quoting anywhere."""
    return secrets.token_urlsafe(32)


def hash_of(secret: str) -> bytes:
    """What is stored of a random token. A plain hash will do: 256 bits cannot be guessed."""
    return hashlib.sha256(secret.encode()).digest()


def hash_of_sent(secret: SecretStr) -> bytes:
    return hash_of(secret.get_secret_value())


async def start_session(
    db: AsyncConnection, keys: KeyRing, settings: WebSettings, user_id: str, workspace_id: str, device: str
) -> Tokens:
    """A new session with its first tokens."""
    session_id = new_entity_id("ses")
    await repository.add_session(db, session_id, user_id, device)
    return await issue_tokens(db, keys, settings, user_id, workspace_id, session_id)


async def issue_tokens(
    db: AsyncConnection,
    keys: KeyRing,
    settings: WebSettings,
    user_id: str,
    workspace_id: str,
    session_id: str,
    parent_hash: bytes | None = None,
) -> Tokens:
    """The next pair of tokens of a session, in exchange for the refresh token with `parent_hash`."""
    refresh_token = new_secret()
    expires_at = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=settings.web_refresh_token_s)
    await repository.add_refresh_token(db, hash_of(refresh_token), session_id, expires_at, parent_hash)
    now = int(time.time())
    lifetime = settings.web_access_token_s
    access_token = keys.sign("access", Claims(user_id, workspace_id, session_id, now + lifetime), now=now)
    return Tokens(
        access_token=access_token, refresh_token=refresh_token, expires_in=lifetime, session_id=session_id
    )


async def end_sessions(
    db: AsyncConnection, user_id: str, why: str, session_id: str | None = None, *, but: str | None = None
) -> list[tuple[str, int]]:
    """End one session of a person, or all, or all `but` one, and have the channel servers told.

    Gives [(directory key, version)] of those that had not ended yet.
    """
    ended = await repository.revoke_sessions(db, user_id, session_id, but=but)
    published = [(f"revoked:{each}", version) for each, version in ended]
    await enqueue_directory(db, [key for key, _ in published])
    metrics.SESSIONS_REVOKED.labels(why).inc(len(ended))
    return published
