"""How fast the log comes into PostgreSQL, against asyncpg's COPY of the same rows into tables like its own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any

import asyncpg

from benchmarks.core.bench import Bench
from benchmarks.core.figures import Figure
from benchmarks.core.results import Result, Row, Target
from benchmarks.core.usage import cpu_seconds
from benchmarks.core.whole import append_messages, ids, whole
from services.persister.fold import EVENT_DEFAULTS, EventRow

TITLE = "The persister"

BATCH = 5_000
"""Rows in a transaction of the floor: as many as the persister reads at once."""

# What the persister writes for a message: the columns of both its rows that are not what the tables put there themselves.
EVENTS = EventRow._fields[: -len(EVENT_DEFAULTS)]
MESSAGES = (
    "channel_id", "seq", "event_id", "sender_id", "at_ms", "text", "thread", "also_to_channel", "mentions_channel",
)  # fmt: skip

Rows = Sequence[tuple[Any, ...]]

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
            for table in ("events", "messages"):
                await connection.execute(f"create table floor_{table} (like {table} including all)")
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
                return await copy(
                    connection,
                    {
                        "events": (EVENTS, await rows_of(connection, "events", EVENTS, count)),
                        "messages": (MESSAGES, await rows_of(connection, "messages", MESSAGES, count)),
                    },
                )

            async def one_table() -> float:
                return await copy(
                    connection, {"events": (EVENTS, await rows_of(connection, "events", EVENTS, count))}
                )

            samples = await bench.interleaved({"ours": ours, "floor": floor, "one table": one_table})
        finally:
            await connection.close()
    rate = Figure("events/s", tuple(samples["ours"]))
    least = Figure("events/s", tuple(samples["floor"]))
    raw = Figure("events/s", tuple(samples["one table"]))
    row = Row(
        what=f"persister, {count:,} messages of 300 bytes in {CHANNELS} channels",
        against=f"asyncpg COPY of the same rows of `events` and `messages`, {BATCH:,} of each a transaction",
        subject=rate,
        floor=least,
        ratio=rate.per(least),
        also={
            "CPU": Figure("us CPU/event", tuple(micros)),
            "COPY of the rows of `events` alone": raw,
            "ratio to that": rate.per(raw),
        },
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


async def rows_of(
    connection: asyncpg.Connection, table: str, columns: Sequence[str], count: int
) -> list[tuple[Any, ...]]:
    names = ", ".join(f'"{name}"' for name in columns)
    rows = await connection.fetch(f"select {names} from {table} order by at_ms limit $1", count)
    return [tuple(row) for row in rows]


async def copy(connection: asyncpg.Connection, tables: Mapping[str, tuple[Sequence[str], Rows]]) -> float:
    """Into the floor's copies of these tables; rows of each a second."""
    for table in tables:
        await connection.execute(f"truncate floor_{table}")
    count = max(len(rows) for _, rows in tables.values())
    began = time.monotonic()
    for begin in range(0, count, BATCH):
        async with connection.transaction():
            for table, (columns, rows) in tables.items():
                await connection.copy_records_to_table(
                    f"floor_{table}", records=rows[begin : begin + BATCH], columns=columns
                )
    return count / (time.monotonic() - began)
