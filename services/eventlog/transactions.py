"""Transactional writing with one writer at a time: what heads, directory and generations are written with."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Final, Self

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import InvalidProducerEpoch, KafkaError, ProducerFenced
from aiokafka.structs import TopicPartition

from services.eventlog import producers
from services.eventlog.errors import Fenced, WriteFailed

log = structlog.get_logger()

_START_S: Final = 30.0
_COMMIT_S: Final = 20.0
_REQUEST_TIMEOUT_MS: Final = 5_000
_TRANSACTION_TIMEOUT_MS: Final = 30_000
"""After this long the broker gives up the transaction of a writer that died, and readers pass it."""

Entry = tuple[bytes, bytes]
"""Key and value of one record."""


class TransactionalWriter:
    """Commits records under a transactional id. Entering fences every earlier writer with the same id.

    `async with` raises aiokafka's KafkaError, or TimeoutError, when the log cannot be reached.
    """

    def __init__(self, kafka: str, transactional_id: str) -> None:
        self._kafka = kafka
        self._id = transactional_id
        self._producer: AIOKafkaProducer | None = None

    async def __aenter__(self) -> Self:
        self._producer = await self._connect()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            await producers.abandon(producer)

    async def commit(self, entries: Mapping[TopicPartition, Iterable[Entry]]) -> None:
        """Write each partition's entries in their order, in one transaction.

        Raises Fenced when another writer has taken over, WriteFailed when the transaction failed or its outcome is
        not known. After WriteFailed the writer may be used again: it connects anew, which fences others.
        """
        if self._producer is None:
            try:
                self._producer = await self._connect()
            except (KafkaError, OSError, TimeoutError) as error:
                raise WriteFailed(f"{self._id}: no connection: {error!r}") from error
        try:
            async with asyncio.timeout(_COMMIT_S):
                await self._transaction(self._producer, entries)
        except (ProducerFenced, InvalidProducerEpoch) as error:
            await self._drop()
            raise Fenced(f"{self._id}: another writer has taken over") from error
        except (KafkaError, OSError, TimeoutError) as error:
            await self._drop()
            raise WriteFailed(f"{self._id}: {error!r}") from error
        except asyncio.CancelledError:
            await self._drop()
            raise

    async def _transaction(
        self, producer: AIOKafkaProducer, entries: Mapping[TopicPartition, Iterable[Entry]]
    ) -> None:
        await producer.begin_transaction()
        deliveries = []
        for tp, records in entries.items():
            batch = producer.create_batch()
            for key, value in records:
                if batch.append(timestamp=None, key=key, value=value) is None:
                    deliveries.append(await producer.send_batch(batch, tp.topic, partition=tp.partition))
                    batch = producer.create_batch()
                    batch.append(timestamp=None, key=key, value=value)
            if batch.record_count():
                deliveries.append(await producer.send_batch(batch, tp.topic, partition=tp.partition))
        # Committing does not ask whether the batches got through.
        await asyncio.gather(*deliveries)
        await producer.commit_transaction()

    async def _connect(self) -> AIOKafkaProducer:
        producer = AIOKafkaProducer(
            bootstrap_servers=self._kafka,
            transactional_id=self._id,
            acks="all",
            max_batch_size=producers.MAX_BATCH_BYTES,
            request_timeout_ms=_REQUEST_TIMEOUT_MS,
            transaction_timeout_ms=_TRANSACTION_TIMEOUT_MS,
        )
        await producers.start(producer, _START_S)
        return producer

    async def _drop(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            await producers.abandon(producer)
