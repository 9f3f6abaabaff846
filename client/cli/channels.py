"""`lockstep channels` and what can be done with them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import Annotated

import typer

from client.cli.arguments import Json, Named, People, Person
from client.cli.context import context_of, run
from client.cli.output import console, json_line, one_line, print_all, table
from client.records import Channel
from client.rest import RestClient


class Who(StrEnum):
    EVERYONE = "everyone"
    ADMINS = "admins"


class Level(StrEnum):
    ALL = "all"
    MENTIONS = "mentions"
    NOTHING = "nothing"


app = typer.Typer(
    name="channels",
    help="""List channels; make, join and leave them; let people in.

    Examples:

        lockstep channels

        lockstep channels create engine-room --topic "Cards, cogs and carries"

        lockstep channels invite engine-room grace@example.com
    """,
    invoke_without_command=True,
)


@app.callback()
def list_channels(
    context: typer.Context,
    mine: Annotated[bool, typer.Option("--mine", help="Only those you are in.")] = False,
    json: Json = False,
) -> None:
    if context.invoked_subcommand is not None:
        return
    here = context_of(context)

    async def work() -> None:
        rows = table("channel", "", "topic")
        async with here.rest() as rest:
            people: dict[str, str] | None = None
            async for channel in rest.channels(member=True if mine else None):
                if json:
                    json_line(channel)
                    continue
                if channel.user_ids is not None and people is None:
                    people = await here.people(rest)
                state = "archived" if channel.archived else "" if channel.member else "not joined"
                if channel.kind == "private":
                    state = f"private {state}".strip()
                rows.add_row(
                    _label(channel, people or {}, here.login().user.id),
                    state,
                    one_line(channel.topic),
                    style="dim" if channel.archived or not channel.member else "",
                )
        if not json:
            console().print(rows)

    run(work())


def _label(channel: Channel, people: dict[str, str], me: str) -> str:
    if channel.name:
        return f"#{one_line(channel.name)}"
    others = [one_line(people.get(user, user)) for user in channel.user_ids or () if user != me]
    return "@" + ", ".join(others) if others else channel.id


@app.command()
def create(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of the new channel.")],
    private: Annotated[bool, typer.Option("--private", help="Only for people who are let in.")] = False,
    topic: Annotated[str, typer.Option(help="What it is about.")] = "",
    json: Json = False,
) -> None:
    """Make a channel."""
    here = context_of(context)

    async def work() -> None:
        async with here.rest() as rest:
            reply = await rest.create_channel(name.removeprefix("#"), private=private, topic=topic)
        if json:
            json_line(reply)
        else:
            print(f"Made #{reply.channel.name}.")

    run(work())


def _do(
    context: typer.Context, channel: str, act: Callable[[RestClient, str], Awaitable[object]], done: str
) -> None:
    """Do something to a channel, given its id, and say so; `{}` in `done` is what the channel is called."""
    here = context_of(context)

    async def work() -> None:
        async with here.rest() as rest:
            place = await here.place(rest, channel)
            await act(rest, place.id)
        print(done.format(place.label))

    run(work())


@app.command()
def join(context: typer.Context, channel: Named) -> None:
    """Become a member of a public channel."""
    _do(context, channel, RestClient.join, "You are in {}.")


@app.command()
def leave(context: typer.Context, channel: Named) -> None:
    """Leave a channel: you see nothing of it from then on."""
    _do(context, channel, RestClient.leave, "You have left {}.")


@app.command()
def invite(context: typer.Context, channel: Named, people: People) -> None:
    """Let people of the workspace into a channel that you are in."""
    here = context_of(context)

    async def work() -> None:
        async with here.rest() as rest:
            place = await here.place(rest, channel)
            users = [await here.person(rest, named) for named in people]
            reply = await rest.add_members(place.id, [user.id for user in users])
        names = [one_line(user.name) for user in users if user.id in reply.added]
        print(f"Added to {place.label}: {', '.join(names)}." if names else "All of them were in it already.")

    run(work())


@app.command()
def remove(
    context: typer.Context,
    channel: Named,
    person: Person,
) -> None:
    """Put somebody out of a channel."""
    here = context_of(context)

    async def work() -> None:
        async with here.rest() as rest:
            place = await here.place(rest, channel)
            user = await here.person(rest, person)
            await rest.remove_member(place.id, user.id)
        print(f"Removed {one_line(user.name)} from {place.label}.")

    run(work())


@app.command()
def members(context: typer.Context, channel: Named, json: Json = False) -> None:
    """Who is in a channel."""
    here = context_of(context)

    async def work() -> None:
        async with here.rest() as rest:
            place = await here.place(rest, channel)
            members = rest.members(place.id)
            await print_all(members, json, ("name", "role"), lambda each: (one_line(each.name), each.role))

    run(work())


@app.command()
def rename(
    context: typer.Context,
    channel: Named,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The new one.")],
) -> None:
    """Give a channel another name."""
    here = context_of(context)

    async def work() -> None:
        async with here.rest() as rest:
            place = await here.place(rest, channel)
            reply = await rest.change_channel(place.id, name=name.removeprefix("#"))
        print(f"{place.label} is now #{reply.channel.name}.")

    run(work())


@app.command()
def topic(
    context: typer.Context,
    channel: Named,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What it is about.")],
) -> None:
    """Say what a channel is about; an empty text removes it."""
    _do(
        context,
        channel,
        lambda rest, channel_id: rest.change_channel(channel_id, topic=text),
        "Set the topic of {}.",
    )


@app.command()
def archive(context: typer.Context, channel: Named) -> None:
    """Close a channel for new messages; its history stays."""
    _do(context, channel, RestClient.archive, "Archived {}.")


@app.command()
def unarchive(context: typer.Context, channel: Named) -> None:
    """Open an archived channel again."""
    _do(context, channel, RestClient.unarchive, "Unarchived {}.")


@app.command()
def browse(
    context: typer.Context,
    prefix: Annotated[str, typer.Argument(metavar="PREFIX", help="How the name begins.")] = "",
    json: Json = False,
) -> None:
    """The public channels by name, with how many people are in each."""
    here = context_of(context)

    def row(channel: Channel) -> tuple[str, ...]:
        joined = "joined" if channel.member else ""
        return f"#{one_line(channel.name)}", str(channel.member_count), joined, one_line(channel.topic)

    async def work() -> None:
        async with here.rest() as rest:
            found = rest.browse_channels(prefix.removeprefix("#"))
            await print_all(found, json, ("channel", "people", "", "topic"), row)

    run(work())


@app.command(name="set")
def settings(
    context: typer.Context,
    channel: Named,
    posting: Annotated[Who | None, typer.Option(help="Who may post.")] = None,
    adding: Annotated[Who | None, typer.Option(help="Who may add people.")] = None,
    default: Annotated[
        bool | None, typer.Option("--default/--no-default", help="Put new people into it.")
    ] = None,
) -> None:
    """Say who may do what in a channel."""
    here = context_of(context)

    async def work() -> None:
        async with here.rest() as rest:
            place = await here.place(rest, channel)
            reply = await rest.change_channel_settings(
                place.id,
                posting=posting.value if posting else None,
                adding=adding.value if adding else None,
                default=default,
            )
        now = reply.channel
        print(f"{place.label}: posting {now.posting}, adding {now.adding}, {_default(now)}.")

    run(work())


def _default(channel: Channel) -> str:
    return "new people are put into it" if channel.default else "no default channel"


@app.command(name="make-private")
def make_private(context: typer.Context, channel: Named) -> None:
    """Hide a public channel from everybody who is not in it. There is no way back."""
    _do(context, channel, RestClient.make_private, "{} is private now.")


@app.command()
def notify(
    context: typer.Context,
    channel: Named,
    level: Annotated[Level | None, typer.Argument(metavar="LEVEL", help="all, mentions or nothing.")] = None,
    mute: Annotated[bool | None, typer.Option("--mute/--unmute", help="Show nothing as unread.")] = None,
) -> None:
    """Show or choose what you want to hear of a channel."""
    here = context_of(context)

    async def work() -> None:
        async with here.rest() as rest:
            place = await here.place(rest, channel)
            if level is None and mute is None:
                now = await rest.channel_preferences(place.id)
            else:
                now = await rest.set_channel_preferences(
                    place.id, muted=mute, level=level.value if level else None
                )
        print(f"{place.label}: {now.level}{', muted' if now.muted else ''}.")

    run(work())
