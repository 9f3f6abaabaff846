"""Saved messages in PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import and_, delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from services.database.tables import Membership, Message, SavedMessage
from web_app.database import AnyRow
from web_app.messages.repository import STATE


async def save(db: AsyncConnection, user_id: str, channel_id: str, seq: int, note: str) -> None:
    row = insert(SavedMessage).values(user_id=user_id, channel_id=channel_id, seq=seq, note=note)
    await db.execute(
        row.on_conflict_do_update(
            index_elements=["user_id", "channel_id", "seq"], set_={"note": row.excluded.note}
        )
    )


async def remove(db: AsyncConnection, user_id: str, channel_id: str, seq: int) -> bool:
    """False when it was not kept."""
    removed = await db.execute(
        delete(SavedMessage).where(
            SavedMessage.user_id == user_id, SavedMessage.channel_id == channel_id, SavedMessage.seq == seq
        )
    )
    return bool(removed.rowcount)


async def list_saved(db: AsyncConnection, user_id: str, before: int | None, limit: int) -> Sequence[AnyRow]:
    """Up to `limit` + 1, the last saved first: the message's STATE, channel_id, id, note, saved_at."""
    found = await db.execute(
        select(
            *STATE,
            SavedMessage.channel_id,
            SavedMessage.id,
            SavedMessage.note,
            SavedMessage.saved_at,
        )
        .join(
            Membership,
            and_(
                Membership.channel_id == SavedMessage.channel_id,
                Membership.user_id == SavedMessage.user_id,
                Membership.member,
            ),
        )
        .join(Message, and_(Message.channel_id == SavedMessage.channel_id, Message.seq == SavedMessage.seq))
        .where(
            SavedMessage.user_id == user_id,
            SavedMessage.id < func.coalesce(before, (1 << 62)),
        )
        .order_by(SavedMessage.id.desc())
        .limit(limit + 1)
    )
    return found.all()
