"""Workspaces and the people in them."""

from __future__ import annotations

import datetime as dt

from sqlalchemy import ARRAY, Boolean, CheckConstraint, ForeignKey, Index, SmallInteger, Text, func, text
from sqlalchemy.orm import Mapped, mapped_column

from services.database.tables.base import Base, created


class Workspace(Base):
    """A workspace and its settings. Never removed: `active` false is what is left of a deleted one.

    edit_window_s, delete_window_s  how long their author may edit and delete messages; null: for ever
    who_may_*                       `members` (all but guests) or `admins` (and owners)
    """

    __tablename__ = "workspaces"
    __table_args__ = (
        CheckConstraint("max_text between 1 and 12000", name="max_text"),
        CheckConstraint("edit_window_s >= 0 and delete_window_s >= 0", name="windows"),
        CheckConstraint("typing_limit between 0 and 1000", name="typing_limit"),
        CheckConstraint(
            "who_may_create_channels in ('members', 'admins') and who_may_invite in ('members', 'admins')"
            " and who_may_manage_groups in ('members', 'admins')",
            name="who_may",
        ),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    slug: Mapped[str] = mapped_column(unique=True)  # lower case; what people type to log in
    name: Mapped[str]
    active: Mapped[bool] = mapped_column(Boolean, server_default=text("true"))
    deleted_at: Mapped[dt.datetime | None]
    max_text: Mapped[int] = mapped_column(server_default=text("12000"))
    edit_window_s: Mapped[int | None]
    delete_window_s: Mapped[int | None]
    typing_limit: Mapped[int] = mapped_column(server_default=text("200"))
    who_may_create_channels: Mapped[str] = mapped_column(server_default="members")
    who_may_invite: Mapped[str] = mapped_column(server_default="admins")
    who_may_manage_groups: Mapped[str] = mapped_column(server_default="admins")
    version: Mapped[int]
    created_at: Mapped[dt.datetime] = created()


class User(Base):
    """A person. `name` is who they are, `display_name` what they would rather be called (empty: the same)."""

    __tablename__ = "users"
    __table_args__ = (
        CheckConstraint("role in ('owner', 'admin', 'member', 'guest')", name="role"),
        Index("uq_users_workspace_email", "workspace_id", func.lower(text("email")), unique=True),
        Index("ix_users_workspace_id_id", "workspace_id", "id"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    workspace_id: Mapped[str] = mapped_column(ForeignKey("workspaces.id"))
    email: Mapped[str]
    name: Mapped[str]
    password_hash: Mapped[str]
    role: Mapped[str]
    active: Mapped[bool] = mapped_column(Boolean, server_default=text("true"))
    display_name: Mapped[str] = mapped_column(server_default="")
    title: Mapped[str] = mapped_column(server_default="")
    avatar_url: Mapped[str] = mapped_column(server_default="")
    status_text: Mapped[str] = mapped_column(server_default="")
    status_emoji: Mapped[str] = mapped_column(server_default="")
    status_expires_at: Mapped[dt.datetime | None]
    time_zone: Mapped[str] = mapped_column(server_default="UTC")
    version: Mapped[int]
    created_at: Mapped[dt.datetime] = created()


class Invite(Base):
    """A single-use invitation; the token itself is not stored, only its SHA-256.

    `channel_ids`: the channels that whoever accepts is put into, besides the default ones.
    """

    __tablename__ = "invites"
    __table_args__ = (Index("ix_invites_workspace_id_id", "workspace_id", "id"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    workspace_id: Mapped[str] = mapped_column(ForeignKey("workspaces.id"))
    email: Mapped[str]
    role: Mapped[str]
    token_hash: Mapped[bytes] = mapped_column(unique=True)
    invited_by: Mapped[str] = mapped_column(ForeignKey("users.id"))
    channel_ids: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default=text("'{}'"))
    expires_at: Mapped[dt.datetime]
    accepted_at: Mapped[dt.datetime | None]
    created_at: Mapped[dt.datetime] = created()


class UserGroup(Base):
    """People who can be mentioned together, by a handle. Kept when removed (`active` false): texts go on naming it."""

    __tablename__ = "user_groups"
    __table_args__ = (
        Index(
            "uq_user_groups_workspace_handle",
            "workspace_id",
            "handle",
            unique=True,
            postgresql_where=text("active"),
        ),
        Index("ix_user_groups_workspace_id_id", "workspace_id", "id"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    workspace_id: Mapped[str] = mapped_column(ForeignKey("workspaces.id"))
    handle: Mapped[str]  # lower case
    name: Mapped[str]
    description: Mapped[str] = mapped_column(server_default="")
    active: Mapped[bool] = mapped_column(Boolean, server_default=text("true"))
    created_by: Mapped[str] = mapped_column(ForeignKey("users.id"))
    version: Mapped[int]
    created_at: Mapped[dt.datetime] = created()


class UserGroupMember(Base):
    """Who is in a user group, 1,000 at most. Written while the group's row is locked."""

    __tablename__ = "user_group_members"
    __table_args__ = (Index("ix_user_group_members_user_id", "user_id"),)

    group_id: Mapped[str] = mapped_column(ForeignKey("user_groups.id"), primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"), primary_key=True)
    created_at: Mapped[dt.datetime] = created()


class DoNotDisturb(Base):
    """When one person wants to be left alone: daily, in minutes of the day in their time zone, and until a moment.

    `starts` and `ends` are both null (no schedule) or both not; `ends` before `starts`: over midnight.
    """

    __tablename__ = "do_not_disturb"
    __table_args__ = (
        CheckConstraint(
            "(starts is null) = (ends is null) and starts between 0 and 1439 and ends between 0 and 1439",
            name="schedule",
        ),
    )

    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"), primary_key=True)
    starts: Mapped[int | None] = mapped_column(SmallInteger)
    ends: Mapped[int | None] = mapped_column(SmallInteger)
    snoozed_until: Mapped[dt.datetime | None]
