"""The same loads on what people would write otherwise: a plain FastAPI broadcaster, `websockets`. In memory, both."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

from benchmarks.core.agent import Agent, python
from benchmarks.core.bench import Bench
from benchmarks.core.figures import Figure
from benchmarks.core.floor import FloorSample, floor
from benchmarks.core.results import Result, Row
from benchmarks.core.rounds import Spoiled, patiently
from benchmarks.core.sink import Sink, sink
from benchmarks.core.usage import cpu_seconds
from benchmarks.rows.fanout import TEXT, frame_bytes

TITLE = "Rivals"

RIVALS = {
    "fastapi": "plain FastAPI broadcaster, as its documentation shows it",
    "websockets": "`websockets`, its broadcast()",
}
PROMISES = "In memory: nothing is stored, numbered, resumed or checked for membership."
ROOM = 10


@dataclass(frozen=True)
class Load:
    """So many connections in rooms of `room`; `rate` messages a second in all, or None: as many as go through."""

    name: str
    connections: int
    room: int
    rate: float | None


class Rival:
    def __init__(self, pid: int, shouter: Agent, receivers: Sink, room: int) -> None:
        self._pid = pid
        self._shouter = shouter
        self._receivers = receivers
        self.room = room

    async def run(self, rate: float, seconds: float) -> FloorSample:
        """As `Floor.run`."""
        await self._receivers.counts(reset=True)
        before, began = cpu_seconds(self._pid), time.monotonic()
        answer = await self._shouter.do("run", rate=rate, seconds=seconds, size=TEXT)
        expected = answer["sent"] * (self.room - 1)
        counts = await self._receivers.received(expected)
        spent, taken = cpu_seconds(self._pid) - before, time.monotonic() - began
        if counts.frames < expected or counts.closed:
            raise Spoiled(
                f"{counts.frames} of {expected} deliveries came, {counts.closed} connections closed"
            )
        deliveries = answer["sent"] * self.room
        return spent / deliveries * 1e6, deliveries / taken, counts.latency


@contextlib.asynccontextmanager
async def rival(name: str, connections: int, room: int) -> AsyncIterator[Rival]:
    """One client of each room posts."""
    rooms = [f"room-{number}" for number in range(connections // room)]
    listening = [each for each in rooms for _ in range(room - 1)]
    async with python("benchmarks.floors.broadcast", name) as server:
        port = (await server.hear())["port"]
        async with (
            python("benchmarks.floors.shouter") as shouter,
            sink(port, listening, path="/ws") as receivers,
        ):
            await shouter.do("connect", url=f"ws://127.0.0.1:{port}/ws", rooms=rooms)
            yield Rival(server.pid, shouter, receivers, room)


async def run(bench: Bench) -> Result:
    many, few = bench.of(1_000, 100), bench.of(2_000, 100)
    loads = [
        Load(f"20 messages/s to {many:,} subscribers of one channel", many, many, 20.0),
        Load(f"most deliveries/s to {many:,} subscribers of one channel", many, many, None),
        Load(f"{few:,} connections in channels of {ROOM}, 200 messages/s in all", few, ROOM, 200.0),
    ]
    rows = [await compare(bench, name, load) for load in loads for name in RIVALS]
    return Result(benchmark="rivals", title=TITLE, rows=tuple(rows))


async def compare(bench: Bench, name: str, load: Load) -> Row:
    seconds = bench.of(3.0, 0.5)
    async with (
        rival(name, load.connections, load.room) as theirs,
        floor(load.room, frame_bytes()) as bare,
    ):
        rate = load.rate or await saturating(theirs, seconds)
        samples = await bench.interleaved(
            {
                "theirs": lambda: theirs.run(rate, seconds),
                "floor": lambda: bare.run(load.rate or 1e5, seconds),
            }
        )
    micros = Figure("us CPU/delivery", tuple(sample[0] for sample in samples["theirs"]))
    least = Figure("us CPU/delivery", tuple(sample[0] for sample in samples["floor"]))
    speed = Figure("deliveries/s", tuple(sample[1] for sample in samples["theirs"]))
    p99 = Figure("ms", tuple(sample[2].ms(99) for sample in samples["theirs"]))
    if load.rate is not None:
        return Row(
            what=f"{RIVALS[name]}: {load.name}",
            against="C loop, one send() a socket",
            subject=micros,
            floor=least,
            ratio=micros.per(least),
            also={"p99 delivery": p99},
            note=PROMISES,
        )
    possible = Figure("deliveries/s", tuple(1e6 / sample[0] for sample in samples["floor"]))
    return Row(
        what=f"{RIVALS[name]}: {load.name}",
        against="C loop, one send() a socket: what one core of processor time gives",
        subject=speed,
        floor=possible,
        ratio=speed.per(possible),
        also={"CPU": micros, "p99 delivery": p99},
        note=PROMISES,
    )


async def saturating(theirs: Rival, seconds: float) -> float:
    """Messages a second that one core of theirs can show to everybody, by what a message cost it."""
    micros, _, _ = await patiently(lambda: theirs.run(20.0, seconds))
    return max(1.0, 1e6 / (micros * theirs.room))
