"""The database's side of an epoch: its generation record, each partition's progress, the channels' heads."""

from __future__ import annotations

from typing import NamedTuple

import asyncpg
import msgspec

from services.contract.envelope import partition_of
from services.contract.generation import Generation
from services.eventlog.sequencer import LastRecord

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Generation)


class Progress(NamedTuple):
    """How far the persister came in one partition: its next offset, its clock, the last record it stored."""

    next_offset: int
    now_ms: int
    last: LastRecord | None


async def known_generations(connection: asyncpg.Connection) -> dict[int, Generation]:
    """All generation records by epoch."""
    rows = await connection.fetch("select epoch, record from generations")
    return {row["epoch"]: _decoder.decode(row["record"]) for row in rows}


async def record_generation(
    connection: asyncpg.Connection, generation: Generation, *, now_ms: int = 0
) -> None:
    """Note the epoch, and that nothing of it is stored yet; rows that are there are left alone. One transaction.

    `now_ms`: what the fold's clock begins at.
    """
    async with connection.transaction():
        await connection.execute(
            "insert into generations (epoch, record) values ($1, $2) on conflict do nothing",
            generation.epoch,
            _encoder.encode(generation),
        )
        await connection.executemany(
            "insert into log_partitions (epoch, partition, next_offset, now_ms) values ($1, $2, 0, $3)"
            " on conflict do nothing",
            [(generation.epoch, partition, now_ms) for partition in range(generation.partitions)],
        )


async def progress(connection: asyncpg.Connection, epoch: int) -> dict[int, Progress]:
    """By partition, how far the persister came in an epoch."""
    rows = await connection.fetch(
        "select partition, next_offset, now_ms, last_offset, last_append_ms, last_id"
        " from log_partitions where epoch = $1",
        epoch,
    )
    return {
        row["partition"]: Progress(
            row["next_offset"],
            row["now_ms"],
            None
            if row["last_offset"] is None
            else LastRecord(row["last_offset"], row["last_append_ms"], row["last_id"]),
        )
        for row in rows
    }


async def stored_heads(connection: asyncpg.Connection) -> dict[str, int]:
    """Every channel's last stored number."""
    return dict(await connection.fetch("select channel_id, head from channel_heads"))


async def move_heads(connection: asyncpg.Connection, heads: dict[str, int], partitions: int) -> None:
    """Note in which partition each channel stands when there are `partitions` of them."""
    await connection.execute(
        "update channel_heads as h set partition = w.partition"
        " from unnest($1::text[], $2::smallint[]) as w(channel_id, partition)"
        " where h.channel_id = w.channel_id and h.partition <> w.partition",
        list(heads),
        [partition_of(channel, partitions) for channel in heads],
    )
