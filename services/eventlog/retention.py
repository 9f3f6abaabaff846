"""Retention by progress: what of `events.<epoch>` nobody needs any more.

The log is never deleted by time alone. A record goes when it lies below everything that a restart would read again
(the checkpoint's dedupe window, and the last records by which checkpoint and persister know the log), is stored in
PostgreSQL, and is older than the shortest time that records are kept.
"""

from __future__ import annotations

from collections.abc import Mapping

from aiokafka.admin import RecordsToDelete
from aiokafka.structs import TopicPartition

from services.contract.generation import Generation
from services.eventlog.sequencer import Checkpoint
from services.eventlog.topics import admin_client


def deletable_below(checkpoint: Checkpoint, persisted: int, first_young: int | None) -> int:
    """The offset below which a partition's records may go; 0 or less: none.

    `checkpoint`: written and committed. `persisted`: the persister's next offset. `first_young`: the first record
    that is too young to go, None when none is.
    """
    bounds = [checkpoint.window_start, checkpoint.watermark - 1, persisted - 1]
    if checkpoint.last is not None:
        bounds.append(checkpoint.last.offset)
    if first_young is not None:
        bounds.append(first_young)
    return min(bounds)


async def delete_below(kafka: str, generation: Generation, offsets: Mapping[int, int]) -> None:
    """Delete each partition's records below its offset (DeleteRecords, KIP-107).

    Raises aiokafka's KafkaError when a broker cannot be reached or refuses.
    """
    if not offsets:
        return
    async with admin_client(kafka) as admin:
        await admin.delete_records(
            {
                TopicPartition(generation.events_topic, p): RecordsToDelete(before)
                for p, before in offsets.items()
            }
        )
