"""The `directory.<epoch>` topic: its tail, for channel servers, and its one writer, for the relay."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from types import TracebackType
from typing import Self

import msgspec
from aiokafka.structs import TopicPartition

from services.contract.directory import DirectoryRecord, decode_record, encode_record
from services.contract.generation import Generation
from services.eventlog import metrics
from services.eventlog.batches import RawRecord
from services.eventlog.reader import TopicReader
from services.eventlog.transactions import TransactionalWriter


class DirectoryTail:
    """Reads the directory from its beginning, committed transactions only.

    Gives the records in the order of the log, older versions included: which version wins is the caller's rule.
    Undecodable records (a newer release's kinds) are skipped and counted in a metric.

    `async with` connects; raises LogLost, or aiokafka's KafkaError (TimeoutError when brokers answer half) when the
    log cannot be reached.
    """

    def __init__(self, kafka: str, generation: Generation) -> None:
        self._topic = generation.directory_topic
        # Compaction never moves the beginning of a log: there is always an offset 0 to begin at.
        self._reader = TopicReader(
            kafka, self._topic, {0: 0}, last={}, identify=_key, committed_only=True, compacted=True
        )

    async def __aenter__(self) -> Self:
        await self._reader.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._reader.__aexit__(kind, error, trace)

    async def batch(self, timeout_ms: int = 250) -> list[DirectoryRecord]:
        """The next records; [] when none came within about `timeout_ms`, and also earlier.

        Raises LogLost. Cancelling it loses no record.
        """
        found = (await self._reader.batch(timeout_ms)).get(0, [])
        try:
            return [decode_record(raw.value or b"") for raw in found]
        except msgspec.DecodeError:
            return list(self._decodable(found))

    def _decodable(self, found: Iterable[RawRecord]) -> Iterator[DirectoryRecord]:
        for raw in found:
            try:
                yield decode_record(raw.value or b"")
            except msgspec.DecodeError:
                metrics.SKIPPED.labels(self._topic).inc()

    def proven_current(self) -> float:
        """As `Tail.proven_current`: 0.0 until the whole directory has been handed out once."""
        return self._reader.proven_current()


class DirectoryWriter:
    """Publishes directory records, one transaction a call. There is one at a time in an epoch: entering fences others.

    `async with` connects and fences; raises aiokafka's KafkaError, or TimeoutError, when the log cannot be reached.
    """

    def __init__(self, kafka: str, generation: Generation) -> None:
        self._partition = TopicPartition(generation.directory_topic, 0)
        self._writer = TransactionalWriter(kafka, f"lockstep.{generation.directory_topic}")

    async def __aenter__(self) -> Self:
        await self._writer.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._writer.__aexit__(kind, error, trace)

    async def publish(self, records: Sequence[DirectoryRecord]) -> None:
        """Write the records in this order, all or none.

        Raises Fenced (stop: another writer has taken over), or WriteFailed (not written, or the outcome is
        unknown: publish the same again; repeats are harmless, because records carry versions).
        """
        if records:
            await self._writer.commit(
                {self._partition: [(record.key.encode(), encode_record(record)) for record in records]}
            )


def _key(record: RawRecord) -> str:
    return (record.key or b"").decode("utf-8", "replace")
