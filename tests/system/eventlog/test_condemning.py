"""A log that one reader found rewritten is refused by all, until the next epoch."""

from __future__ import annotations

import asyncio
import socket

import msgspec
import pytest

from services.contract.generation import Condemned, Generation
from services.contract.ids import new_event_id
from services.eventlog import condemning
from services.eventlog.committed import read_committed
from services.eventlog.condemning import report_lost, watch_epoch
from services.eventlog.epoch import (
    GENERATIONS_TOPIC,
    condemn,
    create_generation,
    current_generation,
    generations,
    must_be_trusted,
)
from services.eventlog.errors import LogLost, LogRewritten
from services.eventlog.sequencer import LastRecord
from tests.stack.servers import Kafka
from tests.stack.waiting import PATIENCE_S
from tests.system.conftest import Factory
from tests.system.eventlog.writing import channel_in, messages, whole_log, write

MARK = Condemned(lost=1, reason="its end is gone", found_by="persister", found_ms=5)


async def records(kafka: str) -> int:
    return sum([len(batch) async for batch in read_committed(kafka, GENERATIONS_TOPIC, 1)])


async def test_a_condemned_epoch_is_refused_until_the_next_one(
    new_kafka: Factory[Kafka], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(condemning, "CHECK_S", 0.05)
    kafka = (await new_kafka()).bootstrap
    assert not await condemn(kafka, MARK), "the cluster knows no such epoch"
    first = await create_generation(kafka, Generation(epoch=1, partitions=2, created_ms=1))
    assert not await condemn(kafka, msgspec.structs.replace(MARK, lost=2))
    assert await current_generation(kafka) == first
    watching = asyncio.create_task(watch_epoch(kafka, first))
    await asyncio.sleep(0.5)
    assert not watching.done()

    before = await records(kafka)
    ours = [condemning._insistently(kafka, msgspec.structs.replace(MARK, found_ms=at)) for at in (5, 6)]
    assert await asyncio.gather(*ours) == [True, True]
    assert await records(kafka) == before + 1, "the first word counts"
    for ask in (current_generation(kafka), must_be_trusted(kafka, 1), watching):
        with pytest.raises(LogLost, match=r"as persister found at [56]: its end is gone.*next-epoch"):
            await ask
    assert await generations(kafka) == {1: first}

    second = await create_generation(kafka, Generation(epoch=2, partitions=2, created_ms=2))
    assert await current_generation(kafka) == second
    await must_be_trusted(kafka, 2)


async def test_only_what_contradicts_the_log_condemns_it(
    new_kafka: Factory[Kafka], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(condemning, "_AGAIN_S", 0.05)
    kafka = (await new_kafka()).bootstrap
    generation = await create_generation(kafka, Generation(epoch=1, partitions=2, created_ms=1))
    topic = generation.events_topic
    await write(kafka, generation, messages(3, [channel_in(1, 2)]))
    newest = (await whole_log(kafka, generation))[1][-1]
    assert newest.envelope is not None
    there = LastRecord(newest.offset, newest.appended, newest.envelope.id)
    another = LastRecord(newest.offset, newest.appended, new_event_id())

    harmless = (
        LogLost("retention was quicker"),
        LogRewritten("a topic that is read anew", "directory.1", 0, 9, None),
        LogRewritten("an answer that does not come twice", topic, 1, 3, there),
    )
    for lost in harmless:
        assert not await report_lost(kafka, generation, lost, "node-1")
    assert await current_generation(kafka) == generation

    for position, last, reason in ((3, another, "rewritten"), (4, None, "cut off")):
        assert await report_lost(kafka, generation, LogRewritten(reason, topic, 1, position, last), "node-1")
        with pytest.raises(LogLost, match=r"as node-1 found .* partition 1: rewritten"):
            await current_generation(kafka)


async def test_a_log_that_does_not_answer_keeps_nobody_from_stopping(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(condemning, "_PATIENCE_S", 0.5)
    monkeypatch.setattr(condemning, "_AGAIN_S", 0.05)
    lost = LogRewritten("its end is gone", "events.1", 0, 9, None)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        for kafka in ("127.0.0.1:9", f"127.0.0.1:{silent.getsockname()[1]}"):
            async with asyncio.timeout(PATIENCE_S):
                assert not await report_lost(kafka, Generation(epoch=1), lost, "node-1")
