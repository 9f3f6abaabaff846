"""Who leads which partition of a cluster, and making it so."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from functools import partial

from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.admin import AlterPartitionReassignmentsRequest
from aiokafka.structs import TopicPartition

from tests.stack.waiting import until


@contextlib.asynccontextmanager
async def _client(kafka: str) -> AsyncIterator[AIOKafkaClient]:
    client = AIOKafkaClient(bootstrap_servers=kafka, client_id="faults", request_timeout_ms=10_000)
    try:
        await client.bootstrap()
        yield client
    finally:
        await client.close()


async def leaders(kafka: str, topic: str) -> Mapping[int, int]:
    """Partition -> the broker that leads it (-1: nobody)."""
    async with _client(kafka) as client:
        await client._wait_on_metadata(topic)
        found = client.cluster._partitions[topic]
        return {partition: metadata.leader for partition, metadata in found.items()}


async def in_sync(kafka: str, topic: str) -> Mapping[int, set[int]]:
    """Partition -> the brokers whose copies are complete."""
    async with _client(kafka) as client:
        await client._wait_on_metadata(topic)
        found = client.cluster._partitions[topic]
        return {partition: set(metadata.isr) for partition, metadata in found.items()}


async def all_in_sync(kafka: str, topic: str, timeout: float = 90.0) -> None:
    """Wait until every partition has three complete copies."""

    async def complete() -> bool:
        return all(len(copies) == 3 for copies in (await in_sync(kafka, topic)).values())

    await until(complete, timeout, what=f"all copies of {topic} are complete", every=0.5)


async def lead(kafka: str, broker: int, topic: str, others: Sequence[str]) -> None:
    """Make `broker` lead all of `topic` and nothing of the topics `others`.

    By taking the copy away from whom shall not lead, and giving it back: leadership stays where it went.
    """
    ids = (1, 2, 3)
    rest = [id for id in ids if id != broker]
    await _place(kafka, {TopicPartition(topic, p): [broker] for p in await leaders(kafka, topic)})
    for other in others:
        led = [p for p, leader in (await leaders(kafka, other)).items() if leader == broker]
        moved = {
            TopicPartition(other, p): (rest if p % 2 else rest[::-1])
            for p in led
        }  # fmt: skip
        await _place(kafka, moved)
        await _place(kafka, {tp: [*where, broker] for tp, where in moved.items()})
    await _place(kafka, {TopicPartition(topic, p): [broker, *rest] for p in await leaders(kafka, topic)})
    for name in (topic, *others):
        await all_in_sync(kafka, name)
    assert set((await leaders(kafka, topic)).values()) == {broker}
    for other in others:
        assert broker not in (await leaders(kafka, other)).values()


async def _place(kafka: str, replicas: Mapping[TopicPartition, Sequence[int]]) -> None:
    """Move the copies of partitions, and wait until they are there."""
    if not replicas:
        return
    by_topic: dict[str, list[tuple[int, Sequence[int], dict[int, bytes]]]] = {}
    for tp, where in replicas.items():
        by_topic.setdefault(tp.topic, []).append((tp.partition, list(where), {}))
    request = AlterPartitionReassignmentsRequest(
        10_000,
        [(topic, partitions, {}) for topic, partitions in by_topic.items()],
        {},
    )
    async with _client(kafka) as client:
        answer = await client.send(client.get_random_node(), request)
    assert not answer.error_code, answer
    for _, partitions, _ in answer.responses:
        for index, error, message, _ in partitions:
            assert not error, (index, error, message)

    async def moved(topic: str) -> bool:
        found = await in_sync(kafka, topic)
        return all(found[tp.partition] == set(where) for tp, where in replicas.items() if tp.topic == topic)

    for topic in by_topic:
        await until(partial(moved, topic), what=f"copies of {topic} are where they belong", every=0.2)
