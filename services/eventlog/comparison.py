"""Is it still the same log? What every reader asks at its start and after each break."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

import structlog
from aiokafka.errors import KafkaError

from services.eventlog.batches import RawRecord
from services.eventlog.errors import LogLost, LogRewritten
from services.eventlog.probe import Probe
from services.eventlog.sequencer import LastRecord

log = structlog.get_logger()

_GONE_AFTER: Final = 3
_RETRY_S: Final = 0.5


async def compare(
    probe: Probe,
    topic: str,
    positions: Mapping[int, int],
    last: Mapping[int, LastRecord | None],
    identify: Callable[[RawRecord], str],
    *,
    compacted: bool,
) -> None:
    """Check, once, that each position lies inside the log and that the last record read is still what stands there.

    `identify` gives the id of a record. In a compacted topic the last record may have been
    cleaned away since; then only the position is checked. The topic must exist.
    Raises LogRewritten when not; LogLost when retention took what was to be read next, or the last record; aiokafka's
    KafkaError and TimeoutError when there is no answer.
    """
    begins = await probe.begins(positions)
    ends = await probe.ends(positions)
    for partition, position in positions.items():
        if position > ends[partition]:
            raise LogRewritten(
                f"read up to {position}, but the log ends at {ends[partition]}: wiped or truncated",
                topic,
                partition,
                position,
                last.get(partition),
            )
        if position < begins[partition] and not compacted:
            raise LogLost(
                f"{topic}, partition {partition}: next to read is {position}, but the log begins at {begins[partition]}"
            )
    known = {p: record for p, record in last.items() if record is not None and p in positions}
    for partition, record in known.items():
        if record.offset >= ends[partition]:
            raise LogRewritten(
                f"record {record.offset} was read, but the log ends at {ends[partition]}",
                topic,
                partition,
                positions[partition],
                record,
            )
        if record.offset < begins[partition] and not compacted:
            raise LogLost(
                f"{topic}, partition {partition}: record {record.offset} was read, but the log begins at "
                f"{begins[partition]}"
            )
    found = await probe.records({p: record.offset for p, record in known.items()}, ends)
    for partition, record in known.items():
        there = found.get(partition)
        if compacted and (there is None or there.offset > record.offset):
            continue
        if there is None or (there.offset, there.timestamp, identify(there)) != (
            record.offset,
            record.appended,
            record.id,
        ):
            raise LogRewritten(
                f"record {record.offset} is not the one that was read: the log was rewritten",
                topic,
                partition,
                positions[partition],
                record,
            )


async def must_exist(probe: Probe, topic: str) -> None:
    """Raises LogLost when reachable brokers do not know the topic, several times in a row; once is a broker that is starting.

    Raises aiokafka's KafkaError and TimeoutError when there is no answer.
    """
    for _ in range(_GONE_AFTER):
        if await probe.exists():
            return
        await asyncio.sleep(_RETRY_S)
    raise LogLost(f"{topic}: the topic is gone")


async def compare_until_answered(
    probe: Probe,
    topic: str,
    positions: Mapping[int, int],
    last: Mapping[int, LastRecord | None],
    identify: Callable[[RawRecord], str],
    *,
    compacted: bool,
) -> None:
    """Compare, asking again for as long as the brokers cannot be reached. Raises LogLost."""
    while True:
        try:
            await must_exist(probe, topic)
            await compare(probe, topic, positions, last, identify, compacted=compacted)
        except (KafkaError, OSError, TimeoutError) as error:
            log.warning("the log cannot be compared yet", topic=topic, error=repr(error))
            await asyncio.sleep(_RETRY_S)
        else:
            return
