"""Those who talk: native/speakers.c, real clients that post at a given rate and check what they are shown.

They are a C program because they share the machine with what is measured: in Python they took a core of it at some
thousand messages a second.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from urllib.parse import urlsplit

import msgspec

from benchmarks.core.agent import Agent
from benchmarks.core.figures import Latencies
from benchmarks.core.native import compiled
from benchmarks.core.rounds import Spoiled

ANSWERS_S = 20.0
TICK_S = 0.001
"""The shortest time between two turns of posting, for these and for the floors that post themselves: the timers of an
event loop count milliseconds, and a shorter wait is none, with which a process takes a whole core."""


def counted(seconds: Iterable[float]) -> list[tuple[int, int]]:
    """Latencies counted by 10 microseconds."""
    return sorted(Counter(round(each * 1e5) * 10 for each in seconds).items())


class Talk(msgspec.Struct, kw_only=True):
    """What a run came to. `rate` was reached; `late`: how far behind its plan the process was at worst, seconds.

    A run is over with its last answer. What is shown later is in nobody's `deliveries`: who needs all of them asks the
    sink, or `heard`.
    """

    sent: int
    seconds: float
    late: float
    unanswered: int
    refused: dict[str, int]
    holes: int
    delivered: int
    acks: list[tuple[int, int]]
    deliveries: list[tuple[int, int]]

    @property
    def rate(self) -> float:
        return self.sent / self.seconds

    @property
    def acknowledged(self) -> int:
        return sum(count for _, count in self.acks)

    @property
    def ack(self) -> Latencies:
        return Latencies(self.acks)

    @property
    def delivery(self) -> Latencies:
        return Latencies(self.deliveries)

    def must_be_whole(self) -> None:
        """A figure of a run that lost, refused or reordered something would be a figure of something else."""
        if self.unanswered or self.refused or self.holes:
            raise Spoiled(
                f"{self.sent} sent: {self.unanswered} unanswered, refused {self.refused}, {self.holes} out of order"
            )


class Speakers:
    def __init__(self, agent: Agent) -> None:
        self._agent = agent

    async def talk(
        self, channels: Sequence[Sequence[str]], rate: float, seconds: float, size: int = 300
    ) -> Talk:
        """Post `rate` messages a second, by all clients that have channels in turn; waits for the answers.

        `channels`: for each client in turn, those that it posts to in turn (none: it only listens).
        """
        with tempfile.NamedTemporaryFile("w", prefix="lockstep-talk-") as file:
            file.writelines("\t".join(own) + "\n" for own in channels)
            file.flush()
            return await self._ask(f"run {rate} {seconds} {size} {file.name}")

    async def begin(self) -> None:
        """Count what is shown from here on (`heard`); nobody posts."""
        await self._ask("begin")

    async def heard(self, events: int) -> Talk:
        """What was shown since `begin`, once so many events were. Raises Spoiled when they do not come."""
        deadline = time.monotonic() + ANSWERS_S
        talk = await self._ask("heard")
        while talk.delivered < events and time.monotonic() < deadline:
            await asyncio.sleep(0.01)
            talk = await self._ask("heard")
        if talk.delivered < events or talk.holes:
            raise Spoiled(f"{talk.delivered} of {events} events were shown, {talk.holes} out of order")
        return talk

    async def _ask(self, command: str) -> Talk:
        return msgspec.convert(await self._agent.ask(command), Talk)


@contextlib.asynccontextmanager
async def speakers(url: str, tokens: Sequence[str]) -> AsyncIterator[Speakers]:
    """Connected clients, one for each token."""
    where = urlsplit(url)
    program = await asyncio.to_thread(compiled, "speakers")
    with tempfile.NamedTemporaryFile("w", prefix="lockstep-speakers-") as file:
        file.writelines(json.dumps({"type": "connect", "token": token}) + "\n" for token in tokens)
        file.flush()
        async with Agent(
            str(program), str(where.hostname), str(where.port), where.path, file.name, '"type":"welcome"'
        ) as agent:
            await agent.hear()
            yield Speakers(agent)
