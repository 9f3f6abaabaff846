"""From a client's send to its acknowledgement, against bare aiokafka: produce a record and see it in the tail."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.core.agent import Agent, python
from benchmarks.core.bench import GENEROUS, Bench
from benchmarks.core.figures import Figure, Latencies
from benchmarks.core.population import populate
from benchmarks.core.results import Result, Row, Target
from benchmarks.core.rounds import Spoiled, patiently
from benchmarks.core.sink import sink
from benchmarks.core.speakers import Speakers, speakers
from benchmarks.core.usage import cpu_seconds

TITLE = "Send to acknowledgement"

TEXT = 300
CLIENTS = 20
RATES = (50.0, 500.0, 2_000.0, 10_000.0)


@dataclass(frozen=True)
class Sample:
    p50: float
    p99: float
    micros: float
    rate: float


async def run(bench: Bench) -> Result:
    """Twenty clients, each in a channel of its own with one more listener: a message is shown to two. The listeners are a
    C program, so that reading what the others get does not keep the clients from their answers."""
    rows: list[Row] = []
    async with bench.cell() as cell:
        members = [[place, CLIENTS + place] for place in range(CLIENTS)]
        crowd = await populate(cell, 2 * CLIENTS, members)
        (node,) = await cell.nodes("node-1", **GENEROUS)
        async with (
            python("benchmarks.floors.log", cell.kafka) as bare,
            speakers(node.websocket, crowd.tokens(crowd.people[:CLIENTS])) as talkers,
            sink(node.port, crowd.first_messages(crowd.people[CLIENTS:])),
        ):
            await bare.hear()
            channels = [[channel] for channel in crowd.channels]
            pid = node.process.pid
            await patiently(lambda: ours(talkers, pid, channels, 200, bench.of(2, 0.5)))
            await patiently(lambda: floors(bare, 200, bench.of(2, 0.5)))
            for rate in RATES:
                seconds = bench.of(6.0 if rate < 100 else 3.0, 0.5)

                async def one(rate: float = rate, seconds: float = seconds) -> Sample:
                    return await ours(talkers, pid, channels, rate, seconds)

                async def other(rate: float = rate, seconds: float = seconds) -> Sample:
                    return await floors(bare, rate, seconds)

                samples = await bench.interleaved({"ours": one, "floor": other})
                rows.append(row_of(rate, samples["ours"], samples["floor"]))
    return Result(benchmark="ack", title=TITLE, rows=tuple(rows))


async def ours(talkers: Speakers, pid: int, channels: list[list[str]], rate: float, seconds: float) -> Sample:
    before = cpu_seconds(pid)
    talk = await talkers.talk(channels, rate, seconds, TEXT)
    spent = cpu_seconds(pid) - before
    talk.must_be_whole()
    return Sample(talk.ack.ms(50), talk.ack.ms(99), spent / talk.sent * 1e6, talk.rate)


async def floors(bare: Agent, rate: float, seconds: float) -> Sample:
    before = cpu_seconds(bare.pid)
    answer = await bare.do("run", rate=rate, seconds=seconds, size=TEXT)
    spent = cpu_seconds(bare.pid) - before
    if answer["unanswered"]:
        raise Spoiled(f"bare aiokafka left {answer['unanswered']} of {answer['sent']} unseen")
    latency = Latencies((float(micros), count) for micros, count in answer["acks"])
    return Sample(
        latency.ms(50), latency.ms(99), spent / answer["sent"] * 1e6, answer["sent"] / answer["seconds"]
    )


def row_of(rate: float, ours: list[Sample], floor: list[Sample]) -> Row:
    def of(unit: str, samples: list[Sample], name: str) -> Figure:
        return Figure(unit, tuple(getattr(sample, name) for sample in samples))

    p50, bare_p50 = of("ms", ours, "p50"), of("ms", floor, "p50")
    p99, bare_p99 = of("ms", ours, "p99"), of("ms", floor, "p99")
    cpu, bare_cpu = of("us CPU/message", ours, "micros"), of("us CPU/message", floor, "micros")
    return Row(
        what=f"send to ack at {rate:,.0f} messages/s: p50",
        against="bare aiokafka, produce to tail",
        subject=p50,
        floor=bare_p50,
        ratio=p50.per(bare_p50),
        also={
            "p99": p99,
            "p99, floor": bare_p99,
            "p99, ratio": p99.per(bare_p99),
            "CPU": cpu,
            "CPU, floor": bare_cpu,
            "added work": cpu.minus(bare_cpu),
            "rate reached": of("messages/s", ours, "rate"),
            "rate reached, floor": of("messages/s", floor, "rate"),
        },
        targets=(
            Target("ratio", "<=", 1.5, "p50 <= 1.5x"),
            Target("p99, ratio", "<=", 2.0, "p99 <= 2x"),
            Target("added work", "<=", 150.0, "added work <= 150 us CPU a message"),
        ),
    )
