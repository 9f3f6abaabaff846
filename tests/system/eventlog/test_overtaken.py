"""A fold that retention overtakes while it starts begins anew from the newer checkpoint, and from nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import NamedTuple

import pytest

from services.contract.generation import Generation
from services.eventlog import replay as replays
from services.eventlog.errors import LogLost, Overtaken
from services.eventlog.heads import Checkpoints, HeadsWriter, read_checkpoints
from services.eventlog.records import LogRecord
from services.eventlog.replay import Replay, unless_overtaken
from services.eventlog.retention import delete_below
from services.eventlog.sequencer import Checkpoint, LastRecord, Sequencer
from tests.stack.servers import Kafka
from tests.system.eventlog.conftest import delete_topics, make_topics
from tests.system.eventlog.test_replay import node
from tests.system.eventlog.writing import channel_in, messages, new_appender, whole_log


class Ground(NamedTuple):
    """A log of one partition, several times what a reader fetches ahead, in which the dedupe window has moved on."""

    kafka: str
    generation: Generation
    records: list[LogRecord]
    writer: HeadsWriter

    def fold(self, upto: int) -> tuple[Checkpoint, dict[str, int]]:
        sequencer, last = Sequencer(self.generation), None
        for record in self.records[:upto]:
            assert record.envelope is not None
            sequencer.apply(record.offset, record.appended, record.envelope, record.digest)
            last = LastRecord(record.offset, record.appended, record.envelope.id)
        return sequencer.checkpoint(upto, last), dict(sequencer.heads)

    async def checkpoint(self, part: float) -> Checkpoint:
        """Write what the checkpointer writes when it has folded this part of the log."""
        checkpoint, heads = self.fold(round(len(self.records) * part))
        await self.writer.write({0: (checkpoint, heads)})
        return checkpoint

    async def delete_below(self, checkpoint: Checkpoint) -> None:
        assert checkpoint.window_start > 0
        await delete_below(self.kafka, self.generation, {0: checkpoint.window_start})


@pytest.fixture
async def ground(kafka: Kafka) -> AsyncIterator[Ground]:
    generation = await make_topics(kafka.bootstrap, partitions=1, retry_ms=200, future_ms=100)
    channels = [channel_in(0, 1) for _ in range(3)]
    async with new_appender(kafka.bootstrap, generation) as appender:
        for _ in range(75):
            batch = [m._replace(value=b'{"type":"%s"}' % (b"x" * 15_000)) for m in messages(4, channels)]
            await asyncio.gather(*(message.append_to(appender) for message in batch))
            await asyncio.sleep(0.02)  # the window moves with the log's clock
    records = (await whole_log(kafka.bootstrap, generation))[0]
    async with HeadsWriter(kafka.bootstrap, generation) as writer:
        yield Ground(kafka.bootstrap, generation, records, writer)
    await delete_topics(kafka.bootstrap, generation)


async def test_overtaken_between_reading_the_checkpoints_and_the_log_it_begins_anew(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    await ground.checkpoint(0.3)
    read: list[Checkpoints] = []

    async def read_and_be_overtaken(kafka: str, generation: Generation) -> Checkpoints:
        read.append(await read_checkpoints(kafka, generation))
        if len(read) == 1:
            await ground.delete_below(await ground.checkpoint(0.7))
        return read[-1]

    monkeypatch.setattr(replays, "read_checkpoints", read_and_be_overtaken)
    seen = await node(ground.kafka, ground.generation)
    assert seen.heads == {0: ground.fold(len(ground.records))[1]}
    assert min(offset for _, offset in seen.verdicts) == round(len(ground.records) * 0.7)
    assert len(read) > 1


async def test_overtaken_in_the_middle_of_the_replay_it_begins_anew(ground: Ground) -> None:
    await ground.checkpoint(0.3)
    started: list[Replay] = []

    async def start() -> dict[str, int]:
        async with asyncio.timeout(60), Replay(ground.kafka, ground.generation) as replay:
            started.append(replay)
            if len(started) == 1:
                # No more has been fetched ahead than a part of it.
                await ground.delete_below(await ground.checkpoint(0.9))
            while not replay.proven_current():
                for record in (await replay.batch(100)).get(0, ()):
                    assert record.envelope is not None
                    replay.sequencers[0].apply(record.offset, record.appended, record.envelope, record.digest)
            return replay.sequencers[0].heads

    assert await unless_overtaken(start) == ground.fold(len(ground.records))[1]
    assert [replay.watermarks[0] for replay in started] == [
        round(len(ground.records) * part) for part in (0.3, 0.9)
    ]


async def test_without_a_newer_checkpoint_the_log_is_lost(ground: Ground) -> None:
    checkpoint = await ground.checkpoint(0.5)
    await delete_below(ground.kafka, ground.generation, {0: checkpoint.window_start + 1})
    with pytest.raises(LogLost) as lost:
        await node(ground.kafka, ground.generation)
    assert not isinstance(lost.value, Overtaken)


async def test_once_it_was_current_it_never_begins_anew(ground: Ground) -> None:
    """What it said may have been shown by then."""
    await ground.checkpoint(0.3)
    async with Replay(ground.kafka, ground.generation) as replay:
        while not replay.proven_current():
            await replay.batch(100)
        await ground.checkpoint(0.9)
        await delete_below(ground.kafka, ground.generation, {0: len(ground.records)})
        fetcher = replay.tail._reader._fetcher
        fetcher.broken(fetcher.places[0])  # a pause: the last record is compared, and gone

        async def read_on() -> None:
            while True:
                await replay.batch(100)

        with pytest.raises(LogLost) as lost:
            await asyncio.wait_for(read_on(), 60)
        assert not isinstance(lost.value, Overtaken)


def test_it_begins_anew_a_few_times_and_no_more() -> None:
    def overtaken(times: int) -> Callable[[], Awaitable[int]]:
        attempts = 0

        async def run() -> int:
            nonlocal attempts
            attempts += 1
            if attempts <= times:
                raise Overtaken("gone")
            return attempts

        return run

    assert asyncio.run(unless_overtaken(overtaken(4))) == 5
    with pytest.raises(Overtaken):
        asyncio.run(unless_overtaken(overtaken(5)))
