"""The audit log as it travels."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any, Final, Literal

from pydantic import Field

from web_app.fields import Reply, UserId, examples
from web_app.paging import Page

AuditAction = Literal[
    "workspace.changed",
    "workspace.transferred",
    "workspace.left",
    "workspace.deleted",
    "user.role_changed",
    "user.deactivated",
    "user.reactivated",
    "invite.created",
    "invite.renewed",
    "invite.withdrawn",
    "invite.accepted",
    "group.created",
    "group.changed",
    "group.removed",
    "group.members_added",
    "group.member_removed",
    "channel.archived",
    "channel.unarchived",
    "channel.settings_changed",
    "channel.made_private",
    "channel.member_removed",
    "announcement.posted",
    "message.deleted",
]
"""What is noted. `message.deleted`: somebody else's, by an owner or admin; `target` is the channel, `details` name the
number and the author. The persister notes it, in the transaction that stores the deletion.
"""

ENTRY_EXAMPLE: Final[dict[str, Any]] = {
    "id": "aud_0193a1b2c3d47e5f8a9b0c1d2e3f4a5b",
    "actor_id": "usr_0193a1b2c3d47e5f8a9b0c1d2e3f4a5b",
    "action": "user.role_changed",
    "target": "usr_0193a1b2c3d47e5f8a9b0c1d2e3f4a5c",
    "details": {"from": "member", "to": "admin"},
    "created_at": "2026-01-05T09:30:00Z",
}


class AuditEntry(Reply):
    """`actor_id` did it, to `target`: the id of a person, channel, group or invitation, or null for the workspace."""

    model_config = examples(ENTRY_EXAMPLE)

    id: str
    actor_id: str
    action: str
    target: str | None
    details: dict[str, Any]
    created_at: dt.datetime


class AuditPage(Page):
    action: Annotated[AuditAction | None, Field(description="Only acts of this kind.")] = None
    actor_id: Annotated[UserId | None, Field(description="Only what this person did.")] = None
    target: Annotated[
        str | None,
        Field(
            pattern=r"^(usr|ch|grp|inv)_[0-9a-f]{32}$",
            description="Only what was done to this person, channel, group or invitation.",
        ),
    ] = None
