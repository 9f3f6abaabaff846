"""Promise: an event whose id expired before it was numbered gets a new one, once; no other does."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from services.contract.generation import Generation
from services.contract.ids import new_entity_id, uuid7
from services.eventlog.epoch import create_generation
from tests.stack.lockstep import Stack, lockstep_stack
from tests.stack.rawlog import Entry, wall_ms, whole_log
from tests.stack.servers import kafka_broker
from tests.stack.waiting import until
from tests.system.relay.published import until_outbox_is_empty

SHORT = Generation(epoch=1, partitions=2, retry_ms=6_000, future_ms=2_000)
SENDER = new_entity_id("usr")


@pytest.fixture(scope="module")
async def short_stack(session_folder: Path) -> AsyncIterator[Stack]:
    """An epoch in which an id lives for six seconds."""
    folder = Path(tempfile.mkdtemp(prefix="expiry-", dir=session_folder))
    async with kafka_broker(folder / "kafka") as kafka:
        await create_generation(kafka.bootstrap, SHORT)
        async with lockstep_stack(folder, kafka=kafka, services=("persister", "relay")) as stack:
            yield stack


@pytest.fixture
async def sql(short_stack: Stack) -> AsyncIterator[asyncpg.Connection]:
    connection = await short_stack.database.connect()
    yield connection
    await connection.close()


async def enqueue(sql: asyncpg.Connection, channel: str, *bodies: bytes, born: int | None = None) -> None:
    async with sql.transaction():
        for body in bodies:
            await sql.execute(
                "insert into outbox (topic, event_id, channel_id, sender_id, body) values ('events', $1, $2, $3, $4)",
                uuid7(born),
                channel,
                SENDER,
                body,
            )
        await sql.execute("notify outbox")


async def bodies(sql: asyncpg.Connection, channel: str) -> list[bytes]:
    rows = await sql.fetch("select body from events where channel_id = $1 order by seq", channel)
    return [row["body"] for row in rows]


async def test_rows_that_are_too_old_when_they_are_first_seen(
    short_stack: Stack, sql: asyncpg.Connection
) -> None:
    channel = new_entity_id("ch")
    await enqueue(sql, channel, b'{"type":"a"}', b'{"type":"b"}', b'{"type":"c"}', born=wall_ms() - 60_000)
    await until_outbox_is_empty(sql)
    assert await bodies(sql, channel) == [b'{"type":"a"}', b'{"type":"b"}', b'{"type":"c"}']


async def test_expired_while_no_relay_was_there(short_stack: Stack, sql: asyncpg.Connection) -> None:
    channel, other = new_entity_id("ch"), new_entity_id("ch")
    relay = short_stack.processes["relay"]
    await relay.crash()
    await enqueue(sql, channel, b'{"type":"a"}', b'{"type":"b"}')
    old = {row["event_id"] for row in await sql.fetch("select event_id from outbox")}
    born = wall_ms()
    await until(lambda: wall_ms() > born + SHORT.retry_ms + 500, what="the ids have expired")
    await enqueue(sql, other, b'{"type":"later"}')
    await relay.start()
    await until_outbox_is_empty(sql)
    assert await bodies(sql, channel) == [b'{"type":"a"}', b'{"type":"b"}']
    stored = {
        row["event_id"]
        for row in await sql.fetch("select event_id from events where channel_id = $1", channel)
    }
    assert not stored & old


async def test_a_numbered_event_keeps_its_id_however_late_it_is_stored(
    short_stack: Stack, sql: asyncpg.Connection
) -> None:
    """The persister is away while the log has the event, and the relay appends it again and again."""
    channel = new_entity_id("ch")
    persister = short_stack.processes["persister"]
    await persister.crash()
    await enqueue(sql, channel, b'{"type":"a"}', b'{"type":"b"}')
    first = await sql.fetchval(
        "select event_id from outbox where channel_id = $1 order by position limit 1", channel
    )

    async def copies() -> list[Entry]:
        log = await whole_log(short_stack.kafka.bootstrap, SHORT)
        return [entry for entry in log if str(first).encode() in entry.headers[0][1]]

    async def several() -> bool:
        found = await copies()
        return len(found) >= 2 and found[-1].appended > found[0].appended + SHORT.retry_ms

    await until(several, what="a copy beyond the expiry", every=0.5)
    await persister.start()
    await until_outbox_is_empty(sql)
    assert await bodies(sql, channel) == [b'{"type":"a"}', b'{"type":"b"}']
    assert (
        await sql.fetchval("select event_id from events where channel_id = $1 and seq = 1", channel) == first
    )
