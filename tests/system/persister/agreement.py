"""Does PostgreSQL hold what the log says? Asked with a fold of the tests' own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from services.contract.generation import Generation
from tests.stack.lockstep import Stack
from tests.stack.rawlog import Writers, dense, ends, folded, positions, stored, whole_log
from tests.stack.waiting import PATIENCE_S, until


async def assert_agrees(stack: Stack, generation: Generation, timeout: float = 60.0) -> int:
    """Wait until all of the log is stored, and compare every event and every head. Gives the number of events."""
    log = await whole_log(stack.kafka.bootstrap, generation)
    end = ends(log, generation)
    sql = await stack.database.connect()
    try:

        async def caught_up() -> bool:
            return await positions(sql, generation.epoch) == end

        await until(caught_up, timeout, what="the whole log is stored")
        expected, found = folded(generation, log), await stored(sql, generation.epoch)
        heads = dict(await sql.fetch("select channel_id, head from channel_heads"))
    finally:
        await sql.close()
    assert found == expected
    assert dense(found)
    assert heads == {number.channel: number.seq for number in expected}
    return len(found)


async def events_stored(sql: asyncpg.Connection) -> int:
    return int(await sql.fetchval("select count(*) from events"))


async def until_more_is_stored(sql: asyncpg.Connection, timeout: float = PATIENCE_S) -> None:
    """Wait until an event is stored that was not yet when this was called."""
    before = await events_stored(sql)

    async def more() -> bool:
        return await events_stored(sql) > before

    await until(more, timeout, what="more events are stored", every=0.01)


@asynccontextmanager
async def load(writers: Writers) -> AsyncIterator[None]:
    """A few hundred records a second for the length of a block."""

    async def write() -> None:
        while True:
            await writers.write(10)
            await asyncio.sleep(0.02)

    writing = asyncio.create_task(write())
    try:
        yield
    finally:
        writing.cancel()
        await asyncio.wait({writing})
    if not writing.cancelled():
        writing.result()
