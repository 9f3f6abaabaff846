"""What the log held and how far it has been read. Written by the persister, but for the generations."""

from __future__ import annotations

import datetime as dt
import uuid

from sqlalchemy import ARRAY, Boolean, Index, SmallInteger, Text, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from services.database.tables.base import Base, created


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


class ChannelHead(Base):
    """The number of each channel's last stored event, and the partition that holds the channel."""

    __tablename__ = "channel_heads"
    __table_args__ = (Index("ix_channel_heads_partition", "partition"),)

    channel_id: Mapped[str] = mapped_column(primary_key=True)
    partition: Mapped[int] = mapped_column(SmallInteger)
    head: Mapped[int]


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
    created_at: Mapped[dt.datetime] = created()
