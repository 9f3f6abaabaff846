"""Epochs of the log: the `generations` topic, and making the topics of an epoch."""

from __future__ import annotations

from contextlib import aclosing
from typing import Final

import msgspec
import structlog
from aiokafka.errors import KafkaError, UnknownTopicOrPartitionError
from aiokafka.structs import TopicPartition
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_random_exponential

from services.contract.generation import Condemned, Generation
from services.eventlog.committed import read_committed
from services.eventlog.errors import LogLost, NoGeneration
from services.eventlog.probe import Probe
from services.eventlog.topics import (
    GENERATIONS_TOPIC,
    admin_client,
    await_topics,
    create_topics,
    epoch_topics,
    generations_topic,
)
from services.eventlog.transactions import TransactionalWriter

__all__ = [
    "GENERATIONS_TOPIC",
    "await_generation",
    "condemn",
    "create_generation",
    "current_generation",
    "generations",
    "is_unused",
    "must_be_trusted",
]

log = structlog.get_logger()

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Generation)
_mark_decoder = msgspec.json.Decoder(Condemned)

_LOST: Final = b".lost"
"""Ends the key of a `Condemned`; before it the epoch."""


async def current_generation(kafka: str) -> Generation:
    """The generation of the highest epoch.

    Raises NoGeneration when there is none, LogLost when it is condemned, aiokafka's KafkaError when no broker can be
    reached.
    """
    known, condemned = await _read(kafka)
    if not known:
        raise NoGeneration("the log has no generation record: run `python -m services.bootstrap`")
    newest = known[max(known)]
    _refuse(condemned.get(newest.epoch))
    return newest


async def must_be_trusted(kafka: str, epoch: int) -> None:
    """Raises LogLost when the epoch is condemned, aiokafka's KafkaError when no broker can be reached."""
    _, condemned = await _read(kafka)
    _refuse(condemned.get(epoch))


def _refuse(mark: Condemned | None) -> None:
    if mark is not None:
        raise LogLost(
            f"the log of epoch {mark.lost} is lost, as {mark.found_by} found at {mark.found_ms}: {mark.reason}. Find out "
            f"what happened to Kafka's disks; to go on, begin a new epoch: "
            f"`python -m services.bootstrap next-epoch --salvage FILE`"
        )


async def await_generation(kafka: str) -> Generation:
    """`current_generation`, waiting for as long as no broker can be reached. Raises NoGeneration, LogLost."""
    async for attempt in AsyncRetrying(
        wait=wait_random_exponential(multiplier=0.2, max=5.0),
        retry=retry_if_exception_type((KafkaError, TimeoutError)),
        before_sleep=_say_unreachable,
    ):
        with attempt:
            return await current_generation(kafka)
    raise AssertionError("retried for ever")


def _say_unreachable(attempt: RetryCallState) -> None:
    log.warning("waiting for the log", error=str(attempt.outcome.exception()) if attempt.outcome else "")


async def generations(kafka: str) -> dict[int, Generation]:
    """All generation records by epoch, those of condemned epochs too; {} when there are none.

    Raises aiokafka's KafkaError when no broker can be reached, LogLost for a record that is none.
    """
    known, _ = await _read(kafka)
    return known


async def condemn(kafka: str, mark: Condemned) -> bool:
    """Have nobody use an epoch any more: from here on `current_generation` refuses it. Safe to repeat.

    Gives whether it is condemned now; not when the cluster knows no such epoch.

    Raises Fenced, WriteFailed, LogLost, and aiokafka's KafkaError or TimeoutError when the log cannot be reached.
    """
    known, condemned = await _read(kafka)
    if mark.lost not in known or mark.lost in condemned:
        return mark.lost in condemned
    async with TransactionalWriter(kafka, f"lockstep.{GENERATIONS_TOPIC}") as writer:
        _, condemned = await _read(kafka)
        if mark.lost in condemned:
            return True
        record = (str(mark.lost).encode() + _LOST, _encoder.encode(mark))
        await writer.commit({TopicPartition(GENERATIONS_TOPIC, 0): [record]})
        return True


async def _read(kafka: str) -> tuple[dict[int, Generation], dict[int, Condemned]]:
    known: dict[int, Generation] = {}
    condemned: dict[int, Condemned] = {}
    try:
        async with aclosing(read_committed(kafka, GENERATIONS_TOPIC, 1)) as batches:
            async for records in batches:
                for record in records:
                    if (record.key or b"").endswith(_LOST):
                        mark = _mark_decoder.decode(record.value or b"")
                        condemned[mark.lost] = mark
                    else:
                        generation = _decoder.decode(record.value or b"")
                        known[generation.epoch] = generation
    except UnknownTopicOrPartitionError:
        return {}, {}
    except msgspec.DecodeError as error:
        raise LogLost(f"{GENERATIONS_TOPIC}: holds what is no generation record: {error}") from error
    return known, condemned


async def create_generation(
    kafka: str, generation: Generation, *, replication: int = 1, seeded: bool = False
) -> Generation:
    """Make an epoch: its topics, then its generation record. Gives the record that is in force.

    `seeded`: heads and directory may already hold what the epoch begins with. Safe to repeat, and after a crash
    half-way. A generation that is already recorded for this epoch is left as it is and given back. Raises Fenced
    when another process is making one at the same time (look again, then repeat), LogLost when topics of the epoch
    exist and are not empty or have another number of partitions, WriteFailed, and aiokafka's KafkaError when no
    broker can be reached or a topic cannot be made.
    """
    async with admin_client(kafka) as admin:
        await create_topics(admin, [generations_topic(replication)])
    # Whoever enters later fences this one; so of two that find no record only one can write it.
    async with TransactionalWriter(kafka, f"lockstep.{GENERATIONS_TOPIC}") as writer:
        known = await generations(kafka)
        if generation.epoch in known:
            return known[generation.epoch]
        async with admin_client(kafka) as admin:
            await create_topics(admin, epoch_topics(generation, replication))
        if not await is_unused(kafka, generation, seeded=seeded):
            raise LogLost(
                f"topics of epoch {generation.epoch} hold records, but `{GENERATIONS_TOPIC}` does not know the epoch: "
                f"restore that topic, or delete the epoch's topics"
            )
        record = (str(generation.epoch).encode(), _encoder.encode(generation))
        await writer.commit({TopicPartition(GENERATIONS_TOPIC, 0): [record]})
    return generation


async def is_unused(kafka: str, generation: Generation, *, seeded: bool = False) -> bool:
    """Whether nothing was ever written to the epoch; `seeded`: but for heads and directory, which do not matter.

    Raises LogLost when a topic is missing or has another number of partitions than the generation says.
    """
    expected = {
        generation.events_topic: generation.partitions,
        generation.heads_topic: generation.partitions,
        generation.directory_topic: 1,
    }
    async with admin_client(kafka) as admin:
        counts = await await_topics(admin, expected)
    for topic, partitions in expected.items():
        if counts[topic] != partitions:
            raise LogLost(f"topic {topic} has {counts[topic]} partitions that can be used, not {partitions}")
    for topic in (generation.events_topic,) if seeded else tuple(expected):
        async with Probe(kafka, topic) as probe:
            if any((await probe.ends(range(expected[topic]))).values()):
                return False
    return True
