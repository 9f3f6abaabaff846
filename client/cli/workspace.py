"""`lockstep workspace`: settings, handing over, leaving, deleting, the audit log."""

from __future__ import annotations

from typing import Annotated

import msgspec
import typer

from client.cli.arguments import Json, Person
from client.cli.context import context_of, run
from client.cli.errors import CommandFailed
from client.cli.output import console, json_line, one_line, table
from client.records_people import WorkspaceSettings

app = typer.Typer(
    name="workspace",
    help="""Show the workspace; change, hand over, leave or delete it; see what was done to it.

    Examples:

        lockstep workspace

        lockstep workspace set max_text=4000 edit_window_s=3600 who_may_invite=members

        lockstep workspace audit
    """,
    invoke_without_command=True,
)


@app.callback()
def show(context: typer.Context, json: Json = False) -> None:
    if context.invoked_subcommand is not None:
        return
    here = context_of(context)

    async def work() -> None:
        async with here.rest() as rest:
            workspace = await rest.workspace()
        if json:
            json_line(workspace)
        else:
            _print(workspace)

    run(work())


def _print(workspace: WorkspaceSettings) -> None:
    print(f"{one_line(workspace.name)} ({workspace.slug})")
    for name, value in msgspec.structs.asdict(workspace).items():
        if name not in ("id", "slug", "name"):
            print(f"  {name:24} {'for ever' if value is None else value}")


@app.command(name="set")
def set_(
    context: typer.Context,
    settings: Annotated[
        list[str],
        typer.Argument(metavar="NAME=VALUE", help="As `lockstep workspace` shows them; also name=."),
    ],
) -> None:
    """Change settings. `edit_window_s=` and `delete_window_s=` (empty) mean for ever."""
    here = context_of(context)
    changes: dict[str, str | int | None] = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals:
            raise typer.BadParameter(f"{setting}: give NAME=VALUE")
        changes[name] = None if not value else int(value) if value.isdecimal() and name != "name" else value

    async def work() -> None:
        async with here.rest() as rest:
            _print((await rest.change_workspace(**changes)).workspace)

    run(work())


@app.command()
def transfer(
    context: typer.Context,
    person: Person,
) -> None:
    """Make somebody the owner in your place; you become an admin."""
    here = context_of(context)

    async def work() -> None:
        async with here.rest() as rest:
            user = await here.person(rest, person)
            await rest.transfer_ownership(user.id)
        print(f"{one_line(user.name)} owns the workspace now, and you are an admin.")

    run(work())


@app.command()
def leave(
    context: typer.Context,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Leave the workspace: your account there is deactivated, and you are logged out everywhere."""
    here = context_of(context)
    slug = here.login().workspace.slug
    if not yes:
        typer.confirm(f"Leave {slug}? Only its owners and admins can let you in again.", abort=True)

    async def work() -> None:
        async with here.rest() as rest:
            await rest.leave_workspace()
        print(f"You have left {slug}.")

    run(work())


@app.command()
def delete(
    context: typer.Context,
    slug: Annotated[str, typer.Option("--slug", help="The workspace's short name, typed once more.")],
) -> None:
    """Delete the workspace, for good and for everybody."""
    here = context_of(context)
    if slug != here.login().workspace.slug:
        raise CommandFailed(f"You are logged in to {here.login().workspace.slug}, not to {slug}.")

    async def work() -> None:
        async with here.rest() as rest:
            await rest.delete_workspace(slug)
        print(f"{slug} is deleted.")

    run(work())


@app.command()
def audit(
    context: typer.Context,
    action: Annotated[str | None, typer.Option(help="Only this, such as user.role_changed.")] = None,
    by: Annotated[str | None, typer.Option(metavar="PERSON", help="Only what this person did.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 50,
    json: Json = False,
) -> None:
    """What owners and admins did, the newest first."""
    here = context_of(context)

    async def work() -> None:
        rows = table("when", "who", "what", "to whom", "")
        async with here.rest() as rest:
            names = await here.people(rest)
            actor = (await here.person(rest, by)).id if by is not None else None
            shown = 0
            async for entry in rest.audit(action=action, actor_id=actor):
                if json:
                    json_line(entry)
                else:
                    target = entry.target or ""
                    details = ", ".join(f"{name} {value}" for name, value in entry.details.items())
                    rows.add_row(
                        entry.created_at[:19],
                        one_line(names.get(entry.actor_id, entry.actor_id)),
                        entry.action,
                        one_line(names.get(target, target)),
                        one_line(details),
                    )
                shown += 1
                if shown == limit:
                    break
        if not json:
            console().print(rows)

    run(work())
