"""Logins, and the keys that sign what they are given."""

from __future__ import annotations

import datetime as dt

from sqlalchemy import Boolean, ForeignKey, Index, func, text
from sqlalchemy.orm import Mapped, mapped_column

from services.database.tables.base import Base, created


class Session(Base):
    """A login. Its refresh tokens are one family; revoking it ends them and every live connection."""

    __tablename__ = "sessions"
    __table_args__ = (Index("ix_sessions_user_id_id", "user_id", "id"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"))
    device: Mapped[str]
    last_used_at: Mapped[dt.datetime] = mapped_column(server_default=func.now())
    revoked_at: Mapped[dt.datetime | None]
    version: Mapped[int]
    created_at: Mapped[dt.datetime] = created()


class RefreshToken(Base):
    """One use each; web_app.auth.service.refresh says what a second use does. Only the SHA-256 is stored.

    `parent_hash`: the token that this one was given for; null for a log-in's first. It usually has one successor,
    and more only when its answer was lost or several asked at once.
    """

    __tablename__ = "refresh_tokens"
    __table_args__ = (
        Index("ix_refresh_tokens_session_id", "session_id"),
        Index("ix_refresh_tokens_parent_hash", "parent_hash"),
    )

    token_hash: Mapped[bytes] = mapped_column(primary_key=True)
    parent_hash: Mapped[bytes | None]
    session_id: Mapped[str] = mapped_column(ForeignKey("sessions.id", ondelete="CASCADE"))
    expires_at: Mapped[dt.datetime]
    used_at: Mapped[dt.datetime | None]
    created_at: Mapped[dt.datetime] = created()


class SigningKey(Base):
    """The public half of a key that signs tokens; the private half lives in a file, never here.

    `published_at`: when web_app first found its outbox row gone, which is to say that the directory holds it.
    """

    __tablename__ = "signing_keys"

    kid: Mapped[str] = mapped_column(primary_key=True)
    public_key: Mapped[str]  # PEM
    active: Mapped[bool] = mapped_column(Boolean, server_default=text("true"))
    version: Mapped[int]
    published_at: Mapped[dt.datetime | None]
    created_at: Mapped[dt.datetime] = created()
