"""Promise: nothing in a record's body stops a partition; a disagreement stops the process, loudly."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator

import asyncpg
import httpx
import msgspec
import pytest
from aiokafka import AIOKafkaProducer

from services.contract.envelope import encode_envelope, partition_of
from services.contract.events import MessagePosted, encode_event
from services.contract.generation import Generation
from services.contract.ids import new_entity_id, new_event_id
from services.eventlog.epoch import current_generation
from services.eventlog.errors import LogLost
from services.persister.fold import EventRow
from services.runtime.process import EXIT_FATAL, EXIT_SETTINGS
from tests.stack.lockstep import Stack
from tests.stack.process import Process
from tests.stack.rawlog import wall_ms
from tests.stack.waiting import until
from tests.system.conftest import Factory
from tests.system.persister.agreement import assert_agrees

POISON: list[tuple[bytes | None, str, bool]] = [
    (None, "unreadable", True),
    (b"", "unreadable", True),
    (b"\x00\xff\xfe", "unreadable", True),
    (b'{"type":"message.posted","text":"a\\u0000b"}', "message.posted", True),
    (b'{"type":"message.posted","text":"\\ud800"}', "unreadable", True),
    (b'{"type":"message.posted"}', "message.posted", True),
    (b'{"type":"a\\u0000b"}', "a\N{REPLACEMENT CHARACTER}b", False),
    (b'{"type":"of.a.newer.release","x":[1]}', "of.a.newer.release", False),
    (b'{"type":"deep","x":' + b"[" * 20_000 + b"]" * 20_000 + b"}", "unreadable", True),
    (b'{"type":"' + b"k" * 50_000 + b'"}', "k" * 50_000, False),
    (encode_event(MessagePosted(text="\N{GRINNING FACE} \u202e \\ ' \" \t\n")), "message.posted", False),
]


async def append(producer: AIOKafkaProducer, generation: Generation, channel: str, body: bytes | None) -> str:
    """Append one event of somebody's; gives its id."""
    id = new_event_id()
    await producer.send_and_wait(
        generation.events_topic,
        body,
        key=channel.encode(),  # aiokafka wants one of key and value
        headers=[encode_envelope(channel, new_entity_id("usr"), id, wall_ms())],
        partition=partition_of(channel, generation.partitions),
    )
    return id


async def test_poison_bodies(
    log_stack: Stack, generation: Generation, producer: AIOKafkaProducer, sql: asyncpg.Connection
) -> None:
    channel = new_entity_id("ch")
    for body, _, _ in POISON:
        await append(producer, generation, channel, body)
    await assert_agrees(log_stack, generation)
    rows = await sql.fetch(
        "select body, kind, unprojected from events where channel_id = $1 order by seq", channel
    )
    assert [tuple(row.values()) for row in rows] == POISON
    texts = await sql.fetch("select seq, text from messages where channel_id = $1", channel)
    assert [tuple(row.values()) for row in texts] == [(len(POISON), "\N{GRINNING FACE} \u202e \\ ' \" \t\n")]


async def test_the_outbox_row_goes_when_its_event_is_stored(
    log_stack: Stack, generation: Generation, producer: AIOKafkaProducer, sql: asyncpg.Connection
) -> None:
    channel = new_entity_id("ch")
    id = await append(producer, generation, channel, b'{"type":"first"}')
    await assert_agrees(log_stack, generation)
    rows = [(uuid.UUID(new_event_id()), channel), (uuid.UUID(new_event_id()), channel)]
    await sql.executemany(
        "insert into outbox (topic, event_id, channel_id, sender_id, body) values ('events', $1, $2, 'usr', '')",
        rows,
    )
    await producer.send_and_wait(
        generation.events_topic,
        b'{"type":"second"}',
        headers=[encode_envelope(channel, new_entity_id("usr"), str(rows[0][0]), wall_ms())],
        partition=partition_of(channel, generation.partitions),
    )
    await assert_agrees(log_stack, generation)
    assert [row["event_id"] for row in await sql.fetch("select event_id from outbox")] == [rows[1][0]]
    assert await sql.fetchval("select seq from events where event_id = $1", uuid.UUID(id)) == 1
    await sql.execute("delete from outbox")


async def test_a_twin_that_stopped_in_the_middle_of_a_batch_keeps_nobody_waiting(
    log_stack: Stack, generation: Generation, producer: AIOKafkaProducer, sql: asyncpg.Connection
) -> None:
    """PostgreSQL itself would wait for the rest of its COPY, and keep its locks, for ever."""
    channel = new_entity_id("ch")
    stopped = await log_stack.database.connect()
    begun = asyncio.Event()

    async def stops() -> AsyncIterator[tuple[object, ...]]:
        begun.set()
        await asyncio.Event().wait()
        yield ()

    async def batch() -> None:
        await stopped.execute("set application_name = 'lockstep-persister'")
        async with stopped.transaction():
            await stopped.fetch("select from log_partitions where epoch = $1 for update", generation.epoch)
            await stopped.copy_records_to_table("events", records=stops(), columns=EventRow._fields)

    copying = asyncio.create_task(batch())
    try:
        await asyncio.wait_for(begun.wait(), 20.0)
        id = await append(producer, generation, channel, b'{"type":"x"}')

        async def stored() -> bool:
            return bool(await sql.fetchval("select seq from events where event_id = $1", uuid.UUID(id)))

        await until(stored, 90.0, what="the other persister stores what came")
        stopped.terminate()
    finally:
        copying.cancel()
        await asyncio.wait({copying})
    await assert_agrees(log_stack, generation)


@pytest.mark.parametrize(
    ("table", "row"),
    [
        (
            "events",
            "(channel_id, seq, epoch, partition, record_offset, sender_id, event_id, at_ms, kind)"
            " values ($1, 1, $2, $3, 0, 'somebody', gen_random_uuid(), 0, 'other')",
        ),
        (
            "messages",
            "(channel_id, seq, event_id, sender_id, at_ms, text)"
            " select $1, 1, gen_random_uuid(), 'somebody', $2::bigint, $3::smallint::text",
        ),
    ],
)
async def test_another_event_under_a_number_stops_it_loudly(
    log_stack: Stack,
    generation: Generation,
    producer: AIOKafkaProducer,
    sql: asyncpg.Connection,
    table: str,
    row: str,
) -> None:
    channel = new_entity_id("ch")
    persister = log_stack.processes["persister"]
    before = await sql.fetchval("select count(*) from events")
    await sql.execute(
        f"insert into {table} {row}",
        channel,
        generation.epoch,
        partition_of(channel, generation.partitions),
    )
    await append(producer, generation, channel, encode_event(MessagePosted(text="mine")))
    assert await persister.wait() == EXIT_FATAL
    assert "disagree" in persister.tail()
    assert channel in persister.tail()
    assert await sql.fetchval("select count(*) from events") == before + (table == "events")
    await sql.execute(f"delete from {table} where channel_id = $1", channel)
    await persister.start()
    await assert_agrees(log_stack, generation)


@pytest.mark.parametrize(
    "read",
    [
        "last_id = gen_random_uuid()",  # another record in its place
        "next_offset = next_offset + 10, last_offset = last_offset + 10",  # cut short
    ],
)
async def test_a_log_that_is_not_the_one_that_was_stored_stops_it_loudly(
    new_stack: Factory[Stack], read: str
) -> None:
    """And for good: whoever reads that log from now on is told. Here it is PostgreSQL that is made to have read another."""
    stack = await new_stack(services=("persister",))
    generation = await current_generation(stack.kafka.bootstrap)
    async with AIOKafkaProducer(bootstrap_servers=stack.kafka.bootstrap, acks="all") as producer:
        await append(producer, generation, new_entity_id("ch"), b'{"type":"x"}')
    await assert_agrees(stack, generation)
    persister = stack.processes["persister"]
    await persister.stop()
    sql = await stack.database.connect()
    try:
        await sql.execute(f"update log_partitions set {read} where last_offset is not null")
    finally:
        await sql.close()
    assert await exit_status(persister) == EXIT_FATAL
    assert "not the one that was stored" in persister.tail()
    with pytest.raises(LogLost, match="as persister found"):
        await current_generation(stack.kafka.bootstrap)


async def test_an_epoch_that_has_ended_is_not_written_to(
    log_stack: Stack, generation: Generation, producer: AIOKafkaProducer, sql: asyncpg.Connection
) -> None:
    persister = log_stack.processes["persister"]
    await assert_agrees(log_stack, generation)
    before = await sql.fetchval("select count(*) from events")
    await sql.execute("insert into generations (epoch, record) values ($1, '')", generation.epoch + 1)
    try:
        await append(producer, generation, new_entity_id("ch"), b'{"type":"too.late"}')
        assert await persister.wait() == EXIT_FATAL
        assert await sql.fetchval("select count(*) from events") == before
    finally:
        await sql.execute("delete from generations where epoch = $1", generation.epoch + 1)
        await persister.start()
    await assert_agrees(log_stack, generation)


async def test_a_database_of_another_installation_says_nothing_about_the_log(
    log_stack: Stack, generation: Generation, sql: asyncpg.Connection
) -> None:
    persister = log_stack.processes["persister"]
    await assert_agrees(log_stack, generation)
    await persister.stop()
    kept = await sql.fetchval("select record from generations where epoch = $1", generation.epoch)
    other = msgspec.structs.replace(generation, created_ms=generation.created_ms + 1)
    change = "update generations set record = $2 where epoch = $1"
    await sql.execute(change, generation.epoch, msgspec.json.encode(other))
    try:
        assert await exit_status(persister) == EXIT_FATAL
        assert "they are of two installations" in persister.tail()
    finally:
        await sql.execute(change, generation.epoch, kept)
        await persister.start()
    await assert_agrees(log_stack, generation)


async def test_a_position_that_is_missing_is_not_guessed(
    log_stack: Stack, generation: Generation, sql: asyncpg.Connection
) -> None:
    persister = log_stack.processes["persister"]
    await assert_agrees(log_stack, generation)
    await persister.stop()
    kept = await sql.fetch("delete from log_partitions where partition = 1 returning *")
    try:
        assert await exit_status(persister) == EXIT_FATAL
        assert "no position in partitions [1]" in persister.tail()
    finally:
        await sql.copy_records_to_table("log_partitions", records=kept, columns=list(kept[0].keys()))
        await persister.start()
    await assert_agrees(log_stack, generation)


@pytest.mark.parametrize(
    ("environment", "status"),
    [
        ({"LOCKSTEP_PERSISTER_PARTITIONS": "[99]"}, EXIT_FATAL),
        ({"LOCKSTEP_PERSISTER_PARTITIONS": "all"}, EXIT_SETTINGS),
    ],
)
async def test_partitions_that_do_not_exist(
    log_stack: Stack, environment: dict[str, str], status: int
) -> None:
    persister = log_stack.processes["persister"]
    other = Process(
        "wrong",
        persister.command,
        log_stack.folder / "wrong.log",
        environment={**persister.environment, "LOCKSTEP_ADMIN_PORT": "0", **environment},
    )
    assert await exit_status(other) == status
    assert "LOCKSTEP_PERSISTER_PARTITIONS" in other.tail()


async def test_not_ready_while_the_database_is_away(log_stack: Stack, generation: Generation) -> None:
    url = log_stack.health_url("persister")

    async def status(path: str = "/health/ready") -> int:
        async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
            return (await client.get(url + path)).status_code

    server = log_stack.postgres.process
    await server.stop()
    try:

        async def not_ready() -> bool:
            return await status() == 503

        await until(not_ready, what="not ready")
        assert await status("/health/live") == 200
    finally:
        await server.start()

    async def ready() -> bool:
        return await status() == 200

    await until(ready, what="ready again")
    await assert_agrees(log_stack, generation)


async def exit_status(process: Process) -> int:
    """Start it and wait until it has ended by itself."""
    process.spawn()
    try:
        return await process.wait()
    finally:
        await process.destroy()
