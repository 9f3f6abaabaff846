"""Whole stacks for the benchmarks that need PostgreSQL, and events in their log that nobody had to send."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import AsyncIterator, Sequence

from benchmarks.core.bench import GENEROUS, Bench
from services.contract.envelope import encode_envelope
from services.contract.events import MessagePosted, encode_event
from services.contract.ids import new_entity_id, new_event_id
from services.eventlog.appender import Appender
from services.eventlog.epoch import current_generation
from tests.stack.lockstep import Stack, lockstep_stack

ENVIRONMENT = {f"LOCKSTEP_{name.upper()}": value for name, value in GENEROUS.items()}


@contextlib.asynccontextmanager
async def whole(bench: Bench, *services: str) -> AsyncIterator[Stack]:
    """Broker, database and these processes of the product, in a folder of the run's own."""
    async with lockstep_stack(bench.new_folder("stack"), services=services, environment=ENVIRONMENT) as stack:
        yield stack


async def append_messages(
    stack: Stack, count: int, *, channels: Sequence[str], senders: Sequence[str], text: int = 300
) -> None:
    """Put so many posted messages into the log, over the channels in turn, and wait until it has them."""
    generation = await current_generation(stack.kafka.bootstrap)

    def failed(error: Exception) -> None:
        raise error

    async with Appender(
        stack.kafka.bootstrap,
        generation.events_topic,
        generation.partitions,
        max_in_flight=20_000,
        on_failure=failed,
    ) as appender:
        turns = zip(itertools.cycle(channels), itertools.cycle(senders), strict=False)
        for number, (channel, sender) in enumerate(itertools.islice(turns, count)):
            header = encode_envelope(channel, sender, new_event_id(), time.time_ns() // 1_000_000)
            appender.append(channel, header, encode_event(MessagePosted(text=f"{number} ".ljust(text, "x"))))
            if appender.in_flight >= 5_000:
                await appender.flush()
        await appender.flush()


def ids(prefix: str, count: int) -> list[str]:
    """So many channels ("ch") or people ("usr") that nobody has written down anywhere."""
    return [new_entity_id("ch" if prefix == "ch" else "usr") for _ in range(count)]
