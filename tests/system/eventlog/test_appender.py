"""Order into the log: under load, and when a produce request is stalled and comes late."""

from __future__ import annotations

import asyncio
import random
import time
from collections import defaultdict
from functools import partial

import pytest

from deploy.local.ports import free_ports
from services.contract.generation import Generation
from services.eventlog.connection import Connection
from services.eventlog.errors import AppendFailed, Overloaded
from services.eventlog.sequencer import Kind, Sequencer
from services.eventlog.wire import Produce, Request
from tests.stack.servers import Kafka
from tests.stack.waiting import PATIENCE_S
from tests.system.conftest import Factory
from tests.system.eventlog.conftest import make_topics
from tests.system.eventlog.stalling import produce_staller
from tests.system.eventlog.writing import (
    channel_in,
    ids,
    messages,
    new_appender,
    whole_log,
    write,
)


async def test_records_enter_in_the_order_of_their_appends_while_batches_grow(
    kafka: Kafka, generation: Generation
) -> None:
    channels = [channel_in(p) for p in (0, 1, 2, 3, 0, 1)]
    batch = messages(6_000, channels)
    dice = random.Random(1)
    async with new_appender(kafka.bootstrap, generation) as appender:
        futures = []
        for message in batch:
            futures.append(message.append_to(appender))
            if dice.random() < 0.05:
                await asyncio.sleep(dice.random() * 0.002)
        await asyncio.gather(*futures)
        assert appender.in_flight == 0
    log = await whole_log(kafka.bootstrap, generation)
    sent = defaultdict(list)
    for message in batch:
        sent[channels.index(message.channel) % 4].append(message.id)
    assert {partition: ids(records) for partition, records in log.items()} == sent


async def test_what_is_acknowledged_resolves_in_order(kafka: Kafka, generation: Generation) -> None:
    done: list[str] = []
    async with new_appender(kafka.bootstrap, generation) as appender:
        batch = messages(500, [channel_in(2)])
        for i, message in enumerate(batch):
            message.append_to(appender).add_done_callback(partial(_note, done, message.id))
            if i % 50 == 0:
                await asyncio.sleep(0.003)
        await appender.flush()
        await asyncio.sleep(0)
    assert done == [message.id for message in batch]


def _note(done: list[str], id: str, _: asyncio.Future[None]) -> None:
    done.append(id)


async def test_a_record_too_large_is_refused_at_once_and_nothing_else_suffers(
    kafka: Kafka, generation: Generation
) -> None:
    [small, large] = messages(2, [channel_in(1)])
    async with new_appender(kafka.bootstrap, generation, max_batch_bytes=100_000) as appender:
        with pytest.raises(ValueError, match="too large"):
            large._replace(value=b"x" * 100_000).append_to(appender)
        at_the_limit = large._replace(value=b"x" * 99_700).append_to(appender)
        await asyncio.gather(
            at_the_limit, *(small._replace(value=b"y" * 60_000).append_to(appender) for _ in range(3))
        )
    assert [len(r.value or b"") for r in (await whole_log(kafka.bootstrap, generation))[1]] == [99_700] + [
        60_000
    ] * 3


async def test_in_flight_is_bounded_and_frees_itself(kafka: Kafka, generation: Generation) -> None:
    batch = messages(20, [channel_in(0)])
    async with new_appender(kafka.bootstrap, generation, max_in_flight=10) as appender:
        for message in batch[:10]:
            message.append_to(appender)
        with pytest.raises(Overloaded):
            batch[10].append_to(appender)
        await appender.flush()
        await asyncio.gather(*(message.append_to(appender) for message in batch[10:]))
    assert ids((await whole_log(kafka.bootstrap, generation))[0]) == [message.id for message in batch]


async def test_bytes_in_flight_are_bounded(kafka: Kafka, generation: Generation) -> None:
    batch = [m._replace(value=b"x" * 10_000) for m in messages(5, [channel_in(0)])]
    async with new_appender(kafka.bootstrap, generation, max_in_flight_bytes=45_000) as appender:
        for message in batch[:4]:
            message.append_to(appender)
        with pytest.raises(Overloaded):
            batch[4].append_to(appender)
        await appender.flush()
        await batch[4].append_to(appender)


async def test_closing_fails_what_still_waits(kafka: Kafka, generation: Generation) -> None:
    async with new_appender(kafka.bootstrap, generation) as appender:
        future = messages(1, [channel_in(0)])[0].append_to(appender)
    with pytest.raises(AppendFailed):
        await future
    with pytest.raises(RuntimeError):
        messages(1, [channel_in(0)])[0].append_to(appender)


async def shown(kafka: str, generation: Generation) -> tuple[list[str], int]:
    """(ids in the order in which they were numbered, how many copies the log holds besides) of partition 0."""
    sequencer = Sequencer(generation)
    verdicts = []
    for record in (await whole_log(kafka, generation))[0]:
        assert record.envelope is not None
        verdict = sequencer.apply(record.offset, record.appended, record.envelope, record.digest)
        assert verdict.kind in (Kind.NUMBERED, Kind.DUPLICATE)
        verdicts.append((record.envelope.id, verdict))
    order = [id for id, verdict in verdicts if verdict.kind is Kind.NUMBERED]
    assert [verdict.seq for _, verdict in verdicts if verdict.kind is Kind.NUMBERED] == list(
        range(1, len(order) + 1)
    )
    return order, len(verdicts) - len(order)


async def test_a_stalled_produce_request_fails_all_behind_it_and_its_late_copies_are_duplicates(
    new_kafka: Factory[Kafka],
) -> None:
    front, back = free_ports(2)
    behind_proxy = f"127.0.0.1:{front}"
    failures: list[str] = []
    async with produce_staller(back, front) as staller:
        await new_kafka(advertised=front, port=back)
        generation = await make_topics(behind_proxy)
        channel, other = channel_in(0), channel_in(3)
        batch = messages(40, [channel])
        appender = new_appender(
            behind_proxy, generation, failures, request_timeout_ms=20_000, append_timeout_ms=5_000
        )
        # A partition that was just made may refuse its first records for a while; that is not what is tested.
        await write(behind_proxy, generation, batch[:10])
        async with appender:
            # From a producer that the leader knows several requests may be under way.
            known = messages(1, [channel])[0]
            await known.append_to(appender)
            staller.arm()
            stalled = [m.append_to(appender) for m in batch[10:20]]
            await asyncio.wait_for(staller.held.wait(), PATIENCE_S)
            waiting = [m.append_to(appender) for m in batch[20:30]]
            elsewhere = messages(1, [other])[0].append_to(appender)
            started = time.monotonic()
            outcomes = await asyncio.gather(*stalled, *waiting, elsewhere, return_exceptions=True)
            assert time.monotonic() - started < 15, "in its own time, and not when the request is given up"
            assert all(isinstance(outcome, AppendFailed) for outcome in outcomes)
            assert [failure.split(":")[0] for failure in failures] == [
                f"{generation.events_topic}, partition {partition}" for partition in (0, 3)
            ]
            assert appender.in_flight == 0
            # They have new producer ids: the same appender goes on. Unacknowledged ones again, oldest first.
            await asyncio.gather(*(m.append_to(appender) for m in batch[10:]))
            staller.release()
            await asyncio.wait_for(staller.delivered.wait(), PATIENCE_S)
            last = messages(1, [channel])[0]
            await last.append_to(appender)
        assert len(failures) == 2

        async def late_copies() -> int:
            return (await shown(behind_proxy, generation))[1]

        async with asyncio.timeout(PATIENCE_S):
            while await late_copies() < 20:
                pass
        order, copies = await shown(behind_proxy, generation)
        assert order == [m.id for m in (*batch[:10], known, *batch[10:], last)]
        assert copies == 20  # the request that was held, and the one behind it


async def test_a_request_repeated_in_time_is_no_failure_and_leaves_no_copy(new_kafka: Factory[Kafka]) -> None:
    front, back = free_ports(2)
    behind_proxy = f"127.0.0.1:{front}"
    async with produce_staller(back, front) as staller:
        await new_kafka(advertised=front, port=back)
        generation = await make_topics(behind_proxy)
        batch = messages(40, [channel_in(0)])
        await write(behind_proxy, generation, batch[:10])
        async with new_appender(behind_proxy, generation, request_timeout_ms=1_000) as appender:
            staller.arm()
            futures = [m.append_to(appender) for m in batch[10:20]]
            await asyncio.wait_for(staller.held.wait(), PATIENCE_S)
            futures += [m.append_to(appender) for m in batch[20:]]
            await asyncio.gather(*futures)
            staller.release()
            await asyncio.wait_for(staller.delivered.wait(), PATIENCE_S)
        assert await shown(behind_proxy, generation) == ([m.id for m in batch], 0)


async def test_a_frozen_broker_fails_appends_in_time_and_is_used_again_when_it_thaws(
    new_kafka: Factory[Kafka],
) -> None:
    broker = await new_kafka()
    generation = await make_topics(broker.bootstrap)
    failures: list[str] = []
    batch = messages(30, [channel_in(0)])
    appender = new_appender(
        broker.bootstrap, generation, failures, request_timeout_ms=1_000, append_timeout_ms=2_000
    )
    await write(broker.bootstrap, generation, batch[:10])
    async with appender:
        broker.process.freeze()
        started = time.monotonic()
        outcomes = await asyncio.gather(
            *(m.append_to(appender) for m in batch[10:20]), return_exceptions=True
        )
        assert all(isinstance(outcome, AppendFailed) for outcome in outcomes)
        assert time.monotonic() - started < 15
        broker.process.thaw()
        async with asyncio.timeout(PATIENCE_S):
            rest = list(batch[10:])
            while rest:
                outcomes = await asyncio.gather(
                    *(m.append_to(appender) for m in rest), return_exceptions=True
                )
                if not any(outcomes):
                    rest = []
    order, _ = await shown(broker.bootstrap, generation)
    assert order == [m.id for m in batch]
    assert failures


@pytest.mark.parametrize("end", ["error", "cancelled"])
async def test_a_lane_that_ends_by_what_nobody_expects_fails_like_a_batch_and_is_not_jammed(
    kafka: Kafka, generation: Generation, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    failures: list[str] = []
    first, second, third = messages(3, [channel_in(0)])
    async with new_appender(kafka.bootstrap, generation, failures) as appender:
        with monkeypatch.context() as broken:
            handed_over = asyncio.Event()

            answers: list[asyncio.Future[object]] = []
            ask_really = Connection.ask

            def ask(connection: Connection, request: Request) -> asyncio.Future[object]:
                if not isinstance(request, Produce):
                    return ask_really(connection, request)
                handed_over.set()
                if end == "error":
                    raise AttributeError("a defect of the library")
                answers.append(asyncio.get_running_loop().create_future())
                return answers[-1]

            broken.setattr(Connection, "ask", ask)
            futures = [first.append_to(appender), second.append_to(appender)]
            async with asyncio.timeout(PATIENCE_S):
                await handed_over.wait()
            if end == "cancelled":
                [answer] = answers
                answer.cancel()
            async with asyncio.timeout(PATIENCE_S):
                outcomes = await asyncio.gather(*futures, return_exceptions=True)
        assert all(isinstance(outcome, AppendFailed) for outcome in outcomes)
        assert len(failures) == 1
        assert ("a defect of the library" if end == "error" else "cancelled") in failures[0]
        assert appender.in_flight == 0
        async with asyncio.timeout(PATIENCE_S):
            await third.append_to(appender)
    stored = ids((await whole_log(kafka.bootstrap, generation))[0])
    assert stored[-1] == third.id
    assert first.id not in stored
