"""Cost against size: what grows with members, messages, channels and connections, and what stays flat."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial

from benchmarks.core.bench import GENEROUS, Bench
from benchmarks.core.figures import Figure
from benchmarks.core.population import populate
from benchmarks.core.results import Curve, Result
from benchmarks.core.rounds import Spoiled, patiently
from benchmarks.core.sink import Sink, sink
from benchmarks.core.speakers import Speakers, speakers
from benchmarks.core.usage import cpu_seconds

TITLE = "Cost against size"

MEMBERS = (10, 30, 100, 300, 1_000, 3_000)
RATES = (10, 30, 100, 300, 1_000, 3_000)
CHANNELS = (10, 100, 1_000, 10_000)
CONNECTIONS = (100, 1_000, 3_000, 10_000)
RATE = 50.0


class Place:
    """A node with its clients: a speaker in each of `channels`, and listeners."""

    def __init__(self, pid: int, talkers: Speakers, receivers: Sink, channels: Sequence[str]) -> None:
        self.pid = pid
        self.talkers = talkers
        self.receivers = receivers
        self.channels = channels

    async def message(self, rate: float, seconds: float, listeners: int) -> float:
        """Microseconds of the node's processor time for a message, shown to its poster and so many more."""
        await self.receivers.counts(reset=True)
        before = cpu_seconds(self.pid)
        talk = await self.talkers.talk([list(self.channels)], rate, seconds)
        counts = await self.receivers.received(talk.sent * listeners)
        spent = cpu_seconds(self.pid) - before
        talk.must_be_whole()
        if counts.frames < talk.sent * listeners:
            raise Spoiled(f"{counts.frames} of {talk.sent * listeners} deliveries came")
        return spent / talk.sent * 1e6


@contextlib.asynccontextmanager
async def place(
    bench: Bench, people: int, channels: Sequence[Sequence[int]], spoken: Sequence[int]
) -> AsyncIterator[Place]:
    """Person 0 speaks, in those channels whose places `spoken` names; all others listen."""
    async with bench.cell() as cell:
        crowd = await populate(cell, people, channels)
        (node,) = await cell.nodes("node-1", **GENEROUS)
        async with (
            speakers(node.websocket, crowd.tokens(crowd.people[:1])) as talkers,
            sink(node.port, crowd.first_messages(crowd.people[1:]), probe_every=0) as receivers,
        ):
            here = Place(node.process.pid, talkers, receivers, [crowd.channels[each] for each in spoken])
            await patiently(lambda: here.message(RATE, bench.of(1.0, 0.2), len(channels[spoken[0]]) - 1))
            yield here


async def measured(bench: Bench, way: Callable[[], Awaitable[float]], unit: str = "us CPU/message") -> Figure:
    return Figure(unit, tuple([await patiently(way) for _ in range(bench.rounds)]))


async def run(bench: Bench) -> Result:
    seconds = bench.of(1.5, 0.3)
    curves = [
        await by_members(bench, bench.of(MEMBERS, MEMBERS[:2]), seconds),
        await by_rate(bench, bench.of(RATES, RATES[:2]), seconds),
        await by_channels(bench, bench.of(CHANNELS, CHANNELS[:2]), seconds),
        await by_connections(bench, bench.of(CONNECTIONS, CONNECTIONS[:1]), seconds),
    ]
    return Result(benchmark="curves", title=TITLE, curves=tuple(curves))


async def by_members(bench: Bench, sizes: Sequence[int], seconds: float) -> Curve:
    """One channel for each size, all members connected to one node."""
    costs: list[Figure] = []
    async with place_of_rooms(bench, sizes) as (rooms, largest):
        for room, size in zip(rooms, sizes, strict=True):
            assert size <= largest
            costs.append(await measured(bench, partial(room.message, RATE, seconds, size - 1)))
    each = tuple(cost.scaled(1 / size, "us CPU/delivery") for cost, size in zip(costs, sizes, strict=True))
    return Curve(
        title=f"A message to a channel, {RATE:.0f} a second, by its members",
        x="members connected",
        y="us CPU a delivery",
        points=tuple(float(size) for size in sizes),
        lines={"a delivery": each},
    )


@contextlib.asynccontextmanager
async def place_of_rooms(bench: Bench, sizes: Sequence[int]) -> AsyncIterator[tuple[list[Place], int]]:
    """A node with one room of each size; the first person is in all of them."""
    largest = max(sizes)
    rooms = [range(size) for size in sizes]
    async with place(bench, largest, rooms, list(range(len(sizes)))) as whole:
        yield (
            [Place(whole.pid, whole.talkers, whole.receivers, [channel]) for channel in whole.channels],
            largest,
        )


async def by_rate(bench: Bench, rates: Sequence[int], seconds: float) -> Curve:
    async with place(bench, 100, [range(100)], [0]) as here:
        costs = [await measured(bench, partial(here.message, rate, seconds, 99)) for rate in rates]
    return Curve(
        title="A message to a channel of 100, by messages a second",
        x="messages a second",
        y="us CPU a delivery",
        points=tuple(float(rate) for rate in rates),
        lines={"a delivery": tuple(cost.scaled(1 / 100, "us CPU/delivery") for cost in costs)},
    )


async def by_channels(bench: Bench, counts: Sequence[int], seconds: float) -> Curve:
    """Ten people in so many channels; messages go into all of them in turn."""
    costs: list[Figure] = []
    for count in counts:
        async with place(bench, 10, [range(10)] * count, list(range(count))) as here:
            costs.append(await measured(bench, partial(here.message, RATE, seconds, 9)))
    return Curve(
        title=f"A message to a channel of 10, {RATE:.0f} a second, by the channels of everybody",
        x="channels joined by each",
        y="us CPU a message",
        points=tuple(float(count) for count in counts),
        lines={"a message": tuple(costs)},
    )


async def by_connections(bench: Bench, counts: Sequence[int], seconds: float) -> Curve:
    """A channel of ten among so many idle connections, each in a channel of its own ten."""
    costs: list[Figure] = []
    for count in counts:
        rooms = [range(begin, min(begin + 10, count)) for begin in range(0, count, 10)]
        async with place(bench, count, rooms, [0]) as here:
            costs.append(await measured(bench, partial(here.message, RATE, seconds, 9)))
    return Curve(
        title=f"A message to a channel of 10, {RATE:.0f} a second, by idle connections beside it",
        x="connections",
        y="us CPU a message",
        points=tuple(float(count) for count in counts),
        lines={"a message": tuple(costs)},
    )
