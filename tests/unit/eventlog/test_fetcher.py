"""Answers to requests that were under way at once overlap: each record is handed out once all the same."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from services.eventlog.brokers import Brokers
from services.eventlog.fetcher import Fetcher, Place

ENDS = (0, 3, 8, 9, 13)
"""Where the log's batches begin, and its end."""


def batches(first: int, last: int) -> bytes:
    """An answer with these whole batches of the log."""
    return b"".join(_batch(*each) for each in itertools.pairwise(ENDS[first : last + 2]))


def _batch(begin: int, end: int) -> bytes:
    builder = DefaultRecordBatchBuilder(
        magic=2, compression_type=0, is_transactional=0, producer_id=-1, producer_epoch=-1, base_sequence=-1,
        batch_size=1 << 20,
    )  # fmt: skip
    for number in range(end - begin):
        builder.append(number, timestamp=1, key=None, value=b"x", headers=[])
    data = bytearray(builder.build())
    data[:8] = begin.to_bytes(8, "big")  # the broker gives the offset; the checksum leaves it out
    return bytes(data)


def fetcher() -> tuple[Fetcher, Place]:
    place = Place(0, 0)
    return Fetcher(
        Brokers("nowhere:1", "events", request_timeout_ms=1), "events", [place], committed_only=False
    ), place


def offsets(taken: dict[int, list[Any]]) -> list[int]:
    return [record.offset for record in taken.get(0, [])]


@pytest.mark.parametrize("first", range(3))
@pytest.mark.parametrize("kept", range(4))
async def test_what_two_answers_hold_is_handed_out_once(first: int, kept: int) -> None:
    made, place = fetcher()
    made._keep(place, batches(0, kept), [], 0.0)
    found = offsets(made.take(5_000))
    made._keep(place, batches(min(first, kept), 3), [], 0.0)
    found += offsets(made.take(5_000))
    assert found == list(range(13))
