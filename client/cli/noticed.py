"""Notices in words."""

from __future__ import annotations

from collections.abc import Callable

from rich.text import Text

from client.cli.output import Describer, clock, one_line, printable
from client.model import Noticed, NoticeGap
from services.contract.events import UnknownEvent
from services.contract.notices import (
    AnnouncementPosted,
    DirectOpened,
    InviteAccepted,
    MentionMade,
    Notice,
    PreferencesChanged,
    ProfileChanged,
    ReadMoved,
    ThreadFollowed,
    ThreadRead,
)


def noticed_line(event: Noticed | NoticeGap, describer: Describer, label: Callable[[str], str]) -> Text:
    """`12:01  ! Ada announces: Tea is at four`."""
    if isinstance(event, NoticeGap):
        return Text(f"— notices {event.first} to {event.last} are missing: {event.reason}", style="dim")
    line = Text(f"{clock(event.at)}    !  ", style="dim")
    loud = isinstance(event.notice, AnnouncementPosted | MentionMade)
    line.append(
        noticed(event.notice, describer.name(event.sender), describer, label), style="" if loud else "dim"
    )
    return line


def noticed(
    notice: Notice | UnknownEvent, sender: str, describer: Describer, label: Callable[[str], str]
) -> str:
    """What somebody is told, as a sentence."""
    match notice:
        case AnnouncementPosted(text=text):
            return f"{sender} announces: {printable(text)}"
        case MentionMade(channel=channel, seq=seq):
            return f"{sender} mentions you in {one_line(label(channel))}, {seq}"
        case DirectOpened(channel=channel):
            return f"{sender} opened {one_line(label(channel))}"
        case InviteAccepted(user=user):
            return f"{describer.name(user)} has come"
        case ReadMoved(channel=channel, seq=seq):
            return f"read up to {seq} in {one_line(label(channel))}"
        case ThreadRead(channel=channel, root=root, seq=seq):
            return f"read up to {seq} in the thread {root} of {one_line(label(channel))}"
        case ThreadFollowed(channel=channel, root=root, following=following):
            act = "following" if following else "no longer following"
            return f"{act} the thread {root} of {one_line(label(channel))}"
        case ProfileChanged(user=user):
            return f"{describer.name(user)} has changed their profile"
        case PreferencesChanged():
            return "your preferences have changed"
        case UnknownEvent(type=kind):
            return f"{one_line(kind)} (this version of lockstep does not know such notices)"
