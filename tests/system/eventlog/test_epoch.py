"""Making epochs and knowing the current one."""

from __future__ import annotations

import asyncio

import pytest
from aiokafka import AIOKafkaProducer

from services.contract.generation import Generation
from services.eventlog.epoch import create_generation, current_generation, generations, is_unused
from services.eventlog.errors import Fenced, LogLost, NoGeneration, WriteFailed
from services.eventlog.topics import admin_client, create_topics, epoch_topics
from tests.stack.servers import Kafka
from tests.system.conftest import Factory


async def test_an_epochs_life(new_kafka: Factory[Kafka]) -> None:
    kafka = (await new_kafka()).bootstrap
    with pytest.raises(NoGeneration):
        await current_generation(kafka)

    # Two at once: one makes it, the other sees it or is fenced; there is one record.
    ones = [Generation(epoch=1, partitions=2, created_ms=created) for created in (1, 2)]
    outcomes = await asyncio.gather(*(create_generation(kafka, g) for g in ones), return_exceptions=True)
    assert all(isinstance(outcome, (Generation, Fenced, WriteFailed)) for outcome in outcomes), outcomes
    first = await create_generation(kafka, Generation(epoch=1, partitions=2, created_ms=3))
    assert first == await current_generation(kafka)
    assert all(outcome == first for outcome in outcomes if isinstance(outcome, Generation))
    assert await is_unused(kafka, first)

    second = await create_generation(kafka, Generation(epoch=2, partitions=3))
    assert await generations(kafka) == {1: first, 2: second}
    assert await current_generation(kafka) == second

    # A crash between the topics and the record: simply go on.
    third = Generation(epoch=3, partitions=2)
    async with admin_client(kafka) as admin:
        await create_topics(admin, epoch_topics(third, 1)[:2])
    assert await create_generation(kafka, third) == third

    # Topics that somebody has written to, or of another shape, are not taken over.
    fourth, fifth = Generation(epoch=4, partitions=2), Generation(epoch=5, partitions=2)
    async with admin_client(kafka) as admin:
        await create_topics(admin, [*epoch_topics(fourth, 1), *epoch_topics(fifth, 1)])
    async with AIOKafkaProducer(bootstrap_servers=kafka) as producer:
        await producer.send_and_wait(fourth.events_topic, b"x", partition=1)
    with pytest.raises(LogLost, match="hold records"):
        await create_generation(kafka, fourth)
    with pytest.raises(LogLost, match="2 partitions"):
        await create_generation(kafka, Generation(epoch=5, partitions=4))
    assert await current_generation(kafka) == third
