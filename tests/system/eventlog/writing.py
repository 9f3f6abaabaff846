"""Messages, and reading a whole log back."""

from __future__ import annotations

import asyncio
import time
from typing import NamedTuple

from services.contract.envelope import encode_envelope, partition_of
from services.contract.generation import Generation
from services.contract.ids import new_entity_id, new_event_id
from services.eventlog.appender import Appender
from services.eventlog.records import LogRecord
from services.eventlog.tail import Tail
from tests.stack.waiting import PATIENCE_S


class Message(NamedTuple):
    channel: str
    sender: str
    id: str
    value: bytes

    def append_to(self, appender: Appender) -> asyncio.Future[None]:
        header = encode_envelope(self.channel, self.sender, self.id, time.time_ns() // 1_000_000)
        return appender.append(self.channel, header, self.value)


def channel_in(partition: int, partitions: int = 4) -> str:
    """A fresh channel whose events stand in this partition."""
    while partition_of(channel := new_entity_id("ch"), partitions) != partition:
        pass
    return channel


def messages(count: int, channels: list[str], born: int | None = None) -> list[Message]:
    """To the channels in turn, all of one sender."""
    sender = new_entity_id("usr")
    return [
        Message(
            channels[i % len(channels)],
            sender,
            new_event_id(born),
            b'{"type":"message.posted","text":"%d"}' % i,
        )
        for i in range(count)
    ]


def new_appender(
    kafka: str, generation: Generation, failures: list[str] | None = None, **options: int
) -> Appender:
    """Failures are noted in `failures`; without such a list there must be none, however busy the machine: await what
    `append` gives, or a record that was given up looks like one that a reader has lost."""

    def note(error: Exception) -> None:
        assert failures is not None, error
        failures.append(str(error))

    limits = {"max_in_flight": 100_000, **options}
    if failures is None:
        limits.setdefault("append_timeout_ms", 60_000)
    return Appender(kafka, generation.events_topic, generation.partitions, on_failure=note, **limits)


async def write(kafka: str, generation: Generation, batch: list[Message]) -> None:
    """Append all and wait for every acknowledgement."""
    async with new_appender(kafka, generation) as appender:
        await asyncio.gather(*(message.append_to(appender) for message in batch))


async def until_current(tail: Tail, timeout: float = PATIENCE_S) -> dict[int, list[LogRecord]]:
    """Everything up to an end that is proven later than this call."""
    since = time.monotonic()
    records: dict[int, list[LogRecord]] = {partition: [] for partition in tail.positions}
    async with asyncio.timeout(timeout):
        while tail.proven_current() < since:
            for partition, batch in (await tail.batch(100)).items():
                records[partition] += batch
    return records


async def whole_log(kafka: str, generation: Generation) -> dict[int, list[LogRecord]]:
    """Every record from offset 0 to the end, by partition."""
    async with Tail(kafka, generation.events_topic, dict.fromkeys(range(generation.partitions), 0)) as tail:
        return await until_current(tail)


def ids(records: list[LogRecord]) -> list[str]:
    return [record.envelope.id for record in records if record.envelope is not None]
