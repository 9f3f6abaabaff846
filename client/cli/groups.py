"""`lockstep groups`: people who can be mentioned together."""

from __future__ import annotations

from typing import Annotated

import typer

from client.cli.arguments import Json, People, Person
from client.cli.context import context_of, run
from client.cli.errors import CommandFailed
from client.cli.output import json_line, one_line, print_all
from client.records_people import Group
from client.rest import RestClient

Handle = Annotated[str, typer.Argument(metavar="GROUP", help="Handle (with or without @) or id.")]

app = typer.Typer(
    name="groups",
    help="""List user groups; make, change and remove them.

    Examples:

        lockstep groups

        lockstep groups create engineers "Engineers" grace@example.com
    """,
    invoke_without_command=True,
)


@app.callback()
def list_groups(context: typer.Context, json: Json = False) -> None:
    if context.invoked_subcommand is not None:
        return
    here = context_of(context)

    def row(group: Group) -> tuple[str, ...]:
        what = one_line(group.description)
        return f"@{group.handle}", one_line(group.name), str(group.member_count), what

    async def work() -> None:
        async with here.rest() as rest:
            await print_all(rest.groups(), json, ("group", "name", "people", "what for"), row)

    run(work())


async def _named(rest: RestClient, named: str) -> Group:
    wanted = named.removeprefix("@").lower()
    async for group in rest.groups():
        if wanted in (group.handle, group.id):
            return group
    raise CommandFailed(f"There is no user group {named}; `lockstep groups` lists them.")


@app.command()
def create(
    context: typer.Context,
    handle: Annotated[str, typer.Argument(metavar="HANDLE", help="What is typed behind the @.")],
    name: Annotated[str, typer.Argument(metavar="NAME", help="Its full name.")],
    people: Annotated[
        list[str] | None, typer.Argument(metavar="PERSON", help="Names, e-mail addresses or ids.")
    ] = None,
    description: Annotated[str, typer.Option(help="What it is for.")] = "",
    json: Json = False,
) -> None:
    """Make a user group."""
    here = context_of(context)

    async def work() -> None:
        async with here.rest() as rest:
            users = [await here.person(rest, named) for named in people or ()]
            made = await rest.create_group(
                handle.removeprefix("@"),
                name,
                description=description,
                user_ids=[user.id for user in users],
            )
        if json:
            json_line(made)
        else:
            print(f"Made @{made.group.handle} of {made.group.member_count}.")

    run(work())


@app.command()
def members(context: typer.Context, group: Handle, json: Json = False) -> None:
    """Who is in a user group."""
    here = context_of(context)

    async def work() -> None:
        async with here.rest() as rest:
            found = await rest.group((await _named(rest, group)).id)
            names = await here.people(rest)
        if json:
            json_line(found)
            return
        for user_id in found.user_ids or ():
            print(one_line(names.get(user_id, user_id)))

    run(work())


@app.command()
def add(context: typer.Context, group: Handle, people: People) -> None:
    """Put people into a user group."""
    here = context_of(context)

    async def work() -> None:
        async with here.rest() as rest:
            users = [await here.person(rest, named) for named in people]
            found = await _named(rest, group)
            changed = await rest.add_group_members(found.id, [user.id for user in users])
        print(f"@{changed.group.handle} has {changed.group.member_count} people.")

    run(work())


@app.command()
def remove(
    context: typer.Context,
    group: Handle,
    person: Person,
) -> None:
    """Take somebody out of a user group."""
    here = context_of(context)

    async def work() -> None:
        async with here.rest() as rest:
            user = await here.person(rest, person)
            changed = await rest.remove_group_member((await _named(rest, group)).id, user.id)
        print(f"@{changed.group.handle} has {changed.group.member_count} people.")

    run(work())


@app.command()
def delete(context: typer.Context, group: Handle) -> None:
    """Remove a user group: mentioning it means nobody from then on."""
    here = context_of(context)

    async def work() -> None:
        async with here.rest() as rest:
            found = await _named(rest, group)
            await rest.remove_group(found.id)
        print(f"Removed @{found.handle}.")

    run(work())
