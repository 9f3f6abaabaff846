"""Memberships as they travel."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any, Final

from pydantic import Field

from services.contract.events import MAX_MEMBERS_PER_EVENT
from web_app.channels.schemas import AT_EXAMPLE
from web_app.fields import Body, Reply, UserId, examples

_USER: Final = "usr_0193a1b2c3d47e5f8a9b0c1d2e3f4a5b"
MEMBER_EXAMPLE: Final[dict[str, Any]] = {
    "user_id": _USER,
    "name": "Ada Lovelace",
    "role": "owner",
    "active": True,
    "since": "2026-01-05T09:30:00Z",
}


class Member(Reply):
    """`active` false: the account is deactivated."""

    model_config = examples(MEMBER_EXAMPLE)

    user_id: str
    name: str
    role: str
    active: bool
    since: dt.datetime


class AddMembers(Body):
    model_config = examples({"user_ids": [_USER]})

    user_ids: Annotated[list[UserId], Field(min_length=1, max_length=MAX_MEMBERS_PER_EVENT)]


class MembersAdded(Reply):
    """`added`: those who were not members before."""

    model_config = examples({"added": [_USER], "directory_at": AT_EXAMPLE})

    added: list[str]
    directory_at: str


class MembershipChanged(Reply):
    """`directory_at`: where the channel servers know of the change."""

    model_config = examples({"directory_at": AT_EXAMPLE})

    directory_at: str
