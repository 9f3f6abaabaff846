"""Reading threads."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncConnection

from services.contract.tokens import Claims
from web_app.auth.repository import Viewer
from web_app.database import AnyRow
from web_app.messages.repository import find_access, read_thread
from web_app.messages.schemas import HistoryQuery
from web_app.messages.service import epoch_of, head_of, span_of
from web_app.messages.states import written
from web_app.parts import Parts
from web_app.permissions import require
from web_app.threads import repository
from web_app.threads.repository import Place
from web_app.threads.schemas import (
    ThreadsQuery,
    WrittenFollowedThread,
    WrittenThreadPage,
    WrittenThreads,
)
from web_app.waiting import until_stored


async def page(
    parts: Parts, claims: Claims, channel_id: str, root: int, wanted: HistoryQuery
) -> WrittenThreadPage:
    """Raises ApiError not_a_member, not_yet."""
    least = max(root, wanted.at_least or 0)

    async def look(db: AsyncConnection) -> tuple[int, WrittenThreadPage | None]:
        access = await find_access(db, claims, channel_id)
        require("history.read", access.viewer.role, access.facts)
        if access.head < least:
            return access.head, None
        found = await read_thread(db, channel_id, root, span_of(wanted))
        follow = await repository.find_follow(db, access.viewer.user_id, channel_id, root)
        return access.head, WrittenThreadPage(
            epoch_of(access),
            channel_id,
            head_of(access, found),
            written(found.root) if found.root is not None else None,
            bool(follow and follow.following),
            follow.read_seq if follow else 0,
            [written(row) for row in found.rows],
            found.more_before,
            found.more_after,
        )

    shown = await until_stored(parts, look, least)
    assert shown is not None
    return shown


async def followed(db: AsyncConnection, viewer: Viewer, wanted: ThreadsQuery) -> WrittenThreads:
    """The threads that somebody follows in the channels they are in, the one with the newest reply first."""
    rows = await repository.list_followed(
        db, viewer.user_id, _place(wanted.cursor), wanted.limit, unread=wanted.unread
    )
    shown = rows[: wanted.limit]
    items = [WrittenFollowedThread(row.channel_id, written(row), row.read_seq, row.unread) for row in shown]
    more = len(rows) > wanted.limit
    return WrittenThreads(items, _cursor(shown[-1]) if more else None)


def _cursor(row: AnyRow) -> str:
    return f"{row.last_reply_at_ms}_{row.channel_id[3:]}_{row.seq}"


def _place(cursor: str | None) -> Place | None:
    if cursor is None:
        return None
    at, channel, root = cursor.split("_")
    return Place(int(at), f"ch_{channel}", int(root))
