"""What is done to messages: edit, delete, react, unreact, pin, unpin, pins, versions."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated

import typer

from client.cli.arguments import Json, Named, Number
from client.cli.context import Place, context_of, run
from client.cli.output import Describer, clock, console, json_line, print_all, printable
from client.records import Posted
from client.rest import RestClient

Emoji = Annotated[str, typer.Argument(metavar="EMOJI", help="An emoji, or a :name:.")]

Act = Callable[[RestClient, Place], Awaitable[Posted]]


def act_in(context: typer.Context, channel: str, json: bool, act: Act) -> None:
    """Do something in a channel that you are in, and print the number that it got."""
    here = context_of(context)

    async def work() -> None:
        async with here.rest() as rest:
            place = await here.place(rest, channel, member=True)
            posted = await act(rest, place)
            if json:
                json_line(posted)
            else:
                print(f"{place.label} {posted.seq}")

    run(work())


def edit(
    context: typer.Context,
    channel: Named,
    number: Number,
    text: Annotated[list[str], typer.Argument(metavar="TEXT", help="What it is to say.")],
    json: Json = False,
) -> None:
    """Change what a message of yours says. Prints the number of the change.

    Example:

        lockstep edit general 17 "Hello, world!"
    """
    act_in(context, channel, json, lambda rest, place: rest.edit_message(place.id, number, " ".join(text)))


def delete(context: typer.Context, channel: Named, number: Number, json: Json = False) -> None:
    """Delete a message of yours (owners and admins: of anybody). Nobody can read it any more.

    Example:

        lockstep delete general 17
    """
    act_in(context, channel, json, lambda rest, place: rest.delete_message(place.id, number))


def react(context: typer.Context, channel: Named, number: Number, emoji: Emoji, json: Json = False) -> None:
    """React to a message.

    Example:

        lockstep react general 17 👍
    """
    act_in(context, channel, json, lambda rest, place: rest.react(place.id, number, emoji))


def unreact(context: typer.Context, channel: Named, number: Number, emoji: Emoji, json: Json = False) -> None:
    """Take a reaction back.

    Example:

        lockstep unreact general 17 👍
    """
    act_in(context, channel, json, lambda rest, place: rest.unreact(place.id, number, emoji))


def pin(context: typer.Context, channel: Named, number: Number, json: Json = False) -> None:
    """Pin a message, for everybody in the channel to find.

    Example:

        lockstep pin general 17
    """
    act_in(context, channel, json, lambda rest, place: rest.pin(place.id, number))


def unpin(context: typer.Context, channel: Named, number: Number, json: Json = False) -> None:
    """Unpin a message.

    Example:

        lockstep unpin general 17
    """
    act_in(context, channel, json, lambda rest, place: rest.unpin(place.id, number))


def pins(context: typer.Context, channel: Named, json: Json = False) -> None:
    """The pinned messages of a channel.

    Example:

        lockstep pins general
    """
    here = context_of(context)

    async def work() -> None:
        async with here.rest() as rest:
            place = await here.place(rest, channel, member=True)
            describer = Describer(await here.people(rest), here.login().user.id)
            before: int | None = None
            while True:
                page = await rest.pins(place.id, before=before)
                for message in reversed(page.messages):
                    if json:
                        json_line(message)
                    else:
                        console().print(describer.message(message))
                if not page.has_more_before or not page.messages:
                    return
                before = page.messages[0].seq

    run(work())


def versions(context: typer.Context, channel: Named, number: Number, json: Json = False) -> None:
    """What a message has said before it was edited. For its author, owners and admins.

    Example:

        lockstep versions general 17
    """
    here = context_of(context)

    async def work() -> None:
        async with here.rest() as rest:
            place = await here.place(rest, channel, member=True)
            await print_all(
                rest.versions(place.id, number),
                json,
                ("when", "text"),
                lambda version: (clock(version.at), printable(version.text)),
            )

    run(work())
