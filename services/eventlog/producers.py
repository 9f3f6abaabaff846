"""What the appender and the transactional writers share: starting an aiokafka producer, and getting rid of one."""

from __future__ import annotations

import asyncio
from itertools import chain
from typing import Any, Final

from aiokafka import AIOKafkaProducer

from services.eventlog.closing import close

MAX_BATCH_BYTES: Final = 512 * 1024
"""The largest batch handed to a producer: half of what topics take (`topics.MAX_MESSAGE_BYTES`)."""

_ASK_S: Final = 0.02


async def start(producer: AIOKafkaProducer, timeout_s: float) -> None:
    """Connect a producer and get its id. Raises KafkaError or TimeoutError; then nothing of it is left behind."""
    try:
        async with asyncio.timeout(timeout_s):
            await producer.start()
    except BaseException:
        await abandon(producer)
        raise


async def abandon(producer: AIOKafkaProducer) -> None:
    """End a producer without waiting for what it has under way.

    Its own `stop` first delivers everything, which after a failure is what must not happen: an idempotent producer
    would go on repeating the failed batch for ever. So its sender is ended and the connections are cut.
    """
    producer._closed = True  # or it complains, when it is collected, that nobody stopped it
    sender = producer._sender.sender_task
    if sender is not None:
        sender.cancel()
    try:
        await close(_cut(producer, sender), "a producer")
    finally:
        _retrieve(producer)


async def _cut(producer: AIOKafkaProducer, sender: asyncio.Task[None] | None) -> None:
    await producer.client.close()
    while sender is not None and not sender.done():
        # Its last requests have failed now and wait for a metadata update before they would be repeated, which nobody
        # makes any more.
        update = producer.client._md_update_fut
        if update is not None and not update.done():
            update.set_result(False)
        await asyncio.wait([sender], timeout=_ASK_S)


def _retrieve(producer: AIOKafkaProducer) -> None:
    """Errors that lie in futures nobody waits for any more are no news; unread, each would be logged at length."""
    accumulator, transactions = producer._message_accumulator, producer._txn_manager
    futures: list[asyncio.Future[Any] | None] = [producer._sender.sender_task]
    for batch in chain(*accumulator._batches.values(), accumulator._pending_batches):
        futures += [batch.future, batch._drain_waiter]
    if transactions is not None:
        futures.append(transactions._transaction_waiter)
    for future in futures:
        if future is not None and future.done() and not future.cancelled():
            future.exception()
