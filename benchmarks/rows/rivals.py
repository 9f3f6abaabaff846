"""The same loads on what people would write otherwise: a plain FastAPI broadcaster, `websockets`, nchan. In memory, all of them."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import partial

from benchmarks.core.agent import Agent, python
from benchmarks.core.bench import Bench
from benchmarks.core.figures import Figure
from benchmarks.core.floor import FloorSample, floor
from benchmarks.core.native import Unavailable
from benchmarks.core.results import Result, Row
from benchmarks.core.rounds import Spoiled, patiently
from benchmarks.core.sink import Sink, sink
from benchmarks.core.usage import cpu_seconds
from benchmarks.floors.nchan import nchan
from benchmarks.rows.fanout import TEXT, frame_bytes

TITLE = "Rivals"

RIVALS = {
    "fastapi": "plain FastAPI broadcaster, as its documentation shows it",
    "websockets": "`websockets`, its broadcast()",
    "nchan": "nchan (nginx)",
}
PROMISES = {
    "fastapi": "In memory: nothing is stored, numbered, resumed or checked for membership.",
    "websockets": "In memory: nothing is stored, numbered, resumed or checked for membership.",
    "nchan": "The last thousand messages of a channel in memory, for subscribers who come back; gone with the process.",
}
ROOM = 10


@dataclass(frozen=True)
class Load:
    """So many connections in rooms of `room`; `rate` messages a second in all, or None: as many as go through."""

    name: str
    connections: int
    room: int
    rate: float | None


class Rival:
    def __init__(
        self, cpu: Callable[[], float], shouter: Agent, receivers: Sink, room: int, listeners: int
    ) -> None:
        self._cpu = cpu
        self._shouter = shouter
        self._receivers = receivers
        self._listeners = listeners
        self.room = room

    async def run(self, rate: float, seconds: float) -> FloorSample:
        """As `Floor.run`."""
        await self._receivers.counts(reset=True)
        before, began = self._cpu(), time.monotonic()
        answer = await self._shouter.do("run", rate=rate, seconds=seconds, size=TEXT)
        expected = answer["sent"] * self._listeners
        counts = await self._receivers.received(expected)
        spent, taken = self._cpu() - before, time.monotonic() - began
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
    async with contextlib.AsyncExitStack() as owned:
        cpu: Callable[[], float]
        if name == "nchan":
            server = await owned.enter_async_context(nchan())
            port, cpu = server.port, server.cpu
            listeners = room  # who posts is not one of them
            listening = [f"/sub/{each}" for each in rooms for _ in range(listeners)]
            urls, named = [f"/pub/{each}" for each in rooms], [""] * len(rooms)
        else:
            broadcaster = await owned.enter_async_context(python("benchmarks.floors.broadcast", name))
            port, cpu = (await broadcaster.hear())["port"], partial(cpu_seconds, broadcaster.pid)
            listeners = room - 1
            listening = [each for each in rooms for _ in range(listeners)]
            urls, named = ["/ws"] * len(rooms), rooms
        receivers = await owned.enter_async_context(sink(port, listening, path="/ws"))
        shouter = await owned.enter_async_context(python("benchmarks.floors.shouter"))
        await shouter.do("connect", urls=[f"ws://127.0.0.1:{port}{url}" for url in urls], rooms=named)
        yield Rival(cpu, shouter, receivers, room, listeners)


async def run(bench: Bench) -> Result:
    many, few = bench.of(1_000, 100), bench.of(2_000, 100)
    loads = [
        Load(f"20 messages/s to {many:,} subscribers of one channel", many, many, 20.0),
        Load(f"most deliveries/s to {many:,} subscribers of one channel", many, many, None),
        Load(f"{few:,} connections in channels of {ROOM}, 200 messages/s in all", few, ROOM, 200.0),
    ]
    rows: list[Row] = []
    missing: set[str] = set()
    for load in loads:
        for name in RIVALS:
            try:
                rows.append(await compare(bench, name, load))
            except Unavailable as reason:
                missing.add(f"{name}: {reason}")
    for name in sorted(missing):
        print(f"  skipped: {name}", file=sys.stderr)
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
            note=PROMISES[name],
        )
    possible = Figure("deliveries/s", tuple(1e6 / sample[0] for sample in samples["floor"]))
    return Row(
        what=f"{RIVALS[name]}: {load.name}",
        against="C loop, one send() a socket: what one core of processor time gives",
        subject=speed,
        floor=possible,
        ratio=speed.per(possible),
        also={"CPU": micros, "p99 delivery": p99},
        note=PROMISES[name],
    )


async def saturating(theirs: Rival, seconds: float) -> float:
    """Messages a second that one core of theirs can show to everybody, by what a message costs it when it is busy."""
    rate = 20.0
    for _ in range(4):
        found = rate

        async def one(found: float = found) -> FloorSample:
            return await theirs.run(found, seconds)

        micros, _, _ = await patiently(one)
        rate = max(1.0, 1e6 / (micros * theirs.room))
        if rate < 1.2 * found:
            break
    return rate
