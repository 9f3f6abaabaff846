"""Reading a compacted topic once, from its beginning to its end, committed transactions only."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

from aiokafka.errors import UnknownTopicOrPartitionError
from aiokafka.structs import TopicPartition

from services.eventlog.consumers import new_consumer, running


async def read_committed(kafka: str, topic: str, partitions: int) -> AsyncGenerator[list[Any], None]:
    """Give aiokafka's ConsumerRecords of all partitions, in lists of one partition each, up to the last stable offset.

    Raises UnknownTopicOrPartitionError when there is no such topic, KafkaError when no broker can be reached.
    """
    async with running(new_consumer(kafka, committed_only=True)) as consumer:
        if topic not in await consumer.topics():
            raise UnknownTopicOrPartitionError(topic)
        unread = [TopicPartition(topic, partition) for partition in range(partitions)]
        begins = await consumer.beginning_offsets(unread)
        ends = await consumer.end_offsets(unread)
        unread = [tp for tp in unread if begins[tp] < ends[tp]]
        if not unread:
            return
        consumer.assign(unread)
        for tp in unread:
            consumer.seek(tp, begins[tp])
        while unread:
            # Polled briefly: behind the last record stand commit markers, which are read without waking anybody.
            for records in (await consumer.getmany(timeout_ms=20)).values():
                yield records
            unread = [tp for tp in unread if await consumer.position(tp) < ends[tp]]
