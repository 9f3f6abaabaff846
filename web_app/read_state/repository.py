"""Where somebody stands in a channel or a thread, by one statement."""

from __future__ import annotations

from typing import Final, NamedTuple

from sqlalchemy import and_, bindparam, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from services.contract.tokens import Claims
from services.database.tables import (
    Channel,
    ChannelHead,
    Membership,
    Message,
    ReadMarker,
    Session,
    ThreadFollow,
    User,
)
from web_app.auth.repository import VIEWER_COLUMNS, Viewer, viewer_of
from web_app.database import AnySelect


class Place(NamedTuple):
    """`marker`: of the channel, or of the thread that was asked for. `is_root`: whether that one is there."""

    viewer: Viewer
    member: bool
    head: int
    marker: int
    is_root: bool


_PLACE: Final[AnySelect] = (
    select(
        *VIEWER_COLUMNS,
        Membership.member,
        func.coalesce(ChannelHead.head, 0).label("head"),
        func.coalesce(ReadMarker.seq, 0).label("marker"),
        func.coalesce(ThreadFollow.read_seq, 0).label("thread_marker"),
        Message.seq.label("root"),
    )
    .select_from(Session)
    .join(User, User.id == Session.user_id)
    .outerjoin(
        Channel, and_(Channel.id == bindparam("channel_id"), Channel.workspace_id == User.workspace_id)
    )
    .outerjoin(Membership, and_(Membership.channel_id == Channel.id, Membership.user_id == User.id))
    .outerjoin(ChannelHead, ChannelHead.channel_id == Channel.id)
    .outerjoin(ReadMarker, and_(ReadMarker.channel_id == Channel.id, ReadMarker.user_id == User.id))
    .outerjoin(
        Message,
        and_(Message.channel_id == Channel.id, Message.seq == bindparam("root"), Message.thread.is_(None)),
    )
    .outerjoin(
        ThreadFollow,
        and_(
            ThreadFollow.channel_id == Channel.id,
            ThreadFollow.user_id == User.id,
            ThreadFollow.root == bindparam("root"),
        ),
    )
    .where(Session.id == bindparam("session_id"))
)


async def find_place(db: AsyncConnection, claims: Claims, channel_id: str, root: int | None) -> Place:
    """Raises ApiError unauthenticated."""
    parameters = {"session_id": claims.session_id, "channel_id": channel_id, "root": root or 0}
    row = (await db.execute(_PLACE, parameters)).one_or_none()
    viewer = viewer_of(row, claims)
    assert row is not None
    marker = row.marker if root is None else row.thread_marker
    return Place(viewer, row.member is True, row.head, marker, row.root is not None)
