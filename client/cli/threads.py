"""Threads: reply, thread, threads."""

from __future__ import annotations

from typing import Annotated

import typer

from client.api import PAGE
from client.cli.arguments import Json, Named, Number
from client.cli.context import context_of, run
from client.cli.errors import CommandFailed
from client.cli.marks import act_in
from client.cli.output import Describer, console, json_line, one_line, print_all
from client.records_messages import FollowedThread


def reply(
    context: typer.Context,
    channel: Named,
    number: Number,
    text: Annotated[list[str], typer.Argument(metavar="TEXT", help="What to say.")],
    also: Annotated[bool, typer.Option("--also-to-channel", help="Show it in the channel as well.")] = False,
    json: Json = False,
) -> None:
    """Reply to a message, in its thread. Prints the number that the reply got.

    Example:

        lockstep reply general 17 "I agree"
    """
    act_in(
        context,
        channel,
        json,
        lambda rest, place: rest.post_message(place.id, " ".join(text), thread=number, also_to_channel=also),
    )


def thread(
    context: typer.Context,
    channel: Named,
    number: Number,
    follow: Annotated[
        bool | None, typer.Option("--follow/--unfollow", help="From now on.", show_default=False)
    ] = None,
    json: Json = False,
) -> None:
    """A message and the replies to it.

    Examples:

        lockstep thread general 17

        lockstep thread general 17 --unfollow
    """
    here = context_of(context)

    async def work() -> None:
        async with here.rest() as rest:
            place = await here.place(rest, channel, member=True)
            if follow is not None:
                await rest.follow_thread(place.id, number, follow)
            describer = Describer(await here.people(rest), here.login().user.id)
            after = 0
            while True:
                page = await rest.thread(place.id, number, after=after, limit=PAGE)
                if page.root is None and not page.messages:
                    raise CommandFailed(f"There is no message {number} in {place.label}, and no reply to it.")
                first = [page.root] if after == 0 and page.root is not None else []
                for message in [*first, *page.messages]:
                    if json:
                        json_line(message)
                    else:
                        console().print(describer.message(message))
                if not page.has_more_after or not page.messages:
                    return
                after = page.messages[-1].seq

    run(work())


def threads(
    context: typer.Context,
    every: Annotated[bool, typer.Option("--all", help="Also those without unread replies.")] = False,
    json: Json = False,
) -> None:
    """The threads that you follow and in which something is unread.

    Example:

        lockstep threads --all
    """
    here = context_of(context)

    def row(each: FollowedThread) -> tuple[str, ...]:
        said = "(deleted)" if each.root.deleted else one_line(each.root.text)[:60]
        return one_line(here.label(each.channel)), str(each.root.seq), str(each.unread), said

    async def work() -> None:
        async with here.rest() as rest:
            await here.learn_channels(rest)
            found = rest.threads(unread=not every)
            await print_all(found, json, ("channel", "number", "unread", "began with"), row)

    run(work())
