"""What REST replies hold about messages. What is at its default is left out by the server."""

from __future__ import annotations

from typing import Any

import msgspec


class _Record(msgspec.Struct, frozen=True, kw_only=True):
    pass


class Reaction(_Record, frozen=True, kw_only=True):
    """An emoji and who has it, in the order in which they came."""

    emoji: str
    users: list[str]


class Message(_Record, frozen=True, kw_only=True):
    """A message as it stands now; docs/messages.md says what the fields mean. Times: Unix ms by the log's clock."""

    seq: int
    id: str
    sender: str
    at: int
    text: str
    thread: int | None = None
    also_to_channel: bool = False
    edits: int = 0
    edited_at: int | None = None
    deleted: bool = False
    pinned_by: str | None = None
    pinned_at: int | None = None
    reactions: list[Reaction] = []
    replies: int = 0
    last_reply: int | None = None
    last_reply_at: int | None = None
    participants: list[str] = []
    mentions: list[str] = []
    mentions_channel: bool = False
    content: list[dict[str, Any]] | None = None


class MessagePage(_Record, frozen=True, kw_only=True):
    """Ascending by seq; as of `head`."""

    epoch: int
    channel: str
    head: int
    messages: list[Message]
    has_more_before: bool = False
    has_more_after: bool = False


class ThreadPage(_Record, frozen=True, kw_only=True):
    """A thread's first message, None when there is none, and a page of its replies, ascending."""

    epoch: int
    channel: str
    head: int
    root: Message | None
    following: bool
    read: int
    messages: list[Message]
    has_more_before: bool = False
    has_more_after: bool = False


class OneMessage(_Record, frozen=True, kw_only=True):
    epoch: int
    channel: str
    permalink: str
    message: Message


class MessageVersion(_Record, frozen=True, kw_only=True):
    """What a message said from `at` on; `seq`: the event that said so."""

    seq: int
    at: int
    text: str


class VersionPage(_Record, frozen=True, kw_only=True):
    channel: str
    seq: int
    versions: list[MessageVersion]
    has_more_after: bool = False


class FollowedThread(_Record, frozen=True, kw_only=True):
    """`unread`: replies by others after `read`, counted up to 1,000."""

    channel: str
    root: Message
    read: int
    unread: int


class SavedMessage(_Record, frozen=True, kw_only=True):
    channel: str
    saved_at: int
    note: str
    message: Message


class Scheduled(_Record, frozen=True, kw_only=True):
    """`failed`: the code of what kept it from being posted; None while it waits."""

    id: str
    channel: str
    text: str
    send_at: int
    thread: int | None = None
    also_to_channel: bool = False
    failed: str | None = None
