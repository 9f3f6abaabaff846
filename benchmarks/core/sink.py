"""The receivers: native/sink.c, many connections in a process that only counts."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from benchmarks.core.agent import Agent
from benchmarks.core.figures import Latencies
from benchmarks.core.native import compiled

PROBE_EVERY = 16
"""One connection in so many reads what it gets, for latencies."""


class Counts:
    """Since the last reset: frames, bytes, reads, connections open, latencies of the probes."""

    def __init__(self, answer: dict[str, object]) -> None:
        numbers = {name: value for name, value in answer.items() if isinstance(value, int)}
        self.ready = numbers["ready"]
        self.closed = numbers["closed"]
        self.frames = numbers["frames"]
        self.bytes = numbers["bytes"]
        self.reads = numbers["reads"]
        latency = answer["latency"]
        assert isinstance(latency, list)
        self.latency = Latencies((float(micros), int(count)) for micros, count in latency)


class Sink:
    def __init__(self, agent: Agent) -> None:
        self._agent = agent

    async def counts(self, *, reset: bool = False) -> Counts:
        return Counts(await self._agent.ask("reset" if reset else "read"))

    async def received(self, frames: int, timeout: float = 30.0) -> Counts:
        """Wait until so many have come since the reset, or until `timeout` seconds have passed."""
        deadline = time.monotonic() + timeout
        while True:
            counts = await self.counts()
            if counts.frames >= frames or time.monotonic() > deadline:
                return counts
            await asyncio.sleep(0.02)

    async def quiet(self, seconds: float = 0.3, timeout: float = 30.0) -> Counts:
        """Wait until nothing has come for so long."""
        deadline = time.monotonic() + timeout
        before = await self.counts()
        while True:
            await asyncio.sleep(seconds)
            counts = await self.counts()
            if counts.bytes == before.bytes or time.monotonic() > deadline:
                return counts
            before = counts


@contextlib.asynccontextmanager
async def sink(
    port: int,
    first_messages: Sequence[str],
    *,
    path: str = "/v1/websocket",
    answer: str = "",
    probe_every: int = PROBE_EVERY,
    timeout: float = 120.0,
) -> AsyncIterator[Sink]:
    """Connections to 127.0.0.1:`port`, all ready; `first_messages`: what each says first ("": nothing), as frames parted
    by tabs; `answer` is what the frame holds that says that it is heard ("": any frame does)."""
    with tempfile.NamedTemporaryFile("w", prefix="lockstep-sink-") as file:
        file.writelines(f"{line}\n" for line in first_messages)
        file.flush()
        program = await asyncio.to_thread(compiled, "sink")
        async with Agent(
            str(program), "127.0.0.1", str(port), path, str(Path(file.name)), str(probe_every), answer
        ) as agent:
            await agent.hear(timeout)
            yield Sink(agent)
