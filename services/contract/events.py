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

ChannelKind = Literal["public", "private", "direct", "group"]

# PostgreSQL's text cannot hold U+0000, and a lone surrogate is not Unicode text at all.
Text = Annotated[str, Meta(min_length=1, max_length=MAX_TEXT, pattern=r"^[^\x00\ud800-\udfff]*$")]
# The lengths are not redundant: `$` also matches before a line feed at the end.
UserId = Annotated[str, Meta(min_length=36, max_length=36, pattern=r"^usr_[0-9a-f]{32}$")]
ChannelId = Annotated[str, Meta(min_length=35, max_length=35, pattern=r"^ch_[0-9a-f]{32}$")]
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


class MessagePosted(_Event, frozen=True, tag="message.posted"):
    """Somebody said something."""

    text: Text


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
    | ChannelCreated
    | ChannelRenamed
    | ChannelTopicSet
    | ChannelArchived
    | ChannelUnarchived
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
