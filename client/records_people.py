"""What REST replies hold of workspaces, people, groups and preferences. Fields that a newer server adds are ignored."""

from __future__ import annotations

from typing import Any

import msgspec

from client.records import User


class _Record(msgspec.Struct, frozen=True, kw_only=True):
    pass


class WorkspaceSettings(_Record, frozen=True, kw_only=True):
    """Windows in seconds, None: for ever. `who_may_...`: `members` or `admins`."""

    id: str
    slug: str
    name: str
    max_text: int
    edit_window_s: int | None = None
    delete_window_s: int | None = None
    typing_limit: int = 200
    who_may_create_channels: str = "members"
    who_may_invite: str = "admins"
    who_may_manage_groups: str = "admins"


class WorkspaceReply(_Record, frozen=True, kw_only=True):
    workspace: WorkspaceSettings
    directory_at: str | None = None


class UserReply(_Record, frozen=True, kw_only=True):
    """`directory_at`: give it to a send, and the node that takes it waits until it knows of this change."""

    user: User
    directory_at: str | None = None


class Group(_Record, frozen=True, kw_only=True):
    """A user group; a text names it as `<!group:ID>`. `user_ids` only where one group is asked for."""

    id: str
    handle: str
    name: str
    description: str = ""
    member_count: int = 0
    user_ids: list[str] | None = None


class GroupReply(_Record, frozen=True, kw_only=True):
    group: Group
    directory_at: str | None = None


class ChannelPreferences(_Record, frozen=True, kw_only=True):
    """`level`: `all`, `mentions` or `nothing`."""

    muted: bool
    level: str


class DoNotDisturb(_Record, frozen=True, kw_only=True):
    """`active`: whether it holds now. Times of the day in `time_zone`."""

    active: bool
    starts: str | None = None
    ends: str | None = None
    snoozed_until: str | None = None
    time_zone: str = "UTC"


class AuditEntry(_Record, frozen=True, kw_only=True):
    """`actor_id` did it to `target`: the id of a person, channel, group or invitation; None: the workspace."""

    id: str
    actor_id: str
    action: str
    target: str | None = None
    details: dict[str, Any] = {}
    created_at: str = ""
