"""What both halves do beside their work: measure what waits."""

from __future__ import annotations

from typing import Final

import asyncpg

from services.relay import metrics

MEASURE_EVERY_S: Final = 5.0

_WAITING: Final = """
select count(*), coalesce(extract(epoch from clock_timestamp() - min(created_at)), 0)::float8
from outbox where topic = $1
"""


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
