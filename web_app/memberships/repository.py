"""Memberships in PostgreSQL. Written only while the channel's row is locked, or in the transaction that adds it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ARRAY, Text, and_, bindparam, func, literal, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from services.database.tables import Membership, User
from web_app.database import AnyRow


async def list_members(db: AsyncConnection, channel_id: str, after: str, limit: int) -> Sequence[AnyRow]:
    """Up to `limit` + 1 members in the order of their ids."""
    found = await db.execute(
        select(Membership.user_id, User.name, User.role, User.active, Membership.changed_at)
        .join(User, User.id == Membership.user_id)
        .where(Membership.channel_id == channel_id, Membership.member, Membership.user_id > after)
        .order_by(Membership.user_id)
        .limit(limit + 1)
    )
    return found.all()


async def find_people(
    db: AsyncConnection, workspace_id: str, channel_id: str, user_ids: Sequence[str]
) -> Sequence[AnyRow]:
    """Those of the ids who are active in the workspace: user_id, member, version (0: never was one)."""
    found = await db.execute(
        select(
            User.id.label("user_id"),
            func.coalesce(Membership.member, False).label("member"),
            func.coalesce(Membership.version, 0).label("version"),
        )
        .outerjoin(Membership, and_(Membership.user_id == User.id, Membership.channel_id == channel_id))
        .where(User.id == func.any(_ids(user_ids)), User.workspace_id == workspace_id, User.active)
        .order_by(User.id)
    )
    return found.all()


async def find_membership(db: AsyncConnection, channel_id: str, user_id: str) -> AnyRow | None:
    """member, version; None for somebody who never was one."""
    found = await db.execute(
        select(Membership.member, Membership.version).where(
            Membership.channel_id == channel_id, Membership.user_id == user_id
        )
    )
    return found.one_or_none()


async def set_members(db: AsyncConnection, channel_id: str, user_ids: Sequence[str], version: int) -> None:
    """Make all of these members, in one statement, at this version."""
    people = select(literal(channel_id), func.unnest(_ids(user_ids)), literal(True), literal(version))
    adding = insert(Membership).from_select(["channel_id", "user_id", "member", "version"], people)
    await db.execute(
        adding.on_conflict_do_update(
            index_elements=["channel_id", "user_id"],
            set_={"member": True, "version": adding.excluded.version, "changed_at": func.now()},
        )
    )


async def unset_member(db: AsyncConnection, channel_id: str, user_id: str, version: int) -> None:
    await db.execute(
        update(Membership)
        .where(Membership.channel_id == channel_id, Membership.user_id == user_id)
        .values(member=False, version=version, changed_at=func.now())
    )


def _ids(user_ids: Sequence[str]) -> Any:
    return bindparam("user_ids", list(user_ids), type_=ARRAY(Text), unique=True)
