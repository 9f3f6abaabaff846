"""Channels, who is in them, and what each of these wants to hear."""

from __future__ import annotations

import datetime as dt

from sqlalchemy import Boolean, CheckConstraint, ForeignKey, Index, UniqueConstraint, func, text
from sqlalchemy.orm import Mapped, mapped_column

from services.database.tables.base import Base, created


class Channel(Base):
    """A channel and its settings.

    is_default    new people are put into it; only public ones are
    posting       who may post: `everyone` (in it) or `admins`
    adding        who may add people: `everyone` (in it, but guests) or `admins`
    member_count  how many members there are; changed together with the memberships, under the row's lock
    """

    __tablename__ = "channels"
    __table_args__ = (
        CheckConstraint("kind in ('public', 'private', 'direct', 'group')", name="kind"),
        CheckConstraint("posting in ('everyone', 'admins') and adding in ('everyone', 'admins')", name="who"),
        Index(
            "uq_channels_workspace_name",
            "workspace_id",
            func.lower(text("name")),
            unique=True,
            postgresql_where=text("kind in ('public', 'private')"),
        ),
        Index("ix_channels_default", "workspace_id", "id", postgresql_where=text("is_default")),
        # The browsable directory, in the order of names. The index is collated "C" (so that a prefix is a range),
        # which cannot be said here: what is reflected of an index leaves its collation out.
        Index(
            "ix_channels_public_name",
            "workspace_id",
            func.lower(text("name")),
            postgresql_where=text("kind = 'public'"),
        ),
        # One direct channel per set of people: the sorted user ids, joined by commas.
        UniqueConstraint("workspace_id", "direct_key"),
        Index("ix_channels_workspace_id_id", "workspace_id", "id"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    workspace_id: Mapped[str] = mapped_column(ForeignKey("workspaces.id"))
    kind: Mapped[str]
    name: Mapped[str]  # empty for direct and group
    topic: Mapped[str] = mapped_column(server_default="")
    direct_key: Mapped[str | None]
    is_default: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))
    posting: Mapped[str] = mapped_column(server_default="everyone")
    adding: Mapped[str] = mapped_column(server_default="everyone")
    member_count: Mapped[int] = mapped_column(server_default=text("0"))
    created_by: Mapped[str] = mapped_column(ForeignKey("users.id"))
    archived_at: Mapped[dt.datetime | None]
    version: Mapped[int]
    created_at: Mapped[dt.datetime] = created()


class Membership(Base):
    """Kept after leaving (`member` false), so that versions never start again."""

    __tablename__ = "memberships"
    __table_args__ = (Index("ix_memberships_user_id_channel_id", "user_id", "channel_id"),)

    channel_id: Mapped[str] = mapped_column(ForeignKey("channels.id"), primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"), primary_key=True)
    member: Mapped[bool] = mapped_column(Boolean)
    version: Mapped[int]
    changed_at: Mapped[dt.datetime] = mapped_column(server_default=func.now())


class ChannelPreference(Base):
    """What one person wants to hear of one channel; no row: not muted, level `all`."""

    __tablename__ = "channel_preferences"
    __table_args__ = (CheckConstraint("level in ('all', 'mentions', 'nothing')", name="level"),)

    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"), primary_key=True)
    channel_id: Mapped[str] = mapped_column(ForeignKey("channels.id"), primary_key=True)
    muted: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))
    level: Mapped[str] = mapped_column(server_default="all")
