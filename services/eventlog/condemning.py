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
from aiokafka.errors import KafkaError

from services.contract.generation import Condemned, Generation
from services.eventlog.comparison import compare
from services.eventlog.epoch import condemn, must_be_trusted
from services.eventlog.errors import Fenced, LogLost, LogRewritten, WriteFailed
from services.eventlog.probe import Probe
from services.eventlog.tail import event_id_of

log = structlog.get_logger()

CHECK_S: Final = 10.0

_PATIENCE_S: Final = 20.0
_AGAIN_S: Final = 1.0

_UNANSWERED: Final = (KafkaError, OSError, TimeoutError)


async def report_lost(kafka: str, generation: Generation, lost: LogLost, found_by: str) -> bool:
    """Condemn the epoch, if its events contradict what was read, and still do when looked at anew; whether it was done.

    What retention took away from one reader contradicts nothing. A broker that is cut off from the others may hold an
    older log; but it could not take this record: like every record, it has to be with the in-sync replicas. Raises
    nothing: when the log does not answer, the process ends all the same, and says why.
    """
    if not isinstance(lost, LogRewritten) or lost.topic != generation.events_topic:
        return False
    try:
        async with asyncio.timeout(_PATIENCE_S):
            await asyncio.sleep(_AGAIN_S)
            if await _is_the_same_again(kafka, lost):
                return False
            mark = Condemned(
                lost=generation.epoch,
                reason=str(lost),
                found_by=found_by,
                found_ms=time.time_ns() // 1_000_000,
            )
            condemned = await _insistently(kafka, mark)
    except (*_UNANSWERED, LogLost) as error:
        log.warning("the others cannot be told that the log is lost", error=repr(error))
        return False
    if condemned:
        log.error("the epoch is condemned", epoch=generation.epoch, reason=str(lost))
    return condemned


async def _insistently(kafka: str, mark: Condemned) -> bool:
    while True:
        try:
            return await condemn(kafka, mark)
        except (Fenced, WriteFailed, *_UNANSWERED) as error:
            # Fenced: by another who says the same, or who begins the next epoch.
            log.warning("the epoch cannot be condemned yet", error=repr(error))
        await asyncio.sleep(random.uniform(0.0, _AGAIN_S))


async def _is_the_same_again(kafka: str, lost: LogRewritten) -> bool:
    async with Probe(kafka, lost.topic) as probe:
        try:
            await compare(
                probe,
                lost.topic,
                {lost.partition: lost.position},
                {lost.partition: lost.last},
                event_id_of,
                compacted=False,
            )
        except LogRewritten:
            return False
    return True


async def watch_epoch(kafka: str, generation: Generation) -> None:
    """`must_be_trusted`, every `CHECK_S`, for as long as that can be asked. Never returns; raises LogLost."""
    while True:
        await asyncio.sleep(CHECK_S)
        try:
            await must_be_trusted(kafka, generation.epoch)
        except _UNANSWERED as error:
            log.warning("it cannot be asked whether the log is lost", error=repr(error))
