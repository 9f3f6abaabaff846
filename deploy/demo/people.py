"""The people of the demo: a workspace of their own, made over REST, and five channels."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass
from typing import Final

from client import MemoryTokens, RestClient

CHANNELS: Final = ("general-talk", "kitchen", "engineering", "münchen-büro", "شاي-و-قهوة")
_AT_ONCE: Final = 4
"""Hashing a password is work: on a busy machine a crowd at the door would wait until its requests time out."""

_NAMES: Final = (
    "Anna", "Omar", "Yuki", "Chloé", "Dmytro", "Priya", "Łukasz", "Mei", "Tariq", "Noa", "Eleni", "Kwame",
    "Søren", "Nino", "Thandi", "José", "Minh", "Aylin", "Haruto", "Leila", "Ivan", "Marta", "Seo-yeon", "Abebe",
)  # fmt: skip


@dataclass(frozen=True)
class Person:
    """Somebody who is logged in."""

    name: str
    user: str
    tokens: MemoryTokens

    @property
    def access_token(self) -> str:
        tokens = self.tokens.load()
        assert tokens is not None
        return tokens.access_token


@dataclass(frozen=True)
class Crowd:
    """`people[0]` is the owner; everybody is in every channel (ids)."""

    workspace: str
    people: list[Person]
    channels: list[str]


async def gather_people(base_url: str, count: int) -> Crowd:
    """Sign up a workspace, invite and accept, make the channels and put everybody in. Raises LockstepError."""
    slug = f"demo-{secrets.token_hex(5)}"
    password = secrets.token_urlsafe(16)
    tokens = MemoryTokens()
    rest = RestClient(base_url, tokens)
    try:
        login = await rest.sign_up(
            workspace_slug=slug, workspace_name="The demo", name=_name(0),
            email=f"person-0@{slug}.example.com", password=password,
        )  # fmt: skip
        door = asyncio.Semaphore(_AT_ONCE)
        others = [
            _join(base_url, rest, door, number, f"person-{number}@{slug}.example.com", password)
            for number in range(1, count)
        ]
        people = [Person(_name(0), login.user.id, tokens), *await asyncio.gather(*others)]
        channels = []
        for name in CHANNELS:
            channel = (await rest.create_channel(name)).channel.id
            await rest.add_members(channel, [person.user for person in people[1:]])
            channels.append(channel)
        return Crowd(slug, people, channels)
    finally:
        await rest.aclose()


async def _join(
    base_url: str, owner: RestClient, door: asyncio.Semaphore, number: int, email: str, password: str
) -> Person:
    tokens = MemoryTokens()
    async with door:
        invited = await owner.invite(email)
        rest = RestClient(base_url, tokens)
        try:
            login = await rest.accept_invite(token=invited.token, name=_name(number), password=password)
        finally:
            await rest.aclose()
    return Person(_name(number), login.user.id, tokens)


def _name(number: int) -> str:
    again = number // len(_NAMES)
    return _NAMES[number % len(_NAMES)] + (f" {again + 1}" if again else "")
