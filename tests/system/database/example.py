"""A small installation: one row of everything."""

from __future__ import annotations

import datetime as dt
from typing import Any

from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from services.contract.ids import new_entity_id, uuid7
from services.database.tables import (
    AuditEntry,
    Base,
    Channel,
    ChannelHead,
    ChannelPreference,
    DoNotDisturb,
    GenerationRow,
    IdempotencyKey,
    Invite,
    LogPartition,
    Membership,
    Message,
    MessageMention,
    OutboxRow,
    ReadMarker,
    RefreshToken,
    SavedMessage,
    ScheduledMessage,
    Session,
    SigningKey,
    StoredEvent,
    ThreadFollow,
    User,
    UserGroup,
    UserGroupMember,
    Workspace,
)

WORKSPACE, CHANNEL, SESSION = new_entity_id("ws"), new_entity_id("ch"), new_entity_id("ses")
OWNER, OTHER, GROUP = new_entity_id("usr"), new_entity_id("usr"), new_entity_id("grp")
KEY = "key-1"
LATER = dt.datetime(2040, 1, 1, tzinfo=dt.UTC)


def _user(id: str, version: int) -> dict[str, Any]:
    return {
        "id": id,
        "workspace_id": WORKSPACE,
        "email": f"{id}@example.org",
        "name": "Ada",
        "password_hash": "x",
        "role": "owner",
        "version": version,
    }


EVENT = uuid7()

ROWS: list[tuple[type[Base], dict[str, Any]]] = [
    (Workspace, {"id": WORKSPACE, "slug": "acme", "name": "Acme", "version": 8}),
    (User, _user(OWNER, 1)),
    (User, _user(OTHER, 2)),
    (
        Invite,
        {
            "id": new_entity_id("inv"),
            "workspace_id": WORKSPACE,
            "email": "new@example.org",
            "role": "member",
            "token_hash": b"i",
            "invited_by": OWNER,
            "expires_at": LATER,
        },
    ),
    (Session, {"id": SESSION, "user_id": OWNER, "device": "laptop", "version": 3}),
    (RefreshToken, {"token_hash": b"t", "session_id": SESSION, "expires_at": LATER}),
    (SigningKey, {"kid": KEY, "public_key": "PEM", "version": 4}),
    (
        Channel,
        {
            "id": CHANNEL,
            "workspace_id": WORKSPACE,
            "kind": "public",
            "name": "general",
            "created_by": OWNER,
            "version": 5,
        },
    ),
    (Membership, {"channel_id": CHANNEL, "user_id": OWNER, "member": True, "version": 6}),
    (Membership, {"channel_id": CHANNEL, "user_id": OTHER, "member": False, "version": 7}),
    (
        UserGroup,
        {
            "id": GROUP,
            "workspace_id": WORKSPACE,
            "handle": "mathematicians",
            "name": "M",
            "created_by": OWNER,
            "version": 9,
        },
    ),
    (UserGroupMember, {"group_id": GROUP, "user_id": OWNER}),
    (ChannelPreference, {"user_id": OWNER, "channel_id": CHANNEL, "muted": True, "level": "mentions"}),
    (DoNotDisturb, {"user_id": OWNER, "starts": 1320, "ends": 420, "snoozed_until": LATER}),
    (
        AuditEntry,
        {
            "id": new_entity_id("aud"),
            "workspace_id": WORKSPACE,
            "actor_id": OWNER,
            "action": "user.deactivated",
            "target": OTHER,
            "details": {"role": "member"},
        },
    ),
    (
        IdempotencyKey,
        {"user_id": OWNER, "key": uuid7(), "request_digest": b"d", "status": 201, "reply": b"{}"},
    ),
    (SavedMessage, {"user_id": OWNER, "channel_id": CHANNEL, "seq": 1}),
    (
        ScheduledMessage,
        {"id": new_entity_id("sch"), "user_id": OWNER, "channel_id": CHANNEL, "text": "hi", "send_at": LATER},
    ),
    (OutboxRow, {"topic": "directory", "key": f"user:{OWNER}"}),
    (
        StoredEvent,
        {
            "channel_id": CHANNEL,
            "seq": 1,
            "epoch": 1,
            "partition": 0,
            "record_offset": 0,
            "sender_id": OWNER,
            "event_id": EVENT,
            "at_ms": 1,
            "kind": "message.posted",
            "body": b"{}",
        },
    ),
    (
        Message,
        {"channel_id": CHANNEL, "seq": 1, "event_id": EVENT, "sender_id": OWNER, "at_ms": 1, "text": "hi"},
    ),
    (MessageMention, {"user_id": OTHER, "channel_id": CHANNEL, "seq": 1}),
    (ChannelHead, {"channel_id": CHANNEL, "partition": 0, "head": 1}),
    (ReadMarker, {"user_id": OWNER, "channel_id": CHANNEL, "own": 1}),
    (ThreadFollow, {"user_id": OWNER, "channel_id": CHANNEL, "root": 1, "auto": True}),
    (LogPartition, {"epoch": 1, "partition": 0, "next_offset": 1, "now_ms": 1}),
    (GenerationRow, {"epoch": 1, "record": b"{}"}),
]


async def fill(connection: AsyncConnection) -> None:
    """Insert one row of everything, in an order that the foreign keys allow."""
    for table, row in ROWS:
        await connection.execute(insert(table), [row])
