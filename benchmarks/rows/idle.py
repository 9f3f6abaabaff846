"""What an idle connection costs in memory, with ten channels joined, against a bare picows listener."""

from __future__ import annotations

import contextlib
import gc
import itertools

from benchmarks.core.agent import python
from benchmarks.core.bench import GENEROUS, Bench
from benchmarks.core.figures import Figure
from benchmarks.core.population import Population, populate
from benchmarks.core.results import Result, Row, Target
from benchmarks.core.sink import sink
from benchmarks.core.usage import own_bytes

TITLE = "Memory of idle connections"

JOINED = 10
ROOM = 100
"""Members of each channel."""


async def run(bench: Bench) -> Result:
    connections = bench.of(10_000, 400)
    channels = connections * JOINED // ROOM
    async with bench.cell() as cell:
        members = [[(room * ROOM + place) % connections for place in range(ROOM)] for room in range(channels)]
        crowd = await populate(cell, connections, members)
        gc.collect()
        names = (f"node-{number}" for number in itertools.count(1))
        samples = await bench.interleaved(
            {
                "ours": lambda: ours(crowd, next(names), connections),
                "bare": lambda: bare(connections),
            }
        )
    each = Figure("KiB/connection", tuple(samples["ours"]))
    floor = Figure("KiB/connection", tuple(samples["bare"]))
    row = Row(
        what=f"{connections:,} idle connections in one process, {JOINED} channels joined by each",
        against="bare picows listener with the same read buffer",
        subject=each,
        floor=floor,
        ratio=each.per(floor),
        also={"more than the floor": each.minus(floor)},
        targets=(Target("more than the floor", "<=", 3.0, "<= +3 KiB"),),
        note="Private memory of the process: the last nine tenths of the connections, the first tenth being there.",
    )
    return Result(benchmark="idle", title=TITLE, rows=(row,))


async def growth(pid: int, port: int, path: str, first: list[str]) -> float:
    """KiB for each of the last nine tenths of the connections."""
    tenth = len(first) // 10
    async with contextlib.AsyncExitStack() as owned:
        early = await owned.enter_async_context(sink(port, first[:tenth], path=path, probe_every=0))
        await early.quiet()
        before = own_bytes(pid)
        late = await owned.enter_async_context(sink(port, first[tenth:], path=path, probe_every=0))
        await late.quiet()
        return (own_bytes(pid) - before) / (len(first) - tenth) / 1024


async def ours(crowd: Population, name: str, connections: int) -> float:
    (node,) = await crowd.cell.nodes(name, **GENEROUS)
    try:
        first = crowd.first_messages(crowd.people[:connections])
        return await growth(node.process.pid, node.port, "/v1/websocket", first)
    finally:
        await node.process.destroy()


async def bare(connections: int) -> float:
    async with python("benchmarks.floors.websocket") as agent:
        port = (await agent.hear())["port"]
        return await growth(agent.pid, port, "/", [""] * connections)
