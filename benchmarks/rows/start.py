"""The start of a node: half a million records to replay and a million memberships, against bare aiokafka reading them."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass

import httpx

from benchmarks.core.agent import python
from benchmarks.core.appending import append_each, in_turn
from benchmarks.core.bench import GENEROUS, Bench
from benchmarks.core.figures import Figure
from benchmarks.core.population import populate
from benchmarks.core.results import Result, Row, Target
from benchmarks.core.sink import sink
from benchmarks.core.usage import cpu_seconds, own_bytes, settled
from tests.stack.process import Process
from tests.system.channel_server.cell import Cell

TITLE = "The start of a node"

JOINED = 100
"""Memberships of each person."""


@dataclass(frozen=True)
class Sample:
    seconds: float
    cpu: float
    megabytes: float


async def run(bench: Bench) -> Result:
    records, memberships = bench.of(500_000, 5_000), bench.of(1_000_000, 10_000)
    people = memberships // JOINED
    names = (f"node-{number}" for number in itertools.count(1))
    async with bench.cell() as cell:
        empty = await start(cell, next(names))
        members = [[(room * JOINED + place) % people for place in range(JOINED)] for room in range(people)]
        crowd = await populate(cell, people, members)
        without_events = await start(cell, next(names))
        senders = [person.id for person in crowd.people]
        await append_each(cell.kafka, cell.generation, in_turn(crowd.channels, senders, records))

        async def ours() -> Sample:
            return await start(cell, next(names))

        async def floor() -> Sample:
            generation = cell.generation
            topics = (f"{generation.events_topic}:{generation.partitions}", f"{generation.directory_topic}:1")
            async with python("benchmarks.floors.read", cell.kafka, *topics) as reading:
                answer = await reading.hear(600.0)
            return Sample(answer["seconds"], answer["cpu"], 0.0)

        samples = await bench.interleaved({"ours": ours, "floor": floor})
    async with bench.cell(retry_ms=1_000, future_ms=1_000) as cell:
        heads = await per_head(cell, names, bench.of(200_000, 2_000))
    async with bench.cell() as cell:
        session = await per_session(cell, names, bench.of(10_000, 400))
    seconds = Figure("s", tuple(sample.seconds for sample in samples["ours"]))
    least = Figure("s", tuple(sample.seconds for sample in samples["floor"]))
    cpu = Figure("CPU s", tuple(sample.cpu - empty.cpu for sample in samples["ours"]))
    least_cpu = Figure("CPU s", tuple(sample.cpu for sample in samples["floor"]))
    per_membership = (without_events.megabytes - empty.megabytes) * 2**20 / memberships
    row = Row(
        what=f"node start: {records:,} records to replay, {memberships:,} memberships in the directory",
        against="bare aiokafka reads the same topics",
        subject=seconds,
        floor=least,
        ratio=seconds.per(least),
        also={
            "processor time": cpu,
            "processor time, floor": least_cpu,
            "processor time, ratio": cpu.per(least_cpu),
            "start with the directory alone": Figure("s", (without_events.seconds,)),
            "memory of a membership": Figure("bytes", (per_membership,)),
            "memory of a head": Figure("bytes", (heads,)),
            "memory of a session at another node": Figure("bytes", (session,)),
            "memberships that fit into a GiB": Figure("memberships", (2**30 / per_membership,)),
            "channels that fit into a GiB, heads alone": Figure("channels", (2**30 / heads,)),
            "sessions of the cell that fit into a GiB": Figure("sessions", (2**30 / session,)),
            "node, whole": Figure("MiB", tuple(sample.megabytes for sample in samples["ours"])),
        },
        targets=(Target("ratio", "<=", 2.0, "<= 2x"),),
        note=f"Each person is a member of {JOINED} channels; of a membership's bytes, a hundredth of a person is part."
        " Seconds are from the node's connecting to the end of its replay; processor time is without that of an empty node's start.",
    )
    return Result(benchmark="start", title=TITLE, rows=(row,))


async def start(cell: Cell, name: str, **settings: str) -> Sample:
    """A node started, looked at, and ended."""
    options = {**GENEROUS, "log_level": "info", **settings}
    (node,) = cell.new_nodes(name, **options)
    node.process.spawn()
    try:
        await node.process.wait_ready(300.0)
        pid = node.process.pid
        return Sample(replay_seconds(node.process), cpu_seconds(pid), own_bytes(pid) / 2**20)
    finally:
        await node.process.destroy()


def replay_seconds(process: Process) -> float:
    """What the node itself says of its replay."""
    for line in reversed(process.log.read_text("utf-8").splitlines()):
        if '"replayed"' in line:
            return float(json.loads(line)["seconds"])
    raise ValueError(f"{process.name} did not say how long its replay took")


async def per_head(cell: Cell, names: Iterator[str], channels: int) -> float:
    """Bytes for each channel that has an event: a log with a short dedupe window, a node with next to no ring."""
    await populate(cell, 1, [])
    before = await start(cell, next(names), ring_bytes="1024")
    crowd = await populate(cell, 1, [])
    generated = (f"ch_{number:032x}" for number in range(channels))
    await append_each(
        cell.kafka, cell.generation, ((each, crowd.people[0].id) for each in generated), text=10
    )
    after = await start(cell, next(names), ring_bytes="1024")
    return (after.megabytes - before.megabytes) * 2**20 / channels


async def per_session(cell: Cell, names: Iterator[str], sessions: int) -> float:
    """Bytes at a node for each person who is connected to another one."""
    crowd = await populate(cell, sessions, [])
    here, there = await cell.nodes(next(names), next(names), **GENEROUS)
    before = own_bytes(here.process.pid)
    async with (
        sink(there.port, crowd.first_messages(crowd.people), probe_every=0),
        httpx.AsyncClient(base_url=here.internal, trust_env=False) as http,
        asyncio.timeout(60),
    ):
        people = f"lockstep_node_registry_people {sessions:.1f}"
        while people not in (await http.get("/metrics")).text:  # noqa: ASYNC110 - another process's state
            await asyncio.sleep(0.5)
        await settled(here.process.pid)
        after = own_bytes(here.process.pid)
    return (after - before) / sessions
