"""The records of one channel, as they lie in the log."""

from __future__ import annotations

from aiokafka import AIOKafkaConsumer, TopicPartition

from services.contract.envelope import partition_of
from services.eventlog.epoch import current_generation
from tests.stack.lockstep import Stack


async def bodies_of(stack: Stack, channel: str) -> list[bytes]:
    """The values of all records of a channel, in the order of the log."""
    generation = await current_generation(stack.kafka.bootstrap)
    place = TopicPartition(generation.events_topic, partition_of(channel, generation.partitions))
    consumer = AIOKafkaConsumer(bootstrap_servers=stack.kafka.bootstrap, auto_offset_reset="none")
    await consumer.start()
    try:
        consumer.assign([place])
        await consumer.seek_to_beginning(place)
        end = (await consumer.end_offsets([place]))[place]
        bodies: list[bytes] = []
        while await consumer.position(place) < end:
            for records in (await consumer.getmany(timeout_ms=500)).values():
                bodies += [record.value for record in records if record.key == channel.encode()]
        return bodies
    finally:
        await consumer.stop()
