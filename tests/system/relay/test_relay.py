"""Promise: what a transaction wanted published is, once and in order, whichever process dies; else nothing is."""

from __future__ import annotations

import asyncio
import random

import asyncpg
import httpx

from deploy.local.ports import free_ports
from deploy.settings import SERVICES
from services.contract.generation import Generation
from services.contract.ids import new_entity_id, uuid7
from services.runtime.process import EXIT_FATAL
from tests.stack.lockstep import Stack
from tests.stack.process import Process
from tests.stack.waiting import until
from tests.system.persister.agreement import until_more_is_stored
from tests.system.relay.published import (
    assert_directory_is_current,
    assert_events_are_stored,
    until_outbox_is_empty,
)
from tests.system.relay.weblike import web_like

RELAY = next(service for service in SERVICES if service.name == "relay")


async def test_killed_ten_times_under_load(
    relay_stack: Stack, generation: Generation, sql: asyncpg.Connection
) -> None:
    chance = random.Random(1)
    relay = relay_stack.processes["relay"]
    async with web_like(relay_stack.database, seed=1) as web:
        async with web.acting():
            for _ in range(10):
                await until_more_is_stored(sql)
                await asyncio.sleep(chance.random() * 0.3)  # any moment may be that of death
                await relay.crash()
                relay.spawn()
        await until_outbox_is_empty(sql)
        await assert_events_are_stored(sql, web)
        await assert_directory_is_current(relay_stack.kafka.bootstrap, generation, web.engine)


async def test_every_server_restarts_under_load(
    relay_stack: Stack, generation: Generation, sql: asyncpg.Connection
) -> None:
    """The broker and the persister; the database's restart is the web app's tests' business as well as ours."""
    async with web_like(relay_stack.database, seed=2) as web:
        async with web.acting():
            for process in (relay_stack.kafka.process, relay_stack.processes["persister"]):
                await until_more_is_stored(sql, 60)
                await process.crash()
                await process.start(60)
        await until_outbox_is_empty(sql, 90)
        await assert_events_are_stored(sql, web)
        await assert_directory_is_current(relay_stack.kafka.bootstrap, generation, web.engine)


async def test_the_database_restarts_with_a_full_outbox(relay_stack: Stack, generation: Generation) -> None:
    relay = relay_stack.processes["relay"]
    relay.freeze()
    async with web_like(relay_stack.database, seed=3) as web:
        for _ in range(40):
            await web.act()
        await relay_stack.postgres.process.crash()
        relay.thaw()
        await relay_stack.postgres.process.start()
        sql = await relay_stack.database.connect()
        try:
            await until_outbox_is_empty(sql)
            await assert_events_are_stored(sql, web)
            await assert_directory_is_current(relay_stack.kafka.bootstrap, generation, web.engine)
        finally:
            await sql.close()
    assert relay.running


async def test_a_second_one_stands_by_and_takes_over(
    relay_stack: Stack, generation: Generation, sql: asyncpg.Connection
) -> None:
    first = relay_stack.processes["relay"]
    (port,) = free_ports(1)
    second = another(relay_stack, "second", port)
    try:
        await second.start()
        # Ready is said before each half has tried for the first time.
        await until(lambda: _is(port, {"directory": 0.0, "events": 0.0}), what="it stands by")
        async with web_like(relay_stack.database, seed=4) as web:
            async with web.acting():
                await until_more_is_stored(sql)
                await first.crash()
                await until_more_is_stored(sql)
            await until_outbox_is_empty(sql)
            assert await active(port) == {"directory": 1.0, "events": 1.0}
            await assert_events_are_stored(sql, web)
            await assert_directory_is_current(relay_stack.kafka.bootstrap, generation, web.engine)
    finally:
        await second.destroy()
        await first.start()


async def test_two_active_at_once_do_no_harm(
    relay_stack: Stack, generation: Generation, sql: asyncpg.Connection
) -> None:
    """A relay that was frozen keeps its locks as far as it knows; PostgreSQL has given them to another."""
    first = relay_stack.processes["relay"]
    (port,) = free_ports(1)
    second = another(relay_stack, "second", port)
    try:
        async with web_like(relay_stack.database, seed=5) as web:
            async with web.acting():
                await until_more_is_stored(sql)
                first.freeze()
                await second.start()
                await sql.execute(
                    "select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and granted"
                    " and pid <> pg_backend_pid()"
                )

                async def taken_over() -> bool:
                    return await active(port) == {"directory": 1.0, "events": 1.0}

                await until(taken_over, what="the second is active")
                await until_more_is_stored(sql, 60)
                first.thaw()
                await until_more_is_stored(sql, 60)
            await until_outbox_is_empty(sql)
            await assert_events_are_stored(sql, web)
            await assert_directory_is_current(relay_stack.kafka.bootstrap, generation, web.engine)
    finally:
        first.thaw()
        await second.destroy()


async def test_each_half_alone(relay_stack: Stack, sql: asyncpg.Connection) -> None:
    relay = relay_stack.processes["relay"]
    assert await relay.stop() == 0
    halves = {
        half: another(relay_stack, half, port, "--only", half)
        for half, port in zip(("directory", "events"), free_ports(2), strict=True)
    }
    try:
        async with web_like(relay_stack.database, seed=6) as web:
            for _ in range(10):
                await web.act()
            for half, process in halves.items():
                await process.start()

                async def done(half: str = half) -> bool:
                    return not await sql.fetchval("select exists (select from outbox where topic = $1)", half)

                await until(done, what=f"no {half} rows wait")
                if half == "directory":
                    assert await sql.fetchval("select exists (select from outbox where topic = 'events')")
            await assert_events_are_stored(sql, web)
    finally:
        for process in halves.values():
            await process.destroy()
        await relay.start()


async def test_an_epoch_that_has_ended_keeps_its_rows(
    relay_stack: Stack, generation: Generation, sql: asyncpg.Connection
) -> None:
    """What is published now belongs into the next epoch's directory."""
    relay = relay_stack.processes["relay"]
    await sql.execute("insert into generations (epoch, record) values ($1, '')", generation.epoch + 1)
    try:
        await sql.execute("insert into outbox (topic, key) values ('directory', 'user:nobody')")
        await sql.execute("notify outbox")
        assert await relay.wait() == EXIT_FATAL
        assert await sql.fetchval("select count(*) from outbox") == 1
    finally:
        await sql.execute("delete from generations where epoch = $1", generation.epoch + 1)
        await relay.start()
    await until_outbox_is_empty(sql)


async def test_a_body_that_fits_nowhere_stops_only_its_channel(
    relay_stack: Stack, sql: asyncpg.Connection
) -> None:
    stuck, fine = new_entity_id("ch"), new_entity_id("ch")
    insert = (
        "insert into outbox (topic, event_id, channel_id, sender_id, body) values ('events', $1, $2, $3, $4)"
    )
    sender = new_entity_id("usr")
    await sql.execute(insert, uuid7(), stuck, sender, b"x" * 2_000_000)
    await sql.execute(insert, uuid7(), fine, sender, b'{"type":"fine"}')

    async def stored() -> bool:
        return bool(await sql.fetchval("select exists (select from events where channel_id = $1)", fine))

    await until(stored, what="the other channel's event is stored")
    assert await sql.fetchval("select count(*) from outbox where channel_id = $1", stuck) == 1
    await until(lambda: stuck in relay_stack.processes["relay"].tail(20_000), what="it is logged")
    await sql.execute("delete from outbox where channel_id = $1", stuck)


def another(stack: Stack, name: str, port: int, *arguments: str) -> Process:
    """A relay beside the stack's own, not started yet; `port` is that of its health checks and figures."""
    relay = stack.processes["relay"]
    return Process(
        name,
        [*relay.command, *arguments],
        stack.folder / f"{name}.log",
        environment={**relay.environment, "LOCKSTEP_ADMIN_PORT": str(port)},
        ready=f"http://127.0.0.1:{port}/health/ready",
    )


async def _is(port: int, expected: dict[str, float]) -> bool:
    return await active(port) == expected


async def active(port: int) -> dict[str, float]:
    """What a relay says of itself, by half."""
    async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
        lines = (await client.get(f"http://127.0.0.1:{port}/metrics")).text.splitlines()
    prefix = 'lockstep_relay_active{half="'
    return {
        line[len(prefix) :].partition('"')[0]: float(line.rpartition(" ")[2])
        for line in lines
        if line.startswith(prefix)
    }
