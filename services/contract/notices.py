"""Notices: events addressed to people rather than to a channel, numbered in one stream for each workspace.

The stream is an ordinary channel of the log, `notices_channel(workspace)`, of which nobody is a member: its records
are numbered, deduplicated, stored and replayed like all others, and a client is shown only those that address it. One
record addresses up to 1,000 people by `user_ids`, or everybody in the workspace by `all`; who is shown it is not shown
who else was. Readers pass on kinds that they do not know: whom a notice addresses is read without knowing its kind.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final, NamedTuple, get_args

import msgspec
from msgspec import Meta

from services.contract.events import ChannelId, Text, UnknownEvent, UserId, shown_body

MAX_ADDRESSED: Final = 1_000
"""People that one notice may name."""

Seq = Annotated[int, Meta(ge=0, le=(1 << 53) - 1)]


def notices_channel(workspace_id: str) -> str:
    """The stream of a workspace's notices, as a channel of the log. Raises ValueError for no workspace's id."""
    if not workspace_id.startswith("ws_"):
        raise ValueError(f"{workspace_id!r} is not the id of a workspace")
    return "ch_" + workspace_id[3:]


class _Notice(msgspec.Struct, frozen=True, tag_field="type", omit_defaults=True, kw_only=True):
    """`user_ids` and `all`: whom it addresses, exactly one of the two. Who is shown it is shown neither."""

    user_ids: Annotated[list[UserId], Meta(max_length=MAX_ADDRESSED)] = msgspec.field(default_factory=list)
    all: bool = False


class AnnouncementPosted(_Notice, frozen=True, tag="announcement.posted"):
    """An administrator says something to everybody, or to these people."""

    text: Text


class DirectOpened(_Notice, frozen=True, tag="direct.opened"):
    """A direct channel with you was opened."""

    channel: ChannelId


class InviteAccepted(_Notice, frozen=True, tag="invite.accepted"):
    """Somebody you invited has come."""

    user: UserId


class MentionMade(_Notice, frozen=True, tag="mention.made"):
    """A message mentions you."""

    channel: ChannelId
    seq: Seq


class ReadMoved(_Notice, frozen=True, tag="read.moved"):
    """You have read a channel up to `seq`, or marked it unread from there; `head`: of the channel when you decided so.

    `forward`: you have read so far, at least; a number that you had come to already changes nothing. Without it the marker
    is put there: it outweighs what you posted up to `head`, and what you post after that outweighs it.
    """

    channel: ChannelId
    seq: Seq
    head: Seq
    forward: bool = False


class ThreadRead(_Notice, frozen=True, tag="thread.read"):
    """You have read the thread of the message `root` up to `seq`; `head` and `forward` as in `read.moved`."""

    channel: ChannelId
    root: Seq
    seq: Seq
    head: Seq
    forward: bool = False


class ThreadFollowed(_Notice, frozen=True, tag="thread.followed"):
    """You follow this thread from now on, or no longer."""

    channel: ChannelId
    root: Seq
    following: bool


class ProfileChanged(_Notice, frozen=True, tag="profile.changed"):
    """Somebody's profile is another: name, avatar, status. Fetch it when you show it."""

    user: UserId


class PreferencesChanged(_Notice, frozen=True, tag="preferences.changed"):
    """Your preferences are others, those of one channel or your general ones. Fetch them."""

    channel: ChannelId | None = None


Notice = (
    AnnouncementPosted
    | DirectOpened
    | InviteAccepted
    | MentionMade
    | ReadMoved
    | ThreadRead
    | ThreadFollowed
    | ProfileChanged
    | PreferencesChanged
)

NOTICE_KINDS: Final = frozenset(str(kind.__struct_config__.tag) for kind in get_args(Notice))


class Addressed(NamedTuple):
    """A notice as readers see it. `user_ids`: None for everybody. `body`: its JSON without whom it addresses."""

    kind: str
    user_ids: frozenset[str] | None
    body: bytes

    def addresses(self, user_id: str) -> bool:
        """Whether this person of the workspace is shown it."""
        return self.user_ids is None or user_id in self.user_ids


class _Addressing(msgspec.Struct, frozen=True):
    user_ids: Sequence[str] = ()
    all: bool = False


_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[Notice] = msgspec.json.Decoder(Notice)
_addressing_decoder = msgspec.json.Decoder(_Addressing)
_members_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])


def encode_notice(notice: Notice) -> bytes:
    """The record's value. Raises ValueError for one that addresses nobody, or both people and everybody."""
    if bool(notice.user_ids) == notice.all:
        raise ValueError("a notice addresses either `user_ids` or `all`")
    return _encoder.encode(notice)


def decode_notice(value: bytes) -> Notice:
    """A record's value. Raises msgspec.DecodeError for a kind or a shape that this release does not know."""
    try:
        notice = _decoder.decode(value)
    except (UnicodeDecodeError, RecursionError) as error:
        raise msgspec.DecodeError(str(error)) from error
    if bool(notice.user_ids) == notice.all:
        raise msgspec.ValidationError("a notice addresses either `user_ids` or `all`")
    return notice


def read_shown_notice(body: bytes) -> Notice | UnknownEvent:
    """What somebody was shown (`Addressed.body`); `UnknownEvent` for a kind or a shape that this release does not know."""
    try:
        return _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return UnknownEvent(type=shown_body(body)[0])


def addressed(value: bytes | None) -> Addressed | None:
    """Whom a record of a notices channel addresses and what they are shown; None: nobody can be told anything."""
    kind, body = shown_body(value)
    if kind == "unreadable":
        return None
    try:
        to = _addressing_decoder.decode(body)
        members = _members_decoder.decode(body)
    except msgspec.DecodeError:
        return None
    if not to.all and not to.user_ids:
        return None
    members.pop("user_ids", None)
    members.pop("all", None)
    return Addressed(kind, None if to.all else frozenset(to.user_ids), _encoder.encode(members))
