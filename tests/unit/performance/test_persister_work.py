"""What an event may cost the persister besides PostgreSQL: calls, and rest from the garbage collector."""

from __future__ import annotations

import gc
import random
import time

from services.contract.envelope import digest_of, encode_envelope, partition_of
from services.contract.events import MessagePosted, encode_event
from services.contract.generation import Generation
from services.contract.ids import new_entity_id, new_event_id
from services.eventlog.records import LogRecord, read_record
from services.eventlog.sequencer import Sequencer
from services.persister.__main__ import GC_THRESHOLD
from services.persister.fold import Batch, PartitionFold, Projection, fold, project
from tests.unit.performance.counting import calls

BATCH = 5_000
UNDER_WAY = 2
"""Batches: one that is written, one that is read."""

EVENT_CALLS = 49


def messages(count: int) -> list[tuple[str, bytes, bytes]]:
    """Name and value of each one's envelope, and its body."""
    generation = Generation(epoch=1)
    channels = [new_entity_id("ch") for _ in range(100)]
    here = [channel for channel in channels if partition_of(channel, generation.partitions) == 0]
    now = time.time_ns() // 1_000_000
    return [
        (
            *encode_envelope(random.choice(here), new_entity_id("usr"), new_event_id(), now),
            encode_event(MessagePosted(text="x" * 300)),
        )
        for _ in range(count)
    ]


def persisted(raw: list[tuple[str, bytes, bytes]]) -> tuple[list[LogRecord], Batch, Projection]:
    """All that the persister makes of them before it turns to PostgreSQL."""
    generation = Generation(epoch=1)
    now = time.time_ns() // 1_000_000
    records = [
        read_record(0, generation.partitions, offset, now, [(name, envelope)], body)
        for offset, (name, envelope, body) in enumerate(raw)
    ]
    batch = Batch()
    fold({0: PartitionFold(generation, 0, Sequencer(generation), 0)}, {0: records}, batch)
    assert len(batch.events) == len(raw)
    assert records[0].digest == digest_of(raw[0][2])
    return records, batch, project(batch, {})


def test_an_event_is_a_bounded_number_of_calls() -> None:
    few, many = messages(10), messages(110)
    spent = (calls(lambda: persisted(many)) - calls(lambda: persisted(few))) / 100
    assert spent <= EVENT_CALLS, f"{spent} calls"


def test_the_collector_is_not_woken_by_what_batches_are_made_of() -> None:
    raw = messages(BATCH)
    gc.collect()
    gc.disable()
    try:
        held = persisted(raw)
        objects = gc.get_count()[0]
    finally:
        gc.enable()
    assert held
    assert UNDER_WAY * objects < GC_THRESHOLD, f"{objects} objects in a batch"
