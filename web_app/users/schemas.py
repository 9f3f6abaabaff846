"""People and invitations as they travel."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any, Final, Literal

from pydantic import Field, model_validator

from services.contract.events import MAX_EMOJI_CHARACTERS
from web_app.fields import PRINTABLE, AvatarUrl, Body, Moment, Name, Reply, TimeZone, examples
from web_app.workspaces.schemas import WORKSPACE_EXAMPLE, Workspace

Role = Literal["owner", "admin", "member", "guest"]

USER_EXAMPLE: Final[dict[str, Any]] = {
    "id": "usr_0193a1b2c3d47e5f8a9b0c1d2e3f4a5b",
    "name": "Ada Lovelace",
    "email": "ada@example.com",
    "role": "owner",
    "active": True,
    "created_at": "2026-01-05T09:30:00Z",
    "display_name": "Ada",
    "title": "Analyst",
    "avatar_url": "https://example.com/ada.png",
    "time_zone": "Europe/London",
    "status": {"text": "In the engine room", "emoji": "⚙️", "expires_at": "2026-01-05T12:00:00Z"},
}


class Status(Reply):
    """What somebody is up to. `expires_at` null: until they change it."""

    text: str
    emoji: str
    expires_at: dt.datetime | None


class User(Reply):
    """`active` false: deactivated; cannot log in, and keeps their messages and memberships.

    `display_name`: what they would like to be called; empty: their `name`. `status` is null when there is none, or
    its time is over.
    """

    model_config = examples(USER_EXAMPLE)

    id: str
    name: str
    email: str
    role: Role
    active: bool
    created_at: dt.datetime
    display_name: str
    title: str
    avatar_url: str
    time_zone: str = Field(description="A name of the IANA time zone database.")
    status: Status | None


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


class ProfileChange(Body):
    """What is not given stays as it is; an empty text removes."""

    model_config = examples(
        {
            "display_name": "Ada",
            "title": "Analyst",
            "avatar_url": "https://example.com/ada.png",
            "time_zone": "Europe/London",
        }
    )

    name: Name | None = None
    display_name: Annotated[str, Field(max_length=80, pattern=PRINTABLE)] | None = None
    title: Annotated[str, Field(max_length=120, pattern=PRINTABLE)] | None = None
    avatar_url: AvatarUrl | None = None
    time_zone: TimeZone | None = None

    @model_validator(mode="after")
    def _something(self) -> ProfileChange:
        if not self.model_dump(exclude_none=True):
            raise ValueError("give at least one field")
        return self


class NewStatus(Body):
    """`text` or `emoji` or both."""

    model_config = examples(
        {"text": "In the engine room", "emoji": "⚙️", "expires_at": "2100-01-05T12:00:00Z"}
    )

    text: Annotated[str, Field(max_length=100, pattern=PRINTABLE)] = ""
    emoji: Annotated[str, Field(max_length=MAX_EMOJI_CHARACTERS, pattern=r"^[^\x00-\x20\x7f-\xa0]*$")] = ""
    expires_at: Moment | None = None

    @model_validator(mode="after")
    def _something(self) -> NewStatus:
        if not self.text.strip() and not self.emoji:
            raise ValueError("give `text` or `emoji`; a status is cleared by DELETE")
        return self
