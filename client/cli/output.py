"""How things look: on a terminal for people, as JSON lines for scripts."""

from __future__ import annotations

import datetime as dt
import re
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeVar

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from client.model import (
    CatchingUp,
    ChannelEvent,
    Closed,
    Gap,
    MessageEvent,
    Noticed,
    NoticeGap,
    Opened,
    Presence,
    Reset,
    Shown,
    Typing,
)
from client.records_messages import Message
from services.contract.events import (
    ChannelArchived,
    ChannelCreated,
    ChannelMadePrivate,
    ChannelRenamed,
    ChannelSettingsChanged,
    ChannelTopicSet,
    ChannelUnarchived,
    Event,
    MembersAdded,
    MembersRemoved,
    MessageDeleted,
    MessageEdited,
    MessagePinned,
    MessagePosted,
    MessageRedacted,
    MessageUnpinned,
    ReactionAdded,
    ReactionRemoved,
    UnknownEvent,
)

T = TypeVar("T")

# Others' words must not move our cursor, recolour our screen or pass for our own lines. Format characters that
# reorder text are left in pairs only by well-behaved writers, so the explicit overrides go too.
_UNPRINTABLE: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_COLOURS: Final = (
    "cyan",
    "green",
    "yellow",
    "magenta",
    "blue",
    "bright_cyan",
    "bright_green",
    "bright_magenta",
)


def printable(text: str) -> str:
    """The text without what a terminal would obey instead of show; tabs and line feeds stay."""
    return _UNPRINTABLE.sub("\ufffd", text)


def one_line(text: str) -> str:
    return printable(text).replace("\n", " ").replace("\t", " ")


def json_line(value: object) -> None:
    """One value on a line of its own, written at once."""
    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")
    sys.stdout.flush()


def table(*columns: str) -> Table:
    return Table(*columns, box=None, header_style="dim", pad_edge=False)


async def print_all(
    items: AsyncIterator[T], json: bool, columns: Sequence[str], row: Callable[[T], Sequence[str]]
) -> None:
    """Each as a line of JSON, as it comes; or all of them as a table."""
    rows = table(*columns)
    async for item in items:
        if json:
            json_line(item)
        else:
            rows.add_row(*row(item))
    if not json:
        console().print(rows)


def console() -> Console:
    return Console(highlight=False, soft_wrap=True)


def colour_of(user_id: str) -> str:
    """The same colour for the same person everywhere."""
    return _COLOURS[int(user_id[-6:] or "0", 16) % len(_COLOURS)]


class Describer:
    """Puts events into words. `people`: user id to name."""

    def __init__(self, people: Mapping[str, str], me: str = "") -> None:
        self._people = people
        self._me = me

    def name(self, user_id: str) -> str:
        return one_line(self._people.get(user_id, "")) or f"{user_id[:4]}…{user_id[-4:]}"

    def line(self, event: MessageEvent | ChannelEvent, label: str = "") -> Text:
        """`12:01   17  Ada: hello`; further lines of a message are indented below."""
        line = Text()
        line.append(clock(event.at), style="dim")
        line.append(f" {event.seq:>4}  ", style="dim")
        if label:
            line.append(f"{label} ", style="dim")
        if isinstance(event, MessageEvent):
            line.append(_reply_mark(event.thread))
            style = f"bold {colour_of(event.sender)}" if event.sender != self._me else "bold"
            line.append(self.name(event.sender), style=style)
            line.append(": ")
            line.append(printable(event.text).replace("\n", "\n" + " " * 12))
        else:
            line.append(f"— {self.happening(event.sender, event.event)}", style="dim")
        return line

    def message(self, message: Message) -> Text:
        """As `line`, with what has become of it: `12:01   17  Ada: hello (edited)  👍 2  [3 replies]`."""
        line = Text()
        line.append(clock(message.at), style="dim")
        line.append(f" {message.seq:>4}  ", style="dim")
        line.append(_reply_mark(message.thread))
        style = f"bold {colour_of(message.sender)}" if message.sender != self._me else "bold"
        line.append(self.name(message.sender), style=style)
        line.append(": ")
        if message.deleted:
            line.append("(deleted)", style="dim")
        else:
            line.append(printable(message.text).replace("\n", "\n" + " " * 12))
        marks = [
            *(["(edited)"] if message.edits else []),
            *(["(pinned)"] if message.pinned_by else []),
            *(f"{one_line(each.emoji)} {len(each.users)}" for each in message.reactions),
            *(
                [f"[{message.replies} {'reply' if message.replies == 1 else 'replies'}]"]
                if message.replies
                else []
            ),
        ]
        if marks:
            line.append("  " + "  ".join(marks), style="dim")
        return line

    def happening(self, sender: str, event: Event | UnknownEvent) -> str:
        who = self.name(sender)
        match event:
            case ChannelCreated(name=name):
                return f"{who} made the channel{' #' + one_line(name) if name else ''}"
            case ChannelRenamed(name=name):
                return f"{who} renamed the channel to #{one_line(name)}"
            case ChannelTopicSet(topic=topic):
                return f"{who} set the topic: {one_line(topic)}" if topic else f"{who} removed the topic"
            case ChannelArchived():
                return f"{who} archived the channel"
            case ChannelUnarchived():
                return f"{who} unarchived the channel"
            case ChannelMadePrivate():
                return f"{who} made the channel private"
            case ChannelSettingsChanged():
                return f"{who} changed who may do what here: {_settings(event)}"
            case MembersAdded(user_ids=[user]) if user == sender:
                return f"{who} joined"
            case MembersRemoved(user_ids=[user]) if user == sender:
                return f"{who} left"
            case MembersAdded(user_ids=users):
                return f"{who} added {self._all(users)}"
            case MembersRemoved(user_ids=users):
                return f"{who} removed {self._all(users)}"
            case MessagePosted(text=text):
                return f"{who}: {one_line(text)}"
            case MessageEdited(target=target, text=text):
                return f"{who} edited {target}: {one_line(text)}"
            case MessageDeleted(target=target):
                return f"{who} deleted {target}"
            case MessageRedacted(target=target):
                return f"{who}: (deleted{f', an edit of {target}' if target else ''})"
            case ReactionAdded(target=target, emoji=emoji):
                return f"{who} reacted to {target} with {one_line(emoji)}"
            case ReactionRemoved(target=target, emoji=emoji):
                return f"{who} took {one_line(emoji)} back from {target}"
            case MessagePinned(target=target):
                return f"{who} pinned {target}"
            case MessageUnpinned(target=target):
                return f"{who} unpinned {target}"
            case UnknownEvent(type=kind):
                return f"{who}: {one_line(kind)} (this version of lockstep does not know such events)"

    def _all(self, users: Iterable[str]) -> str:
        names = [self.name(user) for user in users]
        return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _settings(event: ChannelSettingsChanged) -> str:
    words = [
        f"{name} {value}" for name, value in (("posting", event.posting), ("adding", event.adding)) if value
    ]
    if event.default is not None:
        words.append("new people are put into it" if event.default else "new people are not put into it")
    return ", ".join(words)


def _reply_mark(thread: int | None) -> Text:
    return Text(f"↳{thread} " if thread is not None else "", style="dim")


def notice(event: Opened | Closed | Gap | Reset, label: str) -> str:
    """What happened to the view of a channel, which is called `label`, in words."""
    match event:
        case Opened(head=head):
            return f"— {label}: {head} so far"
        case Closed(last_seq=last):
            return f"— you are no longer in {label}; the last that you were shown is {last}"
        case Gap(first=first, last=last):
            return f"— {label}: {first} to {last} are missing: {event.reason or 'they cannot be read'}"
        case Reset():
            return "— the server's log was replaced; what follows may repeat what you have seen"


def held_back(held: CatchingUp, label: str) -> str:
    """Why a channel stands still."""
    return f"{label} waits for {held.first} to {held.last}, which cannot be read now: {held.reason}"


def clock(at_ms: int) -> str:
    """12:01 of today, 2026-01-05 12:01 of another day."""
    when = dt.datetime.fromtimestamp(at_ms / 1000).astimezone()
    today = dt.datetime.now().astimezone().date()
    return when.strftime("%H:%M" if when.date() == today else "%Y-%m-%d %H:%M")


def as_json(event: Shown, people: Mapping[str, str]) -> dict[str, Any]:
    """What `tail --json` and `history --json` print of an event."""
    match event:
        case MessageEvent() | ChannelEvent():
            return {
                "kind": "event",
                "epoch": event.epoch,
                "channel": event.channel,
                "seq": event.seq,
                "id": event.id,
                "sender": event.sender,
                "sender_name": people.get(event.sender),
                "at": event.at,
                "event": msgspec.Raw(event.raw),
                "via": event.via,
            }
        case Opened():
            return {"kind": "opened", "epoch": event.epoch, "channel": event.channel, "head": event.head}
        case Closed():
            return {"kind": "closed", "channel": event.channel, "last_seq": event.last_seq}
        case Gap():
            return {"kind": "gap", "channel": event.channel, "from": event.first, "to": event.last}
        case Noticed():
            return {
                "kind": "notice",
                "epoch": event.epoch,
                "seq": event.seq,
                "id": event.id,
                "sender": event.sender,
                "sender_name": people.get(event.sender),
                "at": event.at,
                "notice": msgspec.Raw(event.raw),
                "via": event.via,
            }
        case NoticeGap():
            return {"kind": "notices_gap", "from": event.first, "to": event.last}
        case Presence():
            return {"kind": "presence", "users": event.users}
        case Typing():
            return {
                "kind": "typing",
                "channel": event.channel,
                "users": event.users,
                "thread": event.thread,
            }
        case Reset():
            return {"kind": "reset", "epoch": event.epoch}
