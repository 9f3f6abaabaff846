"""The operator's way out of a lost log: a new epoch, begun from what the database holds.

To be run while no other process of ours runs. Steps, each safe to repeat, in an order in which the new epoch comes
into force (its generation record) only when everything that readers need is there:

1. what the old log holds beyond the persister's progress is saved to a file
2. the new topics are made
3. `heads`: a checkpoint at offset 0 for each partition, with all heads that PostgreSQL knows
4. `directory`: the current state of every entity
5. `sessions`: who has said that they are away, as far as the old log can be read
6. the generation record in the log, then in PostgreSQL, with the partitions' progress at 0

The fold's clock begins at the epoch's making plus `retry_ms`. So an id that was born before the epoch is expired in
it, for ever: a client that does not know whether its message got into the old epoch is told so by the rule that it
knows already, looks into history, and sends the text under a new id only if it is absent. Without that, one message
could be numbered in both epochs.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from pathlib import Path
from typing import Final

import asyncpg
import msgspec
import structlog

from services.bootstrap.away import carry_over_away
from services.bootstrap.first_epoch import await_kafka, insistently, locked, migrated
from services.bootstrap.records import (
    known_generations,
    move_heads,
    progress,
    record_generation,
    stored_heads,
)
from services.bootstrap.salvage import salvage
from services.bootstrap.settings import BootstrapSettings
from services.contract.directory import DirectoryRecord
from services.contract.envelope import partition_of
from services.contract.generation import Generation
from services.database.directory_state import all_records
from services.database.engine import create_engine
from services.eventlog.directory import DirectoryWriter
from services.eventlog.epoch import create_generation, generations, is_unused, must_be_trusted
from services.eventlog.errors import LogLost
from services.eventlog.heads import HeadsWriter
from services.eventlog.sequencer import Checkpoint
from services.eventlog.topics import admin_client, create_topics, epoch_topics
from services.runtime.process import Fatal

log = structlog.get_logger()

_PUBLISH: Final = 1_000


async def begin_next_epoch(settings: BootstrapSettings, file: Path) -> Generation:
    """Gives the new generation; the newest, when that was begun by this and nothing was written to it yet.

    Raises Fatal when it cannot be begun; then the database still knows the old one.
    """
    await asyncio.gather(await_kafka(settings), migrated(settings))
    async with locked(settings) as connection:
        try:
            return await _begin(settings, connection, file)
        except LogLost as error:
            raise Fatal(str(error)) from error


async def _begin(settings: BootstrapSettings, connection: asyncpg.Connection, file: Path) -> Generation:
    database = await known_generations(connection)
    if not database:
        raise Fatal(
            "the database knows no epoch, so there is none to follow: run `python -m services.bootstrap`"
        )
    old = database[max(database)]
    known = await generations(settings.kafka)
    epoch = old.epoch + 1
    if epoch > 2 and known.get(old.epoch) == old and await _nothing_to_do(settings, old):
        log.info("the next epoch has begun already, and nothing was written to it yet", epoch=old.epoch)
        return old
    if known and max(known) > epoch:
        raise Fatal(
            f"the log is in epoch {max(known)}, the database in epoch {old.epoch}: the database is an old copy. "
            f"Restore a newer one"
        )
    new = known.get(epoch) or _following(old, settings)
    if epoch in known and not await is_unused(settings.kafka, new, seeded=True):
        raise Fatal(
            f"epoch {epoch} has been written to, but the database does not know it: the database is an old copy. "
            f"Restore a newer one"
        )
    if await asyncio.to_thread(file.exists):
        raise Fatal(f"{file} exists already: name another file to salvage to")

    saved = await salvage(settings.kafka, old, await progress(connection, old.epoch), file)
    log.info("salvaged", records=saved, file=str(file))
    async with admin_client(settings.kafka) as admin:
        await create_topics(admin, epoch_topics(new, settings.replication))
    heads = await stored_heads(connection)
    clock = new.created_ms + new.retry_ms
    await _seed_heads(settings.kafka, new, heads, clock)
    entities = await _publish_directory(settings, new)
    away = await carry_over_away(settings.kafka, old, new)
    log.info("seeded", channels=len(heads), entities=entities, away=away)
    new = await insistently(
        create_generation, settings.kafka, new, replication=settings.replication, seeded=True
    )
    async with connection.transaction():
        await move_heads(connection, heads, new.partitions)
        await record_generation(connection, new, now_ms=clock)
    log.info("the next epoch has begun", epoch=new.epoch, partitions=new.partitions)
    return new


async def _nothing_to_do(settings: BootstrapSettings, newest: Generation) -> bool:
    """Whether the newest epoch is as good as another one. Who was cut off while it was begun cannot know, and repeats it."""
    following = _following(newest, settings)
    if following != msgspec.structs.replace(newest, epoch=following.epoch, created_ms=following.created_ms):
        return False
    try:
        await must_be_trusted(settings.kafka, newest.epoch)
        return await is_unused(settings.kafka, newest, seeded=True)
    except LogLost:
        return False


def _following(old: Generation, settings: BootstrapSettings) -> Generation:
    """As the old one, but for what the environment says explicitly."""
    facts = {
        name: getattr(settings if name in settings.model_fields_set else old, name)
        for name in ("partitions", "retry_ms", "future_ms", "checkpoint_lag_ms")
    }
    return Generation(epoch=old.epoch + 1, created_ms=time.time_ns() // 1_000_000, **facts)


async def _seed_heads(kafka: str, generation: Generation, heads: dict[str, int], clock: int) -> None:
    by_partition: dict[int, dict[str, int]] = defaultdict(dict)
    for channel, head in heads.items():
        by_partition[partition_of(channel, generation.partitions)][channel] = head
    beginning = Checkpoint(watermark=0, now=clock, window_start=0, window_now=clock)
    async with HeadsWriter(kafka, generation) as writer:
        await writer.write({p: (beginning, by_partition[p]) for p in range(generation.partitions)})


async def _publish_directory(settings: BootstrapSettings, generation: Generation) -> int:
    """Publish every entity's current state; gives how many."""
    engine = create_engine(settings, "lockstep-bootstrap", statement_timeout_ms=None)
    count = 0
    batch: list[DirectoryRecord] = []
    try:
        async with (
            DirectoryWriter(settings.kafka, generation) as writer,
            engine.connect() as connection,
        ):
            await connection.execution_options(isolation_level="REPEATABLE READ")
            async for record in all_records(connection, time.time_ns() // 1_000_000):
                batch.append(record)
                if len(batch) >= _PUBLISH:
                    await writer.publish(batch)
                    count += len(batch)
                    batch.clear()
            await writer.publish(batch)
            count += len(batch)
    finally:
        await engine.dispose()
    return count
