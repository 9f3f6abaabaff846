"""Everybody talks in every channel at the same time, each through a client of their own that is recorded."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random

from client import Ack, LockstepClient, LockstepError, MessageEvent, Recorder, State
from deploy.demo.people import Crowd, Person
from deploy.demo.texts import say
from deploy.demo.together import together
from deploy.demo.waiting import until


@dataclass
class Post:
    """One message, as its sender lived it. Monotonic seconds; `acked` 0.0 until then."""

    posted: float
    acked: float = 0.0


class Member:
    """One person with a client that is recorded. `shown`: messages that came, own ones too."""

    def __init__(self, base_url: str, person: Person, recorder: Recorder) -> None:
        self.person = person
        self.client = LockstepClient(
            base_url,
            person.tokens,
            recorder=recorder,
            name="lockstep-demo",
            on_state=self._noted,
        )
        self.node = ""
        self.connections = 0
        self.shown = 0
        self.posts: list[Post] = []
        self.failures: list[str] = []
        self.heads: dict[str, int] = {}

    def _noted(self, state: State) -> None:
        if state.name == "connected":
            self.node = state.node
            self.connections += 1

    async def listen(self) -> None:
        async for event in self.client.events():
            if isinstance(event, MessageEvent):
                self.shown += 1

    async def talk(self, channels: list[str], count: int, every_s: float, rng: Random) -> None:
        """Post `count` messages at random moments, `every_s` apart on average; without waiting for acknowledgements."""
        for _ in range(count):
            await asyncio.sleep(rng.expovariate(1 / every_s))
            channel = rng.choice(channels)
            post = Post(time.monotonic())
            self.posts.append(post)
            future = self.client.post(channel, say(rng))
            future.add_done_callback(partial(self._settled, post))

    def _settled(self, post: Post, done: asyncio.Future[Ack]) -> None:
        if done.cancelled():
            return
        error = done.exception()
        if error is not None:
            self.failures.append(str(error))
            return
        post.acked = time.monotonic()
        ack = done.result()
        self.heads[ack.channel] = max(self.heads.get(ack.channel, 0), ack.seq)


class Conversation:
    """All members, connected."""

    def __init__(self, crowd: Crowd, members: list[Member]) -> None:
        self.crowd = crowd
        self.members = members

    @property
    def posts(self) -> list[Post]:
        return [post for member in self.members for post in member.posts]

    @property
    def acked(self) -> int:
        return sum(1 for post in self.posts if post.acked)

    @property
    def shown(self) -> int:
        return sum(member.shown for member in self.members)

    @property
    def failures(self) -> list[str]:
        return [failure for member in self.members for failure in member.failures]

    def nodes(self) -> dict[str, int]:
        """How many members are connected to which node."""
        counted: dict[str, int] = {}
        for member in self.members:
            if member.client.state.name == "connected":
                counted[member.node] = counted.get(member.node, 0) + 1
        return counted

    async def talk(self, messages: int, seconds: float, seed: int) -> None:
        """Everybody together posts this many messages within about so many seconds."""
        share, more = divmod(messages, len(self.members))
        talks = []
        for number, member in enumerate(self.members):
            count = share + (number < more)
            if count:
                rng = Random(seed * 1000 + number)
                talks.append(member.talk(self.crowd.channels, count, seconds / count, rng))
        await together(*talks)

    async def until_open(self, timeout: float) -> None:
        """Until every channel is open to every client. Raises DemoFailed."""
        everywhere = set(self.crowd.channels)
        await until(
            lambda: all(everywhere <= set(member.client.cursors) for member in self.members),
            "not every channel was opened to every client",
            timeout,
        )

    async def until_settled(self, timeout: float) -> None:
        """Until every message has its verdict, and everybody was shown everything. Raises DemoFailed."""
        await until(
            lambda: all(post.acked for post in self.posts) or bool(self.failures),
            "not every message was acknowledged",
            timeout,
        )
        heads: dict[str, int] = {}
        for member in self.members:
            for channel, head in member.heads.items():
                heads[channel] = max(heads.get(channel, 0), head)
        await until(
            lambda: all(
                member.client.cursors.get(channel, 0) >= head
                for member in self.members
                for channel, head in heads.items()
            ),
            "not every client was shown everything",
            timeout,
        )


@contextlib.asynccontextmanager
async def conversation(base_url: str, crowd: Crowd, folder: Path) -> AsyncIterator[Conversation]:
    """Connect everybody; recordings go to `folder`, one file a client, complete once this is left.

    Raises LockstepError when somebody cannot connect.
    """
    members: list[Member] = []
    async with contextlib.AsyncExitStack() as stack:
        for number, person in enumerate(crowd.people):
            recorder = stack.enter_context(
                Recorder(folder / f"{number:02}.jsonl", f"{number:02} {person.name}")
            )
            members.append(Member(base_url, person, recorder))
        await asyncio.gather(*(stack.enter_async_context(member.client) for member in members))
        listeners = [asyncio.create_task(member.listen()) for member in members]
        try:
            yield Conversation(crowd, members)
        finally:
            for listener in listeners:
                listener.cancel()
            outcomes = await asyncio.gather(*listeners, return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, LockstepError):
            raise outcome
