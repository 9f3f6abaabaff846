"""Posting and reading. What is asked of PostgreSQL is done and over before anything is waited for."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from services.contract.events import MessageEdited as Edited
from services.contract.events import MessagePosted, encode_event, read_event, shown_body
from services.contract.ids import new_event_id
from services.contract.internal import AppendReply, AppendRequest
from services.contract.tokens import Claims
from web_app.fields import MAX_SEQ
from web_app.messages import repository
from web_app.messages.repository import Access, Meant, Rows, Span
from web_app.messages.schemas import (
    HistoryQuery,
    MessagesQuery,
    MessageVersion,
    NewMessage,
    PinsQuery,
    VersionPage,
    VersionsQuery,
    WrittenEvent,
    WrittenEventPage,
    WrittenMessagePage,
    WrittenOneMessage,
)
from web_app.messages.states import PERMALINK, permalink, written
from web_app.parts import Parts
from web_app.permissions import require
from web_app.problems import ApiError, invalid_field
from web_app.waiting import until_stored

Reader = Callable[[AsyncConnection, str, Span], Awaitable[Rows]]

NO_MESSAGE = "There is no message of this number in the channel."


async def post_message(
    parts: Parts, claims: Claims, channel_id: str, wanted: NewMessage, key: str | None, request_id: str | None
) -> AppendReply:
    """`key`: the Idempotency-Key.

    Raises ApiError not_a_member, forbidden, archived, too_large, not_found for the message replied to,
    invalid_request, and what a node says.
    """
    id = chosen_id(key, wanted.client_msg_id)
    if wanted.thread is None:
        async with parts.database.reading() as db:
            access = await repository.find_access(db, claims, channel_id)
    else:
        meant = await find_meant(parts, claims, channel_id, wanted.thread)
        access = meant.access
        require("message.post", access.viewer.role, access.facts)
        require_root(meant, "body.thread")
    require_may_post(access, wanted.text)
    event = MessagePosted(text=wanted.text, thread=wanted.thread, also_to_channel=wanted.also_to_channel)
    request = AppendRequest(
        channel=channel_id,
        sender=access.viewer.user_id,
        id=id or new_event_id(),
        event=msgspec.Raw(encode_event(event)),
    )
    return await parts.channel_servers.append(request, request_id)


def chosen_id(key: str | None, client_msg_id: str | None) -> str | None:
    """What the client calls its command. Raises ApiError invalid_request when it says two things."""
    if key is not None and client_msg_id is not None and key != client_msg_id:
        raise invalid_field("body.client_msg_id", "differs from the Idempotency-Key")
    return key or client_msg_id


def require_may_post(access: Access, text: str) -> None:
    """Raises ApiError not_a_member, forbidden, archived, too_large."""
    require("message.post", access.viewer.role, access.facts)
    if access.archived:
        raise ApiError("archived")
    require_length(access, text)


def require_length(access: Access, text: str) -> None:
    """Raises ApiError too_large."""
    if len(text) > access.max_text:
        raise ApiError("too_large", f"A message has at most {access.max_text} characters in this workspace.")


def require_root(meant: Meant, field: str) -> None:
    """Raises ApiError not_found when there is nothing to reply to, invalid_request when it is itself a reply."""
    if meant.state is None:
        raise ApiError("not_found", NO_MESSAGE)
    if meant.state.thread is not None:
        raise invalid_field(field, f"is itself a reply; its thread is {meant.state.thread}")


async def find_meant(
    parts: Parts, claims: Claims, channel_id: str, seq: int, event_id: str | None = None
) -> Meant:
    """Once `seq` is stored, or at once for who is not in the channel. Raises ApiError not_yet, unauthenticated."""

    async def look(db: AsyncConnection) -> tuple[int, Meant]:
        meant = await repository.find_meant(
            db, claims, channel_id, seq, uuid.UUID(event_id) if event_id else None
        )
        return (meant.access.head if meant.access.member else seq), meant

    return await until_stored(parts, look, seq)


async def event_page(parts: Parts, claims: Claims, channel_id: str, wanted: HistoryQuery) -> WrittenEventPage:
    """Raises ApiError not_a_member, not_yet."""
    access, found = await read_page(parts, claims, channel_id, wanted, repository.read_events)
    events = [
        WrittenEvent(
            row.seq,
            str(row.event_id),
            row.sender_id,
            row.at_ms,
            msgspec.Raw(shown_body(row.body)[1]),
            row.mentions,
        )
        for row in found.rows
    ]
    return WrittenEventPage(
        epoch_of(access), channel_id, head_of(access, found), events, found.more_before, found.more_after
    )


async def message_page(
    parts: Parts, claims: Claims, channel_id: str, wanted: MessagesQuery
) -> WrittenMessagePage:
    """Raises ApiError not_a_member, not_yet."""
    read = repository.read_top_level if wanted.top_level else repository.read_messages
    access, found = await read_page(parts, claims, channel_id, wanted, read)
    return written_page(access, channel_id, found, structured=wanted.structured)


async def pinned_page(parts: Parts, claims: Claims, channel_id: str, wanted: PinsQuery) -> WrittenMessagePage:
    """Raises ApiError not_a_member."""
    span = HistoryQuery(before=wanted.before, limit=wanted.limit)
    access, found = await read_page(parts, claims, channel_id, span, repository.read_pinned)
    return written_page(access, channel_id, found)


def written_page(
    access: Access, channel_id: str, found: Rows, *, structured: bool = False
) -> WrittenMessagePage:
    messages = [written(row, structured=structured) for row in found.rows]
    return WrittenMessagePage(
        epoch_of(access), channel_id, head_of(access, found), messages, found.more_before, found.more_after
    )


async def one_message(
    parts: Parts, claims: Claims, channel_id: str, seq: int, *, structured: bool
) -> WrittenOneMessage:
    """Raises ApiError not_a_member, not_found, not_yet."""
    meant = await find_meant(parts, claims, channel_id, seq)
    require("history.read", meant.access.viewer.role, meant.access.facts)
    if meant.state is None:
        raise ApiError("not_found", NO_MESSAGE)
    return WrittenOneMessage(
        epoch_of(meant.access),
        channel_id,
        permalink(channel_id, seq),
        written(meant.state, structured=structured),
    )


async def resolved(parts: Parts, claims: Claims, link: str) -> WrittenOneMessage:
    """The message that a permalink names. Raises ApiError not_found, also for who is not in its channel."""
    match = PERMALINK.fullmatch(link)
    if match is None or int(match[2]) > MAX_SEQ:
        raise ApiError("not_found")
    try:
        return await one_message(parts, claims, f"ch_{match[1]}", int(match[2]), structured=False)
    except ApiError as error:
        if error.code == "not_a_member":
            raise ApiError("not_found") from error
        raise


async def versions(
    parts: Parts, claims: Claims, channel_id: str, seq: int, wanted: VersionsQuery
) -> VersionPage:
    """What a message has said, for its author and admins. Raises ApiError not_a_member, forbidden, not_found."""
    meant = await find_meant(parts, claims, channel_id, seq)
    access, state = meant.access, meant.state
    if not access.member:
        raise ApiError("not_a_member")
    if state is None or state.deleted:
        raise ApiError("not_found", "There is no such message, or it was deleted.")
    author = {"author"} if state.sender_id == access.viewer.user_id else set[str]()
    require("message.edits", access.viewer.role, access.facts | author)
    async with parts.database.reading() as db:
        rows = await repository.read_versions(db, channel_id, seq, wanted.after, wanted.limit)
    said = ((row, read_event(row.body or b"")) for row in rows[: wanted.limit])
    items = [
        MessageVersion(seq=row.seq, at=row.at_ms, text=event.text)
        for row, event in said
        if isinstance(event, MessagePosted | Edited)
    ]
    return VersionPage(channel=channel_id, seq=seq, versions=items, has_more_after=len(rows) > wanted.limit)


async def read_page(
    parts: Parts, claims: Claims, channel_id: str, wanted: HistoryQuery, read: Reader
) -> tuple[Access, Rows]:
    """Raises ApiError not_a_member, not_yet."""

    async def look(db: AsyncConnection) -> tuple[int, tuple[Access, Rows]]:
        access = await repository.find_access(db, claims, channel_id)
        require("history.read", access.viewer.role, access.facts)
        if access.head < (wanted.at_least or 0):
            return access.head, (access, Rows([], False, False))
        return access.head, (access, await read(db, channel_id, span_of(wanted)))

    return await until_stored(parts, look, wanted.at_least or 0)


def span_of(wanted: HistoryQuery) -> Span:
    if wanted.after is not None:
        return Span(wanted.after + 1, 0, wanted.limit)
    if wanted.around is not None:
        return Span(wanted.around, wanted.limit // 2, wanted.limit - wanted.limit // 2)
    if wanted.before is not None:
        return Span(wanted.before, wanted.limit, 0)
    return Span(MAX_SEQ + 1, wanted.limit, 0)


def epoch_of(access: Access) -> int:
    """Raises ApiError not_yet."""
    if access.epoch is None:
        raise ApiError("not_yet", "The log has not been made yet.", retry_after_ms=1000)
    return access.epoch


def head_of(access: Access, found: Rows) -> int:
    """Of the moment of which the rows are, which is not before the one at which it was asked who may read them."""
    return max(access.head, found.head)
