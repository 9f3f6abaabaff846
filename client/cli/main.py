"""The `lockstep` command."""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated

import typer

from client.cli import account, channels, groups, later, marks, messages, people, presence, threads, workspace
from client.cli.chat import chat
from client.cli.context import Context
from client.cli.errors import CommandFailed, sentence
from client.cli.profile import Profile
from client.errors import LockstepError
from verify.cli import verify

app = typer.Typer(
    name="lockstep",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="""Chat in which everybody sees the same messages in the same order.

    Begin with `lockstep signup` (or `login`), then `lockstep chat general`.

    Every command says more with --help.
    """,
)


def _version(wanted: bool) -> None:
    if wanted:
        try:
            print(f"lockstep {version('lockstep')}")
        except PackageNotFoundError:
            print("lockstep (not installed)")
        raise typer.Exit


@app.callback()
def _begin(
    context: typer.Context,
    profile: Annotated[
        str,
        typer.Option("--profile", envvar="LOCKSTEP_PROFILE", help="Which login to use, if you have several."),
    ] = "default",
    url: Annotated[
        str | None,
        typer.Option(
            "--url",
            envvar="LOCKSTEP_URL",
            help="Where Lockstep is. Default: where the profile is logged in, else http://127.0.0.1:8000.",
            show_default=False,
        ),
    ] = None,
    show_version: Annotated[
        bool, typer.Option("--version", help="Print the version and leave.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    context.obj = Context(Profile(profile), url.rstrip("/") if url else None)


_START = "Begin here"
_TALK = "Talk"
_PEOPLE = "People and channels"
_JUDGE = "Judge"

app.command(rich_help_panel=_START)(account.signup)
app.command(rich_help_panel=_START)(account.login)
app.command(rich_help_panel=_START)(account.logout)
app.command(rich_help_panel=_START)(account.whoami)
app.command(rich_help_panel=_START, name="accept-invite")(account.accept_invite)
app.command(rich_help_panel=_TALK)(chat)
app.command(rich_help_panel=_TALK)(messages.send)
app.command(rich_help_panel=_TALK)(messages.tail)
app.command(rich_help_panel=_TALK)(messages.history)
app.command(rich_help_panel=_TALK)(threads.reply)
app.command(rich_help_panel=_TALK)(threads.thread)
app.command(rich_help_panel=_TALK)(threads.threads)
app.command(rich_help_panel=_TALK)(marks.edit)
app.command(rich_help_panel=_TALK)(marks.delete)
app.command(rich_help_panel=_TALK)(marks.react)
app.command(rich_help_panel=_TALK)(marks.unreact)
app.command(rich_help_panel=_TALK)(marks.pin)
app.command(rich_help_panel=_TALK)(marks.unpin)
app.command(rich_help_panel=_TALK)(marks.pins)
app.command(rich_help_panel=_TALK)(marks.versions)
app.command(rich_help_panel=_TALK)(presence.unread)
app.command(rich_help_panel=_TALK)(presence.read)
app.command(rich_help_panel=_TALK)(presence.announce)
app.add_typer(later.saved, rich_help_panel=_TALK)
app.add_typer(later.schedule, rich_help_panel=_TALK)
app.add_typer(channels.app, rich_help_panel=_PEOPLE)
app.command(rich_help_panel=_PEOPLE)(presence.who)
app.command(rich_help_panel=_PEOPLE)(presence.sessions)
app.command(rich_help_panel=_PEOPLE)(account.users)
app.command(rich_help_panel=_PEOPLE)(account.invite)
app.add_typer(people.invites, rich_help_panel=_PEOPLE)
app.command(rich_help_panel=_PEOPLE)(people.profile)
app.command(rich_help_panel=_PEOPLE)(people.status)
app.command(rich_help_panel=_PEOPLE)(people.dnd)
app.command(rich_help_panel=_PEOPLE)(people.password)
app.command(rich_help_panel=_PEOPLE)(people.role)
app.command(rich_help_panel=_PEOPLE)(people.deactivate)
app.command(rich_help_panel=_PEOPLE)(people.reactivate)
app.add_typer(groups.app, rich_help_panel=_PEOPLE)
app.add_typer(workspace.app, rich_help_panel=_PEOPLE)
app.command(rich_help_panel=_JUDGE, name="verify")(verify)


def main() -> None:
    """Exit codes: 0 done, 1 it failed and one sentence on stderr says why, 2 the command line was wrong."""
    try:
        app()
    except CommandFailed as error:
        _fail(str(error))
    except LockstepError as error:
        _fail(sentence(error))


def _fail(message: str) -> None:
    print(f"lockstep: {message}", file=sys.stderr)
    sys.exit(1)


if __name__ == "__main__":
    main()
