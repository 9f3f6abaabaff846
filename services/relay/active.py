"""One active copy of each half, and being woken when there is something to do.

The lock is for quiet, not for safety: two that are active at once (one that was frozen and woke up) fence each
other out in the directory and append copies of the same ids to the events, which the fold numbers once.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import asyncpg
import structlog

from services.database.wake import NOTIFY_CHANNEL
from services.relay import metrics

log = structlog.get_logger()

STANDBY_POLL_S: Final = 0.5

SILENT_S: Final = 30
"""PostgreSQL takes the lock from a relay from which nothing was heard for this long: one that is frozen, or whose
machine hangs, keeps its connection, and would keep the lock."""


async def become_active(
    connection: asyncpg.Connection, lock: int, half: str, on_standby: Callable[[], None]
) -> None:
    """Wait until this connection holds the lock; it keeps it until it closes, breaks, or asks nothing for `SILENT_S`.

    `on_standby` is called when another one has it.
    """
    metrics.ACTIVE.labels(half).set(0)
    waiting = False
    while not await connection.fetchval("select pg_try_advisory_lock($1)", lock):
        if not waiting:
            log.info("standby: another relay is active", half=half)
            on_standby()
            waiting = True
        await asyncio.sleep(STANDBY_POLL_S)
    await connection.execute(f"set idle_session_timeout = '{SILENT_S}s'")
    metrics.ACTIVE.labels(half).set(1)
    log.info("active", half=half)


@asynccontextmanager
async def listening(connection: asyncpg.Connection) -> AsyncIterator[asyncio.Event]:
    """An event that is set when a transaction that wrote to the outbox commits (or the connection breaks)."""
    woken = asyncio.Event()

    def notified(*_: Any) -> None:
        woken.set()

    connection.add_termination_listener(notified)
    await connection.add_listener(NOTIFY_CHANNEL, notified)
    try:
        yield woken
    finally:
        connection.remove_termination_listener(notified)


async def wait_for(woken: asyncio.Event, timeout: float) -> bool:
    """Whether `woken` was set within `timeout` seconds; it is cleared."""
    if not woken.is_set() and timeout > 0:
        try:
            async with asyncio.timeout(timeout):
                await woken.wait()
        except TimeoutError:
            return False
    was_set = woken.is_set()
    woken.clear()
    return was_set
