"""Answers to requests that were under way at once overlap: each record is handed out once all the same."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import struct
import time
from typing import Any

import pytest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from hypothesis import given
from hypothesis import strategies as st

from services.eventlog.brokers import Brokers
from services.eventlog.fetcher import FAR_S, IDLE_ANSWER_MS, Fetcher, Place
from services.eventlog.wire import Fetch, FetchAnswer, Fetched

ENDS = (0, 3, 8, 9, 13)
"""Where the log's batches begin, and its end."""


def batches(first: int, last: int) -> bytes:
    """An answer with these whole batches of the log."""
    return b"".join(_batch(*each) for each in itertools.pairwise(ENDS[first : last + 2]))


def _batch(begin: int, end: int) -> bytes:
    builder = DefaultRecordBatchBuilder(
        magic=2, compression_type=0, is_transactional=0, producer_id=-1, producer_epoch=-1, base_sequence=-1,
        batch_size=1 << 24,
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


async def test_one_that_is_filled_as_fast_as_it_is_read_does_not_keep_the_other_waiting() -> None:
    busy, quiet = Place(0, 0), Place(1, 0)
    made = Fetcher(
        Brokers("nowhere:1", "events", request_timeout_ms=1), "events", [busy, quiet], committed_only=False
    )
    made._keep(busy, _batch(0, 20), [], 0.0)
    made._keep(quiet, _batch(0, 3), [], 0.0)
    taken: list[int] = []
    for begin in range(20, 60, 10):
        found = made.take(10)
        taken += offsets(found)
        if quiet.partition in found:
            break
        made._keep(busy, _batch(begin, begin + 10), [], 0.0)
    assert [record.offset for record in found[quiet.partition]] == [0, 1, 2]
    assert taken == list(range(len(taken))), "its own order is kept"


class OneBroker:
    """Has much in partition 1 and a little in partition 0, once; `waits`: how long each request would wait for more."""

    def __init__(self) -> None:
        self.waits: list[int] = []
        self.asked = asyncio.Event()

    def leader(self, _: int) -> int:
        return 1

    async def refresh(self) -> None:
        pass

    async def exchange(self, _: int, request: Fetch, __: int) -> FetchAnswer:
        self.waits.append(struct.unpack_from(">ii", request.body)[1])
        self.asked.set()
        await asyncio.sleep(0.001)
        if len(self.waits) > 1:
            return FetchAnswer(0, [])
        much = _batch(0, 100_000)
        assert len(much) > 1024 * 1024 // 2
        return FetchAnswer(
            0,
            [
                Fetched(0, 0, 3, 3, [], batches(0, 0)),
                Fetched(1, 0, 200_000, 200_000, [], much + _batch(100_000, 200_000)),
            ],
        )


async def test_a_reader_that_catches_up_does_not_wait_for_a_partition_that_has_no_more() -> None:
    broker: Any = OneBroker()
    places = [Place(0, 0), Place(1, 0)]
    for place in places:
        place.found_same(0, time.monotonic())
    made = Fetcher(broker, "events", places, committed_only=False)
    running = asyncio.create_task(made.run())
    try:
        async with asyncio.timeout(20):
            while len(broker.waits) < 3:
                broker.asked.clear()
                await broker.asked.wait()
            assert not made.places[0].is_doubtful
            assert max(broker.waits) < IDLE_ANSWER_MS / 10
            taken = made.take(300_000)
            assert (len(taken[0]), len(taken[1])) == (3, 200_000)
            while broker.waits[-1] != IDLE_ANSWER_MS:
                broker.asked.clear()
                await broker.asked.wait()
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


def patience(now: float, *, round_trip: float, busy: bool = False) -> int:
    """How long a broker at this distance may wait when it is asked at `now`."""
    broker: Any = OneBroker()
    made = Fetcher(broker, "events", [Place(0, 0)], committed_only=False)
    made._round_trips[1] = round_trip
    made._busy_until = now + 0.5 if busy else now - 0.5
    return made._patience(1, now)


TIMES = st.floats(min_value=10.0, max_value=1e7)
PERIOD_S = IDLE_ANSWER_MS / 1000


@given(TIMES)
def test_near_brokers_without_news_answer_all_at_the_same_moments(now: float) -> None:
    turns = (now + patience(now, round_trip=FAR_S / 2) / 1000) / PERIOD_S
    assert turns == pytest.approx(round(turns), abs=0.01)


@given(TIMES)
def test_a_distant_broker_is_not_kept_for_the_beat_after_the_one_that_its_answers_miss(now: float) -> None:
    assert patience(now, round_trip=FAR_S) == IDLE_ANSWER_MS


@given(TIMES)
def test_while_there_is_news_no_beat_brings_an_answer_without_any(now: float) -> None:
    assert patience(now, round_trip=0.001, busy=True) == IDLE_ANSWER_MS
