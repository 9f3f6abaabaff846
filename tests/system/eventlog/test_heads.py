"""Checkpoints: what was written is what is read, half of one is nothing, one writer at a time."""

from __future__ import annotations

import asyncio

import pytest
from aiokafka import AIOKafkaProducer

from services.contract.generation import Generation
from services.eventlog.errors import Fenced, LogLost
from services.eventlog.heads import HeadsWriter, read_checkpoints
from services.eventlog.sequencer import Checkpoint, LastRecord
from tests.stack.servers import Kafka


def checkpoint(watermark: int) -> Checkpoint:
    return Checkpoint(
        watermark=watermark,
        now=1_000 + watermark,
        window_start=watermark // 2,
        window_now=900 + watermark,
        last=LastRecord(watermark - 1, 5, "x") if watermark else None,
    )


async def test_an_epoch_without_checkpoints_reads_as_none(kafka: Kafka, generation: Generation) -> None:
    assert await read_checkpoints(kafka.bootstrap, generation) == dict.fromkeys(range(4), (None, {}))


async def test_heads_add_up_over_checkpoints(kafka: Kafka, generation: Generation) -> None:
    async with HeadsWriter(kafka.bootstrap, generation) as writer:
        await writer.write({0: (checkpoint(5), {"a": 3, "b": 2}), 2: (checkpoint(0), {})})
        await writer.write({0: (checkpoint(7), {"a": 5}), 1: (checkpoint(1), {"z": 1})})
        # a large one takes several batches
        many = {f"ch_{i:032x}": i for i in range(20_000)}
        await writer.write({3: (checkpoint(20_000), many)})
    assert await read_checkpoints(kafka.bootstrap, generation) == {
        0: (checkpoint(7), {"a": 5, "b": 2}),
        1: (checkpoint(1), {"z": 1}),
        2: (checkpoint(0), {}),
        3: (checkpoint(20_000), many),
    }


async def test_heads_count_only_once_their_watermark_has_come(kafka: Kafka, generation: Generation) -> None:
    topic = generation.heads_topic
    async with HeadsWriter(kafka.bootstrap, generation) as writer:
        await writer.write({0: (checkpoint(5), {"a": 3})})
    async with AIOKafkaProducer(
        bootstrap_servers=kafka.bootstrap, transactional_id=f"lockstep.{topic}"
    ) as raw:
        async with raw.transaction():
            await raw.send_and_wait(topic, b"9", b"a", partition=0)
        assert await read_checkpoints(kafka.bootstrap, generation) == {
            **dict.fromkeys(range(4), (None, {})),
            0: (checkpoint(5), {"a": 3}),
        }


async def test_a_transaction_that_was_not_committed_is_not_there(
    kafka: Kafka, generation: Generation
) -> None:
    topic = generation.heads_topic
    dying = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, transactional_id=f"lockstep.{topic}")
    await dying.start()
    try:
        await dying.begin_transaction()
        await dying.send_and_wait(topic, b"9", b"a", partition=0)
        await dying.send_and_wait(topic, b"{}", b"watermark", partition=0)
        assert (await read_checkpoints(kafka.bootstrap, generation))[0] == (None, {})
        # The next writer ends what the dead one left open.
        async with HeadsWriter(kafka.bootstrap, generation) as writer:
            await writer.write({0: (checkpoint(2), {"a": 1})})
        assert (await read_checkpoints(kafka.bootstrap, generation))[0] == (checkpoint(2), {"a": 1})
    finally:
        await dying.client.close()
        sender = dying._sender.sender_task
        sender.cancel()
        await asyncio.wait([sender])
        dying._closed = True


async def test_a_second_writer_fences_the_first(kafka: Kafka, generation: Generation) -> None:
    async with HeadsWriter(kafka.bootstrap, generation) as first:
        await first.write({0: (checkpoint(1), {"a": 1})})
        async with HeadsWriter(kafka.bootstrap, generation) as second:
            with pytest.raises(Fenced):
                await first.write({0: (checkpoint(9), {"a": 9})})
            await second.write({0: (checkpoint(2), {"a": 2})})
    assert (await read_checkpoints(kafka.bootstrap, generation))[0] == (checkpoint(2), {"a": 2})


async def test_a_topic_that_is_not_there_is_a_lost_log(kafka: Kafka) -> None:
    with pytest.raises(LogLost, match=r"heads\.999999"):
        await read_checkpoints(kafka.bootstrap, Generation(epoch=999_999))
