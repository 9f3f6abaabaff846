"""The raw log: every record of `events.<epoch>`, and the generation records that say how to count them."""

from __future__ import annotations

import re
import uuid
from collections.abc import AsyncIterator
from typing import Any, Final

import msgspec
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from verify.figures import LogCounts
from verify.findings import CannotJudge
from verify.judge import Judge
from verify.numbering import Numbering, Times, partition_of

GENERATIONS: Final = "generations"
_EVENTS: Final = re.compile(r"events\.([1-9][0-9]{0,8})")
_POLL_MS: Final = 500
_SILENT_POLLS: Final = 60


class _Generation(msgspec.Struct):
    epoch: int
    partitions: int
    retry_ms: int
    future_ms: int
    created_ms: int = 0


class _Condemned(msgspec.Struct):
    """A reader's word that the log of an epoch is not what it was."""

    lost: int
    reason: str


_generation = msgspec.json.Decoder(_Generation)
_condemned = msgspec.json.Decoder(_Condemned)
_CONDEMNED: Final = b".lost"
"""Ends the key of such a word."""


class Log:
    """Reads the log up to its end, as often as asked; each time it goes on where it stopped."""

    def __init__(self, judge: Judge, bootstrap: str) -> None:
        self._judge = judge
        self._bootstrap = bootstrap
        self._next: dict[TopicPartition, int] = {}
        self._folds: dict[TopicPartition, tuple[int, int, Numbering]] = {}
        self._wanted: frozenset[str] | None = None

    async def read(self) -> None:
        """Number everything up to the present end. Raises CannotJudge."""
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap,
            client_id=f"lockstep-verify-{uuid.uuid4().hex[:8]}",
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="none",
            fetch_max_bytes=8 << 20,
        )
        try:
            await consumer.start()
            if not self._folds:
                await self._begin(consumer)
            await self._read_on(consumer)
        except (KafkaError, OSError) as error:
            raise CannotJudge(f"Kafka at {self._bootstrap}: {error!r}") from error
        finally:
            await consumer.stop()

    def count(self) -> None:
        """Write the counts of records into the judge's figures, after the verdict's sources are complete."""
        folds = [fold for _, _, fold in self._folds.values()]
        self._judge.log_counts = LogCounts(
            records=sum(f.numbered + f.duplicates + f.expired + f.future + f.skipped for f in folds),
            duplicates=sum(fold.duplicates for fold in folds),
            expired=sum(fold.expired for fold in folds),
            future=sum(fold.future for fold in folds),
            skipped=sum(fold.skipped for fold in folds),
        )

    async def _begin(self, consumer: AIOKafkaConsumer) -> None:
        topics = await consumer.topics()
        if GENERATIONS not in topics:
            raise CannotJudge(
                f"Kafka at {self._bootstrap} has no topic {GENERATIONS}: there is no log of Lockstep"
            )
        self._wanted = self._judge.channels()
        generations = await self._generations(consumer)
        for topic in sorted(topics):
            match = _EVENTS.fullmatch(topic)
            if match is None:
                continue
            epoch = int(match[1])
            if epoch not in generations:
                raise CannotJudge(f"Kafka has {topic}, and no generation record for epoch {epoch}")
            await self._begin_epoch(consumer, topic, epoch, generations[epoch])
        if not self._folds:
            raise CannotJudge(f"Kafka at {self._bootstrap} has no topic events.<epoch>")

    async def _begin_epoch(self, consumer: AIOKafkaConsumer, topic: str, epoch: int, times: Times) -> None:
        partitions = [TopicPartition(topic, number) for number in range(times.partitions)]
        if self._wanted is not None:
            needed = {partition_of(channel, times.partitions) for channel in self._wanted}
            partitions = [partition for partition in partitions if partition.partition in needed]
        starts = await consumer.beginning_offsets(partitions)
        for partition, start in starts.items():
            whole = start == 0
            source = self._judge.log_begins(epoch, partition.partition, based=whole and epoch == 1)
            self._next[partition] = start
            self._folds[partition] = (epoch, source, Numbering(partition.partition, times, whole=whole))
            if not whole:
                self._judge.notes.append(
                    f"{topic}-{partition.partition} begins at offset {start}: its numbers are tied to other sources'"
                )

    async def _generations(self, consumer: AIOKafkaConsumer) -> dict[int, Times]:
        partition = TopicPartition(GENERATIONS, 0)
        start = (await consumer.beginning_offsets([partition]))[partition]
        found: dict[int, Times] = {}
        async for record in _records(consumer, {partition: start}):
            if record.value is not None:
                try:
                    if (record.key or b"").endswith(_CONDEMNED):
                        word = _condemned.decode(record.value)
                        self._judge.notes.append(f"the log of epoch {word.lost} is lost: {word.reason}")
                        continue
                    generation = _generation.decode(record.value)
                except msgspec.DecodeError as error:
                    raise CannotJudge(f"a generation record cannot be read: {error}") from error
                clock = generation.created_ms + generation.retry_ms if generation.epoch > 1 else 0
                times = Times(generation.partitions, generation.retry_ms, generation.future_ms, clock)
                found[generation.epoch] = times
        return found

    async def _read_on(self, consumer: AIOKafkaConsumer) -> None:
        judge, wanted = self._judge, self._wanted
        async for record in _records(consumer, self._next):
            epoch, source, fold = self._folds[TopicPartition(record.topic, record.partition)]
            numbered = fold.take(record.timestamp, record.headers)
            if numbered is not None and (wanted is None or numbered.copy.channel in wanted):
                judge.log_record(epoch, source, record.offset, numbered, record.value)


async def _records(
    consumer: AIOKafkaConsumer, positions: dict[TopicPartition, int]
) -> AsyncIterator[ConsumerRecord[Any, Any]]:
    """From these positions to the ends as they are now; moves the positions."""
    consumer.assign(list(positions))
    ends = await consumer.end_offsets(list(positions))
    for partition, position in positions.items():
        consumer.seek(partition, position)
    silent = 0
    while any(positions[partition] < end for partition, end in ends.items()):
        batches = await consumer.getmany(timeout_ms=_POLL_MS, max_records=5_000)
        silent = 0 if batches else silent + 1
        if silent > _SILENT_POLLS:
            raise CannotJudge("Kafka gives no more records, and the end of the log is not reached")
        for partition, records in batches.items():
            for record in records:
                if record.offset < ends[partition]:
                    yield record
        for partition in positions:
            positions[partition] = min(await consumer.position(partition), ends[partition])
