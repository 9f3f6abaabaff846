"""Whole stacks for the benchmarks that need PostgreSQL, and events in their log that nobody had to send."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence

from benchmarks.core.appending import append_each, in_turn
from benchmarks.core.bench import GENEROUS, Bench
from services.contract.ids import new_entity_id
from services.eventlog.epoch import current_generation
from tests.stack.lockstep import Stack, lockstep_stack
from tests.stack.servers import kafka_broker

ENVIRONMENT = {
    **{f"LOCKSTEP_{name.upper()}": value for name, value in GENEROUS.items()},
    # One person posts what many would.
    "LOCKSTEP_WEB_MESSAGE_LIMIT": "100000/second",
}


@contextlib.asynccontextmanager
async def whole(bench: Bench, *services: str) -> AsyncIterator[Stack]:
    """Broker, database and these processes of the product, in a folder of the run's own."""
    folder = bench.new_folder("stack")
    async with (
        kafka_broker(folder / "kafka", lasting=True) as kafka,
        lockstep_stack(folder, kafka=kafka, services=services, environment=ENVIRONMENT) as stack,
    ):
        yield stack


async def append_messages(
    stack: Stack, count: int, *, channels: Sequence[str], senders: Sequence[str], text: int = 300
) -> None:
    """Put so many posted messages into the log, over the channels in turn, and wait until it has them."""
    generation = await current_generation(stack.kafka.bootstrap)
    await append_each(stack.kafka.bootstrap, generation, in_turn(channels, senders, count), text=text)


def ids(prefix: str, count: int) -> list[str]:
    """So many channels ("ch") or people ("usr") that nobody has written down anywhere."""
    return [new_entity_id("ch" if prefix == "ch" else "usr") for _ in range(count)]
