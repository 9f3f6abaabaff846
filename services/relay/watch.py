"""Is it still the log that the relay began with, and that PostgreSQL knows? The relay only writes: it would go on filling
a log that was wiped, cut short or rewritten, of which every reader has said so and stopped."""

from __future__ import annotations

import asyncio
from typing import Final

import asyncpg
import structlog
from aiokafka.errors import KafkaError

from services.contract.generation import Generation
from services.database.connection import connected, is_unavailable
from services.database.epochs import WrongEpoch, check_epoch
from services.eventlog.comparison import compare, must_exist
from services.eventlog.epoch import current_generation
from services.eventlog.errors import LogLost
from services.eventlog.probe import Probe
from services.eventlog.sequencer import LastRecord
from services.eventlog.tail import event_id_of
from services.runtime.settings import DatabaseSettings

log = structlog.get_logger()

LOG_CHECK_S: Final = 15.0

_AGAIN_S: Final = 1.0

_DATABASE: Final = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)

_PERSISTED: Final = """
select partition, next_offset, last_offset, last_append_ms, last_id from log_partitions where epoch = $1
"""


async def watch_log(settings: DatabaseSettings, kafka: str, generation: Generation) -> None:
    """Look now, and then every `LOG_CHECK_S`. Never returns; raises NoGeneration, WrongEpoch or LogLost.

    A look that a server does not answer is left out.
    """
    while True:
        try:
            await check_log(settings, kafka, generation)
        except (KafkaError, OSError, TimeoutError, *_DATABASE) as error:
            if not (isinstance(error, KafkaError) or is_unavailable(error)):
                raise
            log.warning("it cannot be told yet whether it is the same log", error=repr(error))
        await asyncio.sleep(LOG_CHECK_S)


async def check_log(settings: DatabaseSettings, kafka: str, generation: Generation) -> None:
    """One look: the generation record, and in each partition the last record that the persister has stored.

    Raises NoGeneration, WrongEpoch or LogLost, and what says that a server does not answer.
    """
    there = await current_generation(kafka)
    if there != generation:
        raise WrongEpoch(
            f"the log was at epoch {generation.epoch}, made at {generation.created_ms}, and is at epoch "
            f"{there.epoch}, made at {there.created_ms}: run `python -m services.bootstrap`, which says what to do"
        )
    try:
        await _compare(settings, kafka, generation)
    except LogLost as lost:
        # Once may be retention, that came by between the two questions.
        log.warning("it does not look like the same log", error=str(lost))
        await asyncio.sleep(_AGAIN_S)
        await _compare(settings, kafka, generation)


async def _compare(settings: DatabaseSettings, kafka: str, generation: Generation) -> None:
    async with connected(settings, "lockstep-relay-watch") as connection:
        await check_epoch(connection, generation)
        rows = await connection.fetch(_PERSISTED, generation.epoch)
    async with Probe(kafka, generation.events_topic) as probe:
        await must_exist(probe, generation.events_topic)
        await compare(
            probe,
            generation.events_topic,
            {row["partition"]: row["next_offset"] for row in rows},
            {
                row["partition"]: LastRecord(row["last_offset"], row["last_append_ms"], row["last_id"])
                for row in rows
                if row["last_offset"] is not None
            },
            event_id_of,
            compacted=False,
        )
