"""How fast the log comes into PostgreSQL, against asyncpg's COPY of the same rows into a table like it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import asyncpg

from benchmarks.core.bench import Bench
from benchmarks.core.figures import Figure
from benchmarks.core.results import Result, Row, Target
from benchmarks.core.usage import cpu_seconds
from benchmarks.core.whole import append_messages, ids, whole
from services.persister.fold import EventRow
from tests.stack.lockstep import Stack

TITLE = "The persister"

BATCH = 5_000
"""Rows in a transaction of the floor: as many as the persister reads at once."""

CHANNELS = 100
PEOPLE = 200


async def run(bench: Bench) -> Result:
    """The persister stands still while messages are put into the log; its time is from when it goes on."""
    count = bench.of(60_000, 3_000)
    micros: list[float] = []
    async with whole(bench, "persister") as stack:
        connection = await stack.database.connect()
        channels, people = ids("ch", CHANNELS), ids("usr", PEOPLE)
        try:
            await connection.execute("create table floor_events (like events including all)")
            await append_messages(stack, 100, channels=channels, senders=people)
            await stored(connection, 100)

            async def ours() -> float:
                before = await how_many(connection)
                process = stack.processes["persister"]
                process.freeze()
                await append_messages(stack, count, channels=channels, senders=people)
                used, began = cpu_seconds(process.pid), time.monotonic()
                process.thaw()
                await stored(connection, before + count)
                spent = time.monotonic() - began
                micros.append((cpu_seconds(process.pid) - used) / count * 1e6)
                return count / spent

            async def floor() -> float:
                return await copy(connection, await newest(stack, connection, count))

            samples = await bench.interleaved({"ours": ours, "floor": floor})
        finally:
            await connection.close()
    rate = Figure("events/s", tuple(samples["ours"]))
    least = Figure("events/s", tuple(samples["floor"]))
    row = Row(
        what=f"persister, {count:,} messages of 300 bytes in {CHANNELS} channels",
        against=f"asyncpg COPY of the same rows, {BATCH:,} a transaction",
        subject=rate,
        floor=least,
        ratio=rate.per(least),
        also={"CPU": Figure("us CPU/event", tuple(micros))},
        targets=(
            Target("subject", ">=", 20_000, ">= 20,000 events/s"),
            Target("ratio", ">=", 0.4, ">= 0.4x"),
        ),
        note="The persister also numbers, projects messages, read state, heads and its position; COPY only copies.",
    )
    return Result(benchmark="persister", title=TITLE, rows=(row,))


async def how_many(connection: asyncpg.Connection) -> int:
    """Events stored, told by the heads: counting rows would be work for the server that is measured."""
    return int(await connection.fetchval("select coalesce(sum(head), 0) from channel_heads"))


async def stored(connection: asyncpg.Connection, count: int, timeout: float = 120.0) -> None:
    deadline = time.monotonic() + timeout
    while await how_many(connection) < count:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{await how_many(connection)} of {count} events stored in {timeout:g} s")
        await asyncio.sleep(0.01)


async def newest(stack: Stack, connection: asyncpg.Connection, count: int) -> list[tuple[Any, ...]]:
    columns = ", ".join(f'"{name}"' for name in EventRow._fields)
    rows = await connection.fetch(f"select {columns} from events order by at_ms limit $1", count)
    return [tuple(row) for row in rows]


async def copy(connection: asyncpg.Connection, rows: Sequence[tuple[Any, ...]]) -> float:
    """Rows a second."""
    await connection.execute("truncate floor_events")
    began = time.monotonic()
    for begin in range(0, len(rows), BATCH):
        async with connection.transaction():
            await connection.copy_records_to_table(
                "floor_events", records=rows[begin : begin + BATCH], columns=EventRow._fields
            )
    return len(rows) / (time.monotonic() - began)
