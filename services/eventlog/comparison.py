"""Is it still the same log? What every reader asks at its start and after each break."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final

import structlog
from aiokafka.errors import KafkaError

from services.eventlog.errors import LogLost
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
    identify: Callable[[Any], str],
    *,
    compacted: bool,
) -> None:
    """Check, once, that each position lies inside the log and that the last record read is still what stands there.

    `identify` gives the id of an aiokafka ConsumerRecord. In a compacted topic the last record may have been
    cleaned away since; then only the position is checked. The topic must exist.
    Raises LogLost, or aiokafka's KafkaError and TimeoutError when there is no answer.
    """
    begins = await probe.begins(positions)
    ends = await probe.ends(positions)
    for partition, position in positions.items():
        where = f"{topic}, partition {partition}"
        if position > ends[partition]:
            raise LogLost(
                f"{where}: read up to {position}, but the log ends at {ends[partition]}: wiped or truncated"
            )
        if position < begins[partition] and not compacted:
            raise LogLost(f"{where}: next to read is {position}, but the log begins at {begins[partition]}")
    known = {p: record for p, record in last.items() if record is not None and p in positions}
    for partition, record in known.items():
        where = f"{topic}, partition {partition}"
        if record.offset >= ends[partition]:
            raise LogLost(f"{where}: record {record.offset} was read, but the log ends at {ends[partition]}")
        if record.offset < begins[partition] and not compacted:
            raise LogLost(
                f"{where}: record {record.offset} was read, but the log begins at {begins[partition]}"
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
            raise LogLost(
                f"{topic}, partition {partition}: record {record.offset} is not the one that was read: "
                f"the log was rewritten"
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
    identify: Callable[[Any], str],
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
