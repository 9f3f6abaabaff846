"""The topics of the moment: what the core tells is written, what others tell is read. All of it may fail.

A node without these topics goes on: messages and notices need nothing of them. While they cannot be reached, presence
stands still and nobody is seen typing; afterwards the view is read anew, from the beginning of the topic to its end.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any, Final

import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition

from channel_server.core.company import Fleeting
from channel_server.core.node import Node
from channel_server.core.presence import Told
from channel_server.core.registry import Registry
from services.contract.envelope import partition_of
from services.contract.generation import Generation
from services.eventlog import consumers, producers

log = structlog.get_logger()

TELL_SECONDS: Final = 0.2
_POLL_MS: Final = 500
_START_S: Final = 10.0
_SEND_S: Final = 5.0
_AGAIN_S: Final = 1.0

_FAILURES = (KafkaError, OSError, TimeoutError)


class Gossip:
    """`run` until cancelled; raises nothing of the log's failures."""

    def __init__(self, kafka: str, generation: Generation, node: Node) -> None:
        self._kafka = kafka
        self._generation = generation
        self._node = node

    async def run(self) -> None:
        """Read and write, again and again after failures."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._again(self._read), name="read gossip")
            tasks.create_task(self._again(self._write), name="write gossip")

    async def _again(self, work: Any) -> None:
        said = False
        while True:
            began = time.monotonic()
            try:
                await work()
            except _FAILURES as error:
                # Once a failure, not once a second of it.
                if not said or time.monotonic() - began > 10 * _AGAIN_S:
                    log.warning("presence stands still", work=work.__name__, error=repr(error))
                said = True
            await asyncio.sleep(_AGAIN_S)

    # --- reading -------------------------------------------------------------------------------------------------------

    async def _read(self) -> None:
        company = self._node.state.company
        sessions = TopicPartition(self._generation.sessions_topic, 0)
        fleeting = [
            TopicPartition(self._generation.ephemeral_topic, partition)
            for partition in range(self._generation.partitions)
        ]
        async with contextlib.AsyncExitStack() as owned:
            consumer = await self._consumer(owned)
            consumer.assign([sessions, *fleeting])
            await consumer.seek_to_beginning(sessions)
            await consumer.seek_to_end(*fleeting)
            registry: Registry | None = Registry(company.presence.registry.incarnation)
            end = (await consumer.end_offsets([sessions]))[sessions]
            while True:
                if registry is not None and await consumer.position(sessions) >= end:
                    company.presence.adopt(registry)
                    registry = None
                batch = await consumer.getmany(timeout_ms=_POLL_MS)
                now = self._node.state.clock.monotonic()
                for place, records in batch.items():
                    for record in records:
                        key = (record.key or b"").decode("utf-8", "replace")
                        if place != sessions:
                            company.typing_heard(key, record.value or b"", now)
                        elif registry is not None:
                            registry.apply(key, record.value, now)
                        else:
                            company.presence.heard(key, record.value, now)

    async def _consumer(self, owned: contextlib.AsyncExitStack) -> AIOKafkaConsumer:
        # Here alone a position that is gone is no loss: what is kept is all that there is to know.
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._kafka,
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            fetch_max_wait_ms=_POLL_MS,
            request_timeout_ms=consumers.REQUEST_TIMEOUT_MS,
        )
        await consumers.start(consumer)
        owned.push_async_callback(consumers.stop, consumer)
        return consumer

    # --- writing -------------------------------------------------------------------------------------------------------

    async def _write(self) -> None:
        company, clock = self._node.state.company, self._node.state.clock
        async with contextlib.AsyncExitStack() as owned:
            lasting = await self._producer(owned, "all")
            passing = await self._producer(owned, 1)
            while True:
                told = company.tell(clock.monotonic(), clock.wall_ms())
                fleeting = company.take_fleeting()
                try:
                    async with asyncio.timeout(_SEND_S):
                        await self._send(lasting, passing, told, fleeting)
                except _FAILURES:
                    company.presence.again(told)
                    raise
                await asyncio.sleep(TELL_SECONDS)

    async def _send(
        self,
        lasting: AIOKafkaProducer,
        passing: AIOKafkaProducer,
        told: list[Told],
        fleeting: list[Fleeting],
    ) -> None:
        generation = self._generation
        sent = [
            await lasting.send(generation.sessions_topic, record.value, record.key.encode(), partition=0)
            for record in told
        ]
        sent += [
            await passing.send(
                generation.ephemeral_topic,
                record.value,
                record.key.encode(),
                partition=partition_of(record.key, generation.partitions),
            )
            for record in fleeting
        ]
        if sent:
            await asyncio.gather(*sent)

    async def _producer(self, owned: contextlib.AsyncExitStack, acks: int | str) -> AIOKafkaProducer:
        producer = AIOKafkaProducer(
            bootstrap_servers=self._kafka,
            acks=acks,
            linger_ms=5,
            request_timeout_ms=consumers.REQUEST_TIMEOUT_MS,
        )
        await producers.start(producer, _START_S)
        owned.push_async_callback(producers.abandon, producer)
        return producer
