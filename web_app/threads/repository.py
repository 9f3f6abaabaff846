"""Threads in PostgreSQL; each question is one statement."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from sqlalchemy import BigInteger, Text, and_, bindparam, func, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from services.database.tables import Membership, Message, ThreadFollow
from web_app.database import AnyRow
from web_app.messages.repository import STATE
from web_app.threads.schemas import MAX_UNREAD


class Place(NamedTuple):
    """Where a page of followed threads ends: they are sorted by their last reply, the newest first."""

    last_reply_at_ms: int
    channel_id: str
    root: int


async def find_follow(db: AsyncConnection, user_id: str, channel_id: str, root: int) -> AnyRow | None:
    """following, read_seq."""
    found = await db.execute(
        select(ThreadFollow.following, ThreadFollow.read_seq).where(
            ThreadFollow.user_id == user_id, ThreadFollow.channel_id == channel_id, ThreadFollow.root == root
        )
    )
    return found.one_or_none()


_REPLY: Final = Message.__table__.alias("reply")

_UNREAD: Final = (
    select(func.count())
    .select_from(
        select(_REPLY.c.seq)
        .where(
            _REPLY.c.channel_id == ThreadFollow.channel_id,
            _REPLY.c.thread == ThreadFollow.root,
            _REPLY.c.seq > ThreadFollow.read_seq,
            _REPLY.c.sender_id != ThreadFollow.user_id,
            ~_REPLY.c.deleted,
        )
        .limit(MAX_UNREAD)
        .correlate(ThreadFollow)
        .lateral("unread_replies")
    )
    .correlate(ThreadFollow)
    .scalar_subquery()
)

_FOLLOWED: Final = (
    select(
        *STATE,
        ThreadFollow.channel_id,
        ThreadFollow.read_seq,
        _UNREAD.label("unread"),
    )
    .join(
        Membership,
        and_(
            Membership.channel_id == ThreadFollow.channel_id,
            Membership.user_id == ThreadFollow.user_id,
            Membership.member,
        ),
    )
    .join(Message, and_(Message.channel_id == ThreadFollow.channel_id, Message.seq == ThreadFollow.root))
    .where(
        ThreadFollow.user_id == bindparam("user_id"),
        ThreadFollow.following,
        Message.last_reply.is_not(None),
        tuple_(Message.last_reply_at_ms, ThreadFollow.channel_id, ThreadFollow.root)
        < tuple_(
            bindparam("at", type_=BigInteger),
            bindparam("channel", type_=Text),
            bindparam("root", type_=BigInteger),
        ),
    )
    .order_by(Message.last_reply_at_ms.desc(), ThreadFollow.channel_id.desc(), ThreadFollow.root.desc())
    .limit(bindparam("rows"))
)


async def list_followed(
    db: AsyncConnection, user_id: str, before: Place | None, limit: int, *, unread: bool
) -> Sequence[AnyRow]:
    """Up to `limit` + 1: the root's STATE, channel_id, read_seq, unread."""
    place = before or Place((1 << 62), "", 0)
    wanted = _FOLLOWED.where(_UNREAD > 0) if unread else _FOLLOWED
    parameters = {
        "user_id": user_id,
        "at": place.last_reply_at_ms,
        "channel": place.channel_id,
        "root": place.root,
        "rows": limit + 1,
    }
    return (await db.execute(wanted, parameters)).all()
