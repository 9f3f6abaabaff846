"""The tail: everything in order, currency proven, and never a word from another log."""

from __future__ import annotations

import asyncio
import time

import pytest
from aiokafka import AIOKafkaProducer

from services.contract.envelope import HEADER, UnknownEnvelopeVersion, encode_envelope
from services.contract.generation import Generation
from services.contract.ids import new_entity_id, new_event_id
from services.eventlog.errors import LogLost
from services.eventlog.retention import delete_below
from services.eventlog.sequencer import LastRecord
from services.eventlog.tail import Tail
from services.eventlog.topics import admin_client, create_topics, epoch_topics
from tests.stack.servers import Kafka
from tests.stack.waiting import PATIENCE_S, until
from tests.system.conftest import Factory
from tests.system.eventlog.conftest import delete_topics, make_topics
from tests.system.eventlog.writing import (
    channel_in,
    ids,
    messages,
    new_appender,
    until_current,
    whole_log,
    write,
)

CHANNELS = [channel_in(p) for p in range(4)]


def tail_of(kafka: Kafka, generation: Generation) -> Tail:
    return Tail(kafka.bootstrap, generation.events_topic, dict.fromkeys(range(generation.partitions), 0))


async def recreate(kafka: Kafka, generation: Generation) -> None:
    """What an operator's mistake does: the topics are gone and come back empty."""
    await delete_topics(kafka.bootstrap, generation)

    async def made() -> bool:
        # A deletion takes effect a little later; until then the topic "exists already".
        async with admin_client(kafka.bootstrap) as admin:
            names = await admin.list_topics()
            if generation.events_topic in names:
                return False
            await create_topics(admin, epoch_topics(generation, 1))
        return True

    await until(made)


async def lost(tail: Tail, timeout: float = PATIENCE_S) -> str:
    """Read until the tail gives up; nothing may be handed out on the way."""
    async with asyncio.timeout(timeout):
        while True:
            try:
                assert await tail.batch(100) == {}
            except LogLost as error:
                return str(error)


async def test_it_is_not_current_before_everything_was_taken_and_then_stays_so(
    kafka: Kafka, generation: Generation
) -> None:
    batch = messages(200, CHANNELS)
    await write(kafka.bootstrap, generation, batch)
    taken = 0
    async with tail_of(kafka, generation) as tail:
        assert tail.proven_current() == 0.0
        while not tail.proven_current():
            taken += sum(len(records) for records in (await tail.batch(1_000)).values())
            assert taken == 200 or not tail.proven_current()
        assert taken == 200
        proofs = [tail.proven_current()]
        async with asyncio.timeout(PATIENCE_S):
            while len(proofs) < 5:  # it is proven anew and anew
                assert await tail.batch(50) == {}
                proof = tail.proven_current()
                assert proof >= proofs[-1]
                if proof > proofs[-1]:
                    proofs.append(proof)


async def test_a_proof_covers_only_what_its_caller_has_come_back_from(
    kafka: Kafka, generation: Generation
) -> None:
    async with tail_of(kafka, generation) as tail:
        await until_current(tail)
        written = time.monotonic()
        await write(kafka.bootstrap, generation, messages(1, CHANNELS))
        acknowledged = time.monotonic()
        while not await tail.batch(1_000):
            assert tail.proven_current() < acknowledged
        # The record was handed out a moment ago; whoever asks from elsewhere must not take it for applied.
        await asyncio.sleep(0.6)
        assert tail.proven_current() < acknowledged
        assert await tail.batch(10) == {}
        await until_current(tail)
        assert tail.proven_current() > written


async def test_it_is_renewed_while_nobody_waits(kafka: Kafka, generation: Generation) -> None:
    async with tail_of(kafka, generation) as tail:
        await until_current(tail)
        before = tail.proven_current()
        await until(lambda: tail.proven_current() > before + 0.5)


async def test_catching_up_goes_in_bounded_steps(kafka: Kafka, generation: Generation) -> None:
    """A reader that is far behind still lets others have the loop."""
    batch = messages(12_000, CHANNELS)
    await write(kafka.bootstrap, generation, batch)
    read: dict[int, list[str]] = {p: [] for p in range(4)}
    async with tail_of(kafka, generation) as tail:
        while not tail.proven_current():
            fetched = await tail.batch(100)
            assert sum(map(len, fetched.values())) <= 5_000
            for partition, records in fetched.items():
                read[partition] += ids(records)
    assert read == {p: [m.id for m in batch if m.channel == CHANNELS[p]] for p in range(4)}


async def test_cancelling_loses_no_record(kafka: Kafka, generation: Generation) -> None:
    batch = messages(400, CHANNELS)
    read: dict[int, list[str]] = {p: [] for p in range(4)}
    async with tail_of(kafka, generation) as tail, new_appender(kafka.bootstrap, generation) as appender:
        appended = []
        for i, message in enumerate(batch):
            appended.append(message.append_to(appender))
            if i % 10 == 0:
                reading = asyncio.create_task(tail.batch(1_000))
                await asyncio.sleep(0.002)
                reading.cancel()
                if not (await asyncio.wait([reading]))[1] and not reading.cancelled():
                    for partition, records in reading.result().items():
                        read[partition] += ids(records)
        await asyncio.gather(*appended)
        for partition, records in (await until_current(tail)).items():
            read[partition] += ids(records)
    for p, found in read.items():
        wanted = [m.id for m in batch if m.channel == CHANNELS[p]]
        places = [wanted.index(id) for id in found if id in wanted]
        assert places == list(range(100)), f"partition {p}: these, in this order"


async def test_malformed_records_are_passed_over_and_an_unknown_version_stops(
    kafka: Kafka, generation: Generation
) -> None:
    sender = new_entity_id("usr")
    good = encode_envelope(CHANNELS[0], sender, new_event_id(), 1)
    async with AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, acks="all") as producer:
        for headers in ([("x", b"1")], [(HEADER, b"1 nonsense")], [good], [good, good]):
            await producer.send_and_wait(generation.events_topic, b"{}", partition=0, headers=headers)
        # a well-formed one in a partition that is not its channel's
        await producer.send_and_wait(generation.events_topic, b"{}", partition=1, headers=[good])
        log = await whole_log(kafka.bootstrap, generation)
        assert [record.envelope is not None for record in log[0]] == [False, False, True, False]
        assert [record.envelope for record in log[1]] == [None]
        await producer.send_and_wait(generation.events_topic, b"{}", partition=2, headers=[(HEADER, b"2 x")])
    with pytest.raises(UnknownEnvelopeVersion):
        await whole_log(kafka.bootstrap, generation)


async def test_a_start_beyond_the_end_below_the_beginning_or_with_another_last_record_is_refused(
    kafka: Kafka, generation: Generation
) -> None:
    await write(kafka.bootstrap, generation, messages(10, [CHANNELS[0]]))
    log = (await whole_log(kafka.bootstrap, generation))[0]
    fifth = log[5]
    assert fifth.envelope is not None
    right = LastRecord(5, fifth.appended, fifth.envelope.id)

    async def start(position: int, last: LastRecord | None) -> None:
        async with Tail(
            kafka.bootstrap, generation.events_topic, {0: position}, partitions=4, last={0: last}
        ):
            pass

    await start(10, None)
    await start(6, right)
    for position, last, word in (
        (11, None, "ends at 10"),
        (6, LastRecord(5, fifth.appended + 1, fifth.envelope.id), "rewritten"),
        (6, LastRecord(5, fifth.appended, new_event_id()), "rewritten"),
        (6, LastRecord(12, fifth.appended, fifth.envelope.id), "ends at 10"),
    ):
        with pytest.raises(LogLost, match=word):
            await start(position, last)
    await delete_below(kafka.bootstrap, generation, {0: 6})
    await start(6, None)
    with pytest.raises(LogLost, match="begins at 6"):
        await start(5, None)
    with pytest.raises(LogLost, match="begins at 6"):
        await start(6, right)


@pytest.mark.parametrize("refilled", [0, 5, 10, 25])
async def test_a_log_that_was_wiped_and_begun_again_is_never_read_on(kafka: Kafka, refilled: int) -> None:
    """Also when the new one has grown to the reader's position, or beyond it."""
    generation = await make_topics(kafka.bootstrap)
    await write(kafka.bootstrap, generation, messages(10, [CHANNELS[0]]))
    async with tail_of(kafka, generation) as tail:
        await until_current(tail)
        recreating = asyncio.create_task(recreate(kafka, generation))
        # The reader is not looking while it happens.
        await recreating
        await write(kafka.bootstrap, generation, messages(refilled, [CHANNELS[0]]))
        current = tail.proven_current()
        reason = await lost(tail)
        assert generation.events_topic in reason
        assert tail.proven_current() == current
        with pytest.raises(LogLost):
            await tail.batch(10)
    await delete_topics(kafka.bootstrap, generation)


async def test_a_topic_that_is_gone_is_a_lost_log(kafka: Kafka) -> None:
    generation = await make_topics(kafka.bootstrap)
    async with tail_of(kafka, generation) as tail:
        await until_current(tail)
        await delete_topics(kafka.bootstrap, generation)
        assert "gone" in await lost(tail)
    with pytest.raises(LogLost, match="gone"):
        async with tail_of(kafka, generation):
            pass


async def test_a_broker_killed_and_restarted_costs_nothing_but_time(new_kafka: Factory[Kafka]) -> None:
    broker = await new_kafka()
    generation = await make_topics(broker.bootstrap)
    first, second = messages(100, CHANNELS), messages(100, CHANNELS)
    await write(broker.bootstrap, generation, first)
    async with tail_of(broker, generation) as tail:
        read = await until_current(tail)
        await broker.process.crash()
        stopped = time.monotonic()
        while time.monotonic() < stopped + 2:
            assert await tail.batch(100) == {}
        assert tail.proven_current() < stopped
        await broker.process.start(60)
        await write(broker.bootstrap, generation, second)
        for partition, records in (await until_current(tail)).items():
            read[partition] += records
    for partition, records in read.items():
        assert ids(records) == [m.id for m in (*first, *second) if m.channel == CHANNELS[partition]]


async def test_a_frozen_broker_proves_nothing(new_kafka: Factory[Kafka]) -> None:
    broker = await new_kafka()
    generation = await make_topics(broker.bootstrap)
    async with tail_of(broker, generation) as tail:
        await until_current(tail)
        broker.process.freeze()
        frozen = time.monotonic()
        while time.monotonic() < frozen + 3:
            assert await tail.batch(200) == {}
        assert tail.proven_current() < frozen
        broker.process.thaw()
        await until_current(tail)
