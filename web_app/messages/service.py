"""Posting and reading. What is asked of PostgreSQL is done and over before anything is waited for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from services.contract.events import MessagePosted, encode_event, shown_body
from services.contract.ids import new_event_id
from services.contract.internal import AppendReply, AppendRequest
from services.contract.tokens import Claims
from web_app import metrics
from web_app.database import Database
from web_app.fields import MAX_SEQ
from web_app.messages import repository
from web_app.messages.repository import Access, Rows, Span
from web_app.messages.schemas import (
    HistoryQuery,
    NewMessage,
    WrittenEvent,
    WrittenEventPage,
    WrittenMessage,
    WrittenMessagePage,
)
from web_app.parts import Parts
from web_app.permissions import require
from web_app.problems import ApiError, invalid_field

AT_LEAST_S: Final = 5.0
_FIRST_PAUSE_S: Final = 0.01
_LONGEST_PAUSE_S: Final = 0.25

Reader = Callable[[AsyncConnection, str, Span], Awaitable[Rows]]


async def post_message(
    parts: Parts, claims: Claims, channel_id: str, wanted: NewMessage, key: str | None, request_id: str | None
) -> AppendReply:
    """`key`: the Idempotency-Key. Raises ApiError not_a_member, forbidden, archived, too_large, invalid_request, and what a node says."""
    if key is not None and wanted.client_msg_id is not None and key != wanted.client_msg_id:
        raise invalid_field("body.client_msg_id", "differs from the Idempotency-Key")
    async with parts.database.reading() as db:
        access = await repository.find_access(db, claims, channel_id)
    require("message.post", access.viewer.role, access.facts)
    if access.archived:
        raise ApiError("archived")
    if len(wanted.text) > access.max_text:
        raise ApiError("too_large", f"A message has at most {access.max_text} characters in this workspace.")
    request = AppendRequest(
        channel=channel_id,
        sender=access.viewer.user_id,
        id=key or wanted.client_msg_id or new_event_id(),
        event=msgspec.Raw(encode_event(MessagePosted(text=wanted.text))),
    )
    return await parts.channel_servers.append(request, request_id)


async def event_page(parts: Parts, claims: Claims, channel_id: str, wanted: HistoryQuery) -> WrittenEventPage:
    """Raises ApiError not_a_member, not_yet."""
    access, found = await _read(parts.database, claims, channel_id, wanted, repository.read_events)
    events = [
        WrittenEvent(
            row.seq, str(row.event_id), row.sender_id, row.at_ms, msgspec.Raw(shown_body(row.body)[1])
        )
        for row in found.rows
    ]
    return WrittenEventPage(
        _epoch(access), channel_id, _head(access, found), events, found.more_before, found.more_after
    )


async def message_page(
    parts: Parts, claims: Claims, channel_id: str, wanted: HistoryQuery
) -> WrittenMessagePage:
    """Raises ApiError not_a_member, not_yet."""
    access, found = await _read(parts.database, claims, channel_id, wanted, repository.read_messages)
    messages = [
        WrittenMessage(row.seq, str(row.event_id), row.sender_id, row.at_ms, row.text) for row in found.rows
    ]
    return WrittenMessagePage(
        _epoch(access), channel_id, _head(access, found), messages, found.more_before, found.more_after
    )


async def _read(
    database: Database, claims: Claims, channel_id: str, wanted: HistoryQuery, read: Reader
) -> tuple[Access, Rows]:
    """Ask, and while history has not come to `at_least`, ask again, each time on a connection of its own."""
    deadline = time.monotonic() + AT_LEAST_S
    pause = _FIRST_PAUSE_S
    waited = False
    while True:
        async with database.reading() as db:
            access = await repository.find_access(db, claims, channel_id)
            if not access.member:
                raise ApiError("not_a_member")
            if access.head >= (wanted.at_least or 0):
                if waited:
                    metrics.AT_LEAST_WAITS.labels("reached").inc()
                return access, await read(db, channel_id, span_of(wanted))
        if time.monotonic() + pause > deadline:
            metrics.AT_LEAST_WAITS.labels("not_yet").inc()
            raise ApiError(
                "not_yet",
                f"History has come to {access.head}, not yet to {wanted.at_least}.",
                retry_after_ms=1000,
            )
        waited = True
        await asyncio.sleep(pause)
        pause = min(pause * 1.6, _LONGEST_PAUSE_S)


def span_of(wanted: HistoryQuery) -> Span:
    if wanted.after is not None:
        return Span(wanted.after + 1, 0, wanted.limit)
    if wanted.around is not None:
        return Span(wanted.around, wanted.limit // 2, wanted.limit - wanted.limit // 2)
    if wanted.before is not None:
        return Span(wanted.before, wanted.limit, 0)
    return Span(MAX_SEQ + 1, wanted.limit, 0)


def _epoch(access: Access) -> int:
    if access.epoch is None:
        raise ApiError("not_yet", "The log has not been made yet.", retry_after_ms=1000)
    return access.epoch


def _head(access: Access, found: Rows) -> int:
    """The persister stores an event and the head in one transaction: what was read is not beyond the head."""
    return max(access.head, found.rows[-1].seq if found.rows else 0)
