"""A crowd: recorded clients of one workspace that talk in shared channels, and the judgement of what they saw."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

from client import (
    Ack,
    ChannelEvent,
    Closed,
    LockstepClient,
    MemoryTokens,
    MessageEvent,
    Opened,
    Recorder,
    RestClient,
    Shown,
)
from tests.stack.lockstep import Stack
from tests.stack.waiting import until
from verify.judge import Terms, Verdict
from verify.run import Sources, judge

PASSWORD = "correct horse battery staple"

_numbers = itertools.count(1)


@dataclass
class Person:
    """One person with one connected client, whose events are all consumed.

    `seen`: channel -> the seqs shown, in the order shown. `closed`: channel -> where the view ended.
    """

    name: str
    user_id: str
    client: LockstepClient
    recorder: Recorder
    seen: dict[str, list[int]] = field(default_factory=dict)
    closed: dict[str, int] = field(default_factory=dict)
    opened: dict[str, int] = field(default_factory=dict)

    @property
    def rest(self) -> RestClient:
        return self.client.rest

    @property
    def node(self) -> str:
        """The address of the node it is connected to, or was last."""
        return self.client.state.node

    async def listen(self) -> None:
        async for event in self.client.events():
            self._note(event)

    def _note(self, event: Shown) -> None:
        match event:
            case MessageEvent() | ChannelEvent():
                self.seen.setdefault(event.channel, []).append(event.seq)
            case Opened():
                self.opened[event.channel] = event.head
                self.closed.pop(event.channel, None)
            case Closed():
                self.closed[event.channel] = event.last_seq

    def has_seen(self, channel: str, seq: int) -> bool:
        return self.client.cursors.get(channel, 0) >= seq


@dataclass
class Crowd:
    """`people[0]` owns the workspace. `channels`: ids, everybody is in all of them. `alone`: nobody posts as one of them but
    by these recorded clients."""

    stack: Stack
    folder: Path
    people: list[Person]
    channels: list[str]
    acks: list[Ack] = field(default_factory=list)
    alone: bool = False
    _listeners: list[asyncio.Task[None]] = field(default_factory=list)

    @property
    def owner(self) -> Person:
        return self.people[0]

    async def enter(self, name: str, client_of: Callable[[Recorder], LockstepClient]) -> Person:
        """Connect one more recorded client; it stays until the crowd leaves."""
        recorder = Recorder(self.folder / f"{name}.jsonl", name)
        client = await client_of(recorder).__aenter__()
        person = Person(name, client.user_id, client, recorder)
        self.people.append(person)
        self._listeners.append(asyncio.create_task(person.listen()))
        return person

    async def leave(self) -> None:
        """Disconnect everybody."""
        await asyncio.gather(*(person.client.aclose() for person in self.people))
        await asyncio.gather(*self._listeners, return_exceptions=True)
        for person in self.people:
            person.recorder.close()

    async def talk(self, person: Person, count: int, *, pause: float = 0.0) -> None:
        """Post `count` messages one after another, each once the one before is acknowledged, over the channels."""
        for number in range(count):
            channel = self.channels[number % len(self.channels)]
            self.acks.append(await person.client.send(channel, f"{person.name} says {number}"))
            if pause:
                await asyncio.sleep(pause)

    async def talk_all(self, count: int, *, pause: float = 0.0) -> None:
        """Everybody talks at once."""
        async with asyncio.TaskGroup() as everybody:
            for person in self.people:
                everybody.create_task(self.talk(person, count, pause=pause))

    def heads(self) -> dict[str, int]:
        """The highest acknowledged number of each channel."""
        heads: dict[str, int] = {}
        for ack in self.acks:
            heads[ack.channel] = max(heads.get(ack.channel, 0), ack.seq)
        return heads

    async def all_have_seen_all(self, patience: float = 60.0) -> None:
        """Wait until everybody was shown everything that was acknowledged to anybody.

        However long that takes, as long as somebody is shown something: raises TimeoutError after `patience` seconds in
        which nobody was.
        """
        heads = self.heads()

        def lacking() -> list[str]:
            return [
                f"{person.name} lacks {channel} {person.client.cursors.get(channel, 0)} of {head}"
                for person in self.people
                for channel, head in heads.items()
                if not person.has_seen(channel, head)
            ]

        def shown() -> int:
            return sum(sum(person.client.cursors.values()) for person in self.people)

        while missing := lacking():
            so_far = shown()

            def went_on(so_far: int = so_far) -> bool:
                return shown() != so_far or not lacking()

            await until(went_on, patience, what=f"somebody is shown something: {missing[:3]}")

    async def verdict(self, *, rest: bool = True) -> Verdict:
        """What the judge says of the recordings, PostgreSQL, the log and (needs web_app) REST history."""
        for person in self.people:
            person.recorder.flush()
        if rest:
            await (
                self.owner.rest.me()
            )  # its token may have run out, or its key have been retired: then it is renewed
        tokens = [token.access_token for token in [self.owner.rest.tokens.load()] if token is not None]
        return await judge(
            Sources(
                recordings=[self.folder],
                rest=self.stack.web_url if rest else None,
                tokens=tokens if rest else [],
                database=self.stack.database.dsn,
                kafka=self.stack.kafka.bootstrap,
                wait_s=60.0,
            ),
            Terms(caught_up=True, all_senders_recorded=self.alone),
        )

    async def must_hold(self, *, messages: int) -> Verdict:
        """Everybody catches up, and the judge finds nothing; `messages`: at least so many were acknowledged."""
        await self.all_have_seen_all()
        verdict = await self.verdict()
        assert verdict.holds, list(verdict.findings.first.values())
        figures = verdict.figures
        assert (figures.lost, figures.duplicated, figures.out_of_order) == (0, 0, 0)
        assert len(self.acks) >= messages
        assert len({(ack.channel, ack.seq) for ack in self.acks}) == len(self.acks)
        return verdict


@contextlib.asynccontextmanager
async def crowd(stack: Stack, folder: Path, *, people: int, channels: int) -> AsyncIterator[Crowd]:
    """A new workspace with so many connected people, all in so many new public channels; closed at the end."""
    recordings = folder / f"recordings-{next(_numbers)}"
    recordings.mkdir()
    slug = f"crowd-{next(_numbers)}"
    async with contextlib.AsyncExitStack() as owned:
        owner = await owned.enter_async_context(RestClient(stack.web_url, MemoryTokens()))
        await owner.sign_up(
            workspace_slug=slug,
            workspace_name=slug,
            name="owner",
            email="owner@example.com",
            password=PASSWORD,
        )
        logins = [owner]
        for number in range(1, people):
            invited = await owner.invite(f"person-{number}@example.com")
            rest = await owned.enter_async_context(RestClient(stack.web_url, MemoryTokens()))
            await rest.accept_invite(token=invited.token, name=f"person-{number}", password=PASSWORD)
            logins.append(rest)
        others = [(await rest.me()).user.id for rest in logins[1:]]
        ids = []
        for number in range(channels):
            reply = await owner.create_channel(f"room-{number}")
            ids.append(reply.channel.id)
            if others:
                await owner.add_members(reply.channel.id, others)
        await stack.told()
        made = Crowd(stack, recordings, [], ids)
        owned.push_async_callback(made.leave)
        for number, rest in enumerate(logins):
            await made.enter(
                "owner" if number == 0 else f"person-{number}",
                lambda recorder, rest=rest: LockstepClient(  # type: ignore[misc]
                    stack.web_url, rest.tokens, recorder=recorder
                ),
            )
        await until(
            lambda: all(set(ids) <= set(person.client.cursors) for person in made.people),
            what="everybody is in every channel",
        )
        yield made
