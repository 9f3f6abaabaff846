"""The probe: single questions to the log, beside whoever reads it: where it begins and ends, what stands there."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, Final, Self

from aiokafka.structs import TopicPartition

from services.eventlog import consumers

_POLL_MS: Final = 200


class Probe:
    """Asks about one topic. Every method raises aiokafka's KafkaError when the answer cannot be had in time."""

    def __init__(self, kafka: str, topic: str, *, committed_only: bool = False) -> None:
        self._topic = topic
        self._consumer = consumers.new_consumer(
            kafka, committed_only=committed_only, max_partition_fetch_bytes=64 * 1024
        )

    async def __aenter__(self) -> Self:
        await consumers.start(self._consumer)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await consumers.stop(self._consumer)

    async def exists(self) -> bool:
        """Whether the cluster knows the topic."""
        return self._topic in await self._consumer.topics()

    async def begins(self, partitions: Iterable[int]) -> dict[int, int]:
        """The first offset that can be read, by partition."""
        return self._plain(await self._consumer.beginning_offsets(self._partitions(partitions)))

    async def ends(self, partitions: Iterable[int]) -> dict[int, int]:
        """The offset behind the last record (behind the last committed one), by partition."""
        return self._plain(await self._consumer.end_offsets(self._partitions(partitions)))

    async def at_times(self, times: Mapping[int, int]) -> dict[int, int | None]:
        """By partition, the first offset whose record was appended at or after a time (Unix ms); None: no such."""
        found = await self._consumer.offsets_for_times(
            {TopicPartition(self._topic, partition): at for partition, at in times.items()}
        )
        return {tp.partition: None if at is None else int(at.offset) for tp, at in found.items()}

    async def records(self, offsets: Mapping[int, int], ends: Mapping[int, int]) -> dict[int, Any]:
        """By partition, the first record (an aiokafka ConsumerRecord) at or after its offset and below its end.

        Partitions without such a record are missing. Raises aiokafka's OffsetOutOfRangeError.
        """
        wanted = {p: offset for p, offset in offsets.items() if offset < ends[p]}
        found: dict[int, Any] = {}
        if not wanted:
            return found
        self._consumer.assign(self._partitions(wanted))
        for partition, offset in wanted.items():
            self._consumer.seek(TopicPartition(self._topic, partition), offset)
        async with asyncio.timeout(consumers.REQUEST_TIMEOUT_MS / 1000):
            while wanted:
                open_partitions = self._partitions(wanted)
                fetched = await self._consumer.getmany(*open_partitions, timeout_ms=_POLL_MS)
                for tp, records in fetched.items():
                    found[tp.partition] = records[0]
                    wanted.pop(tp.partition)
                for tp in open_partitions:
                    # compacted away to the very end
                    if tp.partition in wanted and await self._consumer.position(tp) >= ends[tp.partition]:
                        wanted.pop(tp.partition)
        return found

    def _partitions(self, partitions: Iterable[int]) -> list[TopicPartition]:
        return [TopicPartition(self._topic, partition) for partition in partitions]

    @staticmethod
    def _plain(offsets: Mapping[Any, int]) -> dict[int, int]:
        return {tp.partition: int(offset) for tp, offset in offsets.items()}
