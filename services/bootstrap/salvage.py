"""What the old log still holds and the database never got, saved to a file before a new epoch begins."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import structlog

from services.bootstrap.records import Progress
from services.contract.generation import Generation
from services.eventlog.errors import LogLost
from services.eventlog.probe import Probe
from services.eventlog.records import LogRecord
from services.eventlog.tail import Tail

log = structlog.get_logger()

_POLL_MS: Final = 250

_encoder = msgspec.json.Encoder()


async def salvage(kafka: str, generation: Generation, progress: Mapping[int, Progress], file: Path) -> int:
    """Append to `file`, as JSON lines, every record from the persister's next offsets on; gives how many.

    A line: epoch, partition, offset, appended, channel, sender, id, stamped (all null for a record without a
    well-formed envelope), and the value as `text`, or `base64` when it is not UTF-8. Copies are saved too: which of
    them counted is for whoever reads the file to tell (same channel, sender and id). A log that is gone, or is not
    the one that the persister read, has nothing to give, or gives what it has, with a warning.
    Raises aiokafka's KafkaError when no broker can be reached.
    """
    topic = generation.events_topic
    async with Probe(kafka, topic) as probe:
        if not await probe.exists():
            log.warning("nothing to salvage: the old log is gone", topic=topic)
            return 0
        begins, ends = await probe.begins(progress), await probe.ends(progress)
    starts = {p: max(begins[p], known.next_offset) for p, known in progress.items()}
    for partition, known in progress.items():
        if starts[partition] > known.next_offset:
            log.warning(
                "records are missing: they were deleted before they were stored",
                partition=partition,
                first=known.next_offset,
                last=starts[partition] - 1,
            )
    wanted = {p: start for p, start in starts.items() if start < ends[p]}
    last = {p: progress[p].last for p in wanted}
    try:
        return await _copy(kafka, generation, wanted, ends, last, file)
    except LogLost as error:
        log.warning("the old log is not the one that was stored; saving what it holds", reason=str(error))
        return await _copy(kafka, generation, wanted, ends, {}, file)


async def _copy(
    kafka: str,
    generation: Generation,
    starts: Mapping[int, int],
    ends: Mapping[int, int],
    last: Mapping[int, Any],
    file: Path,
) -> int:
    if not starts:
        return 0
    count = 0
    tail = Tail(kafka, generation.events_topic, starts, partitions=generation.partitions, last=last)
    async with tail:
        with file.open("ab") as output:
            while any(tail.positions[partition] < ends[partition] for partition in starts):
                for records in (await tail.batch(_POLL_MS)).values():
                    output.writelines(_lines(generation.epoch, records))
                    count += len(records)
    return count


def _lines(epoch: int, records: list[LogRecord]) -> Iterator[bytes]:
    for record in records:
        envelope = record.envelope
        line: dict[str, object] = {
            "epoch": epoch,
            "partition": record.partition,
            "offset": record.offset,
            "appended": record.appended,
            "channel": None if envelope is None else envelope.channel,
            "sender": None if envelope is None else envelope.sender,
            "id": None if envelope is None else envelope.id,
            "stamped": None if envelope is None else envelope.stamped,
        }
        try:
            line["text"] = None if record.value is None else record.value.decode("utf-8")
        except UnicodeDecodeError:
            line["base64"] = base64.b64encode(record.value or b"").decode("ascii")
        yield _encoder.encode(line) + b"\n"
