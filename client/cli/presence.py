"""`lockstep who`, `sessions`, `unread`, `read` and `announce`: people now, one's devices, what one has not read."""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import Annotated, Final

import typer

from client.cli.arguments import Json, Named
from client.cli.context import context_of, run
from client.cli.output import console, json_line, one_line, table
from client.client import LockstepClient
from client.model import Presence
from services.contract.frames import MAX_WATCHED

_PATIENCE_S: Final = 3.0
_COUNTED: Final = 999
_MARKS: Final = {"active": "[green]●[/]", "away": "[yellow]◐[/]", "offline": "[dim]○[/]"}


def who(
    context: typer.Context,
    everybody: Annotated[bool, typer.Option("--all", help="Also those who are offline.")] = False,
    json: Json = False,
) -> None:
    """Who is there now: active, or away.

    Examples:

        lockstep who

        lockstep who --all --json
    """
    here = context_of(context)

    async def work() -> None:
        async with here.live() as live:
            people = await here.people(live.rest)
            states = await _presence(live, list(people)[:MAX_WATCHED])
        rows = table("", "name", "presence")
        for user, state in sorted(states.items(), key=lambda each: (each[1], people[each[0]])):
            if state == "offline" and not everybody:
                continue
            if json:
                json_line({"user": user, "name": people[user], "presence": state})
            else:
                rows.add_row(_MARKS[state], one_line(people[user]), state)
        if not json:
            console().print(rows)

    run(work())


async def _presence(live: LockstepClient, users: list[str]) -> dict[str, str]:
    """Of all of them, or of those who were told of within a few seconds."""
    states: dict[str, str] = {}
    live.watch(users)
    try:
        async with asyncio.timeout(_PATIENCE_S + len(users) / 100):
            async for event in live.events():
                if isinstance(event, Presence):
                    states.update(event.users)
                    if len(states) == len(users):
                        break
    except TimeoutError:
        pass
    return states


def sessions(
    context: typer.Context,
    end: Annotated[
        str | None, typer.Option(metavar="ID", help="End this one, wherever it is.", show_default=False)
    ] = None,
    json: Json = False,
) -> None:
    """Your log-ins and where each is connected now; one that you do not know can be ended.

    Examples:

        lockstep sessions

        lockstep sessions --end ses_0193a1b2c3d47e5f8a9b0c1d2e3f4a5b
    """
    here = context_of(context)

    async def work() -> None:
        async with here.rest() as rest:
            if end is not None:
                await rest.revoke_session(end)
                print(f"Ended {end}.")
                return
            mine = await rest.live_sessions()
        if json:
            json_line(mine)
            return
        rows = table("", "session", "device", "connected to", "from", "since")
        for each in mine.sessions:
            mark = "*" if each.current else ""
            if not each.connections:
                rows.add_row(mark, each.id, one_line(each.device), "", "", "")
            for live in each.connections:
                since = dt.datetime.fromtimestamp(live.since / 1000).astimezone().strftime("%Y-%m-%d %H:%M")
                device = one_line(each.device or live.device)
                rows.add_row(mark, each.id, device, one_line(live.node), one_line(live.address), since)
        console().print(rows)

    run(work())


def unread(context: typer.Context, json: Json = False) -> None:
    """The channels with something that you have not read.

    Example:

        lockstep unread
    """
    here = context_of(context)

    async def work() -> None:
        async with here.rest() as rest:
            start = await rest.sync()
            await here.learn_channels(rest)
        waiting = [each for each in start.channels if each.unread or each.mentions]
        if json:
            for each in waiting:
                json_line(each)
            return
        rows = table("channel", "unread", "mentions")
        for each in waiting:
            muted = " (muted)" if each.muted else ""
            rows.add_row(
                one_line(here.label(each.id)) + muted, _capped(each.unread), _capped(each.mentions) or ""
            )
        console().print(rows if waiting else "You have read everything.")
        if start.threads_unread:
            console().print(f"Threads with new replies: {start.threads_unread}")

    run(work())


def _capped(count: int) -> str:
    return f"{_COUNTED}+" if count > _COUNTED else str(count or "")


def read(
    context: typer.Context,
    channel: Named,
    upto: Annotated[
        int | None, typer.Option("--to", min=0, help="Only up to this number.", show_default=False)
    ] = None,
    unread_from: Annotated[
        int | None,
        typer.Option("--unread-from", min=1, help="Mark it unread from this number on.", show_default=False),
    ] = None,
) -> None:
    """Mark a channel read on all your devices, or unread.

    Examples:

        lockstep read general

        lockstep read general --unread-from 120
    """
    if upto is not None and unread_from is not None:
        raise typer.BadParameter("give --to or --unread-from, not both")
    here = context_of(context)

    async def work() -> None:
        async with here.rest() as rest:
            place = await here.place(rest, channel, member=True)
            if unread_from is not None:
                marker = await rest.mark_unread(place.id, unread_from)
            else:
                last = upto
                if last is None:
                    last = (await rest.events(place.id, limit=1)).head
                marker = await rest.mark_read(place.id, last)
        print(f"{one_line(place.label)}: read up to {marker.seq} of {marker.head}.")

    run(work())


def announce(
    context: typer.Context,
    text: Annotated[str, typer.Argument(help="What to tell.")],
    to: Annotated[
        list[str] | None,
        typer.Option("--to", metavar="PERSON", help="Only to this person; repeat it.", show_default=False),
    ] = None,
) -> None:
    """Tell something to everybody in the workspace, or to some people. For owners and admins.

    Examples:

        lockstep announce "Tea is at four"

        lockstep announce "Your badge is ready" --to grace --to alan
    """
    here = context_of(context)

    async def work() -> None:
        async with here.rest() as rest:
            people = [(await here.person(rest, named)).id for named in to] if to else None
            told = await rest.announce(text, people)
        print("Told everybody." if told.addressed is None else f"Told {told.addressed}.")

    run(work())
