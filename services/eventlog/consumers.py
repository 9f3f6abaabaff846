"""For single questions to the log: an aiokafka consumer without a group, started and stopped properly."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from aiokafka import AIOKafkaConsumer

from services.eventlog.closing import close

REQUEST_TIMEOUT_MS: Final = 5_000

_ANSWER_MS: Final = 250
"""How long a broker waits before it says that there is nothing."""


def new_consumer(
    kafka: str, *, committed_only: bool, max_partition_fetch_bytes: int = 1024 * 1024
) -> AIOKafkaConsumer:
    """A consumer that is told what to read and where; nothing is committed and no position is ever reset."""
    return AIOKafkaConsumer(
        bootstrap_servers=kafka,
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="none",
        isolation_level="read_committed" if committed_only else "read_uncommitted",
        fetch_min_bytes=1,
        fetch_max_wait_ms=_ANSWER_MS,
        max_partition_fetch_bytes=max_partition_fetch_bytes,
        request_timeout_ms=REQUEST_TIMEOUT_MS,
    )


async def start(consumer: AIOKafkaConsumer) -> None:
    """Connect. Raises aiokafka's KafkaError when no broker can be reached; then nothing is left behind."""
    try:
        await consumer.start()
    except BaseException:
        await stop(consumer)
        raise


async def stop(consumer: AIOKafkaConsumer) -> None:
    """Disconnect."""
    await close(_stop(consumer), "a consumer")


async def _stop(consumer: AIOKafkaConsumer) -> None:
    try:
        await consumer.stop()
    except asyncio.CancelledError:
        # It lets out the cancellation of its own tasks (one that has not run yet, or waits to try again), and then leaves
        # its connections open.
        await consumer._client.close()


@asynccontextmanager
async def running(consumer: AIOKafkaConsumer) -> AsyncIterator[AIOKafkaConsumer]:
    """A started consumer for the length of a block."""
    await start(consumer)
    try:
        yield consumer
    finally:
        await stop(consumer)
