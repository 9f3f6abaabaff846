"""Bringing an installation up: wait for the servers, migrate, make epoch 1 if there is none. Safe to repeat."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import asyncpg
import structlog
from aiokafka.errors import KafkaError
from tenacity import (
    AsyncRetrying,
    RetryError,
    retry_if_exception,
    retry_if_exception_type,
    stop_after_attempt,
    stop_after_delay,
    wait_random_exponential,
)

from services.bootstrap.agreement import Disagreement, Step, agree
from services.bootstrap.records import known_generations, progress, record_generation
from services.bootstrap.settings import BootstrapSettings
from services.contract.envelope import UnknownEnvelopeVersion
from services.contract.generation import Generation
from services.database import locks
from services.database.connection import connected
from services.database.engine import is_unavailable
from services.database.migrate import migrate
from services.eventlog.comparison import compare_until_answered
from services.eventlog.epoch import create_generation, current_generation, generations, is_unused
from services.eventlog.errors import Fenced, LogLost, WriteFailed
from services.eventlog.probe import Probe
from services.eventlog.tail import event_id_of
from services.eventlog.topics import admin_client, create_topics, moment_topics
from services.runtime.process import Fatal

log = structlog.get_logger()

_ATTEMPTS: Final = 5


async def bootstrap(settings: BootstrapSettings) -> Generation:
    """Gives the generation in force. Raises Fatal when an operator must decide."""
    await asyncio.gather(await_kafka(settings), migrated(settings))
    async with locked(settings) as connection:
        database = await known_generations(connection)
        try:
            known = await generations(settings.kafka)
            empty = bool(known) and await is_unused(settings.kafka, known[max(known)])
            step = agree(known, database, empty)
            if step is Step.NOTHING:
                generation = await current_generation(settings.kafka)
                await _same_log(settings, connection, generation)
                # Epochs made by an earlier release lack them.
                async with admin_client(settings.kafka) as admin:
                    await create_topics(admin, moment_topics(generation, settings.replication))
            else:
                log.info("making the first epoch", because=step.value)
                generation = known[1] if known else await _first(settings)
                await record_generation(connection, generation)
        except (Disagreement, LogLost, UnknownEnvelopeVersion) as error:
            raise Fatal(str(error)) from error
    log.info("ready", epoch=generation.epoch, partitions=generation.partitions)
    return generation


async def _same_log(
    settings: BootstrapSettings, connection: asyncpg.Connection, generation: Generation
) -> None:
    """The last record that the persister stored of each partition must still stand in the log.

    Nodes begin with what the log says, and the one that noticed forgets when it is started again: without this they
    would give numbers anew that people have seen already. Raises LogLost.
    """
    stored = await progress(connection, generation.epoch)
    positions = {partition: known.next_offset for partition, known in stored.items()}
    last = {partition: known.last for partition, known in stored.items()}
    topic = generation.events_topic
    try:
        async with Probe(settings.kafka, topic) as probe:
            await compare_until_answered(probe, topic, positions, last, event_id_of, compacted=False)
    except LogLost as error:
        raise LogLost(
            f"the log is not the one that was stored: {error}. Find out what happened to Kafka's disks; to go on, "
            f"begin a new epoch: `python -m services.bootstrap next-epoch --salvage FILE`"
        ) from error


async def await_kafka(settings: BootstrapSettings) -> None:
    """Wait until a broker answers. Raises Fatal when none does in time."""

    async def ask() -> None:
        async with admin_client(settings.kafka) as admin:
            await admin.list_topics()

    patient = AsyncRetrying(
        retry=retry_if_exception_type((KafkaError, OSError, TimeoutError)),
        wait=wait_random_exponential(0.1, max=2),
        stop=stop_after_delay(settings.bootstrap_wait_s),
    )
    try:
        await patient(ask)
    except RetryError as error:
        raise Fatal(f"no Kafka broker answers at {settings.kafka} (LOCKSTEP_KAFKA)") from error


@asynccontextmanager
async def locked(settings: BootstrapSettings) -> AsyncIterator[asyncpg.Connection]:
    """A connection that holds the lock of everybody who makes epochs, for the length of a block."""
    async with connected(settings, "lockstep-bootstrap", statement_timeout_ms=None) as connection:
        await connection.execute("select pg_advisory_lock($1)", locks.EPOCH)
        yield connection


async def migrated(settings: BootstrapSettings) -> None:
    """Wait until PostgreSQL answers, and bring its schema up to date. Raises Fatal when it does not in time."""
    patient = AsyncRetrying(
        retry=retry_if_exception(is_unavailable),
        wait=wait_random_exponential(0.1, max=2),
        stop=stop_after_delay(settings.bootstrap_wait_s),
    )
    try:
        await patient(migrate, settings)
    except RetryError as error:
        raise Fatal(
            f"PostgreSQL does not answer at {settings.database_host}:{settings.database_port}, database "
            f"{settings.database_name}: {error.last_attempt.exception()}"
        ) from error


async def _first(settings: BootstrapSettings) -> Generation:
    return await insistently(
        create_generation, settings.kafka, settings.generation(1), replication=settings.replication
    )


async def insistently(
    work: Callable[..., Awaitable[Generation]], *arguments: Any, **options: Any
) -> Generation:
    """Repeat what another writer to the same cluster, or a short outage, got in the way of."""
    again = AsyncRetrying(
        retry=retry_if_exception_type((Fenced, WriteFailed, KafkaError, OSError, TimeoutError)),
        wait=wait_random_exponential(0.2, max=3),
        stop=stop_after_attempt(_ATTEMPTS),
        reraise=True,
    )
    return await again(work, *arguments, **options)
