"""Who asks and where they stand, and their channels with what is unread in them: two statements of index scans, however
long histories are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sqlalchemy import Integer, bindparam, column, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.contract.notices import notices_channel
from services.contract.tokens import Claims
from services.database.tables import Session, User, Workspace
from web_app.auth.repository import VIEWER_COLUMNS
from web_app.database import AnyRow, AnySelect
from web_app.notices.repository import POSITION
from web_app.users.repository import WITH_WORKSPACE

COUNTED: Final = 1_000
"""Counting ends here: so many means "more than 999"."""

THREADS_COUNTED: Final = 100
"""The same of threads with something unread."""

# One statement sees one moment: heads, markers and counts belong together. The literals are the indexes' own
# conditions, word for word: only so does PostgreSQL use them.
CHANNELS: Final = text(f"""
select c.id, c.kind, c.name, c.topic, c.archived_at is not null as archived,
    string_to_array(c.direct_key, ',') as user_ids, coalesce(h.head, 0) as head, coalesce(r.seq, 0) as marker,
    unread.count as unread, least(named.count + everybody.count, {COUNTED}) as mentions,
    coalesce(p.muted, false) as muted, coalesce(p.level, 'all') as level
from memberships m
join channels c on c.id = m.channel_id
left join channel_heads h on h.channel_id = m.channel_id
left join read_markers r on r.user_id = m.user_id and r.channel_id = m.channel_id
left join channel_preferences p on p.user_id = m.user_id and p.channel_id = m.channel_id
cross join lateral (
    select count(*) from (
        select from messages u
        where u.channel_id = m.channel_id and u.seq > coalesce(r.seq, 0) and u.sender_id <> m.user_id
            and (u.thread is null or u.also_to_channel) and not u.deleted
        limit {COUNTED}
    ) as counted
) as unread
cross join lateral (
    select count(*) from (
        select from message_mentions a
        where a.user_id = m.user_id and a.channel_id = m.channel_id and a.seq > coalesce(r.seq, 0)
        limit {COUNTED}
    ) as counted
) as named
cross join lateral (
    select count(*) from (
        select from messages e
        where e.channel_id = m.channel_id and e.seq > coalesce(r.seq, 0) and e.sender_id <> m.user_id
            and e.mentions_channel and not exists (
                select from message_mentions a
                where a.user_id = m.user_id and a.channel_id = e.channel_id and a.seq = e.seq
            )
        limit {COUNTED}
    ) as counted
) as everybody
where m.user_id = :user_id and m.member
order by c.id
""")  # noqa: S608  (constants of ours)

# Threads that somebody follows and that have unread replies, as `/v1/me/threads` lists them.
THREADS: Final = text(f"""
select count(*) from (
    select from thread_follows f
    join memberships m on m.user_id = f.user_id and m.channel_id = f.channel_id and m.member
    join messages root on root.channel_id = f.channel_id and root.seq = f.root
    where f.user_id = :user_id and f.following and root.last_reply > f.read_seq and exists (
        select from messages reply
        where reply.channel_id = f.channel_id and reply.thread = f.root and reply.seq > f.read_seq
            and reply.sender_id <> f.user_id and not reply.deleted
    )
    limit {THREADS_COUNTED}
) as counted
""")  # noqa: S608  (constants of ours)

_START: Final[AnySelect] = (
    select(
        *VIEWER_COLUMNS,
        *WITH_WORKSPACE,
        *POSITION,
        THREADS.columns(column("count", Integer)).scalar_subquery().label("threads_unread"),
    )
    .select_from(Session)
    .join(User, User.id == Session.user_id)
    .join(Workspace, Workspace.id == User.workspace_id)
    .where(Session.id == bindparam("session_id"))
)


async def find_start(db: AsyncConnection, claims: Claims) -> AnyRow | None:
    """The viewer (VIEWER_COLUMNS), the person (WITH_WORKSPACE), the POSITION of the workspace's notices, and
    `threads_unread`, `THREADS_COUNTED` at most. None: there is no such session.
    """
    parameters = {
        "session_id": claims.session_id,
        "stream": notices_channel(claims.workspace_id),
        "user_id": claims.user_id,
    }
    return (await db.execute(_START, parameters)).one_or_none()


async def list_channels(db: AsyncConnection, user_id: str) -> Sequence[AnyRow]:
    """Every channel that the person is in, oldest first; the columns are `schemas.WrittenChannel`'s fields."""
    return (await db.execute(CHANNELS, {"user_id": user_id})).all()
