"""The schema, and who writes what.

Written by web_app: workspaces, users, invites, sessions, refresh tokens, signing keys, channels, memberships,
user groups, saved and scheduled messages, channel preferences, do not disturb, the audit log, idempotency keys, and
rows into the outbox.
Written by the persister: events, messages, message mentions, channel heads, read markers, thread follows,
log partitions (and it deletes an event's outbox row in the transaction that stores the event, and inserts those of
notices of mentions, and the audit log's entries of others' messages that were deleted).
Written by the relay: it deletes published directory rows of the outbox and gives an expired event row its new id.
Generations are written when an epoch is made.

`version` columns come from the one sequence `row_version`, drawn while the row's lock is held, so that per entity
a later state always has the higher version, in the directory and in member events alike. Times are timestamptz,
except where the log's own clock is meant: those are Unix milliseconds (bigint).
"""

from services.database.tables.base import Base, metadata, row_version
from services.database.tables.channels import Channel, ChannelPreference, Membership
from services.database.tables.commands import AuditEntry, IdempotencyKey, OutboxRow
from services.database.tables.log import ChannelHead, GenerationRow, LogPartition, StoredEvent
from services.database.tables.logins import RefreshToken, Session, SigningKey
from services.database.tables.messages import Message, MessageMention, SavedMessage, ScheduledMessage
from services.database.tables.people import DoNotDisturb, Invite, User, UserGroup, UserGroupMember, Workspace
from services.database.tables.reading import ReadMarker, ThreadFollow

__all__ = [
    "AuditEntry",
    "Base",
    "Channel",
    "ChannelHead",
    "ChannelPreference",
    "DoNotDisturb",
    "GenerationRow",
    "IdempotencyKey",
    "Invite",
    "LogPartition",
    "Membership",
    "Message",
    "MessageMention",
    "OutboxRow",
    "ReadMarker",
    "RefreshToken",
    "SavedMessage",
    "ScheduledMessage",
    "Session",
    "SigningKey",
    "StoredEvent",
    "ThreadFollow",
    "User",
    "UserGroup",
    "UserGroupMember",
    "Workspace",
    "metadata",
    "row_version",
]
