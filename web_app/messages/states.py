"""The state of a message as it travels: written by msgspec from a row, described by the model beside it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

import msgspec
from pydantic import Field

from services.markup.tree import Block, tree_of
from web_app.database import AnyRow
from web_app.fields import Reply, examples

_ID: Final = "0193a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b"
_USER: Final = "usr_0193a1b2c3d47e5f8a9b0c1d2e3f4a5b"
_OTHER: Final = "usr_0193a1b2c3d47e5f8a9b0c1d2e3f4a5c"
AT: Final = 1_767_605_400_000

PLAIN: Final[dict[str, Any]] = {
    "seq": 17, "id": _ID, "sender": _USER, "at": AT, "text": "The engine might compose music.",
}  # fmt: skip
REPLIED: Final[dict[str, Any]] = {
    **PLAIN,
    "edits": 1,
    "edited_at": AT + 60_000,
    "reactions": [{"emoji": "👍", "users": [_OTHER]}],
    "replies": 2,
    "last_reply": 21,
    "last_reply_at": AT + 90_000,
    "participants": [_OTHER, _USER],
}

PERMALINK: Final = re.compile(r"p_([0-9a-f]{32})_([1-9][0-9]{0,15})")


def permalink(channel_id: str, seq: int) -> str:
    """The name of a message that a link can carry: `p_`, the channel's hex digits, `_`, the number."""
    return f"p_{channel_id[3:]}_{seq}"


class MessageReaction(Reply):
    """Who has it, in the order in which they came."""

    emoji: str
    users: list[str]


class HistoryMessage(Reply):
    """One message as it is now. What is at its default is left out."""

    model_config = examples(PLAIN, REPLIED)

    seq: int
    id: str
    sender: str
    at: int = Field(description="The log's clock when it was numbered, in Unix milliseconds.")
    text: str = Field(description="Empty once it was deleted.")
    thread: int | None = Field(None, description="The seq of the message that it replies to.")
    also_to_channel: bool = Field(False, description="A reply that is shown in the channel as well.")
    edits: int = Field(0, description="How often it was edited.")
    edited_at: int | None = None
    deleted: bool = Field(False, description="A tombstone: only its place and its thread are left.")
    pinned_by: str | None = None
    pinned_at: int | None = None
    reactions: list[MessageReaction] = Field([])
    replies: int = Field(0, description="Replies that were not deleted.")
    last_reply: int | None = Field(None, description="The seq of the last reply ever.")
    last_reply_at: int | None = None
    participants: list[str] = Field([], description="The first 50 people who ever replied.")
    mentions: list[str] = Field([], description="Whom it addresses: by name, by `<!here>` and by groups.")
    mentions_channel: bool = False
    content: list[dict[str, Any]] | None = Field(
        None, description="The text's tree (docs/markup.md), when `structured` was asked for."
    )


class WrittenReaction(msgspec.Struct, frozen=True):
    emoji: str
    users: Sequence[str]


class WrittenMessage(msgspec.Struct, frozen=True, omit_defaults=True):
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
    reactions: list[WrittenReaction] = []
    replies: int = 0
    last_reply: int | None = None
    last_reply_at: int | None = None
    participants: list[str] = []
    mentions: list[str] = []
    mentions_channel: bool = False
    content: list[Block] | None = None


def written(row: AnyRow, *, structured: bool = False) -> WrittenMessage:
    """From a row that begins with `repository.STATE`. By position: a row's columns by name cost ten times as much."""
    (
        seq,
        event_id,
        sender_id,
        at_ms,
        text,
        thread,
        also_to_channel,
        edits,
        edited_at_ms,
        deleted,
        pinned_by,
        pinned_at_ms,
        reactions,
        replies,
        last_reply,
        last_reply_at_ms,
        participants,
        mentions,
        mentions_channel,
        *_,
    ) = row
    return WrittenMessage(
        seq,
        str(event_id),
        sender_id,
        at_ms,
        text,
        thread,
        also_to_channel,
        edits,
        edited_at_ms,
        deleted,
        pinned_by,
        pinned_at_ms,
        [WrittenReaction(emoji, users) for emoji, users in reactions],
        replies,
        last_reply,
        last_reply_at_ms,
        participants,
        mentions,
        mentions_channel,
        tree_of(text) if structured and not deleted else None,
    )
