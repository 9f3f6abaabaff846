"""Settings of `python -m services.bootstrap`. The epoch's own are fixed when it is made and ignored afterwards."""

from __future__ import annotations

import time
from typing import Annotated

from pydantic import Field

from services.contract.generation import Generation
from services.runtime.settings import DatabaseSettings, KafkaSettings, LogSettings

_Milliseconds = Annotated[int, Field(ge=100, le=86_400_000)]


class BootstrapSettings(LogSettings, KafkaSettings, DatabaseSettings):
    """`replication`: of every topic; all but one copy must have a record before it is acknowledged.

    `bootstrap_wait_s`: how long to wait for Kafka and PostgreSQL. The others are of the generation that is made.
    """

    replication: Annotated[int, Field(ge=1, le=9)] = 1
    bootstrap_wait_s: Annotated[float, Field(gt=0)] = 120.0
    partitions: Annotated[int, Field(ge=1, le=1024)] = 8
    retry_ms: _Milliseconds = 120_000
    future_ms: _Milliseconds = 60_000
    checkpoint_lag_ms: _Milliseconds = 600_000

    def generation(self, epoch: int) -> Generation:
        """The generation record of an epoch made now."""
        return Generation(
            epoch=epoch,
            partitions=self.partitions,
            retry_ms=self.retry_ms,
            future_ms=self.future_ms,
            checkpoint_lag_ms=self.checkpoint_lag_ms,
            created_ms=time.time_ns() // 1_000_000,
        )
