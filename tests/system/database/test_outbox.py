"""Promise: what a committed transaction wants published is in the outbox, and the relay is told; else nothing is."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest
from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from services.contract.directory import (
    ChannelRecord,
    DirectoryRecord,
    GroupRecord,
    KeyRecord,
    MemberRecord,
    RevokedRecord,
    UserRecord,
    WorkspaceRecord,
)
from services.contract.ids import uuid7
from services.database.directory_state import REVOCATION_MS, all_records, current_records
from services.database.outbox import enqueue_directory, enqueue_event
from services.database.tables import OutboxRow
from services.database.wake import NOTIFY_CHANNEL
from tests.stack.servers import Database
from tests.stack.waiting import until
from tests.system.database.example import CHANNEL, GROUP, KEY, OTHER, OWNER, SESSION, WORKSPACE, fill


@pytest.fixture
async def heard(database: Database, engine: AsyncEngine) -> AsyncIterator[list[str]]:
    """What was notified so far."""
    notified: list[str] = []
    connection: asyncpg.Connection = await database.connect()
    await connection.add_listener(NOTIFY_CHANNEL, lambda *_: notified.append("woken"))
    yield notified
    await connection.close()


async def test_rows_and_wake_up_come_with_the_commit(engine: AsyncEngine, heard: list[str]) -> None:
    event = uuid7()
    async with AsyncSession(engine) as session, session.begin():
        await enqueue_directory(session, ["channel:c", "member:c:u"])
        await enqueue_event(session, event, "c", "u", b"{}")
        await enqueue_event(session, uuid7(), "c", "u", b"{}")
        await session.flush()
        assert heard == []
    await until(lambda: heard == ["woken"], what="one wake-up for one transaction")
    async with engine.connect() as connection:
        rows = (
            await connection.execute(
                select(OutboxRow.topic, OutboxRow.key, OutboxRow.event_id).order_by(OutboxRow.position)
            )
        ).all()
    assert [tuple(row) for row in rows[:3]] == [
        ("directory", "channel:c", None),
        ("directory", "member:c:u", None),
        ("events", None, event),
    ]


async def test_a_transaction_that_rolls_back_leaves_nothing(engine: AsyncEngine, heard: list[str]) -> None:
    async with engine.connect() as connection:
        await enqueue_directory(connection, ["user:u"])
        await connection.rollback()
        # a later commit is heard, and it alone: what came before it would have been heard before
        await enqueue_directory(connection, ["user:v"])
        await connection.commit()
    await until(lambda: bool(heard))
    assert heard == ["woken"]
    async with engine.connect() as connection:
        assert (await connection.execute(select(OutboxRow.key))).scalars().all() == ["user:v"]


async def test_no_keys_are_no_rows(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await enqueue_directory(connection, [])
        assert await connection.scalar(select(func.count()).select_from(OutboxRow)) == 0


EXPECTED: list[DirectoryRecord] = [
    WorkspaceRecord(version=8, id=WORKSPACE),
    GroupRecord(
        version=9, id=GROUP, workspace_id=WORKSPACE, handle="mathematicians", user_ids=[OWNER], active=True
    ),
    UserRecord(version=1, id=OWNER, workspace_id=WORKSPACE, name="Ada", active=True, role="owner"),
    UserRecord(version=2, id=OTHER, workspace_id=WORKSPACE, name="Ada", active=True, role="owner"),
    KeyRecord(version=4, kid=KEY, public_key="PEM", active=True),
    ChannelRecord(version=5, id=CHANNEL, workspace_id=WORKSPACE, kind="public", archived=False),
    MemberRecord(version=6, channel_id=CHANNEL, user_id=OWNER, member=True),
    MemberRecord(version=7, channel_id=CHANNEL, user_id=OTHER, member=False),
]


async def test_the_directory_state_of_keys_and_of_everything(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await fill(connection)
        keys = [record.key for record in EXPECTED]
        unknown = [
            "user:none",
            "member:x",
            f"revoked:{SESSION}",
            "odd",
            "",
            "odd:key",
            f"member:{CHANNEL}:none",
        ]
        assert await current_records(connection, [*keys, *unknown]) == {r.key: r for r in EXPECTED}
        assert sorted([r async for r in all_records(connection, 0, fetch=1)], key=str) == sorted(
            EXPECTED, key=str
        )
        assert await current_records(connection, []) == {}


async def test_a_revoked_session_and_an_archived_channel(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await fill(connection)
        await connection.execute(text("update sessions set revoked_at = to_timestamp(1000), version = 8"))
        await connection.execute(text("update channels set archived_at = now(), version = 9"))
        found = await current_records(connection, [f"revoked:{SESSION}", f"channel:{CHANNEL}"])
        revoked = RevokedRecord(version=8, session_id=SESSION, until_ms=1_000_000 + REVOCATION_MS)
        assert found[f"revoked:{SESSION}"] == revoked
        channel = found[f"channel:{CHANNEL}"]
        assert isinstance(channel, ChannelRecord)
        assert channel.archived
        before, after = revoked.until_ms - 1, revoked.until_ms
        assert revoked in [record async for record in all_records(connection, before)]
        assert revoked not in [record async for record in all_records(connection, after)]


async def test_thousands_of_keys_at_once(engine: AsyncEngine) -> None:
    keys = [f"member:{CHANNEL}:{n}" for n in range(40_000)]
    async with engine.begin() as connection:
        await fill(connection)
        found = await current_records(connection, [*keys, f"member:{CHANNEL}:{OWNER}"])
    assert set(found) == {f"member:{CHANNEL}:{OWNER}"}
