"""People and invitations as they travel."""

from __future__ import annotations

import datetime as dt
from typing import Any, Final, Literal

from web_app.fields import Body, Device, Email, Name, OpaqueToken, Password, Reply, examples
from web_app.workspaces.schemas import WORKSPACE_EXAMPLE, Workspace

Role = Literal["owner", "admin", "member", "guest"]

USER_EXAMPLE: Final[dict[str, Any]] = {
    "id": "usr_0193a1b2c3d47e5f8a9b0c1d2e3f4a5b",
    "name": "Ada Lovelace",
    "email": "ada@example.com",
    "role": "owner",
    "active": True,
    "created_at": "2026-01-05T09:30:00Z",
}
INVITE_EXAMPLE: Final[dict[str, Any]] = {
    "id": "inv_0193a1b2c3d47e5f8a9b0c1d2e3f4a5b",
    "email": "grace@example.com",
    "role": "member",
    "invited_by": "usr_0193a1b2c3d47e5f8a9b0c1d2e3f4a5b",
    "expires_at": "2026-01-12T09:30:00Z",
}


class User(Reply):
    """`active` false: deactivated; cannot log in, and keeps their messages and memberships."""

    model_config = examples(USER_EXAMPLE)

    id: str
    name: str
    email: str
    role: Role
    active: bool
    created_at: dt.datetime


class Me(Reply):
    model_config = examples(
        {
            "user": USER_EXAMPLE,
            "workspace": WORKSPACE_EXAMPLE,
            "session_id": "ses_0193a1b2c3d47e5f8a9b0c1d2e3f4a5b",
        }
    )

    user: User
    workspace: Workspace
    session_id: str


class UserChanged(Reply):
    """`directory_at`: where the channel servers know of the change."""

    model_config = examples(
        {"user": USER_EXAMPLE, "directory_at": "user:usr_0193a1b2c3d47e5f8a9b0c1d2e3f4a5b@41"}
    )

    user: User
    directory_at: str


class UserChange(Body):
    model_config = examples({"role": "admin"})

    role: Role


class NewInvite(Body):
    model_config = examples({"email": "grace@example.com", "role": "member"})

    email: Email
    role: Role = "member"


class Invite(Reply):
    model_config = examples(INVITE_EXAMPLE)

    id: str
    email: str
    role: Role
    invited_by: str
    expires_at: dt.datetime


class InviteCreated(Reply):
    """`token` is shown this once: send it to the person."""

    model_config = examples(
        {"invite": INVITE_EXAMPLE, "token": "3q2-7wTzq0p6a5sJ1cVb8n4mKf9dLx2yHt6uRe1oGi0"}
    )

    invite: Invite
    token: str


class AcceptInvite(Body):
    model_config = examples(
        {
            "token": "3q2-7wTzq0p6a5sJ1cVb8n4mKf9dLx2yHt6uRe1oGi0",
            "name": "Grace Hopper",
            "password": "a nanosecond of wire",
        }
    )

    token: OpaqueToken
    name: Name
    password: Password
    device: Device = ""
