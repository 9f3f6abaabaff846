"""send, history, tail."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from client.api import PAGE
from client.cli.arguments import Json, Named
from client.cli.context import Context, Place, context_of, run
from client.cli.errors import CommandFailed
from client.cli.noticed import noticed_line
from client.cli.output import Describer, as_json, console, held_back, json_line, notice, one_line
from client.client import LockstepClient
from client.model import (
    CatchingUp,
    ChannelEvent,
    Closed,
    MessageEvent,
    Noticed,
    NoticeGap,
    Opened,
    Presence,
    Shown,
    Typing,
)
from client.recorder import Recorder
from client.records import EventPage
from client.records_messages import Message
from client.rest import RestClient, past_events
from services.contract.events import (
    MessageDeleted,
    MessageEdited,
    MessagePinned,
    MessageRedacted,
    MessageUnpinned,
    ReactionAdded,
    ReactionRemoved,
)

_DONE_TO_MESSAGES = (
    MessageEdited,
    MessageDeleted,
    MessageRedacted,
    ReactionAdded,
    ReactionRemoved,
    MessagePinned,
    MessageUnpinned,
)

Recording = Annotated[
    Path | None,
    typer.Option(
        "--record", help="Write down what is sent and shown, for `lockstep verify`.", show_default=False
    ),
]


def send(
    context: typer.Context,
    channel: Named,
    text: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="TEXT", help="What to say. Nothing, or `-`: standard input.", show_default=False
        ),
    ] = None,
    lines: Annotated[
        bool, typer.Option("--lines", help="Each line of standard input is a message of its own.")
    ] = False,
    json: Json = False,
    record: Recording = None,
) -> None:
    """Say something, and wait until it is stored. Prints the number that it got.

    Works while the web app is away, once you have been connected before.

    Examples:

        lockstep send general "Hello, world"

        make test 2>&1 | lockstep send builds
    """
    here = context_of(context)
    words = " ".join(text or [])
    messages = [words] if words not in ("", "-") else _from_stdin(lines)

    async def work() -> None:
        with recorder_for(record, here) as recorder:
            async with here.live(recorder=recorder) as chat:
                place = await here.place(chat.rest, channel, member=True)
                for message in messages:
                    ack = await chat.send(place.id, message)
                    if json:
                        json_line(ack)
                    else:
                        print(f"{place.label} {ack.seq}")

    run(work())


def _from_stdin(lines: bool) -> list[str]:
    if sys.stdin.isatty():
        raise typer.BadParameter("give the text, or pipe it in")
    try:
        content = sys.stdin.buffer.read().decode("utf-8")
    except UnicodeDecodeError as error:
        raise CommandFailed(f"Standard input is not UTF-8 (byte {error.start}).") from error
    messages = content.splitlines() if lines else [content.rstrip("\r\n")]
    messages = [message for message in messages if message.strip()]
    if not messages:
        raise CommandFailed("There is nothing to say on standard input.")
    return messages


def history(
    context: typer.Context,
    channel: Named,
    after: Annotated[
        int | None, typer.Option(min=0, help="Only what came after this number.", show_default=False)
    ] = None,
    before: Annotated[
        int | None, typer.Option(min=0, help="Only what came before this number.", show_default=False)
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many at most.")] = 50,
    json: Json = False,
    export: Annotated[
        bool, typer.Option("--export", help="All of it, as pages of JSON for `lockstep verify --history`.")
    ] = False,
) -> None:
    """What happened in a channel, oldest first; the newest part of it, unless told otherwise.

    Messages are shown as they stand now. With --json: every event, as it was.

    Examples:

        lockstep history general

        lockstep history general --after 120 --limit 500 --json
    """
    if after is not None and before is not None:
        raise typer.BadParameter("give --after or --before, not both")
    here = context_of(context)

    async def work() -> None:
        async with here.rest() as rest:
            place = await here.place(rest, channel, member=True)
            if export:
                await _export(rest, place)
                return
            people = await here.people(rest)
            describer = Describer(people, here.login().user.id)
            out = console()
            events = await _read(rest, place, after, before, limit)
            if json:
                for event in events:
                    json_line(as_json(event, people))
                return
            for line in history_lines(describer, events, await states_of(rest, place.id, events)):
                out.print(line)

    run(work())


async def states_of(
    rest: RestClient, channel_id: str, events: Sequence[MessageEvent | ChannelEvent]
) -> dict[int, Message]:
    """The messages among these consecutive events, as they stand now."""
    states: dict[int, Message] = {}
    for start in range(0, len(events), PAGE):
        some = events[start : start + PAGE]
        page = await rest.messages(channel_id, after=some[0].seq - 1, limit=len(some))
        states |= {message.seq: message for message in page.messages}
    return states


def history_lines(
    describer: Describer, events: Iterable[MessageEvent | ChannelEvent], states: Mapping[int, Message]
) -> Iterator[Text]:
    """A line for each event, but what was done to messages is shown with them."""
    for event in events:
        if event.seq in states:
            yield describer.message(states[event.seq])
        elif isinstance(event, MessageEvent) or not isinstance(event.event, _DONE_TO_MESSAGES):
            yield describer.line(event)


async def _export(rest: RestClient, place: Place) -> None:
    after = 0
    while True:
        page: EventPage = await rest.events(place.id, after=after, limit=PAGE)
        json_line(page)
        if not page.has_more_after or not page.events:
            return
        after = page.events[-1].seq


async def _read(
    rest: RestClient, place: Place, after: int | None, before: int | None, limit: int
) -> list[MessageEvent | ChannelEvent]:
    events: list[MessageEvent | ChannelEvent] = []
    while len(events) < limit:
        wanted = min(PAGE, limit - len(events))
        page = past_events(await rest.events(place.id, after=after, before=before, limit=wanted))
        events = events + page if after is not None else page + events
        if len(page) < wanted:
            break
        if after is not None:
            after = page[-1].seq
        else:
            before = page[0].seq
    return events


def tail(
    context: typer.Context,
    channels: Annotated[
        list[str] | None,
        typer.Argument(metavar="CHANNEL", help="Which. Default: all you are in.", show_default=False),
    ] = None,
    json: Json = False,
    after: Annotated[
        int | None,
        typer.Option(min=0, help="Begin behind this number instead of now.", show_default=False),
    ] = None,
    count: Annotated[
        int | None,
        typer.Option("--count", "-c", min=1, help="Stop after so many events.", show_default=False),
    ] = None,
    record: Recording = None,
) -> None:
    """Print what happens, as it happens, until Ctrl-C. Reconnects by itself and leaves nothing out.

    Examples:

        lockstep tail general

        lockstep tail general builds --json | jq -r .event.text
    """
    here = context_of(context)

    def held(what: CatchingUp) -> None:
        print(f"lockstep: {held_back(what, here.label(what.channel))}", file=sys.stderr)

    async def work() -> None:
        with recorder_for(record, here) as recorder:
            async with here.live(recorder=recorder, on_catching_up=held) as chat:
                places = [await here.place(chat.rest, named, member=True) for named in channels or ()]
                await _tail(here, chat, places, json=json, after=after, count=count)

    run(work())


async def _tail(
    here: Context,
    chat: LockstepClient,
    places: list[Place],
    *,
    json: bool,
    after: int | None,
    count: int | None,
) -> None:
    people = await here.people(chat.rest)
    describer = Describer(people, chat.user_id)
    labels = {place.id: place.label for place in places}
    if not places and not json:
        await here.learn_channels(chat.rest)
    out = console()
    printed = 0
    strangers: set[str] = set()

    def show(event: Shown) -> None:
        nonlocal printed
        if json:
            json_line(as_json(event, people))
        elif isinstance(event, MessageEvent | ChannelEvent):
            label = labels.get(event.channel) or here.label(event.channel)
            out.print(describer.line(event, one_line(label) if len(places) != 1 else ""))
        elif isinstance(event, Presence | Typing):
            pass  # for the moment, and for `chat`
        elif isinstance(event, Noticed | NoticeGap):
            out.print(noticed_line(event, describer, here.label))
        else:
            channel = getattr(event, "channel", "")
            label = labels.get(channel) or here.label(channel)
            out.print(Text(notice(event, one_line(label)), style="dim"))
        printed += isinstance(event, MessageEvent | ChannelEvent)

    missed: dict[str, int] = {} if after is None else dict.fromkeys(labels, after)
    async for event in chat.events():
        channel = getattr(event, "channel", None)
        if places and channel is not None and channel not in labels:
            continue
        if places and isinstance(event, Noticed | NoticeGap):
            continue  # they are about no channel in particular
        if isinstance(event, Opened):
            if not places and not json and here.label(event.channel) == event.channel:
                await here.learn_channels(chat.rest)
            start = missed.pop(event.channel, event.head)
            while start < event.head and (count is None or printed < count):
                for past in await chat.history(event.channel, after=start, limit=PAGE, at_least=event.head):
                    start = past.seq
                    if past.seq <= event.head and (count is None or printed < count):
                        show(past)
        elif isinstance(event, MessageEvent | ChannelEvent):
            if event.sender not in people and event.sender not in strangers:
                strangers.add(event.sender)
                people.update(await here.people(chat.rest))
            show(event)
        else:
            show(event)
            if isinstance(event, Closed) and labels:
                labels.pop(event.channel, None)
                if not labels:
                    raise CommandFailed("You are no longer in any of these channels.")
        if count is not None and printed >= count:
            return


def recorder_for(path: Path | None, here: Context) -> AbstractContextManager[Recorder | None]:
    if path is None:
        return nullcontext()
    try:
        return Recorder(path, f"cli-{here.profile.name}")
    except OSError as error:
        raise CommandFailed(f"Cannot write to {path}: {error.strerror}.") from error
