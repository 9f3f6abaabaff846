"""The half that publishes entities: an outbox row names one, and its current state goes out, with its version."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import asyncpg
import structlog
from sqlalchemy import delete, func, select
from sqlalchemy.ext.asyncio import AsyncEngine

from services.contract.directory import DirectoryRecord
from services.contract.generation import Generation
from services.database import locks
from services.database.connection import connected
from services.database.directory_state import current_records
from services.database.engine import create_engine
from services.database.epochs import WrongEpoch, check_epoch
from services.database.tables import GenerationRow, OutboxRow
from services.eventlog.directory import DirectoryWriter
from services.relay import metrics
from services.relay.active import become_active, listening, wait_for
from services.relay.upkeep import Gauges
from services.runtime.settings import DatabaseSettings

log = structlog.get_logger()

HALF: Final = "directory"
POLL_S: Final = 1.0
ROWS_AT_ONCE: Final = 1_000


class DirectoryHalf:
    """One session: from waiting to be the active one to the failure that ends it."""

    def __init__(self, settings: DatabaseSettings, kafka: str, generation: Generation) -> None:
        self._settings = settings
        self._kafka = kafka
        self._generation = generation

    async def run(self, started: Callable[[], None]) -> None:
        """Never returns; raises what ended it. `started` is called when it works, and when it is on standby."""
        engine = create_engine(self._settings, "lockstep-relay-directory", pool_size=1, max_overflow=0)
        try:
            async with connected(self._settings, "lockstep-relay-directory-lock") as connection:
                await become_active(connection, locks.RELAY_DIRECTORY, HALF, started)
                await check_epoch(connection, self._generation)
                async with (
                    listening(connection) as woken,
                    DirectoryWriter(self._kafka, self._generation) as writer,
                ):
                    started()
                    gauges = Gauges(HALF)
                    while True:
                        if connection.is_closed():
                            raise asyncpg.InterfaceError("the connection that held the lock was closed")
                        published = await self._publish(engine, writer)
                        # Also under unbroken work: a connection that asks nothing loses the lock.
                        await gauges.measure(connection, time.monotonic())
                        if not published:
                            await wait_for(woken, POLL_S)
        finally:
            await engine.dispose()

    async def _publish(self, engine: AsyncEngine, writer: DirectoryWriter) -> bool:
        """Publish the first waiting rows in one transaction of the log; False when none waited."""
        async with engine.connect() as connection:
            await connection.execution_options(isolation_level="REPEATABLE READ")
            rows = (
                await connection.execute(
                    select(OutboxRow.position, OutboxRow.key, OutboxRow.created_at)
                    .where(OutboxRow.topic == "directory")
                    .order_by(OutboxRow.position)
                    .limit(ROWS_AT_ONCE)
                )
            ).all()
            if not rows:
                return False
            keys = list(dict.fromkeys(row.key for row in rows if row.key is not None))
            current = await current_records(connection, keys)
        records: list[DirectoryRecord] = []
        for key in keys:
            if key in current:
                records.append(current[key])
            else:
                metrics.ORPHANS.inc()
                log.warning("an outbox row names what does not exist", key=key)
        await writer.publish(records)
        now = time.time()
        for row in rows:
            metrics.DELAY_SECONDS.labels(HALF).observe(max(0.0, now - row.created_at.timestamp()))
        metrics.PUBLISHED.inc(len(records))
        metrics.DIRECTORY_BATCHES.inc()
        await self._delete(engine, [row.position for row in rows])
        return True

    async def _delete(self, engine: AsyncEngine, positions: list[int]) -> None:
        """Remove published rows; those of another epoch's time stay, because its directory has not seen them."""
        newest = select(func.max(GenerationRow.epoch)).scalar_subquery()
        async with engine.begin() as connection:
            removed = await connection.execute(
                delete(OutboxRow)
                .where(OutboxRow.position == func.any(positions))
                .where(newest == self._generation.epoch)
            )
            # Nothing removed: another relay may have been faster, which does no harm.
            epoch = None if removed.rowcount else await connection.scalar(select(newest))
        if epoch is not None and epoch != self._generation.epoch:
            raise WrongEpoch(f"epoch {self._generation.epoch} has ended: restart this process")
