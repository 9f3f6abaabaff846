"""The schema, and who writes what.

Written by web_app: workspaces, users, invites, sessions, refresh tokens, signing keys, channels, memberships,
user groups, saved and scheduled messages, channel preferences, do not disturb, the audit log, idempotency keys, and rows into the outbox.
Written by the persister: events, messages, message mentions, channel heads, read markers, thread follows,
log partitions (and it deletes an event's outbox row in the transaction that stores the event, and inserts those of
notices of mentions). Written by the relay: it deletes published
directory rows of the outbox and gives an expired event row its new id. Generations are written when an epoch is made.

`version` columns come from the one sequence `row_version`, drawn while the row's lock is held, so that per entity
a later state always has the higher version, in the directory and in member events alike. Times are timestamptz,
except where the log's own clock is meant: those are Unix milliseconds (bigint).
"""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any, ClassVar

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    CheckConstraint,
    Computed,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    LargeBinary,
    MetaData,
    Sequence,
    SmallInteger,
    Text,
    UniqueConstraint,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

row_version = Sequence("row_version", metadata=metadata, data_type=BigInteger)
"""Draw with `select nextval('row_version')` only while holding the lock of the row that gets it."""


class Base(DeclarativeBase):
    metadata = metadata
    type_annotation_map: ClassVar[dict[type, object]] = {
        str: Text,
        int: BigInteger,
        bytes: LargeBinary,
        dt.datetime: DateTime(timezone=True),
        uuid.UUID: Uuid,
    }


_sql = text
"""For the class that has a column of this name."""


def _created() -> Mapped[dt.datetime]:
    return mapped_column(server_default=func.now())


# --- written by web_app -------------------------------------------------------------------------------------


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
    created_at: Mapped[dt.datetime] = _created()


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
    created_at: Mapped[dt.datetime] = _created()


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
    created_at: Mapped[dt.datetime] = _created()


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
    created_at: Mapped[dt.datetime] = _created()


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
    created_at: Mapped[dt.datetime] = _created()


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
    created_at: Mapped[dt.datetime] = _created()


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
    created_at: Mapped[dt.datetime] = _created()


class Membership(Base):
    """Kept after leaving (`member` false), so that versions never start again."""

    __tablename__ = "memberships"
    __table_args__ = (Index("ix_memberships_user_id_channel_id", "user_id", "channel_id"),)

    channel_id: Mapped[str] = mapped_column(ForeignKey("channels.id"), primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"), primary_key=True)
    member: Mapped[bool] = mapped_column(Boolean)
    version: Mapped[int]
    changed_at: Mapped[dt.datetime] = mapped_column(server_default=func.now())


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
    created_at: Mapped[dt.datetime] = _created()


class UserGroupMember(Base):
    """Who is in a user group, 1,000 at most. Written while the group's row is locked."""

    __tablename__ = "user_group_members"
    __table_args__ = (Index("ix_user_group_members_user_id", "user_id"),)

    group_id: Mapped[str] = mapped_column(ForeignKey("user_groups.id"), primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"), primary_key=True)
    created_at: Mapped[dt.datetime] = _created()


class ChannelPreference(Base):
    """What one person wants to hear of one channel; no row: not muted, level `all`."""

    __tablename__ = "channel_preferences"
    __table_args__ = (CheckConstraint("level in ('all', 'mentions', 'nothing')", name="level"),)

    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"), primary_key=True)
    channel_id: Mapped[str] = mapped_column(ForeignKey("channels.id"), primary_key=True)
    muted: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))
    level: Mapped[str] = mapped_column(server_default="all")


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


class AuditEntry(Base):
    """One administrative act. Rows are only ever added: a trigger refuses everything else.

    `target`: the id of what was acted upon; `details`: JSON, what was changed and to what, never a secret.
    """

    __tablename__ = "audit_log"
    __table_args__ = (
        Index("ix_audit_log_workspace_id_id", "workspace_id", "id"),
        Index("ix_audit_log_workspace_id_action_id", "workspace_id", "action", "id"),
        Index("ix_audit_log_workspace_id_actor_id_id", "workspace_id", "actor_id", "id"),
        Index("ix_audit_log_workspace_id_target_id", "workspace_id", "target", "id"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    workspace_id: Mapped[str] = mapped_column(ForeignKey("workspaces.id"))
    actor_id: Mapped[str] = mapped_column(ForeignKey("users.id"))
    action: Mapped[str]
    target: Mapped[str | None]
    details: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default=text("'{}'"))
    created_at: Mapped[dt.datetime] = _created()


class SavedMessage(Base):
    """A message that somebody keeps for themselves. It is shown as long as they are in its channel."""

    __tablename__ = "saved_messages"
    __table_args__ = (Index("uq_saved_messages_user_id_id", "user_id", "id", unique=True),)

    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"), primary_key=True)
    channel_id: Mapped[str] = mapped_column(ForeignKey("channels.id"), primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    id: Mapped[int] = mapped_column(Identity())  # the order in which they were saved
    note: Mapped[str] = mapped_column(server_default="")
    saved_at: Mapped[dt.datetime] = mapped_column(server_default=func.now())


class ScheduledMessage(Base):
    """A message that is to be posted later. Its row goes in the transaction that puts it into the outbox.

    `failed`: the code of the error that kept it from being posted; null while it waits.
    """

    __tablename__ = "scheduled_messages"
    __table_args__ = (
        Index("ix_scheduled_messages_user_id_id", "user_id", "id"),
        Index("ix_scheduled_messages_send_at_id", "send_at", "id", postgresql_where=_sql("failed is null")),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"))
    channel_id: Mapped[str] = mapped_column(ForeignKey("channels.id"))
    text: Mapped[str]
    thread: Mapped[int | None]
    also_to_channel: Mapped[bool] = mapped_column(Boolean, server_default=_sql("false"))
    send_at: Mapped[dt.datetime]
    failed: Mapped[str | None]
    created_at: Mapped[dt.datetime] = _created()


class IdempotencyKey(Base):
    """The answer to a command that came with an `Idempotency-Key`, written in the command's own transaction.

    A repeat of the same request gets `reply` again; another request under the same key is refused. `status` is
    null only inside the transaction that is about to set it. web_app removes rows after a day.
    """

    __tablename__ = "idempotency_keys"
    __table_args__ = (Index("ix_idempotency_keys_created_at", "created_at"),)

    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"), primary_key=True)
    key: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    request_digest: Mapped[bytes]  # SHA-256 of method, path and body
    status: Mapped[int | None] = mapped_column(SmallInteger)
    reply: Mapped[bytes | None]
    created_at: Mapped[dt.datetime] = _created()


class OutboxRow(Base):
    """What a transaction wants published. Written with the change itself, removed when it is safely out.

    topic 'directory': `key` names the entity (as in contract.directory); the relay publishes its current state.
    topic 'events': `event_id` is the id the event is appended under; rows of one channel go one after another,
    by `position`; the persister deletes the row in the transaction that stores the event. `mentions`: the people that
    the record's header of this name shall name (contract.mentions).
    """

    __tablename__ = "outbox"
    __table_args__ = (
        CheckConstraint("topic in ('directory', 'events')", name="topic"),
        CheckConstraint(
            "(topic = 'directory') = (key is not null)"
            " and (topic = 'events') = (event_id is not null and channel_id is not null"
            " and sender_id is not null and body is not null)",
            name="shape",
        ),
        Index("ix_outbox_topic_position", "topic", "position"),
        # The first waiting row of each channel is found by skipping from channel to channel.
        Index(
            "ix_outbox_channel_id_position",
            "channel_id",
            "position",
            postgresql_where=text("topic = 'events'"),
        ),
        Index("uq_outbox_event_id", "event_id", unique=True),
    )

    position: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    topic: Mapped[str]
    key: Mapped[str | None]
    event_id: Mapped[uuid.UUID | None]
    channel_id: Mapped[str | None]
    sender_id: Mapped[str | None]
    body: Mapped[bytes | None]
    mentions: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default=text("'{}'"))
    created_at: Mapped[dt.datetime] = _created()


MARKER = "case when own > head then greatest(own, moved) else moved end"
"""Where a read marker stands (`ReadMarker`)."""


# --- written by the persister -------------------------------------------------------------------------------


class StoredEvent(Base):
    """The raw events, as the log held them; of deleted messages and their edits only `message.redacted` is left.

    at_ms     the fold's clock at acceptance
    mentions  the people that the record's header `mentions` names
    target    of an edit: the message that it edits
    """

    __tablename__ = "events"
    __table_args__ = (
        UniqueConstraint("epoch", "channel_id", "sender_id", "event_id"),
        # The dedupe window is refilled from here.
        Index("ix_events_epoch_partition_at_ms", "epoch", "partition", "at_ms"),
        # The edits of a message, for its history and for their redaction.
        Index(
            "ix_events_channel_id_target_seq",
            "channel_id",
            "target",
            "seq",
            postgresql_where=text("target is not null"),
        ),
    )

    channel_id: Mapped[str] = mapped_column(primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    epoch: Mapped[int]
    partition: Mapped[int] = mapped_column(SmallInteger)
    record_offset: Mapped[int]
    sender_id: Mapped[str]
    event_id: Mapped[uuid.UUID]
    at_ms: Mapped[int]
    kind: Mapped[str]
    body: Mapped[bytes | None]
    unprojected: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))
    mentions: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default=text("'{}'"))
    target: Mapped[int | None]


class Message(Base):
    """The whole current state of each message (services.projection), so that a page of them is one range of an index.

    `reactions`: `[[emoji, [user id, ...]], ...]` in the order in which they came. `replies` and what follows: the
    summary of its thread.
    """

    __tablename__ = "messages"
    __table_args__ = (
        # Pages of a thread.
        Index(
            "ix_messages_channel_id_thread_seq",
            "channel_id",
            "thread",
            "seq",
            postgresql_where=text("thread is not null"),
        ),
        # Pages of what a channel itself shows, and the count of what is unread in it.
        Index(
            "ix_messages_channel_id_seq_top",
            "channel_id",
            "seq",
            postgresql_where=text("(thread is null or also_to_channel) and not deleted"),
            postgresql_include=["sender_id"],
        ),
        Index(
            "ix_messages_channel_id_seq_pinned",
            "channel_id",
            "seq",
            postgresql_where=text("pinned_at_ms is not null"),
        ),
        Index(
            "ix_messages_channel_id_seq_all",
            "channel_id",
            "seq",
            postgresql_where=text("mentions_channel"),
            postgresql_include=["sender_id"],
        ),
    )

    channel_id: Mapped[str] = mapped_column(primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    event_id: Mapped[uuid.UUID]
    sender_id: Mapped[str]
    at_ms: Mapped[int]
    text: Mapped[str]
    thread: Mapped[int | None]
    also_to_channel: Mapped[bool] = mapped_column(Boolean, server_default=_sql("false"))
    edits: Mapped[int] = mapped_column(server_default=_sql("0"))
    edited_at_ms: Mapped[int | None]
    deleted: Mapped[bool] = mapped_column(Boolean, server_default=_sql("false"))
    pinned_by: Mapped[str | None]
    pinned_at_ms: Mapped[int | None]
    reactions: Mapped[list[tuple[str, list[str]]]] = mapped_column(JSONB, server_default=_sql("'[]'"))
    replies: Mapped[int] = mapped_column(server_default=_sql("0"))
    last_reply: Mapped[int | None]
    last_reply_at_ms: Mapped[int | None]
    participants: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default=_sql("'{}'"))
    mentions: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default=_sql("'{}'"))
    mentions_channel: Mapped[bool] = mapped_column(Boolean, server_default=_sql("false"))


class MessageMention(Base):
    """Who is addressed by a message that is there: by name, by `<!here>` or a group; not the author.

    `<!channel>` makes no rows; `messages.mentions_channel` says so.
    """

    __tablename__ = "message_mentions"
    __table_args__ = (Index("ix_message_mentions_channel_id_seq", "channel_id", "seq"),)

    user_id: Mapped[str] = mapped_column(primary_key=True)
    channel_id: Mapped[str] = mapped_column(primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)


class ChannelHead(Base):
    """The number of each channel's last stored event, and the partition that holds the channel."""

    __tablename__ = "channel_heads"
    __table_args__ = (Index("ix_channel_heads_partition", "partition"),)

    channel_id: Mapped[str] = mapped_column(primary_key=True)
    partition: Mapped[int] = mapped_column(SmallInteger)
    head: Mapped[int]


class ReadMarker(Base):
    """Up to where a person has read a channel. Three facts, each right whatever came first, give the marker `seq`.

    `moved` and `head` are of the last `read.moved` (notices have an order of their own): where the person put the
    marker, and the channel's head by then. `own` is the greatest of the channel's numbers at which the person joined
    or posted. What was posted after the marker was put moves it on; what was posted before does not.
    """

    __tablename__ = "read_markers"

    user_id: Mapped[str] = mapped_column(primary_key=True)
    channel_id: Mapped[str] = mapped_column(primary_key=True)
    own: Mapped[int] = mapped_column(server_default=text("0"))
    moved: Mapped[int] = mapped_column(server_default=text("0"))
    head: Mapped[int] = mapped_column(server_default=text("0"))
    seq: Mapped[int] = mapped_column(Computed(MARKER, persisted=True))


class ThreadFollow(Base):
    """Whether a person follows a thread, and up to where they have read it (`read_seq`, as `ReadMarker.seq`).

    `auto`: they wrote its root, replied, or were mentioned in it. `chosen`: what they said themselves, which outweighs
    that; null when nothing.
    """

    __tablename__ = "thread_follows"
    __table_args__ = (Index("ix_thread_follows_channel_id_root", "channel_id", "root"),)

    user_id: Mapped[str] = mapped_column(primary_key=True)
    channel_id: Mapped[str] = mapped_column(primary_key=True)
    root: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    auto: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))
    chosen: Mapped[bool | None] = mapped_column(Boolean)
    own: Mapped[int] = mapped_column(server_default=text("0"))
    moved: Mapped[int] = mapped_column(server_default=text("0"))
    head: Mapped[int] = mapped_column(server_default=text("0"))
    following: Mapped[bool] = mapped_column(Boolean, Computed("coalesce(chosen, auto)", persisted=True))
    read_seq: Mapped[int] = mapped_column(Computed(MARKER, persisted=True))


class LogPartition(Base):
    """How far the persister has come in each partition of an epoch, and the record it read last.

    `next_offset` guards every write (`where next_offset = expected`), so that a paused twin cannot write.
    `last_*` are null until the first record.
    """

    __tablename__ = "log_partitions"

    epoch: Mapped[int] = mapped_column(primary_key=True)
    partition: Mapped[int] = mapped_column(SmallInteger, primary_key=True)
    next_offset: Mapped[int]
    now_ms: Mapped[int]
    last_offset: Mapped[int | None]
    last_append_ms: Mapped[int | None]
    last_id: Mapped[str | None]


class GenerationRow(Base):
    """Each epoch's generation record (contract.generation), as PostgreSQL knows it; the highest epoch is current."""

    __tablename__ = "generations"

    epoch: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    record: Mapped[bytes]  # the JSON of contract.generation.Generation
    created_at: Mapped[dt.datetime] = _created()
