"""Messages: as they are now, whom they address, and those kept for oneself or for later."""

from __future__ import annotations

import datetime as dt
import uuid

from sqlalchemy import ARRAY, Boolean, ForeignKey, Identity, Index, Text, func
from sqlalchemy import text as sql
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from services.database.tables.base import Base, created


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
            postgresql_where=sql("thread is not null"),
        ),
        # Pages of what a channel itself shows, and the count of what is unread in it.
        Index(
            "ix_messages_channel_id_seq_top",
            "channel_id",
            "seq",
            postgresql_where=sql("(thread is null or also_to_channel) and not deleted"),
            postgresql_include=["sender_id"],
        ),
        Index(
            "ix_messages_channel_id_seq_pinned",
            "channel_id",
            "seq",
            postgresql_where=sql("pinned_at_ms is not null"),
        ),
        Index(
            "ix_messages_channel_id_seq_all",
            "channel_id",
            "seq",
            postgresql_where=sql("mentions_channel"),
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
    also_to_channel: Mapped[bool] = mapped_column(Boolean, server_default=sql("false"))
    edits: Mapped[int] = mapped_column(server_default=sql("0"))
    edited_at_ms: Mapped[int | None]
    deleted: Mapped[bool] = mapped_column(Boolean, server_default=sql("false"))
    pinned_by: Mapped[str | None]
    pinned_at_ms: Mapped[int | None]
    reactions: Mapped[list[tuple[str, list[str]]]] = mapped_column(JSONB, server_default=sql("'[]'"))
    replies: Mapped[int] = mapped_column(server_default=sql("0"))
    last_reply: Mapped[int | None]
    last_reply_at_ms: Mapped[int | None]
    participants: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default=sql("'{}'"))
    mentions: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default=sql("'{}'"))
    mentions_channel: Mapped[bool] = mapped_column(Boolean, server_default=sql("false"))


class MessageMention(Base):
    """Who is addressed by a message that is there: by name, by `<!here>` or a group; not the author.

    `<!channel>` makes no rows; `messages.mentions_channel` says so.
    """

    __tablename__ = "message_mentions"
    __table_args__ = (Index("ix_message_mentions_channel_id_seq", "channel_id", "seq"),)

    user_id: Mapped[str] = mapped_column(primary_key=True)
    channel_id: Mapped[str] = mapped_column(primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)


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
        Index("ix_scheduled_messages_send_at_id", "send_at", "id", postgresql_where=sql("failed is null")),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"))
    channel_id: Mapped[str] = mapped_column(ForeignKey("channels.id"))
    text: Mapped[str]
    thread: Mapped[int | None]
    also_to_channel: Mapped[bool] = mapped_column(Boolean, server_default=sql("false"))
    send_at: Mapped[dt.datetime]
    failed: Mapped[str | None]
    created_at: Mapped[dt.datetime] = created()
