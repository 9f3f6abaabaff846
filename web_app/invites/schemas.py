"""Invitations as they travel."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any, Final

from pydantic import Field

from web_app.fields import Body, ChannelId, Device, Email, Name, OpaqueToken, Password, Reply, examples
from web_app.users.schemas import Role

MAX_INVITE_CHANNELS: Final = 50

INVITE_EXAMPLE: Final[dict[str, Any]] = {
    "id": "inv_0193a1b2c3d47e5f8a9b0c1d2e3f4a5b",
    "email": "grace@example.com",
    "role": "member",
    "invited_by": "usr_0193a1b2c3d47e5f8a9b0c1d2e3f4a5b",
    "channel_ids": [],
    "expires_at": "2026-01-12T09:30:00Z",
}


class NewInvite(Body):
    """`channel_ids`: channels of yours that the person is put into, besides the default ones; guests into no other."""

    model_config = examples(
        {
            "email": "grace@example.com",
            "role": "guest",
            "channel_ids": ["ch_0193a1b2c3d47e5f8a9b0c1d2e3f4a5b"],
        }
    )

    email: Email
    role: Role = "member"
    channel_ids: Annotated[list[ChannelId], Field(max_length=MAX_INVITE_CHANNELS, default_factory=list)]


class Invite(Reply):
    model_config = examples(INVITE_EXAMPLE)

    id: str
    email: str
    role: Role
    invited_by: str
    channel_ids: list[str]
    expires_at: dt.datetime


class InviteCreated(Reply):
    """`token` is shown this once: send it to the person, best as `link`, which ends in it. Either is good once.

    The token stands behind a `#`, so that it does not travel to the server that answers the link.
    """

    model_config = examples(
        {
            "invite": INVITE_EXAMPLE,
            "token": "3q2-7wTzq0p6a5sJ1cVb8n4mKf9dLx2yHt6uRe1oGi0",
            "link": "https://chat.example.com/join#3q2-7wTzq0p6a5sJ1cVb8n4mKf9dLx2yHt6uRe1oGi0",
        }
    )

    invite: Invite
    token: str
    link: str


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
