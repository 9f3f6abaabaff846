"""People of a running Lockstep, for the client's own tests."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from client import LockstepClient, MemoryTokens, RestClient
from tests.stack.lockstep import Stack
from tests.stack.waiting import until

PASSWORD = "correct horse battery staple"

_numbers = itertools.count(1)


@dataclass
class Someone:
    """Logged in, not connected. `slug`, `email`: what to log in with, and PASSWORD."""

    rest: RestClient
    user_id: str
    slug: str
    email: str

    def client(self, **options: object) -> LockstepClient:
        """A client of theirs; enter it."""
        return LockstepClient(self.rest.base_url, self.rest.tokens, **options)  # type: ignore[arg-type]


async def owner(stack: Stack) -> Someone:
    """Somebody with a new workspace, of which everything has been told."""
    slug = f"client-{next(_numbers)}"
    rest = RestClient(stack.web_url, MemoryTokens())
    login = await rest.sign_up(
        workspace_slug=slug,
        workspace_name=slug,
        name="Ada Lovelace",
        email="ada@example.com",
        password=PASSWORD,
    )
    await stack.told()
    return Someone(rest, login.user.id, slug, "ada@example.com")


async def joined(stack: Stack, host: Someone, name: str) -> Someone:
    """Somebody else in the workspace of `host`, of whom everything has been told."""
    email = f"{name.lower()}@example.com"
    invited = await host.rest.invite(email)
    rest = RestClient(stack.web_url, MemoryTokens())
    login = await rest.accept_invite(token=invited.token, name=name, password=PASSWORD)
    await stack.told()
    return Someone(rest, login.user.id, host.slug, email)


async def in_channel(channel: str, *clients: LockstepClient) -> None:
    """Wait until each of these connected clients sees the channel."""
    await until(lambda: all(channel in client.cursors for client in clients), what="everybody is in it")


async def quiet(rest: RestClient, channel: str, head: int) -> None:
    """Wait until what made the channel and its members is stored, `head` events; so what is said next comes after it."""
    page = await rest.events(channel, at_least=head)
    assert page.head == head, page
