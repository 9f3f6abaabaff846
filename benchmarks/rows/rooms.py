"""Many small channels: 2,000 connections in 200 channels of ten, at 200 and 2,000 messages a second."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.core.bench import GENEROUS, Bench
from benchmarks.core.figures import Figure
from benchmarks.core.floor import floor
from benchmarks.core.population import populate
from benchmarks.core.results import Result, Row, Target
from benchmarks.core.rounds import Spoiled, patiently
from benchmarks.core.sink import Sink, sink
from benchmarks.core.speakers import Speakers, speakers
from benchmarks.core.usage import cpu_seconds
from benchmarks.rows.fanout import TEXT, frame_bytes

TITLE = "Many small channels"

ROOM = 10
BOUNDS = {200.0: 66.0, 2000.0: 24.0}
"""Microseconds of processor time a delivery, by messages a second."""


@dataclass(frozen=True)
class Sample:
    micros: float
    p50: float
    p99: float
    rate: float


async def run(bench: Bench) -> Result:
    """One of each ten speaks and nine listen."""
    rooms = bench.of(200, 20)
    rows: list[Row] = []
    async with bench.cell() as cell:
        people = rooms * ROOM
        crowd = await populate(cell, people, [range(room * ROOM, (room + 1) * ROOM) for room in range(rooms)])
        (node,) = await cell.nodes("node-1", **GENEROUS)
        listening = [person for place, person in enumerate(crowd.people) if place % ROOM]
        async with (
            speakers(node.websocket, crowd.tokens(crowd.people[::ROOM])) as talkers,
            sink(node.port, crowd.first_messages(listening), probe_every=4) as receivers,
            floor(ROOM, frame_bytes()) as bare,
        ):
            channels = [[channel] for channel in crowd.channels]
            pid = node.process.pid
            await patiently(lambda: one(pid, talkers, receivers, channels, 100, bench.of(2, 0.5)))
            for rate, bound in BOUNDS.items():
                seconds = bench.of(4.0, 0.5)

                async def ours(rate: float = rate, seconds: float = seconds) -> Sample:
                    return await one(pid, talkers, receivers, channels, rate, seconds)

                async def least(rate: float = rate, seconds: float = seconds) -> Sample:
                    micros, deliveries, latency = await bare.run(rate, seconds)
                    return Sample(micros, latency.ms(50), latency.ms(99), deliveries / ROOM)

                samples = await bench.interleaved({"ours": ours, "floor": least})
                rows.append(row_of(people, rooms, rate, bound, samples["ours"], samples["floor"]))
    return Result(benchmark="rooms", title=TITLE, rows=tuple(rows))


async def one(
    pid: int, talkers: Speakers, receivers: Sink, channels: list[list[str]], rate: float, seconds: float
) -> Sample:
    await receivers.counts(reset=True)
    before = cpu_seconds(pid)
    talk = await talkers.talk(channels, rate, seconds, TEXT)
    expected = talk.sent * (ROOM - 1)
    counts = await receivers.received(expected)
    spent = cpu_seconds(pid) - before
    talk.must_be_whole()
    if counts.frames < expected or counts.closed:
        raise Spoiled(f"{expected} deliveries, {counts.frames} came, {counts.closed} connections closed")
    return Sample(spent / (talk.sent * ROOM) * 1e6, counts.latency.ms(50), counts.latency.ms(99), talk.rate)


def row_of(
    people: int, rooms: int, rate: float, bound: float, ours: list[Sample], floors: list[Sample]
) -> Row:
    micros = Figure("us CPU/delivery", tuple(sample.micros for sample in ours))
    least = Figure("us CPU/delivery", tuple(sample.micros for sample in floors))
    return Row(
        what=f"{people:,} connections in {rooms} channels of {ROOM}, {rate:,.0f} messages/s in all",
        against="C loop, one send() a socket, ten sockets",
        subject=micros,
        floor=least,
        ratio=micros.per(least),
        also={
            "CPU a message": micros.scaled(ROOM, "us CPU/message"),
            "p50 delivery": Figure("ms", tuple(sample.p50 for sample in ours)),
            "p99 delivery": Figure("ms", tuple(sample.p99 for sample in ours)),
            "rate reached": Figure("messages/s", tuple(sample.rate for sample in ours)),
        },
        targets=(Target("subject", "<=", bound, f"<= {bound:.0f} us CPU a delivery"),),
    )
