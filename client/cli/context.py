"""What every command starts from: the profile, the address, and how names become ids."""

from __future__ import annotations

import asyncio
import platform
import sys
import time
from collections.abc import Callable, Coroutine
from typing import Any, Final, NamedTuple, TypeVar

import typer

from client.api import tokens_of
from client.cli.errors import CommandFailed
from client.cli.profile import Names, Profile, Saved
from client.client import LockstepClient
from client.connection import State
from client.errors import ApiError, LockstepError, Unreachable
from client.model import CatchingUp
from client.recorder import Recorder
from client.records import Channel, Login, User
from client.rest import RestClient
from client.tokens import MemoryTokens
from services.contract.ids import is_entity_id

T = TypeVar("T")

DEFAULT_URL: Final = "http://127.0.0.1:8000"
_PATIENCE_S: Final = 2.0  # somebody is waiting
_AWAY_S: Final = 10.0  # a web app that did not answer is not asked for mere names for so long
INTERRUPTED: Final = 130  # what shells say of a process that Ctrl-C ended


class Place(NamedTuple):
    """A channel: its id, and what to call it on the screen."""

    id: str
    label: str


class Context:
    """`url` None: where the profile is logged in."""

    def __init__(self, profile: Profile, url: str | None) -> None:
        self.profile = profile
        self._url = url
        self._away_until = 0.0

    @property
    def url(self) -> str:
        if self._url is not None:
            return self._url
        saved = self.profile.saved()
        return saved.url if saved is not None else DEFAULT_URL

    def login(self) -> Saved:
        """Raises CommandFailed when nobody is logged in."""
        saved = self.profile.saved()
        if saved is None:
            raise CommandFailed(
                f"You are not logged in (profile {self.profile.name!r})."
                " Log in with `lockstep login`, or make a workspace with `lockstep signup`."
            )
        return saved

    def stranger(self) -> RestClient:
        """REST without a login."""
        return RestClient(self.url, MemoryTokens(), patience_s=_PATIENCE_S)

    def rest(self) -> RestClient:
        """REST as whoever is logged in. Raises CommandFailed when nobody is."""
        self.login()
        return RestClient(self.url, self.profile, patience_s=_PATIENCE_S)

    def live(
        self,
        *,
        on_state: Callable[[State], None] | None = None,
        on_catching_up: Callable[[CatchingUp], None] | None = None,
        recorder: Recorder | None = None,
    ) -> LockstepClient:
        """A connection as whoever is logged in. Raises CommandFailed when nobody is."""
        self.login()
        return LockstepClient(
            self.url,
            self.profile,
            realtime=self.profile.realtime,
            on_realtime=self.profile.keep_realtime,
            on_state=on_state,
            on_catching_up=on_catching_up,
            recorder=recorder,
            name="lockstep-cli",
            patience_s=_PATIENCE_S,
        )

    def keep(self, login: Login) -> None:
        self.profile.log_in(
            Saved(url=self.url, tokens=tokens_of(login.tokens), user=login.user, workspace=login.workspace)
        )

    # --- names ------------------------------------------------------------------------------------------------

    async def place(self, rest: RestClient, named: str, *, member: bool = False) -> Place:
        """The channel that a person means by `#general`, `general`, `@grace` (the direct one with her) or an id.

        `member`: only of those one is in. Raises CommandFailed when there is none, or none that is meant clearly.
        """
        if is_entity_id(named, "ch"):
            return Place(named, self.label(named))
        if named.startswith("@"):
            return await self._direct(rest, named)
        wanted = named.removeprefix("#").casefold()
        try:
            channels = [channel async for channel in rest.channels()]
        except (Unreachable, ApiError) as error:
            known = self.profile.names.channels.get(wanted)
            if known is None or (isinstance(error, ApiError) and not error.retry):
                raise
            self._away()
            return Place(known, f"#{wanted}")
        self._remember_channels(channels)
        found = next((channel for channel in channels if channel.name.casefold() == wanted and wanted), None)
        if found is None:
            raise CommandFailed(
                f"There is no channel #{wanted} that you can see; `lockstep channels` lists them."
            )
        if member and not found.member:
            raise CommandFailed(
                f"You are not in #{found.name}; `lockstep channels join {found.name}` lets you in."
            )
        return Place(found.id, f"#{found.name}")

    async def _direct(self, rest: RestClient, named: str) -> Place:
        known = self.profile.names
        try:
            user = await self.person(rest, named)
            channel = (await rest.direct([user.id])).channel
        except (Unreachable, ApiError) as error:
            found = known.channels.get(named.casefold())
            if found is None or (isinstance(error, ApiError) and not error.retry):
                raise
            self._away()
            return Place(found, named)
        known = self.profile.names
        known.channels[named.casefold()] = channel.id
        self.profile.names = known
        return Place(channel.id, f"@{user.name}")

    async def person(self, rest: RestClient, named: str) -> User:
        """By name, e-mail address (both with or without `@` before it) or id. Raises CommandFailed."""
        wanted = named.removeprefix("@").casefold()
        people = [user async for user in rest.users()]
        self._remember_people(people)
        found = [
            user
            for user in people
            if wanted in (user.id, user.name.casefold(), (user.email or "").casefold())
        ]
        if not found:
            found = [user for user in people if user.name.casefold().split()[:1] == [wanted]]
        if len(found) > 1:
            which = ", ".join(sorted(user.email or user.id for user in found))
            raise CommandFailed(f"{named} could be several people: {which}. Use an e-mail address.")
        if not found:
            raise CommandFailed(f"There is nobody called {named}; `lockstep users` lists everybody.")
        return found[0]

    async def people(self, rest: RestClient) -> dict[str, str]:
        """User id to name; as last seen, when nobody can be asked now."""
        if time.monotonic() >= self._away_until:
            try:
                self._remember_people([user async for user in rest.users()])
            except LockstepError:
                self._away()
        me = self.login().user
        return {me.id: me.name, **self.profile.names.people}

    async def learn_channels(self, rest: RestClient) -> None:
        """So that `label` knows them; as last seen, when nobody can be asked now."""
        if time.monotonic() < self._away_until:
            return
        try:
            self._remember_channels([channel async for channel in rest.channels()])
        except LockstepError:
            self._away()

    def label(self, channel_id: str) -> str:
        """What to call a channel on the screen: `#general`, `@grace`, or its id if nothing better is known."""
        for name, id in self.profile.names.channels.items():
            if id == channel_id:
                return name if name.startswith("@") else f"#{name}"
        return channel_id

    def _away(self) -> None:
        self._away_until = time.monotonic() + _AWAY_S

    def _remember_people(self, users: list[User]) -> None:
        names = self.profile.names
        people = {user.id: user.name for user in users}
        if people != names.people:
            self.profile.names = Names(channels=names.channels, people=people)

    def _remember_channels(self, channels: list[Channel]) -> None:
        names = self.profile.names
        known = {channel.name.casefold(): channel.id for channel in channels if channel.name}
        me = self.login().user.id
        for channel in channels:
            others = [names.people.get(user, "") for user in channel.user_ids or () if user != me]
            if not channel.name and others and all(others):
                known[f"@{', '.join(others)}".casefold()] = channel.id
        known |= {name: id for name, id in names.channels.items() if name.startswith("@")}
        if known != names.channels:
            self.profile.names = Names(channels=known, people=names.people)


def context_of(typer_context: typer.Context) -> Context:
    found = typer_context.find_object(Context)
    assert found is not None
    return found


def device() -> str:
    """What a login is called in the list of sessions."""
    return f"lockstep on {platform.node()}"[:100]


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a command's coroutine to its end. Ctrl-C ends it quietly."""
    try:
        return asyncio.run(work)
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None


def read_password(from_stdin: bool, *, confirm: bool = False) -> str:
    """From the first line of stdin, or asked for without showing it."""
    if from_stdin:
        password = sys.stdin.readline().rstrip("\r\n")
        if not password:
            raise CommandFailed("There is no password on standard input.")
        return password
    if not sys.stdin.isatty():
        raise typer.BadParameter("there is no terminal to ask for the password; use --password-stdin")
    return str(typer.prompt("Password", hide_input=True, confirmation_prompt=confirm))


def ask(value: str | None, question: str, option: str) -> str:
    """The value, or the answer of the person. Raises BadParameter (exit code 2) when nobody can be asked."""
    if value is not None:
        return value
    if not sys.stdin.isatty():
        raise typer.BadParameter(f"{option} is missing")
    return str(typer.prompt(question))
