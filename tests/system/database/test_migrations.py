"""Promise: the schema goes up and down on a database that holds data, and is what the tables say."""

from __future__ import annotations

import asyncio
import os
import sys

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine

from services.contract.directory import UserRecord, WorkspaceRecord
from services.database.directory_state import all_records
from services.database.engine import create_engine, is_unavailable
from services.database.migrate import SCRIPTS, current_revision, downgrade, migrate
from services.database.tables import metadata
from services.runtime.settings import DatabaseSettings
from tests.stack.proxy import Proxy
from tests.system.conftest import Factory
from tests.system.database.example import CHANNEL, KEY, OTHER, OWNER, WORKSPACE, fill


def revisions() -> list[str]:
    """From the newest to the first."""
    return [script.revision for script in ScriptDirectory(str(SCRIPTS)).walk_revisions()]


def differences(connection: Connection) -> list[object]:
    options = {"compare_type": True, "compare_server_default": True}
    return list(compare_metadata(MigrationContext.configure(connection, opts=options), metadata))


async def test_the_migrated_schema_is_what_the_tables_say(engine: AsyncEngine) -> None:
    async with engine.connect() as connection:
        assert await connection.run_sync(differences) == []
        sequences = await connection.run_sync(lambda sync: inspect(sync).get_sequence_names())
        kind = await connection.scalar(
            text("select data_type from pg_sequences where sequencename = 'row_version'")
        )
    assert "row_version" in sequences
    assert str(kind) in ("bigint", "20")


async def test_a_difference_would_be_found(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await connection.execute(text("alter table users drop column role"))
        await connection.execute(text("drop index ix_outbox_topic_position"))
        found = [str(difference) for difference in await connection.run_sync(differences)]
    assert any("role" in each for each in found)
    assert any("ix_outbox_topic_position" in each for each in found)


@pytest.mark.parametrize("revision", revisions())
async def test_down_and_up_again_with_data(
    engine: AsyncEngine, settings: DatabaseSettings, revision: str
) -> None:
    async with engine.begin() as connection:
        await fill(connection)
    await downgrade(settings, f"{revision}-1")
    await migrate(settings)
    assert await current_revision(settings) == revisions()[0]
    async with engine.connect() as connection:
        assert await connection.run_sync(differences) == []


async def test_what_newer_columns_say_of_older_rows(engine: AsyncEngine, settings: DatabaseSettings) -> None:
    async with engine.begin() as connection:
        await fill(connection)
        for number, kind in enumerate(("private", "public"), start=10):
            await connection.execute(
                text(
                    "insert into channels (id, workspace_id, kind, name, created_by, version, created_at)"
                    " select :id, workspace_id, :kind, :id, created_by, :number, created_at + :age * interval '1 s'"
                    " from channels where name = 'general'"
                ),
                {"id": f"c{number}", "kind": kind, "number": number, "age": -1 if kind == "private" else 1},
            )
        await connection.execute(
            text("insert into signing_keys (kid, public_key, version) values ('waiting', 'PEM', 20)")
        )
        await connection.execute(text("insert into outbox (topic, key) values ('directory', 'key:waiting')"))
    await downgrade(settings, "0001")
    await migrate(settings)
    async with engine.connect() as connection:
        default = await connection.execute(text("select name from channels where is_default"))
        assert default.scalars().all() == ["general"], "the oldest public one"
        published = await connection.execute(
            text("select kid from signing_keys where published_at is not null")
        )
        assert published.scalars().all() == [KEY]
        markers = await connection.execute(text("select user_id, channel_id, seq from read_markers"))
        assert [tuple(row) for row in markers] == [(OWNER, CHANNEL, 1)], "members have read what there is"


async def test_an_older_installation_tells_channel_servers_what_a_new_one_would(
    engine: AsyncEngine, settings: DatabaseSettings
) -> None:
    async with engine.begin() as connection:
        await fill(connection)
        await connection.execute(text("update users set role = 'member' where id = :id"), {"id": OTHER})
    await downgrade(settings, "0005")
    async with engine.begin() as connection:
        rows = await connection.execute(text("select id, version from users"))
        before = {row.id: row.version for row in rows}
        await connection.execute(text("delete from outbox"))
    await migrate(settings)
    async with engine.connect() as connection:
        keys = (await connection.execute(text("select key from outbox order by position"))).scalars().all()
        assert keys == [f"workspace:{WORKSPACE}", f"user:{OWNER}"], "roles other than member are news"
        records = {record.key: record async for record in all_records(connection, now_ms=0)}
        counts = (await connection.execute(text("select member_count from channels"))).scalars().all()
    workspace, owner = records[f"workspace:{WORKSPACE}"], records[f"user:{OWNER}"]
    assert isinstance(workspace, WorkspaceRecord)
    assert workspace.active
    assert workspace.version > 0
    assert isinstance(owner, UserRecord)
    assert owner.role == "owner"
    assert owner.version > before[OWNER]
    assert counts == [1]


async def test_the_audit_log_is_only_ever_added_to(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await fill(connection)
    for statement in (
        "update audit_log set action = 'nothing'",
        "delete from audit_log",
        "truncate audit_log",
    ):
        with pytest.raises(DBAPIError, match="only ever added to"):
            async with engine.begin() as connection:
                await connection.execute(text(statement))


async def test_down_to_nothing_leaves_nothing(engine: AsyncEngine, settings: DatabaseSettings) -> None:
    async with engine.begin() as connection:
        await fill(connection)
    await downgrade(settings, "base")
    assert await current_revision(settings) is None
    async with engine.connect() as connection:
        left = (
            await connection.execute(
                text(
                    "select relname from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'S')"
                )
            )
        ).scalars()
        assert set(left) == {"alembic_version"}


async def test_two_at_once_are_safe(settings: DatabaseSettings) -> None:
    await asyncio.gather(*(migrate(settings) for _ in range(4)))
    assert await current_revision(settings) == revisions()[0]


async def test_a_migration_that_fails_leaves_the_schema_as_it_was(
    settings: DatabaseSettings, engine: AsyncEngine
) -> None:
    await downgrade(settings, "base")
    async with engine.begin() as connection:
        # the last table of the first revision cannot be made
        await connection.execute(text("create table refresh_tokens (x int)"))
    with pytest.raises(Exception, match="refresh_tokens"):
        await migrate(settings)
    async with engine.begin() as connection:
        tables = await connection.run_sync(lambda sync: inspect(sync).get_table_names())
    assert set(tables) == {"alembic_version", "refresh_tokens"}


async def test_the_command_line(settings: DatabaseSettings) -> None:
    assert await command(settings, "current") == (0, "none\n")
    assert await command(settings, "upgrade") == (0, "")
    assert await command(settings, "current") == (0, f"{revisions()[0]}\n")
    assert await command(settings, "downgrade", "base") == (0, "")
    assert await command(settings, "current") == (0, "none\n")
    closed = settings.model_copy(update={"database_port": 1})
    assert await command(closed, "current") == (69, "")


async def command(settings: DatabaseSettings, *arguments: str) -> tuple[int | None, str]:
    environment = {f"LOCKSTEP_{name.upper()}": str(value) for name, value in settings.model_dump().items()}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "services.database", *arguments),
        env={**os.environ, **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    output, _ = await process.communicate()
    return process.returncode, output.decode()


async def test_a_server_that_does_not_answer_is_unavailable_within_the_bounds(
    settings: DatabaseSettings, new_proxy: Factory[Proxy]
) -> None:
    proxy = await new_proxy(settings.database_host, settings.database_port)
    through = settings.model_copy(update={"database_port": proxy.port})
    engine = create_engine(through, "test", statement_timeout_ms=500, pool_size=1, max_overflow=0)
    try:
        async with engine.connect() as connection:
            assert await connection.scalar(text("select 1")) == 1
            with pytest.raises(Exception, match="statement timeout") as slow:
                await connection.execute(text("select pg_sleep(5)"))
            assert is_unavailable(slow.value)
            await connection.rollback()
            await proxy.cut()
            with pytest.raises(Exception, match="connection") as lost:
                await connection.execute(text("select 1"))
            assert is_unavailable(lost.value)
        await proxy.refuse()
        with pytest.raises((OSError, OperationalError)) as refused:
            async with engine.connect():
                pass
        assert is_unavailable(refused.value)
    finally:
        await engine.dispose()
