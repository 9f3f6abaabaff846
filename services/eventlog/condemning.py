"""What one reader has found out about the log is told to all, in the log itself.

A reader knows that the log was truncated or rewritten only where it had read itself: who was behind, who starts anew, or
is started again by a supervisor, would go on and give numbers that people have seen already to other messages. So who
notices condemns the epoch in `generations`, which every process reads when it starts, and again and again.
"""

from __future__ import annotations

import asyncio
import random
import time
from typing import Final

import structlog
from aiokafka.errors import KafkaError, NotLeaderForPartitionError, UnknownTopicOrPartitionError

from services.contract.envelope import UnknownEnvelopeVersion
from services.contract.generation import Condemned, Generation
from services.eventlog.brokers import Brokers
from services.eventlog.comparison import compare
from services.eventlog.epoch import condemn, must_be_trusted
from services.eventlog.errors import Fenced, LogLost, LogRewritten, WriteFailed
from services.eventlog.probe import Probe
from services.eventlog.tail import event_id_of

log = structlog.get_logger()

CHECK_S: Final = 10.0

_PATIENCE_S: Final = 60.0
"""Brokers that have just come back may not know who leads, or give no transactions, for a while."""

_AGAIN_S: Final = 1.0
_REQUEST_TIMEOUT_MS: Final = 3_000

_UNANSWERED: Final = (KafkaError, OSError, TimeoutError)


async def report_lost(kafka: str, generation: Generation, lost: LogLost, found_by: str) -> bool:
    """Condemn the epoch, if its events contradict what was read, and still do when looked at anew; whether it was done.

    What retention took away from one reader contradicts nothing. Nor does what one broker says while another that leads,
    too, knows better: one that is cut off from its cluster takes itself for the leader and shows an old log. Raises
    nothing: when brokers do not answer for too long, the process ends all the same, and says why.
    """
    if not isinstance(lost, LogRewritten) or lost.topic != generation.events_topic:
        return False
    mark = Condemned(
        lost=generation.epoch, reason=str(lost), found_by=found_by, found_ms=time.time_ns() // 1_000_000
    )
    condemned = False
    try:
        async with asyncio.timeout(_PATIENCE_S):
            if await _still_contradicts(kafka, lost):
                condemned = await _insistently(kafka, mark)
    except (TimeoutError, LogLost, UnknownEnvelopeVersion) as error:
        log.warning("the others cannot be told that the log is lost", error=repr(error))
    if condemned:
        log.error("the epoch is condemned", epoch=generation.epoch, reason=str(lost))
    return condemned


async def _still_contradicts(kafka: str, lost: LogRewritten) -> bool:
    """Whether all brokers that lead the partition, or think so, hold something else than what was read.

    Asked until all that are known answer and one of them leads. Raises LogLost for a topic that is gone.
    """
    while True:
        await asyncio.sleep(_AGAIN_S)
        brokers = Brokers(kafka, lost.topic, request_timeout_ms=_REQUEST_TIMEOUT_MS)
        try:
            await brokers.start()
            said = [await _contradicts(kafka, brokers, broker, lost) for broker in brokers.everybody()]
        except _UNANSWERED as error:
            log.warning("not everybody can be asked what the log holds", error=repr(error))
        else:
            if False in said:
                return False
            if True in said:
                return True
        finally:
            await brokers.close()


async def _contradicts(kafka: str, brokers: Brokers, broker: int, lost: LogRewritten) -> bool | None:
    """None: this broker does not lead."""
    probe = Probe(kafka, lost.topic, brokers=brokers, of=broker)
    read, last = {lost.partition: lost.position}, {lost.partition: lost.last}
    try:
        await compare(probe, lost.topic, read, last, event_id_of, compacted=False)
    except LogRewritten:
        return True
    except (NotLeaderForPartitionError, UnknownTopicOrPartitionError):
        return None
    return False


async def _insistently(kafka: str, mark: Condemned) -> bool:
    while True:
        try:
            return await condemn(kafka, mark)
        except (Fenced, WriteFailed, *_UNANSWERED) as error:
            # Fenced: by another who says the same, or who begins the next epoch.
            log.warning("the epoch cannot be condemned yet", error=repr(error))
        await asyncio.sleep(random.uniform(0.0, _AGAIN_S))


async def look_for_condemnation(kafka: str, generation: Generation) -> None:
    """Raises LogLost when the epoch is condemned; nothing when that cannot be asked."""
    try:
        await must_be_trusted(kafka, generation.epoch)
    except _UNANSWERED as error:
        log.warning("it cannot be asked whether the log is lost", error=repr(error))


async def watch_epoch(kafka: str, generation: Generation) -> None:
    """`look_for_condemnation`, every `CHECK_S`. Never returns."""
    while True:
        await asyncio.sleep(CHECK_S)
        await look_for_condemnation(kafka, generation)
