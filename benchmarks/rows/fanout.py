"""What showing one message to a thousand connections costs: alone, at 200 and at 1,000 messages a second.

The node's processor time a delivery, against a C loop of one send() for each socket at the same rate, with the same
receivers. Beside the thousand, the same messages are posted into a channel of which the poster is the only member:
what the node spends then is what a message costs before anybody else is shown it (the log client's share, numbering, the
answer, and what the node does anyway).
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from benchmarks.core.bench import GENEROUS, Bench
from benchmarks.core.figures import Figure, Latencies
from benchmarks.core.floor import Floor, FloorSample, floor
from benchmarks.core.population import populate
from benchmarks.core.results import Result, Row, Target
from benchmarks.core.rounds import Spoiled, patiently
from benchmarks.core.sink import Sink, sink
from benchmarks.core.speakers import Speakers, speakers
from benchmarks.core.usage import cpu_seconds
from channel_server.core.compose import event_frame
from services.contract.ids import new_entity_id, new_event_id

TITLE = "Fan-out to 1,000 subscribers of one channel"

TEXT = 300
SPEAKERS = 10


def frame_bytes(text: int = TEXT) -> int:
    """Of an event frame that shows a message of so many characters."""
    body = b'{"type":"message.posted","text":"%b"}' % (b"x" * text)
    return len(
        event_frame(new_entity_id("ch"), 12345, new_event_id(), new_entity_id("usr"), 1_700_000_000_000, body)
    )


@dataclass(frozen=True)
class Sample:
    """Of one round: microseconds of the server's processor time a delivery and a message, and how it went."""

    micros: float
    per_message: float
    rate: float
    deliveries_per_second: float
    cores: float
    latency: Latencies


class Fanout:
    """A node, a sink and a few speakers, all members of `channel`; only the first speaker is one of `alone`."""

    def __init__(
        self,
        pid: int,
        channel: str,
        alone: str,
        receivers: Sink,
        talkers: Speakers,
        members: int,
        speakers: int = SPEAKERS,
    ) -> None:
        self._pid = pid
        self._channel = channel
        self._alone = alone
        self._sink = receivers
        self._speakers = talkers
        self._members = members
        self._talking = speakers

    async def shown(self, rate: float, seconds: float) -> Sample:
        """Messages to everybody; raises ValueError when anything was lost."""
        await self._sink.counts(reset=True)
        before = cpu_seconds(self._pid)
        talk = await self._speakers.talk([[self._channel]] * self._talking, rate, seconds, TEXT)
        expected = talk.sent * (self._members - self._talking)
        counts = await self._sink.received(expected)
        spent = cpu_seconds(self._pid) - before
        if counts.frames < expected or talk.refused or talk.unanswered:
            await self._sink.quiet()  # nothing of this round may be counted in the next
        talk.must_be_whole()
        if counts.frames < expected or counts.closed:
            raise Spoiled(f"{expected} deliveries, {counts.frames} came, {counts.closed} connections closed")
        deliveries = talk.sent * self._members
        return Sample(
            micros=spent / deliveries * 1e6,
            per_message=spent / talk.sent * 1e6,
            rate=talk.rate,
            deliveries_per_second=deliveries / talk.seconds,
            cores=spent / talk.seconds,
            latency=counts.latency,
        )

    async def nothing(self, seconds: float) -> float:
        """Milliseconds of processor time that the node uses in a second in which nobody says anything."""
        before = cpu_seconds(self._pid)
        await asyncio.sleep(seconds)
        return (cpu_seconds(self._pid) - before) / seconds * 1000

    async def unshown(self, rate: float, seconds: float) -> float:
        """The same to nobody else: microseconds a message."""
        before = cpu_seconds(self._pid)
        talk = await self._speakers.talk([[self._alone]], rate, seconds, TEXT)
        spent = cpu_seconds(self._pid) - before
        talk.must_be_whole()
        return spent / talk.sent * 1e6


async def run(bench: Bench) -> Result:
    members = bench.of(1000, 100)
    rates = [20.0, 200.0, 1000.0]
    rows: list[Row] = []
    async with bench.cell() as cell:
        everybody = range(members)
        crowd = await populate(cell, members, [everybody, [0]])
        (node,) = await cell.nodes("node-1", **GENEROUS)
        talking, listening = crowd.people[:SPEAKERS], crowd.people[SPEAKERS:]
        async with (
            speakers(node.websocket, crowd.tokens(talking)) as talkers,
            sink(node.port, crowd.first_messages(listening)) as receivers,
            floor(members, frame_bytes()) as bare,
        ):
            channel, alone = crowd.channels
            fanout = Fanout(node.process.pid, channel, alone, receivers, talkers, members)
            await patiently(lambda: fanout.shown(20, bench.of(2, 0.5)))  # to warm up
            await receivers.quiet()
            for rate in rates:
                rows.append(await at_rate(bench, fanout, bare, rate))
    return Result(benchmark="fanout", title=TITLE, rows=tuple(rows))


class Rounds:
    """Rounds of the node, of the node without anybody to show it to, and of the floor, at one rate."""

    def __init__(self) -> None:
        self.ours: list[Sample] = []
        self.alone: list[float] = []
        self.floors: list[FloorSample] = []
        self.idle: list[float] = []


async def at_rate(bench: Bench, fanout: Fanout, bare: Floor, rate: float) -> Row:
    """At the highest rate, from `rate` on down, of which every round is completed."""
    seconds = bench.of(4.0 if rate < 100 else 2.0, 0.5)
    top = rate
    while True:
        try:
            return row_of(rate, await rounds_at(bench, fanout, bare, top, seconds))
        except Spoiled:
            top = round(top * 0.8)
            if top < 10:
                raise


async def rounds_at(bench: Bench, fanout: Fanout, bare: Floor, rate: float, seconds: float) -> Rounds:
    """Raises Spoiled when one of them cannot be completed at this rate."""
    rounds = Rounds()

    async def shown() -> None:
        rounds.ours.append(await fanout.shown(rate, seconds))

    async def unshown() -> None:
        rounds.alone.append(await fanout.unshown(rate, seconds))

    async def least() -> None:
        rounds.floors.append(await bare.run(rate, seconds))

    async def nothing() -> None:
        rounds.idle.append(await fanout.nothing(seconds / 2))

    await bench.interleaved({"shown": shown, "unshown": unshown, "floor": least, "idle": nothing})
    return rounds


def row_of(rate: float, rounds: Rounds) -> Row:
    ours, alone, floors = rounds.ours, rounds.alone, rounds.floors
    whole = Figure("us CPU/delivery", tuple(sample.micros for sample in ours))
    floor_figure = Figure("us CPU/delivery", tuple(micros for micros, _, _ in floors))
    members = round(ours[0].per_message / ours[0].micros)
    share = Figure("us CPU/message", tuple(alone))
    shown_only = whole.minus(share.scaled(1 / members, "us CPU/delivery"))
    also = {
        "before anybody is shown it": share,
        "when nobody says anything": Figure("ms CPU/s", tuple(rounds.idle)),
        "showing alone": shown_only,
        "showing alone, ratio": shown_only.per(floor_figure),
        "p50 delivery": Figure("ms", tuple(sample.latency.ms(50) for sample in ours)),
        "p99 delivery": Figure("ms", tuple(sample.latency.ms(99) for sample in ours)),
        "p99 delivery, floor": Figure("ms", tuple(latency.ms(99) for _, _, latency in floors)),
        "rate reached": Figure("messages/s", tuple(sample.rate for sample in ours)),
        "node": Figure("cores", tuple(sample.cores for sample in ours)),
    }
    targets: tuple[Target, ...]
    if rate < 100:
        words = "showing alone <= 1.3x the floor, the log client apart"
        targets = (Target("showing alone, ratio", "<=", 1.3, words),)
    else:
        bound = 0.6 if rate == 200 else 0.15
        targets = (
            Target("ratio", "<=", bound, f"<= {bound}x"),
            Target("p99 delivery", "<=", 50, "p99 delivery <= 50 ms"),
        )
    return Row(
        what=f"fan-out, {rate:,.0f} messages/s of {TEXT} bytes to {members:,} subscribers",
        against="C loop, one send() a socket, same rate and receivers",
        subject=whole,
        floor=floor_figure,
        ratio=whole.per(floor_figure),
        also=also,
        targets=targets,
    )
