"""Workspaces as they travel."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any, Final, Literal

from pydantic import Field, model_validator

from services.contract.events import MAX_TEXT
from web_app.fields import Body, Device, Email, Name, Password, Reply, Slug, UserId, examples

WhoMay = Literal["members", "admins"]

MAX_WINDOW_S: Final = 10 * 365 * 24 * 3600

WORKSPACE_EXAMPLE: Final[dict[str, Any]] = {
    "id": "ws_0193a1b2c3d47e5f8a9b0c1d2e3f4a5b",
    "slug": "acme",
    "name": "Acme Corporation",
    "created_at": "2026-01-05T09:30:00Z",
}
SETTINGS_EXAMPLE: Final[dict[str, Any]] = {
    **WORKSPACE_EXAMPLE,
    "max_text": 12_000,
    "edit_window_s": None,
    "delete_window_s": 86_400,
    "typing_limit": 200,
    "who_may_create_channels": "members",
    "who_may_invite": "admins",
    "who_may_manage_groups": "admins",
}
DIRECTORY_EXAMPLE: Final = "workspace:ws_0193a1b2c3d47e5f8a9b0c1d2e3f4a5b@43"


class Workspace(Reply):
    model_config = examples(WORKSPACE_EXAMPLE)

    id: str
    slug: str
    name: str
    created_at: dt.datetime


class WorkspaceSettings(Workspace):
    """A workspace with its settings; windows in seconds, null: for ever. `members`: everybody but guests."""

    model_config = examples(SETTINGS_EXAMPLE)

    max_text: int = Field(description="Characters that a message may have.")
    edit_window_s: int | None = Field(default=None, description="How long authors may edit their messages.")
    delete_window_s: int | None = Field(
        default=None, description="How long authors may delete their messages."
    )
    typing_limit: int = Field(description="From so many members on, a channel does not show who is typing.")
    who_may_create_channels: WhoMay
    who_may_invite: WhoMay
    who_may_manage_groups: WhoMay


class WorkspaceChanged(Reply):
    """`directory_at`: where the channel servers know of the change."""

    model_config = examples({"workspace": SETTINGS_EXAMPLE, "directory_at": DIRECTORY_EXAMPLE})

    workspace: WorkspaceSettings
    directory_at: str


class WorkspaceChange(Body):
    """What is not given stays as it is."""

    model_config = examples({"max_text": 4_000, "edit_window_s": 3_600, "who_may_invite": "members"})

    name: Name | None = None
    max_text: Annotated[int, Field(strict=True, ge=1, le=MAX_TEXT)] | None = None
    edit_window_s: Annotated[int, Field(strict=True, ge=0, le=MAX_WINDOW_S)] | None = Field(
        default=None, description="null: for ever."
    )
    delete_window_s: Annotated[int, Field(strict=True, ge=0, le=MAX_WINDOW_S)] | None = Field(
        default=None, description="null: for ever."
    )
    typing_limit: Annotated[int, Field(strict=True, ge=0, le=1_000)] | None = None
    who_may_create_channels: WhoMay | None = None
    who_may_invite: WhoMay | None = None
    who_may_manage_groups: WhoMay | None = None

    @model_validator(mode="after")
    def _something(self) -> WorkspaceChange:
        if not self.given:
            raise ValueError("give at least one setting")
        return self

    @property
    def given(self) -> dict[str, Any]:
        """The settings that are to change; only windows can be set to null."""
        given = self.model_dump(include=self.model_fields_set)
        return {
            name: value for name, value in given.items() if value is not None or name.endswith("_window_s")
        }


class Transfer(Body):
    """Whom the ownership goes to."""

    model_config = examples({"user_id": "usr_0193a1b2c3d47e5f8a9b0c1d2e3f4a5b"})

    user_id: UserId


class WorkspaceDeletion(Body):
    """`slug`: that of the workspace, typed once more, so that nobody deletes the wrong one."""

    model_config = examples({"slug": "acme"})

    slug: Slug


class SignUp(Body):
    """A new workspace and its owner."""

    model_config = examples(
        {
            "workspace_slug": "acme",
            "workspace_name": "Acme Corporation",
            "name": "Ada Lovelace",
            "email": "ada@example.com",
            "password": "analytical engine no. 1",
        }
    )

    workspace_slug: Slug
    workspace_name: Name
    name: Name
    email: Email
    password: Password
    device: Device = ""
