"""signup, login, logout, whoami, users, invite, accept-invite."""

from __future__ import annotations

import shlex
from typing import Annotated

import typer

from client.cli.arguments import Json
from client.cli.context import ask, context_of, device, read_password, run
from client.cli.errors import CommandFailed
from client.cli.output import console, json_line, one_line, print_all
from client.errors import ApiError, Unreachable
from client.records import Login, User

PasswordStdin = Annotated[
    bool, typer.Option("--password-stdin", help="Read the password from the first line of standard input.")
]


def signup(
    context: typer.Context,
    workspace: Annotated[
        str | None, typer.Option("--workspace", "-w", help="Short name of the new workspace, such as acme.")
    ] = None,
    workspace_name: Annotated[
        str | None, typer.Option(help="Its full name. Default: the short one.", show_default=False)
    ] = None,
    name: Annotated[str | None, typer.Option(help="Your name, as others see it.")] = None,
    email: Annotated[str | None, typer.Option(help="Your e-mail address; you log in with it.")] = None,
    password_stdin: PasswordStdin = False,
) -> None:
    """Make a workspace, become its owner, and be logged in.

    Asks for what is not given.

    Examples:

        lockstep signup

        lockstep signup -w acme --name "Ada Lovelace" --email ada@example.com --password-stdin < password.txt
    """
    here = context_of(context)
    workspace = ask(workspace, "Workspace (short name)", "--workspace")
    name = ask(name, "Your name", "--name")
    email = ask(email, "E-mail", "--email")
    password = read_password(password_stdin, confirm=True)

    async def work() -> Login:
        async with here.stranger() as rest:
            return await rest.sign_up(
                workspace_slug=workspace,
                workspace_name=workspace_name or workspace,
                name=name,
                email=email,
                password=password,
                device=device(),
            )

    login = run(work())
    here.keep(login)
    out = console()
    out.print(f"Made the workspace [bold]{login.workspace.slug}[/]. You are its owner and logged in.")
    out.print("Next: `lockstep channels`, then `lockstep chat general`.", style="dim")


def login(
    context: typer.Context,
    workspace: Annotated[
        str | None, typer.Option("--workspace", "-w", help="Short name of the workspace, such as acme.")
    ] = None,
    email: Annotated[str | None, typer.Option(help="Your e-mail address there.")] = None,
    password_stdin: PasswordStdin = False,
) -> None:
    """Log in to a workspace. Asks for what is not given.

    The login is kept in the profile; use --profile (before the command) to be several people at once.

    Examples:

        lockstep login -w acme --email ada@example.com

        lockstep --profile grace login -w acme --email grace@example.com --password-stdin < password.txt
    """
    here = context_of(context)
    workspace = ask(workspace, "Workspace", "--workspace")
    email = ask(email, "E-mail", "--email")
    password = read_password(password_stdin)

    async def work() -> Login:
        async with here.stranger() as rest:
            return await rest.log_in(
                workspace_slug=workspace, email=email, password=password, device=device()
            )

    reply = run(work())
    here.keep(reply)
    console().print(f"Logged in as [bold]{one_line(reply.user.name)}[/] in {reply.workspace.slug}.")


def logout(context: typer.Context) -> None:
    """End the login, here and on the server."""
    here = context_of(context)
    here.login()

    async def work() -> str:
        async with here.rest() as rest:
            try:
                await rest.log_out()
            except (Unreachable, ApiError) as error:
                return f"Logged out here. The server could not be told: {error}"
            return "Logged out."

    print(run(work()))


def whoami(context: typer.Context, json: Json = False) -> None:
    """Who you are logged in as, and where."""
    here = context_of(context)
    here.login()

    async def work() -> None:
        async with here.rest() as rest:
            me = await rest.me()
        if json:
            json_line(
                {"url": here.url, "profile": here.profile.name, "user": me.user, "workspace": me.workspace}
            )
            return
        print(f"{one_line(me.user.name)} <{me.user.email}>, {me.user.role} of {one_line(me.workspace.name)}")
        print(f"workspace {me.workspace.slug} at {here.url}, profile {here.profile.name}")

    run(work())


def users(context: typer.Context, json: Json = False) -> None:
    """Everybody in the workspace."""
    here = context_of(context)

    def row(user: User) -> tuple[str, ...]:
        state = "" if user.active else "deactivated"
        if user.status is not None:
            state = f"{state} {user.status.emoji} {user.status.text}".strip()
        return one_line(user.name), user.email or "", user.role, one_line(state)

    async def work() -> None:
        async with here.rest() as rest:
            await print_all(rest.users(), json, ("name", "e-mail", "role", ""), row)

    run(work())


def invite(
    context: typer.Context,
    email: Annotated[str, typer.Argument(metavar="EMAIL", help="Whom.")],
    role: Annotated[str, typer.Option(help="member, admin or guest.")] = "member",
    channel: Annotated[
        list[str] | None, typer.Option(help="A channel of yours that they are put into; repeat for several.")
    ] = None,
    json: Json = False,
) -> None:
    """Invite somebody into the workspace: prints what they have to type.

    Examples:

        lockstep invite grace@example.com

        lockstep invite auditor@example.com --role guest --channel accounts
    """
    here = context_of(context)

    async def work() -> None:
        async with here.rest() as rest:
            channels = [(await here.place(rest, each)).id for each in channel or ()]
            made = await rest.invite(email, role, channel_ids=channels)
        if json:
            json_line(made)
            return
        print(f"Invited {made.invite.email} as {made.invite.role}. They join once with:")
        # A word that begins with a hyphen would be taken for an option.
        given = shlex.quote(made.link) if made.token.startswith("-") else made.token
        print(f"  lockstep --url {here.url} accept-invite {given}")
        print(f"or by this link: {made.link}")

    run(work())


def accept_invite(
    context: typer.Context,
    token: Annotated[
        str, typer.Argument(metavar="TOKEN", help="From the invitation: the token, or the link.")
    ],
    name: Annotated[str | None, typer.Option(help="Your name, as others see it.")] = None,
    password_stdin: PasswordStdin = False,
) -> None:
    """Join a workspace with an invitation, and be logged in.

    Example:

        lockstep --profile grace accept-invite TOKEN --name "Grace Hopper"
    """
    here = context_of(context)
    name = ask(name, "Your name", "--name")
    password = read_password(password_stdin, confirm=True)

    async def work() -> Login:
        async with here.stranger() as rest:
            return await rest.accept_invite(
                token=token.rpartition("#")[2], name=name, password=password, device=device()
            )

    try:
        reply = run(work())
    except ApiError as error:
        if error.code == "not_found":
            raise CommandFailed("This invitation does not exist, has been used, or has ended.") from error
        raise
    here.keep(reply)
    console().print(
        f"Welcome to [bold]{one_line(reply.workspace.name)}[/]. You are logged in as {one_line(reply.user.name)}."
    )
