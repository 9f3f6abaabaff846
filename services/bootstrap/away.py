"""What people have said of themselves goes on in the next epoch: that they are away. It stands in the topic `sessions`
alone, of which all the rest is of the moment and told anew."""

from __future__ import annotations

from typing import Final

import structlog
from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition

from services.contract.generation import Generation
from services.contract.presence import AWAY
from services.eventlog.committed import read_committed
from services.eventlog.errors import WriteFailed
from services.eventlog.transactions import TransactionalWriter

log = structlog.get_logger()

_PREFIX: Final = f"{AWAY}:".encode()


async def carry_over_away(kafka: str, old: Generation, new: Generation) -> int:
    """Copy it from the old epoch's topic to the new one's; gives of how many people.

    No epoch waits for that: what cannot be read or written, because the old log is gone, is left behind with a log line.
    """
    try:
        said: dict[bytes, bytes | None] = {}
        async for records in read_committed(kafka, old.sessions_topic, 1):
            said.update((record.key, record.value) for record in records if record.key is not None)
        entries = [(key, value) for key, value in said.items() if value and key.startswith(_PREFIX)]
        if entries:
            async with TransactionalWriter(kafka, f"lockstep.{new.sessions_topic}") as writer:
                await writer.commit({TopicPartition(new.sessions_topic, 0): entries})
    except (KafkaError, WriteFailed, OSError, TimeoutError) as error:
        log.warning("who is away by their own word is forgotten", error=repr(error))
        return 0
    return len(entries)
