"""The persister's side of PostgreSQL: what it starts from, and one transaction a batch."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import asyncpg

from services.contract.generation import Generation
from services.database.epochs import WrongEpoch, check_epoch
from services.database.wake import NOTIFY_CHANNEL
from services.eventlog.sequencer import Accepted, LastRecord, Sequencer
from services.persister.audit import audit_deletions
from services.persister.copying import copy_rows
from services.persister.fold import (
    EVENT_DEFAULTS,
    Batch,
    EventRow,
    Key,
    PartitionFold,
    Projection,
    needed,
    projecting,
)
from services.persister.mentions import tell_mentioned
from services.persister.messages import read_messages, write_messages
from services.persister.read_state import read_state, write_read_state
from services.projection import Message
from services.runtime.side_by_side import beside


class PositionLost(Exception):
    """Another persister has written in the meantime: this one's fold is out of date. Nothing was written."""


class OrderConflict(Exception):
    """PostgreSQL holds another event under a number, or another number for an event, than the log says."""


class StartingPoint:
    """What PostgreSQL holds of these partitions: a fold for each, and the last record that was stored."""

    def __init__(self, folds: dict[int, PartitionFold], last: dict[int, LastRecord | None]) -> None:
        self.folds = folds
        self.last = last

    @property
    def positions(self) -> dict[int, int]:
        return {partition: fold.next_offset for partition, fold in self.folds.items()}


_FETCH: Final = 5_000

_PARTITIONS: Final = """
select partition, next_offset, now_ms, last_offset, last_append_ms, last_id
from log_partitions where epoch = $1 and partition = any($2::smallint[])
"""

_HEADS: Final = "select channel_id, head from channel_heads where partition = $1"

_WINDOW: Final = """
select at_ms, channel_id, sender_id, event_id::text, seq, record_offset
from events where epoch = $1 and partition = $2 and at_ms >= $3
order by at_ms, record_offset
"""

_MOVE: Final = """
update log_partitions as p
set next_offset = w.next_offset, now_ms = w.now_ms,
    last_offset = w.last_offset, last_append_ms = w.last_append_ms, last_id = w.last_id
from unnest($2::smallint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], $8::text[])
    as w(partition, expected, next_offset, now_ms, last_offset, last_append_ms, last_id)
where p.epoch = $1 and p.partition = w.partition and p.next_offset = w.expected
    and not exists (select from generations where epoch > $1)
returning p.partition
"""

_HEADS_MOVE: Final = """
insert into channel_heads (channel_id, partition, head)
select * from unnest($1::text[], $2::smallint[], $3::bigint[])
on conflict (channel_id) do update set partition = excluded.partition, head = excluded.head
"""

# The relay waits for these rows to go: wake it, but only when some were there.
_OUTBOX_DONE: Final = f"""
with gone as (
    delete from outbox using unnest($1::uuid[]) as stored(event_id) where outbox.event_id = stored.event_id
    returning 1
), counted as (select count(*) as rows from gone)
select rows, case when rows > 0 then pg_notify('{NOTIFY_CHANNEL}', '') end from counted
"""  # noqa: S608  (a constant of ours)


async def read_starting_point(
    connection: asyncpg.Connection, generation: Generation, partitions: Iterable[int]
) -> StartingPoint:
    """Rebuild the folds of these partitions from one moment of PostgreSQL; the log is not asked.

    Raises WrongEpoch, also when PostgreSQL has no position in one of them.
    """
    chosen = sorted(partitions)
    folds: dict[int, PartitionFold] = {}
    last: dict[int, LastRecord | None] = {}
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        await check_epoch(connection, generation)
        for row in await connection.fetch(_PARTITIONS, generation.epoch, chosen):
            partition, next_offset = row["partition"], row["next_offset"]
            sequencer = await _sequencer(connection, generation, partition, row["now_ms"])
            folds[partition] = PartitionFold(generation, partition, sequencer, next_offset)
            last[partition] = (
                None
                if row["last_offset"] is None
                else LastRecord(row["last_offset"], row["last_append_ms"], row["last_id"])
            )
    if missing := [partition for partition in chosen if partition not in folds]:
        # Where they begin, and with which clock, was written when the epoch was made; it cannot be guessed.
        raise WrongEpoch(
            f"PostgreSQL has no position in partitions {missing} of epoch {generation.epoch}: restore log_partitions"
        )
    return StartingPoint(folds, last)


async def _sequencer(
    connection: asyncpg.Connection, generation: Generation, partition: int, now_ms: int
) -> Sequencer:
    heads = dict(await connection.fetch(_HEADS, partition))
    window = [
        Accepted(at, channel, sender, id, seq, None, offset)
        async for at, channel, sender, id, seq, offset in connection.cursor(
            _WINDOW, generation.epoch, partition, now_ms - generation.window_ms, prefetch=_FETCH
        )
    ]
    return Sequencer(generation, now=now_ms, heads=heads, window=window)


async def write(
    connection: asyncpg.Connection, epoch: int, batch: Batch, projected: Callable[[], None]
) -> int:
    """Store a batch in one transaction; gives the number of outbox rows that it made superfluous.

    `projected` is called once the batch is, if it comes to that: from then on PostgreSQL has more to do than this process.
    Raises PositionLost or OrderConflict; then, as after any other error before the commit, nothing was written.
    """
    async with connection.transaction():
        await _move(connection, epoch, batch)
        if not batch.events:
            return 0
        known = await read_messages(connection, needed(batch))
        try:
            async with beside(_projected(batch, known, projected)) as work:
                await copy_rows(connection, "events", batch.events, EventRow._fields, EVENT_DEFAULTS)
                projection = await work
            await write_messages(connection, projection, known)
        except asyncpg.UniqueViolationError as error:
            raise OrderConflict(f"{error.constraint_name}: {error.detail}") from error
        await tell_mentioned(connection, projection)
        await audit_deletions(connection, projection)
        await write_read_state(connection, read_state(batch.typed, batch.notices, projection.called))
        channels = sorted(batch.heads)
        await connection.execute(
            _HEADS_MOVE,
            channels,
            [batch.heads[channel][0] for channel in channels],
            [batch.heads[channel][1] for channel in channels],
        )
        return int(await connection.fetchval(_OUTBOX_DONE, [event.event_id for event in batch.events]))


async def _projected(batch: Batch, known: Mapping[Key, Message], done: Callable[[], None]) -> Projection:
    """Piece by piece, so that what PostgreSQL is sent meanwhile is not held up."""
    projection = Projection()
    for _ in projecting(batch, known, projection):
        await asyncio.sleep(0)
    done()
    return projection


async def _move(connection: asyncpg.Connection, epoch: int, batch: Batch) -> None:
    """First in the transaction: the rows' locks make a twin wait, and then find that it came too late."""
    positions = [batch.positions[partition] for partition in sorted(batch.positions)]
    moved = await connection.fetch(
        _MOVE,
        epoch,
        [p.partition for p in positions],
        [p.expected for p in positions],
        [p.next_offset for p in positions],
        [p.now_ms for p in positions],
        [p.last.offset for p in positions],
        [p.last.appended for p in positions],
        [p.last.id for p in positions],
    )
    if len(moved) != len(positions):
        lost = {p.partition for p in positions} - {row["partition"] for row in moved}
        raise PositionLost(f"another persister has moved partitions {sorted(lost)}")
