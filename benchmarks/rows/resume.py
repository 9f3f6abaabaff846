"""A storm of clients that come back: 5,000 in 5 channels each, 20 events behind, against picows and one EdDSA check."""

from __future__ import annotations

import tempfile
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from benchmarks.core.agent import python
from benchmarks.core.appending import append_each, in_turn
from benchmarks.core.bench import GENEROUS, Bench
from benchmarks.core.figures import Figure
from benchmarks.core.population import Population, populate
from benchmarks.core.results import Result, Row, Target
from benchmarks.core.rounds import Spoiled
from benchmarks.core.sink import sink
from benchmarks.core.usage import cpu_seconds, settled

TITLE = "A storm of resuming clients"

JOINED = 5
BEHIND = 4
"""Events in each channel."""
ROOM = 25


async def run(bench: Bench) -> Result:
    clients = bench.of(5_000, 200)
    rooms = clients * JOINED // ROOM
    async with bench.cell() as cell:
        members = [[(room * ROOM + place) % clients for place in range(ROOM)] for room in range(rooms)]
        crowd = await populate(cell, clients, members)
        posts = in_turn(crowd.channels, [crowd.people[0].id], rooms * (BEHIND + 1))
        await append_each(cell.kafka, cell.generation, posts)
        (node,) = await cell.nodes("node-1", **GENEROUS)
        first = crowd.first_messages(crowd.people, standing(crowd, members))
        with tempfile.NamedTemporaryFile("wb", suffix=".pem") as key:
            public = cell.key.public_key()
            key.write(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
            key.flush()
            async with python("benchmarks.floors.websocket", str(Path(key.name))) as bare:
                bare_port = (await bare.hear())["port"]
                samples = await bench.interleaved(
                    {
                        "ours": lambda: storm(
                            node.process.pid, node.port, "/v1/websocket", first, JOINED * BEHIND
                        ),
                        "floor": lambda: storm(bare.pid, bare_port, "/", first, 0),
                    }
                )
    cpu = Figure("us CPU/resume", tuple(samples["ours"]))
    floor = Figure("us CPU/resume", tuple(samples["floor"]))
    row = Row(
        what=f"{clients:,} clients resume in {JOINED} channels each, {JOINED * BEHIND} events behind in total",
        against="picows handshake, one EdDSA check and an answer",
        subject=cpu,
        floor=floor,
        ratio=cpu.per(floor),
        targets=(Target("ratio", "<=", 2.0, "<= 2x CPU, zero queries"),),
        note="Zero queries: a channel server has no connection to PostgreSQL. Both figures include the disconnecting.",
    )
    return Result(benchmark="resume", title=TITLE, rows=(row,))


def standing(crowd: Population, members: list[list[int]]) -> list[dict[str, int]]:
    """Where each person's view stands: `BEHIND` events short of each channel's head."""
    where: list[dict[str, int]] = [{} for _ in crowd.people]
    for channel, places in zip(crowd.channels, members, strict=True):
        for place in places:
            where[place][channel] = 1
    return where


async def storm(pid: int, port: int, path: str, first: list[str], events: int) -> float:
    """Microseconds a client: everybody connects, is brought up to date, and leaves."""
    before = cpu_seconds(pid)
    async with sink(port, first, path=path, probe_every=0) as clients:
        counts = await clients.received(len(first) * events)
        if counts.frames < len(first) * events:
            raise Spoiled(f"{counts.frames} of {len(first) * events} events were replayed")
    await settled(pid)
    return (cpu_seconds(pid) - before) / len(first) * 1e6
