"""From a committed transaction to everybody: rows a second through the outbox, and how long one takes to a WebSocket."""

from __future__ import annotations

import asyncio
import time

import asyncpg

from benchmarks.core.bench import Bench
from benchmarks.core.figures import Figure
from benchmarks.core.results import Result, Row, Target
from benchmarks.core.speakers import Speakers, Talk, speakers
from benchmarks.core.usage import cpu_seconds
from benchmarks.core.whole import ids, whole
from client import MemoryTokens, RestClient
from services.contract.events import MessagePosted, encode_event
from services.contract.ids import uuid7
from tests.stack.crowd import PASSWORD
from tests.stack.lockstep import Stack

TITLE = "The relay"

CHANNELS = 200
LOW_RATE = 20

_INSERT = """
insert into outbox (topic, event_id, channel_id, sender_id, body) values ('events', $1, $2, $3, $4)
"""


async def run(bench: Bench) -> Result:
    count = bench.of(20_000, 600)
    micros: list[float] = []
    async with whole(bench, "web_app", "node-1", "persister", "relay") as stack:
        async with RestClient(stack.web_url, MemoryTokens()) as rest:
            login = await rest.sign_up(
                workspace_slug="bench", workspace_name="b", name="o", email="o@example.com", password=PASSWORD
            )
            room = (await rest.create_channel("room")).channel.id
            token = (await rest.realtime()).token
        connection = await stack.database.connect()
        channels = ids("ch", CHANNELS)
        try:
            async with speakers(stack.websocket_url(), [token]) as listener:

                async def through() -> float:
                    rate, cpu = await relayed(stack, connection, channels, login.user.id, count)
                    micros.append(cpu)
                    return rate

                async def one_by_one() -> Talk:
                    return await low(connection, listener, room, login.user.id, bench.of(5.0, 1.0))

                await low(connection, listener, room, login.user.id, 1.0)
                rates = (await bench.interleaved({"through": through}))["through"]
                talks = (await bench.interleaved({"low": one_by_one}))["low"]
        finally:
            await connection.close()
    p50 = Figure("ms", tuple(talk.delivery.ms(50) for talk in talks))
    return Result(
        benchmark="relay",
        title=TITLE,
        rows=(
            Row(
                what=f"relay, {count:,} outbox rows in {CHANNELS} channels, until the persister has deleted them",
                subject=Figure("rows/s", tuple(rates)),
                also={"CPU": Figure("us CPU/row", tuple(micros))},
                targets=(Target("subject", ">=", 3_000, ">= 3,000 rows/s"),),
            ),
            Row(
                what=f"relay, commit to WebSocket, {LOW_RATE} transactions a second: p50",
                subject=p50,
                also={"p99": Figure("ms", tuple(talk.delivery.ms(99) for talk in talks))},
                targets=(Target("subject", "<=", 15, "p50 <= 15 ms"),),
            ),
        ),
    )


async def relayed(
    stack: Stack, connection: asyncpg.Connection, channels: list[str], sender: str, count: int
) -> tuple[float, float]:
    """Rows a second, microseconds a row of the relay's processor time."""
    relay = stack.processes["relay"]
    relay.freeze()
    body = encode_event(MessagePosted(text="x" * 300))
    records = [("events", uuid7(), channels[n % len(channels)], sender, body) for n in range(count)]
    await connection.copy_records_to_table(
        "outbox", records=records, columns=("topic", "event_id", "channel_id", "sender_id", "body")
    )
    await connection.execute("analyze outbox")
    used, began = cpu_seconds(relay.pid), time.monotonic()
    relay.thaw()
    await connection.execute("select pg_notify('outbox', '')")
    while await connection.fetchval("select exists (select from outbox)"):
        if time.monotonic() - began > 120:
            raise TimeoutError(f"{await connection.fetchval('select count(*) from outbox')} rows are left")
        await asyncio.sleep(0.02)
    spent = time.monotonic() - began
    return count / spent, (cpu_seconds(relay.pid) - used) / count * 1e6


async def low(
    connection: asyncpg.Connection, listener: Speakers, room: str, sender: str, seconds: float
) -> Talk:
    """One row a transaction at a low rate, timed from just before its commit."""
    await listener.begin()
    started, count = time.monotonic(), round(LOW_RATE * seconds)
    for number in range(count):
        await asyncio.sleep(max(0.0, started + number / LOW_RATE - time.monotonic()))
        transaction = connection.transaction()
        await transaction.start()
        text = f"ns={time.monotonic_ns():020d}"
        await connection.execute(_INSERT, uuid7(), room, sender, encode_event(MessagePosted(text=text)))
        await connection.execute("select pg_notify('outbox', '')")
        await transaction.commit()
    return await listener.heard(count)
