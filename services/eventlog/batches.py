"""Record batches, as a broker stores and sends them: what is in a fetch answer, and where it ends.

The records are aiokafka's own, straight from its decoder. The `ConsumerRecord` that its consumer makes of each costs three
times as much as the decoding, and says nothing more that anybody here asks for.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Final, Protocol

from aiokafka.errors import CorruptRecordException
from aiokafka.record.control_record import ABORT_MARKER, ControlRecord
from aiokafka.record.memory_records import MemoryRecords

_BATCH_HEAD: Final = struct.Struct(">qi")
_LAST_DELTA: Final = struct.Struct(">i")
_LAST_DELTA_AT: Final = 23


class RawRecord(Protocol):
    """One record of a partition. `timestamp`: the broker's append time, Unix milliseconds."""

    @property
    def offset(self) -> int: ...
    @property
    def timestamp(self) -> int: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> list[tuple[str, bytes | None]]: ...


def records_of(
    data: bytes, position: int, aborted: Iterable[tuple[int, int]], *, committed_only: bool
) -> Iterator[RawRecord]:
    """The records of a fetch answer from `position` on, in order; a last batch that is cut off is left out.

    `aborted`: (producer id, first offset) of transactions that were given up; with `committed_only` theirs are left out.
    Raises CorruptRecordException for a batch that is not what its checksum says, once all before it were given.
    """
    # A batch is an iterator in C, and so is the chain: nothing here runs once for each record.
    return chain.from_iterable(_batches(data, position, aborted, committed_only))


def _batches(
    data: bytes, position: int, aborted: Iterable[tuple[int, int]], committed_only: bool
) -> Iterator[Iterable[RawRecord]]:
    given_up = sorted(aborted or (), key=lambda each: each[1], reverse=True)
    producers: set[int] = set()
    batches = MemoryRecords(data)
    while batches.has_next():
        batch = batches.next_batch()
        if not batch.validate_crc():
            raise CorruptRecordException(f"the batch at {batch.base_offset} has another checksum")
        if committed_only:
            while given_up and given_up[-1][1] <= batch.base_offset:
                producers.add(given_up.pop()[0])
            if batch.is_control_batch:
                marker = next(batch, None)  # compaction may have emptied it
                if marker is not None and ControlRecord.parse(marker.key) == ABORT_MARKER:
                    producers.discard(batch.producer_id)
            elif batch.is_transactional and batch.producer_id in producers:
                continue
        if batch.is_control_batch or batch.next_offset <= position:
            continue
        if batch.base_offset < position:
            yield [record for record in batch if record.offset >= position]
        else:
            yield batch


def next_offset(data: bytes) -> int | None:
    """The offset behind the last whole batch of a fetch answer; None when there is none."""
    following: int | None = None
    at = 0
    while at + _LAST_DELTA_AT + 4 <= len(data):
        base, length = _BATCH_HEAD.unpack_from(data, at)
        end = at + 12 + length
        if end > len(data):
            break
        following = base + _LAST_DELTA.unpack_from(data, at + _LAST_DELTA_AT)[0] + 1
        at = end
    return following
