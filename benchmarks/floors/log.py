"""Bare aiokafka: produce into a topic and tail it, in one process, and nothing else. An agent (`core.agent.obey`)."""

from __future__ import annotations

import asyncio
import itertools
import sys
import time
from typing import Any

import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from benchmarks.core.agent import obey
from benchmarks.core.speakers import TICK_S, counted
from services.contract.envelope import encode_envelope
from services.contract.ids import new_entity_id, new_event_id

PARTITIONS = 8
ANSWERS_S = 20.0


class Log:
    def __init__(self, kafka: str, topic: str) -> None:
        self._topic = topic
        self._producer = AIOKafkaProducer(bootstrap_servers=kafka, acks="all", enable_idempotence=True)
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=kafka,
            group_id=None,
            enable_auto_commit=False,
            fetch_max_wait_ms=250,
            auto_offset_reset="earliest",
        )
        self._waiting: dict[bytes, float] = {}
        self._latencies: list[float] = []
        self._tailing: asyncio.Task[None] | None = None

    async def start(self) -> None:
        await self._producer.start()
        await self._consumer.start()
        self._consumer.assign([TopicPartition(self._topic, p) for p in range(PARTITIONS)])
        self._tailing = asyncio.create_task(self._tail())

    async def stop(self) -> None:
        assert self._tailing is not None
        self._tailing.cancel()
        await asyncio.wait([self._tailing])
        await self._consumer.stop()
        await self._producer.stop()

    async def _tail(self) -> None:
        while True:
            fetched = await self._consumer.getmany(timeout_ms=250)
            now = time.monotonic()
            for records in fetched.values():
                for record in records:
                    sent = self._waiting.pop(record.headers[0][1], None)
                    if sent is not None:
                        self._latencies.append(now - sent)

    async def run(self, rate: float, seconds: float, size: int) -> dict[str, Any]:
        """As `core.speakers`: `rate` records a second, each timed from its sending until the tail has it."""
        self._latencies.clear()
        channels = [new_entity_id("ch") for _ in range(PARTITIONS)]
        sender = new_entity_id("usr")
        partitions = itertools.cycle(range(PARTITIONS))
        value = b'{"type":"message.posted","text":"%b"}' % (b"x" * size)
        total, sent = max(1, round(rate * seconds)), 0
        pending: list[asyncio.Future[Any]] = []
        started = time.monotonic()
        while sent < total:
            elapsed = time.monotonic() - started
            if elapsed > 2 * seconds + 5:
                break
            for _ in range(min(min(total, int(elapsed * rate) + 1) - sent, 500)):
                partition = next(partitions)
                name, header = encode_envelope(channels[partition], sender, new_event_id(), 1_700_000_000_000)
                self._waiting[header] = time.monotonic()
                pending.append(
                    await self._producer.send(
                        self._topic,
                        value,
                        key=channels[partition].encode(),
                        headers=[(name, header)],
                        partition=partition,
                    )
                )
                sent += 1
            await asyncio.sleep(max(TICK_S, started + sent / rate - time.monotonic()))
        spent = time.monotonic() - started
        await asyncio.gather(*pending)
        deadline = time.monotonic() + ANSWERS_S
        while self._waiting and time.monotonic() < deadline:  # noqa: ASYNC110 - as in core.speakers
            await asyncio.sleep(0.01)
        return {
            "sent": sent,
            "seconds": spent,
            "unanswered": len(self._waiting),
            "acks": counted(self._latencies),
        }


async def _main(kafka: str) -> None:
    topic = f"bare-{new_entity_id('ch')}"
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    await admin.create_topics([NewTopic(topic, PARTITIONS, 1)])
    await admin.close()
    log = Log(kafka, topic)
    await log.start()
    try:
        await obey({"run": log.run}, hello={"ready": True})
    finally:
        await log.stop()


if __name__ == "__main__":
    uvloop.run(_main(sys.argv[1]))
