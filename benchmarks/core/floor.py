"""The floor of every fan-out: native/floor.c, one send() for each socket."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from benchmarks.core.agent import Agent
from benchmarks.core.figures import Latencies
from benchmarks.core.native import compiled
from benchmarks.core.sink import Sink, sink

FloorSample = tuple[float, float, Latencies]
"""Microseconds of processor time a delivery, deliveries a second, latencies."""


class Floor:
    def __init__(self, agent: Agent, sink: Sink) -> None:
        self._agent = agent
        self._sink = sink

    async def run(self, rate: float, seconds: float) -> FloorSample:
        """`rate` messages a second to every connection, or as many as can be."""
        await self._sink.counts(reset=True)
        answer = await self._agent.ask(f"run {rate} {seconds}")
        counts = await self._sink.received(answer["deliveries"])
        deliveries = answer["deliveries"] - answer["failed"]
        return answer["cpu"] / deliveries * 1e6, deliveries / answer["seconds"], counts.latency


@contextlib.asynccontextmanager
async def floor(connections: int, frame_bytes: int) -> AsyncIterator[Floor]:
    program = await asyncio.to_thread(compiled, "floor")
    async with Agent(str(program), str(frame_bytes)) as agent:
        port = (await agent.hear())["port"]
        accepting = asyncio.create_task(agent.ask(f"accept {connections}"))
        async with sink(port, [""] * connections, path="/") as receivers:
            await accepting
            yield Floor(agent, receivers)
