"""What came out of the outbox, judged from PostgreSQL and the raw log."""

from __future__ import annotations

import asyncpg
import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition
from sqlalchemy.ext.asyncio import AsyncEngine

from services.contract.directory import DirectoryRecord, decode_record
from services.contract.generation import Generation
from services.database.directory_state import all_records
from tests.stack.waiting import until
from tests.system.relay.weblike import WebLike


async def until_outbox_is_empty(sql: asyncpg.Connection, timeout: float = 60.0) -> None:
    async def empty() -> bool:
        return bool(await sql.fetchval("select not exists (select from outbox)"))

    await until(empty, timeout, what="the outbox is empty")


async def assert_events_are_stored(sql: asyncpg.Connection, web: WebLike) -> None:
    """Every committed event is stored once, and each channel's in the order in which its lock was held."""
    for channel, written in web.written.items():
        rows = await sql.fetch("select seq, body from events where channel_id = $1 order by seq", channel)
        bodies = [row["body"] for row in rows]
        assert len(bodies) == len(set(bodies)), "an event is stored twice"
        assert set(bodies) == written
        versions = [msgspec.json.decode(body)["version"] for body in bodies]
        assert versions == sorted(versions)
        assert [row["seq"] for row in rows] == list(range(1, len(rows) + 1))


async def directory(kafka: str, generation: Generation) -> list[DirectoryRecord]:
    """Every committed record of the directory, in the order of the log."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=kafka, group_id=None, auto_offset_reset="earliest", isolation_level="read_committed"
    )
    await consumer.start()
    try:
        partition = TopicPartition(generation.directory_topic, 0)
        consumer.assign([partition])
        end = (await consumer.end_offsets([partition]))[partition]
        records: list[DirectoryRecord] = []
        while await consumer.position(partition) < end:
            for batch in (await consumer.getmany(timeout_ms=500)).values():
                records += (decode_record(record.value) for record in batch)
        return records
    finally:
        await consumer.stop()


async def assert_directory_is_current(kafka: str, generation: Generation, engine: AsyncEngine) -> None:
    """By key, the newest version in the directory is what PostgreSQL says, and it never went back on the way."""
    shown: dict[str, DirectoryRecord] = {}
    for record in await directory(kafka, generation):
        before = shown.get(record.key)
        assert before is None or before.version <= record.version
        shown[record.key] = record
    async with engine.connect() as connection:
        current = {record.key: record async for record in all_records(connection, 0)}
    assert shown == current
