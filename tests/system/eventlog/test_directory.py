"""The directory's tail and its one writer."""

from __future__ import annotations

import asyncio
import time

import pytest
from aiokafka import AIOKafkaProducer

from services.contract.directory import DirectoryRecord, MemberRecord, UserRecord
from services.contract.generation import Generation
from services.contract.ids import new_entity_id
from services.eventlog.directory import DirectoryTail, DirectoryWriter
from services.eventlog.errors import Fenced
from tests.stack.servers import Kafka

CHANNEL, USER = new_entity_id("ch"), new_entity_id("usr")


def member(version: int) -> MemberRecord:
    return MemberRecord(version=version, channel_id=CHANNEL, user_id=USER, member=version % 2 == 0)


async def until_current(tail: DirectoryTail) -> list[DirectoryRecord]:
    since, records = time.monotonic(), []
    async with asyncio.timeout(60):
        while tail.proven_current() < since:
            records += await tail.batch(100)
    return records


async def test_records_come_in_the_order_of_their_publishing(kafka: Kafka, generation: Generation) -> None:
    user = UserRecord(version=1, id=USER, workspace_id="ws", name="Ada", active=True)
    async with DirectoryWriter(kafka.bootstrap, generation) as writer:
        await writer.publish([user, member(2)])
        await writer.publish([])
        async with DirectoryTail(kafka.bootstrap, generation) as tail:
            assert tail.proven_current() == 0.0
            assert await until_current(tail) == [user, member(2)]
            await writer.publish([member(4), member(3)])
            assert await until_current(tail) == [member(4), member(3)]
            assert await until_current(tail) == []


async def test_an_empty_directory_is_soon_proven_current(kafka: Kafka, generation: Generation) -> None:
    async with DirectoryTail(kafka.bootstrap, generation) as tail:
        assert await until_current(tail) == []


async def test_a_second_writer_fences_the_first_whose_records_never_appear(
    kafka: Kafka, generation: Generation
) -> None:
    async with DirectoryWriter(kafka.bootstrap, generation) as first:
        await first.publish([member(1)])
        async with DirectoryWriter(kafka.bootstrap, generation) as second:
            await second.publish([member(2)])
            with pytest.raises(Fenced):
                await first.publish([member(3), member(5)])
            await second.publish([member(4)])
    async with DirectoryTail(kafka.bootstrap, generation) as tail:
        assert await until_current(tail) == [member(1), member(2), member(4)]


async def test_a_kind_of_a_newer_release_is_passed_over(kafka: Kafka, generation: Generation) -> None:
    async with AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, acks="all") as producer:
        for value in (b'{"type":"robot","version":1}', b"nonsense", None):
            await producer.send_and_wait(generation.directory_topic, value, key=b"x", partition=0)
    async with DirectoryWriter(kafka.bootstrap, generation) as writer:
        await writer.publish([member(1)])
    async with DirectoryTail(kafka.bootstrap, generation) as tail:
        assert await until_current(tail) == [member(1)]


async def test_an_open_transaction_holds_the_end_back_but_not_the_proof(
    kafka: Kafka, generation: Generation
) -> None:
    """What is not committed is no part of the directory yet, so being current does not wait for it."""
    topic = generation.directory_topic
    async with DirectoryTail(kafka.bootstrap, generation) as tail:
        async with (
            AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, transactional_id="someone") as producer,
            producer.transaction(),
        ):
            await producer.send_and_wait(topic, b"nonsense", key=b"x", partition=0)
            assert await until_current(tail) == []
        assert await until_current(tail) == []
