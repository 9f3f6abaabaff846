"""What the application is shown, and what it gets for a message it sent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from services.contract.events import Event, MessagePosted, UnknownEvent, read_event
from services.contract.notices import Notice, read_shown_notice
from services.contract.presence import PresenceState

Via = Literal["live", "replay", "gap", "history"]
"""How an event came: as it happened, replayed after a reconnect, fetched by REST into a gap, or read as history."""


class Ack(msgspec.Struct, frozen=True, kw_only=True):
    """The message is durable in the log, as number `seq` of its channel, for ever.

    `id` is the id it was numbered under. `at` is the log's clock (Unix ms). `duplicate`: an earlier copy was it.
    """

    epoch: int
    channel: str
    id: str
    seq: int
    at: int
    duplicate: bool = False


class _Numbered(msgspec.Struct, frozen=True, kw_only=True):
    """One event of a channel. `at`: the log's clock when it was numbered, Unix ms. `raw`: its body's JSON.

    `mentions`: the people behind `<!here>` and groups in its text, as found when it was posted.
    """

    epoch: int
    channel: str
    seq: int
    id: str
    sender: str
    at: int
    via: Via
    raw: bytes
    mentions: Sequence[str] = ()


class MessageEvent(_Numbered, frozen=True, kw_only=True):
    """Somebody (`sender`, a user id) said `text`; `thread`: in reply to the message of this seq."""

    text: str
    thread: int | None = None
    also_to_channel: bool = False


class ChannelEvent(_Numbered, frozen=True, kw_only=True):
    """Anything else that happened in the channel; `UnknownEvent` for what this release does not know."""

    event: Event | UnknownEvent


class Opened(msgspec.Struct, frozen=True, kw_only=True):
    """You are a member of the channel: history up to `head` by REST, then `head` + 1 and on from this stream."""

    epoch: int
    channel: str
    head: int


class Closed(msgspec.Struct, frozen=True, kw_only=True):
    """You are not, or no longer, in the channel: nothing after `last_seq` will be shown."""

    channel: str
    last_seq: int


class Gap(msgspec.Struct, frozen=True, kw_only=True):
    """`first` .. `last` (both included) were missed and could not be fetched; the stream goes on behind them.

    `reason` is a sentence: history cannot be read by you (any more), does not have them, or did not answer for too
    long. In the last case `history` may give them later. Other gaps are never seen: they are filled before anything
    later of the channel is shown.
    """

    channel: str
    first: int
    last: int
    reason: str = ""


class Reset(msgspec.Struct, frozen=True, kw_only=True):
    """The log was replaced: all seqs seen so far belong to another epoch. Refetch by REST what is on show."""

    epoch: int


class CatchingUp(msgspec.Struct, frozen=True, kw_only=True):
    """A channel is held back: `first` .. `last` were missed, and history does not give them now, because of `reason`.

    Nothing of the channel is shown until they are fetched, or given up and shown as a `Gap`. `last` may grow.
    """

    channel: str
    first: int
    last: int
    reason: str


class Noticed(msgspec.Struct, frozen=True, kw_only=True):
    """Something addressed to you. `notice`: `UnknownEvent` for what this release does not know; `raw`: its JSON."""

    epoch: int
    seq: int
    id: str
    sender: str
    at: int
    via: Via
    raw: bytes
    notice: Notice | UnknownEvent


class NoticeGap(msgspec.Struct, frozen=True, kw_only=True):
    """Notices between `first` and `last` (both included) may have been yours and could not be fetched, for `reason`."""

    first: int
    last: int
    reason: str = ""


class Presence(msgspec.Struct, frozen=True, kw_only=True):
    """How people whom you watch are now (`LockstepClient.watch`); those who are not named are as they were."""

    users: dict[str, PresenceState]


class Typing(msgspec.Struct, frozen=True, kw_only=True):
    """These type in the channel, or in the thread of `thread`: forget it after five seconds. Never you."""

    channel: str
    users: list[str]
    thread: int | None = None


Shown = MessageEvent | ChannelEvent | Opened | Closed | Gap | Reset | Noticed | NoticeGap | Presence | Typing


class RawEvent(msgspec.Struct, frozen=True):
    """An event as REST gives it, in `GET /v1/channels/{id}/events`."""

    seq: int
    id: str
    sender: str
    at: int
    event: msgspec.Raw
    mentions: list[str] = []


class RawNotice(msgspec.Struct, frozen=True):
    """A notice as REST gives it, in `GET /v1/me/notices`."""

    seq: int
    id: str
    sender: str
    at: int
    notice: msgspec.Raw


def shown_notice(epoch: int, seq: int, id: str, sender: str, at: int, raw: bytes, via: Via) -> Noticed:
    """The typed notice for a body as it came over the wire."""
    return Noticed(
        epoch=epoch,
        seq=seq,
        id=id,
        sender=sender,
        at=at,
        via=via,
        raw=raw,
        notice=read_shown_notice(raw),
    )


def shown_event(
    epoch: int,
    channel: str,
    seq: int,
    id: str,
    sender: str,
    at: int,
    raw: bytes,
    via: Via,
    mentions: Sequence[str] = (),
) -> MessageEvent | ChannelEvent:
    """The typed event for a body as it came over the wire."""
    event = read_event(raw)
    if isinstance(event, MessagePosted):
        return MessageEvent(
            epoch=epoch,
            channel=channel,
            seq=seq,
            id=id,
            sender=sender,
            at=at,
            via=via,
            raw=raw,
            mentions=mentions,
            text=event.text,
            thread=event.thread,
            also_to_channel=event.also_to_channel,
        )
    return ChannelEvent(
        epoch=epoch,
        channel=channel,
        seq=seq,
        id=id,
        sender=sender,
        at=at,
        via=via,
        raw=raw,
        mentions=mentions,
        event=event,
    )
