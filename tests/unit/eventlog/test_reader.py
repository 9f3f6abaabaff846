"""The reader over brokers that are a list: cancelled at any turn of the loop, cut off at any request, it hands out every
record once and in order."""

from __future__ import annotations

import asyncio
import random
import struct
from collections.abc import Mapping
from io import BytesIO
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError
from aiokafka.protocol.fetch import FetchRequest, FetchRequest_v11
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from services.eventlog import reader
from services.eventlog.reader import TopicReader
from services.eventlog.wire import Fetch, FetchAnswer, Fetched

TOPIC = "events.1"
PARTITIONS = 2


class Log:
    """What the broker holds: by partition, batches with the offsets of their first records."""

    def __init__(self) -> None:
        self.batches: dict[int, list[tuple[int, int, bytes]]] = {p: [] for p in range(PARTITIONS)}
        self.ends = dict.fromkeys(range(PARTITIONS), 0)

    def append(self, partition: int, records: int) -> None:
        builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 1 << 20)
        begin = self.ends[partition]
        for place in range(records):
            builder.append(place, 1, None, b"%d" % (begin + place), [])
        data = struct.pack(">q", begin) + bytes(builder.build())[8:]  # not part of the checksum
        self.batches[partition].append((begin, begin + records, data))
        self.ends[partition] = begin + records

    def read(self, partition: int, offset: int, most: int) -> bytes:
        there = [data for _, end, data in self.batches[partition] if end > offset]
        return b"".join(there[:most])


class FakeBrokers:
    """Answers after a few turns of the loop, sometimes with part of what there is, sometimes not at all."""

    log: Log
    rng: random.Random
    failing = 0.0
    asked = 0
    spoiled = 0
    """So many answers hold a batch whose checksum is wrong."""

    def __init__(self, *_: object, **__: object) -> None: ...

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    async def refresh(self) -> None: ...

    async def know_topic(self) -> bool:
        return True

    def leader(self, partition: int) -> int:
        return 1

    async def _take_turns(self) -> None:
        for _ in range(self.rng.randint(1, 6)):
            await asyncio.sleep(0)

    async def exchange(self, broker: int, request: Fetch, connection: int) -> FetchAnswer:
        FakeBrokers.asked += 1
        await self._take_turns()
        if self.rng.random() < self.failing:
            raise KafkaConnectionError("cut")
        ((_, asked),) = FetchRequest_v11.decode(BytesIO(request.body)).topics
        return FetchAnswer(0, [self._fetched(partition, offset) for partition, _, offset, *_ in asked])

    async def ask(self, broker: int, request: Any, connection: int) -> Any:
        await self._take_turns()
        ((_, partitions),) = request._topics
        if isinstance(request, FetchRequest):
            answers: list[tuple[Any, ...]] = [
                (found.partition, 0, found.end, found.stable, 0, [], -1, found.data)
                for found in (self._fetched(partition, offset) for partition, offset, _ in partitions)
            ]
        else:
            answers = [
                (partition, 0, -1, self.log.ends[partition] if at == -1 else 0)
                for partition, at in partitions
            ]
        return SimpleNamespace(topics=[(TOPIC, answers)])

    def _fetched(self, partition: int, offset: int) -> Fetched:
        end = self.log.ends[partition]
        data = self.log.read(partition, offset, self.rng.randint(0, 3))
        if data and FakeBrokers.spoiled:
            FakeBrokers.spoiled -= 1
            data = data[:-1] + bytes([data[-1] ^ 1])
        return Fetched(partition, 0, end, end, [], data)


@pytest.mark.parametrize("failing", [0.0, 0.02])
@pytest.mark.parametrize("seed", range(10))
async def test_wherever_it_is_cancelled_every_record_is_handed_out_once(
    monkeypatch: pytest.MonkeyPatch, seed: int, failing: float
) -> None:
    rng = random.Random(seed)
    log = Log()
    monkeypatch.setattr(FakeBrokers, "log", log, raising=False)
    monkeypatch.setattr(FakeBrokers, "rng", rng, raising=False)
    monkeypatch.setattr(FakeBrokers, "failing", failing)
    monkeypatch.setattr(reader, "Brokers", FakeBrokers)
    read: dict[int, list[int]] = {p: [] for p in range(PARTITIONS)}

    def take(handed: Mapping[int, list[Any]]) -> None:
        for partition, records in handed.items():
            assert [int(record.value) for record in records] == [record.offset for record in records]
            read[partition] += [record.offset for record in records]

    positions = dict.fromkeys(range(PARTITIONS), 0)
    async with TopicReader("", TOPIC, positions, last={}, identify=lambda _: "") as reading:
        for _ in range(150):
            log.append(rng.randrange(PARTITIONS), rng.randint(1, 4))
            batch = asyncio.create_task(reading.batch(rng.choice((0, 1, 1_000))))
            for _ in range(rng.randint(0, 12)):
                await asyncio.sleep(0)
            batch.cancel()
            await asyncio.wait([batch])
            if not batch.cancelled():
                take(batch.result())
        async with asyncio.timeout(20):
            while {p: len(offsets) for p, offsets in read.items()} != log.ends:
                take(await reading.batch(100))
    assert read == {p: list(range(end)) for p, end in log.ends.items()}


class Steady(random.Random):
    """All that may be of everything."""

    def randint(self, a: int, b: int) -> int:
        return b

    def random(self) -> float:
        return 1.0


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Log:
    """That of steady brokers."""
    made = Log()
    monkeypatch.setattr(FakeBrokers, "log", made, raising=False)
    monkeypatch.setattr(FakeBrokers, "rng", Steady(), raising=False)
    monkeypatch.setattr(FakeBrokers, "asked", 0)
    monkeypatch.setattr(reader, "Brokers", FakeBrokers)
    return made


def reading_all() -> TopicReader:
    return TopicReader("", TOPIC, dict.fromkeys(range(PARTITIONS), 0), last={}, identify=lambda _: "")


async def test_what_cannot_be_used_is_fetched_again_at_once(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeBrokers, "spoiled", 1)
    async with reading_all() as reading:
        log.append(0, 1)
        came = await reading.batch(10_000)
        assert FakeBrokers.spoiled == 0
        assert [record.offset for record in came[0]] == [0]


async def test_a_reader_that_catches_up_gives_way_after_every_batch(log: Log) -> None:
    log.append(0, 100)
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with reading_all() as reading:
        assert len((await reading.batch(10_000, 10))[0]) == 10
        others = asyncio.create_task(other())
        before = turns
        for _ in range(9):
            assert len((await reading.batch(0, 10))[0]) == 10
            assert turns > before
            before = turns
        others.cancel()
        await asyncio.wait([others])
