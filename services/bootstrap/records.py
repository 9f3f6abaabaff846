"""The database's side of an epoch: its generation record and one row for each partition's progress."""

from __future__ import annotations

import asyncpg
import msgspec

from services.contract.generation import Generation

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Generation)


async def known_generations(connection: asyncpg.Connection) -> dict[int, Generation]:
    """All generation records by epoch."""
    rows = await connection.fetch("select epoch, record from generations")
    return {row["epoch"]: _decoder.decode(row["record"]) for row in rows}


async def record_generation(connection: asyncpg.Connection, generation: Generation) -> None:
    """Note the epoch, and that nothing of it is stored yet; rows that are there are left alone. One transaction."""
    async with connection.transaction():
        await connection.execute(
            "insert into generations (epoch, record) values ($1, $2) on conflict do nothing",
            generation.epoch,
            _encoder.encode(generation),
        )
        await connection.executemany(
            "insert into log_partitions (epoch, partition, next_offset, now_ms) values ($1, $2, 0, 0)"
            " on conflict do nothing",
            [(generation.epoch, partition) for partition in range(generation.partitions)],
        )
