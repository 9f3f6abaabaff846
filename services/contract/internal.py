"""The channel server's internal API, through which web_app appends: what goes in and what comes out.

`POST /internal/v1/events` with `Authorization: Bearer <service token>`: 201 and `AppendReply`, or a problem
detail (RFC 9457) whose `code` is one of `codes.ERRORS`, with `head`, `now` and `retry_after_ms` as in `Refused`.
Safe to repeat with the same id.
"""

from __future__ import annotations

import msgspec

from services.contract.events import ChannelId, EventId, UserId


class AppendRequest(msgspec.Struct, frozen=True, kw_only=True):
    """`event` is an event's JSON. The caller has decided that `sender` may do this."""

    channel: ChannelId
    sender: UserId
    id: EventId
    event: msgspec.Raw


class AppendReply(msgspec.Struct, frozen=True, kw_only=True):
    epoch: int
    channel: str
    id: str
    seq: int
    at: int
    duplicate: bool = False


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """RFC 9457 problem details with our stable `code`."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    head: int | None = None
    now: int | None = None
    retry_after_ms: int | None = None
