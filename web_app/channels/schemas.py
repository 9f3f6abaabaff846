"""Channels as they travel."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any, Final, Literal

from pydantic import Field, StrictBool, model_validator

from services.contract.events import ChannelKind, WhoMay
from web_app.fields import PRINTABLE, Body, Name, Reply, Topic, UserId, examples
from web_app.paging import Page

MAX_DIRECT_OTHERS: Final = 8

CHANNEL_EXAMPLE: Final[dict[str, Any]] = {
    "id": "ch_0193a1b2c3d47e5f8a9b0c1d2e3f4a5b",
    "kind": "public",
    "name": "general",
    "topic": "",
    "archived": False,
    "member": True,
    "user_ids": None,
    "default": True,
    "posting": "everyone",
    "adding": "everyone",
    "member_count": 12,
    "created_by": "usr_0193a1b2c3d47e5f8a9b0c1d2e3f4a5b",
    "created_at": "2026-01-05T09:30:00Z",
}
AT_EXAMPLE: Final = "member:ch_0193a1b2c3d47e5f8a9b0c1d2e3f4a5b:usr_0193a1b2c3d47e5f8a9b0c1d2e3f4a5b@42"


class Channel(Reply):
    """`member`: whether you are in it. `user_ids`: who is in a direct or group channel; null for others."""

    model_config = examples(CHANNEL_EXAMPLE)

    id: str
    kind: ChannelKind
    name: str = Field(description="Empty for direct and group channels.")
    topic: str
    archived: bool
    member: bool
    user_ids: list[str] | None = None
    default: bool = Field(description="New people are put into it.")
    posting: WhoMay = Field(description="Who may post: everyone in it, or owners and admins.")
    adding: WhoMay = Field(description="Who may add people: everyone in it but guests, or owners and admins.")
    member_count: int
    created_by: str
    created_at: dt.datetime


class ChannelChanged(Reply):
    """`directory_at`: where the channel servers know of the change; send it along with your next message."""

    model_config = examples({"channel": CHANNEL_EXAMPLE, "directory_at": AT_EXAMPLE})

    channel: Channel
    directory_at: str


class NewChannel(Body):
    model_config = examples({"kind": "public", "name": "engine-room", "topic": "Cards, cogs and carries"})

    kind: Literal["public", "private"]
    name: Name
    topic: Topic = ""


class NewDirectChannel(Body):
    """`user_ids`: the others. One makes a direct channel, more a group; yourself you need not name."""

    model_config = examples({"user_ids": ["usr_0193a1b2c3d47e5f8a9b0c1d2e3f4a5b"]})

    user_ids: Annotated[list[UserId], Field(min_length=1, max_length=MAX_DIRECT_OTHERS + 1)]


class ChannelChange(Body):
    """What is not given stays as it is."""

    model_config = examples({"topic": "Cards, cogs and carries"})

    name: Name | None = None
    topic: Topic | None = None

    @model_validator(mode="after")
    def _something(self) -> ChannelChange:
        if self.name is None and self.topic is None:
            raise ValueError("give `name` or `topic`")
        return self


class ChannelSettings(Body):
    """What is not given stays as it is."""

    model_config = examples({"posting": "admins", "adding": "admins"})

    posting: WhoMay | None = None
    adding: WhoMay | None = None
    default: StrictBool | None = Field(default=None, description="Whether new people are put into it.")

    @model_validator(mode="after")
    def _something(self) -> ChannelSettings:
        if self.posting is None and self.adding is None and self.default is None:
            raise ValueError("give `posting`, `adding` or `default`")
        return self


class DirectoryPage(Page):
    prefix: Annotated[
        str, Field(max_length=80, pattern=PRINTABLE, description="How the name begins, in any case.")
    ] = ""
    cursor: Annotated[
        str | None, Field(max_length=500, description="The `next_cursor` of the page before.")
    ] = None
