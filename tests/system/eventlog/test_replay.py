"""Nodes that start at different times from different checkpoints agree on every number."""

from __future__ import annotations

import asyncio
import random
import time
from typing import NamedTuple

import pytest
from msgspec.structs import replace

from services.contract.generation import Generation
from services.eventlog.errors import LogLost
from services.eventlog.heads import HeadsWriter
from services.eventlog.replay import Replay, unless_overtaken
from services.eventlog.retention import delete_below
from services.eventlog.sequencer import Kind, LastRecord, Sequencer, Verdict
from tests.stack.servers import Kafka
from tests.system.eventlog.conftest import delete_topics, make_topics
from tests.system.eventlog.writing import Message, channel_in, messages, new_appender, whole_log

Place = tuple[int, int]


class Seen(NamedTuple):
    """What a node made of every record from its watermarks on, and its heads at the end."""

    verdicts: dict[Place, Verdict]
    heads: dict[int, dict[str, int]]


async def node(kafka: str, generation: Generation) -> Seen:
    """A node: replay until current, begin anew when retention overtakes it."""
    return await unless_overtaken(lambda: _node(kafka, generation))


async def _node(kafka: str, generation: Generation) -> Seen:
    verdicts: dict[Place, Verdict] = {}
    since = time.monotonic()
    async with asyncio.timeout(60), Replay(kafka, generation) as replay:
        while replay.proven_current() < since:
            for partition, records in (await replay.batch(100)).items():
                sequencer = replay.sequencers[partition]
                for record in records:
                    if record.envelope is None:
                        continue
                    verdict = sequencer.apply(record.offset, record.appended, record.envelope, record.digest)
                    if record.offset >= replay.watermarks[partition]:
                        verdicts[partition, record.offset] = verdict
        return Seen(verdicts, {p: dict(s.heads) for p, s in replay.sequencers.items()})


async def write_traffic(kafka: str, generation: Generation, seconds: float, seed: int) -> None:
    """New messages, copies near and far, other bodies under a used id, ids too old and too early; a hundred at least."""
    dice = random.Random(seed)
    channels = [channel_in(p) for p in range(generation.partitions) for _ in range(2)]
    sent: list[Message] = []
    until = time.monotonic() + seconds
    async with new_appender(kafka, generation) as appender:
        while time.monotonic() < until or len(sent) < 100:
            now = time.time_ns() // 1_000_000
            for _ in range(dice.randint(1, 20)):
                born = now + dice.choice((0, 0, 0, 0, -600, -2_000, 400, 3_000))
                if sent and dice.random() < 0.3:
                    message = dice.choice(sent[-200:])
                    if dice.random() < 0.2:
                        message = message._replace(value=b'{"type":"another"}')
                else:
                    [message] = messages(1, [dice.choice(channels)], born)
                    sent.append(message)
                message.append_to(appender)
            await asyncio.sleep(dice.random() * 0.01)
        await appender.flush()


async def test_every_checkpoint_leads_to_the_same_numbers(kafka: Kafka) -> None:
    generation = await make_topics(kafka.bootstrap, partitions=2, retry_ms=800, future_ms=500)
    await write_traffic(kafka.bootstrap, generation, 4.0, seed=7)
    from_the_start = await node(kafka.bootstrap, generation)
    kinds = {verdict.kind for verdict in from_the_start.verdicts.values()}
    assert kinds == set(Kind)

    log = await whole_log(kafka.bootstrap, generation)
    dice = random.Random(3)
    sequencers = {p: Sequencer(generation) for p in log}
    folded = dict.fromkeys(log, 0)
    async with HeadsWriter(kafka.bootstrap, generation) as writer:
        for _ in range(6):
            written = {}
            for partition, records in log.items():
                target = min(len(records), folded[partition] + dice.randint(0, len(records) // 5))
                for record in records[folded[partition] : target]:
                    assert record.envelope is not None
                    sequencers[partition].apply(
                        record.offset, record.appended, record.envelope, record.digest
                    )
                folded[partition] = target
                written[partition] = (
                    sequencers[partition].checkpoint(target),
                    dict(sequencers[partition].heads),
                )
            await writer.write(written)
            restarted = await node(kafka.bootstrap, generation)
            assert restarted.heads == from_the_start.heads
            expected = {
                place: v for place, v in from_the_start.verdicts.items() if place[1] >= folded[place[0]]
            }
            assert restarted.verdicts.keys() == expected.keys()
            for place, verdict in restarted.verdicts.items():
                want = expected[place]
                unknown = verdict.seq is None and want.kind in (Kind.DUPLICATE, Kind.ID_REUSED)
                assert verdict == want or (unknown and verdict == replace(want, seq=None)), place
            # Nothing below the window of the newest checkpoint is needed any more.
            await delete_below(
                kafka.bootstrap,
                generation,
                {p: c.window_start for p, (c, _) in written.items() if c.window_start},
            )
    await delete_topics(kafka.bootstrap, generation)


async def test_a_log_that_does_not_reach_back_far_enough_is_refused(kafka: Kafka) -> None:
    generation = await make_topics(kafka.bootstrap, partitions=2)
    await write_traffic(kafka.bootstrap, generation, 0.3, seed=1)
    await delete_below(kafka.bootstrap, generation, {0: 1})
    with pytest.raises(LogLost, match="begins at 1"):
        await node(kafka.bootstrap, generation)
    await delete_topics(kafka.bootstrap, generation)


async def test_a_checkpoint_of_another_log_is_refused(kafka: Kafka) -> None:
    generation = await make_topics(kafka.bootstrap, partitions=2)
    await write_traffic(kafka.bootstrap, generation, 0.3, seed=1)
    record = (await whole_log(kafka.bootstrap, generation))[0][3]
    assert record.envelope is not None
    sequencer = Sequencer(generation)
    wrong = LastRecord(3, record.appended - 1, record.envelope.id)
    async with HeadsWriter(kafka.bootstrap, generation) as writer:
        await writer.write({0: (sequencer.checkpoint(4, wrong), {})})
        with pytest.raises(LogLost, match="rewritten"):
            await node(kafka.bootstrap, generation)
    await delete_topics(kafka.bootstrap, generation)
