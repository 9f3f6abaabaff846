"""The checkpointer: killed at any moment, doubled, and never deleting what somebody still needs."""

from __future__ import annotations

import asyncio
import random
import time

import pytest

from services.contract.generation import Generation
from services.eventlog.heads import Checkpoints, read_checkpoints
from services.eventlog.probe import Probe
from services.eventlog.replay import Replay
from services.eventlog.sequencer import Checkpoint, LastRecord, Sequencer
from services.eventlog.topics import admin_client, create_topics, epoch_topics
from tests.stack.process import Process
from tests.stack.servers import Postgres
from tests.stack.waiting import PATIENCE_S, until
from tests.system.checkpointer.conftest import Ground, NewCheckpointer
from tests.system.conftest import Factory
from tests.system.eventlog.test_replay import node, write_traffic
from tests.system.eventlog.writing import channel_in, messages, whole_log, write

FATAL = 70

pytestmark = pytest.mark.timeout(900)


async def ends_of(ground: Ground) -> dict[int, int]:
    async with Probe(ground.kafka.bootstrap, ground.generation.events_topic) as probe:
        return await probe.ends(range(ground.generation.partitions))


async def begins_of(ground: Ground) -> dict[int, int]:
    async with Probe(ground.kafka.bootstrap, ground.generation.events_topic) as probe:
        return await probe.begins(range(ground.generation.partitions))


async def checkpoints_at_the_end(ground: Ground, timeout: float = PATIENCE_S) -> Checkpoints:
    """Once the log is quiet, the checkpointer comes to its end."""
    ends = await ends_of(ground)

    async def reached() -> Checkpoints | None:
        found = await read_checkpoints(ground.kafka.bootstrap, ground.generation)
        complete = all(
            checkpoint is not None and checkpoint.watermark == ends[partition]
            for partition, (checkpoint, _) in found.items()
        )
        return found if complete else None

    found = await until(reached, timeout, what="checkpoints at the end of the log", every=0.3)
    assert found is not None
    return found


async def folded_in_one_go(kafka: str, generation: Generation) -> Checkpoints:
    """What a fold without any restart writes at the end of the same log."""
    expected: Checkpoints = {}
    for partition, records in (await whole_log(kafka, generation)).items():
        sequencer, last = Sequencer(generation), None
        for record in records:
            assert record.envelope is not None
            sequencer.apply(record.offset, record.appended, record.envelope, record.digest)
            last = LastRecord(record.offset, record.appended, record.envelope.id)
        expected[partition] = (sequencer.checkpoint(len(records), last), dict(sequencer.heads))
    return expected


def exact(found: Checkpoint | None, expected: Checkpoint | None) -> bool:
    """Equal, but a window refilled after a restart may begin earlier than need be."""
    assert found is not None
    assert expected is not None
    return (
        (found.watermark, found.now, found.last) == (expected.watermark, expected.now, expected.last)
        and found.window_start <= expected.window_start
        and found.window_now <= expected.window_now
    )


async def persist_up_to(ground: Ground, offsets: dict[int, int]) -> None:
    """As the persister would."""
    connection = await ground.database.connect()
    try:
        for partition, offset in offsets.items():
            await connection.execute(
                "update log_partitions set next_offset = $1 where epoch = 1 and partition = $2",
                offset,
                partition,
            )
    finally:
        await connection.close()


async def test_killed_at_random_moments_it_ends_where_one_fold_without_restarts_ends(
    ground: Ground, new_checkpointer: NewCheckpointer
) -> None:
    dice = random.Random(11)
    writing = asyncio.create_task(write_traffic(ground.kafka.bootstrap, ground.generation, 30.0, seed=5))
    process = new_checkpointer()
    moved: set[int] = set()
    for _ in range(10):
        await process.start(60)
        await asyncio.sleep(dice.random() * 2)
        await process.crash()
        found = await read_checkpoints(ground.kafka.bootstrap, ground.generation)
        moved |= {checkpoint.watermark for checkpoint, _ in found.values() if checkpoint is not None}
    await writing
    await process.start(60)
    found = await checkpoints_at_the_end(ground)
    expected = await folded_in_one_go(ground.kafka.bootstrap, ground.generation)
    for partition, (checkpoint, heads) in expected.items():
        assert exact(found[partition][0], checkpoint), (found[partition][0], checkpoint)
        assert found[partition][1] == heads
    assert len(moved) > 3, "the kills came too early to show anything"


async def test_it_stays_behind_the_end_while_records_come(
    ground: Ground, new_checkpointer: NewCheckpointer
) -> None:
    """Every watermark leaves at least the lag, in the broker's time, for the ring of a starting node."""
    lag = ground.generation.checkpoint_lag_ms
    process = new_checkpointer()
    await process.start(60)
    writing = asyncio.create_task(write_traffic(ground.kafka.bootstrap, ground.generation, 6.0, seed=9))
    observed: list[tuple[int, int, int]] = []
    while not writing.done() or {partition for partition, _, _ in observed} != {0, 1}:
        if writing.done():  # slow as the machine is, nothing was written so far
            await writing
            writing = asyncio.create_task(
                write_traffic(ground.kafka.bootstrap, ground.generation, 6.0, seed=10)
            )
        found = await read_checkpoints(ground.kafka.bootstrap, ground.generation)
        ends = await ends_of(ground)
        for partition, (checkpoint, _) in found.items():
            if checkpoint is not None:
                observed.append((partition, checkpoint.watermark, ends[partition]))
    await writing
    log = await whole_log(ground.kafka.bootstrap, ground.generation)
    for partition, watermark, end in observed:
        newest, last_folded = log[partition][end - 1], log[partition][watermark - 1]
        assert newest.appended - last_folded.appended >= lag


async def test_a_second_one_takes_over_and_the_first_stops_for_good(
    ground: Ground, new_checkpointer: NewCheckpointer
) -> None:
    first, second = new_checkpointer(), new_checkpointer()
    await first.start(60)
    await second.start(60)
    # It notices at the next thing it has to write.
    await write_traffic(ground.kafka.bootstrap, ground.generation, 1.0, seed=2)
    assert await first.wait(60) == FATAL
    assert "taken over" in first.tail()
    await checkpoints_at_the_end(ground)
    assert second.running


async def test_it_ends_in_order_and_goes_on_where_it_was(
    ground: Ground, new_checkpointer: NewCheckpointer
) -> None:
    await write(ground.kafka.bootstrap, ground.generation, messages(50, [channel_in(p, 2) for p in (0, 1)]))
    process = new_checkpointer()
    await process.start(60)
    before = await checkpoints_at_the_end(ground)
    assert await process.stop() == 0
    await write(ground.kafka.bootstrap, ground.generation, messages(50, [channel_in(p, 2) for p in (0, 1)]))
    await process.start(60)
    after = await checkpoints_at_the_end(ground)
    for partition, (checkpoint, heads) in after.items():
        assert checkpoint is not None
        assert checkpoint.watermark == 50
        assert heads.items() >= before[partition][1].items()


async def test_a_wiped_log_stops_it_loudly(ground: Ground, new_checkpointer: NewCheckpointer) -> None:
    await write(ground.kafka.bootstrap, ground.generation, messages(50, [channel_in(0, 2)]))
    process = new_checkpointer()
    await process.start(60)

    async def written() -> bool:
        checkpoint, _ = (await read_checkpoints(ground.kafka.bootstrap, ground.generation))[0]
        return checkpoint is not None and checkpoint.watermark == 50

    await until(written)
    async with admin_client(ground.kafka.bootstrap) as admin:
        await admin.delete_topics([ground.generation.events_topic])
    assert await process.wait(60) == FATAL
    assert ground.generation.events_topic in process.tail()

    async def made_again() -> bool:
        async with admin_client(ground.kafka.bootstrap) as admin:
            if ground.generation.events_topic in await admin.list_topics():
                return False
            await create_topics(admin, epoch_topics(ground.generation, 1)[:1])
            return True

    await until(made_again)
    process.spawn()
    assert await process.wait(60) == FATAL
    assert "wiped or truncated" in process.tail()


async def test_retention_follows_progress_and_deletes_nothing_that_is_needed(
    ground: Ground, new_checkpointer: NewCheckpointer
) -> None:
    process = new_checkpointer()
    await process.start(60)
    writing = asyncio.create_task(write_traffic(ground.kafka.bootstrap, ground.generation, 12.0, seed=21))
    persisted = {0: 0, 1: 0}
    starts = 0
    while not writing.done() or starts < 2:
        # The persister is slower than the checkpointer; nodes start all the while.
        ends = await ends_of(ground)
        persisted = {p: max(persisted[p], ends[p] // 2) for p in persisted}
        await persist_up_to(ground, persisted)
        # Nothing is too young to be deleted here: it may be overtaken, and begins anew.
        await node(ground.kafka.bootstrap, ground.generation)
        starts += 1
        begins = await begins_of(ground)
        assert all(begins[p] < max(1, persisted[p]) for p in begins), (begins, persisted)
    await writing
    found = await checkpoints_at_the_end(ground)

    async def deleted() -> bool:
        begins = await begins_of(ground)
        return all(
            begins[p] == min(persisted[p] - 1, c.window_start) for p, (c, _) in found.items() if c is not None
        )

    await until(deleted, what="everything that nobody needs was deleted")
    # What is left is enough: for a node, and for the persister's own comparison with its last record.
    await node(ground.kafka.bootstrap, ground.generation)
    async with Replay(ground.kafka.bootstrap, ground.generation):
        pass
    assert process.running


async def test_young_records_are_kept(ground: Ground, new_checkpointer: NewCheckpointer) -> None:
    await write(ground.kafka.bootstrap, ground.generation, messages(50, [channel_in(p, 2) for p in (0, 1)]))
    await persist_up_to(ground, {0: 25, 1: 25})
    process = new_checkpointer(retention_min_age_s="3600")
    await process.start(60)
    await checkpoints_at_the_end(ground)
    # Two more retention runs have gone by when a later checkpoint is there.
    await write(ground.kafka.bootstrap, ground.generation, messages(2, [channel_in(p, 2) for p in (0, 1)]))
    await checkpoints_at_the_end(ground)
    assert await begins_of(ground) == {0: 0, 1: 0}


async def test_with_the_database_down_checkpoints_go_on_and_nothing_is_deleted(
    ground: Ground, new_checkpointer: NewCheckpointer, new_postgres: Factory[Postgres]
) -> None:
    gone = await new_postgres()
    await gone.process.crash()
    await write(ground.kafka.bootstrap, ground.generation, messages(50, [channel_in(p, 2) for p in (0, 1)]))
    process: Process = new_checkpointer(database_port=str(gone.server.port))
    await process.start(60)
    await checkpoints_at_the_end(ground)
    await until(lambda: "retention skipped" in process.tail(50_000))
    assert await begins_of(ground) == {0: 0, 1: 0}
    assert process.running


async def test_a_broker_that_restarts_is_waited_for(
    ground: Ground, new_checkpointer: NewCheckpointer
) -> None:
    process = new_checkpointer()
    await process.start(60)
    await ground.kafka.process.crash()
    since = time.monotonic()
    await until(lambda: time.monotonic() - since > 1.5)
    await ground.kafka.process.start(60)
    await write(ground.kafka.bootstrap, ground.generation, messages(50, [channel_in(p, 2) for p in (0, 1)]))
    await checkpoints_at_the_end(ground)
    assert process.running
