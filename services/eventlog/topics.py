"""The topics of an epoch and every setting of theirs that something depends on, stated rather than inherited."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Final

import structlog
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import TopicAlreadyExistsError, for_code
from tenacity import AsyncRetrying, retry_if_result, stop_after_delay, wait_fixed

from services.contract.generation import Generation
from services.eventlog.closing import close
from services.eventlog.consumers import REQUEST_TIMEOUT_MS

log = structlog.get_logger()

GENERATIONS_TOPIC: Final = "generations"
"""One partition, compacted; key = the epoch as a decimal, value = the JSON of `contract.generation.Generation`."""

MAX_MESSAGE_BYTES: Final = 1024 * 1024
"""The largest batch that a topic takes."""

_READY_S: Final = 20.0

_ALWAYS: Final = {
    "retention.ms": "-1",
    "retention.bytes": "-1",
    "unclean.leader.election.enable": "false",
    "max.message.bytes": str(MAX_MESSAGE_BYTES),
    "compression.type": "producer",
}

# The append time is one of the fold's clocks. Records go by progress (DeleteRecords), never by time; the disk is
# given back by whole segments, hence segments well below the default of 1 GiB.
_EVENTS: Final = {
    **_ALWAYS,
    "cleanup.policy": "delete",
    "message.timestamp.type": "LogAppendTime",
    "segment.bytes": str(256 * 1024 * 1024),
}

# A starting node reads all of it. Only closed segments are compacted, so they are closed early.
_COMPACTED: Final = {
    **_ALWAYS,
    "cleanup.policy": "compact",
    "segment.bytes": str(32 * 1024 * 1024),
    "segment.ms": str(600_000),
    "min.cleanable.dirty.ratio": "0.2",
    "max.compaction.lag.ms": str(1_800_000),
    "delete.retention.ms": str(3_600_000),
}


# Who is connected, now. Read whole by a starting node; what dead nodes left is tombstoned, and tombstones need not stay.
_SESSIONS: Final = {**_COMPACTED, "segment.ms": str(300_000), "delete.retention.ms": str(300_000)}

# Of use for seconds, read by nobody who was away.
_EPHEMERAL: Final = {
    **_ALWAYS,
    "cleanup.policy": "delete",
    "retention.ms": str(300_000),
    "segment.ms": str(60_000),
    "segment.bytes": str(16 * 1024 * 1024),
}


def durability(replication: int) -> dict[str, str]:
    """How many replicas must have a record before it is acknowledged: all but one, and at least one."""
    return {"min.insync.replicas": str(max(1, replication - 1))}


def generations_topic(replication: int) -> NewTopic:
    return _topic(GENERATIONS_TOPIC, 1, replication, _COMPACTED)


def epoch_topics(generation: Generation, replication: int) -> list[NewTopic]:
    """The topics of one epoch."""
    return [
        _topic(generation.events_topic, generation.partitions, replication, _EVENTS),
        _topic(generation.heads_topic, generation.partitions, replication, _COMPACTED),
        _topic(generation.directory_topic, 1, replication, _COMPACTED),
        *moment_topics(generation, replication),
    ]


def moment_topics(generation: Generation, replication: int) -> list[NewTopic]:
    """Those of an epoch that hold nothing but the moment: who is connected, who is typing. Made anew, they lose nothing."""
    return [
        _topic(generation.sessions_topic, 1, replication, _SESSIONS),
        _topic(generation.ephemeral_topic, generation.partitions, replication, _EPHEMERAL),
    ]


async def create_topics(admin: AIOKafkaAdminClient, topics: list[NewTopic]) -> None:
    """Make the topics that are not there yet, and wait until they can be used.

    Raises KafkaError naming the first that cannot be made.
    """
    answer = await admin.create_topics(topics)
    for name, code, *rest in answer.topic_errors:
        error = for_code(code)
        if code and error is not TopicAlreadyExistsError:
            raise error(f"topic {name}: {rest[0] if rest and rest[0] else error.__name__}")
        if not code:
            log.info("topic created", topic=name)
    await await_topics(admin, [topic.name for topic in topics])


async def await_topics(admin: AIOKafkaAdminClient, topics: Iterable[str]) -> dict[str, int]:
    """How many partitions with a leader each of these topics has, once all have one; 0: not there after 20 s.

    A broker that has just started, or just made a topic, does not name all leaders at once.
    """
    names = list(topics)
    patient = AsyncRetrying(
        retry=retry_if_result(lambda counts: not all(counts.values())),
        wait=wait_fixed(0.05),
        stop=stop_after_delay(_READY_S),
        retry_error_callback=lambda state: state.outcome.result() if state.outcome else {},
    )
    counts: dict[str, int] = await patient(_partition_counts, admin, names)
    return counts


async def _partition_counts(admin: AIOKafkaAdminClient, topics: list[str]) -> dict[str, int]:
    counts = dict.fromkeys(topics, 0)
    for topic in await admin.describe_topics(topics):
        if not topic["error_code"] and all(partition["leader"] >= 0 for partition in topic["partitions"]):
            counts[topic["topic"]] = len(topic["partitions"])
    return counts


@asynccontextmanager
async def admin_client(kafka: str) -> AsyncIterator[AIOKafkaAdminClient]:
    """An admin client for the length of a block. Raises KafkaError when no broker can be reached."""
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka, request_timeout_ms=REQUEST_TIMEOUT_MS * 3)
    try:
        await admin.start()
        yield admin
    finally:
        await close(admin.close(), "an admin client")


def _topic(name: str, partitions: int, replication: int, configs: dict[str, str]) -> NewTopic:
    return NewTopic(name, partitions, replication, topic_configs={**configs, **durability(replication)})
