"""Promise: a relay that finds its work done by another one goes on; it is not taken for one of an epoch that ended. One
whose log is another one than it was ends."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import asyncpg
import msgspec
import pytest

from services.contract.directory import DirectoryRecord
from services.contract.generation import Generation
from services.database.epochs import WrongEpoch
from services.eventlog.directory import DirectoryWriter
from services.eventlog.errors import LogLost
from services.relay.directory import DirectoryHalf
from services.relay.watch import check_log
from services.runtime.settings import DatabaseSettings
from tests.stack.lockstep import Stack
from tests.stack.waiting import until
from tests.system.relay.published import assert_directory_is_current, until_outbox_is_empty
from tests.system.relay.weblike import web_like


async def test_rows_that_a_twin_has_removed_meanwhile_do_no_harm(
    relay_stack: Stack, generation: Generation, sql: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slower relay publishes what it read, and then has nothing left to delete."""
    published: list[int] = []
    robbed: list[int] = []
    publish = DirectoryWriter.publish

    async def publish_and_be_too_late(self: DirectoryWriter, records: Sequence[DirectoryRecord]) -> None:
        await publish(self, records)
        published.append(len(records))
        if not robbed:
            status = await sql.execute("delete from outbox where topic = 'directory'")
            robbed.append(int(status.split()[-1]))

    relay = relay_stack.processes["relay"]
    assert await relay.stop() == 0
    async with web_like(relay_stack.database, seed=7) as web:
        monkeypatch.setattr(DirectoryWriter, "publish", publish_and_be_too_late)
        half = DirectoryHalf(database_settings(relay_stack), relay_stack.kafka.bootstrap, generation)
        relaying = asyncio.create_task(half.run(lambda: None), name="directory half")

        async def no_rows_wait() -> bool:
            if relaying.done():
                relaying.result()
            return not await sql.fetchval("select exists (select from outbox where topic = 'directory')")

        try:
            await until(lambda: robbed or relaying.done(), what="the twin was faster")
            for _ in range(5):
                await web.act()
            await until(no_rows_wait, what="the later rows were published")
        finally:
            relaying.cancel()
            await asyncio.wait({relaying})
            await relay.start()
        assert robbed[0] > 0
        assert all(published), "with nothing to publish, no transaction is made"
        await until_outbox_is_empty(sql)
        await assert_directory_is_current(relay_stack.kafka.bootstrap, generation, web.engine)


async def test_rows_that_stay_because_the_epoch_ended_meanwhile_end_the_relay(
    relay_stack: Stack, generation: Generation, sql: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other way in which nothing is removed: then the row must stay for the next epoch's directory."""
    publish = DirectoryWriter.publish

    async def publish_as_the_epoch_ends(self: DirectoryWriter, records: Sequence[DirectoryRecord]) -> None:
        await publish(self, records)
        await sql.execute(
            "insert into generations (epoch, record) values ($1, '') on conflict do nothing",
            generation.epoch + 1,
        )

    relay = relay_stack.processes["relay"]
    assert await relay.stop() == 0
    try:
        async with web_like(relay_stack.database, seed=8):
            before = await sql.fetchval("select count(*) from outbox where topic = 'directory'")
            assert before > 0
            monkeypatch.setattr(DirectoryWriter, "publish", publish_as_the_epoch_ends)
            half = DirectoryHalf(database_settings(relay_stack), relay_stack.kafka.bootstrap, generation)
            async with asyncio.timeout(60):
                with pytest.raises(WrongEpoch):
                    await half.run(lambda: None)
            assert await sql.fetchval("select count(*) from outbox where topic = 'directory'") == before
    finally:
        await sql.execute("delete from generations where epoch = $1", generation.epoch + 1)
        await relay.start()
    await until_outbox_is_empty(sql)


def database_settings(stack: Stack) -> DatabaseSettings:
    """The stack's database, for a half of the relay in this process."""
    return DatabaseSettings(
        secrets_dir=Path(stack.processes["relay"].environment["LOCKSTEP_SECRETS_DIR"]),
        database_host=stack.database.host,
        database_port=stack.database.port,
        database_name=stack.database.name,
        database_user=stack.database.user,
    )


async def test_a_log_that_lacks_what_postgresql_has_read_of_it_ends_the_relay(
    relay_stack: Stack, generation: Generation, sql: asyncpg.Connection
) -> None:
    """Cut short, or with another record in its place. Here it is PostgreSQL that is made to have read such a log."""
    kafka, settings = relay_stack.kafka.bootstrap, database_settings(relay_stack)
    async with web_like(relay_stack.database, seed=9) as web:
        for _ in range(20):
            await web.act()
        await until_outbox_is_empty(sql)
    persister, relay = (relay_stack.processes[name] for name in ("persister", "relay"))
    assert await persister.stop() == 0
    assert await relay.stop() == 0  # it would look, too, and tell everybody
    before = await sql.fetch("select * from log_partitions where epoch = $1", generation.epoch)
    try:
        await check_log(settings, kafka, generation)
        for read, reason in (
            ("next_offset = next_offset + 5", "wiped or truncated"),
            ("last_append_ms = last_append_ms + 1", "rewritten"),
        ):
            status = await sql.execute(
                f"update log_partitions set {read} where epoch = $1 and last_offset is not null",
                generation.epoch,
            )
            assert status != "UPDATE 0", "nothing was ever stored"
            with pytest.raises(LogLost, match=reason):
                await check_log(settings, kafka, generation)
            await restore(sql, before)
        with pytest.raises(WrongEpoch):
            await check_log(settings, kafka, msgspec.structs.replace(generation, created_ms=1))
        await check_log(settings, kafka, generation)
    finally:
        await restore(sql, before)
        await asyncio.gather(persister.start(), relay.start())


async def restore(sql: asyncpg.Connection, rows: Sequence[asyncpg.Record]) -> None:
    for row in rows:
        await sql.execute(
            "update log_partitions set next_offset = $3, last_append_ms = $4 where epoch = $1 and partition = $2",
            row["epoch"],
            row["partition"],
            row["next_offset"],
            row["last_append_ms"],
        )
