"""What the directory has to hold for a person to connect."""

from __future__ import annotations

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from services.database.tables import GenerationRow, User


async def find_state(db: AsyncConnection, user_id: str) -> tuple[int, int | None]:
    """(the version of the person's row, the current epoch or None before the log was ever made)."""
    epoch = select(func.max(GenerationRow.epoch)).scalar_subquery()
    row = (await db.execute(select(User.version, epoch.label("epoch")).where(User.id == user_id))).one()
    return row.version, row.epoch
