"""Threads as they travel."""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec
from pydantic import Field

from web_app.fields import Body, Reply, examples
from web_app.messages.states import PLAIN, REPLIED, HistoryMessage, WrittenMessage
from web_app.paging import DEFAULT_LIMIT, MAX_LIMIT

_CHANNEL: Final = "ch_0193a1b2c3d47e5f8a9b0c1d2e3f4a5b"
_REPLY: Final[dict[str, Any]] = {**PLAIN, "seq": 21, "thread": 17}

MAX_UNREAD: Final = 1_000
"""Unread replies are counted up to here."""


class ThreadPage(Reply):
    """Ascending by seq. `root` is null when `thread` names nothing that is there: a thread without a beginning.

    following   whether you follow it, by having written in it or by choice
    read        you have read it up to this seq
    """

    model_config = examples(
        {
            "epoch": 1,
            "channel": _CHANNEL,
            "head": 21,
            "root": REPLIED,
            "following": True,
            "read": 17,
            "messages": [_REPLY],
            "has_more_before": False,
            "has_more_after": False,
        }
    )

    epoch: int
    channel: str
    head: int
    root: HistoryMessage | None
    following: bool
    read: int
    messages: list[HistoryMessage]
    has_more_before: bool
    has_more_after: bool


class WrittenThreadPage(msgspec.Struct, frozen=True):
    epoch: int
    channel: str
    head: int
    root: WrittenMessage | None
    following: bool
    read: int
    messages: list[WrittenMessage]
    has_more_before: bool
    has_more_after: bool


class ThreadsQuery(Body):
    """`cursor`: the `next_cursor` of the page before."""

    unread: Annotated[bool, Field(description="Only those with unread replies.")] = True
    limit: Annotated[int, Field(ge=1, le=MAX_LIMIT, description="How many at most.")] = DEFAULT_LIMIT
    cursor: Annotated[
        str | None,
        Field(
            max_length=100,
            pattern=r"^[0-9]{1,16}_[0-9a-f]{32}_[0-9]{1,16}$",
            description="The `next_cursor` of the page before.",
        ),
    ] = None


class FollowedThread(Reply):
    """`unread`: replies by others after `read` that were not deleted, 1,000 at most. `root`: the thread's first message."""

    model_config = examples({"channel": _CHANNEL, "root": REPLIED, "read": 17, "unread": 2})

    channel: str
    root: HistoryMessage
    read: int
    unread: Annotated[int, Field(le=MAX_UNREAD)]


class WrittenFollowedThread(msgspec.Struct, frozen=True):
    channel: str
    root: WrittenMessage
    read: int
    unread: int


class WrittenThreads(msgspec.Struct, frozen=True):
    items: list[WrittenFollowedThread]
    next_cursor: str | None
