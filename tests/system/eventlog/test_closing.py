"""Promise: who is told to end while aiokafka closes something ends, and what was open is closed all the same."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from itertools import count
from typing import Any

import psutil
import pytest
from aiokafka import AIOKafkaProducer

from services.contract.generation import Generation
from services.eventlog import consumers, producers
from services.eventlog.appender import Appender
from services.eventlog.brokers import Brokers
from services.eventlog.reader import TopicReader
from services.eventlog.topics import admin_client
from tests.stack.servers import Kafka
from tests.stack.waiting import until

Closing = Callable[[], Awaitable[Any]]


async def closing_brokers(kafka: Kafka, generation: Generation) -> Closing:
    brokers = Brokers(kafka.bootstrap, generation.events_topic, request_timeout_ms=2_000)
    await brokers.start()
    return brokers.close


async def closing_consumer(kafka: Kafka, generation: Generation) -> Closing:
    consumer = consumers.new_consumer(kafka.bootstrap, committed_only=True)
    await consumers.start(consumer)
    return lambda: consumers.stop(consumer)


async def closing_producer(kafka: Kafka, generation: Generation) -> Closing:
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap)
    await producers.start(producer, 5.0)
    return lambda: producers.abandon(producer)


async def closing_admin(kafka: Kafka, generation: Generation) -> Closing:
    manager = admin_client(kafka.bootstrap)
    await manager.__aenter__()
    return lambda: manager.__aexit__(None, None, None)


async def closing_reader(kafka: Kafka, generation: Generation) -> Closing:
    start = dict.fromkeys(range(generation.partitions), 0)
    reader = TopicReader(kafka.bootstrap, generation.events_topic, start, last={}, identify=lambda _: "")
    await reader.__aenter__()
    await reader.batch(500)  # fetches, through connections of its own
    return lambda: reader.__aexit__(None, None, None)


async def closing_appender(kafka: Kafka, generation: Generation) -> Closing:
    appender = Appender(
        kafka.bootstrap,
        generation.events_topic,
        generation.partitions,
        max_in_flight=1,
        on_failure=lambda _: None,
    )
    await appender.__aenter__()
    return lambda: appender.__aexit__(None, None, None)


@pytest.mark.parametrize(
    "opened",
    [
        closing_brokers,
        closing_consumer,
        closing_producer,
        closing_admin,
        closing_reader,
        closing_appender,
    ],
    ids=lambda each: each.__name__,
)
async def test_cancelled_at_any_step_of_closing(
    kafka: Kafka, generation: Generation, opened: Callable[[Kafka, Generation], Awaitable[Closing]]
) -> None:
    before = connections(kafka)
    for steps in count():
        close = await opened(kafka, generation)
        task = asyncio.ensure_future(close())
        for _ in range(steps):
            await asyncio.sleep(0)
        if task.done():
            break
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled(), f"cancelled after {steps} steps, and does not know"
        if not steps:
            await close()  # a task that had not begun closes nothing
    assert steps > 2
    await until(lambda: connections(kafka) <= before, what="every connection is closed")


def connections(kafka: Kafka) -> int:
    """How many this process has to the broker."""
    port = int(kafka.bootstrap.rpartition(":")[2])
    return sum(
        bool(each.raddr) and each.raddr.port == port and each.status == psutil.CONN_ESTABLISHED
        for each in psutil.Process().net_connections("tcp")
    )
