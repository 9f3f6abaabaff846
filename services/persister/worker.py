"""The persister's loop: read the log, fold, store; after any failure throw the fold away and rebuild it.

While PostgreSQL stores one batch, the next is read and folded, if there is much to read; nothing beyond that, so that a
database that is away costs no memory: the log keeps what waits.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping
from typing import Final

import asyncpg
import structlog
from aiokafka.errors import KafkaError

from services.contract.envelope import UnknownEnvelopeVersion
from services.contract.generation import Generation
from services.database.connection import connected, end_silent, is_unavailable
from services.database.epochs import WrongEpoch
from services.eventlog.condemning import report_lost, watch_epoch
from services.eventlog.epoch import await_generation, must_be_trusted
from services.eventlog.errors import LogLost, NoGeneration
from services.eventlog.tail import Tail
from services.persister import metrics
from services.persister.fold import PIECE, Batch, PartitionFold, fold
from services.persister.store import (
    OrderConflict,
    PositionLost,
    read_starting_point,
    write,
)
from services.runtime.process import Fatal
from services.runtime.sessions import run_sessions
from services.runtime.settings import DatabaseSettings
from services.runtime.side_by_side import side_by_side

log = structlog.get_logger()

_APPLICATION: Final = "lockstep-persister"

POLL_MS: Final = 250
BATCH: Final = 5_000
"""The most records in a transaction."""

MUCH: Final = 1_000
"""From so many records on, the next are read while these are stored. Fewer are stored in the time in which a few more
come, and those are better stored together."""

SILENCE_S: Final = 10.0
"""Neither a record nor a proof that there is none for this long: the log does not answer."""


class Worker:
    """Persists some partitions of an epoch until it is cancelled or must not go on."""

    def __init__(
        self, settings: DatabaseSettings, kafka: str, partitions: frozenset[int] | None = None
    ) -> None:
        """`partitions` None: all that the epoch has."""
        self._settings = settings
        self._kafka = kafka
        self._chosen = partitions
        self._why_not: str | None = "starting"
        self._tail: Tail | None = None
        self._read_at = 0.0

    def ready(self) -> str | None:
        """None when events are being stored, else a sentence why not (runtime.admin.Readiness)."""
        if self._why_not is not None:
            return self._why_not
        if self._tail is not None:
            silent = time.monotonic() - max(self._read_at, self._tail.proven_current())
            if silent > SILENCE_S:
                return f"the log has not answered for {silent:.0f} s"
        return None

    async def run(self) -> None:
        """Never returns. Raises Fatal when the log and PostgreSQL disagree, or the log is lost or too new to read."""
        try:
            generation = await await_generation(self._kafka)
        except (NoGeneration, LogLost) as error:
            raise Fatal(str(error)) from error
        partitions = self._partitions(generation)
        sessions = run_sessions(
            lambda: self._session(generation, partitions), is_transient=is_transient, on_failure=self._failed
        )
        try:
            await side_by_side(sessions, watch_epoch(self._kafka, generation))
        except OrderConflict as error:
            raise Fatal(
                f"The log and PostgreSQL disagree about the order; compare them with `lockstep verify`: {error}"
            ) from error
        except UnknownEnvelopeVersion as error:
            raise Fatal(f"The log holds records of a newer release; upgrade this process: {error}") from error
        except LogLost as error:
            await report_lost(self._kafka, generation, error, "persister")
            raise Fatal(
                f"The log is not the one that was stored; see the next-epoch command: {error}"
            ) from error
        except WrongEpoch as error:
            raise Fatal(str(error)) from error

    def _partitions(self, generation: Generation) -> frozenset[int]:
        every = frozenset(range(generation.partitions))
        if self._chosen is None:
            return every
        if not self._chosen <= every:
            raise Fatal(
                f"LOCKSTEP_PERSISTER_PARTITIONS names {sorted(self._chosen - every)},"
                f" but epoch {generation.epoch} has partitions 0 to {generation.partitions - 1}"
            )
        return self._chosen

    async def _session(self, generation: Generation, partitions: frozenset[int]) -> None:
        """From one rebuild to the failure that ends it."""
        try:
            async with contextlib.AsyncExitStack() as owned:
                # What was away may have come back changed, and only others have noticed.
                await must_be_trusted(self._kafka, generation.epoch)
                connection = await owned.enter_async_context(connected(self._settings, _APPLICATION))
                silent = await end_silent(connection, _APPLICATION)
                if silent:
                    log.warning("ended persisters that had stopped in the middle of a batch", sessions=silent)
                start = await read_starting_point(connection, generation, partitions)
                tail = await owned.enter_async_context(
                    Tail(
                        self._kafka,
                        generation.events_topic,
                        start.positions,
                        partitions=generation.partitions,
                        last=start.last,
                    )
                )
                log.info("rebuilt", positions=start.positions)
                self._tail, self._why_not, self._read_at = tail, None, time.monotonic()
                await self._follow(connection, generation.epoch, tail, start.folds)
        finally:
            self._tail = None

    async def _follow(
        self, connection: asyncpg.Connection, epoch: int, tail: Tail, folds: Mapping[int, PartitionFold]
    ) -> None:
        """Batch after batch, in the order of the log. What was read before the log fails is stored all the same."""
        batch = Batch()
        ahead: asyncio.Task[Batch] | None = None

        def read_ahead() -> None:
            nonlocal ahead
            if batch.records >= MUCH:
                ahead = asyncio.create_task(self._next(tail, folds), name="read ahead")

        try:
            while True:
                batch = await (ahead or self._next(tail, folds))
                ahead = None
                if batch.records:
                    await self._store(connection, epoch, batch, read_ahead)
                elif connection.is_closed():
                    raise asyncpg.InterfaceError("the connection to PostgreSQL was closed")
        finally:
            if ahead is not None:
                ahead.cancel()
                await asyncio.gather(ahead, return_exceptions=True)

    async def _next(self, tail: Tail, folds: Mapping[int, PartitionFold]) -> Batch:
        """What the log holds by now, folded; empty when nothing comes for a while."""
        batch = Batch()
        timeout_ms = POLL_MS
        while batch.records < BATCH:
            before = batch.records
            fold(folds, await tail.batch(timeout_ms, PIECE), batch)
            if batch.records - before < PIECE:
                break
            timeout_ms = 0  # the tail lets the transaction under way go on before it hands out more
        if batch.records:
            self._read_at = time.monotonic()
        return batch

    async def _store(
        self, connection: asyncpg.Connection, epoch: int, batch: Batch, projected: Callable[[], None]
    ) -> None:
        began = time.perf_counter()
        outbox_rows = await write(connection, epoch, batch, projected)
        _count(batch, outbox_rows, time.perf_counter() - began, time.time_ns() // 1_000_000)

    def _failed(self, error: BaseException) -> None:
        reason = _reason(error)
        metrics.REBUILDS.labels(reason).inc()
        self._why_not = f"rebuilding after a failure ({reason}): {error or type(error).__name__}"
        log.warning("rebuilding", reason=reason, error=str(error), kind=type(error).__name__)


def is_transient(error: BaseException) -> bool:
    """Whether beginning anew may help; it loses nothing, because the guard lets no batch be written twice."""
    return isinstance(
        error, (PositionLost, KafkaError, asyncpg.PostgresError, asyncpg.InterfaceError)
    ) or is_unavailable(error)


def _reason(error: BaseException) -> str:
    match error:
        case PositionLost():
            return "position"
        case KafkaError():
            return "log"
        case _:
            return "database"


def _count(batch: Batch, outbox_rows: int, seconds: float, now_ms: int) -> None:
    metrics.BATCHES.inc()
    metrics.STORED.inc(len(batch.events))
    metrics.BATCH_EVENTS.observe(len(batch.events))
    metrics.UNPROJECTED.inc(batch.unprojected)
    metrics.OUTBOX_DONE.inc(outbox_rows)
    metrics.WRITE_SECONDS.observe(seconds)
    metrics.LAG_MS.observe(max(0, now_ms - batch.oldest_ms))
    for verdict, count in batch.verdicts.items():
        metrics.RECORDS.labels(verdict).inc(count)
    for position in batch.positions.values():
        metrics.NEXT_OFFSET.labels(str(position.partition)).set(position.next_offset)
