"""People of a crowd's workspace who only listen, and whom a scenario may remove or deactivate."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from functools import partial

from client import LockstepClient, MemoryTokens, Recorder, RestClient
from tests.faults.load import Load
from tests.stack.crowd import PASSWORD, Person
from tests.stack.waiting import until


async def join(load: Load, rest: RestClient, name: str) -> str:
    """Somebody new, in every channel of the crowd; logs `rest` in and gives the user's id."""
    owner = load.crowd.owner.rest
    invited = await owner.invite(f"{name}@example.com")
    await rest.accept_invite(token=invited.token, name=name, password=PASSWORD)
    user = (await rest.me()).user.id
    for channel in load.crowd.channels:
        await owner.add_members(channel, [user])
    return user


@contextlib.asynccontextmanager
async def guest(load: Load, name: str) -> AsyncIterator[Person]:
    """A recorded client that listens in every channel, and is not one of the crowd: nobody waits for it."""
    crowd = load.crowd
    async with RestClient(crowd.stack.web_url, MemoryTokens()) as rest:
        await join(load, rest, name)
        person = await crowd.enter(
            name, lambda recorder: LockstepClient(crowd.stack.web_url, rest.tokens, recorder=recorder)
        )
        crowd.people.remove(person)
        try:
            await until(
                lambda: all(channel in person.client.cursors for channel in crowd.channels),
                what=f"{name} is in every channel",
            )
            yield person
        finally:
            await person.client.aclose()
            person.recorder.close()


async def caught_up(load: Load, *guests: Person) -> None:
    """Nobody talks any more, and these have been shown everything that is still theirs to see: the judge expects it."""
    await load.hush()
    heads = load.crowd.heads()
    for person in guests:
        await until(
            partial(_has_seen, person, heads), what=f"{person.name} has seen everything that it may see"
        )
        person.recorder.flush()


def _has_seen(person: Person, heads: Mapping[str, int]) -> bool:
    return all(channel in person.closed or person.has_seen(channel, head) for channel, head in heads.items())


def new_recorder(load: Load, name: str) -> Recorder:
    """For somebody who is no client of the library."""
    return Recorder(load.crowd.folder / f"{name}.jsonl", name)
