"""What a fetch answer holds: as aiokafka's own consumer reads it, for every place to begin at and however it is cut off."""

from __future__ import annotations

import itertools
import struct

import pytest
from aiokafka.consumer.fetcher import READ_COMMITTED, READ_UNCOMMITTED, PartitionRecords
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.structs import TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from services.eventlog.batches import next_offset, records_of

_CONTROL = 0x20
_ATTRIBUTES_AT = 21

Batch = tuple[int, int, bytes]
"""A transaction's producer (0: no transaction), how many records, and for a control batch its marker."""

ABORT, COMMIT = struct.pack(">hh", 0, 0), struct.pack(">hh", 0, 1)


def encoded(begin: int, producer: int, keys: list[bytes], *, control: bool = False) -> bytes:
    builder = DefaultRecordBatchBuilder(2, 0, producer > 0, producer or -1, 0, 0, 1 << 20)
    for place, key in enumerate(keys):
        builder.append(place, 5, key, b"%d" % (begin + place), [("lockstep", b"1"), ("empty", None)])
    data = bytearray(builder.build())
    if control:
        data[_ATTRIBUTES_AT + 1] |= _CONTROL
        data[17:21] = struct.pack(">I", crc32c(bytes(data[_ATTRIBUTES_AT:])))
    data[:8] = struct.pack(">q", begin)  # not part of the checksum
    return bytes(data)


def crc32c(data: bytes) -> int:
    register = 0xFFFFFFFF
    for byte in data:
        register ^= byte
        for _ in range(8):
            register = register >> 1 ^ (0x82F63B78 if register & 1 else 0)
    return register ^ 0xFFFFFFFF


class Written:
    """A partition's log: `whole` with all its batches, and the transactions that were given up."""

    def __init__(self, batches: list[Batch]) -> None:
        self.whole = b""
        self.end = 0
        self.aborted: list[tuple[int, int]] = []
        begun: dict[int, int] = {}
        for producer, count, marker in batches:
            if producer and marker:
                self._add(encoded(self.end, producer, [marker], control=True), 1)
                first = begun.pop(producer, None)
                if marker == ABORT and first is not None:
                    self.aborted.append((producer, first))
            else:
                begun.setdefault(producer, self.end)
                self._add(encoded(self.end, producer, [b"k"] * count), count)

    def _add(self, data: bytes, count: int) -> None:
        self.whole += data
        self.end += count


def as_the_consumer_reads(data: bytes, position: int, written: Written, committed_only: bool) -> list[object]:
    isolation = READ_COMMITTED if committed_only else READ_UNCOMMITTED
    records = PartitionRecords(
        TopicPartition("t", 0), MemoryRecords(data), written.aborted, position, None, None, True, isolation
    )
    return [
        (r.offset, r.timestamp, r.key, r.value, r.headers)
        for r in records
        if r.offset >= position  # it passes over the beginning of the first batch only
    ]


@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.integers(1, 3), st.sampled_from([b"", b"", ABORT, COMMIT])),
        max_size=8,
    ),
    st.data(),
    st.booleans(),
)
def test_a_fetch_answer_is_read_as_the_consumer_reads_it(
    batches: list[Batch], data: st.DataObject, committed_only: bool
) -> None:
    written = Written(batches)
    position = data.draw(st.integers(0, written.end))
    cut = written.whole[: data.draw(st.integers(0, len(written.whole)))]
    found = records_of(cut, position, written.aborted, committed_only=committed_only)
    assert [
        (r.offset, r.timestamp, r.key, r.value, tuple(r.headers)) for r in found
    ] == as_the_consumer_reads(cut, position, written, committed_only)


def test_what_stands_before_a_batch_with_another_checksum_is_given() -> None:
    spoiled = bytearray(encoded(0, 0, [b"k"] * 2) + encoded(2, 0, [b"k"]))
    spoiled[-1] ^= 1
    found = records_of(bytes(spoiled), 1, [], committed_only=False)
    assert next(found).offset == 1
    with pytest.raises(CorruptRecordException):
        next(found)


def test_a_marker_that_compaction_took_away_says_nothing() -> None:
    emptied = encoded(0, 7, [], control=True) + encoded(1, 0, [b"k"])
    assert [record.offset for record in records_of(emptied, 0, [], committed_only=True)] == [1]


def test_the_next_offset_is_behind_the_last_whole_batch() -> None:
    ends = [0, 3, 8, 9]
    batches = [encoded(begin, 0, [b"k"] * (end - begin)) for begin, end in itertools.pairwise(ends)]
    assert next_offset(b"".join(batches)) == 9
    assert next_offset(b"".join(batches)[:-1]) == 8
    assert next_offset(batches[0][:-1]) is None
