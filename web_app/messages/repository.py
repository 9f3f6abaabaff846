"""History in PostgreSQL: may they read, and one page, each by one statement and by index only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from sqlalchemy import and_, bindparam, func, select, union_all
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.orm import InstrumentedAttribute

from services.contract.tokens import Claims
from services.database.tables import (
    Channel,
    ChannelHead,
    GenerationRow,
    Membership,
    Message,
    Session,
    StoredEvent,
    User,
    Workspace,
)
from web_app.auth.repository import VIEWER_COLUMNS, Viewer, viewer_of
from web_app.database import AnyRow, AnySelect


class Access(NamedTuple):
    """The viewer and the channel they mean, as they are now. `epoch` is None before the log was ever made.

    `facts`: what is true of the channel, in the words of `permissions`; `max_text`: characters of a message.
    """

    viewer: Viewer
    member: bool
    archived: bool
    head: int
    epoch: int | None
    facts: frozenset[str]
    max_text: int


_ACCESS: Final[AnySelect] = (
    select(
        *VIEWER_COLUMNS,
        Membership.member,
        Channel.archived_at,
        Channel.posting,
        select(Workspace.max_text)
        .where(Workspace.id == User.workspace_id)
        .correlate(User)
        .scalar_subquery()
        .label("max_text"),
        func.coalesce(ChannelHead.head, 0).label("head"),
        select(func.max(GenerationRow.epoch)).scalar_subquery().label("epoch"),
    )
    .select_from(Session)
    .join(User, User.id == Session.user_id)
    .outerjoin(
        Channel, and_(Channel.id == bindparam("channel_id"), Channel.workspace_id == User.workspace_id)
    )
    .outerjoin(Membership, and_(Membership.channel_id == Channel.id, Membership.user_id == User.id))
    .outerjoin(ChannelHead, ChannelHead.channel_id == Channel.id)
    .where(Session.id == bindparam("session_id"))
)


async def find_access(db: AsyncConnection, claims: Claims, channel_id: str) -> Access:
    """One statement for who asks and what they may see. Raises ApiError unauthenticated."""
    parameters = {"session_id": claims.session_id, "channel_id": channel_id}
    row = (await db.execute(_ACCESS, parameters)).one_or_none()
    viewer = viewer_of(row, claims)
    assert row is not None
    held = {"inside": row.member is True, "posting": row.posting == "everyone"}
    return Access(
        viewer,
        row.member is True,
        row.archived_at is not None,
        row.head,
        row.epoch,
        frozenset(word for word, holds in held.items() if holds),
        row.max_text,
    )


class Span(NamedTuple):
    """A page around a pivot: up to `below` rows with a lesser seq, and up to `above` from the pivot on."""

    pivot: int
    below: int
    above: int


class Rows(NamedTuple):
    """Ascending by seq; and whether there is more on either side."""

    rows: list[AnyRow]
    more_before: bool
    more_after: bool


def _page(channel: InstrumentedAttribute[str], seq: InstrumentedAttribute[int], *columns: Any) -> AnySelect:
    """Two ranges of the primary key, read outwards from the pivot, each with one row more than is shown."""
    mine = channel == bindparam("channel_id")
    below = (
        select(seq, *columns)
        .where(mine, seq < bindparam("pivot"))
        .order_by(seq.desc())
        .limit(bindparam("below"))
    )
    above = (
        select(seq, *columns).where(mine, seq >= bindparam("pivot")).order_by(seq).limit(bindparam("above"))
    )
    return select(union_all(below, above).subquery("page"))


_EVENTS: Final = _page(
    StoredEvent.channel_id,
    StoredEvent.seq,
    StoredEvent.event_id,
    StoredEvent.sender_id,
    StoredEvent.at_ms,
    StoredEvent.body,
)
_MESSAGES: Final = _page(
    Message.channel_id, Message.seq, Message.event_id, Message.sender_id, Message.at_ms, Message.text
)


async def read_events(db: AsyncConnection, channel_id: str, span: Span) -> Rows:
    """seq, event_id, sender_id, at_ms, body."""
    return await _read(db, _EVENTS, channel_id, span)


async def read_messages(db: AsyncConnection, channel_id: str, span: Span) -> Rows:
    """seq, event_id, sender_id, at_ms, text."""
    return await _read(db, _MESSAGES, channel_id, span)


async def _read(db: AsyncConnection, page: AnySelect, channel_id: str, span: Span) -> Rows:
    parameters = {
        "channel_id": channel_id,
        "pivot": span.pivot,
        "below": span.below + 1,
        "above": span.above + 1,
    }
    found: Sequence[AnyRow] = (await db.execute(page, parameters)).all()
    ascending = sorted(found, key=lambda row: int(row.seq))
    below = [row for row in ascending if row.seq < span.pivot]
    above = [row for row in ascending if row.seq >= span.pivot]
    return Rows(
        below[len(below) - min(span.below, len(below)) :] + above[: span.above],
        len(below) > span.below,
        len(above) > span.above,
    )
