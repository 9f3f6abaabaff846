"""What both halves do beside their work: make sure of the epoch, measure what waits."""

from __future__ import annotations

from typing import Final

import asyncpg

from services.contract.generation import Generation
from services.relay import metrics

MEASURE_EVERY_S: Final = 5.0

_NEWEST_EPOCH: Final = "select max(epoch) from generations"

_WAITING: Final = """
select count(*), coalesce(extract(epoch from clock_timestamp() - min(created_at)), 0)::float8
from outbox where topic = $1
"""


class WrongEpoch(Exception):
    """PostgreSQL's newest generation is not the log's: what is written now would go to a log that has ended."""


async def check_epoch(connection: asyncpg.Connection, generation: Generation) -> None:
    """Raises WrongEpoch."""
    newest = await connection.fetchval(_NEWEST_EPOCH)
    if newest != generation.epoch:
        raise WrongEpoch(
            f"the log is at epoch {generation.epoch}, PostgreSQL at {newest or 'none'}:"
            " run `python -m services.bootstrap`, which says what to do"
        )


class Gauges:
    """How many rows of a topic wait, and for how long; asked for now and then."""

    def __init__(self, topic: str) -> None:
        self._topic = topic
        self._measured = 0.0

    async def measure(self, connection: asyncpg.Connection, now: float) -> None:
        """Does nothing more often than every `MEASURE_EVERY_S` of `now`, a monotonic clock in seconds."""
        if now - self._measured < MEASURE_EVERY_S:
            return
        self._measured = now
        rows, oldest = await connection.fetchrow(_WAITING, self._topic)
        metrics.WAITING.labels(self._topic).set(rows)
        metrics.OLDEST.labels(self._topic).set(oldest)
