"""The stream of a workspace's notices in PostgreSQL, read by its primary key; who is addressed is looked up in Python."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sqlalchemy import bindparam, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from services.database.tables import ChannelHead, GenerationRow, StoredEvent, User
from web_app.database import AnyRow, AnySelect

LOOKED_AT: Final = 500
"""Notices that one request looks at: bounds its cost, whomever they address (a page of 1,000 people's each: 20 MB)."""

POSITION: Final = (
    select(func.max(GenerationRow.epoch)).scalar_subquery().label("epoch"),
    func.coalesce(
        select(ChannelHead.head).where(ChannelHead.channel_id == bindparam("stream")).scalar_subquery(), 0
    ).label("head"),
)
"""Columns: epoch (None before the log was ever made) and head of the stream of notices that `stream` names."""

_POSITION: Final[AnySelect] = select(*POSITION)

_PAGE: Final[AnySelect] = (
    select(StoredEvent.seq, StoredEvent.event_id, StoredEvent.sender_id, StoredEvent.at_ms, StoredEvent.body)
    .where(StoredEvent.channel_id == bindparam("stream"), StoredEvent.seq > bindparam("after"))
    .order_by(StoredEvent.seq)
    .limit(LOOKED_AT)
)


async def find_position(db: AsyncConnection, stream: str) -> AnyRow:
    """POSITION of a stream of notices."""
    return (await db.execute(_POSITION, {"stream": stream})).one()


async def read_page(db: AsyncConnection, stream: str, after: int) -> Sequence[AnyRow]:
    """The next `LOOKED_AT` notices of the stream, whomever they address: seq, event_id, sender_id, at_ms, body."""
    return (await db.execute(_PAGE, {"stream": stream, "after": after})).all()


async def count_active(db: AsyncConnection, workspace_id: str, user_ids: Sequence[str]) -> int:
    """How many of them are active people of the workspace."""
    found = await db.scalar(
        select(func.count())
        .select_from(User)
        .where(User.workspace_id == workspace_id, User.active, User.id.in_(user_ids))
    )
    return int(found or 0)
