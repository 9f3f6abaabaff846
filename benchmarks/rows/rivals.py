"""The same loads on what people would take or write otherwise: a plain FastAPI broadcaster, `websockets`, nchan, ejabberd.

What each promises is said beside its figures: most keep nothing but in memory.
"""

from __future__ import annotations

import contextlib
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
from benchmarks.core.rival import Poster, Rival
from benchmarks.core.rounds import Spoiled, patiently
from benchmarks.core.sink import Sink, sink
from benchmarks.core.usage import cpu_seconds
from benchmarks.floors.ejabberd import ejabberd
from benchmarks.floors.nchan import nchan
from benchmarks.rows.fanout import TEXT, frame_bytes

TITLE = "Rivals"


@contextlib.asynccontextmanager
async def broadcaster(framework: str) -> AsyncIterator[Rival]:
    """One of `floors.broadcast`."""
    async with python("benchmarks.floors.broadcast", framework) as agent:
        port = (await agent.hear())["port"]
        yield Rival(
            port,
            partial(cpu_seconds, agent.pid),
            listener=lambda room, _: room,
            poster=lambda room: Poster("/ws", room),
        )


@dataclass(frozen=True)
class Contender:
    name: str
    promise: str
    start: Callable[[], contextlib.AbstractAsyncContextManager[Rival]]


_NOTHING = "In memory: nothing is stored, numbered, resumed or checked for membership."
CONTENDERS = (
    Contender(
        "plain FastAPI broadcaster, as its documentation shows it", _NOTHING, partial(broadcaster, "fastapi")
    ),
    Contender("`websockets`, its broadcast()", _NOTHING, partial(broadcaster, "websockets")),
    Contender(
        "nchan (nginx)",
        "The last thousand messages of a channel in memory, for subscribers who come back; gone with the process.",
        nchan,
    ),
    Contender(
        "ejabberd, rooms (XEP-0045)",
        "Members are checked; the last twenty messages of a room in memory, for who enters; gone with the process.",
        ejabberd,
    ),
    Contender(
        "ejabberd, rooms with an archive (XEP-0313, Mnesia)",
        "Members are checked; each message is given to the archive before it is shown, which writes behind: a crash of "
        "the process loses the last ones.",
        partial(ejabberd, archive=True),
    ),
)
ROOM = 10


@dataclass(frozen=True)
class Load:
    """So many connections in rooms of `room`; `rate` messages a second in all, or None: as many as go through."""

    name: str
    connections: int
    room: int
    rate: float | None


class Rooms:
    """Of `size`, full; somebody posts into them, and the sink counts what its members are shown."""

    def __init__(self, rival: Rival, shouter: Agent, receivers: Sink, size: int, listeners: int) -> None:
        self._rival = rival
        self._shouter = shouter
        self._receivers = receivers
        self._listeners = listeners
        self.size = size

    async def run(self, rate: float, seconds: float) -> FloorSample:
        """As `Floor.run`."""
        await self._receivers.counts(reset=True)
        before, began = self._rival.cpu(), time.monotonic()
        answer = await self._shouter.do("run", rate=rate, seconds=seconds, size=TEXT)
        expected = answer["sent"] * self._listeners
        counts = await self._receivers.received(expected)
        spent, taken = self._rival.cpu() - before, time.monotonic() - began
        if counts.frames != expected or counts.closed:
            raise Spoiled(
                f"{counts.frames} of {expected} deliveries came, {counts.closed} connections closed"
            )
        deliveries = answer["sent"] * self.size
        return spent / deliveries * 1e6, deliveries / taken, counts.latency


@contextlib.asynccontextmanager
async def full_rooms(contender: Contender, connections: int, size: int) -> AsyncIterator[Rooms]:
    """One client of each room posts."""
    rooms = [f"room-{number}" for number in range(connections // size)]
    async with contextlib.AsyncExitStack() as owned:
        rival = await owned.enter_async_context(contender.start())
        listeners = size - 1 if rival.echoes else size
        listening = [rival.listener(room, member) for room in rooms for member in range(listeners)]
        receivers = await owned.enter_async_context(
            sink(rival.port, listening, path="/ws", answer=rival.answer)
        )
        shouter = await owned.enter_async_context(python("benchmarks.floors.shouter"))
        posters = [rival.poster(room) for room in rooms]
        await shouter.do("connect", port=rival.port, posters=posters, answer=rival.answer)
        yield Rooms(rival, shouter, receivers, size, listeners)


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
        for contender in CONTENDERS:
            try:
                rows.append(await compare(bench, contender, load))
            except Unavailable as reason:
                missing.add(f"{contender.name}: {reason}")
    skipped = "; ".join(sorted(missing))
    return Result(benchmark="rivals", title=TITLE, rows=tuple(rows), skipped=skipped)


async def compare(bench: Bench, contender: Contender, load: Load) -> Row:
    seconds = bench.of(2.5, 0.5)
    async with (
        full_rooms(contender, load.connections, load.room) as theirs,
        floor(load.room, frame_bytes()) as bare,
    ):
        rate = load.rate or await saturating(theirs, seconds / 2)
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
            what=f"{contender.name}: {load.name}",
            against="C loop, one send() a socket",
            subject=micros,
            floor=least,
            ratio=micros.per(least),
            also={"p99 delivery": p99},
            note=contender.promise,
        )
    possible = Figure("deliveries/s", tuple(1e6 / sample[0] for sample in samples["floor"]))
    return Row(
        what=f"{contender.name}: {load.name}",
        against="C loop, one send() a socket: what one core of processor time gives",
        subject=speed,
        floor=possible,
        ratio=speed.per(possible),
        also={"CPU": micros, "p99 delivery": p99},
        note=contender.promise,
    )


async def saturating(theirs: Rooms, seconds: float) -> float:
    """Messages a second that one core of theirs can show to everybody, by what a message costs it when it is busy."""
    rate = 20.0
    for _ in range(4):
        found = rate

        async def one(found: float = found) -> FloorSample:
            return await theirs.run(found, seconds)

        micros, _, _ = await patiently(one)
        rate = max(1.0, 1e6 / (micros * theirs.size))
        if rate < 1.2 * found:
            break
    return rate
