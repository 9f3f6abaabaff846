"""The log and the stored events as a test sees them: written and folded without the product's own sequencer."""

from __future__ import annotations

import itertools
import random
import time
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import asyncpg
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from services.contract.envelope import decode_envelope, encode_envelope, partition_of
from services.contract.events import MessagePosted, encode_event
from services.contract.generation import Generation
from services.contract.ids import new_entity_id, new_event_id


def wall_ms() -> int:
    return time.time_ns() // 1_000_000


class Entry(NamedTuple):
    """One record as it lies in the log."""

    partition: int
    offset: int
    appended: int
    headers: tuple[tuple[str, bytes], ...]
    value: bytes | None


class Number(NamedTuple):
    """What a fold says of one event: everything that the table `events` must hold of it."""

    channel: str
    seq: int
    sender: str
    id: str
    at: int
    partition: int
    offset: int
    body: bytes | None


@dataclass
class Folding:
    """The rule of docs/architecture, written down once more and as plainly as possible."""

    generation: Generation
    now: int = 0
    heads: dict[str, int] = field(default_factory=dict)
    window: dict[tuple[str, str, str], int] = field(default_factory=dict)
    ages: deque[tuple[int, tuple[str, str, str]]] = field(default_factory=deque)

    def number(self, entry: Entry) -> Number | None:
        try:
            envelope = decode_envelope(entry.headers)
        except ValueError:
            return None
        channel, sender, id = envelope.channel, envelope.sender, envelope.id
        born = envelope.born
        if partition_of(channel, self.generation.partitions) != entry.partition:
            return None
        self.now = max(self.now, min(entry.appended, envelope.stamped))
        while self.ages and self.ages[0][0] < self.now - self.generation.window_ms:
            del self.window[self.ages.popleft()[1]]
        key = (channel, sender, id)
        if born > self.now + self.generation.future_ms or self.now - born > self.generation.retry_ms:
            return None
        if key in self.window:
            return None
        seq = self.heads[channel] = self.heads.get(channel, 0) + 1
        self.window[key] = seq
        self.ages.append((self.now, key))
        return Number(channel, seq, sender, id, self.now, entry.partition, entry.offset, entry.value)


def folded(generation: Generation, log: Iterable[Entry]) -> list[Number]:
    """Every event that the log holds, by channel and seq."""
    folds = [Folding(generation) for _ in range(generation.partitions)]
    numbers = (folds[entry.partition].number(entry) for entry in log)
    return sorted(number for number in numbers if number is not None)


async def whole_log(kafka: str, generation: Generation) -> list[Entry]:
    """All records of the epoch's events, as they lie in the log at this moment."""
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka, group_id=None, auto_offset_reset="earliest")
    await consumer.start()
    try:
        partitions = [TopicPartition(generation.events_topic, p) for p in range(generation.partitions)]
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        entries: list[Entry] = []
        while any([await consumer.position(p) < ends[p] for p in partitions]):
            for tp, records in (await consumer.getmany(timeout_ms=500)).items():
                entries += (
                    Entry(tp.partition, r.offset, r.timestamp, tuple(r.headers), r.value)
                    for r in records
                    if r.offset < ends[tp]
                )
        return entries
    finally:
        await consumer.stop()


async def stored(connection: asyncpg.Connection, epoch: int) -> list[Number]:
    """Every event that PostgreSQL holds, by channel and seq."""
    rows = await connection.fetch(
        'select channel_id, seq, sender_id, event_id::text, at_ms, "partition", record_offset, body'
        ' from events where epoch = $1 order by channel_id collate "C", seq',
        epoch,
    )
    return [Number(*row.values()) for row in rows]


async def positions(connection: asyncpg.Connection, epoch: int) -> dict[int, int]:
    rows = await connection.fetch("select partition, next_offset from log_partitions where epoch = $1", epoch)
    return {row["partition"]: row["next_offset"] for row in rows}


class Writers:
    """Several people who write into several channels, with every fault that an honest client may have.

    Some records are sent twice, some ids are born too long ago or too far ahead, and a few records are rubbish.
    """

    def __init__(
        self, producer: AIOKafkaProducer, generation: Generation, seed: int, channels: int = 6
    ) -> None:
        self.sent = Counter[str]()
        self.channels = [new_entity_id("ch") for _ in range(channels)]
        self._people = [new_entity_id("usr") for _ in range(5)]
        self._random = random.Random(seed)
        self._producer = producer
        self._generation = generation
        self._old: deque[tuple[str, tuple[str, bytes], bytes]] = deque(maxlen=200)
        self._count = itertools.count(1)

    async def write(self, records: int) -> None:
        """Append so many records and wait until the log has them."""
        futures = [await self._one() for _ in range(records)]
        for future in futures:
            await future

    async def _one(self) -> Any:
        chance = self._random.random()
        if chance < 0.1 and self._old:
            self.sent["again"] += 1
            return await self._append(*self._random.choice(self._old))
        channel = self._random.choice(self.channels)
        born = wall_ms()
        if chance < 0.13:
            born -= self._generation.retry_ms + 60_000
        elif chance < 0.16:
            born += self._generation.future_ms + 60_000
        header = encode_envelope(channel, self._random.choice(self._people), new_event_id(born), wall_ms())
        value = encode_event(MessagePosted(text=f"message {next(self._count)} \N{GRINNING FACE}"))
        if chance > 0.99:
            header = (header[0], b"1 rubbish")
        self.sent["new"] += 1
        self._old.append((channel, header, value))
        return await self._append(channel, header, value)

    async def _append(self, channel: str, header: tuple[str, bytes], value: bytes) -> Any:
        return await self._producer.send(
            self._generation.events_topic,
            value,
            headers=[header],
            partition=partition_of(channel, self._generation.partitions),
        )


def dense(numbers: Iterable[Number]) -> bool:
    """Whether each channel's numbers are 1, 2, 3 ..."""
    by_channel: dict[str, list[int]] = {}
    for number in numbers:
        by_channel.setdefault(number.channel, []).append(number.seq)
    return all(seqs == list(range(1, len(seqs) + 1)) for seqs in by_channel.values())


def ends(log: Iterable[Entry], generation: Generation) -> Mapping[int, int]:
    """Partition -> the offset after its last record."""
    found = dict.fromkeys(range(generation.partitions), 0)
    for entry in log:
        found[entry.partition] = max(found[entry.partition], entry.offset + 1)
    return found
