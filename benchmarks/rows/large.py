"""What the largest do to others: a channel with 15,000 subscribers on one node, and people with 5,000 channels each."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from benchmarks.core.bench import GENEROUS, Bench
from benchmarks.core.figures import Figure, Latencies
from benchmarks.core.population import populate
from benchmarks.core.results import Result, Row, Target
from benchmarks.core.rounds import Spoiled, patiently
from benchmarks.core.sink import Sink, sink
from benchmarks.core.speakers import Speakers, speakers

TITLE = "Others beside the largest channels and people"

ROOMS = 20
ROOM = 10
RATE = 200.0
BIG_RATE = 2.0


class Others:
    """Small channels in which people talk at a steady rate."""

    def __init__(self, talkers: Speakers, channels: list[str], receivers: Sink) -> None:
        self._talkers = talkers
        self._channels = channels
        self._receivers = receivers

    async def latency(
        self, seconds: float, meanwhile: Callable[[], Awaitable[None]] | None = None
    ) -> Latencies:
        """Of what the others were shown, while something else goes on beside it."""
        await self._receivers.counts(reset=True)
        beside = None if meanwhile is None else asyncio.ensure_future(meanwhile())
        try:
            talk = await self._talkers.talk([[each] for each in self._channels], RATE, seconds)
        finally:
            if beside is not None:
                await beside
        talk.must_be_whole()
        expected = talk.sent * (ROOM - 1)
        counts = await self._receivers.received(expected)
        if counts.frames < expected:
            raise Spoiled(f"{counts.frames} of {expected} deliveries came")
        return counts.latency


async def run(bench: Bench) -> Result:
    return Result(benchmark="large", title=TITLE, rows=(await big_channel(bench), await busy_people(bench)))


def rooms_of(first: int) -> list[range]:
    """The others' channels, when their people begin at this place."""
    return [range(first + room * ROOM, first + (room + 1) * ROOM) for room in range(ROOMS)]


async def big_channel(bench: Bench) -> Row:
    subscribers = bench.of(15_000, 500)
    seconds = bench.of(4.0, 1.0)
    async with bench.cell() as cell:
        total = subscribers + ROOMS * ROOM
        crowd = await populate(cell, total, [range(subscribers), *rooms_of(subscribers)])
        (node,) = await cell.nodes("node-1", **GENEROUS)
        people = crowd.people
        others = people[subscribers:]
        listening = [person for place, person in enumerate(others) if place % ROOM]
        async with (
            speakers(node.websocket, crowd.tokens(others[::ROOM])) as talkers,
            speakers(node.websocket, crowd.tokens(people[:1])) as announcer,
            sink(node.port, crowd.first_messages(listening), probe_every=1) as receivers,
            sink(node.port, crowd.first_messages(people[1:subscribers]), probe_every=0) as crowded,
        ):
            small = Others(talkers, crowd.channels[1:], receivers)
            await patiently(lambda: small.latency(seconds))

            async def announce() -> None:
                talk = await announcer.talk([[crowd.channels[0]]], BIG_RATE, seconds)
                talk.must_be_whole()

            async def beside() -> Latencies:
                await crowded.counts(reset=True)
                latency = await small.latency(seconds, announce)
                await crowded.quiet()
                return latency

            samples = await bench.interleaved({"with": beside, "without": lambda: small.latency(seconds)})
    what = f"others' p99 delivery beside {BIG_RATE:g} messages/s into a channel of {subscribers:,} on the same node"
    return row_of(what, "the same without them", samples["with"], samples["without"])


async def busy_people(bench: Bench) -> Row:
    joined, busy = bench.of(5_000, 200), bench.of(20, 5)
    seconds = bench.of(4.0, 1.0)
    async with bench.cell() as cell:
        total = busy + ROOMS * ROOM
        crowd = await populate(cell, total, [*rooms_of(busy), *[range(busy)] * joined])
        (node,) = await cell.nodes("node-1", **GENEROUS)
        others = crowd.people[busy:]
        listening = [person for place, person in enumerate(others) if place % ROOM]
        first = crowd.first_messages(crowd.people[:busy])
        async with (
            speakers(node.websocket, crowd.tokens(others[::ROOM])) as talkers,
            speakers(node.websocket, crowd.tokens(crowd.people[:1])) as announcer,
            sink(node.port, crowd.first_messages(listening), probe_every=1) as receivers,
        ):
            small = Others(talkers, crowd.channels[:ROOMS], receivers)
            await patiently(lambda: small.latency(seconds))

            async def come_and_go() -> None:
                """They connect, one of them talks in all of their channels in turn, and they leave."""
                async with sink(node.port, first, probe_every=0) as clients:
                    talk = await announcer.talk([crowd.channels[ROOMS:]], RATE, seconds / 2)
                    talk.must_be_whole()
                    await clients.received(talk.sent * busy)

            samples = await bench.interleaved(
                {
                    "with": lambda: small.latency(seconds, come_and_go),
                    "without": lambda: small.latency(seconds),
                }
            )
    what = f"others' p99 delivery while {busy} people with {joined:,} channels each connect, talk and leave"
    return row_of(what, "the same without them", samples["with"], samples["without"])


def row_of(what: str, against: str, beside: list[Latencies], alone: list[Latencies]) -> Row:
    p99 = Figure("ms", tuple(each.ms(99) for each in beside))
    floor = Figure("ms", tuple(each.ms(99) for each in alone))
    return Row(
        what=what,
        against=against,
        subject=p99,
        floor=floor,
        ratio=p99.per(floor),
        also={
            "p50": Figure("ms", tuple(each.ms(50) for each in beside)),
            "p50, without": Figure("ms", tuple(each.ms(50) for each in alone)),
        },
        targets=(Target("ratio", "<=", 1.5, "<= 1.5x"),),
    )
