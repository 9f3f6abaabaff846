"""Up to where people have read. Written by the persister."""

from __future__ import annotations

from sqlalchemy import Boolean, Computed, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from services.database.tables.base import Base

MARKER = "case when own > head then greatest(own, moved) else moved end"
"""Where a read marker stands (`ReadMarker`)."""


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
