"""Promise: what the log says is in PostgreSQL, once, under the same numbers, whatever dies or is doubled."""

from __future__ import annotations

import asyncio
import random

import asyncpg
from aiokafka import AIOKafkaProducer

from deploy.local.ports import free_ports
from deploy.settings import SERVICES
from services.contract.generation import Generation
from tests.stack.lockstep import Stack
from tests.stack.process import Process
from tests.stack.rawlog import Writers
from tests.system.persister.agreement import assert_agrees, load, until_more_is_stored

PERSISTER = next(service for service in SERVICES if service.name == "persister")


async def test_what_the_log_holds_is_stored(
    log_stack: Stack, generation: Generation, producer: AIOKafkaProducer, sql: asyncpg.Connection
) -> None:
    writers = Writers(producer, generation, seed=1)
    await writers.write(2_000)
    assert await assert_agrees(log_stack, generation) > 1_500
    projected = await sql.fetchval(
        "select count(*) from messages join events using (channel_id, seq, event_id)"
    )
    assert projected == await sql.fetchval("select count(*) from events where kind = 'message.posted'")


async def test_killed_ten_times_under_load(
    log_stack: Stack, generation: Generation, producer: AIOKafkaProducer, sql: asyncpg.Connection
) -> None:
    chance = random.Random(2)
    persister = log_stack.processes["persister"]
    async with load(Writers(producer, generation, seed=2)):
        for _ in range(10):
            await until_more_is_stored(sql)
            await asyncio.sleep(chance.random() * 0.3)  # any moment may be that of death
            await persister.crash()
            persister.spawn()
    assert await assert_agrees(log_stack, generation) > 1_000


async def test_two_at_once_one_of_them_frozen_for_a_while(
    log_stack: Stack, generation: Generation, producer: AIOKafkaProducer, sql: asyncpg.Connection
) -> None:
    first, second = log_stack.processes["persister"], twin(log_stack)
    try:
        async with load(Writers(producer, generation, seed=3)):
            await second.start()
            await until_more_is_stored(sql)
            first.freeze()
            # The frozen one may hold locks, until the server ends its transaction after ten seconds.
            await until_more_is_stored(sql, 60)
            first.thaw()
            second.freeze()
            await until_more_is_stored(sql, 60)
            second.thaw()
            await until_more_is_stored(sql)
        assert first.running
        assert second.running
    finally:
        first.thaw()
        await second.destroy()
    await assert_agrees(log_stack, generation)


async def test_partitions_shared_by_two_processes(
    log_stack: Stack, generation: Generation, producer: AIOKafkaProducer
) -> None:
    persister = log_stack.processes["persister"]
    assert await persister.stop() == 0
    odd, even = (
        twin(log_stack, LOCKSTEP_PERSISTER_PARTITIONS=str([*range(first, generation.partitions, 2)]))
        for first in (1, 0)
    )
    try:
        await asyncio.gather(odd.start(), even.start())
        await Writers(producer, generation, seed=4).write(500)
        await assert_agrees(log_stack, generation)
    finally:
        await asyncio.gather(odd.destroy(), even.destroy())
        await persister.start()


async def test_the_database_restarts_under_load(
    log_stack: Stack, generation: Generation, producer: AIOKafkaProducer, sql: asyncpg.Connection
) -> None:
    async with load(Writers(producer, generation, seed=5)):
        for way in ("orderly", "killed", "frozen"):
            server = log_stack.postgres.process
            if way == "orderly":
                await server.restart()
            elif way == "killed":
                await server.crash()
                await server.start()
            else:
                server.freeze()
                await asyncio.sleep(1.0)  # an outage has a length
                server.thaw()
            reader = await log_stack.database.connect()
            await until_more_is_stored(reader, 60)
            await reader.close()
    assert log_stack.processes["persister"].running
    await assert_agrees(log_stack, generation)


def twin(stack: Stack, **environment: str) -> Process:
    """Another persister, with a port of its own."""
    port = str(free_ports(1)[0])
    process = stack.process(PERSISTER, {"LOCKSTEP_ADMIN_PORT": port, **environment})
    return Process(
        "twin",
        process.command,
        stack.folder / "twin.log",
        environment=process.environment,
        ready=f"http://127.0.0.1:{port}/health/ready",
    )
