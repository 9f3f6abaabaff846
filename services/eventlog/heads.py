"""The `heads.<epoch>` topic: where a starting node learns each channel's head, up to a watermark.

Partition i belongs to partition i of `events.<epoch>`. Records: key = channel id, value = its head as a decimal;
key = `watermark`, value = the JSON of a `sequencer.Checkpoint`. One transaction holds the changed heads and, last,
the watermark; head records count only once their watermark has come.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import aclosing
from types import TracebackType
from typing import Final, Self

import msgspec
from aiokafka.errors import UnknownTopicOrPartitionError
from aiokafka.structs import TopicPartition

from services.contract.generation import Generation
from services.eventlog.committed import read_committed
from services.eventlog.errors import LogLost
from services.eventlog.sequencer import Checkpoint
from services.eventlog.transactions import Entry, TransactionalWriter

Checkpoints = dict[int, tuple[Checkpoint | None, dict[str, int]]]
"""By partition: its newest checkpoint (None: never one) and the heads at that checkpoint."""

_WATERMARK: Final = b"watermark"

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Checkpoint)


async def read_checkpoints(kafka: str, generation: Generation) -> Checkpoints:
    """Read the topic from its beginning to its end, committed transactions only.

    Raises LogLost when the topic is gone or holds what is no checkpoint, aiokafka's KafkaError when no broker can
    be reached.
    """
    topic = generation.heads_topic
    found: Checkpoints = {partition: (None, {}) for partition in range(generation.partitions)}
    # heads whose watermark has not come yet
    waiting: dict[int, dict[str, int]] = {partition: {} for partition in found}
    try:
        async with aclosing(read_committed(kafka, topic, generation.partitions)) as batches:
            async for records in batches:
                partition = records[0].partition
                fresh = waiting[partition]
                for record in records:
                    if record.key == _WATERMARK:
                        _, heads = found[partition]
                        heads.update(fresh)
                        fresh.clear()
                        found[partition] = (_decoder.decode(record.value), heads)
                    else:
                        fresh[record.key.decode("ascii")] = int(record.value)
    except UnknownTopicOrPartitionError as error:
        raise LogLost(f"{topic}: the topic is gone") from error
    except (msgspec.DecodeError, ValueError, TypeError, AttributeError) as error:
        raise LogLost(f"{topic}: holds what is no checkpoint: {error}") from error
    return found


class HeadsWriter:
    """Writes checkpoints. There is one at a time in an epoch: entering fences others.

    Read the checkpoints only after entering: then nobody else can write any more.
    `async with` raises aiokafka's KafkaError, or TimeoutError, when the log cannot be reached.
    """

    def __init__(self, kafka: str, generation: Generation) -> None:
        self._topic = generation.heads_topic
        self._writer = TransactionalWriter(kafka, f"lockstep.{self._topic}")

    async def __aenter__(self) -> Self:
        await self._writer.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._writer.__aexit__(kind, error, trace)

    async def write(self, checkpoints: Mapping[int, tuple[Checkpoint, Mapping[str, int]]]) -> None:
        """Write, in one transaction, each partition's changed heads and its checkpoint.

        Raises Fenced, or WriteFailed (outcome unknown: start again from `read_checkpoints`).
        """
        await self._writer.commit(
            {
                TopicPartition(self._topic, partition): _entries(checkpoint, heads)
                for partition, (checkpoint, heads) in checkpoints.items()
            }
        )


def _entries(checkpoint: Checkpoint, heads: Mapping[str, int]) -> Iterator[Entry]:
    for channel, head in heads.items():
        yield channel.encode("ascii"), b"%d" % head
    yield _WATERMARK, _encoder.encode(checkpoint)
