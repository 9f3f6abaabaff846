"""PostgreSQL's table `events`, in one read-only snapshot."""

from __future__ import annotations

import asyncio

import asyncpg

from verify.findings import CannotJudge
from verify.judge import Judge, StoredRow

_POLL_S = 0.2
_ROWS_AT_ONCE = 2_000

_HEADS = """
    select channel_id, max(seq) as head from events
    where channel_id = any($1::text[]) group by channel_id
"""
_ROWS = """
    select epoch, channel_id, seq, sender_id, event_id, at_ms, body from events
    where $1::text[] is null or channel_id = any($1::text[])
    order by channel_id, seq
"""


async def read_database(judge: Judge, dsn: str, *, wait_s: float) -> None:
    """Wait up to `wait_s` for the persister to have stored what others vouched for; then read. Raises CannotJudge."""
    try:
        connection = await asyncpg.connect(dsn, timeout=10)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError, ValueError) as error:
        raise CannotJudge(f"PostgreSQL: cannot connect: {error or type(error).__name__}") from error
    try:
        await _read(judge, connection, wait_s)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise CannotJudge(f"PostgreSQL: {error}") from error
    finally:
        await connection.close(timeout=5)


async def _read(judge: Judge, connection: asyncpg.Connection, wait_s: float) -> None:
    wanted = judge.channels()
    judge.database_begins(wanted)
    channels = None if wanted is None else sorted(wanted)
    if channels is not None:
        await _until_stored(judge, connection, channels, wait_s)
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        cursor = connection.cursor(_ROWS, channels, prefetch=_ROWS_AT_ONCE)
        async for epoch, channel, seq, sender, id, at, body in cursor:
            judge.stored(StoredRow(epoch, channel, seq, sender, str(id), at, body))


async def _until_stored(
    judge: Judge, connection: asyncpg.Connection, channels: list[str], wait_s: float
) -> None:
    deadline = asyncio.get_running_loop().time() + wait_s
    required = {channel: judge.required(channel) for channel in channels}
    while asyncio.get_running_loop().time() < deadline:
        heads = {row["channel_id"]: row["head"] for row in await connection.fetch(_HEADS, channels)}
        if all(heads.get(channel, 0) >= head for channel, head in required.items()):
            return
        await asyncio.sleep(_POLL_S)
