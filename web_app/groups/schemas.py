"""User groups as they travel."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any, Final

from pydantic import Field, model_validator

from services.contract.notices import MAX_ADDRESSED
from web_app.fields import PRINTABLE, Body, Name, Reply, UserId, examples

MAX_MEMBERS: Final = MAX_ADDRESSED
"""So that one notice reaches the whole group."""

Handle = Annotated[str, Field(min_length=2, max_length=40, pattern=r"^[a-z0-9][a-z0-9._-]*[a-z0-9]$")]
Description = Annotated[str, Field(max_length=250, pattern=PRINTABLE)]

GROUP_EXAMPLE: Final[dict[str, Any]] = {
    "id": "grp_0193a1b2c3d47e5f8a9b0c1d2e3f4a5b",
    "handle": "engineers",
    "name": "Engineers",
    "description": "Who keeps the engine running",
    "member_count": 2,
    "created_by": "usr_0193a1b2c3d47e5f8a9b0c1d2e3f4a5b",
    "created_at": "2026-01-05T09:30:00Z",
}
AT_EXAMPLE: Final = "group:grp_0193a1b2c3d47e5f8a9b0c1d2e3f4a5b@44"
_USER: Final = "usr_0193a1b2c3d47e5f8a9b0c1d2e3f4a5b"


class Group(Reply):
    """`handle`: what people type behind the @; a text names the group as `<!group:grp_...>`."""

    model_config = examples(GROUP_EXAMPLE)

    id: str
    handle: str
    name: str
    description: str
    member_count: int
    created_by: str
    created_at: dt.datetime


class GroupWithMembers(Group):
    model_config = examples({**GROUP_EXAMPLE, "user_ids": [_USER]})

    user_ids: list[str]


class GroupChanged(Reply):
    """`directory_at`: where the channel servers know of the change."""

    model_config = examples({"group": GROUP_EXAMPLE, "directory_at": AT_EXAMPLE})

    group: Group
    directory_at: str


class NewGroup(Body):
    model_config = examples(
        {"handle": "engineers", "name": "Engineers", "description": "", "user_ids": [_USER]}
    )

    handle: Handle
    name: Name
    description: Description = ""
    user_ids: Annotated[list[UserId], Field(max_length=MAX_MEMBERS, default_factory=list)]


class GroupChange(Body):
    """What is not given stays as it is."""

    model_config = examples({"name": "Engine keepers"})

    handle: Handle | None = None
    name: Name | None = None
    description: Description | None = None

    @model_validator(mode="after")
    def _something(self) -> GroupChange:
        if not self.model_dump(exclude_none=True):
            raise ValueError("give `handle`, `name` or `description`")
        return self


class GroupMembers(Body):
    model_config = examples({"user_ids": [_USER]})

    user_ids: Annotated[list[UserId], Field(min_length=1, max_length=MAX_MEMBERS)]
