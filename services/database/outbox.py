"""The outbox, as the web app writes it: rows that tell the relay what a transaction wants published.

Call these inside the transaction that makes the change; they neither commit nor flush anything else. The
relay is woken when the transaction commits, and not at all when it rolls back.

Rows that touch one channel are written while the channel's row is locked (`select ... for update`), so that their
positions follow the order of the commits. Within a transaction: first directory keys (workspaces, users, sessions and
keys, channels, members, groups, in this order), then events.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from sqlalchemy import func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from services.contract.ids import uuid7
from services.contract.notices import Notice, encode_notice, notices_channel
from services.database.tables import OutboxRow
from services.database.wake import NOTIFY_CHANNEL


async def enqueue_directory(session: AsyncSession | AsyncConnection, keys: Sequence[str]) -> None:
    """Have the current state of these entities published, in this order.

    `keys` as in contract.directory (`user:usr_...`, `member:ch_...:usr_...`); the state is read when it is
    published, so one row stands for every change made until then.
    """
    if not keys:
        return
    await session.execute(insert(OutboxRow), [{"topic": "directory", "key": key} for key in keys])
    await _wake_relay(session)


async def enqueue_event(
    session: AsyncSession | AsyncConnection,
    event_id: uuid.UUID,
    channel_id: str,
    sender_id: str,
    body: bytes,
    mentions: Sequence[str] = (),
) -> None:
    """Have an event appended to its channel; events of one channel are appended in the order of their rows.

    `event_id` a fresh UUIDv7 (contract.ids.uuid7), `body` the event's JSON (contract.events.encode_event),
    `mentions` whom it mentions beyond its text (contract.mentions).
    """
    await session.execute(
        insert(OutboxRow),
        [
            {
                "topic": "events",
                "event_id": event_id,
                "channel_id": channel_id,
                "sender_id": sender_id,
                "body": body,
                "mentions": list(mentions),
            }
        ],
    )
    await _wake_relay(session)


async def enqueue_notice(
    session: AsyncSession | AsyncConnection, workspace_id: str, sender_id: str, notice: Notice
) -> None:
    """Have people of the workspace told something (contract.notices): one record, however many they are.

    Needs no lock: between notices of different transactions no order is promised.
    """
    await enqueue_event(session, uuid7(), notices_channel(workspace_id), sender_id, encode_notice(notice))


async def _wake_relay(session: AsyncSession | AsyncConnection) -> None:
    await session.execute(select(func.pg_notify(NOTIFY_CHANNEL, "")))
