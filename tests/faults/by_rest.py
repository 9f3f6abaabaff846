"""People of a crowd who post by REST as well, and read what they posted from history, while things break."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

import httpx

from client import Ack, ApiError, RestClient, Unreachable
from client.records import EventPage, Posted
from client.rest import past_events
from services.contract.ids import new_event_id
from tests.faults.load import Load, Wait
from tests.stack.crowd import Person
from tests.stack.waiting import until

_PAGE = 20


@dataclass
class ByRest:
    """What became of it.

    waits       each message, from its first request to the answer with its number; noted when it was read, too
    refusals    codes of refusals that the client's own patience did not outlast; `unreachable`: there was no answer
    duplicates  messages whose answer said that an earlier copy had the number
    read        events that were read from history
    """

    people: Sequence[Person]
    waits: list[Wait] = field(default_factory=list)
    refusals: Counter[str] = field(default_factory=Counter)
    duplicates: int = 0
    read: int = 0

    async def served_again(self, timeout: float = 60.0) -> float:
        """Wait until each of them has posted something from now on, and read it; how long it took, seconds."""
        begun = time.monotonic()

        def everybody() -> bool:
            served = {wait.person for wait in self.waits if wait.posted >= begun}
            return served >= {person.name for person in self.people}

        await until(everybody, timeout, what="everybody is served by REST again", every=0.02)
        return time.monotonic() - begun


@contextlib.asynccontextmanager
async def posting_by_rest(
    load: Load, people: Sequence[Person], rng: random.Random, *, answer_s: float = 20.0, reading: bool = False
) -> AsyncIterator[ByRest]:
    """These people post by REST until the end of the block, each message under its id until it is taken.

    `answer_s`: how long an answer is waited for, before the request is repeated. `reading`: what was posted is read from
    history at once, with what came after it; all that is recorded for the judge.
    """
    stop = asyncio.Event()
    made = ByRest(people)

    async def talk(person: Person, own: random.Random) -> None:
        http = httpx.AsyncClient(timeout=answer_s)
        async with http, RestClient(load.crowd.stack.web_url, person.rest.tokens, http=http) as rest:
            number = 0
            while not stop.is_set():
                number += 1
                begun, phase = time.monotonic(), load.phase
                channel, text, id = own.choice(load.crowd.channels), f"{number} by REST", new_event_id()
                person.recorder.write("sent", channel=channel, id=id, text=text, attempt=1, via="rest")
                posted = await _post(rest, channel, text, id, made)
                ack = Ack(
                    epoch=posted.epoch,
                    channel=channel,
                    id=id,
                    seq=posted.seq,
                    at=posted.at,
                    duplicate=posted.duplicate,
                )
                person.recorder.acked(ack, "rest")
                load.crowd.acks.append(ack)
                made.duplicates += posted.duplicate
                acked = time.monotonic()
                if reading:
                    page = await _read(rest, channel, posted.seq, made)
                    first = page.events[0]
                    assert (first.seq, first.id) == (posted.seq, id), "what was acknowledged is in history"
                    for event in past_events(page):
                        person.recorder.shown(event)
                    made.read += len(page.events)
                made.waits.append(Wait(person.name, begun, acked, phase))
                await asyncio.sleep(own.uniform(0.05, 0.2))

    async with asyncio.TaskGroup() as group:
        for person in people:
            group.create_task(talk(person, random.Random(rng.random())))
        try:
            yield made
        finally:
            stop.set()


async def _post(rest: RestClient, channel: str, text: str, id: str, made: ByRest) -> Posted:
    while True:
        try:
            return await rest.post_message(channel, text, client_msg_id=id)
        except (ApiError, Unreachable) as error:
            _note(error, made)


async def _read(rest: RestClient, channel: str, seq: int, made: ByRest) -> EventPage:
    while True:
        try:
            return await rest.events(channel, after=seq - 1, limit=_PAGE, at_least=seq)
        except (ApiError, Unreachable) as error:
            _note(error, made)


def _note(error: ApiError | Unreachable, made: ByRest) -> None:
    """Count it, unless it is for good: then raise it."""
    if isinstance(error, ApiError):
        made.refusals[error.code] += 1
        if not error.retry:
            raise error
    else:
        made.refusals["unreachable"] += 1
