"""profile, status, dnd, password, role, deactivate, reactivate, and `lockstep invites`."""

from __future__ import annotations

import datetime as dt
import re
from typing import Annotated, Final

import typer

from client.cli.arguments import Json, Person
from client.cli.context import context_of, read_password, run
from client.cli.errors import CommandFailed
from client.cli.output import json_line, one_line, print_all
from client.records import Invited, User

_SPAN: Final = re.compile(r"([1-9][0-9]{0,4})(m|h|d)")
_UNITS: Final = {"m": "minutes", "h": "hours", "d": "days"}


def moment_in(span: str) -> str:
    """The time that is `30m`, `2h` or `1d` from now, as REST takes it. Raises BadParameter."""
    matched = _SPAN.fullmatch(span)
    if matched is None:
        raise typer.BadParameter(f"{span}: give minutes, hours or days, such as 30m, 2h or 1d")
    return (dt.datetime.now(dt.UTC) + dt.timedelta(**{_UNITS[matched[2]]: int(matched[1])})).isoformat()


def profile(
    context: typer.Context,
    person: Annotated[str | None, typer.Argument(metavar="PERSON", help="Whose. Default: yours.")] = None,
    name: Annotated[str | None, typer.Option(help="Change your name.")] = None,
    display_name: Annotated[str | None, typer.Option(help="What you would like to be called.")] = None,
    title: Annotated[str | None, typer.Option(help="What you do.")] = None,
    avatar: Annotated[str | None, typer.Option(help="The https address of a picture.")] = None,
    time_zone: Annotated[str | None, typer.Option(help="Such as Europe/London.")] = None,
    json: Json = False,
) -> None:
    """Show somebody's profile, or change yours.

    Examples:

        lockstep profile grace

        lockstep profile --title Analyst --time-zone Europe/London
    """
    here = context_of(context)
    given = {
        "name": name,
        "display_name": display_name,
        "title": title,
        "avatar_url": avatar,
        "time_zone": time_zone,
    }
    changes = {key: value for key, value in given.items() if value is not None}
    if person is not None and changes:
        raise CommandFailed("You can only change your own profile.")

    async def work() -> None:
        async with here.rest() as rest:
            if changes:
                user = (await rest.change_profile(**changes)).user
            elif person is None:
                user = (await rest.me()).user
            else:
                user = await here.person(rest, person)
        if json:
            json_line(user)
        else:
            _show(user)

    run(work())


def _show(user: User) -> None:
    called = f" ({one_line(user.display_name)})" if user.display_name else ""
    print(f"{one_line(user.name)}{called}, {user.role}{'' if user.active else ', deactivated'}")
    for label, text in (
        ("title", user.title),
        ("status", _status(user)),
        ("e-mail", user.email or ""),
        ("picture", user.avatar_url),
        ("time zone", user.time_zone),
    ):
        if text:
            print(f"  {label:9} {one_line(text)}")


def _status(user: User) -> str:
    if user.status is None:
        return ""
    until = f" (until {user.status.expires_at})" if user.status.expires_at else ""
    return f"{user.status.emoji} {user.status.text}".strip() + until


def status(
    context: typer.Context,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What you are up to; empty: clear it.")] = "",
    emoji: Annotated[str, typer.Option(help="A picture for it.")] = "",
    lasts: Annotated[str | None, typer.Option("--for", help="How long: 30m, 2h, 1d.")] = None,
) -> None:
    """Say what you are up to.

    Examples:

        lockstep status "In the engine room" --emoji ⚙️ --for 2h

        lockstep status
    """
    here = context_of(context)
    expires_at = moment_in(lasts) if lasts is not None else None

    async def work() -> None:
        async with here.rest() as rest:
            if text or emoji:
                user = (await rest.set_status(text, emoji=emoji, expires_at=expires_at)).user
            else:
                user = (await rest.clear_status()).user
        print(f"Your status: {one_line(_status(user))}" if user.status else "You have no status.")

    run(work())


def dnd(
    context: typer.Context,
    every_day: Annotated[
        str | None, typer.Option(metavar="FROM-TO", help="Such as 22:00-07:30; `never` removes it.")
    ] = None,
    snooze: Annotated[str | None, typer.Option(help="From now on for 30m, 2h, 1d; `off` ends it.")] = None,
) -> None:
    """Show or say when you want to be left alone.

    Examples:

        lockstep dnd --every-day 22:00-07:30

        lockstep dnd --snooze 2h
    """
    here = context_of(context)

    async def work() -> None:
        async with here.rest() as rest:
            if every_day == "never":
                await rest.set_do_not_disturb(None, None)
            elif every_day is not None:
                starts, dash, ends = every_day.partition("-")
                if not dash:
                    raise CommandFailed("Give two times of the day, such as 22:00-07:30.")
                await rest.set_do_not_disturb(starts, ends)
            if snooze == "off":
                await rest.end_snooze()
            elif snooze is not None:
                await rest.snooze(moment_in(snooze))
            now = await rest.do_not_disturb()
        print("You are left alone now." if now.active else "You can be disturbed now.")
        if now.starts and now.ends:
            print(f"  every day from {now.starts} to {now.ends} ({now.time_zone})")
        if now.snoozed_until:
            print(f"  until {now.snoozed_until}")

    run(work())


def password(
    context: typer.Context,
    password_stdin: Annotated[
        bool,
        typer.Option(
            "--password-stdin", help="Read the current and the new password, a line each, from stdin."
        ),
    ] = False,
) -> None:
    """Change your password. Ends all your other logins."""
    here = context_of(context)
    here.login()
    print("Your current password, then the new one.")
    current = read_password(password_stdin)
    new = read_password(password_stdin, confirm=True)

    async def work() -> None:
        async with here.rest() as rest:
            await rest.change_password(current, new)
        print("Changed. Your other logins have ended.")

    run(work())


def role(
    context: typer.Context,
    person: Person,
    role: Annotated[str, typer.Argument(metavar="ROLE", help="owner, admin, member or guest.")],
) -> None:
    """Give somebody another role."""
    here = context_of(context)

    async def work() -> None:
        async with here.rest() as rest:
            user = await here.person(rest, person)
            changed = await rest.change_role(user.id, role)
        print(f"{one_line(user.name)} is {changed.user.role} now.")

    run(work())


def deactivate(context: typer.Context, person: Person) -> None:
    """End somebody's account: they are logged out everywhere. What they said stays."""
    here = context_of(context)

    async def work() -> None:
        async with here.rest() as rest:
            user = await here.person(rest, person)
            await rest.deactivate(user.id)
        print(f"{one_line(user.name)} is deactivated.")

    run(work())


def reactivate(context: typer.Context, person: Person) -> None:
    """Let somebody in again."""
    here = context_of(context)

    async def work() -> None:
        async with here.rest() as rest:
            user = await here.person(rest, person)
            await rest.reactivate(user.id)
        print(f"{one_line(user.name)} can log in again.")

    run(work())


# --- lockstep invites --------------------------------------------------------------------------------------------

invites = typer.Typer(
    name="invites", help="Open invitations: list, renew, withdraw them.", invoke_without_command=True
)
Invitation = Annotated[str, typer.Argument(metavar="INVITE", help="The e-mail address, or the id.")]


@invites.callback()
def list_invites(context: typer.Context, json: Json = False) -> None:
    if context.invoked_subcommand is not None:
        return
    here = context_of(context)

    async def work() -> None:
        async with here.rest() as rest:
            await print_all(
                rest.invites(),
                json,
                ("e-mail", "role", "until", "id"),
                lambda each: (each.email, each.role, each.expires_at, each.id),
            )

    run(work())


@invites.command()
def renew(context: typer.Context, invitation: Invitation, json: Json = False) -> None:
    """Make another link for an invitation; the one of before is worthless."""
    here = context_of(context)

    async def work() -> Invited:
        async with here.rest() as rest:
            found = [each.id async for each in rest.invites() if invitation in (each.id, each.email)]
            if not found and not invitation.startswith("inv_"):
                raise CommandFailed(f"There is no open invitation for {invitation}.")
            return await rest.renew_invite(found[-1] if found else invitation)

    made = run(work())
    if json:
        json_line(made)
    else:
        print(f"Another link for {made.invite.email}:")
        print(f"  {made.link}")


@invites.command()
def withdraw(context: typer.Context, invitation: Invitation) -> None:
    """Make an invitation worthless."""
    here = context_of(context)

    async def work() -> None:
        async with here.rest() as rest:
            found = [each.id async for each in rest.invites() if invitation in (each.id, each.email)]
            if not found:
                raise CommandFailed(f"There is no open invitation for {invitation}.")
            for invite_id in found:
                await rest.withdraw_invite(invite_id)
        print(f"Withdrawn: {invitation}.")

    run(work())
