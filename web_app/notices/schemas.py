"""Notices as they travel. Their bodies are written as they are shown over the WebSocket."""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec
from pydantic import Field, model_validator

from services.contract.events import MAX_TEXT
from services.contract.notices import MAX_ADDRESSED
from web_app.fields import STORABLE, Body, Reply, Seq, UserId, examples
from web_app.paging import DEFAULT_LIMIT, MAX_LIMIT

_NOTICE: Final[dict[str, Any]] = {
    "seq": 312,
    "id": "0193a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b",
    "sender": "usr_0193a1b2c3d47e5f8a9b0c1d2e3f4a5b",
    "at": 1_767_605_400_000,
    "notice": {"type": "mention.made", "channel": "ch_0193a1b2c3d47e5f8a9b0c1d2e3f4a5b", "seq": 42},
}


class NewAnnouncement(Body):
    """To these people, or to everybody."""

    model_config = examples(
        {"text": "Tea is at four", "user_ids": ["usr_0193a1b2c3d47e5f8a9b0c1d2e3f4a5b"]},
        {"text": "Tea is at four", "all": True},
    )

    text: Annotated[str, Field(min_length=1, max_length=MAX_TEXT, pattern=STORABLE)]
    user_ids: Annotated[
        tuple[UserId, ...], Field(max_length=MAX_ADDRESSED, description="Who, unless it is everybody.")
    ] = ()
    all: bool = False

    @model_validator(mode="after")
    def _to_somebody(self) -> NewAnnouncement:
        if bool(self.user_ids) == self.all:
            raise ValueError("give either `user_ids` or `all`")
        return self


class Announced(Reply):
    """It is under way to all of them, now and when they come back."""

    model_config = examples({"addressed": 1000})

    addressed: int | None = Field(None, description="How many people; null for everybody.")


class NoticesQuery(Body):
    """`after`: your position."""

    after: Annotated[Seq, Field(description="Your position: those with a greater number.")]
    limit: Annotated[int, Field(ge=1, le=MAX_LIMIT, description="How many at most.")] = DEFAULT_LIMIT
    at_least: Annotated[
        Seq | None, Field(description="Wait, for five seconds at most, until the stream has come so far.")
    ] = None


class NoticeItem(Reply):
    """One notice of yours. `notice` is told apart by its `type`; there may be types that you do not know."""

    model_config = examples(_NOTICE)

    seq: int
    id: str
    sender: str
    at: int = Field(description="The log's clock when it was numbered, in Unix milliseconds.")
    notice: dict[str, Any]


class NoticePage(Reply):
    """Ascending by seq. Everything up to `position` was looked at: go on from there until it is `head`."""

    model_config = examples({"epoch": 1, "position": 317, "head": 317, "notices": [_NOTICE]})

    epoch: int
    position: int
    head: int
    notices: list[NoticeItem]


class WrittenNotice(msgspec.Struct, frozen=True):
    """What `NoticeItem` describes, with the body's own bytes."""

    seq: int
    id: str
    sender: str
    at: int
    notice: msgspec.Raw


class WrittenNoticePage(msgspec.Struct, frozen=True):
    """What `NoticePage` describes."""

    epoch: int
    position: int
    head: int
    notices: list[WrittenNotice]
