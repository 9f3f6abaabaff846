"""What a command leaves behind beside the change it makes: its answer, its audit entry, what it wants published."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

from sqlalchemy import ARRAY, CheckConstraint, ForeignKey, Index, SmallInteger, Text, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from services.database.tables.base import Base, created


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
    created_at: Mapped[dt.datetime] = created()


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
    created_at: Mapped[dt.datetime] = created()


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
    created_at: Mapped[dt.datetime] = created()
