"""Where the time of one message goes: what a client waits for, step by step, and what the node's processor does."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import httpx
from aiokafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder
from msgspec.structs import replace
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.core.bench import GENEROUS, Bench
from benchmarks.core.figures import Figure
from benchmarks.core.population import populate
from benchmarks.core.results import Result, Row
from benchmarks.core.rounds import patiently
from benchmarks.core.speakers import Talk, speakers
from benchmarks.core.usage import cpu_seconds
from channel_server.core.compose import event_frame
from services.contract.envelope import encode_envelope
from services.contract.events import MessagePosted, encode_event, shown_body
from services.contract.frames import decode_client_frame
from services.contract.generation import Generation
from services.contract.ids import new_entity_id, new_event_id
from services.eventlog.records import LogRecord, read_record
from services.eventlog.sequencer import Sequencer
from tests.system.channel_server.cell import Node

TITLE = "Where the time of one message goes"

RATES: Final = (20.0, 500.0, 2_000.0)
MEMBERS = 10
TEXT = "x" * 300


async def run(bench: Bench) -> Result:
    rows: list[Row] = []
    async with bench.cell() as cell:
        crowd = await populate(cell, MEMBERS, [range(MEMBERS)] * 8)
        (node,) = await cell.nodes("node-1", **GENEROUS)
        async with speakers(node.websocket, crowd.tokens(crowd.people)) as talkers:
            channels = [crowd.channels] * MEMBERS

            async def talked(rate: float, seconds: float) -> dict[str, float]:
                before, used = await clocks(node), cpu_seconds(node.process.pid)
                talk = await talkers.talk(channels, rate, seconds)
                talk.must_be_whole()
                return steps(before, await clocks(node), talk, cpu_seconds(node.process.pid) - used)

            await patiently(lambda: talked(100, bench.of(2.0, 0.3)))
            for rate in RATES:
                seconds = bench.of(5.0 if rate < 100 else 2.0, 0.5)
                rounds = [
                    await patiently(lambda rate=rate, seconds=seconds: talked(rate, seconds))  # type: ignore[misc]
                    for _ in range(bench.rounds)
                ]
                rows.append(waiting(rate, rounds))
    rows.append(processor(bench, rounds))
    return Result(benchmark="breakdown", title=TITLE, rows=tuple(rows))


async def clocks(node: Node) -> dict[str, float]:
    """Sums and counts of the node's own histograms, by name."""
    async with httpx.AsyncClient(base_url=node.internal, trust_env=False) as http:
        text = (await http.get("/metrics")).text
    return {
        f"{sample.name} {sample.labels.get('topic', '').partition('.')[0]}".strip(): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name.endswith(("_sum", "_count"))
    }


def steps(before: dict[str, float], after: dict[str, float], talk: Talk, cpu: float) -> dict[str, float]:
    """Means in milliseconds that add up to `whole`, and the node's processor time a message in microseconds."""

    def mean(name: str, topic: str = "") -> float:
        summed, counted = f"{name}_sum {topic}".strip(), f"{name}_count {topic}".strip()
        return (after[summed] - before[summed]) / max(1.0, after[counted] - before[counted]) * 1000

    whole = sum(micros * count for micros, count in talk.acks) / max(1, talk.acknowledged) / 1000
    verdict, append = (
        mean("lockstep_node_verdict_seconds"),
        mean("lockstep_eventlog_append_seconds", "events"),
    )
    return {
        "whole": whole,
        "outside": whole - verdict,
        "verdict": verdict,
        "append": append,
        "tail": verdict - append,
        "cpu": cpu / talk.sent * 1e6,
    }


def waiting(rate: float, rounds: list[dict[str, float]]) -> Row:
    def of(name: str) -> Figure:
        return Figure("ms", tuple(each[name] for each in rounds))

    return Row(
        what=f"a message's way to its acknowledgement at {rate:,.0f} messages/s, mean",
        subject=of("whole"),
        also={
            "sockets and the client: outside the node": of("outside"),
            "produce request to the broker's answer": of("append"),
            "waiting for a batch to go, and for the tail to bring it back": of("tail"),
            "the node's processor": Figure("us CPU/message", tuple(each["cpu"] for each in rounds)),
        },
        note="The three add up. The tail may bring a message back before the produce request is answered.",
    )


def processor(bench: Bench, measured: list[dict[str, float]]) -> Row:
    """Each pure step by itself, many times over; what they leave of the measured sum is the log client's requests,
    the event loop and the kernel's sockets."""
    # Made anew for every round: the sequencer remembers what it has numbered.
    spent = [{name: each(work) for name, work in pure_steps().items()} for _ in range(bench.rounds)]
    parts = {name: Figure("us CPU", tuple(times[name] for times in spent)) for name in spent[0]}
    whole = Figure("us CPU/message", tuple(sample["cpu"] for sample in measured))
    known = tuple(
        sum(figure.rounds[place] for figure in parts.values()) for place in range(len(whole.rounds))
    )
    parts["all of these"] = Figure("us CPU", known)
    rest = tuple(a - b for a, b in zip(whole.rounds, known, strict=True))
    parts["requests to Kafka, event loop, sockets, checks"] = Figure("us CPU", rest)
    return Row(
        what=f"the node's processor for a message at {RATES[-1]:,.0f} messages/s, shown to {MEMBERS}",
        subject=whole,
        also=parts,
        note="Pure steps measured by themselves; the last line is what is left.",
    )


def pure_steps() -> dict[str, Callable[[], object]]:
    generation = Generation(epoch=1)
    channel, sender = new_entity_id("ch"), new_entity_id("usr")
    now = time.time_ns() // 1_000_000
    id = new_event_id(now)
    frame = f'{{"type":"send","channel":"{channel}","id":"{id}","text":"{TEXT}"}}'
    event = MessagePosted(text=TEXT)
    value = encode_event(event)
    header = encode_envelope(channel, sender, id, now)

    def batch() -> bytes:
        builder = DefaultRecordBatchBuilder(
            magic=2,
            compression_type=0,
            is_transactional=0,
            producer_id=1,
            producer_epoch=0,
            base_sequence=0,
            batch_size=16_384,
        )
        builder.append(0, timestamp=now, key=channel.encode(), value=value, headers=[header])
        return bytes(builder.build())

    built = batch()
    partition = next(
        p for p in range(generation.partitions) if read_record(p, 8, 0, now, [header], value).envelope
    )
    record: LogRecord = read_record(partition, 8, 0, now, [header], value)
    envelope = record.envelope
    assert envelope is not None
    fresh = [replace(envelope, id=new_event_id(now)) for _ in range(COUNT)]
    sequencer = Sequencer(generation)
    turn = iter(range(1 << 60))

    def number() -> object:
        at = next(turn)
        return sequencer.apply(at, now, fresh[at % COUNT], record.digest)

    return {
        "reading the send": lambda: decode_client_frame(frame),
        "writing body and envelope": lambda: (
            encode_event(event),
            encode_envelope(channel, sender, id, now),
        ),
        "building a record batch of one": batch,
        "reading a record batch of one": lambda: list(DefaultRecordBatch(bytearray(built))),
        "reading the envelope": lambda: read_record(partition, 8, 0, now, [header], value),
        "numbering": number,
        "framing the event": lambda: event_frame(channel, 1, id, sender, now, shown_body(value)[1]),
    }


COUNT: Final = 5_000


def each(work: Callable[[], object]) -> float:
    """Microseconds of processor time for one."""
    began = time.process_time()
    for _ in range(COUNT):
        work()
    return (time.process_time() - began) / COUNT * 1e6
