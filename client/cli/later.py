"""`lockstep saved` and `lockstep schedule`: what one keeps, and what is to be posted later."""

from __future__ import annotations

import datetime as dt
import re
from typing import Annotated

import typer

from client.cli.arguments import Json, Named, Number
from client.cli.context import context_of, run
from client.cli.output import clock, json_line, one_line, print_all
from client.records_messages import SavedMessage, Scheduled

saved = typer.Typer(
    name="saved",
    help="""The messages that you keep for yourself.

    Examples:

        lockstep saved

        lockstep saved add general 17 --note "ask Ada"

        lockstep saved remove general 17
    """,
    invoke_without_command=True,
)

schedule = typer.Typer(
    name="schedule",
    help="""Messages that are to be posted later.

    Examples:

        lockstep schedule

        lockstep schedule add general 18:30 "Time to go home"

        lockstep schedule add general +15m "Tea?"

        lockstep schedule delete sch_...
    """,
    invoke_without_command=True,
)

_AHEAD = re.compile(r"\+([0-9]{1,6})([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


@saved.callback()
def list_saved(context: typer.Context, json: Json = False) -> None:
    if context.invoked_subcommand is not None:
        return
    here = context_of(context)

    async def work() -> None:
        async with here.rest() as rest:
            await here.learn_channels(rest)
            people = {} if json else await here.people(rest)

            def row(each: SavedMessage) -> tuple[str, ...]:
                message = each.message
                return (
                    one_line(here.label(each.channel)),
                    str(message.seq),
                    one_line(people.get(message.sender, message.sender)),
                    "(deleted)" if message.deleted else one_line(message.text)[:60],
                    one_line(each.note),
                )

            await print_all(rest.saved(), json, ("channel", "number", "who", "text", "note"), row)

    run(work())


@saved.command("add")
def add_saved(
    context: typer.Context,
    channel: Named,
    number: Number,
    note: Annotated[str, typer.Option(help="A word to yourself.")] = "",
) -> None:
    """Keep a message."""
    here = context_of(context)

    async def work() -> None:
        async with here.rest() as rest:
            place = await here.place(rest, channel, member=True)
            await rest.save_message(place.id, number, note)

    run(work())


@saved.command("remove")
def remove_saved(context: typer.Context, channel: Named, number: Number) -> None:
    """Keep it no longer."""
    here = context_of(context)

    async def work() -> None:
        async with here.rest() as rest:
            place = await here.place(rest, channel, member=True)
            await rest.unsave_message(place.id, number)

    run(work())


@schedule.callback()
def list_scheduled(context: typer.Context, json: Json = False) -> None:
    if context.invoked_subcommand is not None:
        return
    here = context_of(context)

    def row(each: Scheduled) -> tuple[str, ...]:
        return (
            each.id,
            clock(each.send_at),
            one_line(here.label(each.channel)),
            one_line(each.text)[:60],
            f"not posted: {each.failed}" if each.failed else "",
        )

    async def work() -> None:
        async with here.rest() as rest:
            await here.learn_channels(rest)
            await print_all(rest.scheduled(), json, ("id", "when", "channel", "text", ""), row)

    run(work())


@schedule.command("add")
def add_scheduled(
    context: typer.Context,
    channel: Named,
    when: Annotated[
        str, typer.Argument(metavar="WHEN", help="+15m, +2h, 18:30, or 2026-01-05T09:00 (local time).")
    ],
    text: Annotated[list[str], typer.Argument(metavar="TEXT", help="What to say.")],
    thread: Annotated[
        int | None, typer.Option(min=1, help="Reply to the message of this number.", show_default=False)
    ] = None,
    json: Json = False,
) -> None:
    """Have a message posted later. Prints its id."""
    here = context_of(context)
    at = moment(when, dt.datetime.now().astimezone())

    async def work() -> None:
        async with here.rest() as rest:
            place = await here.place(rest, channel, member=True)
            made = await rest.schedule(place.id, " ".join(text), at, thread=thread)
            if json:
                json_line(made)
            else:
                print(f"{made.id} {place.label} {clock(made.send_at)}")

    run(work())


@schedule.command("delete")
def delete_scheduled(
    context: typer.Context, scheduled: Annotated[str, typer.Argument(metavar="ID", help="As it was printed.")]
) -> None:
    """Take one back, as long as it has not been posted."""
    here = context_of(context)

    async def work() -> None:
        async with here.rest() as rest:
            await rest.delete_scheduled(scheduled)

    run(work())


def moment(when: str, now: dt.datetime) -> int:
    """Unix ms of `+15m`, `18:30` (the next one) or an ISO time in the time zone of `now`. Raises BadParameter."""
    ahead = _AHEAD.fullmatch(when)
    if ahead is not None:
        return round((now.timestamp() + int(ahead[1]) * _SECONDS[ahead[2]]) * 1000)
    try:
        if "T" not in when and "-" not in when:
            time = dt.time.fromisoformat(when)
            today = now.replace(hour=time.hour, minute=time.minute, second=time.second, microsecond=0)
            then = today if today > now else today + dt.timedelta(days=1)
        else:
            then = dt.datetime.fromisoformat(when)
            then = then if then.tzinfo else then.replace(tzinfo=now.tzinfo)
    except ValueError:
        raise typer.BadParameter(f"{when!r} is no time: +15m, 18:30 or 2026-01-05T09:00") from None
    return round(then.timestamp() * 1000)
