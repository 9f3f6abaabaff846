"""History in PostgreSQL: may they read, and one page, each by one statement and by index only."""

from __future__ import annotations

import uuid
from bisect import bisect_left
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any, Final, NamedTuple

from sqlalchemy import BigInteger, and_, bindparam, func, literal_column, or_, select, union_all
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.orm import InstrumentedAttribute

from services.contract.events import MAX_TEXT
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

    max_text, edit_window_s, delete_window_s    settings of the workspace
    posting                                     who may post, by the channel's setting
    """

    viewer: Viewer
    member: bool
    archived: bool
    head: int
    epoch: int | None
    posting: str = "everyone"
    max_text: int = MAX_TEXT
    edit_window_s: int | None = None
    delete_window_s: int | None = None

    @property
    def facts(self) -> set[str]:
        """For `permissions.require`."""
        facts = {"inside", "seen"} if self.member else set[str]()
        return facts | {"posting"} if self.posting == "everyone" else facts


class Meant(NamedTuple):
    """The message that a command is about, None when there is none, and what the command's own id has become.

    state       a row of STATE, None when the number is no message's
    done        seq, at and body of the viewer's event under the command's own id, if one is stored
    """

    access: Access
    state: AnyRow | None
    done: tuple[int, int, bytes | None] | None


_ACCESS_COLUMNS: Final = (
    *VIEWER_COLUMNS,
    Membership.member,
    Channel.archived_at,
    Channel.posting,
    Workspace.max_text,
    Workspace.edit_window_s,
    Workspace.delete_window_s,
    func.coalesce(ChannelHead.head, 0).label("head"),
    select(func.max(GenerationRow.epoch)).scalar_subquery().label("epoch"),
)

_ACCESS: Final[AnySelect] = (
    select(*_ACCESS_COLUMNS)
    .select_from(Session)
    .join(User, User.id == Session.user_id)
    .join(Workspace, Workspace.id == User.workspace_id)
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
    return _access(row, claims)


def _access(row: AnyRow | None, claims: Claims) -> Access:
    viewer = viewer_of(row, claims)
    assert row is not None
    return Access(
        viewer,
        row.member is True,
        row.archived_at is not None,
        row.head,
        row.epoch,
        row.posting or "everyone",
        row.max_text,
        row.edit_window_s,
        row.delete_window_s,
    )


STATE: Final = (
    Message.seq,
    Message.event_id,
    Message.sender_id,
    Message.at_ms,
    Message.text,
    Message.thread,
    Message.also_to_channel,
    Message.edits,
    Message.edited_at_ms,
    Message.deleted,
    Message.pinned_by,
    Message.pinned_at_ms,
    Message.reactions,
    Message.replies,
    Message.last_reply,
    Message.last_reply_at_ms,
    Message.participants,
    Message.mentions,
    Message.mentions_channel,
)
"""The columns of a message's state besides its channel, in the order in which `states.written` takes them."""

_MEANT: Final[AnySelect] = (
    _ACCESS.with_only_columns(
        *STATE,
        *_ACCESS_COLUMNS,
        StoredEvent.seq.label("done_seq"),
        StoredEvent.at_ms.label("done_at"),
        StoredEvent.body.label("done_body"),
    )
    .outerjoin(Message, and_(Message.channel_id == Channel.id, Message.seq == bindparam("seq")))
    .outerjoin(
        StoredEvent,
        and_(
            StoredEvent.epoch == select(func.max(GenerationRow.epoch)).scalar_subquery(),
            StoredEvent.channel_id == Channel.id,
            StoredEvent.sender_id == User.id,
            StoredEvent.event_id == bindparam("event_id"),
        ),
    )
)


async def find_meant(
    db: AsyncConnection, claims: Claims, channel_id: str, seq: int, event_id: uuid.UUID | None = None
) -> Meant:
    """One statement for who asks, what they may see, and the message that they mean. Raises ApiError unauthenticated."""
    parameters = {
        "session_id": claims.session_id,
        "channel_id": channel_id,
        "seq": seq,
        "event_id": event_id,
    }
    row = (await db.execute(_MEANT, parameters)).one_or_none()
    access = _access(row, claims)
    assert row is not None
    done = (row.done_seq, row.done_at, row.done_body) if row.done_seq is not None else None
    return Meant(access, row if row.seq is not None else None, done)


class Span(NamedTuple):
    """A page around a pivot: up to `below` rows with a lesser seq, and up to `above` from the pivot on."""

    pivot: int
    below: int
    above: int


class Rows(NamedTuple):
    """Ascending by seq; and whether there is more on either side.

    head   the channel's at the moment of which the rows are; 0 when there are none
    root   the first message of the thread that was asked for, if it is there
    """

    rows: list[AnyRow]
    more_before: bool
    more_after: bool
    head: int = 0
    root: AnyRow | None = None


def _page(
    channel: InstrumentedAttribute[str],
    *columns: Any,
    where: Any = None,
    besides: Any = None,
) -> AnySelect:
    """Two ranges of an index, read outwards from the pivot, each with one row more than is shown; the row `besides`.

    The first of the columns is `seq`.

    With the channel's head in the same statement: states and head are of one moment, so that whoever applies the
    events after `head` to them counts nothing twice.
    """
    seq = columns[0]
    every = channel == bindparam("channel_id")
    mine = every if where is None else and_(every, where)
    below = (
        select(*columns).where(mine, seq < bindparam("pivot")).order_by(seq.desc()).limit(bindparam("below"))
    )
    above = select(*columns).where(mine, seq >= bindparam("pivot")).order_by(seq).limit(bindparam("above"))
    parts = [below, above] if besides is None else [below, above, select(*columns).where(every, besides)]
    head = select(ChannelHead.head).where(ChannelHead.channel_id == bindparam("channel_id")).scalar_subquery()
    return select(union_all(*parts).subquery("page"), func.coalesce(head, literal_column("0")).label("head"))


_EVENTS: Final = _page(
    StoredEvent.channel_id,
    StoredEvent.seq,
    StoredEvent.event_id,
    StoredEvent.sender_id,
    StoredEvent.at_ms,
    StoredEvent.body,
    StoredEvent.mentions,
)
_MESSAGES: Final = _page(Message.channel_id, *STATE)
_TOP_LEVEL: Final = _page(
    Message.channel_id,
    *STATE,
    where=and_(or_(Message.thread.is_(None), Message.also_to_channel), ~Message.deleted),
)
_PINNED: Final = _page(Message.channel_id, *STATE, where=Message.pinned_at_ms.is_not(None))
_ROOT: Final = bindparam("root", type_=BigInteger)
_THREAD: Final = _page(
    Message.channel_id, *STATE, where=Message.thread == _ROOT, besides=Message.seq == _ROOT
)


async def read_events(db: AsyncConnection, channel_id: str, span: Span) -> Rows:
    """seq, event_id, sender_id, at_ms, body, mentions."""
    return await _read(db, _EVENTS, channel_id, span)


async def read_messages(db: AsyncConnection, channel_id: str, span: Span) -> Rows:
    """STATE."""
    return await _read(db, _MESSAGES, channel_id, span)


async def read_top_level(db: AsyncConnection, channel_id: str, span: Span) -> Rows:
    """As `read_messages`, of those that are there and shown in the channel itself."""
    return await _read(db, _TOP_LEVEL, channel_id, span)


async def read_pinned(db: AsyncConnection, channel_id: str, span: Span) -> Rows:
    """As `read_messages`, of those that are pinned."""
    return await _read(db, _PINNED, channel_id, span)


async def read_thread(db: AsyncConnection, channel_id: str, root: int, span: Span) -> Rows:
    """As `read_messages`, of the replies to a message; and that message."""
    return await _read(db, _THREAD, channel_id, span, root=root)


async def read_versions(
    db: AsyncConnection, channel_id: str, seq: int, after: int, limit: int
) -> list[AnyRow]:
    """A message's raw event and those of its edits, ascending from after a seq: seq, sender_id, at_ms, body."""
    columns = (StoredEvent.seq, StoredEvent.sender_id, StoredEvent.at_ms, StoredEvent.body)
    mine = (StoredEvent.channel_id == channel_id, StoredEvent.seq > after)
    own = select(*columns).where(*mine, StoredEvent.seq == seq)
    edits = (
        select(*columns).where(*mine, StoredEvent.target == seq).order_by(StoredEvent.seq).limit(limit + 1)
    )
    both = union_all(own, edits).subquery("versions")
    return list((await db.execute(select(both).order_by(both.c.seq).limit(limit + 1))).all())


_SEQ: Final[Callable[[AnyRow], int]] = itemgetter(0)


async def _read(
    db: AsyncConnection, page: AnySelect, channel_id: str, span: Span, root: int | None = None
) -> Rows:
    parameters: dict[str, Any] = {
        **({} if root is None else {"root": root}),
        "channel_id": channel_id,
        "pivot": span.pivot,
        "below": span.below + 1,
        "above": span.above + 1,
    }
    found: Sequence[AnyRow] = (await db.execute(page, parameters)).all()
    first = None if root is None else next((row for row in found if row.seq == root), None)
    ascending = sorted((row for row in found if row is not first), key=_SEQ)
    middle = bisect_left(ascending, span.pivot, key=_SEQ)
    below, above = ascending[:middle], ascending[middle:]
    return Rows(
        below[len(below) - min(span.below, len(below)) :] + above[: span.above],
        len(below) > span.below,
        len(above) > span.above,
        found[0].head if found else 0,
        first,
    )
