"""Events: everything that happens in a channel, numbered in the channel's one sequence.

A record's value is the JSON of one of these, told apart by `type`. Readers must pass on kinds they do not know
(`read_event` gives them as `UnknownEvent`), so that a rolling upgrade never splits what people see.
"""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

MAX_TEXT: Final = 12_000
"""Characters (Unicode code points) of a message's text."""

MAX_MEMBERS_PER_EVENT: Final = 1_000
"""People that one `members.*` event may name; a longer list is cut into several events."""

MAX_EMOJI_CHARACTERS: Final = 64

ChannelKind = Literal["public", "private", "direct", "group"]

WhoMay = Literal["everyone", "admins"]
"""Who may post or add people in a channel: everyone in it, or only owners and admins."""

# PostgreSQL's text cannot hold U+0000, and a lone surrogate is not Unicode text at all.
# Nearly every text has characters of the first range alone, which is found out in a quarter of the time.
Text = Annotated[
    str,
    Meta(min_length=1, max_length=MAX_TEXT, pattern=r"^(?:[\x01-\ud7ff]*|[^\x00\ud800-\udfff]*)$"),
]
# The lengths are not redundant: `$` also matches before a line feed at the end.
UserId = Annotated[str, Meta(min_length=36, max_length=36, pattern=r"^usr_[0-9a-f]{32}$")]
ChannelId = Annotated[str, Meta(min_length=35, max_length=35, pattern=r"^ch_[0-9a-f]{32}$")]
MessageSeq = Annotated[int, Meta(ge=1, le=(1 << 53) - 1)]
# A Unicode emoji, however many code points it has, or a `:name:`; anything without spaces and controls.
Emoji = Annotated[
    str,
    Meta(
        min_length=1, max_length=MAX_EMOJI_CHARACTERS, pattern=r"^[^\x00-\x20\x7f-\xa0\ud800-\udfff]*$(?!\n)"
    ),
]
EventId = Annotated[
    str,
    Meta(
        min_length=36,
        max_length=36,
        pattern=r"^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$",
    ),
]


class _Event(msgspec.Struct, frozen=True, tag_field="type", kw_only=True):
    pass


class MessagePosted(_Event, frozen=True, tag="message.posted", omit_defaults=True):
    """Somebody said something.

    `thread`: the seq of the message that this one replies to; a reply is shown in that message's thread, and in the
    channel as well if `also_to_channel`. What is at its default is not written, so that one message has one digest.
    """

    text: Text
    thread: MessageSeq | None = None
    also_to_channel: bool = False


class MessageEdited(_Event, frozen=True, tag="message.edited"):
    """The message `target` reads like this from here on. A later edit wins; of a deleted message it changes nothing."""

    target: MessageSeq
    text: Text


class MessageDeleted(_Event, frozen=True, tag="message.deleted", omit_defaults=True):
    """The text of `target` is gone, with its reactions and its pin; a tombstone stays where it was.

    `thread`: the `thread` of `target`, so that whoever holds only the thread's first message knows what to count anew.
    """

    target: MessageSeq
    thread: MessageSeq | None = None


class MessageRedacted(_Event, frozen=True, tag="message.redacted", omit_defaults=True):
    """What history and replay show in place of a deleted message, and of each edit of it. Nobody ever appends one.

    `was`: the kind that stood here. `thread` and `also_to_channel` are those of the message, `target` that of the edit.
    """

    was: Literal["message.posted", "message.edited"]
    thread: MessageSeq | None = None
    also_to_channel: bool = False
    target: MessageSeq | None = None


class ReactionAdded(_Event, frozen=True, tag="reaction.added"):
    """The sender has this reaction to `target` from here on: once, however often they add it."""

    target: MessageSeq
    emoji: Emoji


class ReactionRemoved(_Event, frozen=True, tag="reaction.removed"):
    """The sender does not have this reaction to `target` from here on."""

    target: MessageSeq
    emoji: Emoji


class MessagePinned(_Event, frozen=True, tag="message.pinned"):
    target: MessageSeq


class MessageUnpinned(_Event, frozen=True, tag="message.unpinned"):
    target: MessageSeq


class ChannelCreated(_Event, frozen=True, tag="channel.created"):
    """The first event of a channel. `name` is empty for direct channels."""

    kind: ChannelKind
    name: str


class ChannelRenamed(_Event, frozen=True, tag="channel.renamed"):
    name: str


class ChannelTopicSet(_Event, frozen=True, tag="channel.topic_set"):
    topic: str


class ChannelArchived(_Event, frozen=True, tag="channel.archived"):
    """Nothing can be posted from here on."""


class ChannelUnarchived(_Event, frozen=True, tag="channel.unarchived"):
    pass


class ChannelSettingsChanged(_Event, frozen=True, tag="channel.settings_changed", omit_defaults=True):
    """Who may post, who may add people, whether new people are put into it: what is named is so from here on."""

    posting: WhoMay | None = None
    adding: WhoMay | None = None
    default: bool | None = None


class ChannelMadePrivate(_Event, frozen=True, tag="channel.made_private"):
    """It was public, and is for those who are in it from here on."""


class MembersAdded(_Event, frozen=True, tag="members.added"):
    """These people are members from here on: one event, however many. The sender did it (joining: oneself).

    `version` is the version of each of these memberships; against the directory the higher version wins.
    """

    user_ids: Annotated[list[UserId], Meta(min_length=1, max_length=MAX_MEMBERS_PER_EVENT)]
    version: int


class MembersRemoved(_Event, frozen=True, tag="members.removed"):
    """These people are no longer members: they are shown neither this event nor any later one."""

    user_ids: Annotated[list[UserId], Meta(min_length=1, max_length=MAX_MEMBERS_PER_EVENT)]
    version: int


class UnknownEvent(msgspec.Struct, frozen=True):
    """A kind this release does not know (`type` as written), or a body that is not JSON (`unreadable`)."""

    type: str


Event = (
    MessagePosted
    | MessageEdited
    | MessageDeleted
    | MessageRedacted
    | ReactionAdded
    | ReactionRemoved
    | MessagePinned
    | MessageUnpinned
    | ChannelCreated
    | ChannelRenamed
    | ChannelTopicSet
    | ChannelArchived
    | ChannelUnarchived
    | ChannelSettingsChanged
    | ChannelMadePrivate
    | MembersAdded
    | MembersRemoved
)

UNREADABLE: Final = b'{"type":"unreadable"}'
"""What everybody is shown, over WebSocket and REST alike, of a body that is not JSON with a `type`."""

MAX_DEPTH: Final = 64
"""How deep a body's JSON may be nested. Counted, rather than left to a parser's own limit, which depends on the
caller's stack: all readers must agree on what is unreadable."""

_STRING_OR_BRACKET = re.compile(rb'"(?:[^"\\]|\\.)*"?|[\[{]|[\]}]', re.DOTALL)

_encoder = msgspec.json.Encoder()
_event_decoder: msgspec.json.Decoder[Event] = msgspec.json.Decoder(Event)
_kind_decoder: msgspec.json.Decoder[UnknownEvent] = msgspec.json.Decoder(UnknownEvent)


def encode_event(event: Event) -> bytes:
    """The record's value. The event's constraints are checked where it is decoded, not here."""
    return _encoder.encode(event)


def shown_body(value: bytes | None) -> tuple[str, bytes]:
    """(kind, JSON) as every reader shows this record's value, whether or not this release knows the kind."""
    if value is None:
        return "unreadable", UNREADABLE
    try:
        _check_depth(value)
        value.decode("utf-8")
        return _kind_decoder.decode(value).type, value
    except (msgspec.DecodeError, UnicodeDecodeError):
        return "unreadable", UNREADABLE


def read_event(value: bytes) -> Event | UnknownEvent:
    """The typed event; `UnknownEvent` for a kind or a shape that this release does not know."""
    try:
        _check_depth(value)
        return _event_decoder.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return UnknownEvent(type=shown_body(value)[0])


def _check_depth(value: bytes) -> None:
    # Most bodies have one bracket, their first byte: to find no other is cheaper than to count.
    if b"[" not in value and value.find(b"{", 1) < 0:
        return
    if value.count(b"[") + value.count(b"{") <= MAX_DEPTH:
        return
    depth = 0
    for match in _STRING_OR_BRACKET.finditer(value):
        first = value[match.start()]
        if first in b"[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise msgspec.DecodeError(f"nested more than {MAX_DEPTH} deep")
        elif first in b"]}":
            depth -= 1
