"""What the web app left in PostgreSQL for others: outbox rows, and what it takes for granted there: stored events."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

import asyncpg
import msgspec

from services.contract.events import Event, MessageEdited, encode_event
from services.contract.ids import is_event_id, uuid7
from services.persister.fold import Batch, needed, project
from services.persister.messages import read_messages, write_messages
from services.projection import Numbered


async def events_of(sql: asyncpg.Connection, channel_id: str) -> list[tuple[str, dict[str, Any]]]:
    """The channel's events in the outbox, in their order: (sender, event)."""
    rows = await sql.fetch(
        "select event_id, sender_id, body from outbox where channel_id = $1 order by position", channel_id
    )
    assert all(is_event_id(str(row["event_id"])) for row in rows)
    return [(row["sender_id"], msgspec.json.decode(row["body"])) for row in rows]


async def outbox(sql: asyncpg.Connection, after: int = 0) -> list[str]:
    """Everything in the outbox behind a position: directory keys, and `event:` with the kinds of events."""
    rows = await sql.fetch("select key, body from outbox where position > $1 order by position", after)
    return [row["key"] or f"event:{msgspec.json.decode(row['body'])['type']}" for row in rows]


async def outbox_end(sql: asyncpg.Connection) -> int:
    return int(await sql.fetchval("select coalesce(max(position), 0) from outbox"))


async def store_messages(
    sql: asyncpg.Connection, channel_id: str, sender_id: str, count: int, first: int = 1
) -> None:
    """As the persister would: `count` messages from `first` on, and the head."""
    async with sql.transaction():
        for seq in range(first, first + count):
            event_id = uuid7()
            text = f"message {seq}"
            await store_event(
                sql,
                channel_id,
                sender_id,
                seq,
                msgspec.json.encode({"type": "message.posted", "text": text}),
                event_id,
            )
            await sql.execute(
                "insert into messages (channel_id, seq, event_id, sender_id, at_ms, text) values ($1,$2,$3,$4,$5,$6)",
                channel_id, seq, event_id, sender_id, 1_000 + seq, text,
            )  # fmt: skip
        await set_head(sql, channel_id, first + count - 1)


async def store_event(
    sql: asyncpg.Connection,
    channel_id: str,
    sender_id: str,
    seq: int,
    body: bytes | None,
    event_id: Any = None,
) -> None:
    await sql.execute(
        "insert into events (channel_id, seq, epoch, partition, record_offset, sender_id, event_id, at_ms, kind, body)"
        " values ($1, $2, 1, 0, $2, $3, $4, $5, 'message.posted', $6)",
        channel_id, seq, sender_id, event_id or uuid7(), 1_000 + seq, body,
    )  # fmt: skip


async def set_head(sql: asyncpg.Connection, channel_id: str, head: int) -> None:
    await sql.execute(
        "insert into channel_heads (channel_id, partition, head) values ($1, 0, $2)"
        " on conflict (channel_id) do update set head = excluded.head",
        channel_id, head,
    )  # fmt: skip


async def play(
    sql: asyncpg.Connection, channel_id: str, happened: Sequence[tuple[str, Event]], first: int = 1
) -> None:
    """As the persister would: these (sender, event), numbered from `first` on, and what they add up to."""
    typed = [
        (Numbered(channel_id, seq, str(uuid7()), sender, 1_000 + seq), event)
        for seq, (sender, event) in enumerate(happened, first)
    ]
    async with sql.transaction():
        for at, event in typed:
            body = encode_event(event)
            await store_event(sql, channel_id, at.sender, at.seq, body, uuid.UUID(at.id))
            if isinstance(event, MessageEdited):
                await sql.execute(
                    "update events set kind = 'message.edited', target = $3 where channel_id = $1 and seq = $2",
                    channel_id, at.seq, event.target,
                )  # fmt: skip
        batch = Batch(typed=list(typed))
        known = await read_messages(sql, needed(batch))
        await write_messages(sql, project(batch, known), known)
        await set_head(sql, channel_id, first + len(typed) - 1)
